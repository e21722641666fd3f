"""How much is kept: the limit holds, what is used stays, readers notice nothing, and damage is found without them."""

import os
import random
import signal
import threading

import pytest

from tests.hub import Generated
from tests.support.daemon import wait_until

MIB = 1 << 20
SIZE = MIB + 12_345


@pytest.fixture
def files(hub):
    """Publish 24 files; return a function from number to URL."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit(
        "models",
        "acme/m",
        {f"w{n:02}.safetensors": Generated(SIZE, seed=n) for n in range(24)}
        | {"large.safetensors": Generated(9 * MIB, seed=99), "config.json": b"{}"},
    )
    return lambda name: f"/acme/m/resolve/{sha}/" + (f"w{name:02}.safetensors" if isinstance(name, int) else name)


def whole(reply):
    """The file came whole and right."""
    assert reply.status == 200 and reply.complete, reply
    if len(reply["ETag"]) == 66:
        assert reply.sha256() == reply["ETag"].strip('"')


def kept(daemon):
    """Bytes below blobs and staging now; a file that moves or goes meanwhile counts at most once."""
    found = {}
    for top in ("blobs", "staging"):
        for folder, _, names in os.walk(daemon.data_dir / top):
            for name in names:
                try:
                    status = os.stat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue
                found[status.st_ino] = status.st_size
    return sum(found.values())


def test_the_limit_holds(hub, make_daemon, files):
    """More files than fit: never more on the disk than the limit, and the latest ones cost the Hub nothing."""
    daemon = make_daemon({"cache": {"max_size": "8MiB"}})
    for n in range(24):
        whole(daemon.client.get(files(n)))
        assert kept(daemon) <= 8 * MIB
    hub.clear_log()
    for n in (23, 22, 21):
        whole(daemon.client.get(files(n)))
    assert hub.sent("cdn") == 0
    whole(daemon.client.get(files(0)))
    assert hub.sent("cdn") == SIZE
    daemon.wait_metric("evicted_blobs_total", 15)
    assert daemon.metric("evicted_bytes_total") == daemon.metric("evicted_blobs_total") * SIZE


def test_a_file_larger_than_all_room(hub, make_daemon, files):
    """It is passed on, verified, and costs nothing of what is kept."""
    daemon = make_daemon({"cache": {"max_size": "8MiB"}})
    whole(daemon.client.get(files(1)))
    whole(daemon.client.get(files("large.safetensors")))
    assert kept(daemon) <= 8 * MIB
    hub.clear_log()
    whole(daemon.client.get(files(1)))
    assert hub.sent("cdn") == 0


def test_readers_under_constant_eviction(hub, make_daemon, files):
    """64 readers and room for a fifth of what they read: every download is right, and the limit holds throughout."""
    daemon = make_daemon({"cache": {"max_size": "6MiB"}})
    failures, most, busy = [], [0], threading.Event()

    def read(seed):
        choice = random.Random(seed)
        try:
            for _ in range(12):
                whole(daemon.client.get(files(choice.randrange(24)), timeout=120))
        except Exception as error:
            failures.append(error)

    def watch():
        while not busy.is_set():
            most[0] = max(most[0], kept(daemon))

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(64)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    busy.set()
    watcher.join()
    assert not failures, failures[0]
    assert most[0] <= 6 * MIB
    daemon.wait_metric("evicted_blobs_total", 1)


def test_a_slow_reader_keeps_its_file(hub, make_daemon, files):
    """A client that has read half of a file gets the rest of it, however much others fetch meanwhile."""
    daemon = make_daemon({"cache": {"max_size": "14MiB"}})
    whole(daemon.client.get(files("large.safetensors")))
    with daemon.client.stream(files("large.safetensors"), receive_buffer=4096) as slow:
        assert slow.head().status == 200
        first = slow.read(MIB)
        for n in range(12):
            whole(daemon.client.get(files(n)))
        slow.reply.body, slow.reply.complete = slow.rest()
        slow.reply.body = first + slow.reply.body
        whole(slow.reply)


def test_a_lower_limit_by_reload(hub, make_daemon, files):
    """SIGHUP with a lower limit: what is over it goes, the daemon goes on."""
    daemon = make_daemon()
    for n in range(8):
        whole(daemon.client.get(files(n)))
    wait_until(lambda: kept(daemon) >= 8 * SIZE, "all of them are published")
    daemon.write_config({"cache": {"max_size": "4MiB"}})
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: kept(daemon) <= 4 * MIB, "what is over the limit has gone")
    whole(daemon.client.get(files(7)))


def test_unfinished_files_are_given_up(hub, make_daemon, files):
    """What a transfer left behind counts too, and makes room."""
    daemon = make_daemon({"cache": {"max_size": "10MiB"}})
    with daemon.client.stream(files("large.safetensors"), receive_buffer=4096) as left:
        left.head()
        left.read(1000)
        wait_until(lambda: kept(daemon) > MIB, "it is being fetched")
        daemon.kill()
    daemon.start()
    for n in range(9):
        whole(daemon.client.get(files(n)))
        assert kept(daemon) <= 10 * MIB


def test_damage_is_found_before_anybody_reads(hub, make_daemon, files):
    """The scrub reads everything again; a damaged file goes by itself, and the next client has the right one."""
    daemon = make_daemon({"cache": {"scrub_interval": "1s"}})
    for n in range(3):
        whole(daemon.client.get(files(n)))
    digest = daemon.client.head(files(1))["ETag"].strip('"')
    path = daemon.blob_file(digest)
    daemon.wait_metric("scrubbed_blobs_total", 3)
    path.chmod(0o600)
    with open(path, "r+b") as damaged:
        damaged.seek(SIZE // 2)
        damaged.write(b"\xff\xff")
    wait_until(lambda: not path.exists(), "the damaged file has gone")
    daemon.wait_log(rf"blob.corrupt.*{digest}.*by=scrub")
    hub.clear_log()
    whole(daemon.client.get(files(1)))
    assert hub.sent("cdn") == SIZE
