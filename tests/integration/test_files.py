"""Files at any revision of any kind of repository come as the Hub sends them.

Every request is made twice: of the Hub itself, following its redirects as a client does, and of the daemon, which
answers directly.  A client must not be able to tell the difference.
"""

import hashlib
from urllib.parse import quote

import pytest
from conftest import ANN, ODD_PATH, UNKNOWN

from tests.hub import git_blob_oid

SAME = ("Content-Length", "Content-Type", "Content-Disposition", "Accept-Ranges", "X-Repo-Commit")
LFS = ("model.safetensors", "small.safetensors", "big.parquet")


def expected(world, method, target, **options):
    """Ask the Hub and put together what its chain of answers says about the file."""
    chain = world.direct.follow(method, target, **options)
    last = chain[-1]
    headers = {name: last[name] for name in SAME}
    headers["X-Repo-Commit"] = next((r["X-Repo-Commit"] for r in reversed(chain) if r["X-Repo-Commit"]), None)
    linked = next((r["X-Linked-Etag"] for r in chain if r["X-Linked-Size"]), None)
    headers["ETag"] = linked or last["ETag"]
    headers["X-Linked-Etag"] = linked
    headers["X-Linked-Size"] = next((r["X-Linked-Size"] for r in chain if r["X-Linked-Size"]), None)
    return last, headers


def compare(world, method, target, **options):
    """The daemon's one answer equals what the Hub's chain says; returns it."""
    last, headers = expected(world, method, target, **options)
    reply = world.proxied.request(method, target, **options)
    assert reply.status == last.status, reply
    for name, value in headers.items():
        if name == "X-Linked-Etag" and value is None:
            continue
        assert reply[name] == value, f"{method} {target}: {name} is {reply[name]!r} and not {value!r}"
    assert reply["Location"] is None
    assert reply.complete
    assert reply.body == last.body
    return reply


def targets(known):
    """Return one target for each way to write a revision."""
    tiny = "/acme/tiny/resolve"
    return {
        "branch": f"{tiny}/main/config.json",
        "branch with a slash": f"{tiny}/dev%2Fx/config.json",
        "tag": f"{tiny}/v1/config.json",
        "commit": f"{tiny}/{known['head']}/config.json",
        "older commit": f"{tiny}/{known['first']}/config.json",
        "short commit": f"{tiny}/{known['head'][:7]}/config.json",
        "pull request, encoded": f"{tiny}/refs%2Fpr%2F1/pr.txt",
        "pull request, plain": f"{tiny}/refs/pr/1/pr.txt",
        "conversion, encoded": "/datasets/acme/data/resolve/refs%2Fconvert%2Fparquet/x/train.csv",
        "conversion, plain": "/datasets/acme/data/resolve/refs/convert/parquet/x/train.csv",
        "dataset": "/datasets/acme/data/resolve/main/x/train.csv",
        "dataset, LFS": "/datasets/acme/data/resolve/main/x/big.parquet",
        "space": "/spaces/acme/app/resolve/main/app.py",
        "model of one segment": "/gpt2/resolve/main/config.json",
        "renamed": "/acme/old-name/resolve/main/config.json",
        "other case": "/Acme/Tiny/resolve/main/config.json",
        "LFS": f"{tiny}/main/model.safetensors",
        "small LFS": f"{tiny}/main/small.safetensors",
        "empty": f"{tiny}/main/empty.txt",
        "one byte": f"{tiny}/main/one.txt",
        "odd name": f"{tiny}/main/{quote(ODD_PATH)}",
        "download parameter": f"{tiny}/main/tokenizer.json?download=true",
        "unknown parameter": f"{tiny}/main/README.md?foo=bar&x=1",
    }


NAMES = list(targets({"head": "0" * 40, "first": "0" * 40}))


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("name", NAMES)
def test_resolve_is_what_the_hub_says(world, name, method):
    """Cold and warm, HEAD and GET: the same status, headers and bytes as from the Hub."""
    target = targets(world.known)[name]
    compare(world, method, target)
    compare(world, method, target)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_resolve_cache_is_a_file_too(world, method):
    """Clients that remember where the Hub redirected them find the file there, with and without the query."""
    target = f"/api/resolve-cache/models/acme/tiny/{world.known['head']}/config.json"
    assert compare(world, method, target)["X-Repo-Commit"] == world.known["head"]
    compare(world, method, target + "?%2Facme%2Ftiny%2Fresolve%2Fmain%2Fconfig.json=&etag=%22x%22")
    odd = f"/api/resolve-cache/models/acme/tiny/{world.known['head']}/{quote(ODD_PATH, safe='')}"
    compare(world, method, odd)


