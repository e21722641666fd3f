"""git and git-lfs clone, fetch and push through the daemon as they do with the Hub."""

import hashlib
import http.client
import json
import re
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ANN, BOB, CARD, CONFIG_JSON, SMALL_LFS, UNKNOWN

from tests.hub import Generated, generated_bytes
from tests.hub.git_user import GitUser, has_lfs, offers_lfs_upload, with_token
from tests.support.http import TIMEOUT, Client

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
BODY = generated_bytes(7, 0, SMALL_LFS)
needs_lfs = pytest.mark.skipif(not has_lfs(), reason="git-lfs is not installed")


@pytest.fixture
def tiny(hub):
    """Give acme/tiny at the Hub, with a file of each kind, and return its head."""
    hub.create_repo("models", "acme/tiny")
    hub.commit("models", "acme/tiny", {"config.json": b"{}"}, message="First")
    hub.create_tag("models", "acme/tiny", "v1")
    return hub.commit(
        "models",
        "acme/tiny",
        {"config.json": CONFIG_JSON, "README.md": CARD, "empty.txt": b"", "model.safetensors": Generated(SMALL_LFS, 7)},
    )


@pytest.fixture
def secret(hub):
    """Give acme/secret at the Hub, which is private, and return its head."""
    hub.create_repo("models", "acme/secret", private=True)
    return hub.commit(
        "models", "acme/secret", {"config.json": CONFIG_JSON, "model.safetensors": Generated(SMALL_LFS, 9)}
    )


@pytest.fixture
def user(tmp_path):
    """Give a person with a home and no credentials."""
    return GitUser(tmp_path / "user")


@pytest.fixture
def ann(tmp_path):
    """Give a person who may write to everything of acme."""
    person = GitUser(tmp_path / "ann")
    person.answer_with(ANN)
    return person


def asked(hub, path):
    """Return the journal's rows of the hub whose path ends so."""
    return [r for r in hub.log("hub") if r["path"].endswith(path)]


def lfs_batch(url, id, oid, size, token=None):
    """Return the reply to a git-lfs request for one body."""
    kind = "application/vnd.git-lfs+json"
    body = {
        "operation": "download",
        "transfers": ["basic"],
        "hash_algo": "sha256",
        "objects": [{"oid": oid, "size": size}],
    }
    return Client(url).post(
        f"/{id}.git/info/lfs/objects/batch", json.dumps(body).encode(), kind, token=token, headers=[("Accept", kind)]
    )


def lfs_target(url, id, oid, size, token=None):
    """Return the request target of the href at which git-lfs is told to fetch one body; it must be the daemon's."""
    reply = lfs_batch(url, id, oid, size, token)
    assert reply.status == 200, reply
    href = reply.json()["objects"][0]["actions"]["download"]["href"]
    assert href.startswith(url + "/"), "a machine that reaches only the daemon can follow it"
    return href.removeprefix(url)


@pytest.mark.parametrize("kind, prefix", [("models", ""), ("datasets", "datasets/"), ("spaces", "spaces/")])
@pytest.mark.parametrize("suffix", ["", ".git"])
def test_clone(hub, daemon, user, kind, prefix, suffix):
    """A clone through the daemon holds the Hub's commits, trees and files."""
    hub.create_repo(kind, "acme/thing")
    sha = hub.commit(kind, "acme/thing", {"a/b.txt": "text", "ä #1.txt": "odd"})
    at = user.clone(f"{daemon.url}/{prefix}acme/thing{suffix}", "here")
    assert user.run("rev-parse", "HEAD", at=at) == sha
    assert (at / "a/b.txt").read_text() == "text" and (at / "ä #1.txt").read_text() == "odd"
    user.run("fsck", "--full", "--strict", at=at)


