"""Parts of files: exact, shared, remembered, and never more than was asked for plus the read-ahead."""

import hashlib
import threading

import pytest

from tests.hub import Generated, generated_bytes
from tests.support.daemon import wait_until

SIZE = 16 << 20
MIB = 1 << 20


@pytest.fixture
def repo(hub):
    """Publish one large LFS file and one text file."""
    hub.create_repo("models", "acme/big")
    sha = hub.commit(
        "models", "acme/big", {"w.safetensors": Generated(SIZE, seed=11), "t.txt": b"0123456789", "empty.txt": b""}
    )
    return f"/acme/big/resolve/{sha}/w.safetensors"


def part(start, end):
    """Return the true bytes of [start, end)."""
    return generated_bytes(11, start, end - start)


RANGES = {
    "bytes=0-0": (206, 0, 1),
    "bytes=0-": (206, 0, SIZE),
    "bytes=-1": (206, SIZE - 1, SIZE),
    "bytes=5-9": (206, 5, 10),
    f"bytes={SIZE - 5}-": (206, SIZE - 5, SIZE),
    f"bytes={SIZE - 5}-{SIZE}": (206, SIZE - 5, SIZE),
    f"bytes={SIZE - 5}-{SIZE - 1}": (206, SIZE - 5, SIZE),
    f"bytes=10-{(1 << 63) - 1}": (206, 10, SIZE),
    f"bytes={SIZE - 3}-{1 << 64}": (206, SIZE - 3, SIZE),
    f"bytes={SIZE - 3}-{'9' * 30}": (206, SIZE - 3, SIZE),
    f"bytes=-{SIZE + 100}": (206, 0, SIZE),
    f"bytes={SIZE}-": (416, 0, 0),
    f"bytes={SIZE + 1}-": (416, 0, 0),
    f"bytes={'9' * 30}-": (416, 0, 0),
    "bytes=-0": (416, 0, 0),
    "bytes=5-2": (200, 0, SIZE),
    "bytes=a-b": (200, 0, SIZE),
    "items=0-1": (200, 0, SIZE),
    "bytes=": (200, 0, SIZE),
    "bytes=-": (200, 0, SIZE),
    "bytes=0-1,3-4": (200, 0, SIZE),
    "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(200)): (200, 0, SIZE),
}


def check(reply, status, start, end):
    """An answer is the part, says which part it is, and is the part."""
    assert reply.status == status, reply
    if status == 416:
        assert reply["Content-Range"] == f"bytes */{SIZE}"
        return
    assert reply.complete
    assert reply["Content-Length"] == str(end - start)
    assert reply["Content-Range"] == (f"bytes {start}-{end - 1}/{SIZE}" if status == 206 else None)
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(part(start, end)).digest()


def test_every_form_of_range_on_a_warm_file(daemon, repo):
    """Ranges past the end are cut, those beyond it refused with the size, odd ones ignored."""
    assert daemon.client.get(repo).complete
    for spec, (status, start, end) in RANGES.items():
        check(daemon.client.get(repo, range=spec), status, start, end)


@pytest.mark.parametrize(
    "spec",
    [
        "bytes=0-0",
        "bytes=-1",
        f"bytes={SIZE - 5}-{SIZE}",
        "bytes=5-2",
        "bytes=0-",
        f"bytes={SIZE}-",
        f"bytes={MIB}-{3 * MIB}",
    ],
)
def test_ranges_on_a_cold_file(daemon, repo, spec):
    """The same answers when nothing is here yet."""
    if spec in RANGES:
        check(daemon.client.get(repo, range=spec), *RANGES[spec])
    else:
        check(daemon.client.get(repo, range=spec), 206, MIB, 3 * MIB + 1)


def test_a_range_fetches_what_it_asks_for_and_a_little_more(hub, daemon, repo):
    """Reading the header of 16 MiB of weights does not download them."""
    check(daemon.client.get(repo, range="bytes=0-100000"), 206, 0, 100001)
    hub.wait_idle()
    assert hub.sent("cdn") <= 100001 + MIB + 65536
    check(daemon.client.get(repo, range=f"bytes={8 * MIB}-{8 * MIB + 99}"), 206, 8 * MIB, 8 * MIB + 100)
    hub.wait_idle()
    assert hub.sent("cdn") <= 2 * (100001 + MIB + 65536)


def test_no_read_ahead_if_not_wanted(hub, make_daemon, repo):
    """cache.read_ahead: 0 fetches the range itself and nothing more."""
    daemon = make_daemon({"cache": {"read_ahead": "0"}})
    check(daemon.client.get(repo, range="bytes=1000-1999"), 206, 1000, 2000)
    hub.wait_idle()
    assert hub.sent("cdn") <= 65536, "no more than a segment"


