"""What a prefetch is about: organizations, collections and searches; when it runs; with whose token."""

import time

from conftest import ANN, BOB, EVE
from test_pool import Access
from test_prefetch import LARGE, MIB, asked_of, publish

from tests.hub import Generated
from tests.support.admin import Prefetch, call
from tests.support.daemon import wait_until


def small(hub, kind, name, text, **fields):
    """Publish a repository with one small file."""
    return publish(hub, name, kind, {"data.txt": text.encode() * 100}, **fields)


def names_of(hub):
    """Return the repositories whose files were asked for."""
    out = set()
    for row in hub.log():
        if "/resolve/" in row["path"] and row["method"] == "HEAD":
            out.add(row["path"].lstrip("/").partition("/resolve/")[0])
    return out


def test_an_organization(hub, daemon):
    """All its models and datasets, over several pages, and no Space unless asked for; nobody else's."""
    hub.quirks(list_page_size=2)
    for n in range(5):
        small(hub, "models", f"acme/m{n}", f"m{n}")
    small(hub, "datasets", "acme/d", "d")
    small(hub, "spaces", "acme/s", "s")
    small(hub, "models", "other/m", "o")
    seen = Prefetch.add(daemon, organizations=["acme"]).wait("done")
    assert names_of(hub) == {f"acme/m{n}" for n in range(5)} | {"datasets/acme/d"}
    assert seen["files_done"] == seen["files"] == 12 and seen["title"] == "all of acme"
    Prefetch.add(daemon, organizations=["acme"], types=["space"]).wait("done")
    assert "spaces/acme/s" in names_of(hub)


def test_a_collection(hub, daemon):
    """Its models and datasets; papers do no harm, and one that is refused not to the others."""
    small(hub, "models", "acme/gated", "g", gated="manual")
    small(hub, "models", "acme/m", "m")
    small(hub, "datasets", "acme/d", "d")
    items = [
        {"id": "acme/m", "type": "model"},
        {"id": "1706.03762", "type": "paper"},
        {"id": "acme/d", "type": "dataset"},
        {"id": "acme/gated", "type": "model"},
    ]
    slug = hub.call("add_collection", owner="acme", title="Small things", items=items)
    seen = Prefetch.add(daemon, collections=[slug]).wait("failed")
    assert seen["files_done"] == seen["files"] == 4 and "acme/gated" in seen["why"] and "1 of 3" in seen["why"]
    missing = Prefetch.add(daemon, collections=["acme/nothing-0123456789abcdef01234567"]).wait("failed")
    assert "404" in missing["why"]


def test_a_search(hub, daemon):
    """What it finds, up to its own limit."""
    for n in range(6):
        small(hub, "models", f"acme/bert-{n}", f"m{n}")
        hub.update_repo("models", f"acme/bert-{n}", downloads=n)
    small(hub, "models", "acme/gpt", "g")
    Prefetch.add(daemon, searches=["models?search=bert&sort=downloads&limit=3"]).wait("done")
    assert names_of(hub) == {"acme/bert-5", "acme/bert-4", "acme/bert-3"}


def test_a_ceiling_for_all(hub, daemon):
    """Repositories that do not fit into what is left of max_size are left out, whole, and named."""
    publish(hub, "acme/a", files={"a.bin": Generated(MIB, seed=1)})
    publish(hub, "acme/b", files={"b.bin": Generated(5 * MIB, seed=2)})
    publish(hub, "acme/c", files={"c.bin": Generated(MIB, seed=3)})
    seen = Prefetch.add(daemon, repositories=["acme/a", "acme/b", "acme/c"], max_size=3 * MIB).wait("done")
    assert hub.sent("cdn") == 2 * MIB
    assert "acme/b" in seen["why"] and "max_size" in seen["why"] and "1 skipped" in seen["why"]


def test_priority(hub, make_daemon):
    """The most important one gets the next place."""
    daemon = make_daemon({"workers": {"prefetch_files": 1}})
    publish(hub, "acme/low", files={f"{i}.bin": Generated(9 * MIB, seed=i) for i in range(3)})
    publish(hub, "acme/high", files={"h.bin": Generated(9 * MIB, seed=9)})
    hub.fault(origin="cdn", method="GET", rate=6 * MIB, times=None)
    low = Prefetch.add(daemon, repository="acme/low", priority=1)
    wait_until(lambda: asked_of(hub), "the first is under way")
    high = Prefetch.add(daemon, repository="acme/high", priority=9)
    high.wait("done")
    assert low.look()["state"] == "running" and low.look()["files_done"] <= 3
    low.wait("done")