def test_clone_by_old_names(hub, daemon, user):
    """One-segment names work, and an old name leads to the new one without leaving the daemon."""
    hub.create_repo("models", "gpt2")
    hub.commit("models", "gpt2", {"config.json": CONFIG_JSON})
    hub.create_repo("models", "acme/old")
    hub.commit("models", "acme/old", {"config.json": CONFIG_JSON})
    hub.rename("models", "acme/old", "acme/new")
    assert (user.clone(f"{daemon.url}/gpt2", "gpt2") / "config.json").read_bytes() == CONFIG_JSON
    done = user.attempt("clone", f"{daemon.url}/acme/old", "old")
    assert (user.home / "old/config.json").read_bytes() == CONFIG_JSON
    assert f"redirecting to {daemon.url}/acme/new" in done.stderr


@pytest.mark.parametrize("version", [0, 1, 2])
def test_protocol_versions(hub, daemon, user, tiny, version):
    """Clients of every protocol version clone and fetch; the daemon passes on which one they speak."""
    chosen = ("-c", f"protocol.version={version}")
    user.run(*chosen, "clone", f"{daemon.url}/acme/tiny", "here")
    sha = hub.commit("models", "acme/tiny", {"new.txt": "new"})
    user.run(*chosen, "pull", at=user.home / "here")
    assert user.run("rev-parse", "HEAD", at=user.home / "here") == sha
    said = {r["headers"].get("git-protocol") for r in hub.log("hub") if "info/refs" in r["path"]}
    assert said == {f"version={version}" if version else None}


def test_fetch_is_never_stale(hub, make_daemon, user, tiny):
    """However long branches are believed elsewhere, a fetch brings what the Hub has now."""
    daemon = make_daemon({"cache": {"ref_ttl": "1h"}})
    at = user.clone(f"{daemon.url}/acme/tiny", "here")
    assert daemon.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON
    sha = hub.commit("models", "acme/tiny", {"config.json": b"[]"}, delete=["empty.txt"])
    user.run("pull", at=at)
    assert user.run("rev-parse", "HEAD", at=at) == sha
    assert (at / "config.json").read_bytes() == b"[]" and not (at / "empty.txt").exists()


def test_shallow_and_partial(hub, daemon, user, tiny):
    """One commit, a tag, or no bodies at first, and the rest later."""
    url = f"{daemon.url}/acme/tiny"
    at = user.clone(url, "shallow", "--depth", "1")
    assert user.run("rev-list", "--count", "HEAD", at=at) == "1" and (at / "config.json").read_bytes() == CONFIG_JSON
    user.run("fetch", "--unshallow", at=at)
    assert user.run("rev-list", "--count", "HEAD", at=at) == "3"
    assert (user.clone(url, "tag", "--depth", "1", "--branch", "v1") / "config.json").read_bytes() == b"{}"
    at = user.clone(url, "partial", "--filter=blob:none", "--no-checkout")
    assert user.run("show", "HEAD:config.json", at=at).encode() == CONFIG_JSON


def test_compressed_requests(hub, daemon, user, tiny):
    """Long requests arrive compressed at the Hub, as git sent them."""
    for n in range(60):
        hub.commit("models", "acme/tiny", {"n.txt": str(n)}, branch=f"b{n}")
    at = user.clone(f"{daemon.url}/acme/tiny", "here")
    assert user.run("show", "origin/b59:n.txt", at=at) == "59"
    assert [r for r in asked(hub, "/git-upload-pack") if r["headers"].get("content-encoding") == "gzip"]


def test_private(hub, daemon, user, secret):
    """A private repository asks for credentials and is for those whom the Hub allows, each time anew."""
    url = f"{daemon.url}/acme/secret"
    assert "could not read Username" in user.refused("clone", url)
    reply = daemon.client.get("/acme/secret/info/refs?service=git-upload-pack")
    assert reply.status == 401 and reply["WWW-Authenticate"].startswith("Basic realm=")
    at = user.clone(with_token(url, ANN), "by-url")
    assert user.run("rev-parse", "HEAD", at=at) == secret
    user.answer_with(ANN)
    assert (user.clone(url, "by-askpass") / "config.json").read_bytes() == CONFIG_JSON
    user.answer_with(UNKNOWN)
    assert "Authentication failed" in user.refused("clone", url)
    user.answer_with(BOB)
    assert "not found" in user.refused("clone", url)
    del user.env["GIT_ASKPASS"]
    assert "could not read Username" in user.refused("clone", url)
    hub.grant("bob", "models", "acme/secret")
    user.answer_with(BOB)
    assert (user.clone(url, "granted") / "config.json").read_bytes() == CONFIG_JSON
    hub.revoke("bob", "models", "acme/secret")
    assert "not found" in user.refused("clone", url)