def test_eight_parallel_ranges_fetch_each_byte_once(hub, daemon, repo):
    """Downloaders with many connections cost upstream one file."""
    n, replies = 8, {}
    step = SIZE // n

    def fetch(i):
        replies[i] = daemon.client.get(repo, range=f"bytes={i * step}-{(i + 1) * step - 1}")

    threads = [threading.Thread(target=fetch, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(n):
        check(replies[i], 206, i * step, (i + 1) * step)
    hub.wait_idle()
    assert hub.sent("cdn") == SIZE
    daemon.wait_metric("blobs_verified_total", 1)
    hub.clear_log()
    check(daemon.client.get(repo), 200, 0, SIZE)
    assert hub.log() == []


def test_segments_are_remembered_across_a_restart(hub, daemon, repo):
    """What came once is not fetched again: the rest is, and the whole is verified."""
    check(daemon.client.get(repo, range=f"bytes={4 * MIB}-{6 * MIB - 1}"), 206, 4 * MIB, 6 * MIB)
    hub.wait_idle()
    before = hub.sent("cdn")
    assert before < 5 * MIB
    daemon.restart()
    check(daemon.client.get(repo, range=f"bytes={4 * MIB}-{6 * MIB - 1}"), 206, 4 * MIB, 6 * MIB)
    assert hub.sent("cdn") == before, "the same range again costs nothing"
    check(daemon.client.get(repo), 200, 0, SIZE)
    hub.wait_idle()
    assert hub.sent("cdn") <= SIZE + 65536
    daemon.wait_metric("blobs_verified_total", 1)


def test_overlapping_ranges_while_one_is_under_way(hub, daemon, repo):
    """A range that is partly on its way waits for that part and asks only for the other."""
    with hub.gate(after_bytes=MIB, origin="cdn", times=1) as gate:
        with daemon.client.stream(repo, range=f"bytes=0-{4 * MIB - 1}") as first:
            first.head()
            gate.wait_reached()
            second = []
            thread = threading.Thread(
                target=lambda: second.append(daemon.client.get(repo, range=f"bytes={2 * MIB}-{6 * MIB - 1}"))
            )
            thread.start()
            wait_until(lambda: daemon.metric("flight_followers") >= 2 or second, "the second reader")
            gate.release()
            body, whole = first.rest()
            thread.join()
    assert whole and body == part(0, 4 * MIB)
    check(second[0], 206, 2 * MIB, 6 * MIB)
    hub.wait_idle()
    assert hub.sent("cdn") <= 7 * MIB + 65536


def test_if_range(daemon, repo):
    """A part is sent only of the version that the client has."""
    etag = daemon.client.head(repo)["ETag"]
    assert daemon.client.get(repo).complete
    check(daemon.client.get(repo, range="bytes=0-9", if_range=etag), 206, 0, 10)
    for other in ('"0000"', f"W/{etag}", "Tue, 14 Nov 2023 22:13:20 GMT"):
        check(daemon.client.get(repo, range="bytes=0-9", if_range=other), 200, 0, SIZE)


def test_head_ignores_ranges(daemon, repo):
    """HEAD always tells the whole size."""
    reply = daemon.client.head(repo, range="bytes=0-9")
    assert (reply.status, reply["Content-Length"], reply["Content-Range"]) == (200, str(SIZE), None)


def test_ranges_of_documents_are_ignored(daemon, repo):
    """JSON has no parts."""
    reply = daemon.client.get("/api/models/acme/big", range="bytes=0-9")
    assert reply.status == 200
    assert reply.json()["id"] == "acme/big"


def test_ranges_of_git_files_and_empty_files(daemon, repo):
    """Small files have ranges too; an empty one has none."""
    text = repo.replace("w.safetensors", "t.txt")
    reply = daemon.client.get(text, range="bytes=3-5")
    assert (reply.status, reply.body, reply["Content-Range"]) == (206, b"345", "bytes 3-5/10")
    reply = daemon.client.get(text, range="bytes=10-")
    assert (reply.status, reply["Content-Range"]) == (416, "bytes */10")
    empty = repo.replace("w.safetensors", "empty.txt")
    assert daemon.client.get(empty, range="bytes=0-0").status in (200, 416)
    assert daemon.client.get(empty).body == b""


def test_strict_ranges_wait_for_the_whole(hub, make_daemon, repo):
    """cache.strict_ranges: nothing unverified leaves, so a part costs the whole, once."""
    daemon = make_daemon({"cache": {"strict_ranges": True}})
    check(daemon.client.get(repo, range="bytes=5-9"), 206, 5, 10)
    daemon.wait_metric("blobs_verified_total", 1)
    assert hub.sent("cdn") == SIZE


@pytest.mark.parametrize("streams", [1, 4])
def test_a_large_file_in_several_parts_at_once(hub, make_daemon, repo, streams):
    """upstream.range_streams: however many connections fetch it, every byte comes once and the whole is right."""
    daemon = make_daemon({"upstream": {"range_streams": streams, "range_stream_min_size": "1MiB"}})
    reply = daemon.client.get(repo)
    assert reply.complete and reply.sha256() == reply["ETag"].strip('"')
    assert hub.sent("cdn") == SIZE
    assert len(hub.log("cdn")) == streams
