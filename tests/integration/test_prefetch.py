"""Prefetches: what is brought in before anybody asks, and how it goes on whatever happens."""

import hashlib
import random

import pytest
from conftest import ANN, BOB

from tests.hub import Generated, generated_bytes
from tests.support.admin import Prefetch, call
from tests.support.daemon import wait_until
from tests.support.http import Client

MIB = 1 << 20
LARGE = 24 * MIB + 5
IN_FLIGHT = 8 * MIB  # what sockets and chunks in memory may hold when the daemon is killed


def publish(hub, name="acme/model", kind="models", files=None, **fields):
    """Publish a repository with two large files and a few small ones; return the commit."""
    hub.create_repo(kind, name, **fields)
    return hub.commit(
        kind,
        name,
        files
        or {
            "config.json": b'{"a": 1}',
            "README.md": b"# Model\n",
            "one.safetensors": Generated(LARGE, seed=1),
            "two.safetensors": Generated(LARGE, seed=2),
        },
    )


def asked_of(hub, origin="cdn"):
    """Return the requests for bytes of files."""
    return [row for row in hub.log() if row["origin"] == origin and row["method"] == "GET"]


def slowly(hub, rate=3 * MIB, times=None, **more):
    """Make large files come slowly."""
    hub.fault(origin="cdn", method="GET", rate=rate, times=times, **more)


def digest(seed, size):
    """Return the sha256 of a generated file."""
    return hashlib.sha256(generated_bytes(seed, 0, size)).hexdigest()


def test_a_whole_repository(hub, daemon):
    """Everything is here afterwards: downloading all of it costs the Hub nothing."""
    publish(hub)
    seen = Prefetch.add(daemon, repository="acme/model").wait("done")
    assert (seen["files"], seen["files_done"]) == (5, 5) and seen["bytes"] == seen["bytes_done"] > 2 * LARGE
    assert seen["finished_at"] >= seen["started_at"] >= seen["created_at"] and seen["next_run_at"] is None
    sent = hub.sent("cdn")
    assert sent == 2 * LARGE
    hub.clear_log()
    reply = daemon.client.get("/acme/model/resolve/main/one.safetensors")
    assert reply.sha256() == digest(1, LARGE) and daemon.client.get("/acme/model/resolve/main/config.json").status == 200
    assert asked_of(hub) == []
    assert daemon.metric("prefetches", state="done") == 1 and daemon.metric("prefetch_received_bytes_total") >= 2 * LARGE


def test_killed_again_and_again(hub, make_daemon):
    """Kill -9 at random moments: it goes on by itself, and what was on disk does not come again."""
    publish(hub)
    daemon = make_daemon()
    one = Prefetch.add(daemon, repository="acme/model")
    dice, kills = random.Random(4), 0
    slowly(hub)
    while one.look()["state"] != "done" and kills < 4:
        at = hub.sent("cdn") + dice.randrange(2 * MIB, 9 * MIB)
        wait_until(lambda at=at: hub.sent("cdn") >= at or one.look()["state"] == "done", "some more has come", 30)
        daemon.kill()
        kills += 1
        daemon.start()
    hub.clear_faults()
    seen = one.wait("done", seconds=60)
    assert seen["files_done"] == seen["files"] == 5
    for name, seed in (("one", 1), ("two", 2)):
        assert daemon.client.get(f"/acme/model/resolve/main/{name}.safetensors").sha256() == digest(seed, LARGE)
    # What the daemon had on disk does not come again; what was in sockets and memory does.
    assert hub.sent("cdn") - 2 * LARGE <= kills * 2 * MIB
    resumed = [row for row in asked_of(hub) if row["headers"].get("range", "").startswith("bytes=")]
    assert resumed, "nothing was resumed"


def test_killed_while_it_asks(hub, make_daemon):
    """Kill -9 while the documents come: it goes on, and what the Hub said is not asked for again."""
    publish(hub, files={"config.json": b"{}"})
    daemon = make_daemon()
    hub.fault(origin="hub", delay_head=0.05, times=None)
    one = Prefetch.add(daemon, repository="acme/model")
    for n in (2, 6, 11):
        wait_until(lambda n=n: len(hub.log()) >= n, f"{n} requests")
        daemon.kill()
        daemon.start()
    assert one.wait("done")["files_done"] == 2
    asked = [row["target"] for row in hub.log() if row["path"].startswith("/api/models")]
    again = len(asked) - len(set(asked))
    assert again <= 3, sorted(asked)