@pytest.mark.parametrize("path", ["config.json", "small.safetensors", "empty.txt"])
def test_raw_gives_what_git_holds(world, path):
    """/raw/ of an LFS file is its pointer, of any other file the file."""
    target = f"/acme/tiny/raw/main/{path}"
    last, _ = expected(world, "GET", target)
    reply = world.proxied.get(target)
    assert (reply.status, reply.body) == (200, last.body)
    assert reply["X-Repo-Commit"] == last["X-Repo-Commit"]
    assert reply["ETag"].strip('W/"') == git_blob_oid(last.body)
    assert world.proxied.head(target)["Content-Length"] == str(len(last.body))


def test_bytes_have_the_digest_that_the_etag_names(world):
    """The etag is the name of the content: clients file it under that name."""
    for path in ("config.json", "model.safetensors", "small.safetensors", "empty.txt"):
        reply = world.proxied.get(f"/acme/tiny/resolve/main/{path}")
        oid = git_blob_oid(reply.body) if path not in LFS else hashlib.sha256(reply.body).hexdigest()
        assert reply["ETag"] == f'"{oid}"'


def test_nothing_that_only_concerns_the_hub_and_us(world):
    """No cookie, no Xet announcement, no security header of another site, no rate limit of a cached answer."""
    for target in targets(world.known).values():
        for reply in (world.proxied.head(target), world.proxied.get(target)):
            names = {k.lower() for k, _ in reply.headers}
            assert not names & {
                "set-cookie",
                "strict-transport-security",
                "alt-svc",
                "ratelimit",
                "link",
                "content-encoding",
                "content-security-policy",
            }
            assert not [n for n in names if n.startswith("x-xet")]


def test_the_javascript_client_gets_bytes_and_not_xet_json(world):
    """The Accept header of huggingface.js asks the Hub for a JSON description; behind us it gets the file."""
    target = "/acme/tiny/resolve/main/small.safetensors"
    accept = "application/vnd.xet-fileinfo+json, */*"
    reply = world.proxied.get(target, accept=accept, range="bytes=0-0")
    assert (reply.status, reply["Content-Range"], len(reply.body)) == (206, "bytes 0-0/300001", 1)
    assert "json" not in reply["Content-Type"]
    whole = world.proxied.get(target, accept=accept)
    assert whole.sha256() == whole["ETag"].strip('"')


def test_text_comes_uncompressed(world):
    """The Hub compresses text for those who ask; a cache that stored that would break every size check."""
    reply = world.proxied.get("/acme/tiny/resolve/main/config.json", accept_encoding="gzip, deflate, br")
    assert reply["Content-Encoding"] is None
    assert git_blob_oid(reply.body) == reply["ETag"].strip('"')


def test_none_match(world):
    """Whoever has the file already is told so, on a warm and on a cold file."""
    for path in ("config.json", "small.safetensors"):
        target = f"/acme/tiny/resolve/main/{path}"
        etag = world.proxied.head(target)["ETag"]
        for value in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            reply = world.proxied.get(target, if_none_match=value)
            assert (reply.status, reply.body, reply["ETag"]) == (304, b"", etag), value
        assert world.proxied.get(target, if_none_match='"0123456789"').status == 200
    assert world.proxied.get("/acme/tiny/resolve/main/config.json").status == 200


def errors(known):
    """Return one target for each way in which a file does not exist."""
    return {
        "entry": "/acme/tiny/resolve/main/nope.json",
        "entry at a commit": f"/acme/tiny/resolve/{known['head']}/nope.json",
        "entry below a file": "/acme/tiny/resolve/main/config.json/x",
        "folder": "/acme/tiny/resolve/main/sub%20dir",
        "revision": "/acme/tiny/resolve/nope/config.json",
        "commit": f"/acme/tiny/resolve/{'0' * 40}/config.json",
        "repository": "/acme/nope/resolve/main/config.json",
        "private": "/acme/secret/resolve/main/config.json",
        "gated": "/acme/gated/resolve/main/config.json",
        "disabled": "/acme/disabled/resolve/main/config.json",
        "dataset as a model": "/acme/data/resolve/main/x/train.csv",
    }


@pytest.mark.parametrize("token", [None, ANN])
@pytest.mark.parametrize("name", list(errors({"head": "0" * 40})))
def test_errors_are_the_hubs(world, name, token):
    """Status, code and message come from the Hub: libraries decide by them what is optional and what is fatal."""
    target = errors(world.known)[name]
    for method in ("HEAD", "GET", "HEAD"):
        direct = world.direct.follow(method, target, token=token)[-1]
        reply = world.proxied.request(method, target, token=token)
        assert reply.status == direct.status, reply
        code = direct["X-Error-Code"]
        if direct.status == 401 and code is None and "Invalid credentials" not in direct["X-Error-Message"]:
            code = "RepoNotFound"  # without it clients of a plain http endpoint cannot tell a missing repository
        assert reply["X-Error-Code"] == code
        assert reply["X-Error-Message"] == direct["X-Error-Message"]
        if direct["X-Error-Code"] == "EntryNotFound":
            assert reply["X-Repo-Commit"] == direct["X-Repo-Commit"]
        assert reply["X-Hubcached-Error"] is None


