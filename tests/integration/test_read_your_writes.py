"""Read your writes: when a write has succeeded, everybody's next question gets the new truth, whatever was cached.

Every kind of write is made in front of a cache that holds everything that it touches, for an hour, as the owner, a
stranger and an anonymous caller see it.  Afterwards each of these questions is asked once more, and the answer is
compared with what the Hub itself says to the same caller.
"""

import json
import random
from urllib.parse import quote

import pytest
from conftest import ANN, BOB

from tests.hub import Generated
from tests.support.daemon import wait_until
from tests.support.http import Client
from tests.support.writes import NDJSON, asked, commit_of, in_parallel, line, small

CARL = "hf_CANARYcarl0000000000000000000000000000"
VIEWERS = {"owner": ANN, "stranger": BOB, "nobody": None}
# Nothing may be right only because something old was forgotten in time.
PATIENT = {
    "cache": {
        "ref_ttl": "1h",
        "list_ttl": "1h",
        "repo_doc_ttl": "1h",
        "public_ttl": "1h",
        "permission_ttl": "5m",
        "denial_ttl": "5m",
        "negative_ttl": "1h",
    }
}
PREFIX = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
LFS = 300_001


class Place:
    """A Hub with something of everything, and what the tests have to know of it."""

    def __init__(self, hub):
        """Fill the Hub."""
        self.hub = hub
        # Without the code nobody could tell a missing repository from a bad token; we add it, see test_permissions.
        hub.quirks(repo_not_found_code_on_401=True)
        hub.add_token(CARL, "carl", role="write")
        self.old, self.head = {}, {}
        for type, id, fields in (
            ("models", "acme/m", {}),
            ("datasets", "acme/d", {}),
            ("spaces", "acme/s", {}),
            ("models", "acme/p", {"private": True}),
            ("models", "acme/g", {"gated": "manual"}),
            ("models", "acme/auto", {"gated": "auto"}),
        ):
            hub.create_repo(type, id, **fields)
            self.old[id] = hub.commit(type, id, {"a.txt": "old", "gone.txt": "gone", "README.md": f"# {id}\n"})
            hub.create_branch(type, id, "dev")
            hub.create_tag(type, id, "v1")
            files = {"a.txt": "a", "sub/b.txt": "b", "w.safetensors": Generated(LFS, seed=len(id))}
            self.head[id] = hub.commit(type, id, files)
            hub.call("add_discussion", type=type, id=id, title="A change", pull_request=True, author="carl")
            hub.commit(type, id, {"pr.txt": "from a pull request"}, branch="refs/pr/1")
            hub.call("add_discussion", type=type, id=id, title="A question", author="carl", comment="why?")
        self.slug = hub.call("add_collection", owner="acme", title="Things", items=[{"id": "acme/m", "type": "model"}])
        hub.call("add_paper", id="1706.03762", title="Attention")
        self.comment = Client(hub.url, ANN).get("/api/models/acme/m/discussions/2").json()["events"][0]["id"]
        self.item = Client(hub.url, ANN).get(f"/api/collections/{self.slug}").json()["items"][0]["_id"]

    def oid(self, id):
        """Return the digest of the large file of a model."""
        return self.hub.file("models", id, "w.safetensors")["sha256"]


def of_repo(type, id, commits=()):
    """Return every question about one repository: (method, target, body)."""
    api, page = f"/api/{type}/{id}", f"/{PREFIX[type]}{id}"
    out = [("GET", api, None), ("GET", api + "?blobs=true", None), ("GET", api + "?expand=likes&expand=sha", None)]
    for rev in ("main", "dev", "new", "v1", "v2", "refs%2Fpr%2F1", "refs%2Fpr%2F3", *commits):
        out.append(("GET", f"{api}/revision/{rev}", None))
    for rev in ("main", "dev", "new", "refs%2Fpr%2F1", *commits):
        out.append(("GET", f"{api}/tree/{rev}?recursive=true", None))
        # Of a gated repository it is closed whether there is a history, open which branches there are.
        out += [("GET", f"{api}/commits/{rev}", None)] if rev != "new" else []
    out.append(("GET", f"{api}/tree/main/sub", None))
    out.append(("GET", f"{api}/treesize/main", None))
    out.append(("POST", f"{api}/paths-info/main", {"paths": ["a.txt", "new.txt", "w.safetensors", "sub"]}))
    for verb in ("refs", "refs?include_prs=1", "compare/dev..main", "likers", "discussions", "discussions?p=0"):
        out.append(("GET", f"{api}/{verb}", None))
    for n in (1, 2, 3):
        out.append(("GET", f"{api}/discussions/{n}?diff=1", None))
    out.append(("GET", f"{api}/auth-check", None))
    if type == "spaces":
        out += [("GET", f"{api}/{verb}", None) for verb in ("runtime", "variables", "secrets")]
    for rev in ("main", "dev", "new", "v1", "v2", "refs%2Fpr%2F1", *commits):
        for path in ("a.txt", "new.txt", "w.safetensors") if rev in ("main", *commits) else ("a.txt",):
            out.append(("HEAD", f"{page}/resolve/{rev}/{path}", None))
            out.append(("GET", f"{page}/resolve/{rev}/{path}", None))
    out.append(("GET", f"{page}/raw/main/w.safetensors", None))
    return out


