"""The Hub for tests judged by git and git-lfs themselves."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import shutil
from urllib.parse import urlsplit

import pytest

from . import Generated, Hub, generated_bytes
from .git_user import GitUser, has_lfs, offers_lfs_upload, with_token
from .world import CARD, CONFIG, ODD, WEIGHTS, populate

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
needs_lfs = pytest.mark.skipif(not has_lfs(), reason="git-lfs is not installed")


@pytest.fixture
def hub():
    """Run a Hub for one test."""
    with Hub.start() as running:
        running.known = populate(running)
        running.clear_log()
        yield running
        assert not [r for r in running.log() if r["status"] in (None, 500)]


@pytest.fixture
def user(tmp_path):
    """Give a person with a home and no credentials."""
    return GitUser(tmp_path / "home")


@pytest.fixture
def ann(tmp_path):
    """Give a person who may write to everything of acme."""
    person = GitUser(tmp_path / "ann")
    person.answer_with("hf_ann")
    return person


def file_bytes(hub, path):
    """Return the status and bytes at a path of the hub."""
    conn = http.client.HTTPConnection(urlsplit(hub.url).netloc)
    try:
        conn.request("GET", path)
        answer = conn.getresponse()
        return answer.status, answer.read()
    finally:
        conn.close()


def document(hub, path):
    """Return a JSON document of the hub."""
    status, body = file_bytes(hub, path)
    assert status == 200, body
    return json.loads(body)


def requests(hub, path):
    """Return the journal's rows whose path ends so."""
    return [r for r in hub.log("hub") if r["path"].endswith(path)]


def test_ids_are_those_of_git(hub, user):
    """Commits, trees and blobs that the store numbered are the ones that git clones and finds sound."""
    url = f"{hub.url}/acme/tiny"
    at = user.clone(url, "all.git", "--mirror")
    user.run("fsck", "--full", "--strict", at=at)
    refs = dict(reversed(row.split()) for row in user.run("show-ref", at=at).splitlines())
    assert refs == hub.refs("models", "acme/tiny") and "refs/pr/1" in refs and "refs/tags/v1" in refs
    tree = user.tree(at, hub.known["head"])
    for path in (ODD, "empty.txt", "config.json", "model.safetensors", ".gitattributes"):
        assert tree[path] == hub.file("models", "acme/tiny", path)["oid"]
    assert set(tree) == set(hub.known["files"]) | {".gitattributes"}
    assert user.run("log", "--format=%s|%an", "main", at=at).split("\n") == [
        "Add files|acme", "First|acme", "initial commit|acme"]
    assert user.run("log", "-1", "--format=%b", "v1", at=at) == "With a body."


@pytest.mark.parametrize("path, name, content", [
    ("acme/tiny", "config.json", CONFIG), ("acme/tiny.git", "README.md", CARD), ("gpt2", "config.json", CONFIG),
    ("datasets/acme/data", "x/train.csv", b"a,b\n1,2\n" * 100), ("spaces/acme/app", "app.py", b"print(1)\n")])
def test_clone(hub, user, path, name, content):
    """Every type of repository can be cloned, whether `.git` is typed or not."""
    at = user.clone(f"{hub.url}/{path}", "here")
    assert (at / name).read_bytes() == content
    assert user.run("status", "--porcelain", at=at) == ""
    row = requests(hub, "/info/refs")[0]
    headers = dict(row["response_headers"])
    assert headers["Content-Type"] == "application/x-git-upload-pack-advertisement"
    assert "no-cache" in headers["Cache-Control"] and row["headers"]["git-protocol"] == "version=2"


def test_clone_of_many_files(hub, user):
    """2500 files in one commit come whole, and so does an old name by its redirect."""
    at = user.clone(f"{hub.url}/acme/many", "many")
    assert len(user.tree(at)) == 2500 and (at / "data/file-000042.txt").read_text() == "42\n"
    at = user.clone(f"{hub.url}/acme/old-name", "renamed")
    assert (at / "config.json").read_bytes() == CONFIG


@pytest.mark.parametrize("version", [0, 1, 2])
def test_protocol_versions(hub, user, version):
    """Clients of every protocol version clone and fetch."""
    chosen = ("-c", f"protocol.version={version}")
    user.run(*chosen, "clone", f"{hub.url}/acme/tiny", "here")
    sha = hub.commit("models", "acme/tiny", {"new.txt": "new"})
    user.run(*chosen, "fetch", at=user.home / "here")
    assert user.run("rev-parse", "origin/main", at=user.home / "here") == sha


