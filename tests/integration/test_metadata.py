"""Documents are the Hub's: the same JSON without the Xet hashes, and every link leads back to us."""

import json
import re
from urllib.parse import quote, urlsplit

import pytest
from conftest import ANN, BOB, ODD_PATH

from tests.support.daemon import wait_until
from tests.support.http import Client
from tests.support.writes import commit, large


def without_xet(value):
    """Return a document as clients should get it."""
    if isinstance(value, dict):
        return {k: without_xet(v) for k, v in value.items() if k not in ("xetHash",)}
    if isinstance(value, list):
        return [without_xet(v) for v in value]
    return value


def paths(known):
    """Return one path for each operation."""
    tiny = "/api/models/acme/tiny"
    head = known["head"]
    return {
        "info": tiny,
        "info with files": f"{tiny}?blobs=True",
        "info with security": f"{tiny}?securityStatus=True",
        "info, expanded": f"{tiny}?expand=downloads&expand=likes&expand=sha",
        "info, expanded in brackets": f"{tiny}?expand[]=likes",
        "info at branch": f"{tiny}/revision/main",
        "info at tag": f"{tiny}/revision/v1?blobs=true",
        "info at commit": f"{tiny}/revision/{head}",
        "info at pull request": f"{tiny}/revision/refs%2Fpr%2F1",
        "info of one segment": "/api/models/gpt2",
        "info of a dataset": "/api/datasets/acme/data",
        "info of a space": "/api/spaces/acme/app",
        "info of a renamed repository": "/api/models/acme/old-name",
        "info of a gated repository": "/api/models/acme/gated",
        "info of a disabled repository": "/api/models/acme/disabled",
        "tree": f"{tiny}/tree/main",
        "tree, recursive": f"{tiny}/tree/main?recursive=True&expand=False",
        "tree at commit": f"{tiny}/tree/{head}?recursive=true",
        "tree, expanded": f"{tiny}/tree/main?expand=True",
        "tree, recursive and expanded": f"{tiny}/tree/{head}?recursive=1&expand=1",
        "tree of a folder": f"{tiny}/tree/main/{quote('sub dir')}?recursive=false&expand=false",
        "tree of a deep folder": f"{tiny}/tree/main/{quote('sub dir/deep', safe='')}",
        "tree at a plain pull request": f"{tiny}/tree/refs/pr/1?recursive=true",
        "tree at dev/x": f"{tiny}/tree/dev%2Fx",
        "tree of one segment": "/api/models/gpt2/tree/main",
        "tree of a dataset": "/api/datasets/acme/data/tree/main?recursive=true",
        "tree of a conversion": "/api/datasets/acme/data/tree/refs%2Fconvert%2Fparquet?recursive=true",
        "refs": f"{tiny}/refs",
        "refs with pull requests": f"{tiny}/refs?include_prs=1",
        "commits": f"{tiny}/commits/main",
        "commits, formatted": f"{tiny}/commits/{head}?expand%5B%5D=formatted",
        "compare": f"{tiny}/compare/{known['first']}..{head}",
        "treesize": f"{tiny}/treesize/main",
        "treesize of a folder": f"{tiny}/treesize/main/{quote('sub dir')}",
        "scan": f"{tiny}/scan",
        "likers": f"{tiny}/likers",
        "discussions": f"{tiny}/discussions?p=0",
        "discussion": f"{tiny}/discussions/1?diff=1",
        "runtime": "/api/spaces/acme/app/runtime",
        "models": "/api/models?author=listed&limit=3",
        "models, searched": "/api/models?search=tiny&full=true&cardData=True",
        "datasets": "/api/datasets?limit=5",
        "spaces": "/api/spaces",
        "model tags": "/api/models-tags-by-type",
        "dataset tags": "/api/datasets-tags-by-type",
        "user": "/api/users/ann/overview",
        "user's likes": "/api/users/ann/likes",
        "organization": "/api/organizations/acme/overview",
        "members": "/api/organizations/acme/members",
        "collections": "/api/collections?owner=acme",
        "papers": "/api/papers/search?q=attention",
        "paper": "/api/papers/1706.03762",
        "papers of the day": "/api/daily_papers",
        "agents": "/api/agent-harnesses",
        "unknown parameters": f"{tiny}?foo=bar&baz=1",
        "unknown route": "/api/something/new?x=1",
        "unknown verb": f"{tiny}/newverb",
        "page": "/acme/tiny/tree/main",
        "missing folder": f"{tiny}/tree/main/nope",
        "tree of a file": f"{tiny}/tree/main/config.json",
        "missing revision": f"{tiny}/revision/nope",
        "missing revision of a tree": f"{tiny}/tree/nope",
        "missing repository": "/api/models/acme/nope",
        "missing repository's tree": "/api/models/acme/nope/tree/main",
        "missing repository's refs": "/api/models/acme/nope/refs",
        "private repository": "/api/models/acme/secret",
        "private tree": "/api/models/acme/secret/tree/main",
        "commits of a gated repository": "/api/models/acme/gated/commits/main",
        "tree of a disabled repository": "/api/models/acme/disabled/tree/main",
        "dataset as a model": "/api/models/acme/data",
        "refused parameter": f"{tiny}?expand=nonsense",
    }