def of_all(place):
    """Return every question that is about no single repository."""
    return [
        ("GET", target, None)
        for target in (
            "/api/models?author=acme",
            "/api/models?author=acme&full=true",
            "/api/models?search=m",
            "/api/models?sort=likes",
            "/api/models?author=ann",
            "/api/datasets?author=acme",
            "/api/spaces?author=acme",
            "/api/users/ann/overview",
            "/api/users/ann/likes",
            "/api/users/carl/overview",
            "/api/organizations/acme/overview",
            "/api/collections?owner=acme",
            "/api/collections?owner=ann",
            f"/api/collections/{place.slug}",
            "/api/papers/1706.03762",
            "/api/papers/search?q=attention",
            "/api/daily_papers",
        )
    ]


def bare(value):
    """Return a document without what is left out for clients of a cache, and trees in one order."""
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if k != "xetHash"}
    if isinstance(value, list):
        rows = [bare(v) for v in value]
        return (
            sorted(rows, key=lambda r: r["path"]) if rows and isinstance(rows[0], dict) and "path" in rows[0] else rows
        )
    return value


def ask(url, question, token):
    """Return what a caller learns by a question: from the cache and from the Hub it has to be the same."""
    method, target, body = question
    options = {} if body is None else {"body": json.dumps(body).encode(), "content_type": "application/json"}
    replies = Client(url, token).follow(method, target, **options)
    last = replies[-1]
    commit = next((r["X-Repo-Commit"] for r in replies if r["X-Repo-Commit"]), None)
    if last.status >= 400:
        # "Who are you?" and "there is nothing" are the same answer, which we only mark for clients.
        code = None if last.status == 401 and last["X-Error-Code"] == "RepoNotFound" else last["X-Error-Code"]
        return last.status, code, commit if code == "EntryNotFound" else None
    if "/api/" not in target:
        tag = next((r["X-Linked-Etag"] for r in replies if r["X-Linked-Etag"]), None) or last["ETag"]
        return last.status, commit, (tag or "").removeprefix("W/"), last.sha256()
    kind = last["Content-Type"] or ""
    return last.status, bare(last.json()) if "json" in kind and last.body else last.body


def warm(daemon, questions):
    """Let everybody ask everything, twice, so that what may be kept is kept in every form."""
    for _ in range(2):
        for token in VIEWERS.values():
            for question in questions:
                ask(daemon.url, question, token)


def difference(got, want):
    """Return the part of two answers where they begin to differ."""
    a, b = str(got), str(want)
    at = max(0, next((n for n in range(min(len(a), len(b))) if a[n] != b[n]), min(len(a), len(b))) - 60)
    return f"   got  {a[at : at + 200]}\n   want {b[at : at + 200]}"


def compare(hub, daemon, questions, seed):
    """Everybody's first question after the write gets what the Hub says, in whatever order they come."""
    rows = [(who, question) for who in VIEWERS for question in questions]
    random.Random(seed).shuffle(rows)
    wrong = []
    for who, question in rows:
        got, want = ask(daemon.url, question, VIEWERS[who]), ask(hub.url, question, VIEWERS[who])
        if got != want:
            wrong.append(f"{who}: {question[0]} {question[1]}\n{difference(got, want)}")
    assert not wrong, f"{len(wrong)} of {len(rows)} answers are not the Hub's:\n" + "\n".join(wrong[:6])


