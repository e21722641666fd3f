"""The disk is full, small or read-only: answers flow, what is here is served, and it recovers alone."""

import os
import subprocess

import pytest

from tests.hub import Generated
from tests.support.daemon import wait_until

MIB = 1 << 20
SIZE = 12 * MIB


@pytest.fixture
def tmpfs(tmp_path):
    """Mount a small filesystem; needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small filesystem needs root")
    point = tmp_path / "small"
    point.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", point], capture_output=True)
    if done.returncode:
        pytest.skip(f"no filesystem can be mounted here: {done.stderr.decode().strip()}")
    yield point
    subprocess.run(["umount", "-l", point], check=True)


@pytest.fixture
def files(hub):
    """Publish files; return a function from name to URL."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit(
        "models",
        "acme/m",
        {f"w{n}.safetensors": Generated(SIZE, seed=n) for n in range(4)}
        | {"config.json": b"{}", "late.json": b"[]", "s.safetensors": Generated(100_000, seed=50)},
    )
    return lambda name: f"/acme/m/resolve/{sha}/{name}"


def whole(reply):
    """The file came whole and right."""
    assert reply.status == 200 and reply.complete, reply
    if len(reply["ETag"]) == 66:
        assert reply.sha256() == reply["ETag"].strip('"')


def test_a_full_disk(hub, make_daemon, tmpfs, files):
    """With no room left files still arrive; when room comes back they are kept again, without a restart."""
    daemon = make_daemon({"cache": {"min_free": "1MiB"}}, data_dir=tmpfs / "data")
    whole(daemon.client.get(files("w0.safetensors")))
    ballast = tmpfs / "ballast"
    with open(ballast, "wb") as f:
        try:
            while f.write(b"\0" * 65536):
                f.flush()
        except OSError:
            pass
    for name in ("w1.safetensors", "config.json", "s.safetensors", "w2.safetensors"):
        whole(daemon.client.get(files(name)))
    assert daemon.client.get(files("w1.safetensors"), range="bytes=5-9").status == 206
    whole(daemon.client.get(files("w0.safetensors")))
    assert daemon.client.get("/api/models/acme/m").status == 200
    assert daemon.client.get(files("nope")).status == 404
    wait_until(lambda: daemon.metric("store_writable") == 0, "it says that it does not store", 5)
    assert b"not storing" in daemon.client.get("/-/readyz").body
    ballast.unlink()
    wait_until(lambda: daemon.metric("disk_free_bytes") > SIZE, "it notices the room", 5)
    whole(daemon.client.get(files("w3.safetensors")))
    wait_until(lambda: daemon.metric("store_writable") == 1, "it stores again", 5)
    hub.clear_log()
    whole(daemon.client.get(files("w3.safetensors")))
    assert hub.sent("cdn") == 0, "kept again"


def test_a_file_larger_than_the_disk(hub, make_daemon, tmpfs, files):
    """A file for which there is no room is passed on whole and not kept."""
    daemon = make_daemon({"cache": {"min_free": "25MiB"}}, data_dir=tmpfs / "data")
    whole(daemon.client.get(files("w0.safetensors")))
    whole(daemon.client.get(files("w0.safetensors")))
    assert sum(daemon.files().values()) < SIZE
    whole(daemon.client.get(files("config.json")))


def test_a_wrong_file_on_a_full_disk(hub, make_daemon, tmpfs, files):
    """Not being able to store is no reason to pass on a file with a wrong digest as whole."""
    daemon = make_daemon({"cache": {"min_free": "31MiB"}}, data_dir=tmpfs / "data")
    hub.fault(origin="cdn", flip=SIZE // 2, times=None)
    try:
        reply = daemon.client.get(files("w0.safetensors"))
        assert reply.status in (502, 503, 504) or not reply.complete
    except ConnectionError:
        pass


def test_a_disk_that_turns_read_only(hub, make_daemon, tmpfs, files):
    """EROFS in the middle of life: what is here is served, what is not is passed on, later it stores again."""
    daemon = make_daemon(data_dir=tmpfs / "data")
    whole(daemon.client.get(files("w0.safetensors")))
    whole(daemon.client.get(files("config.json")))
    done = subprocess.run(["mount", "-o", "remount,ro", tmpfs], capture_output=True)
    if done.returncode:
        pytest.skip("the filesystem is busy and cannot be made read-only")
    try:
        whole(daemon.client.get(files("w0.safetensors")))
        whole(daemon.client.get(files("config.json")))
        whole(daemon.client.get(files("w1.safetensors")))
        whole(daemon.client.get(files("late.json")))
        assert daemon.client.get("/api/models/acme/m").status == 200
    finally:
        subprocess.run(["mount", "-o", "remount,rw", tmpfs], check=True)
    whole(daemon.client.get(files("s.safetensors")))
    wait_until(lambda: daemon.metric("store_writable") == 1, "it stores again", 5)
    hub.clear_log()
    whole(daemon.client.get(files("s.safetensors")))
    assert hub.sent("cdn") == 0


def test_a_data_directory_that_cannot_be_used(make_daemon, tmp_path):
    """A file in its place, a missing parent that cannot be made: it says which and why, and ends."""
    blocked = tmp_path / "file"
    blocked.write_text("I am a file")
    daemon = make_daemon({"data_dir": str(blocked / "data")}, start=False)
    daemon.start(wait=False)
    assert daemon.wait() not in (0, -11, -6)
    assert str(blocked) in daemon.log_text()


def test_few_file_descriptors(hub, make_daemon, files):
    """With few descriptors it serves fewer clients at once, and still serves."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    daemon = make_daemon({"max_connections": "64", "cache": {"max_open_blobs": "16"}})
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (400, hard))
    for name in ("w0.safetensors", "config.json", "s.safetensors"):
        whole(daemon.client.get(files(name)))