NAMES = list(paths({"head": "0" * 40, "first": "0" * 40}))


@pytest.mark.parametrize("token", [None, ANN, BOB])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_document(world, name, token):
    """Cold and warm, for anonymous, a member and a stranger: status, code, message, commit and JSON agree."""
    path = paths(world.known)[name]
    direct = world.direct.follow("GET", path, token=token)[-1]
    for _ in range(2):
        reply = world.proxied.follow("GET", path, token=token)[-1]
        assert reply.status == direct.status, reply
        assert reply.complete
        for header in ("X-Error-Code", "X-Error-Message"):
            if header == "X-Error-Code" and direct.status == 401:
                assert reply[header] in (direct[header], "RepoNotFound")
            elif header != "X-Error-Message" or direct["X-Error-Code"] != "EntryNotFound":
                assert reply[header] == direct[header], header
        if direct["X-Error-Code"] == "EntryNotFound":
            assert reply["X-Repo-Commit"] == direct["X-Repo-Commit"]
        assert (reply["Content-Type"] or "").split(";")[0] == direct["Content-Type"].split(";")[0]
        if direct["X-Error-Code"] == "EntryNotFound":
            assert reply.json()["error"]  # the words may be ours
        elif "json" in direct["Content-Type"]:
            assert reply.json() == without_xet(direct.json())
        elif direct.status < 400:
            assert reply.body == direct.body
        assert reply["Set-Cookie"] is None and reply["X-Hubcached-Error"] is None
        assert world.hub.url not in (reply["Link"] or "")


@pytest.mark.parametrize("form", ["form", "json"])
@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("revision", ["main", "commit", "refs%2Fpr%2F1"])
def test_paths_info(world, form, expand, revision):
    """What Python sends as a form and JavaScript as JSON gives the Hub's rows, unknown paths being left out."""
    target = f"/api/models/acme/tiny/paths-info/{world.known['head'] if revision == 'commit' else revision}"
    for wanted in (["config.json", "nope", "sub dir", "small.safetensors", ODD_PATH], ["nope"], [], ["empty.txt"] * 3):
        if form == "json":
            body, kind = {"paths": wanted, "expand": expand}, "application/json"
        else:
            body = "&".join([f"paths={quote(p)}" for p in wanted] + [f"expand={expand}"])
            kind = "application/x-www-form-urlencoded"
        direct = world.direct.post(target, body, kind)
        for _ in range(2):
            reply = world.proxied.post(target, body, kind)
            assert reply.status == direct.status == 200, reply
            by_path = {row["path"]: row for row in reply.json()}
            assert by_path == {row["path"]: row for row in direct.json()}


def test_head_of_documents(world):
    """HEAD of a document is what GET says, without the body."""
    for path in ("/api/models/acme/tiny", "/api/models/acme/nope", "/api/models/acme/tiny/tree/main/nope"):
        get, head = world.proxied.get(path), world.proxied.head(path)
        assert (head.status, head["X-Error-Code"], head["Content-Type"]) == (
            get.status,
            get["X-Error-Code"],
            get["Content-Type"],
        )
        assert head.body == b""


def follow_pages(client, target, token=None):
    """Follow Link headers from the daemon, as clients do; every one must lead back to it."""
    rows, pages = [], 0
    while target:
        reply = client.get(target, token=token)
        assert reply.status == 200, reply
        rows += reply.json()
        pages += 1
        link = reply["Link"]
        if not link:
            return rows, pages
        match = re.fullmatch(r'<(http://[^>,]+)>; rel="next"', link)
        assert match, f"clients cannot read {link}"
        parts = urlsplit(match.group(1))
        assert f"{parts.scheme}://{parts.netloc}" == client.origin
        target = f"{parts.path}?{parts.query}"
        assert pages < 60, "the pages never end"
    return rows, pages