def test_terminated_in_the_middle(hub, make_daemon):
    """SIGTERM ends at once, without waiting for prefetches; nothing that came comes again."""
    publish(hub)
    daemon = make_daemon()
    one = Prefetch.add(daemon, repository="acme/model")
    slowly(hub)
    wait_until(lambda: hub.sent("cdn") > 6 * MIB, "some of it has come")
    daemon.stop()
    sent = hub.sent("cdn")
    hub.clear_faults()
    daemon.start()
    assert one.wait("done")["files_done"] == 5
    assert hub.sent("cdn") - 2 * LARGE <= IN_FLIGHT
    assert sent < 2 * LARGE


def test_a_client_joins_and_is_promoted(hub, daemon):
    """A client that asks for a file on its way gets it from the same transfer, and not at the prefetch's pace."""
    publish(hub, files={"one.safetensors": Generated(LARGE, seed=1)})
    one = Prefetch.add(daemon, repository="acme/model", bandwidth=1 * MIB)
    wait_until(lambda: asked_of(hub), "the transfer has begun")
    reply = daemon.client.get("/acme/model/resolve/main/one.safetensors", timeout=12)
    assert reply.complete and reply.sha256() == digest(1, LARGE)
    one.wait("done")
    assert hub.sent("cdn") == LARGE and len(asked_of(hub)) == 1
    assert one.look()["finished_at"] - one.look()["started_at"] < 15_000


def test_it_joins_a_client(hub, daemon):
    """What a client downloads already is not asked for a second time."""
    commit = publish(hub, files={"one.safetensors": Generated(LARGE, seed=1)})
    with hub.gate(after_bytes=2 * MIB, origin="cdn") as gate:
        stream = daemon.client.stream(f"/acme/model/resolve/{commit}/one.safetensors")
        stream.head()
        gate.wait_reached()
        one = Prefetch.add(daemon, repository="acme/model")
        wait_until(lambda: one.look()["files"] == 2, "it knows its files")
        gate.release()
    body, whole = stream.rest()
    assert whole and hashlib.sha256(body).hexdigest() == digest(1, LARGE)
    one.wait("done")
    assert hub.sent("cdn") == LARGE and len(asked_of(hub)) == 1


def test_a_client_leaves_and_it_goes_on(hub, daemon):
    """The transfer that a client shared goes on for the prefetch alone."""
    publish(hub, files={"one.safetensors": Generated(LARGE, seed=1)})
    slowly(hub, rate=8 * MIB)
    one = Prefetch.add(daemon, repository="acme/model")
    wait_until(lambda: asked_of(hub), "the transfer has begun")
    stream = daemon.client.stream("/acme/model/resolve/main/one.safetensors")
    stream.head()
    stream.read(100_000)
    stream.close()
    one.wait("done")
    assert hub.sent("cdn") == LARGE


def test_people_do_not_wait_behind_it(hub, make_daemon):
    """While prefetches take all they may, and crawl, a cold file reaches a client at once."""
    files = {f"{i}.bin": Generated(LARGE, seed=10 + i) for i in range(4)}
    publish(hub, files=files)
    publish(hub, "acme/other", files={"cold.bin": Generated(9 * MIB, seed=3)})
    daemon = make_daemon({"upstream": {"max_connections_per_host": 4, "max_connections": 6}, "workers": {"prefetch_files": 4}})
    slowly(hub, rate=200_000, times=3)
    one = Prefetch.add(daemon, repository="acme/model")
    wait_until(lambda: len(asked_of(hub)) == 3, "the prefetch has its share, which is not all")
    reply = daemon.client.get("/acme/other/resolve/main/cold.bin")
    assert reply.sha256() == digest(3, 9 * MIB)
    assert one.look()["bytes_done"] < 3 * LARGE and len(asked_of(hub)) == 4
    one.cancel()


def test_patterns(hub, daemon):
    """Only the files that match come; the tree is complete all the same."""
    publish(hub)
    seen = Prefetch.add(daemon, repository="acme/model", include=["*.json", "*.md"], exclude=["README*"]).wait("done")
    assert seen["files"] == 1 and hub.sent("cdn") == 0
    hub.clear_log()
    assert len(daemon.client.get("/api/models/acme/model/tree/main?recursive=true").json()) == 5


def test_the_same_twice_is_one(hub, daemon):
    """Asked for again it is the same; asked for when done, it looks again."""
    publish(hub)
    status, first = call(daemon, "POST", "prefetches", {"repository": "acme/model", "include": ["*.json", "*.md"]})
    assert status == 201
    status, again = call(daemon, "POST", "prefetches", {"repository": "acme/model", "include": ["*.md", "*.json"], "priority": 9})
    assert status == 200 and again["id"] == first["id"] and again["wants"]["priority"] == 9
    one = Prefetch(daemon, first["id"])
    one.wait("done")
    moved = hub.commit("models", "acme/model", {"config.json": b'{"a": 2}'})
    Prefetch.add(daemon, repository="acme/model", include=["*.md", "*.json"])
    assert one.wait("done")["commit"] == moved
    assert len(call(daemon, "GET", "prefetches")[1]["prefetches"]) == 1


