"""Shards ahead: who opens the index of a model finds its shards on their way."""

import json

from conftest import ANN

from tests.hub import Generated, generated_bytes
from tests.support.daemon import wait_until

MIB = 1 << 20
NAMES = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
SIZE = 3 * MIB


def model(hub, **fields):
    """Publish a model in three shards; return the commit."""
    hub.create_repo("models", "acme/big", **fields)
    index = {"metadata": {"total_size": 3 * SIZE}, "weight_map": {f"w{i}": name for i, name in enumerate(NAMES * 2)}}
    files = {name: Generated(SIZE, seed=i) for i, name in enumerate(NAMES)}
    files["model.safetensors.index.json"] = json.dumps(index)
    files["other.safetensors"] = Generated(SIZE, seed=9)
    return hub.commit("models", "acme/big", files)


def fetched(hub):
    """Return how many files were asked of the hub by name."""
    paths = {row["path"].rsplit("/", 1)[1] for row in hub.log() if "/resolve/" in row["path"] and row["method"] == "HEAD"}
    return sorted(p for p in paths if p.endswith((".safetensors", ".gguf")))


def test_the_index_brings_its_shards(hub, daemon):
    """One request for the index, and the shards that it names come, but nothing else."""
    model(hub)
    assert daemon.client.get("/acme/big/resolve/main/model.safetensors.index.json").status == 200
    daemon.wait_metric("shards_ahead_total", 3)
    assert fetched(hub) == NAMES and hub.sent("cdn") == 3 * SIZE
    for i, name in enumerate(NAMES):
        assert daemon.client.get(f"/acme/big/resolve/main/{name}").body == generated_bytes(i, 0, SIZE)
    daemon.client.get("/acme/big/resolve/main/model.safetensors.index.json", if_none_match='"x"')
    assert hub.sent("cdn") == 3 * SIZE


def test_the_client_joins_them(hub, daemon):
    """A client that asks for a shard that is on its way gets it from there."""
    model(hub)
    with hub.gate(after_bytes=MIB, origin="cdn") as gate:
        daemon.client.get("/acme/big/resolve/main/model.safetensors.index.json")
        gate.wait_reached(2)
        stream = daemon.client.stream(f"/acme/big/resolve/main/{NAMES[0]}")
        wait_until(lambda: daemon.metric("flights_joined_total") >= 1, "it has joined")
        gate.release()
    stream.head()
    assert stream.rest() == (generated_bytes(0, 0, SIZE), True)
    daemon.wait_metric("shards_ahead_total", 3)
    assert hub.sent("cdn") == 3 * SIZE


def test_the_first_part_of_a_gguf(hub, daemon):
    """A split GGUF names the others by its own name."""
    hub.create_repo("models", "acme/gguf")
    names = [f"q4/model-q4-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    hub.commit("models", "acme/gguf", {name: Generated(SIZE, seed=i) for i, name in enumerate(names)})
    assert daemon.client.get(f"/acme/gguf/resolve/main/{names[0]}", range="bytes=0-99").status == 206
    daemon.wait_metric("shards_ahead_total", 2)
    assert daemon.client.get(f"/acme/gguf/resolve/main/{names[2]}").body == generated_bytes(2, 0, SIZE)


def test_a_head_brings_nothing(hub, daemon):
    """Nor does the second part, or an index that is only looked at."""
    model(hub)
    assert daemon.client.head("/acme/big/resolve/main/model.safetensors.index.json").status == 200
    assert daemon.client.get(f"/acme/big/resolve/main/{NAMES[1]}").status == 200
    hub.wait_idle()
    assert fetched(hub) == [NAMES[1]]


def test_switched_off_and_too_large(hub, make_daemon):
    """The option, and the size that a model may have."""
    model(hub)
    for workers in ({"shards_ahead": False}, {"shards_ahead_max": "5MiB"}):
        daemon = make_daemon({"workers": workers})
        assert daemon.client.get("/acme/big/resolve/main/model.safetensors.index.json").status == 200
        assert daemon.client.get("/acme/big/resolve/main/other.safetensors").status == 200
        hub.wait_idle()
        assert fetched(hub) == ["other.safetensors"]


def test_with_the_clients_own_right(hub, daemon):
    """A private model is fetched ahead for who may have it, and stays closed to others."""
    model(hub, private=True)
    index = "/acme/big/resolve/main/model.safetensors.index.json"
    assert daemon.client.get(index).status == 401
    hub.wait_idle()
    assert hub.sent("cdn") == 0
    assert daemon.client.get(index, token=ANN).status == 200
    daemon.wait_metric("shards_ahead_total", 3)
    assert daemon.client.get(f"/acme/big/resolve/main/{NAMES[0]}").status == 401
    assert daemon.client.get(f"/acme/big/resolve/main/{NAMES[0]}", token=ANN).status == 200


def test_an_index_that_lies(hub, daemon):
    """Names that lead elsewhere, and files that are not there, are not fetched."""
    hub.create_repo("models", "acme/odd")
    index = {"weight_map": {"a": "../../etc/passwd", "b": "/absolute", "c": "nothing.safetensors", "d": 5}}
    hub.commit("models", "acme/odd", {"model.safetensors.index.json": json.dumps(index), "x.bin": Generated(MIB, seed=1)})
    assert daemon.client.get("/acme/odd/resolve/main/model.safetensors.index.json").status == 200
    assert daemon.client.get("/acme/odd/resolve/main/x.bin").status == 200
    hub.wait_idle()
    assert not [row for row in hub.log() if "passwd" in row["target"] or "absolute" in row["target"]]
    assert hub.sent("cdn") == MIB