@pytest.fixture(scope="module")
def many(world):
    """Publish a repository with many files."""
    world.hub.create_repo("models", "acme/many", init=False)
    sha = world.hub.fill("models", "acme/many", 2500)
    return sha


@pytest.mark.parametrize(
    "query",
    [
        "recursive=true",
        "recursive=True&expand=False",
        "recursive=true&limit=700",
        "recursive=true&expand=true&limit=1000",
    ],
)
@pytest.mark.parametrize("revision", ["main", "commit"])
def test_trees_of_many_pages(world, many, query, revision):
    """All pages together are all files, once each, from the Hub and then from what we learned."""
    target = f"/api/models/acme/many/tree/{many if revision == 'commit' else 'main'}?{query}"
    direct, _ = follow_pages(Client(world.hub.url), target)
    for _ in range(2):
        rows, pages = follow_pages(world.proxied, target)
        assert pages > 1
        assert [r["path"] for r in rows] == [r["path"] for r in direct]
        assert rows == without_xet(direct)


@pytest.mark.parametrize(
    "target",
    [
        "/api/models?author=listed&limit=2",
        "/api/models/acme/tiny/commits/main?limit=1",
        "/api/models?author=listed&limit=2&sort=likes&expand=likes&expand=downloads",
    ],
)
def test_listings_of_many_pages(world, target):
    """Paging through a listing never leaves the cache."""
    direct, pages = follow_pages(Client(world.hub.url), target)
    for _ in range(2):
        rows, n = follow_pages(world.proxied, target)
        assert (rows, n) == (without_xet(direct), pages)


def test_public_url_is_what_links_name(make_daemon, hub):
    """Behind another name links carry that name; otherwise the one by which the client came."""
    hub.create_repo("models", "acme/many", init=False)
    hub.fill("models", "acme/many", 1500)
    target = "/api/models/acme/many/tree/main?recursive=true"
    daemon = make_daemon()
    port = urlsplit(daemon.url).port
    assert (
        f"<http://localhost:{port}/api/models/acme/many/" in daemon.client.get(target, host=f"localhost:{port}")["Link"]
    )
    assert f"<http://127.0.0.1:{port}/api/models/acme/many/" in daemon.client.get(target)["Link"]
    other = make_daemon({"public_url": "https://hub.lan:8443"})
    assert other.client.get(target)["Link"].startswith("<https://hub.lan:8443/api/models/acme/many/tree/")


def test_a_link_to_another_host_is_not_passed_on(hub, daemon):
    """A next page that is not at the Hub would take clients, and their tokens, elsewhere."""
    hub.create_repo("models", "acme/m")
    for link in (
        f'<{hub.evil_url}/api/models?cursor=x>; rel="next"',
        '</api/models?cursor=x>; rel="next"',
        "<>; rel=next",
        f'<{hub.url}.evil.example/api/models>; rel="next"',
    ):
        hub.fault(path="/api/models", set_headers={"Link": link})
        reply = daemon.client.get(f"/api/models?search={quote(link, safe='')}", token=ANN)
        assert "evil" not in (reply["Link"] or ""), reply
        assert reply.status in (200, 502)


def equal_requests():
    """Return requests that mean the same, written as different clients write them."""
    tiny = "/api/models/acme/m"
    return [
        [f"{tiny}?blobs=True", f"{tiny}?blobs=true", f"{tiny}?blobs=1"],
        [
            f"{tiny}?expand=likes&expand=downloads",
            f"{tiny}?expand%5B%5D=downloads&expand%5B%5D=likes",
            f"{tiny}?expand[]=likes&expand[]=downloads",
        ],
        [
            f"{tiny}/tree/main?recursive=True&expand=True",
            f"{tiny}/tree/main?expand=true&recursive=true",
            f"{tiny}/tree/main?expand=1&recursive=1",
        ],
        ["/api/models?search=m&full=True&limit=3", "/api/models?limit=3&full=true&search=m"],
    ]


@pytest.mark.parametrize("same", equal_requests())
def test_one_meaning_is_one_entry(hub, daemon, same):
    """Python 0.x, 1.x and JavaScript spell the same question differently; it is asked once."""
    hub.create_repo("models", "acme/m")
    hub.commit("models", "acme/m", {"config.json": b"{}", "a/b": b"x"})
    first = daemon.client.get(same[0])
    hub.clear_log()
    for path in same[1:]:
        assert daemon.client.get(path).json() == first.json()
    assert [r["target"] for r in hub.log()] == []


