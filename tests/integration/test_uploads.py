"""Uploads by LFS and by commit, of every size, whole and broken: nothing is lost, doubled or held in memory."""

import hashlib
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ANN, BOB

from tests.hub import generated_bytes
from tests.support import clients
from tests.support.http import Client, Stream

VERSIONS = ["0.36", "1.x", "2.x"]
REPO = "acme/up"
LARGE = 200_000_003
MEMORY = 64 << 20


@pytest.fixture(params=VERSIONS)
def version(request):
    """Give each pinned version in turn."""
    clients.venv(request.param)
    return request.param


@pytest.fixture
def front(hub, daemon):
    """Give a daemon in front of an empty repository."""
    hub.create_repo("models", REPO)
    return daemon


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """Give a large file and its digest."""
    path, digest = tmp_path_factory.mktemp("large") / "large.bin", hashlib.sha256()
    with open(path, "wb") as f:
        for offset in range(0, LARGE, 1 << 20):
            data = generated_bytes(11, offset, min(1 << 20, LARGE - offset))
            f.write(data)
            digest.update(data)
    return path, digest.hexdigest()


def memory(daemon, name):
    """Return what the kernel says of the daemon's memory, in bytes."""
    with open(f"/proc/{daemon.process.pid}/status") as f:
        return int(re.search(rf"{name}:\s+(\d+) kB", f.read()).group(1)) * 1024


class Watch:
    """Looks at the daemon's memory before and after something large."""

    def __init__(self, daemon):
        """Look at it before; the highest mark counts from here."""
        self.daemon = daemon
        with open(f"/proc/{daemon.process.pid}/clear_refs", "w") as f:
            f.write("5")
        self.before = {name: memory(daemon, name) for name in ("VmHWM", "RssAnon")}

    def check(self):
        """Print how much came on top, and see that it stays small."""
        grown = {name: memory(self.daemon, name) - before for name, before in self.before.items()}
        print("memory:", {name: f"{self.before[name] >> 10} KiB + {n >> 10} KiB" for name, n in grown.items()})
        if not re.search("asan|tsan", self.daemon.process.args[0]):
            assert grown["VmHWM"] < MEMORY and grown["RssAnon"] < MEMORY


def upload_code(path, source, **more):
    """Return Python code that uploads a file and leaves what the commit came to."""
    return f"""
from huggingface_hub import HfApi
try:
    done = HfApi().upload_file(path_or_fileobj={str(source)!r}, path_in_repo={path!r}, repo_id={REPO!r}, **{more!r})
    result = [done.oid, None]
except Exception as e:
    result = [type(e).__name__, getattr(getattr(e, "response", None), "status_code", None)]
"""


def upload(version, front, home, path, source, **more):
    """Upload a file with a real client; return [commit, None], or [class of the error, status]."""
    return clients.python(version, upload_code(path, source, **more), front.url, home, ANN, HF_HUB_DISABLE_XET="1")


def sha256(path):
    """Return the digest of a local file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def downloaded(version, front, home, path, token=BOB):
    """Return the digest of a file as another user's client gets it."""
    code = f"from huggingface_hub import hf_hub_download\nresult = hf_hub_download({REPO!r}, {path!r})"
    return sha256(clients.python(version, code, front.url, home, token, HF_HUB_DISABLE_XET="1"))


def titles(hub):
    """Return the titles of the history of main."""
    return [row[0] for row in hub.state()["repositories"]["models/" + REPO]["refs"]["refs/heads/main"]["history"]]


@pytest.mark.parametrize("size", [0, 1, 10_000_000])
def test_regular_files(hub, front, version, tmp_path, size):
    """Files that travel inside the commit, from none to the largest."""
    source = tmp_path / "file.txt"
    source.write_bytes(generated_bytes(1, 0, size))
    watch = Watch(front)
    commit, error = upload(version, front, tmp_path / "ann", "file.txt", source)
    assert error is None and commit == hub.refs("models", REPO)["refs/heads/main"]
    facts = hub.file("models", REPO, "file.txt")
    assert (facts["size"], facts["lfs"], facts["sha256"]) == (size, False, sha256(source))
    assert hub.log("s3") == []
    assert downloaded(version, front, tmp_path / "bob", "file.txt") == sha256(source)
    watch.check()


