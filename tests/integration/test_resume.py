"""What has come is kept: across dead connections, dead processes and restarts."""

import hashlib
import re

import pytest

from tests.hub import Generated, generated_bytes
from tests.support.daemon import wait_until

MIB = 1 << 20
SIZE = 24 * MIB + 3


@pytest.fixture
def target(hub):
    """Publish one large file; return its URL."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(SIZE, seed=4), "config.json": b"{}"})
    return f"/acme/m/resolve/{sha}/w.safetensors"


def check(reply):
    """A whole and right file."""
    assert reply.status == 200 and reply.complete, reply
    assert reply.sha256() == reply["ETag"].strip('"')


@pytest.mark.parametrize("how", ["reset", "truncate"])
@pytest.mark.parametrize("place", [1, 100_000, 12 * MIB, SIZE - 1])
def test_a_transfer_that_breaks_goes_on_where_it_stopped(hub, daemon, target, how, place):
    """The client notices nothing; upstream sends what was missing and little more."""
    hub.fault(origin="cdn", **{how: place})
    check(daemon.client.get(target))
    gets = hub.log("cdn")
    assert len(gets) == 2
    assert sum(r["sent"] for r in gets) <= SIZE + MIB
    asked = gets[1]["headers"].get("range")
    assert asked and int(re.match(r"bytes=(\d+)-", asked).group(1)) <= place


def test_a_transfer_that_breaks_again_and_again_ends(hub, daemon, target):
    """Three times is enough: the client is let go, and does not hang."""
    hub.fault(origin="cdn", truncate=10, times=None)
    try:
        reply = daemon.client.get(target)
        assert reply.status in (502, 503, 504) or not reply.complete
    except ConnectionError:
        pass
    assert len(hub.log("cdn")) <= 8


def test_upstream_changes_its_mind_about_parts(hub, daemon, target):
    """The second half is asked for as a part and comes as a whole: nothing is mixed up."""
    hub.fault(origin="cdn", reset=5 * MIB)
    hub.fault(origin="cdn", header={"range": "."}, ignore_range=True, times=1)
    reply = daemon.client.get(target, timeout=20)
    if reply.complete and reply.status == 200:
        check(reply)
    check(daemon.client.get(target))


def durable(daemon):
    """Return how many bytes lie in the data directory."""
    return sum(daemon.files().values())


def test_kill_in_the_middle_and_go_on(hub, daemon, target):
    """kill -9 with half a file: after the restart the rest is fetched, and the whole is right."""
    with hub.gate(after_bytes=18 * MIB, origin="cdn", times=1) as gate:
        with daemon.client.stream(target) as stream:
            stream.head()
            gate.wait_reached()
            assert len(stream.read(16 * MIB)) == 16 * MIB
            wait_until(lambda: durable(daemon) >= 16 * MIB, "the bytes are on the disk")
            daemon.kill()
    hub.wait_idle()
    hub.clear_log()
    daemon.start()
    check(daemon.client.get(target))
    hub.wait_idle()
    assert hub.sent("cdn") <= SIZE, "never more than the whole again"
    daemon.wait_metric("blobs_verified_total", 1)


def test_a_stop_in_the_middle_keeps_what_came(hub, daemon, target):
    """SIGTERM with half a file: after the restart no byte that came is fetched again."""
    with hub.gate(after_bytes=16 * MIB, origin="cdn", times=1) as gate:
        with daemon.client.stream(target) as stream:
            stream.head()
            gate.wait_reached()
            assert len(stream.read(15 * MIB)) == 15 * MIB
            wait_until(lambda: durable(daemon) >= 15 * MIB, "the bytes are on the disk")
            daemon.stop()
    hub.wait_idle()
    hub.clear_log()
    daemon.start()
    check(daemon.client.get(target))
    hub.wait_idle()
    assert hub.sent("cdn") <= SIZE - 14 * MIB, "what was on the disk was not asked for again"


def test_whatever_is_being_done_when_it_is_killed(hub, daemon, target):
    """kill -9 ten times at different moments: it starts again at once, and no wrong byte is ever served."""
    prefix = target.rsplit("/", 1)[0]
    for round_ in range(10):
        with daemon.client.stream(target) as stream:
            daemon.client.get(f"{prefix}/config.json")
            stream.head()
            got = stream.read(1 + round_ * 2 * MIB)
            assert got == generated_bytes(4, 0, len(got))
            daemon.kill()
        daemon.start()
    check(daemon.client.get(target))
    daemon.kill()
    daemon.start()
    hub.clear_log()
    check(daemon.client.get(target))
    assert hub.log() == []


def test_damaged_bytes_of_a_partial_file(hub, daemon, target):
    """The disk changes a segment of an unfinished file: it is noticed, and never completed."""
    reply = daemon.client.get(target, range=f"bytes=0-{4 * MIB - 1}")
    assert reply.status == 206 and reply.complete
    hub.wait_idle()
    daemon.stop()
    harmed = 0
    for name, size in daemon.files().items():
        path = daemon.data_dir / name
        data = path.read_bytes() if size >= MIB else b""
        if generated_bytes(4, 0, MIB) in data:
            at = data.index(generated_bytes(4, 0, MIB))
            path.chmod(0o600)
            with open(path, "r+b") as f:
                f.seek(at + 1000)
                f.write(bytes([data[at + 1000] ^ 1]))
            harmed += 1
    assert harmed, "the segment lies in the data directory"
    daemon.start()
    for _ in range(3):
        reply = daemon.client.get(target)
        assert reply.status != 200 or not reply.complete or reply.sha256() == reply["ETag"].strip('"')
        if reply.status == 200 and reply.complete:
            return
    pytest.fail("the file never became whole again")


def test_leftovers_are_swept(hub, daemon, target):
    """Rubbish in the data directory neither stops the start nor is it served."""
    check(daemon.client.get(target))
    daemon.stop()
    for folder in {(daemon.data_dir / name).parent for name in daemon.files()}:
        for n in range(20):
            (folder / f"leftover-{n}").write_bytes(b"x" * 100)
    daemon.start()
    hub.clear_log()
    check(daemon.client.get(target))
    assert hub.sent("cdn") == 0


def test_the_index_is_lost(hub, daemon, target):
    """Without its database it starts all the same, and finds the stored files again or fetches them."""
    check(daemon.client.get(target))
    daemon.stop()
    harmed = 0
    for name in daemon.files():
        path = daemon.data_dir / name
        if path.open("rb").read(15) == b"SQLite format 3":
            path.write_bytes(b"\0" * 4096)
            harmed += 1
        elif name.endswith("-wal") or name.endswith("-shm"):
            path.unlink()
    assert harmed == 1
    daemon.start()
    check(daemon.client.get(target))
    digest = hashlib.sha256(generated_bytes(4, 0, SIZE)).hexdigest()
    wait_until(lambda: daemon.blob_file(digest), "the file is in the store")


def test_one_store_one_process(make_daemon, daemon, tmp_path):
    """A second daemon on the same data says so and ends with status 75."""
    second = make_daemon({"data_dir": str(daemon.data_dir)}, start=False)
    second.start(wait=False)
    second.expect_death = True
    assert second.wait() == 75
    assert str(daemon.data_dir) in second.log_text() or "in use" in second.log_text()
    assert daemon.client.get("/-/healthz").status == 200
