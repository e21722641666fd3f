"""However many ask, upstream is asked once; whoever leaves or dawdles harms nobody else."""

import hashlib
import threading
import time

import pytest
from conftest import ANN, BOB, EVE

from tests.hub import Generated, generated_bytes
from tests.support.daemon import wait_until

MIB = 1 << 20
SIZE = 12 * MIB + 5


@pytest.fixture
def target(hub):
    """Publish one large file; return its URL."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(SIZE, seed=2), "config.json": b'{"a": 1}'})
    return f"/acme/m/resolve/{sha}/w.safetensors"


def at_once(n, do):
    """Run do(i) in n threads and return the results."""
    results, threads = {}, []

    def run(i):
        try:
            results[i] = do(i)
        except Exception as e:
            results[i] = e

    for i in range(n):
        threads.append(threading.Thread(target=run, args=(i,)))
        threads[-1].start()
    return results, threads


def check(reply):
    """A whole and right file."""
    assert not isinstance(reply, Exception), reply
    assert reply.status == 200 and reply.complete
    assert reply.sha256() == reply["ETag"].strip('"')


def test_64_clients_on_one_cold_file_cost_one_transfer(hub, daemon, target):
    """Sixty-four machines start at once: upstream sends the file once."""
    with hub.gate(after_bytes=MIB, origin="cdn") as gate:
        results, threads = at_once(64, lambda i: daemon.client.get(target, timeout=60))
        gate.wait_reached()
        daemon.wait_metric("flight_followers", 64)
        gate.release()
        for t in threads:
            t.join()
    for i in range(64):
        check(results[i])
    assert hub.sent("cdn") == SIZE
    assert len([r for r in hub.log("cdn") if r["method"] == "GET"]) == 1
    assert len(hub.log("hub")) <= 2, "one question for all"


def test_32_clients_on_one_cold_small_file(hub, daemon, target):
    """The same for files that are verified before they are sent, through a branch."""
    results, threads = at_once(32, lambda i: daemon.client.get("/acme/m/resolve/main/config.json", timeout=60))
    for t in threads:
        t.join()
    assert {(r.status, r.body) for r in results.values()} == {(200, b'{"a": 1}')}
    assert len([r for r in hub.log("hub") if r["method"] == "GET"]) == 1, "one body"
    assert len([r for r in hub.log("hub") if r["method"] == "HEAD"]) <= 2, "one question and its redirect"


def test_whoever_comes_later_starts_at_once(hub, daemon, target):
    """A second reader gets what is here while the first is still waiting for more."""
    with hub.gate(after_bytes=4 * MIB, origin="cdn") as gate:
        with daemon.client.stream(target) as first:
            first.head()
            gate.wait_reached()
            assert len(first.read(3 * MIB)) == 3 * MIB
            with daemon.client.stream(target) as second:
                assert second.head().status == 200
                body = second.read(3 * MIB)
                assert hashlib.sha256(body).digest() == hashlib.sha256(generated_bytes(2, 0, 3 * MIB)).digest()
                gate.release()
                rest, whole = second.rest()
                assert whole and len(rest) == SIZE - 3 * MIB
            assert first.rest()[1]
    assert hub.sent("cdn") == SIZE


def test_the_leader_leaves(hub, daemon, target):
    """The one who began goes away; those who joined get everything, and upstream sends nothing twice."""
    with hub.gate(after_bytes=2 * MIB, origin="cdn", times=1) as gate:
        leader = daemon.client.stream(target)
        leader.head()
        gate.wait_reached()
        results, threads = at_once(3, lambda i: daemon.client.get(target, timeout=30))
        daemon.wait_metric("flight_followers", 4)
        leader.close()
        wait_until(lambda: daemon.metric("flight_followers") == 3, "the leader has left")
        gate.release()
        for t in threads:
            t.join()
    for i in range(3):
        check(results[i])
    assert hub.sent("cdn") == SIZE


def test_everybody_leaves_early(hub, daemon, target):
    """Nobody wants the rest: what came is kept, and the next one goes on from there."""
    with hub.gate(after_bytes=2 * MIB, origin="cdn", times=1) as gate:
        with daemon.client.stream(target) as stream:
            stream.head()
            gate.wait_reached()
            assert len(stream.read(MIB)) == MIB
        wait_until(lambda: daemon.metric("flight_followers") == 0, "the reader has left")
        gate.release()
        reply = daemon.client.get(target, timeout=30)
    check(reply)
    hub.wait_idle()
    assert hub.sent("cdn") <= SIZE + MIB


def test_a_reader_who_stands_still_holds_up_nobody(hub, daemon, target):
    """Ten clients that stop reading cost the eleventh nothing."""
    idle = [daemon.client.stream(target, receive_buffer=4096) for _ in range(10)]
    for stream in idle:
        stream.head()
    began = time.monotonic()
    check(daemon.client.get(target))
    assert time.monotonic() - began < 5
    assert hub.sent("cdn") == SIZE
    for stream in idle:
        stream.close()
    wait_until(lambda: daemon.metric("flight_followers") == 0, "all have gone")


def test_one_digest_under_many_names_is_one_transfer(hub, daemon, target):
    """Two repositories, one content, both asked at the same moment."""
    hub.create_repo("models", "acme/copy")
    sha = hub.commit("models", "acme/copy", {"other.bin": Generated(SIZE, seed=2)})
    other = f"/acme/copy/resolve/{sha}/other.bin"
    with hub.gate(after_bytes=MIB, origin="cdn") as gate:
        results, threads = at_once(2, lambda i: daemon.client.get((target, other)[i], timeout=30))
        gate.wait_reached()
        daemon.wait_metric("flight_followers", 2)
        gate.release()
        for t in threads:
            t.join()
    check(results[0])
    check(results[1])
    assert hub.sent("cdn") == SIZE


def test_questions_about_a_branch_are_one(hub, make_daemon, target):
    """Fifty clients ask for the same branch at the moment its TTL ends: one revalidation."""
    daemon = make_daemon({"cache": {"ref_ttl": "0s"}})
    main = "/acme/m/resolve/main/config.json"
    assert daemon.client.get(main).status == 200
    hub.clear_log()
    with hub.gate("before_head", origin="hub", method="HEAD") as gate:
        results, threads = at_once(50, lambda i: daemon.client.head(main))
        gate.wait_reached()
        wait_until(lambda: daemon.metric("questions_joined_total") >= 49, "all wait for the one question")
        gate.release()
        for t in threads:
            t.join()
    assert {r.status for r in results.values()} == {200}
    assert len([r for r in hub.log("hub") if "/resolve/main/" in r["target"]]) == 1


def test_documents_are_asked_for_once(hub, daemon, target):
    """Thirty clients want the same document that is not here."""
    with hub.gate("before_head", origin="hub", path="/api/models/acme/m") as gate:
        results, threads = at_once(30, lambda i: daemon.client.get("/api/models/acme/m"))
        gate.wait_reached()
        wait_until(lambda: daemon.metric("questions_joined_total") >= 29, "all wait for the one question")
        gate.release()
        for t in threads:
            t.join()
    assert {(r.status, r.body) for r in results.values()} == {(200, results[0].body)}
    assert len(hub.log("hub")) == 1


def test_a_private_file_in_flight_is_for_those_who_may(hub, daemon, target):
    """Joining a transfer needs a right of one's own: neither anonymous nor a stranger gets a byte."""
    hub.create_repo("models", "acme/hidden", private=True)
    sha = hub.commit("models", "acme/hidden", {"w.bin": Generated(SIZE, seed=5, lfs=True)})
    private = f"/acme/hidden/resolve/{sha}/w.bin"
    hub.grant("bob", "models", "acme/hidden")
    with hub.gate(after_bytes=MIB, origin="cdn") as gate:
        with daemon.client.stream(private, token=ANN) as first:
            first.head()
            gate.wait_reached()
            assert daemon.client.get(private).status == 401
            assert daemon.client.get(private, range="bytes=0-99").status == 401
            assert daemon.client.get(private, token=EVE).status == 404
            assert daemon.client.head(private, token=EVE).status == 404
            results, threads = at_once(1, lambda i: daemon.client.get(private, token=BOB, timeout=30))
            daemon.wait_metric("flight_followers", 2)
            gate.release()
            assert first.rest()[1]
            threads[0].join()
    check(results[0])
    assert hub.sent("cdn") == SIZE