@pytest.mark.parametrize("parts", [False, True])
def test_large_files(hub, front, version, tmp_path, large, parts):
    """200 MB go up whole or in parts, not held in memory; whoever asks for them next costs upstream nothing."""
    source, digest = large
    if parts:
        hub.quirks(lfs_multipart_threshold=100 << 20, lfs_chunk_size=16 << 20)
    Client(front.url).get(f"/api/models/{REPO}")
    watch = Watch(front)
    assert upload(version, front, tmp_path / "ann", "large.bin", source)[1] is None
    watch.check()
    facts = hub.file("models", REPO, "large.bin")
    assert (facts["size"], facts["lfs"], facts["sha256"]) == (LARGE, True, digest)
    sent = hub.log("s3")
    assert len(sent) == (-(-LARGE // (16 << 20)) if parts else 1)
    assert sum(r["body_length"] for r in sent) == LARGE, "every byte went up once"
    assert not [r for r in sent if "authorization" in r["headers"]]
    assert downloaded(version, front, tmp_path / "bob", "large.bin") == digest
    watch.check()
    assert hub.sent("cdn") == 0, "what was uploaded is here"


def test_many_small_files(hub, front, version, tmp_path):
    """2000 files in one commit; the tree shows them all at once."""
    code = f"""
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi()
before = len(api.list_repo_files({REPO!r}))
api.create_commit({REPO!r}, [CommitOperationAdd(f"d{{n % 10}}/f{{n}}.txt", b"%d" % n) for n in range(2000)],
                  commit_message="Many")
result = [before, len(api.list_repo_files({REPO!r})), open(api.hf_hub_download({REPO!r}, "d9/f1999.txt")).read()]
"""
    watch = Watch(front)
    found = clients.python(version, code, front.url, tmp_path / "ann", ANN, HF_HUB_DISABLE_XET="1")
    assert found == [1, 2001, "1999"]
    assert titles(hub) == ["Many", "initial commit"]
    watch.check()


def test_the_same_bytes_again(hub, front, version, tmp_path):
    """Bytes that the Hub has already do not go up again, also under another name."""
    source = tmp_path / "w.bin"
    source.write_bytes(generated_bytes(2, 0, 3_000_000))
    for name in ("one.bin", "two.bin"):
        assert upload(version, front, tmp_path / "ann", name, source)[1] is None
    assert len(hub.log("s3")) == 1
    assert downloaded(version, front, tmp_path / "bob", "two.bin") == sha256(source)
    assert hub.sent("cdn") == 0


def test_a_client_dies_in_the_middle(hub, front, version, tmp_path, large):
    """A client is killed while its bytes are under way: upstream hears no end, nobody sees a file, the next one can."""
    source, digest = large
    python = [clients.venv(version), "-c", upload_code("large.bin", source)]
    env = clients.environment(front.url, tmp_path / "ann", ANN, HF_HUB_DISABLE_XET="1")
    (tmp_path / "ann").mkdir()
    with hub.upload_gate(50_000_000, origin="s3", times=1) as gate:
        process = subprocess.Popen(python, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            gate.wait_reached()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    hub.wait_requests(origin="s3", done=True)
    (row,) = hub.log("s3")
    assert row["body_length"] < LARGE and row["status"] != 200 and row["peer_closed"]
    assert front.alive() and titles(hub) == ["initial commit"]
    assert Client(front.url, ANN).head(f"/{REPO}/resolve/main/large.bin").status == 404
    assert upload(version, front, tmp_path / "ann", "large.bin", source)[1] is None
    assert downloaded(version, front, tmp_path / "bob", "large.bin") == digest
    assert hub.sent("cdn") == 0
    assert not [p for p in front.files() if p.startswith("staging/")], "nothing remains of the first attempt"


def commit_lines(size):
    """Return the body of a commit with one file."""
    rows = [
        {"key": "header", "value": {"summary": "By hand", "description": ""}},
        {"key": "file", "value": {"path": "by-hand.txt", "content": "QUJD" * (size // 4), "encoding": "base64"}},
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def test_half_a_commit(hub, front):
    """A commit whose body ends early does not happen."""
    body = commit_lines(4_000_000)
    headers = [("Authorization", f"Bearer {ANN}"), ("Content-Type", "application/x-ndjson"),
               ("Content-Length", str(len(body)))]
    stream = Stream(front.url, "POST", f"/api/models/{REPO}/commit/main", headers, body[: len(body) // 2])
    hub.wait_requests(path="/commit/main")
    stream.sock.close()
    hub.wait_requests(path="/commit/main", done=True)
    assert titles(hub) == ["initial commit"]
    reply = Client(front.url, ANN).post(f"/api/models/{REPO}/commit/main", body, "application/x-ndjson")
    assert reply.status == 200 and titles(hub) == ["By hand", "initial commit"]


def test_the_hub_dies_in_the_middle_of_a_commit(hub, front, version, tmp_path):
    """The Hub cuts the commit before it has all of it: the client learns so, and can try again."""
    source = tmp_path / "file.txt"
    source.write_bytes(generated_bytes(4, 0, 2_000_000))
    hub.fault(path="/commit/main", upload_reset=100_000)
    error, status = upload(version, front, tmp_path / "ann", "file.txt", source)
    assert status in (502, 503, 504), error
    assert titles(hub) == ["initial commit"]
    assert upload(version, front, tmp_path / "ann", "file.txt", source)[1] is None
    assert len(titles(hub)) == 2
    assert downloaded(version, front, tmp_path / "bob", "file.txt") == sha256(source)


def test_the_answer_to_a_commit_is_lost(hub, front, version, tmp_path):
    """The Hub has done it and dies before it says so: never twice, an error that says to look, and a true look."""
    source = tmp_path / "file.txt"
    source.write_bytes(b"once")
    look = Client(front.url, ANN)
    assert look.head(f"/{REPO}/resolve/main/file.txt").status == 404
    hub.fault(path="/commit/main", reset="after_work")
    error, status = upload(version, front, tmp_path / "ann", "file.txt", source)
    assert status == 504, error
    assert titles(hub) == ["Upload file.txt with huggingface_hub", "initial commit"]
    assert len([r for r in hub.log("hub") if "/commit/main" in r["target"]]) == 1
    assert look.get(f"/{REPO}/resolve/main/file.txt").body == b"once"


@pytest.mark.parametrize("fault", [{"status": 503, "body": "<Error><Code>SlowDown</Code></Error>"},
                                   {"upload_reset": 1_000_000}, {"upload_answer": 500_000, "status": 500}])
def test_storage_stumbles_once(hub, front, version, tmp_path, fault):
    """The object storage is busy or breaks once; the client tries again, and the file is whole."""
    source = tmp_path / "w.bin"
    source.write_bytes(generated_bytes(5, 0, 3_000_000))
    hub.fault(origin="s3", **fault)
    assert upload(version, front, tmp_path / "ann", "w.bin", source)[1] is None
    rows = hub.log("s3")
    assert len(rows) == 2 and rows[1]["status"] == 200 and rows[1]["body_length"] == 3_000_000
    assert hub.file("models", REPO, "w.bin")["sha256"] == sha256(source)
    assert downloaded(version, front, tmp_path / "bob", "w.bin") == sha256(source)
    assert hub.sent("cdn") == 0


def test_storage_refuses(hub, front, version, tmp_path):
    """A storage that says no is believed at once, and no commit names what is not there."""
    source = tmp_path / "w.bin"
    source.write_bytes(generated_bytes(6, 0, 3_000_000))
    hub.fault(origin="s3", status=403, body="<Error><Code>AccessDenied</Code></Error>", times=None)
    error, status = upload(version, front, tmp_path / "ann", "w.bin", source)
    assert status == 403 or error == "RuntimeError"
    assert len(hub.log("s3")) == 1 and titles(hub) == ["initial commit"]
    assert Client(front.url, ANN).head(f"/{REPO}/resolve/main/w.bin").status == 404


def batch(front, digest, size):
    """Return the address to which an object can be put."""
    wanted = {"operation": "upload", "transfers": ["basic"], "hash_algo": "sha256",
              "objects": [{"oid": digest, "size": size}]}
    reply = Client(front.url, ANN).post(f"/{REPO}.git/info/lfs/objects/batch", wanted, "application/vnd.git-lfs+json")
    return reply.json()["objects"][0]["actions"]["upload"]["href"]


def test_wrong_bytes_are_not_kept(hub, front, tmp_path):
    """Bytes that are not what they were said to be are refused by the storage and never given to anybody."""
    data, other = generated_bytes(7, 0, 1_000_000), generated_bytes(8, 0, 1_000_000)
    digest = hashlib.sha256(data).hexdigest()
    path = batch(front, digest, len(data)).removeprefix(front.url)
    assert path.startswith("/-/"), "the address leads through us"
    assert Client(front.url).request("PUT", path, body=other).status == 400
    assert hub.log("s3")[-1]["status"] == 400
    assert Client(front.url).request("PUT", path, body=data).status == 200
    rows = [{"key": "header", "value": {"summary": "Both"}},
            {"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", "oid": digest, "size": len(data)}}]
    body = "\n".join(map(json.dumps, rows)).encode()
    client = Client(front.url, ANN)
    assert client.post(f"/api/models/{REPO}/commit/main", body, "application/x-ndjson").status == 200
    assert client.get(f"/{REPO}/resolve/main/w.bin").sha256() == digest
    assert front.blob_file(hashlib.sha256(other).hexdigest()) is None


def test_uploads_at_the_same_time(hub, front, tmp_path):
    """Eight clients upload at once, two of them the same bytes; all files are whole and memory stays flat."""
    sources = []
    for n in range(8):
        sources.append(tmp_path / f"{n}.bin")
        sources[-1].write_bytes(generated_bytes(20 + n // 2 * 2, 0, 20_000_000))
    watch = Watch(front)

    def one(n):
        data = sources[n].read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        path = batch(front, digest, len(data)).removeprefix(front.url)
        return digest, Client(front.url).request("PUT", path, body=data, timeout=60).status

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(one, range(8)))
    assert {status for _, status in done} == {200}
    watch.check()
    rows = [{"key": "header", "value": {"summary": "All"}}] + [
        {"key": "lfsFile", "value": {"path": f"{n}.bin", "algo": "sha256", "oid": d, "size": 20_000_000}}
        for n, (d, _) in enumerate(done)]
    body = "\n".join(map(json.dumps, rows)).encode()
    client = Client(front.url, ANN)
    assert client.post(f"/api/models/{REPO}/commit/main", body, "application/x-ndjson").status == 200
    for n, (digest, _) in enumerate(done):
        assert client.get(f"/{REPO}/resolve/main/{n}.bin", timeout=60).sha256() == digest
    assert hub.sent("cdn") == 0


def test_an_upload_that_is_never_committed(hub, front, tmp_path):
    """Bytes that no commit names are in no repository, whoever asks."""
    data = generated_bytes(9, 0, 1_000_000)
    digest = hashlib.sha256(data).hexdigest()
    path = batch(front, digest, len(data)).removeprefix(front.url)
    assert Client(front.url).request("PUT", path, body=data).status == 200
    for token in (ANN, BOB, None):
        assert Client(front.url, token).head(f"/{REPO}/resolve/main/w.bin").status == 404
    assert os.path.exists(front.data_dir)