def test_gated_and_disabled(hub, daemon, user):
    """git shows the Hub's own words."""
    for name, fields in (("gated", {"gated": "auto"}), ("disabled", {})):
        hub.create_repo("models", f"acme/{name}", **fields)
        hub.commit("models", f"acme/{name}", {"config.json": CONFIG_JSON})
    hub.set_visibility("models", "acme/disabled", disabled=True)
    user.answer_with(BOB)
    assert "you are not in the authorized list" in user.refused("clone", f"{daemon.url}/acme/gated")
    assert "Access to this resource is disabled." in user.refused("clone", f"{daemon.url}/acme/disabled")
    assert "not found" in user.refused("clone", f"{daemon.url}/acme/nothing")


def fetch_request(sha):
    """Return the body of a protocol 2 request for everything below a commit."""

    def line(text):
        return b"%04x%s" % (len(text) + 4, text)

    head = line(b"command=fetch") + line(b"object-format=sha1") + b"0001"
    return head + line(b"no-progress") + line(f"want {sha}\n".encode()) + line(b"done\n") + b"0000"


def pack_in(answer):
    """Return the pack that an answer of protocol 2 carries."""
    pack, position = b"", 0
    while (size := int(answer[position : position + 4], 16)) != 0:
        if answer[position + 4] == 1:
            pack += answer[position + 5 : position + size]
        position += size
    return pack


def test_packs_stream(hub, daemon):
    """The beginning of a pack reaches git while its end is still at the Hub."""
    hub.create_repo("models", "acme/large")
    sha = hub.commit("models", "acme/large", {"noise.dat": Generated(6_000_000, seed=3)}, lfs=False)
    headers = {"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"}
    conn = http.client.HTTPConnection(urlsplit(daemon.url).netloc, timeout=TIMEOUT)
    with hub.gate(after_bytes=2_000_000, origin="hub", path="/git-upload-pack$") as gate:
        conn.request("POST", "/acme/large/git-upload-pack", fetch_request(sha), headers)
        answer = conn.getresponse()
        assert answer.status == 200
        first = answer.read(1_500_000)
        gate.wait_reached()
        gate.release()
        pack = pack_in(first + answer.read())
    conn.close()
    assert len(pack) > 6_000_000 and hashlib.sha1(pack[:-20]).digest() == pack[-20:]


def test_broken_pack(hub, daemon, user, tiny):
    """A Hub that breaks off makes git fail, not believe; the next clone is whole."""
    hub.fault(path="/git-upload-pack$", reset=300, times=1, skip=1)
    user.refused("clone", f"{daemon.url}/acme/tiny", "broken")
    assert not (user.home / "broken").exists()
    at = user.clone(f"{daemon.url}/acme/tiny", "here")
    assert user.run("rev-parse", "HEAD", at=at) == tiny


def test_hub_is_down(hub, daemon, user, tiny):
    """Without the Hub git is told so in time, and works again when the Hub does."""
    at = user.clone(f"{daemon.url}/acme/tiny", "here")
    hub.down()
    assert "unable to access" in user.refused("fetch", at=at) and daemon.alive()
    assert daemon.client.get("/acme/tiny/info/refs?service=git-upload-pack").status in (502, 503, 504)
    hub.up()
    user.run("fetch", at=at)