def test_a_bad_token_is_told_so(world):
    """A token that the Hub does not know is refused wherever the Hub has to be asked."""
    for target in (
        "/acme/secret/resolve/main/config.json",
        "/acme/gated/resolve/main/config.json",
        "/acme/nope/resolve/main/config.json",
    ):
        reply = world.proxied.head(target, token=UNKNOWN)
        assert (reply.status, reply["X-Error-Code"]) == (401, None)
        assert reply["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_a_file_named_like_a_verb(hub, daemon):
    """Files and folders may be called resolve, raw, tree or api."""
    hub.create_repo("models", "acme/words")
    paths = ["resolve", "raw/main/x", "tree/main", "api/models", "blob", "refs/heads", "a;b=c", "x%2fy", "q?r", "h#i"]
    hub.commit("models", "acme/words", {p: f"content of {p}" for p in paths})
    for path in paths:
        reply = daemon.client.get(f"/acme/words/resolve/main/{quote(path)}")
        assert (reply.status, reply.body.decode()) == (200, f"content of {path}"), path


def test_one_content_is_stored_once(hub, daemon):
    """The same weights in two repositories take the space and the transfer of one."""
    from tests.hub import Generated

    for name in ("acme/a", "acme/b"):
        hub.create_repo("models", name)
        hub.commit("models", name, {"w.safetensors": Generated(9 << 20, seed=3)})
    first = daemon.client.get("/acme/a/resolve/main/w.safetensors")
    second = daemon.client.get("/acme/b/resolve/main/w.safetensors")
    assert first.sha256() == second.sha256() == first["ETag"].strip('"')
    assert hub.sent("cdn") == 9 << 20
    assert sum(daemon.files().values()) < (9 << 20) + (2 << 20)


def test_a_warm_commit_costs_no_request(hub, daemon):
    """What a full commit names never changes: the second time the Hub is not asked, not even after a restart."""
    from tests.hub import Generated

    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"config.json": b"{}", "w.safetensors": Generated(200_000, seed=1)})
    paths = [f"/acme/m/resolve/{sha}/{p}" for p in ("config.json", "w.safetensors", "missing.json")]
    first = [daemon.client.get(p) for p in paths]
    hub.clear_log()
    for _ in range(2):
        again = [daemon.client.get(p) for p in paths]
        assert [(r.status, r.body) for r in again] == [(r.status, r.body) for r in first]
        assert [daemon.client.head(p).status for p in paths] == [200, 200, 404]
        assert hub.log() == []
    daemon.restart()
    again = [daemon.client.get(p) for p in paths]
    assert [(r.status, r.body) for r in again] == [(r.status, r.body) for r in first]
    assert hub.log() == []


def test_a_branch_is_asked_for_once_per_ttl(hub, make_daemon):
    """Within the TTL a branch stays where it was; after it, one request finds the new commit."""
    hub.create_repo("models", "acme/m")
    old = hub.commit("models", "acme/m", {"config.json": b"1", "b.json": b"b"})
    daemon = make_daemon({"cache": {"ref_ttl": "3s"}})
    assert daemon.client.get("/acme/m/resolve/main/config.json").body == b"1"
    new = hub.commit("models", "acme/m", {"config.json": b"2"})
    hub.clear_log()
    assert daemon.client.get("/acme/m/resolve/main/config.json")["X-Repo-Commit"] == old
    assert hub.log() == []
    assert daemon.client.get("/acme/m/resolve/main/b.json")["X-Repo-Commit"] == old, "one commit for all files in a TTL"
    from tests.support.daemon import wait_until

    wait_until(lambda: daemon.client.head("/acme/m/resolve/main/config.json")["X-Repo-Commit"] == new, "the new commit")
    assert daemon.client.get("/acme/m/resolve/main/config.json").body == b"2"
    heads = [r for r in hub.log("hub") if r["path"].startswith("/acme/m/resolve/main/")]
    assert len(heads) <= 2, [r["target"] for r in heads]


def test_unknown_files_are_not_forgotten_sources(hub, daemon):
    """A file that appears later is found as soon as the branch is looked at again."""
    hub.create_repo("models", "acme/m")
    hub.commit("models", "acme/m", {"a": b"a"})
    assert daemon.client.get("/acme/m/resolve/main/later.txt").status == 404
    sha = hub.commit("models", "acme/m", {"later.txt": b"here"})
    assert daemon.client.get(f"/acme/m/resolve/{sha}/later.txt").body == b"here"