def test_private(hub, user, tmp_path):
    """A private repository asks for credentials, and shows itself to nobody else."""
    url = f"{hub.url}/acme/secret"
    assert "could not read Username" in user.refused("clone", url)
    row = requests(hub, "/info/refs")[-1]
    assert row["status"] == 401 and dict(row["response_headers"])["WWW-Authenticate"].startswith("Basic realm=")
    at = user.clone(with_token(url, "hf_ann"), "by-url")
    assert (at / "config.json").read_bytes() == CONFIG
    assert "authorization" not in requests(hub, "/info/refs")[-2]["headers"], "git asks without credentials first"
    user.answer_with("hf_ann")
    assert (user.clone(url, "by-askpass") / "config.json").read_bytes() == CONFIG
    user.answer_with("hf_wrong")
    assert "Authentication failed" in user.refused("clone", url)
    user.answer_with("hf_bob")
    assert "not found" in user.refused("clone", url)
    assert "not found" in user.refused("clone", f"{hub.url}/acme/nothing")


def test_gated_and_disabled(hub, user):
    """A gated repository is for those on the list, a disabled one for nobody; git shows the Hub's reason."""
    user.answer_with("hf_bob")
    assert "you are not in the authorized list" in user.refused("clone", f"{hub.url}/acme/gated")
    hub.grant("bob", "models", "acme/gated")
    assert (user.clone(f"{hub.url}/acme/gated", "gated") / "config.json").read_bytes() == CONFIG
    assert "Access to this resource is disabled." in user.refused("clone", f"{hub.url}/acme/disabled")


def test_fetch(hub, user):
    """A fetch brings what was committed, moved and deleted since."""
    at = user.clone(f"{hub.url}/acme/tiny", "here")
    sha = hub.commit("models", "acme/tiny", {"config.json": b"{}", "new/one.txt": "1"}, delete=["empty.txt"])
    hub.create_branch("models", "acme/tiny", "other", hub.known["first"])
    hub.delete_ref("models", "acme/tiny", "refs/heads/dev/x")
    user.run("pull", "--prune", at=at)
    assert user.run("rev-parse", "HEAD", at=at) == sha and not (at / "empty.txt").exists()
    assert (at / "config.json").read_bytes() == b"{}"
    branches = user.run("branch", "-r", "--format=%(refname:short)", at=at).split()
    assert "origin/other" in branches and "origin/dev/x" not in branches
    user.run("fetch", "origin", "refs/pr/1:pr", at=at)
    assert user.run("show", "pr:pr.txt", at=at) == "from a pull request"


def test_compressed_requests(hub, user):
    """Git compresses long requests; the answer is the same."""
    for n in range(60):
        hub.commit("models", "acme/tiny", {"n.txt": str(n)}, branch=f"b{n}")
    at = user.clone(f"{hub.url}/acme/tiny", "here")
    assert [r for r in requests(hub, "/git-upload-pack") if r["headers"].get("content-encoding") == "gzip"]
    assert user.run("show", "origin/b59:n.txt", at=at) == "59"


def test_shallow_and_partial(hub, user):
    """One commit, one branch, or no bodies at first."""
    url = f"{hub.url}/acme/tiny"
    at = user.clone(url, "shallow", "--depth", "1")
    assert user.run("rev-list", "--count", "HEAD", at=at) == "1" and (at / "config.json").read_bytes() == CONFIG
    user.run("fetch", "--unshallow", at=at)
    assert user.run("rev-list", "--count", "HEAD", at=at) == "3"
    at = user.clone(url, "tag", "--depth", "1", "--branch", "v1")
    assert (at / "config.json").read_bytes() == b"{}"
    at = user.clone(url, "partial", "--filter=blob:none", "--no-checkout")
    assert user.run("show", "HEAD:config.json", at=at).encode() == CONFIG
    at = user.clone(url, "fixed", "--no-checkout", "--depth", "1")
    user.run("fetch", "--depth", "1", "origin", hub.known["first"], at=at)


def test_many_at_once(hub, tmp_path):
    """Eight people clone while a ninth publishes; everybody gets a sound repository."""
    def one(n):
        person = GitUser(tmp_path / f"p{n}")
        at = person.clone(f"{hub.url}/acme/tiny", "here")
        person.run("fsck", "--full", at=at)
        return person.run("rev-parse", "HEAD", at=at)
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        jobs = [pool.submit(one, n) for n in range(8)]
        shas = [hub.known["head"], *(hub.commit("models", "acme/tiny", {"n.txt": str(n)}) for n in range(10))]
        assert {job.result() for job in jobs} <= set(shas)