def post(target, body=None, token=ANN, method="POST"):
    """Return a function that sends a write with a JSON body."""

    def send(url, place):
        """Send it."""
        text = target(place) if callable(target) else target
        given = body(place) if callable(body) else body
        return Client(url, token).request(
            method, text, body=json.dumps(given).encode() if given is not None else b"", content_type="application/json"
        )

    return send


def committed(target, *operations, token=ANN):
    """Return a function that sends a commit."""

    def send(url, place):
        """Send it."""
        return Client(url, token).post(target, commit_of(*operations), content_type=NDJSON)

    return send


def row(name, *sends, repos=(("models", "acme/m"),), statuses=(200,)):
    """Return one kind of write: what is sent, and which repositories it is about."""
    return pytest.param(sends, repos, statuses, id=name)


M, D, S = ("models", "acme/m"), ("datasets", "acme/d"), ("spaces", "acme/s")
P, G, AUTO, N = ("models", "acme/p"), ("models", "acme/g"), ("models", "acme/auto"), ("models", "acme/n")
API = "/api/models/acme/m"
TALK = f"{API}/discussions/2"
SPACE = "/api/spaces/acme/s"
CHANGE = [small("a.txt", "changed"), small("new.txt", "new"), line("deletedFile", {"path": "gone.txt"})]
NEW = {"name": "n", "organization": "acme"}


def slugged(rest=""):
    """Return a function that gives the address of the collection."""
    return lambda place: f"/api/collections/{place.slug}{rest.replace('ITEM', place.item)}"