def test_unknown_requests_go_through_with_the_callers_token(hub, daemon):
    """What we do not know is asked of the Hub each time, with the token of whoever asks, and not kept."""
    for _ in range(2):
        reply = daemon.client.get("/api/whoami-v2", token=ANN)
        assert reply.json()["name"] == "ann"
    assert daemon.client.get("/api/whoami-v2", token=BOB).json()["name"] == "bob"
    assert daemon.client.get("/api/whoami-v2").status == 401
    tokens = [r["headers"].get("authorization") for r in hub.log("hub") if r["path"] == "/api/whoami-v2"]
    assert tokens == [f"Bearer {ANN}", f"Bearer {ANN}", f"Bearer {BOB}", None]
    hub.clear_log()
    for _ in range(2):
        daemon.client.get("/api/brand/new/route?a=1&a=2&b=%2F", token=ANN)
    assert [r["target"] for r in hub.log("hub")] == ["/api/brand/new/route?a=1&a=2&b=%2F"] * 2


def test_unknown_parameters_are_no_error_and_not_kept(hub, daemon):
    """A newer client's parameter reaches the Hub as it is."""
    hub.create_repo("models", "acme/m")
    daemon.client.get("/api/models/acme/m")
    hub.clear_log()
    for _ in range(2):
        assert daemon.client.get("/api/models/acme/m?shiny=new").status == 200
    assert [r["target"] for r in hub.log()] == ["/api/models/acme/m?shiny=new"] * 2


def test_cookies_and_foreign_headers_do_not_pass(hub, daemon):
    """No Cookie goes up, no Set-Cookie comes down, and hop-by-hop games change nothing."""
    hub.create_repo("models", "acme/m")
    reply = daemon.client.get(
        "/api/models/acme/m?shiny=1",
        token=ANN,
        headers=[
            ("Cookie", "a=CANARYcookie"),
            ("Connection", "close, Authorization"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Forwarded", "host=evil.example"),
            ("X-HTTP-Method-Override", "DELETE"),
        ],
    )
    assert reply.status == 200 and reply["Set-Cookie"] is None
    sent = hub.log("hub")[-1]["headers"]
    assert "cookie" not in sent and not [k for k in sent if k.startswith("x-forwarded") or k == "forwarded"]
    assert sent["authorization"] == f"Bearer {ANN}"
    assert sent["host"] == urlsplit(hub.url).netloc


def test_xet_is_hidden_everywhere(hub, daemon):
    """Clients with the chunk downloader stay with us: no hash, no token route, in no answer."""
    from tests.hub import Generated

    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(300_000, seed=1)})
    for path in (
        f"/api/models/acme/m/tree/{sha}?recursive=true",
        f"/api/models/acme/m/tree/{sha}?expand=true",
        "/api/models/acme/m?blobs=true",
    ):
        assert "xetHash" in Client(hub.url).get(path).body.decode() or "blobs" in path
        assert "xetHash" not in daemon.client.get(path).body.decode()
    rows = daemon.client.post(f"/api/models/acme/m/paths-info/{sha}", {"paths": ["w.safetensors"], "expand": True})
    assert "xetHash" in rows.body.decode(), "nobody downloads by it, and copies between repositories need it"
    for method in ("HEAD", "GET"):
        reply = daemon.client.request(method, f"/acme/m/resolve/{sha}/w.safetensors")
        assert "xet" not in str(reply.headers).lower()


def test_xet_is_hidden_with_unknown_parameters(hub, daemon):
    """A parameter that we do not know, of a newer client, does not lead it past us."""
    from tests.hub import Generated

    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(300_000, seed=1)})
    reply = daemon.client.get(f"/api/models/acme/m/tree/{sha}?unknown=1")
    assert reply.status == 200 and "xetHash" not in reply.body.decode()


def test_xet_can_be_left_visible(hub, make_daemon):
    """cache.hide_xet: false passes the hashes of trees on."""
    from tests.hub import Generated

    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(300_000, seed=1)})
    daemon = make_daemon({"cache": {"hide_xet": False}})
    for _ in range(2):
        assert "xetHash" in daemon.client.get(f"/api/models/acme/m/tree/{sha}?recursive=true").body.decode()


def test_xet_is_visible_of_what_was_just_committed(hub, make_daemon):
    """What a commit told us is not all that the Hub says of a file then."""
    data = bytes(range(256)) * 1000
    hub.create_repo("models", "acme/m")
    hub.commit("models", "acme/m", {"w.safetensors": data})
    daemon = make_daemon({"cache": {"hide_xet": False}})
    assert daemon.client.get("/acme/m/resolve/main/w.safetensors").body == data
    assert commit(daemon.client, "acme/m", large("copy.safetensors", data), token=ANN).status == 200
    assert daemon.client.head("/acme/m/resolve/main/copy.safetensors")["X-Xet-Hash"]