def test_push(hub, ann):
    """What is pushed is what the API then shows: files, folders, deletions, modes, history."""
    at = ann.clone(f"{hub.url}/acme/tiny", "here")
    (at / "link").symlink_to("config.json")
    (at / "run.sh").write_text("#!/bin/sh\n")
    (at / "run.sh").chmod(0o755)
    sha = ann.commit(at, {"new/ä b.txt": "new", "config.json": b"{}"}, "Say it\n\nAnd why.", delete=["empty.txt"])
    ann.run("push", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == sha
    assert file_bytes(hub, "/acme/tiny/raw/main/new/%C3%A4%20b.txt") == (200, b"new")
    assert file_bytes(hub, "/acme/tiny/raw/main/config.json") == (200, b"{}")
    assert file_bytes(hub, "/acme/tiny/raw/main/empty.txt")[0] == 404
    facts = hub.file("models", "acme/tiny", "new/ä b.txt")
    assert facts["oid"] == ann.tree(at)["new/ä b.txt"] and facts["last_commit"] == sha
    assert hub.file("models", "acme/tiny", "README.md")["last_commit"] == hub.known["head"]
    assert hub.file("models", "acme/tiny", "model.safetensors")["lfs"]
    rows = {r["path"]: r["oid"] for r in document(hub, "/api/models/acme/tiny/tree/main?recursive=true")}
    assert rows["new"] == ann.run("rev-parse", "HEAD:new", at=at) and rows["link"] == ann.tree(at)["link"]
    first = document(hub, "/api/models/acme/tiny/commits/main")[0]
    assert (first["id"], first["title"], first["message"]) == (sha, "Say it", "And why.")
    assert first["authors"][0]["user"] == "ann"
    following = hub.commit("models", "acme/tiny", {"by-api.txt": "x"})
    ann.run("pull", at=at)
    assert ann.run("rev-parse", "HEAD", at=at) == following and os.access(at / "run.sh", os.X_OK)
    ann.run("fsck", "--full", "--strict", at=at)


def test_push_refs(hub, ann):
    """Branches, tags, merges and rewritten histories can be pushed, and branches deleted."""
    at = ann.clone(f"{hub.url}/acme/tiny", "here")
    ann.run("switch", "-c", "topic/one", at=at)
    topic = ann.commit(at, {"topic.txt": "topic"})
    ann.run("push", "--set-upstream", "origin", "topic/one", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/topic/one"] == topic
    ann.run("switch", "main", at=at)
    ann.commit(at, {"main.txt": "main"})
    ann.run("merge", "--no-edit", "topic/one", at=at)
    ann.run("tag", "-a", "v2", "-m", "Second", at=at)
    ann.run("push", "--follow-tags", at=at)
    merge, refs = ann.run("rev-parse", "HEAD", at=at), hub.refs("models", "acme/tiny")
    assert refs["refs/heads/main"] == refs["refs/tags/v2"] == merge
    assert hub.file("models", "acme/tiny", "topic.txt")["last_commit"] == topic
    assert "Everything up-to-date" in ann.attempt("push", "--tags", at=at).stderr
    ann.run("push", "origin", "--delete", "topic/one", at=at)
    assert "refs/heads/topic/one" not in hub.refs("models", "acme/tiny")
    ann.run("reset", "--hard", hub.known["first"], at=at)
    other = ann.commit(at, {"other.txt": "other"})
    assert "non-fast-forward" in ann.refused("push", at=at)
    ann.run("push", "--force", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == other
    ann.run("push", "origin", "HEAD:refs/pr/1", "--force", at=at)
    assert hub.refs("models", "acme/tiny")["refs/pr/1"] == other
    assert "refusing to delete" in ann.refused("push", "origin", "--delete", "main", at=at)


def test_first_push(hub, ann):
    """An empty repository takes its first commit from git."""
    hub.create_repo("datasets", "ann/new", init=False)
    at = ann.clone(f"{hub.url}/datasets/ann/new", "here")
    sha = ann.commit(at, {"data.csv": "a,b\n"})
    ann.run("push", "origin", "HEAD:main", at=at)
    assert hub.refs("datasets", "ann/new") == {"refs/heads/main": sha}
    assert file_bytes(hub, "/datasets/ann/new/raw/main/data.csv") == (200, b"a,b\n")


def test_long_push(hub, ann):
    """More than git's buffer is sent in chunks, after a probe that shows whether the credentials do."""
    at = ann.clone(f"{hub.url}/acme/tiny", "here")
    body = generated_bytes(3, 0, 5_000_000)
    ann.commit(at, {"large.dat": body})
    ann.run("push", at=at)
    probe, push = requests(hub, "/git-receive-pack")
    assert probe["body"] == b"0000" and push["headers"]["transfer-encoding"] == "chunked"
    assert push["body_length"] > 5_000_000
    assert hub.file("models", "acme/tiny", "large.dat")["sha256"] == hashlib.sha256(body).hexdigest()


def test_push_of_others(hub, user):
    """A push needs a token that may write here; the Hub says whether it lacks the token or the right."""
    at = user.clone(f"{hub.url}/acme/tiny", "here")
    user.commit(at, {"new.txt": "new"})
    assert "could not read Username" in user.refused("push", at=at)
    hub.add_token("hf_ann_reads", "ann", orgs=["acme"], role="read")
    hub.add_token("hf_cid", "cid", role="write")
    hub.add_token("hf_elsewhere", "ann", orgs=["acme"], role="write", repos=["acme/app"])
    for token in ("hf_ann_reads", "hf_cid", "hf_elsewhere"):
        user.answer_with(token)
        assert "You are not authorized" in user.refused("push", at=at)
    user.answer_with("hf_wrong")
    assert "Authentication failed" in user.refused("push", at=at)
    hub.add_token("hf_gone", "ann", orgs=["acme"], role="write")
    hub.revoke_token("hf_gone")
    user.answer_with("hf_gone")
    assert "Authentication failed" in user.refused("push", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == hub.known["head"]
    assert not requests(hub, "/git-receive-pack")


def test_pushes_refused(hub, ann):
    """What the Hub's rules forbid is refused with its reason, and nothing of it stays."""
    before = hub.refs("models", "acme/tiny")
    at = ann.clone(f"{hub.url}/acme/tiny", "here")

    def refusal(*refspec):
        text = ann.refused("push", *refspec, at=at)
        ann.run("reset", "--hard", hub.known["head"], at=at)
        return text
    ann.commit(at, {"weights.dat": bytes(10 * 1024 * 1024 + 1)})
    text = refusal()
    assert "it contains files larger than 10 MiB" in text and "pre-receive hook declined" in text
    assert "- weights.dat (ref: refs/heads/main)" in text
    ann.commit(at, {"weights.dat": bytes(10 * 1024 * 1024 + 1)})
    ann.commit(at, {}, delete=["weights.dat"])
    assert "- weights.dat" in refusal("origin", "HEAD:hidden"), "what a later commit deletes counts too"
    ann.commit(at, {"lost.dat": POINTER % ("1" * 64, 5)})
    text = refusal()
    assert "an LFS pointer pointed to a file that does not exist" in text and "- lost.dat" in text
    ann.run("update-index", "--add", "--cacheinfo", f"160000,{hub.known['head']},module", at=at)
    ann.run("commit", "-m", "Module", at=at)
    assert "submodules" in refusal()
    ann.commit(at, {"x.txt": "x"})
    assert "only branches, tags and pull requests that exist" in refusal("origin", "HEAD:refs/convert/parquet")
    assert "only branches, tags and pull requests that exist" in refusal("origin", "HEAD:refs/pr/7")
    hub.commit("models", "acme/tiny", {"meanwhile.txt": "x"}, branch="dev/x")
    ann.run("switch", "dev/x", at=at)
    ann.commit(at, {"x.txt": "x"})
    assert "fetch first" in ann.refused("push", at=at)
    ann.run("switch", "main", at=at)
    assert {n: s for n, s in hub.refs("models", "acme/tiny").items() if n != "refs/heads/dev/x"} == {
        n: s for n, s in before.items() if n != "refs/heads/dev/x"}
    ann.commit(at, {"exact.dat": bytes(10 * 1024 * 1024)})
    ann.run("push", at=at)


def test_requests_that_are_not_gits(hub):
    """Old and odd requests are refused without harm."""
    conn = http.client.HTTPConnection(urlsplit(hub.url).netloc)

    def ask(method, path, body=None, **headers):
        conn.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = conn.getresponse()
        answer.read()
        return answer.status
    kind = "application/x-git-upload-pack-request"
    assert ask("GET", "/acme/tiny/info/refs") == 403
    assert ask("GET", "/acme/tiny/info/refs?service=git-archive") == 403
    assert ask("GET", "/acme/tiny/git-upload-pack") == 405
    assert ask("POST", "/acme/tiny/git-upload-pack", b"0000") == 415
    assert ask("POST", "/acme/tiny/git-upload-pack", b"x", Content_Type=kind, Content_Encoding="gzip") == 400
    assert ask("GET", "/acme/tiny/info/refs?service=git-upload-pack", Git_Protocol="version=2 $(id)") == 400
    assert ask("POST", "/acme/tiny/git-upload-pack", b"nonsense", Content_Type=kind) == 200
    assert ask("POST", "/acme/tiny.git/info/lfs/locks/verify", b"{}") == 404
    conn.close()


@needs_lfs
@pytest.mark.parametrize("path, kind, id", [
    ("acme/tiny", "models", "acme/tiny"), ("datasets/acme/large", "datasets", "acme/large"),
    ("spaces/acme/large", "spaces", "acme/large")])
def test_lfs_clone(hub, user, path, kind, id):
    """LFS files come as bodies or as pointers, as the user has set git-lfs up, and later when asked for."""
    if id != "acme/tiny":
        hub.create_repo(kind, id)
        hub.commit(kind, id, {"model.safetensors": Generated(WEIGHTS, seed=7)})
    body = generated_bytes(7, 0, WEIGHTS)
    pointer = POINTER % (hashlib.sha256(body).hexdigest(), WEIGHTS)
    url = f"{hub.url}/{path}"
    plain = user.clone(url, "plain")
    assert (plain / "model.safetensors").read_text() == pointer and hub.sent("cdn") == 0
    user.run("lfs", "install", "--local", at=plain)
    user.run("lfs", "pull", at=plain)
    assert (plain / "model.safetensors").read_bytes() == body
    user.install_lfs()
    skipped = user.clone(url, "skipped", GIT_LFS_SKIP_SMUDGE="1")
    assert (skipped / "model.safetensors").read_text() == pointer
    user.run("lfs", "pull", "--include", "model.safetensors", at=skipped)
    assert (skipped / "model.safetensors").read_bytes() == body
    whole = user.clone(url, "whole")
    assert (whole / "model.safetensors").read_bytes() == body and user.run("status", "--porcelain", at=whole) == ""
    user.run("lfs", "fsck", at=whole)


@needs_lfs
def test_lfs_private(hub, user):
    """LFS objects of a private repository need credentials too, which the storage never sees."""
    user.install_lfs()
    url = f"{hub.url}/acme/secret"
    at = user.clone(with_token(url, "hf_ann"), "by-url")
    assert (at / "model.safetensors").read_bytes() == generated_bytes(1, 0, 5000)
    plain = GitUser(user.home / "other")
    plain.answer_with("hf_ann")
    plain.install_lfs()
    at = plain.clone(url, "by-askpass")
    assert (at / "model.safetensors").read_bytes() == generated_bytes(1, 0, 5000)
    assert [r["status"] for r in requests(hub, "/info/lfs/objects/batch")][-2:] == [401, 200]
    assert hub.sent("cdn") == 2 * 5000 and not [r for r in hub.log("cdn") if "authorization" in r["headers"]]
    del plain.env["GIT_ASKPASS"]
    shutil.rmtree(at / ".git/lfs/objects")
    assert "credentials" in plain.refused("lfs", "fetch", at=at)
    assert hub.sent("cdn") == 2 * 5000


@needs_lfs
def test_lfs_push(hub, ann):
    """A large file is uploaded first and then pushed as a pointer; the API shows the body."""
    if not offers_lfs_upload(hub.url, "acme/tiny", "hf_ann"):
        pytest.skip("this Hub takes no LFS bodies")
    ann.install_lfs()
    at = ann.clone(f"{hub.url}/acme/tiny", "here")
    body = generated_bytes(21, 0, 12_000_000)
    ann.commit(at, {"new.safetensors": body, "small.bin": b"small"})
    ann.run("push", at=at)
    facts = hub.file("models", "acme/tiny", "new.safetensors")
    assert facts["lfs"] and facts["size"] == len(body) and facts["sha256"] == hashlib.sha256(body).hexdigest()
    assert hub.file("models", "acme/tiny", "small.bin")["lfs"]
    assert [r["status"] for r in requests(hub, "/locks/verify")] == [404]
    other = GitUser(ann.home / "other")
    other.install_lfs()
    assert (other.clone(f"{hub.url}/acme/tiny", "there") / "new.safetensors").read_bytes() == body
    hub.clear_log()
    ann.run("commit", "--allow-empty", "-m", "Nothing new", at=at)
    ann.run("push", at=at)
    assert hub.log("s3") == []