WRITES = [
    row("branch", post(f"{API}/branch/new", {"startingPoint": "main"})),
    row("branch, moved", post(f"{API}/branch/dev", {"startingPoint": "main", "overwrite": True})),
    row("branch, deleted", post(f"{API}/branch/dev", method="DELETE")),
    row("branch, empty", post(f"{API}/branch/new", {"emptyBranch": True})),
    row("tag", post(f"{API}/tag/dev", {"tag": "v2", "message": "Second"})),
    row("tag, deleted", post(f"{API}/tag/v1", method="DELETE")),
    row("tag, moved", post(f"{API}/tag/v1", method="DELETE"), post(f"{API}/tag/main", {"tag": "v1"})),
    row("commit", committed(f"{API}/commit/main", *CHANGE)),
    row("commit to a branch", committed(f"{API}/commit/dev", *CHANGE)),
    row("commit that opens a pull request", committed(f"{API}/commit/main?create_pr=1", *CHANGE)),
    row("commit of somebody else", committed(f"{API}/commit/main?create_pr=1", *CHANGE, token=CARL)),
    row("commit to a pull request", committed(f"{API}/commit/refs%2Fpr%2F1", *CHANGE)),
    row("commit of a folder's end", committed(f"{API}/commit/main", line("deletedFolder", {"path": "sub/"}))),
    row("two commits", committed(f"{API}/commit/main", *CHANGE), committed(f"{API}/commit/main", small("a.txt", "2"))),
    row("commit to a data set", committed("/api/datasets/acme/d/commit/main", *CHANGE), repos=(D,)),
    row("commit to a Space", committed("/api/spaces/acme/s/commit/main", *CHANGE), repos=(S,)),
    row("commit to a private model", committed("/api/models/acme/p/commit/main", *CHANGE), repos=(P,)),
    row("commit to a gated model", committed("/api/models/acme/g/commit/main", *CHANGE), repos=(G,)),
    row("commit of a card", committed(f"{API}/commit/main", small("README.md", "---\nlicense: mit\n---\n"))),
    row("squash", post(f"{API}/super-squash/main", {"message": "One"})),
    row("squash of a branch", post(f"{API}/super-squash/dev", {})),
    row("pull request", post(f"{API}/discussions", {"title": "t", "description": "d", "pullRequest": True})),
    row("merge", post(f"{API}/discussions/1/merge", {"comment": "Thanks"})),
    row("status of a pull request", post(f"{API}/discussions/1/status", {"status": "closed"})),
    row(
        "end of a pull request's ref",
        post(f"{API}/discussions/1/status", {"status": "closed"}),
        post(f"{API}/discussions/1/ref", method="DELETE"),
    ),
    row("pull request, deleted", post(f"{API}/discussions/1", method="DELETE")),
    row("discussion", post(f"{API}/discussions", {"title": "t", "description": "d"})),
    row("discussion of somebody else", post(f"{API}/discussions", {"title": "t", "description": "d"}, token=CARL)),
    row("comment", post(f"{TALK}/comment", {"comment": "because"})),
    row("comment, edited", post(lambda p: f"{TALK}/comment/{p.comment}/edit", {"content": "how?"})),
    row("comment, hidden", post(lambda p: f"{TALK}/comment/{p.comment}/hide")),
    row("title", post(f"{TALK}/title", {"title": "Another question"})),
    row("status", post(f"{TALK}/status", {"status": "closed", "comment": "done"})),
    row("pin", post(f"{TALK}/pin", {"pinned": True})),
    row("discussion, deleted", post(TALK, method="DELETE")),
    row("private", post(f"{API}/settings", {"private": True}, method="PUT")),
    row("private data set", post("/api/datasets/acme/d/settings", {"visibility": "private"}, method="PUT"), repos=(D,)),
    row("public", post("/api/models/acme/p/settings", {"private": False}, method="PUT"), repos=(P,)),
    row("gated", post(f"{API}/settings", {"gated": "manual"}, method="PUT")),
    row("open", post("/api/models/acme/g/settings", {"gated": False}, method="PUT"), repos=(G,)),
    row("description", post(f"{API}/settings", {"description": "Said anew"}, method="PUT")),
    row(
        "private and back",
        post(f"{API}/settings", {"private": True}, method="PUT"),
        post(f"{API}/settings", {"private": False}, method="PUT"),
    ),
    row("resource group", post(f"{API}/resource-group", {"resourceGroupId": "67a0"})),
    row("like", post(f"{API}/like")),
    row("like of somebody else", post(f"{API}/like", token=CARL)),
    row("unlike", post(f"{API}/like"), post(f"{API}/like", method="DELETE")),
    row("like of a Space", post(f"{SPACE}/like"), repos=(S,)),
    row("move", post("/api/repos/move", {"fromRepo": "acme/m", "toRepo": "acme/n", "type": "model"}), repos=(M, N)),
    row(
        "move to oneself",
        post("/api/repos/move", {"fromRepo": "acme/m", "toRepo": "ann/n", "type": "model"}),
        repos=(M, ("models", "ann/n")),
    ),
    row(
        "move there and back",
        post("/api/repos/move", {"fromRepo": "acme/m", "toRepo": "acme/n", "type": "model"}),
        post("/api/repos/move", {"fromRepo": "acme/n", "toRepo": "acme/m", "type": "model"}),
        repos=(M, N),
    ),
    row(
        "move of a data set",
        post("/api/repos/move", {"fromRepo": "acme/d", "toRepo": "acme/n", "type": "dataset"}),
        repos=(D, ("datasets", "acme/n")),
    ),
    row("deletion", post("/api/repos/delete", {"name": "m", "organization": "acme", "type": "model"}, method="DELETE")),
    row("deletion without a type", post("/api/repos/delete", {"name": "m", "organization": "acme"}, method="DELETE")),
    row(
        "deletion of a Space",
        post("/api/repos/delete", {"name": "s", "organization": "acme", "type": "space"}, method="DELETE"),
        repos=(S,),
    ),
    row(
        "deletion of a private model",
        post("/api/repos/delete", {"name": "p", "organization": "acme"}, method="DELETE"),
        repos=(P,),
    ),
    row(
        "deletion and creation",
        post("/api/repos/delete", {"name": "m", "organization": "acme"}, method="DELETE"),
        post("/api/repos/create", {"name": "m", "organization": "acme"}),
        committed(f"{API}/commit/main", small("a.txt", "another")),
    ),
    row("creation", post("/api/repos/create", NEW), repos=(N,)),
    row("creation, private", post("/api/repos/create", {**NEW, "private": True}), repos=(N,)),
    row("creation under one's own name", post("/api/repos/create", {"name": "n"}), repos=(("models", "ann/n"),)),
    row(
        "creation of a Space",
        post("/api/repos/create", {**NEW, "type": "space", "sdk": "static"}),
        repos=(("spaces", "acme/n"),),
    ),
    row(
        "creation and commit",
        post("/api/repos/create", {**NEW, "type": "dataset"}),
        committed("/api/datasets/acme/n/commit/main", small("a.txt", "a")),
        repos=(("datasets", "acme/n"),),
    ),
    row("duplicate", post(f"{API}/duplicate", {"repository": "acme/n"}), repos=(M, N)),
    row(
        "duplicate, private",
        post(f"{API}/duplicate", {"repository": "ann/n", "private": True}),
        repos=(M, ("models", "ann/n")),
    ),
    row("duplicate of a Space", post(f"{SPACE}/duplicate", {"repository": "acme/n"}), repos=(S, ("spaces", "acme/n"))),
    row(
        "large file, deleted", post(lambda p: f"{API}/lfs-files/{p.oid('acme/m')}?rewriteHistory=true", method="DELETE")
    ),
    row(
        "large files, deleted",
        post(f"{API}/lfs-files/batch", lambda p: {"deletions": {"sha": [p.oid("acme/m")], "rewriteHistory": True}}),
    ),
    row(
        "large file, deleted and left in history",
        post(f"{API}/lfs-files/batch", lambda p: {"deletions": {"sha": [p.oid("acme/m")], "rewriteHistory": False}}),
    ),
    row("collection", post("/api/collections", {"title": "Other", "namespace": "acme"}), repos=()),
    row("collection of one's own", post("/api/collections", {"title": "Other", "namespace": "ann"}), repos=()),
    row("collection, changed", post(slugged(), {"title": "Better", "theme": "green"}, method="PATCH"), repos=()),
    row("collection, private", post(slugged(), {"private": True}, method="PATCH"), repos=()),
    row("item", post(slugged("/items"), {"item": {"type": "dataset", "id": "acme/d"}, "note": "see"}), repos=()),
    row("item, changed", post(slugged("/items/ITEM"), {"note": "Look"}, method="PATCH"), repos=()),
    row("item, deleted", post(slugged("/items/ITEM"), method="DELETE"), repos=()),
    row("collection, deleted", post(slugged(), method="DELETE"), repos=()),
    row("paper's links", post("/api/papers/1706.03762/links", {"projectPage": "https://example.org"}), repos=()),
    row("access, granted", post("/api/models/acme/g/user-access-request/grant", {"user": "bob"}), repos=(G,)),
    row(
        "access, granted and rejected",
        post("/api/models/acme/g/user-access-request/grant", {"user": "bob"}),
        post("/api/models/acme/g/user-access-request/handle", {"user": "bob", "status": "rejected"}),
        repos=(G,),
    ),
    row("access, asked for", post("/acme/auto/ask-access", {}, token=BOB), repos=(AUTO,)),
    row(
        "access, asked for and granted",
        post("/acme/g/ask-access", {}, token=BOB),
        post("/api/models/acme/g/user-access-request/handle", {"user": "bob", "status": "accepted"}),
        repos=(G,),
    ),
    row("hardware", post(f"{SPACE}/hardware", {"flavor": "t4-small", "sleepTimeSeconds": 300}), repos=(S,)),
    row("sleep time", post(f"{SPACE}/sleeptime", {"seconds": 600}), repos=(S,)),
    row("pause", post(f"{SPACE}/pause"), repos=(S,)),
    row("pause and restart", post(f"{SPACE}/pause"), post(f"{SPACE}/restart?factory=true"), repos=(S,)),
    row("storage", post(f"{SPACE}/storage", {"tier": "small"}), repos=(S,)),
    row(
        "storage, deleted",
        post(f"{SPACE}/storage", {"tier": "small"}),
        post(f"{SPACE}/storage", method="DELETE"),
        repos=(S,),
    ),
    row(
        "volumes",
        post(f"{SPACE}/volumes", {"volumes": [{"type": "model", "source": "acme/m", "mountPath": "/m"}]}, method="PUT"),
        repos=(S,),
    ),
    row("development mode", post(f"{SPACE}/dev-mode", {"enabled": True}), repos=(S,)),
    row("secret", post(f"{SPACE}/secrets", {"key": "K", "value": "v"}), repos=(S,)),
    row("variable", post(f"{SPACE}/variables", {"key": "K", "value": "v"}), repos=(S,)),
    row(
        "variable, deleted",
        post(f"{SPACE}/variables", {"key": "K", "value": "v"}),
        post(f"{SPACE}/variables", {"key": "K"}, method="DELETE"),
        repos=(S,),
    ),
]


