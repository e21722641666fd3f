"""What is here, for operators: ls, du, pin, purge, gc and verify, by the command line."""

import json

import pytest
from conftest import LARGE_LFS, SMALL_LFS, populate

from tests.hub import Generated
from tests.support.daemon import wait_until

TREE = "/api/models/acme/tiny/tree/main?recursive=true"


@pytest.fixture
def warm(hub, make_daemon):
    """A daemon that has fetched some of two repositories."""
    known = populate(hub)
    daemon = make_daemon()
    for path in (
        TREE,
        "/acme/tiny/resolve/main/model.safetensors",
        "/acme/tiny/resolve/main/small.safetensors",
        "/acme/tiny/resolve/main/config.json",
        "/datasets/acme/data/resolve/main/x/big.parquet",
        "/gpt2/resolve/main/config.json",
    ):
        assert daemon.client.get(path).status == 200
    daemon.known = known
    return daemon


def rows(daemon, *command):
    """Return {repository: row} of a command that lists."""
    return {row["repository"]: row for row in json.loads(daemon.command(*command, "--json"))}


def test_what_is_here(warm):
    """ls and du name repositories, files and sizes, for people and for scripts."""
    listed = rows(warm, "ls")
    assert list(listed) == sorted(listed) and {"acme/tiny", "datasets/acme/data", "gpt2"} <= set(listed)
    tiny = listed["acme/tiny"]
    assert (tiny["files"], tiny["visibility"]) == (3, "public")
    assert tiny["bytes"] > LARGE_LFS + SMALL_LFS
    assert listed["datasets/acme/data"]["bytes"] == SMALL_LFS
    sizes = [row["bytes"] for row in rows(warm, "du").values()]
    assert sizes == sorted(sizes, reverse=True)
    text = warm.command("du")
    assert text.splitlines()[0].split()[0] == "REPOSITORY"
    assert text.splitlines()[1].split()[0] == "acme/tiny" and " ago" in text


def test_pins(hub, warm):
    """A pinned commit outlives whatever else is fetched; what cannot be pinned says why."""
    out = warm.command("pin", "acme/tiny")
    assert warm.known["head"] in out
    assert rows(warm, "pins")["acme/tiny"]["here"] == 3
    assert "prefetch it first" in warm.command("pin", "datasets/acme/data", code=1)
    for wrong in ("acme/nothing", "acme/tiny@v9", "acme/*", "acme/../tiny"):
        warm.command("pin", wrong, code=1)
    hub.create_repo("models", "acme/many")
    sha = hub.commit("models", "acme/many", {f"w{n}.safetensors": Generated(1 << 20, seed=n) for n in range(12)})
    warm.restart({"cache": {"max_size": "12MiB"}})
    for n in range(12):
        assert warm.client.get(f"/acme/many/resolve/{sha}/w{n}.safetensors").status == 200
    assert rows(warm, "ls")["acme/tiny"]["files"] == 3
    assert rows(warm, "ls")["acme/many"]["files"] < 3
    warm.command("unpin", "acme/tiny")
    assert "it was not pinned" in warm.command("unpin", "acme/tiny", code=1)
    for n in range(12):
        assert warm.client.get(f"/acme/many/resolve/{sha}/w{n}.safetensors").status == 200
    assert rows(warm, "ls")["acme/many"]["files"] > 6


def test_purge(hub, warm):
    """A repository that is purged is unknown: its files cost the Hub a transfer again, others' do not."""
    assert warm.command("purge", "acme/tiny") == "2 files went\n"  # gpt2 has the same config.json
    assert "acme/tiny" not in rows(warm, "ls")
    hub.clear_log()
    assert warm.client.get("/gpt2/resolve/main/config.json").status == 200
    assert hub.sent("cdn") == 0
    assert warm.client.get("/acme/tiny/resolve/main/model.safetensors").sha256()
    assert hub.sent("cdn") == LARGE_LFS
    for wrong in ("acme", "acme/*", "*", "acme/nothing", "acme/tiny@main", "../acme/tiny", ""):
        warm.command("purge", wrong, code=1)
    assert rows(warm, "ls")["acme/tiny"]["files"] == 1


def test_gc(hub, warm):
    """Files that no commit names any more go, and nothing else."""
    assert warm.command("gc") == "0 files went\n"
    hub.clear_log()
    assert warm.client.get("/acme/tiny/resolve/main/model.safetensors").status == 200
    assert hub.sent("cdn") == 0


def test_verify(hub, warm):
    """A damaged file is found and named, and the next client has the right one."""
    assert "0 damaged" in warm.command("verify")
    digest = warm.client.head("/acme/tiny/resolve/main/small.safetensors")["ETag"].strip('"')
    path = warm.blob_file(digest)
    path.chmod(0o600)
    with open(path, "r+b") as damaged:
        damaged.seek(1000)
        damaged.write(b"\xff\xff")
    out = warm.command("verify", code=1)
    assert "1 damaged" in out and f"damaged and removed: {digest}" in out
    assert not path.exists()
    reply = warm.client.get("/acme/tiny/resolve/main/small.safetensors")
    assert (reply.status, reply.sha256()) == (200, digest)
    result = json.loads(warm.command("verify", "--json"))
    assert (result["state"], result["damaged"]) == ("done", 0)


def test_without_a_daemon(warm):
    """The commands say that nobody answers."""
    warm.stop()
    for command in (["ls"], ["pin", "acme/tiny"], ["purge", "acme/tiny"], ["verify"]):
        assert "daemon" in warm.command(*command, code=75)
    warm.start()
    wait_until(lambda: "acme/tiny" in rows(warm, "ls"), "it answers again")