def test_files_beyond_50_gb_keep_their_announcement(hub, daemon):
    """Python refuses plain HTTP for more than 50e9 bytes, so there the chunk store is the only way."""
    from tests.hub import Generated

    hub.create_repo("models", "acme/huge")
    sha = hub.commit(
        "models",
        "acme/huge",
        {"w.bin": Generated(300_000, seed=1, lfs=True), "s.bin": Generated(300_001, seed=2, lfs=True)},
    )
    rows = Client(hub.url).get(f"/api/models/acme/huge/tree/{sha}?recursive=true").json()
    sizes = {"w.bin": 50_000_000_001, "s.bin": 50_000_000_000}
    for row in rows:
        if row["path"] in sizes:
            row["size"] = row["lfs"]["size"] = sizes[row["path"]]
    hub.fault(
        path="/tree/", times=None, status=200, body=json.dumps(rows), headers={"Content-Type": "application/json"}
    )
    for name, size in sizes.items():
        hub.fault(path=f"/{name}", times=None, set_headers={"X-Linked-Size": str(size)})
    for name, shown in (("w.bin", True), ("s.bin", False)):
        reply = daemon.client.head(f"/acme/huge/resolve/{sha}/{name}")
        assert (reply.status, reply["X-Linked-Size"]) == (200, str(sizes[name]))
        assert bool(reply["X-Xet-Hash"]) == shown and ('rel="xet-auth"' in (reply["Link"] or "")) == shown
    for _ in range(2):
        rows = {r["path"]: r for r in daemon.client.get(f"/api/models/acme/huge/tree/{sha}?recursive=true").json()}
        assert ("xetHash" in rows["w.bin"], "xetHash" in rows["s.bin"]) == (True, False)


@pytest.mark.parametrize(
    "kind", ["deep", "deep_object", "bomb", "utf8", "truncated", "numbers", "duplicate", "html", "empty", "nul"]
)
@pytest.mark.parametrize(
    "path", ["/api/models/acme/m/tree/main?recursive=true", "/api/models/acme/m", "/api/models?search=m"]
)
def test_garbage_documents(hub, daemon, path, kind):
    """JSON that is none, too deep or a bomb: an error or the bytes as they came, in time; the daemon lives."""
    hub.create_repo("models", "acme/m")
    hub.commit("models", "acme/m", {"config.json": b"{}"})
    hub.fault(path=re.escape(path.split("?")[0]), json_garbage=kind, times=None)
    reply = daemon.client.get(path)
    assert reply.status in (200, 502, 503, 504)
    hub.clear_faults()
    wait_until(lambda: daemon.client.get(path + ("&" if "?" in path else "?") + "limit=5").status == 200, "good again")
    assert daemon.alive()


def test_a_document_that_is_cut_is_not_kept(hub, daemon):
    """Half a listing is an error, and the next one is whole."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {f"f{n}": b"x" for n in range(50)})
    path = f"/api/models/acme/m/tree/{sha}?recursive=true"
    hub.fault(path="/tree/", truncate=500, times=None)
    reply = daemon.client.get(path)
    assert reply.status in (502, 503, 504) or not reply.complete
    hub.clear_faults()
    reply = daemon.client.get(path)
    assert len(reply.json()) == 51


def test_documents_larger_than_allowed(hub, make_daemon):
    """cache.max_document bounds what a document may cost."""
    hub.create_repo("models", "acme/m", init=False)
    hub.fill("models", "acme/m", 900)
    daemon = make_daemon({"cache": {"max_document": "65536"}})
    reply = daemon.client.get("/api/models/acme/m/tree/main?recursive=true")
    assert reply.status in (502, 503) and reply["X-Hubcached-Error"]
    assert daemon.client.get("/api/models/acme/m").status == 200


def test_a_listing_is_kept_for_a_while_and_for_its_reader(hub, daemon):
    """Listings are cached for a short time, and private repositories show in nobody else's."""
    hub.create_repo("models", "acme/open")
    hub.create_repo("models", "acme/hidden", private=True)
    path = "/api/models?author=acme"
    for token, seen in ((ANN, {"acme/open", "acme/hidden"}), (None, {"acme/open"}), (BOB, {"acme/open"})):
        hub.clear_log()
        for _ in range(3):
            assert {r["id"] for r in daemon.client.get(path, token=token).json()} == seen
        assert len(hub.log()) == 1
    assert {r["id"] for r in daemon.client.get(path).json()} == {"acme/open"}