@pytest.mark.parametrize("sends,repos,statuses", WRITES)
def test_everybody_sees_it_at_once(hub, make_daemon, request, sends, repos, statuses):
    """After each write every answer, cached or not, is the Hub's own, for everybody."""
    place, daemon = Place(hub), make_daemon(PATIENT)
    commits = [sha for _, id in repos if id in place.head for sha in (place.old[id], place.head[id])][:2]
    questions = [q for type, id in repos for q in of_repo(type, id, commits)] + of_all(place)
    for n, send in enumerate(sends):
        warm(daemon, questions)
        reply = send(daemon.url, place)
        assert reply.status in statuses, reply
        compare(hub, daemon, questions, f"{request.node.name}{n}")


def test_nothing_would_be_right_by_itself(hub, make_daemon):
    """What changes behind the cache's back stays as it was: the test above proves something."""
    place, daemon = Place(hub), make_daemon(PATIENT)
    questions = of_repo(*M, [place.head["acme/m"]]) + of_all(place)
    warm(daemon, questions)
    before = {q[1]: ask(daemon.url, q, ANN) for q in questions}
    hub.clear_log()
    hub.commit(*M, {"a.txt": "changed", "new.txt": "new"})
    hub.create_branch(*M, "dev")
    hub.update_repo(*M, likes=7, likers=["ann"])
    hub.create_repo("models", "acme/n")
    stale = [q for q in questions if ask(daemon.url, q, ANN) == before[q[1]] != ask(hub.url, q, ANN)]
    names = {q[1] for q in stale}
    for target in (
        API,
        f"{API}?blobs=true",
        f"{API}/revision/main",
        f"{API}/tree/main?recursive=true",
        f"{API}/refs",
        f"{API}/commits/main",
        f"{API}/likers",
        "/acme/m/resolve/main/a.txt",
        "/api/models?author=acme",
    ):
        assert target in names, f"{target} was not cached, so that reading it proves nothing"