def test_two_share_a_file(hub, daemon):
    """The same bytes in two repositories come once."""
    shared = {"w.safetensors": Generated(LARGE, seed=1)}
    publish(hub, files={**shared, "a.json": b"{}"})
    publish(hub, "acme/copy", files={**shared, "b.json": b"[]"})
    both = [Prefetch.add(daemon, repository=name) for name in ("acme/model", "acme/copy")]
    for one in both:
        assert one.wait("done")["files_done"] == 3
    assert hub.sent("cdn") == LARGE


def test_pause_resume_cancel(hub, daemon):
    """Paused, not a byte moves; resumed, it goes on where it was; cancelled, it is over and can be forgotten."""
    publish(hub)
    slowly(hub)
    one = Prefetch.add(daemon, repository="acme/model")
    wait_until(lambda: hub.sent("cdn") > 3 * MIB, "it is under way")
    assert one.look()["bytes_done"] > 0
    assert one.do("pause")["state"] == "paused"
    hub.wait_idle()
    sent = hub.sent("cdn")
    assert call(daemon, "POST", f"prefetches/{one.number}/pause")[0] == 200
    hub.clear_faults()
    assert one.look()["state"] == "paused" and hub.sent("cdn") == sent
    one.do("resume")
    assert one.wait("done")["files_done"] == 5
    assert hub.sent("cdn") - 2 * LARGE <= IN_FLIGHT
    assert one.cancel() == {}
    assert call(daemon, "GET", f"prefetches/{one.number}")[0] == 404
    slowly(hub, rate=100_000)
    publish(hub, "acme/b", files={"b.bin": Generated(LARGE, seed=9)})
    other = Prefetch.add(daemon, repository="acme/b")
    wait_until(lambda: other.look()["state"] == "running" and other.look()["files"], "it is under way")
    assert other.cancel()["state"] == "cancelled"
    hub.wait_idle()
    assert call(daemon, "POST", f"prefetches/{other.number}/pause")[0] == 409


def test_a_paused_one_stays_paused(hub, make_daemon):
    """Over a kill, too."""
    publish(hub)
    daemon = make_daemon()
    slowly(hub)
    one = Prefetch.add(daemon, repository="acme/model")
    wait_until(lambda: hub.sent("cdn") > 3 * MIB, "it is under way")
    one.do("pause")
    wait_until(lambda: one.look()["state"] == "paused", "it is paused")
    daemon.wait_metric("prefetches", 1, state="paused")
    daemon.stop()
    daemon.start()
    assert one.look()["state"] == "paused"
    hub.clear_faults()
    one.do("resume")
    one.wait("done")


@pytest.mark.parametrize(
    ("name", "why"),
    [("acme/nothing", "does not exist"), ("acme/secret", "does not exist, or no token"), ("acme/gated", "gated")],
)
def test_says_why_it_failed(hub, daemon, name, why):
    """Missing, private and gated repositories end it with a reason."""
    publish(hub, "acme/secret", private=True)
    publish(hub, "acme/gated", gated="auto")
    seen = Prefetch.add(daemon, repository=name).wait("failed")
    assert why in seen["why"] and name in seen["why"]
    assert hub.sent("cdn") == 0


def test_no_such_revision(hub, daemon):
    """A revision that is not there."""
    publish(hub)
    seen = Prefetch.add(daemon, repository="acme/model", revision="v9").wait("failed")
    assert "no such revision" in seen["why"]


def test_other_revisions(hub, daemon):
    """A tag, a commit and a pull request are revisions."""
    first = publish(hub)
    hub.create_tag("models", "acme/model", "v1")
    hub.create_pr_ref("models", "acme/model", 1)
    hub.commit("models", "acme/model", {"pr.txt": "1"}, branch="refs/pr/1")
    hub.commit("models", "acme/model", {"new.txt": "2"})
    for revision in ("v1", first, "refs/pr/1"):
        seen = Prefetch.add(daemon, repository="acme/model", revision=revision, include=["*.txt", "*.json"]).wait("done")
        assert seen["files"] == (2 if revision.startswith("refs") else 1)
    assert daemon.client.get("/acme/model/resolve/v1/config.json").status == 200


def test_no_room(hub, make_daemon):
    """What does not fit on the disk is said before a byte is fetched."""
    publish(hub)
    daemon = make_daemon({"cache": {"min_free": f"{1 << 49}"}})
    seen = Prefetch.add(daemon, repository="acme/model").wait("failed")
    assert "cache.min_free" in seen["why"] and hub.sent("cdn") == 0