def test_push_is_seen_at_once(hub, make_daemon, ann, tiny):
    """Whatever was known of the branch before a push through the daemon is not said after it, to nobody."""
    daemon = make_daemon({"cache": {"ref_ttl": "1h"}})
    client = daemon.client
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    paths = {
        "file": "/acme/tiny/resolve/main/config.json",
        "absent": "/acme/tiny/resolve/main/new.txt",
        "branch": "/api/models/acme/tiny/revision/main",
        "info": "/api/models/acme/tiny",
        "tree": "/api/models/acme/tiny/tree/main?recursive=true",
        "refs": "/api/models/acme/tiny/refs",
        "commits": "/api/models/acme/tiny/commits/main",
        "no branch": "/api/models/acme/tiny/revision/topic",
    }
    before = {name: client.get(path) for name, path in paths.items()}
    assert before["file"].body == CONFIG_JSON and before["branch"].json()["sha"] == tiny
    assert (before["absent"].status, before["no branch"].status) == (404, 404)
    sha = ann.commit(at, {"config.json": b"[]", "new.txt": "new", "ä b.txt": "odd"}, delete=["empty.txt"])
    ann.run("push", "origin", "main", "main:topic", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == sha
    after = {name: client.get(path) for name, path in paths.items()}
    assert after["file"].body == b"[]" and after["absent"].body == b"new"
    assert after["branch"].json()["sha"] == after["info"].json()["sha"] == after["no branch"].json()["sha"] == sha
    assert after["commits"].json()[0]["id"] == sha
    assert {r["path"] for r in after["tree"].json()} == set(ann.tree(at))
    assert {b["name"]: b["targetCommit"] for b in after["refs"].json()["branches"]} == {"main": sha, "topic": sha}
    assert client.get("/acme/tiny/resolve/main/empty.txt").status == 404
    assert client.get(f"/acme/tiny/resolve/{tiny}/config.json").body == CONFIG_JSON
    ann.run("push", "origin", "--delete", "topic", at=at)
    assert client.get(paths["no branch"]).status == 404
    ann.run("reset", "--hard", "HEAD~1", at=at)
    ann.run("push", "--force", at=at)
    assert client.get(paths["file"]).body == CONFIG_JSON
    assert client.get(paths["branch"]).json()["sha"] == tiny


@pytest.mark.parametrize("kind, prefix", [("datasets", "datasets/"), ("spaces", "spaces/")])
def test_push_to_other_types(hub, daemon, ann, kind, prefix):
    """Data sets and Spaces take pushes as models do."""
    hub.create_repo(kind, "acme/thing")
    hub.commit(kind, "acme/thing", {"a.txt": "old"})
    assert daemon.client.get(f"/{prefix}acme/thing/resolve/main/a.txt").body == b"old"
    at = ann.clone(f"{daemon.url}/{prefix}acme/thing", "here")
    sha = ann.commit(at, {"a.txt": "new"})
    ann.run("push", at=at)
    assert hub.refs(kind, "acme/thing")["refs/heads/main"] == sha
    assert daemon.client.get(f"/{prefix}acme/thing/resolve/main/a.txt").body == b"new"


def test_first_push(hub, daemon, ann):
    """An empty repository takes its first commit."""
    hub.create_repo("models", "acme/new", init=False)
    assert daemon.client.get("/acme/new/resolve/main/a.txt").status == 404
    at = ann.clone(f"{daemon.url}/acme/new", "here")
    ann.commit(at, {"a.txt": "text"})
    ann.run("push", "origin", "HEAD:main", at=at)
    assert daemon.client.get("/acme/new/resolve/main/a.txt").body == b"text"


def test_push_refused(hub, daemon, user, ann, tiny):
    """Every refusal of the Hub reaches the user in the Hub's words, and changes nothing."""
    at = user.clone(f"{daemon.url}/acme/tiny", "here")
    user.commit(at, {"new.txt": "new"})
    assert "could not read Username" in user.refused("push", at=at)
    user.answer_with(BOB)
    assert "You are not authorized" in user.refused("push", at=at)
    user.answer_with(UNKNOWN)
    assert "Authentication failed" in user.refused("push", at=at)
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    ann.commit(at, {"weights.dat": bytes(10 * 1024 * 1024 + 1)})
    text = ann.refused("push", at=at)
    assert "it contains files larger than 10 MiB" in text and "- weights.dat (ref: refs/heads/main)" in text
    ann.run("reset", "--hard", tiny, at=at)
    ann.commit(at, {"lost.dat": POINTER % ("1" * 64, 5)})
    assert "an LFS pointer pointed to a file that does not exist" in ann.refused("push", at=at)
    ann.run("reset", "--hard", tiny, at=at)
    ann.commit(at, {"new.txt": "new"})
    meanwhile = hub.commit("models", "acme/tiny", {"meanwhile.txt": "x"})
    assert "fetch first" in ann.refused("push", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == meanwhile
    assert daemon.client.get("/acme/tiny/resolve/main/new.txt").status == 404
    ann.run("pull", "--rebase", at=at)
    ann.run("push", at=at)
    assert daemon.client.get("/acme/tiny/resolve/main/new.txt").body == b"new"


def test_push_is_sent_once(hub, daemon, ann, tiny):
    """A push whose answer is lost is not sent again; what came of it is seen."""
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    assert daemon.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON
    sha = ann.commit(at, {"config.json": b"[]"})
    hub.fault(method="POST", path="/git-receive-pack$", reset="after_head")
    ann.refused("push", at=at)
    assert len(asked(hub, "/git-receive-pack")) == 1
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == sha
    assert daemon.client.get("/acme/tiny/resolve/main/config.json").body == b"[]"
    assert "Everything up-to-date" in ann.attempt("push", at=at).stderr


def test_lost_before_the_head(hub, daemon, ann, tiny):
    """A push that the Hub resets before it answers is an error and one request; another push is a new one."""
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    sha = ann.commit(at, {"config.json": b"[]"})
    hub.fault(method="POST", path="/git-receive-pack$", reset="before_head")
    ann.refused("push", at=at)
    assert len(asked(hub, "/git-receive-pack")) == 1
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == tiny
    ann.run("push", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == sha


def peak_memory(daemon):
    """Return the largest resident size of the daemon so far, in bytes."""
    text = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1)) * 1024


def test_long_push(hub, daemon, ann, tiny):
    """Packs of any length pass in chunks without being held, after the probe that git sends first."""
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    before = peak_memory(daemon)
    files = {f"noise-{n}.dat": generated_bytes(n, 0, 10_000_000) for n in range(6)}
    ann.commit(at, files)
    ann.run("push", at=at)
    probe, push = asked(hub, "/git-receive-pack")
    assert probe["body"] == b"0000" and push["body_length"] > 60_000_000
    for name, body in files.items():
        assert hub.file("models", "acme/tiny", name)["sha256"] == hashlib.sha256(body).hexdigest()
    sanitized = re.search("asan|tsan", daemon.process.args[0])
    grown = peak_memory(daemon) - before
    print(f"the daemon grew by {grown >> 20} MiB while {push['body_length'] >> 20} MiB passed")
    assert sanitized or grown < 30_000_000


def test_pusher_dies(hub, daemon, ann, tiny):
    """A pack that breaks off is no push, and the daemon goes on."""
    credentials = Client(daemon.url, ANN)
    assert credentials.get("/acme/tiny/info/refs?service=git-receive-pack").status == 200
    with socket.create_connection(urlsplit(daemon.url).netloc.split(":")) as sock:
        sock.sendall(
            f"POST /acme/tiny/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n\r\n"
            "1000\r\nnot all of it".encode()
        )
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    assert ann.run("rev-parse", "HEAD", at=at) == tiny
    sha = ann.commit(at, {"a.txt": "a"})
    ann.run("push", at=at)
    assert hub.refs("models", "acme/tiny")["refs/heads/main"] == sha


@needs_lfs
@pytest.mark.parametrize("kind, prefix", [("models", ""), ("datasets", "datasets/"), ("spaces", "spaces/")])
def test_lfs_clone(hub, daemon, tmp_path, kind, prefix):
    """LFS bodies come through the daemon; the second clone takes none from the CDN."""
    hub.create_repo(kind, "acme/thing")
    hub.commit(kind, "acme/thing", {"model.safetensors": Generated(SMALL_LFS, seed=7)})
    url = f"{daemon.url}/{prefix}acme/thing"
    first = GitUser(tmp_path / "first")
    first.install_lfs()
    at = first.clone(url, "here")
    assert (at / "model.safetensors").read_bytes() == BODY and first.run("status", "--porcelain", at=at) == ""
    assert hub.sent("cdn") == SMALL_LFS
    hub.clear_log()
    second = GitUser(tmp_path / "second")
    at = second.clone(url, "plain")
    assert (at / "model.safetensors").read_text() == POINTER % (hashlib.sha256(BODY).hexdigest(), SMALL_LFS)
    second.run("lfs", "install", "--local", at=at)
    second.run("lfs", "pull", at=at)
    assert (at / "model.safetensors").read_bytes() == BODY
    second.install_lfs()
    skipped = second.clone(url, "skipped", GIT_LFS_SKIP_SMUDGE="1")
    assert (skipped / "model.safetensors").stat().st_size < 200
    assert (second.clone(url, "whole") / "model.safetensors").read_bytes() == BODY
    assert hub.sent("cdn") == 0


@needs_lfs
def test_lfs_and_downloads_share(hub, make_daemon, user, tiny):
    """What git-lfs brought serves downloads, and what downloads brought serves git-lfs."""
    daemon = make_daemon({"cache": {"ref_ttl": "0s"}})  # the Hub is written to past us
    assert daemon.client.get("/acme/tiny/resolve/main/model.safetensors").body == BODY
    hub.clear_log()
    user.install_lfs()
    assert (user.clone(f"{daemon.url}/acme/tiny", "here") / "model.safetensors").read_bytes() == BODY
    assert hub.sent("cdn") == 0
    hub.commit("models", "acme/tiny", {"other.safetensors": Generated(SMALL_LFS, seed=8)})
    user.run("pull", at=user.home / "here")
    assert hub.sent("cdn") == SMALL_LFS
    assert daemon.client.get("/acme/tiny/resolve/main/other.safetensors").body == generated_bytes(8, 0, SMALL_LFS)
    assert hub.sent("cdn") == SMALL_LFS


def test_lfs_href_without_the_hub(hub, daemon, tiny):
    """A body that is here is served at its href also while the Hub is down, whole and in parts."""
    oid = hashlib.sha256(BODY).hexdigest()
    target = lfs_target(daemon.url, "acme/tiny", oid, SMALL_LFS)
    assert daemon.client.get(target).body == BODY
    hub.down()
    hub.down("cdn")
    assert daemon.client.get(target).body == BODY
    reply = daemon.client.get(target, headers=[("Range", "bytes=1000-1999")])
    assert (reply.status, reply.body) == (206, BODY[1000:2000])


@needs_lfs
def test_lfs_resumes(hub, daemon, user, tiny):
    """A CDN that breaks off in the middle costs git-lfs nothing but the rest."""
    user.install_lfs()
    hub.fault(origin="cdn", reset=100_000)
    assert (user.clone(f"{daemon.url}/acme/tiny", "here") / "model.safetensors").read_bytes() == BODY
    assert hub.sent("cdn") < SMALL_LFS + 90_000


@needs_lfs
def test_lfs_damage(hub, daemon, user, tiny):
    """A body that is not what its pointer says is not taken for it, and not kept."""
    user.install_lfs()
    fault = hub.fault(origin="cdn", flip=150_000, times=None)
    user.refused("clone", f"{daemon.url}/acme/tiny", "bad")
    hub.clear_faults(fault)
    assert (user.clone(f"{daemon.url}/acme/tiny", "good") / "model.safetensors").read_bytes() == BODY


@needs_lfs
def test_lfs_private(hub, daemon, user, secret):
    """Bodies of a private repository are for those whom the Hub allowed, also when they are in the cache."""
    user.install_lfs()
    user.answer_with(ANN)
    body = generated_bytes(9, 0, SMALL_LFS)
    at = user.clone(f"{daemon.url}/acme/secret", "here")
    assert (at / "model.safetensors").read_bytes() == body
    oid = hashlib.sha256(body).hexdigest()
    for token, status in ((None, 401), (UNKNOWN, 401), (BOB, 404)):
        assert lfs_batch(daemon.url, "acme/secret", oid, SMALL_LFS, token).status == status
    shutil.rmtree(at / ".git/lfs/objects")
    del user.env["GIT_ASKPASS"]
    assert "credentials" in user.refused("lfs", "fetch", at=at)
    user.answer_with(ANN)
    user.run("lfs", "fetch", at=at)
    assert hub.sent("cdn") == SMALL_LFS


def test_lfs_hrefs_cannot_be_made_up(hub, daemon, tiny, secret):
    """An href leads to the body that it was given for and to no other."""
    body = generated_bytes(9, 0, SMALL_LFS)
    mine, other = hashlib.sha256(BODY).hexdigest(), hashlib.sha256(body).hexdigest()
    target = lfs_target(daemon.url, "acme/tiny", mine, SMALL_LFS)
    private = lfs_target(daemon.url, "acme/secret", other, SMALL_LFS, ANN)
    assert daemon.client.get(private, token=ANN).body == body
    if mine in target:
        reply = daemon.client.get(target.replace(mine, other))
        assert reply.status in (401, 403, 404) and body[:100] not in reply.body
    assert daemon.client.get(target.replace("acme/tiny", "acme/secret") + "x").body != body
    for name in ("url", "u", "href", "target"):
        daemon.client.get(f"{target.partition('?')[0]}?{name}={hub.evil_url}/x")
    assert not hub.log("evil")


@needs_lfs
def test_lfs_push(hub, daemon, ann, tmp_path, tiny):
    """A large file goes up through the daemon and comes down again from its cache."""
    if not offers_lfs_upload(hub.url, "acme/tiny", ANN):
        pytest.skip("this Hub takes no LFS bodies")
    ann.install_lfs()
    at = ann.clone(f"{daemon.url}/acme/tiny", "here")
    body = generated_bytes(21, 0, 12_000_000)
    assert daemon.client.get("/acme/tiny/resolve/main/new.safetensors").status == 404
    ann.commit(at, {"new.safetensors": body, "small.bin": b"small"})
    ann.run("push", at=at)
    facts = hub.file("models", "acme/tiny", "new.safetensors")
    assert facts["lfs"] and facts["sha256"] == hashlib.sha256(body).hexdigest()
    hub.clear_log()
    assert daemon.client.get("/acme/tiny/resolve/main/new.safetensors").body == body
    other = GitUser(tmp_path / "other")
    other.install_lfs()
    there = other.clone(f"{daemon.url}/acme/tiny", "there")
    assert (there / "new.safetensors").read_bytes() == body and (there / "small.bin").read_bytes() == b"small"
    assert hub.sent("cdn") == 0
    hub.clear_log()
    ann.run("commit", "--allow-empty", "-m", "Nothing new", at=at)
    ann.run("push", at=at)
    assert hub.log("s3") == [], "what the Hub holds is not sent again"


@needs_lfs
def test_lfs_push_to_a_private_repository(hub, daemon, ann, tmp_path, secret):
    """What was pushed into a private repository stays private."""
    if not offers_lfs_upload(hub.url, "acme/secret", ANN):
        pytest.skip("this Hub takes no LFS bodies")
    ann.install_lfs()
    at = ann.clone(f"{daemon.url}/acme/secret", "here")
    body = generated_bytes(22, 0, 2_000_000)
    ann.commit(at, {"new.safetensors": body})
    ann.run("push", at=at)
    path = "/acme/secret/resolve/main/new.safetensors"
    assert daemon.as_user(ANN).get(path).body == body
    assert (daemon.client.get(path).status, daemon.as_user(BOB).get(path).status) == (401, 404)