@pytest.mark.parametrize("status", [409, 500, 502, 504])
def test_a_failure_may_tell_that_something_changed(hub, make_daemon, status):
    """A creation that is a second one shows that what was missing is there, and so may a failure."""
    Place(hub)
    daemon = make_daemon(PATIENT)
    questions, info = of_repo(*N), ("GET", "/api/models/acme/n", None)
    warm(daemon, [*questions, info])
    hub.create_repo(*N)
    hub.commit(*N, {"a.txt": "a"})
    assert ask(daemon.url, info, None)[0] == 401, "nothing was remembered, so that this proves nothing"
    if status != 409:
        hub.fault(path="/api/repos/create", status=status, body="oops")
    reply = Client(daemon.url, ANN).post("/api/repos/create", NEW)
    assert reply.status == status
    compare(hub, daemon, questions, str(status))


def test_a_refusal_forgets_nothing(hub, make_daemon):
    """Who may not write cannot empty the cache by trying."""
    Place(hub)
    daemon = make_daemon(PATIENT)
    assert daemon.client.get(API).status == daemon.client.get(f"{API}/refs").status == 200
    for token, status in ((None, 401), (BOB, 403)):
        for target, method in (
            (f"{API}/branch/new", "POST"),
            (f"{API}/settings", "PUT"),
            (f"{API}/super-squash/main", "POST"),
        ):
            assert (
                Client(daemon.url, token).request(method, target, body=b"{}", content_type="application/json").status
                == status
            )
    hub.clear_log()
    assert daemon.client.get(API).status == daemon.client.get(f"{API}/refs").status == 200
    assert not hub.log("hub")


# Answers that are on their way.

ON_THE_WAY = {
    "info": API,
    "info with files": f"{API}?blobs=true",
    "info at a branch": f"{API}/revision/main",
    "tree": f"{API}/tree/main?recursive=true",
    "refs": f"{API}/refs",
    "commits": f"{API}/commits/main",
    "discussions": f"{API}/discussions",
    "listing": "/api/models?author=acme&full=true",
    "likers": f"{API}/likers",
    "file": "/acme/m/resolve/main/a.txt",
    "large file": "/acme/m/resolve/main/w.safetensors",
    "missing file": "/acme/m/resolve/main/new.txt",
    "missing branch": f"{API}/revision/new",
}
MEANWHILE = {
    "commit": committed(f"{API}/commit/main", *CHANGE),
    "branch": post(f"{API}/branch/new", {"startingPoint": "main"}),
    "private": post(f"{API}/settings", {"private": True}, method="PUT"),
    "deletion": post("/api/repos/delete", {"name": "m", "organization": "acme", "type": "model"}, method="DELETE"),
    "like": post(f"{API}/like"),
}