def test_older_files_make_room(hub, make_daemon):
    """Below the store's limit a prefetch has its place like any file; above it, it is not begun."""
    publish(hub, "acme/old", files={"old.bin": Generated(LARGE, seed=7)})
    publish(hub, files={"new.bin": Generated(LARGE, seed=8)})
    daemon = make_daemon({"cache": {"max_size": f"{40 * MIB}"}})
    Prefetch.add(daemon, repository="acme/old").wait("done")
    assert Prefetch.add(daemon, repository="acme/model").wait("done")["files_done"] == 2
    assert daemon.client.get("/acme/model/resolve/main/new.bin").sha256() == digest(8, LARGE)
    assert hub.sent("cdn") == 2 * LARGE
    publish(hub, "acme/other", files={f"{i}.bin": Generated(LARGE, seed=i) for i in range(2)})
    both = Prefetch.add(daemon, repositories=["acme/model", "acme/other"])
    assert "acme/other" in both.wait("failed", "done")["why"]


def test_the_hub_goes_away_and_comes_back(hub, daemon):
    """It waits, says so, and goes on."""
    publish(hub)
    slowly(hub)
    one = Prefetch.add(daemon, repository="acme/model")
    wait_until(lambda: hub.sent("cdn") > 3 * MIB, "it is under way")
    hub.down("hub")
    hub.down("cdn")
    seen = one.wait("waiting", seconds=40)
    assert "goes on in" in seen["why"]
    hub.clear_faults()
    hub.up("hub")
    hub.up("cdn")
    one.do("resume")
    assert one.wait("done", seconds=60)["files_done"] == 5


def test_rate_limit(hub, daemon):
    """429 is waited out, for as long as the Hub says."""
    publish(hub)
    hub.fault(origin="hub", path="/refs", status=429, headers={"Retry-After": "2"}, times=1)
    one = Prefetch.add(daemon, repository="acme/model")
    assert "rate limit" in one.wait("waiting")["why"]
    one.wait("done")


def test_wrong_bytes(hub, daemon):
    """Bytes that are not those of their digest are never kept; after a few tries it says so."""
    publish(hub, files={"one.bin": Generated(MIB, seed=1)})
    hub.fault(origin="cdn", method="GET", flip=1000, times=None)
    one = Prefetch.add(daemon, repository="acme/model")
    for _ in range(5):
        if one.wait("waiting", "failed")["state"] == "failed":
            break
        one.do("resume")
    assert "one.bin" in one.look()["why"] and one.look()["state"] == "failed"


def test_bandwidth(hub, daemon):
    """No faster than it may, and a change is in force at once."""
    publish(hub, files={"one.bin": Generated(LARGE, seed=1)})
    one = Prefetch.add(daemon, repository="acme/model", bandwidth=2 * MIB)
    wait_until(lambda: one.look()["bytes_done"] >= 4 * MIB, "two seconds of it", 20)
    seen = one.look()
    assert seen["state"] == "running" and 0 < seen["rate"] < 4 * MIB and seen["eta"] > 0
    Prefetch.add(daemon, repository="acme/model", bandwidth=0)
    one.wait("done", seconds=10)


def test_max_size(hub, daemon):
    """More than the ceiling is not begun."""
    publish(hub)
    seen = Prefetch.add(daemon, repository="acme/model", max_size=LARGE).wait("failed")
    assert "max_size" in seen["why"] and hub.sent("cdn") == 0
    publish(hub, "acme/small", files={"a.txt": b"a"})
    seen = Prefetch.add(daemon, repositories=["acme/model", "acme/small"], max_size=LARGE).wait("done")
    assert seen["files"] == 2 and "acme/model" in seen["why"] and hub.sent("cdn") == 0


def test_follow(hub, make_daemon):
    """When the branch moves, only what changed is fetched."""
    publish(hub)
    daemon = make_daemon({"workers": {"poll_resting": "1s"}})
    one = Prefetch.add(daemon, repository="acme/model", follow=True)
    first = one.wait("done")
    assert first["next_run_at"]
    sent = hub.sent("cdn")
    hub.clear_log()
    wait_until(lambda: one.look()["finished_at"] > first["finished_at"], "it has looked again", 10)
    rows = [row["target"] for row in hub.log() if row["origin"] == "hub"]
    assert rows and set(rows) == {"/api/models/acme/model/revision/main"}
    moved = hub.commit("models", "acme/model", {"config.json": b'{"a": 3}', "three.safetensors": Generated(MIB, seed=3)})
    wait_until(lambda: one.look()["commit"] == moved, "it has followed", 15)
    assert hub.sent("cdn") == MIB and sent == 2 * LARGE
    assert not [row for row in asked_of(hub, "hub") if "README" in row["path"]]
    one.cancel()
    assert one.look()["next_run_at"] is None
