"""Writes at the Hub for tests, judged by real clients, and what goes wrong on the way up, judged by plain sockets."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import Hub, generated_bytes, git_blob_oid
from .test_hub_alone import VENVS, environment, sha256
from .test_hub_faults import connect, fetch, read_all

HERE = os.path.dirname(os.path.abspath(__file__))
BIG = bytes(range(256)) * 43008
JSON = "application/json"


@pytest.fixture
def hub():
    """Run a Hub for one test."""
    with Hub.start() as running:
        populate(running)
        yield running


def populate(hub):
    """Give a Hub the people and repositories that writes need."""
    hub.add_token("hf_ann", "ann", orgs=["acme"], role="write")
    hub.add_token("hf_bob", "bob", role="write")
    hub.add_token("hf_reader", "ann", role="read")
    hub.create_repo("models", "other/there")
    hub.create_repo("models", "acme/liked")
    hub.update_repo("models", "acme/liked", likes=3, likers=["ann"])


@pytest.fixture(params=list(VENVS))
def python(request):
    """Give the interpreter of each huggingface_hub in turn."""
    path = os.environ.get(VENVS[request.param])
    if not path:
        pytest.skip(f"{request.param}: {VENVS[request.param]} does not name a Python with it")
    return path


def run(hub, python, where, part):
    """Run a part of the client script and return what it printed."""
    os.makedirs(where, exist_ok=True)
    done = subprocess.run([python, os.path.join(HERE, "client_writes.py"), str(where), part],
                          env=environment(hub, where, HF_TOKEN="hf_ann"), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-6000:]
    assert not [r["target"] for r in hub.log() if r["status"] in (None, 500)]
    return json.loads(done.stdout.strip().splitlines()[-1])


def post(hub, path, body, token="hf_ann", method="POST", **headers):
    """Send JSON (or the lines of a commit) to the hub; return (status, headers, answer)."""
    if isinstance(body, list):
        body = "\n".join(json.dumps({"key": k, "value": v}) for k, v in body).encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = {"Content_Type": JSON, **({"Authorization": "Bearer " + token} if token else {}), **headers}
    status, found, raw, _ = fetch(hub.url + path, method, body, **headers)
    return status, found, json.loads(raw) if JSON in found.get("content-type", "") or raw[:1] == b"{" else raw


def batch(hub, data, id="ann/x", token="hf_ann", transfers=("basic", "multipart"), **more):
    """Ask where to upload some bytes; return (transfer, object)."""
    wanted = {"operation": "upload", "transfers": list(transfers), "hash_algo": "sha256",
              "objects": [{"oid": sha256(data), "size": len(data)}], **more}
    status, _, answer = post(hub, f"/{id}.git/info/lfs/objects/batch", wanted, token)
    return (answer["transfer"], answer["objects"][0]) if status == 200 else (status, answer)


def test_repositories(hub, python, tmp_path):
    """Repositories are created, moved, opened, copied, unliked and deleted, and only by those who may."""
    out = run(hub, python, tmp_path, "repos")
    assert out["bare"].endswith("/ann/one") and out["org"] == "acme/two" and out["space"] == "acme/app"
    assert out["space_files"] == out["copy_files"] == [".gitattributes", "README.md"]
    assert out["exists"][1] == 409 and "You already created this model repo" in out["exists"][2]
    assert out["exist_ok"] == "ann/one" and out["foreign_exist_ok"] == "other/there"
    assert out["foreign"][1] == 403 and "under the namespace" in out["foreign"][2]
    assert out["private"] is True and out["hidden"] == "RepositoryNotFoundError"
    assert out["opened"] == [False, "auto"]
    assert out["settings_bob"][1] == out["delete_bob"][1] == 403
    assert out["moved"] == [".gitattributes", "a.txt"] and out["old_name"] == "acme/uno"
    assert out["move_taken"][1] == 409 and "A model repository called acme/uno already exists" in out["move_taken"][2]
    assert out["copy"] == out["copy_exist_ok"] == "ann/app2" and out["copy_taken"][1] == 409
    assert out["deleted"] == out["delete_again"] == out["delete_old_name"] == "RepositoryNotFoundError"
    assert out["likes"] == ["acme/liked"] and out["unliked"] == [2]
    assert out["whoami"] == ["ann", ["acme"], "write"] and out["whoami_bad"] == 401
    repos = hub.state()["repositories"]
    assert set(repos) == {"models/acme/uno", "datasets/acme/two", "spaces/acme/app", "spaces/ann/app2",
                          "models/other/there", "models/acme/liked"}
    assert repos["datasets/acme/two"]["gated"] == "auto" and repos["spaces/acme/app"]["sdk"] == "gradio"
    assert hub.state()["old_names"] == {"models/ann/one": "acme/uno"}


def test_branches_and_tags(hub, python, tmp_path):
    """Branches and tags come, are refused and go, and a squashed branch has one commit with the same files."""
    out = run(hub, python, tmp_path, "refs")
    assert out["branch_twice"][1] == 409 and "Reference refs/heads/head already exists" in out["branch_twice"][2]
    assert out["branch_nowhere"] == out["tag_missing"] == out["delete_missing"] == "RevisionNotFoundError"
    assert out["branch_refs"] == ["BadRequestError", 400] and out["bob"][1] == 403
    assert out["tag_twice"] == 409 and out["tag_bad"] == 422
    assert out["branches"] == {"main": 1, "head": 1, "dev/old": 0} and out["tags"] == {"v1": 1}
    assert "Cannot delete refs/heads/main" in out["delete_main"]
    assert out["squashed"] == ["Super-squash branch 'main' using huggingface_hub"]
    assert out["squashed_files"] == [".gitattributes", "f.txt"] and out["other_branch"] == 2
    assert hub.state()["repositories"]["models/ann/r"]["tag_messages"] == {"v1": "one"}


def test_commits(hub, python, tmp_path):
    """Files are added, copied and deleted, pull requests opened, and every refusal has its class."""
    out = run(hub, python, tmp_path, "commits")
    assert out["url"] == f"{hub.url}/ann/c/commit/" and out["title"] == ["Say", "hello\n\nOr not.", ["ann"]]
    assert out["back"] == sha256(b"hello") and out["no_op"] is True
    assert out["conflict"][1] == 412 and "The branch was updated since you opened this page" in out["conflict"][2]
    assert out["files"] == [".gitattributes", "b.txt", "copy of w.bin", "d/w.safetensors", "empty",
                            "sub dir/ä #1.txt", "w.bin"]
    assert out["copied"] == [sha256(b"weights")] * 2 + [sha256(b"a")]
    assert "EntryNotFoundError" in out["delete_missing"][0] and "EntryNotFoundError" in out["delete_as_file"]
    assert "Make sure to differentiate file and folder paths" in out["delete_missing"][2]
    assert out["no_branch"] == "RevisionNotFoundError" and out["no_repo"] == "RepositoryNotFoundError"
    assert out["bad_path"] == 422
    assert out["pr"] == [f"{hub.url}/ann/c/discussions/1", 1, "refs/pr/1"]
    assert out["pr_files"] == ["pr.bin", "pr.txt", "pr2.txt"]
    assert out["bob"][1] == out["reader"][1] == 403 and out["bob_pr"] == 2
    assert "Please" in out["discussions"]
    assert out["deleted_files"] == [".gitattributes", "b.txt", "d/w.safetensors", "empty", "sub dir/ä #1.txt"]
    assert out["deleted_folder"] == []


def test_cards(hub, python, tmp_path):
    """Wrong metadata stops a commit before anything is sent, missing metadata only warns."""
    out = run(hub, python, tmp_path, "cards")
    assert out["good"] == [] and len(out["empty"]) == 1 and "empty or missing yaml metadata" in out["empty"][0]
    for name, text in (("license", '"license" must be one of'), ("index", "model-index"), ("yaml", "YAML"),
                       ("list", "must be an object")):
        assert out[name][0] == "ValueError" and text in out[name][1], name
    assert [h[0] for h in hub.state()["repositories"]["models/ann/card"]["refs"]["refs/heads/main"]["history"]] == [
        "Upload README.md with huggingface_hub"] * 2 + ["initial commit"]


@pytest.mark.parametrize("parts", [0, 3])
def test_large_files(hub, python, tmp_path, parts):
    """Large files go to the object storage, whole or in parts, once, without the token, and are there after it."""
    if parts:
        hub.quirks(lfs_multipart_threshold=10 << 20, lfs_chunk_size=4 << 20)
    out = run(hub, python, tmp_path, "large")
    assert out["digests"] == [sha256(BIG), sha256(BIG[::-1]), sha256(BIG + b"!")]
    assert out["lfs"] == ["bytes.dat", "file.dat", "path.dat"] == sorted(out["attributes"])
    assert out["not_yet"] is False and out["pre"] == sha256(BIG + b"pre")
    log = hub.log("s3")
    assert len(log) == 4 * (parts or 1) and {r["status"] for r in log} == {200}
    assert sum(r["body_length"] for r in log) == 4 * len(BIG) + 4
    assert not [r for r in log if "authorization" in r["headers"]]
    ends = [r for r in hub.log("hub") if "complete_multipart" in r["path"]]
    assert len(ends) == (4 if parts else 0) and not [r for r in ends if "authorization" in r["headers"]]
    verified = [r for r in hub.log("hub") if r["path"].endswith("/objects/verify")]
    assert len(verified) == 4 and {r["headers"]["authorization"] for r in verified} == {"Bearer hf_ann"}


def test_storage_that_is_busy_once(hub, python, tmp_path):
    """A client tries again when the object storage is busy, and the object is stored once."""
    hub.fault(origin="s3", status=503, body="<Error><Code>SlowDown</Code></Error>")
    out = run(hub, python, tmp_path, "large")
    assert out["digests"][0] == sha256(BIG)
    assert [r["status"] for r in hub.log("s3")] == [503, 200, 200, 200, 200]
    assert len(hub.state()["repositories"]["models/ann/l"]["stored"]) == 4


def test_folders(hub, python, tmp_path):
    """A folder goes up in one commit, in many commits and on a timer, without what .gitignore leaves out."""
    out = run(hub, python, tmp_path, "folders")
    assert out["folder"] == 52 and out["ignored"] == [] and out["replaced"] is False
    assert out["many"] == 61
    assert out["scheduled"] == [61, ["Super-squash branch 'main' using huggingface_hub"]]


def test_lfs_objects_deleted_for_good(hub, python, tmp_path):
    """LFS objects that are deleted for good are gone from histories or from the storage, and can come back."""
    out = run(hub, python, tmp_path, "storage")
    assert out["listed"] == {"one.bin": [sha256(b"one"), 3, "refs/heads/main"],
                             "two.bin": [sha256(b"two"), 3, "refs/heads/main"],
                             "side.bin": [sha256(b"side"), 4, "refs/heads/side"]}
    assert out["left"] == ["side.bin", "two.bin"]
    assert out["files"] == [[".gitattributes", "text.txt", "two.bin"], [".gitattributes", "side.bin", "two.bin"]]
    assert out["titles"] == [f"Upload {n} with huggingface_hub" for n in ("text.txt", "two.bin", "one.bin")] + [
        "initial commit"]
    assert "EntryNotFoundError" in out["gone"]
    assert out["pointer_stays"] == [".gitattributes", "text.txt", "two.bin"] and out["bytes_gone"] == 404
    assert out["again"] == sha256(b"one")


def test_copies_between_repositories(hub, tmp_path):
    """A file is copied from one repository to another without its bytes passing through the client."""
    python = os.environ.get("HUBCACHED_VENV_2X")
    if not python:
        pytest.skip("huggingface_hub 2.x: HUBCACHED_VENV_2X does not name a Python with it")
    out = run(hub, python, tmp_path, "across")
    assert out["files"] == [".gitattributes", "t.txt", "w.bin"] and out["weights"] == sha256(b"weights")
    assert len(hub.log("s3")) == 1
    assert [r["status"] for r in hub.log("hub") if r["path"].endswith("/lfs-files/duplicate")] == [200]


def test_two_hubs_driven_alike_are_equal(tmp_path, python):
    """States can be compared: the same writes give the same state, and one write more another."""
    states = []
    for n in (1, 2):
        with Hub.start() as hub:
            populate(hub)
            for part in ("repos", "refs", "commits", "storage"):
                run(hub, python, tmp_path / str(n) / part, part)
            states.append(hub.state())
            before = json.dumps(states[-1])
            assert post(hub, "/api/models/ann/c/tag/main", {"tag": "more"})[0] == 200
            assert json.dumps(hub.state()) != before
    assert states[0] == states[1]


def test_javascript(hub, tmp_path):
    """The JavaScript client creates, uploads small and large files in parts, branches, and deletes."""
    where = os.environ.get("HUBCACHED_NODE_HUB")
    if not where or not shutil.which("node"):
        pytest.skip("@huggingface/hub: HUBCACHED_NODE_HUB does not name a folder with its node_modules")
    hub.quirks(lfs_multipart_threshold=10 << 20, lfs_chunk_size=4 << 20)
    done = subprocess.run(["node", os.path.join(HERE, "client_writes_js.mjs"), where, hub.url],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.strip().splitlines()[-1])
    assert out["repo"] == f"{hub.url}/ann/js" and out["taken"] == 409 and out["conflict"] == 412
    assert out["files"] == [".gitattributes", "README.md", "big.dat", "small.txt", "weights.bin"]
    assert out["pr"] == f"{hub.url}/ann/js/discussions/1"
    assert out["after"] == [".gitattributes", "README.md", "big.dat", "weights.bin"]
    assert out["big"] == sha256(BIG) and out["branches"] == [200, 404] and out["gone"] is False
    assert len(hub.log("s3")) == 4


def test_parallel_commits_all_arrive(hub):
    """Commits that come at the same time follow each other, and none is lost."""
    hub.create_repo("models", "ann/x")

    def one(n):
        return post(hub, "/api/models/ann/x/commit/main", [
            ("header", {"summary": f"Commit {n}"}),
            ("file", {"path": f"f{n}", "content": base64.b64encode(b"%d" % n).decode(), "encoding": "base64"})])[0]
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(one, range(48))) == {200}
    main = hub.state()["repositories"]["models/ann/x"]["refs"]["refs/heads/main"]
    assert len(main["files"]) == len(main["history"]) == 49


@pytest.mark.parametrize("change", ["none", "authorization", "signature", "host", "method", "digest", "expired",
                                    "chunked"])
def test_storage_is_strict(hub, change):
    """The object storage takes exactly what was signed: method, host and address, before the end of its time."""
    hub.create_repo("models", "ann/x")
    if change == "expired":
        hub.quirks(s3_ttl=-1)
    data = b"some weights"
    _, row = batch(hub, data)
    url, headers, method = row["actions"]["upload"]["href"], {}, "PUT"
    expected = {"none": (200, b""), "authorization": (400, b"InvalidArgument"), "method": (403, b"SignatureDoesNot"),
                "signature": (403, b"SignatureDoesNot"), "host": (403, b"SignatureDoesNot"),
                "digest": (400, b"BadDigest"), "expired": (403, b"expired"), "chunked": (501, b"NotImplemented")}
    if change == "authorization":
        headers["Authorization"] = "Bearer hf_ann"
    elif change == "signature":
        url = url.replace("X-Amz-Expires=900", "X-Amz-Expires=901")
    elif change == "method":
        method = "POST"
    elif change == "digest":
        data = b"other weight"
    if change == "chunked":
        framing = "Transfer-Encoding: chunked"
        status, raw = put(url, url.split("/")[2], framing, b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
    elif change == "host":
        status, raw = put(url, "example.org", f"Content-Length: {len(data)}", data)
    else:
        status, _, raw, _ = fetch(url, method, data, **headers)
    assert status == expected[change][0] and expected[change][1] in raw
    transfer, again = batch(hub, b"some weights")
    assert ("actions" not in again) == (change == "none")


def put(url, host, framing, body):
    """Put a framed body under any Host; return (status, raw answer)."""
    with connect(url) as sock:
        path = url.split("/", 3)[3]
        text = f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{framing}\r\n\r\n"
        sock.sendall(text.encode() + body)
        raw, _ = read_all(sock)
    return int(raw.split(b" ")[1]), raw


def test_parts_must_fit(hub):
    """An upload in parts ends well only with all parts, their etags and the right digest, and only once."""
    hub.quirks(lfs_multipart_threshold=1000, lfs_chunk_size=1000)
    hub.create_repo("models", "ann/x")
    data = generated_bytes(1, 0, 2500)
    transfer, row = batch(hub, data)
    upload = row["actions"]["upload"]
    assert transfer == "multipart" and sorted(upload["header"]) == ["00001", "00002", "00003", "chunk_size"]
    path = upload["href"].removeprefix(hub.url)
    etags = []
    for n in range(3):
        status, headers, _, _ = fetch(upload["header"][f"0000{n + 1}"], "PUT", data[n * 1000:n * 1000 + 1000])
        assert status == 200
        etags.append(headers["etag"])
    rows = [{"partNumber": n + 1, "etag": etag} for n, etag in enumerate(etags)]
    assert fetch(upload["header"]["00001"], "PUT", bytes(1001))[0] == 400
    assert post(hub, path, {"oid": sha256(data), "parts": rows[:2]}, None)[0] == 400
    assert post(hub, path, {"oid": sha256(data), "parts": rows[::-1]}, None)[0] == 400
    assert post(hub, path.replace("uploadId=", "uploadId=x"), {"oid": sha256(data), "parts": rows}, None)[0] == 403
    assert post(hub, path, {"oid": sha256(data), "parts": rows}, None)[0] == 200
    assert post(hub, path, {"oid": sha256(data), "parts": rows}, None)[0] == 404
    assert "actions" not in batch(hub, data)[1]
    _, row = batch(hub, data[::-1])
    upload = row["actions"]["upload"]
    rows = []
    for n in range(3):
        _, headers, _, _ = fetch(upload["header"][f"0000{n + 1}"], "PUT", bytes(1000 if n < 2 else 500))
        rows.append({"partNumber": n + 1, "etag": headers["etag"]})
    path = upload["href"].removeprefix(hub.url)
    assert post(hub, path, {"oid": sha256(data[::-1]), "parts": rows}, None)[0] == 400
    assert "actions" in batch(hub, data[::-1])[1]


def test_batches_refuse(hub):
    """Who may not write gets no links, wrong objects have their own errors, and pull requests are for everybody."""
    hub.create_repo("models", "ann/x")
    hub.quirks(lfs_max_size=100)
    ref = {"ref": {"name": "main"}}
    assert batch(hub, b"x", token=None, **ref)[0] == 401
    assert batch(hub, b"x", token="hf_bob", **ref)[0] == 403 and batch(hub, b"x", token="hf_reader", **ref)[0] == 403
    assert "actions" in batch(hub, b"x", token="hf_bob")[1]
    assert batch(hub, bytes(101))[1]["error"]["code"] == 422
    answer = post(hub, "/ann/x.git/info/lfs/objects/batch", {"operation": "upload", "objects": [
        {"oid": "x", "size": 1}, {"oid": sha256(b"y"), "size": 1}]})[2]
    assert [sorted(o) for o in answer["objects"]] == [["error", "oid", "size"],
                                                      ["actions", "authenticated", "oid", "size"]]
    assert batch(hub, b"x", transfers=["basic", "multipart", "xet"])[0] == "basic"
    hub.quirks(lfs_batch_xet=True)
    transfer, row = batch(hub, b"x", transfers=["basic", "multipart", "xet"])
    assert transfer == "xet" and row["actions"]["upload"]["header"]["X-Xet-Cas-Url"] == hub.cas_url
    verify = "/ann/x.git/info/lfs/objects/verify"
    assert post(hub, verify, {"oid": sha256(b"z"), "size": 1})[0] == 404
    assert post(hub, verify, {"oid": sha256(b"z"), "size": 1}, None)[0] == 401


def test_commits_refuse(hub):
    """Bodies that are no commit, objects that never came, and bodies over the limit are refused, and change nothing."""
    hub.create_repo("models", "ann/x", private=True)
    path, old = "/api/models/ann/x/commit/main", hub.refs("models", "ann/x")["refs/heads/main"]
    hub.commit("models", "ann/x", {"c": "c", "here.bin": "here"})
    hub.commit("models", "other/there", {"w.bin": "elsewhere"})
    before = hub.state()
    head = ("header", {"summary": "S", "description": ""})
    small = ("file", {"path": "a", "content": "YQ==", "encoding": "base64"})
    cases = [
        (400, [], {}), (400, [head], {}), (400, [small], {}), (400, [("header", {"summary": ""}), small], {}),
        (400, b"{broken\n", {}), (400, [head, ("unknown", {"path": "a"})], {}),
        (400, [head, ("file", {"path": "a", "content": "!", "encoding": "base64"})], {}),
        (422, [head, ("file", {"path": "../a", "content": ""})], {}),
        (400, [head, small, ("file", {"path": "a/b", "content": ""})], {}),
        (400, [head, ("file", {"path": "big", "content": "x" * ((10 << 20) + 1)})], {}),
        (400, [head, ("lfsFile", {"path": "w.bin", "algo": "sha256", "oid": "0" * 64, "size": 1})], {}),
        (400, [head, ("lfsFile", {"path": "w.bin", "algo": "sha256", "oid": sha256(b"elsewhere"), "size": 9})], {}),
        (400, [head, ("lfsFile", {"path": "w.bin", "algo": "sha256", "oid": sha256(b"here"), "size": 5})], {}),
        (404, [head, small, ("deletedFile", {"path": "b"})], {}), (404, [head, ("deletedFolder", {"path": "d/"})], {}),
        (412, [("header", {"summary": "S", "parentCommit": old}), small], {}),
        (401, [head, small], {"token": None}), (404, [head, small], {"token": "hf_bob"}),
        (403, [head, small], {"token": "hf_reader"}), (401, [head, small], {"token": "hf_unknown"}),
    ]
    for status, rows, more in cases:
        found, headers, answer = post(hub, path, rows, **more)
        assert found == status, (rows, answer)
        assert answer["error"] and headers["x-error-message"]
    hub.quirks(commit_body_limit=10)
    assert post(hub, path, [head, small])[0] == 413
    assert hub.state() == before
    hub.quirks(commit_body_limit=None)
    assert post(hub, path, [head, small])[0] == 200
    assert hub.file("models", "ann/x", "a")["oid"] == git_blob_oid(b"a")


def test_create_conflicts(hub):
    """Creation can be in the way of another one for a while, and a name that is taken says where."""
    hub.quirks(create_conflicts=2)
    answers = [post(hub, "/api/repos/create", {"name": "x", "organization": None}) for _ in range(4)]
    assert [a[0] for a in answers] == [409, 409, 200, 409]
    assert "another conflicting operation is in progress" in answers[0][2]["error"] and "url" not in answers[0][2]
    assert answers[2][2]["url"] == answers[3][2]["url"] == f"{hub.url}/ann/x" and answers[2][2]["name"] == "ann/x"


@pytest.mark.parametrize("origin", ["hub", "s3"])
def test_upload_stopped_in_the_middle(hub, origin):
    """A body can be stopped after so many bytes: held, cut, left hanging, or answered before it has ended."""
    hub.create_repo("models", "ann/x")
    data = generated_bytes(3, 0, 3 << 20)
    url = batch(hub, data)[1]["actions"]["upload"]["href"] if origin == "s3" else hub.url + "/api/validate-yaml"
    method = "PUT" if origin == "s3" else "POST"
    hub.clear_log()
    with hub.upload_gate(2 << 20, times=1, origin=origin) as gate, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fetch, url, method, data)
        gate.wait_reached()
        row, = hub.log(origin)
        assert row["body_length"] == 2 << 20 and not row["done"] and row["held"]
        gate.release()
        assert answer.result()[0] == (200 if origin == "s3" else 400)
    row, = hub.log(origin)
    assert row["body_length"] == len(data) and row["body"] == data[:1 << 20]
    hub.fault(origin=origin, upload_reset=1 << 20)
    assert cut(url, method, data) in ("reset", "broken")
    hub.fault(origin=origin, upload_answer=1000, status=503, body="slow down")
    with connect(url) as sock:
        sock.sendall(head(url, method, len(data)) + data[:1000])
        assert sock.recv(65536).startswith(b"HTTP/1.1 503 ")
    hung = hub.fault(origin=origin, upload_hang=500)
    with connect(url) as sock:
        sock.sendall(head(url, method, len(data)) + data[:500])
        hub.wait_fault(hung)
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    hub.wait_idle()
    assert hub.log(origin)[-1]["peer_closed"] and hub.log(origin)[-1]["body_length"] == 500


def head(url, method, length):
    """Return the head of a request with a body."""
    host, path = url.split("/", 3)[2:]
    return f"{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n".encode()


def cut(url, method, data):
    """Send a request and return how the connection ended."""
    with connect(url) as sock:
        try:
            sock.sendall(head(url, method, len(data)) + data)
            sock.recv(1)
        except BrokenPipeError:
            return "broken"
        except ConnectionResetError:
            return "reset"
    return "answered"


def test_expect_continue_and_memory(hub, tmp_path):
    """A client that asks first is told to go on; a large body is kept in a file and leaves nothing behind."""
    hub.create_repo("models", "ann/x")
    size = 64 << 20
    path = tmp_path / "body"
    with open(path, "wb") as f:
        f.truncate(size)
    digest = hashlib.sha256(bytes(size)).hexdigest()
    wanted = {"operation": "upload", "objects": [{"oid": digest, "size": size}]}
    row = post(hub, "/ann/x.git/info/lfs/objects/batch", wanted)[2]["objects"][0]
    before = peak(hub)
    with connect(hub.s3_url) as sock, open(path, "rb") as f:
        sock.sendall(head(row["actions"]["upload"]["href"], "PUT", size)[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendfile(f)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert peak(hub) - before < 16 << 10
    assert not [n for n in os.listdir(hub.data) if n.startswith("parts-")]
    assert hub.log("s3")[-1]["body_length"] == size


def peak(hub):
    """Return the most memory that the Hub has had, in KiB."""
    with open(f"/proc/{hub.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def test_settings_and_groups(hub):
    """Settings are checked, answered and shown; only owners see and set resource groups."""
    hub.create_repo("models", "ann/x")
    path = "/api/models/ann/x/"
    assert post(hub, path + "settings", {"gated": "maybe"}, method="PUT")[0] == 400
    assert post(hub, path + "settings", {}, method="PUT")[0] == 400
    assert post(hub, path + "settings", {"visibility": "protected"}, method="PUT")[0] == 400
    assert post(hub, path + "settings", {"private": True}, "hf_bob", method="PUT")[0] == 403
    assert post(hub, path + "settings", {"xetEnabled": False, "gated": "manual"}, method="PUT")[2]["gated"] == "manual"
    info = json.loads(fetch(hub.url + "/api/models/ann/x?expand=xetEnabled&expand=gated")[2])
    assert info["xetEnabled"] is False and info["gated"] == "manual"
    assert post(hub, path + "resource-group", {"resourceGroupId": "g1"})[2]["id"] == "g1"
    assert post(hub, path + "resource-group", {"resourceGroupId": "g1"}, "hf_bob")[0] == 403
    assert post(hub, path + "like", {}, "hf_bob")[0] == post(hub, path + "like", {}, "hf_bob")[0] == 200
    assert hub.state()["repositories"]["models/ann/x"]["likes"] == 1
    assert post(hub, path + "like", {}, "hf_bob", method="DELETE")[0] == 200
    assert hub.state()["repositories"]["models/ann/x"]["likes"] == 0
    assert post(hub, path + "like", {}, None)[0] == 401


def test_a_slow_body_holds_nobody_up(hub):
    """While a body is under way, other writes are made."""
    hub.create_repo("models", "ann/x")
    with hub.upload_gate(0, path="/commit/"), ThreadPoolExecutor(1) as pool:
        late = pool.submit(post, hub, "/api/models/ann/x/commit/main", [("header", {"summary": "S"}), (
            "file", {"path": "a", "content": ""})])
        hub.wait_requests(path="/commit/")
        assert post(hub, "/api/models/ann/x/tag/main", {"tag": "t"})[0] == 200
        assert not late.done()
        hub.clear_faults()
        assert late.result()[0] == 200