# Files are asked for by their heads first, of which there are no twenty bytes to come, and likers are few.
SHORT = ("file", "large file", "missing file", "likers")
HELD = [(name, at) for name in ON_THE_WAY for at in ("after_head", 20) if at != 20 or name not in SHORT]


@pytest.mark.parametrize("write", MEANWHILE)
@pytest.mark.parametrize("question,place_of_gate", HELD)
def test_an_answer_that_was_on_its_way(hub, make_daemon, question, place_of_gate, write):
    """An answer that left the Hub before a write and comes here after it is not what later questions get."""
    place, daemon = Place(hub), make_daemon(PATIENT)
    target = ON_THE_WAY[question]
    # Its connection is of no use meanwhile, also where the answer is whole already.
    hub.fault(origin="hub", method="GET|HEAD", path=".", times=1, set_headers={"Connection": "close"})
    with hub.gate(place_of_gate, times=1, origin="hub", method="GET|HEAD", path=".") as gate:
        reader = Client(daemon.url).stream(target)
        gate.wait_reached()
        reply = MEANWHILE[write](daemon.url, place)
        assert reply.status == 200, reply
        # While it is still on its way, too.
        for method in ("GET", "HEAD"):
            for who, token in VIEWERS.items():
                got, want = (ask(url, (method, target, None), token) for url in (daemon.url, hub.url))
                assert got == want, f"{method} for {who} while the old answer was on its way"
        gate.release()
        with reader:
            reader.head()
            reader.rest()
    hub.wait_idle()
    for method in ("GET", "HEAD"):
        for who, token in VIEWERS.items():
            got, want = (ask(url, (method, target, None), token) for url in (daemon.url, hub.url))
            assert got == want, f"{method} for {who} after the old answer had come"


def test_readers_and_a_writer_at_once(hub, make_daemon):
    """While many read, every commit is seen by each reader that begins after its answer."""
    Place(hub)
    daemon = make_daemon(PATIENT)
    made, seen, done = [hub.refs(*M)["refs/heads/main"]], [], []

    def write():
        """Make commits one after the other."""
        try:
            for n in range(25):
                reply = Client(daemon.url, ANN).post(
                    f"{API}/commit/main", commit_of(small("a.txt", str(n))), content_type=NDJSON
                )
                made.append(reply.json()["commitOid"])
        finally:
            done.append(True)

    def read(target, take):
        """Ask the same thing until the writer is done."""
        while not done:
            least = len(made) - 1
            seen.append((least, take(Client(daemon.url).get(target)), target))

    in_parallel(
        write,
        lambda: read(API, lambda r: r.json()["sha"]),
        lambda: read(
            f"{API}/refs",
            lambda r: (
                r.json()["branches"][-1]["targetCommit"]
                if r.json()["branches"][-1]["name"] == "main"
                else r.json()["branches"][0]["targetCommit"]
            ),
        ),
        lambda: read("/acme/m/resolve/main/a.txt", lambda r: r["X-Repo-Commit"]),
        lambda: read(f"{API}/tree/main", lambda r: r["X-Repo-Commit"] or made[-1]),
    )
    order = {sha: n for n, sha in enumerate(made)}
    assert len(made) == 26
    # A commit that is seen before its author has the answer counts as the newest.
    late = [(target, least, order[sha]) for least, sha, target in seen if sha in order and order[sha] < least]
    assert not late, late[:5]


# A repository that is gone.