def minutes_from_now(n):
    """Return HH:MM in local time."""
    return time.strftime("%H:%M", time.localtime(time.time() + 60 * n))


def test_outside_its_window(hub, daemon):
    """Nothing is asked before the window opens; inside of one it runs."""
    publish(hub, files={"a.bin": Generated(MIB, seed=1)})
    shut = f"{minutes_from_now(120)}-{minutes_from_now(180)}"
    one = Prefetch.add(daemon, repository="acme/model", window=shut)
    assert shut in one.wait("waiting")["why"]
    assert hub.log() == []
    Prefetch.add(daemon, repository="acme/model", window=f"{minutes_from_now(-60)}-{minutes_from_now(60)}")
    assert one.wait("done")["files_done"] == 2


def test_every_so_often(hub, daemon):
    """An interval runs it again."""
    publish(hub, files={"a.bin": Generated(MIB, seed=1)})
    one = Prefetch.add(daemon, repository="acme/model", schedule="1s")
    first = one.wait("done")
    wait_until(lambda: one.look()["finished_at"] > first["finished_at"], "it has run again")
    assert hub.sent("cdn") == MIB


def test_a_gated_repository_with_the_pools_token(hub, make_daemon, tmp_path):
    """The token that was granted access is found among those of the pool; clients gain nothing by it."""
    access = Access(tmp_path / "access")
    for label, value in (("bob", BOB), ("eve", EVE), ("ann", ANN)):
        access.token("main", label, value)
    access.write()
    daemon = make_daemon(access.config)
    publish(hub, "third/gated", files={"w.bin": Generated(MIB, seed=1), "README.md": b"# open"}, gated="manual")
    hub.grant("eve", "models", "third/gated")
    seen = Prefetch.add(daemon, repository="third/gated").wait("done")
    assert seen["files_done"] == 3 and hub.sent("cdn") == MIB
    assert daemon.client.get("/third/gated/resolve/main/w.bin").status in (401, 403)
    assert daemon.client.get("/third/gated/resolve/main/w.bin", token=BOB).status == 403
    hub.clear_log()
    assert daemon.client.get("/third/gated/resolve/main/w.bin", token=EVE).status == 200
    assert hub.sent("cdn") == 0


def test_nobody_in_the_pool_may(hub, make_daemon, tmp_path):
    """Then it says which tokens were refused."""
    access = Access(tmp_path / "access")
    access.token("main", "bob", BOB)
    access.token("main", "eve", EVE)
    access.write()
    daemon = make_daemon(access.config)
    publish(hub, "third/gated", files={"w.bin": Generated(MIB, seed=1)}, gated="manual")
    seen = Prefetch.add(daemon, repository="third/gated").wait("failed")
    assert "gated" in seen["why"] and "bob" in seen["why"] and "eve" in seen["why"]
    assert hub.sent("cdn") == 0


def test_a_private_repository(hub, make_daemon, tmp_path):
    """The pool's token sees it; whoever has none does not."""
    access = Access(tmp_path / "access")
    access.token("main", "ann", ANN, namespaces=["acme"])
    access.write()
    daemon = make_daemon(access.config)
    publish(hub, "acme/secret", private=True)
    assert Prefetch.add(daemon, repository="acme/secret").wait("done")["bytes_done"] > 2 * LARGE
    sent = hub.sent("cdn")
    assert daemon.client.get("/acme/secret/resolve/main/config.json").status == 401
    assert daemon.client.get("/acme/secret/resolve/main/one.safetensors", token=ANN).status == 200
    assert hub.sent("cdn") == sent


def test_what_is_refused(daemon):
    """Bodies that make no sense are told why."""
    for body in (
        {},
        {"repository": 5},
        {"repository": "acme/m", "follow": "yes"},
        {"repository": "acme/m", "type": "paper"},
        {"revision": "main"},
        {"repository": "acme/m", "nonsense": 1},
        {"repository": "acme/m", "include": [1]},
        {"repository": "acme/m", "window": "noon"},
        {"repository": "acme/m", "schedule": "sometimes"},
        {"repository": "acme/m", "priority": 10},
        {"repository": "../m"},
    ):
        status, document = call(daemon, "POST", "prefetches", body)
        assert status == 400 and document["error"], (body, status, document)
    for target in ("prefetches/1", "prefetches/x", "prefetches/99999999999999999999"):
        assert call(daemon, "GET", target)[0] == 404
        assert call(daemon, "DELETE", target)[0] == 404
    assert call(daemon, "GET", "prefetches") == (200, {"prefetches": []})