@pytest.mark.parametrize("how", ["deletion", "private"])
def test_bytes_are_hidden_at_once(hub, make_daemon, how):
    """Of a repository that was deleted or made private nothing is given out, by whatever address and method."""
    place, daemon = Place(hub), make_daemon(PATIENT)
    sha, old = place.head["acme/m"], place.old["acme/m"]
    oid, stranger = place.oid("acme/m"), Client(daemon.url, BOB)
    batch = {"operation": "download", "transfers": ["basic"], "objects": [{"oid": oid, "size": LFS}]}
    targets = [
        f"/acme/m/resolve/{rev}/{path}" for rev in ("main", sha) for path in ("a.txt", "w.safetensors", "sub/b.txt")
    ] + [
        f"/acme/m/resolve/{old}/gone.txt",
        f"/acme/m/raw/{sha}/w.safetensors",
        f"/api/resolve-cache/models/acme/m/{sha}/a.txt",
        f"{API}/tree/{sha}?recursive=true",
        f"{API}/revision/{sha}",
        f"/acme/m/resolve/{sha}/nothing.txt",
    ]

    def everything():
        """Return the reply to each way to get something."""
        out = {}
        for name, client in (("nobody", daemon.client), ("stranger", stranger)):
            for target in targets:
                out[name, target, "GET"] = client.get(target)
                out[name, target, "HEAD"] = client.head(target)
                out[name, target, "range"] = client.get(target, range="bytes=0-0")
                out[name, target, "match"] = client.get(target, if_none_match="*")
            out[name, "batch"] = client.post(
                "/acme/m.git/info/lfs/objects/batch", batch, content_type="application/vnd.git-lfs+json"
            )
        return out

    for _ in range(2):
        before = everything()
    assert all(r.status < 400 for key, r in before.items() if "nothing" not in key[1]), "not everything was there"
    hub.clear_log()
    assert MEANWHILE[how](daemon.url, place).status == 200
    for key, reply in everything().items():
        assert reply.status in (401, 404), (key, reply)
        assert reply["X-Error-Code"] == "RepoNotFound" or reply.status == 401, (key, reply)
        assert not reply["X-Repo-Commit"] and not reply["Content-Range"] and not reply["Accept-Ranges"], (key, reply)
    assert not hub.sent("cdn")
    owner = Client(daemon.url, ANN)
    assert owner.get(f"/acme/m/resolve/{sha}/a.txt").status == (404 if how == "deletion" else 200)
    assert owner.get(f"/acme/m/resolve/{sha}/w.safetensors").status == (404 if how == "deletion" else 200)


def test_another_repository_with_the_same_bytes_stays(hub, make_daemon):
    """Bytes that are also somebody else's stay theirs, and are not fetched again."""
    place, daemon = Place(hub), make_daemon(PATIENT)
    hub.commit("datasets", "acme/d", {"same.safetensors": Generated(LFS, seed=len("acme/m"))})
    targets = ["/acme/m/resolve/main/w.safetensors", "/datasets/acme/d/resolve/main/same.safetensors"]
    assert [daemon.client.get(t).status for t in targets] == [200, 200]
    hub.clear_log()
    assert MEANWHILE["deletion"](daemon.url, place).status == 200
    assert [daemon.client.get(t).status for t in targets] == [401, 200]
    assert not hub.sent("cdn")


def test_the_writer_needs_no_second_question(hub, make_daemon):
    """What a commit says of itself is known: the branch is not asked for again, and the large file is found here."""
    place, daemon = Place(hub), make_daemon(PATIENT)
    daemon.client.get("/acme/m/resolve/main/a.txt")
    reply = Client(daemon.url, ANN).post(f"{API}/commit/main", commit_of(small("new.txt", "new")), content_type=NDJSON)
    hub.clear_log()
    got = Client(daemon.url, ANN).get("/acme/m/resolve/main/new.txt")
    assert (got.body, got["X-Repo-Commit"]) == (b"new", reply.json()["commitOid"])
    assert not asked(hub, "/refs") and place.head["acme/m"] != reply.json()["commitOid"]


@pytest.mark.parametrize("odd", ["f\u00e4t", "x/y", "refs%heads"])
def test_odd_branch_names(hub, make_daemon, odd):
    """A branch with an odd name is the same branch in whatever spelling it is written and read."""
    Place(hub)
    daemon = make_daemon(PATIENT)
    whole, plain = quote(odd, safe=""), quote(odd)
    targets = [f"{API}/revision/{whole}", f"{API}/tree/{whole}", f"/acme/m/resolve/{whole}/a.txt"]
    assert {daemon.client.get(t).status for t in targets} == {404}
    assert Client(daemon.url, ANN).post(f"{API}/branch/{plain}", {"startingPoint": "dev"}).status == 200
    assert [daemon.client.get(t).status for t in targets] == [200, 200, 200]
    body = commit_of(small("a.txt", "odd"))
    assert Client(daemon.url, ANN).post(f"{API}/commit/{whole}", body, content_type=NDJSON).status == 200
    assert daemon.client.get(targets[2]).body == b"odd"
    wait_until(lambda: daemon.client.get(targets[0]).json()["sha"] == hub.refs(*M)[f"refs/heads/{odd}"], "the commit")
