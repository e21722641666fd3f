"""Writes are the Hub's to answer: they go out once, come back as they are, and the client learns the truth."""

import base64
import json
import select
import socket
import threading
from urllib.parse import urlsplit

import pytest
from conftest import ANN, BOB, UNKNOWN

from tests.support.daemon import wait_until
from tests.support.http import Client
from tests.support.writes import (
    NDJSON,
    asked,
    commit,
    commit_of,
    forget_peak,
    header,
    in_parallel,
    line,
    memory,
    small,
)

MIB = 1 << 20
PATIENT = 60  # for bodies that take a while
COMMIT = "/api/models/acme/w/commit/main"
# What the Hub says anew each time, and what each server says of its own connection.
VOLATILE = {"date", "connection", "keep-alive", "ratelimit", "x-request-id", "content-length", "transfer-encoding"}


@pytest.fixture
def repo(hub):
    """Publish a repository to write to and return its first commit."""
    return hub.create_repo("models", "acme/w")


@pytest.fixture
def ann(daemon):
    """Give a client that may write to it."""
    return daemon.as_user(ANN)


def seen(reply, *names):
    """Return what a client sees of a reply: status, body and the headers that carry a meaning."""
    names = names or ("content-type", "x-error-code", "x-error-message", "retry-after", "www-authenticate")
    return reply.status, reply.body, {n: reply[n] for n in names}


def honest(reply):
    """Whoever hears this knows that nothing came of it, or that nobody knows."""
    if reply.status == 504:
        return reply["X-Hubcached-Error"] == "uncertain"
    return reply.status in (502, 503) and reply["X-Hubcached-Error"]


# The Hub's own words.

REFUSALS = [
    (400, {}, {"error": "Bad operation", "cause": ["x"]}),
    (401, {"WWW-Authenticate": "Bearer"}, {"error": "Invalid username or password."}),
    (403, {"X-Error-Message": "Forbidden: pass `create_pr=1`"}, {"error": "Forbidden: pass `create_pr=1`"}),
    (404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: x"}, {"error": "Invalid rev id: x"}),
    (409, {}, {"error": "You already created this", "url": "https://huggingface.co/acme/w"}),
    (412, {"X-Error-Message": "The branch was updated"}, {"error": "The branch was updated"}),
    (413, {}, {"error": "Payload Too Large"}),
    (422, {}, {"error": "Invalid path"}),
    (
        429,
        {
            "RateLimit": '"api";r=0;t=55',
            "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
            "Retry-After": "55",
            "X-Error-Message": "Slow down",
        },
        {"error": "Slow down"},
    ),
    (
        500,
        {"X-Request-Id": "Root=1-2-3"},
        {"error": "Internal Error - We're working hard to fix this as soon as possible!"},
    ),
    (503, {"Retry-After": "3"}, {"error": "Unavailable"}),
]


@pytest.mark.parametrize("status,headers,body", REFUSALS, ids=[str(r[0]) for r in REFUSALS])
@pytest.mark.parametrize(
    "method,target", [("POST", COMMIT), ("DELETE", "/api/repos/delete"), ("PUT", "/api/models/acme/w/settings")]
)
def test_a_refusal_comes_as_the_hub_says_it(hub, daemon, ann, repo, method, target, status, headers, body):
    """Status, body and the headers that clients read are untouched, and the Hub is not asked a second time."""
    given = {"Content-Type": "application/json; charset=utf-8", **headers}
    hub.fault(origin="hub", method=method, path=target, status=status, headers=given, body=json.dumps(body), times=None)
    sent = commit_of(small("a.txt", "a")) if method == "POST" else json.dumps({"name": "w", "private": False}).encode()
    reply = ann.request(method, target, body=sent, content_type="application/json")
    assert seen(reply, *given) == (status, json.dumps(body).encode(), given)
    assert len(asked(hub, target)) == 1


def natural(hub):
    """Return {name: function that sends a write which the Hub refuses by itself}."""
    old = hub.refs("models", "acme/w")["refs/heads/main"]
    hub.commit("models", "acme/w", {"late.txt": b"late"})
    hub.create_repo("models", "bob/own", private=True)
    hub.create_repo("models", "acme/gated", gated="manual")
    body = small("a.txt", "a")
    return {
        "nobody": lambda c: commit(Client(c), "acme/w", body),
        "unknown token": lambda c: commit(Client(c, UNKNOWN), "acme/w", body),
        "may only read": lambda c: commit(Client(c, BOB), "acme/w", body),
        "cannot be seen": lambda c: commit(Client(c, ANN), "bob/own", body),
        "is not there": lambda c: commit(Client(c, ANN), "acme/none", body),
        "no such branch": lambda c: commit(Client(c, ANN), "acme/w", body, rev="none"),
        "no such file": lambda c: commit(Client(c, ANN), "acme/w", line("deletedFile", {"path": "none"})),
        "late": lambda c: commit(Client(c, ANN), "acme/w", body, parent=old),
        "no such object": lambda c: commit(
            Client(c, ANN), "acme/w", line("lfsFile", {"path": "x", "algo": "sha256", "oid": "0" * 64, "size": 3})
        ),
        "no summary": lambda c: commit(Client(c, ANN), "acme/w", body, summary=""),
        "branch exists": lambda c: Client(c, ANN).post("/api/models/acme/w/branch/main", {}),
        "tag of nothing": lambda c: Client(c, ANN).post("/api/models/acme/w/tag/none", {"tag": "v1"}),
        "delete main": lambda c: Client(c, ANN).request("DELETE", "/api/models/acme/w/branch/main"),
        "delete no repository": lambda c: Client(c, ANN).request(
            "DELETE",
            "/api/repos/delete",
            body=b'{"name":"none","organization":"acme"}',
            content_type="application/json",
        ),
        "foreign namespace": lambda c: Client(c, ANN).post("/api/repos/create", {"name": "x", "organization": "bob"}),
        "bad name": lambda c: Client(c, ANN).post("/api/repos/create", {"name": "a--b"}),
        "not JSON": lambda c: Client(c, ANN).post("/api/repos/create", b"{", content_type="application/json"),
        "gated": lambda c: Client(c, BOB).post(
            "/api/models/acme/gated/discussions", {"title": "t", "description": "d"}
        ),
        "no route": lambda c: Client(c, ANN).post("/api/models/acme/w/nothing", {}),
    }


def test_natural_refusals_are_the_same_as_without_us(hub, daemon, repo):
    """Whatever the Hub has to object, a client reads the same words with and without a cache between."""
    cases = natural(hub)
    before = hub.state()
    for name, ask in cases.items():
        direct, ours = ask(hub.url), ask(daemon.url)
        assert direct.status >= 400, name
        if direct.status == 401 and direct["X-Error-Code"] is None:
            assert (ours.status, ours.body) == (direct.status, direct.body), name
            continue
        assert seen(ours) == seen(direct), name
        assert {k.lower() for k, _ in ours.headers if k.lower().startswith("x-error")} == {
            k.lower() for k, _ in direct.headers if k.lower().startswith("x-error")
        }, name
    assert hub.state() == before


def test_what_exists_already_is_named_as_ours(hub, daemon, ann, repo):
    """409 to a creation carries the address of what is there, which a client takes apart by its own endpoint."""
    reply = ann.post("/api/repos/create", {"name": "w", "organization": "acme"})
    direct = Client(hub.url, ANN).post("/api/repos/create", {"name": "w", "organization": "acme"})
    assert reply.status == direct.status == 409
    assert reply.json() == {**direct.json(), "url": f"{daemon.url}/acme/w"}


def test_limits_of_the_hub_are_its_own(hub, daemon, ann, repo):
    """The Hub's limits of size and rate are the ones that hold, and reach the client with their headers."""
    hub.quirks(commit_body_limit=MIB)
    reply = commit(ann, "acme/w", small("a.bin", bytes(2 * MIB)))
    assert (reply.status, reply.json()) == (413, {"error": "Payload Too Large"})
    hub.quirks(commit_body_limit=None, rate_limit={"api": 0, "resolvers": 0, "pages": 0})
    for _ in range(2):
        reply = commit(ann, "acme/w", small("a.txt", "a"))
        direct = commit(Client(hub.url, ANN), "acme/w", small("a.txt", "a"))
        assert reply.status == direct.status == 429
        assert reply["RateLimit"] and reply["RateLimit"].startswith('"api"')
        assert reply["RateLimit-Policy"] == direct["RateLimit-Policy"]
        assert (reply["Retry-After"] is None) == (direct["Retry-After"] is None)
    hub.quirks(rate_limit=None)
    assert commit(ann, "acme/w", small("a.txt", "a")).status == 200


def test_a_success_comes_as_the_hub_says_it(hub, daemon, ann, repo):
    """A commit's answer is the Hub's, with the pages of the commit at our address."""
    reply = commit(ann, "acme/w", small("a.txt", "a"))
    head = hub.refs("models", "acme/w")["refs/heads/main"]
    assert reply.status == 200 and reply["Content-Type"] == "application/json; charset=utf-8"
    assert reply.json()["commitOid"] == head != repo
    assert reply.json()["commitUrl"] == f"{daemon.url}/acme/w/commit/{head}"
    opened = commit(ann, "acme/w", small("b.txt", "b"), query="?create_pr=1")
    assert opened.json()["pullRequestUrl"] == f"{daemon.url}/acme/w/discussions/1"
    assert "refs/pr/1" in hub.refs("models", "acme/w")


def test_a_long_answer_is_whole(hub, daemon, ann, repo):
    """An answer that is too long to be held comes whole all the same, after the deed is known."""
    text = json.dumps({"success": True, "hookOutput": "x" * (3 * MIB)})
    hub.fault(method="POST", path="/like$", status=200, body=text, headers={"Content-Type": "application/json"})
    reply = ann.post("/api/models/acme/w/like", b"")
    assert (reply.status, reply.complete, reply.body) == (200, True, text.encode())


def test_an_old_name_leads_to_the_new_one(hub, daemon, ann, repo):
    """A redirect of a write is the client's to follow, at our address, and writes nothing by itself."""
    hub.rename("models", "acme/w", "acme/new")
    before = hub.state()
    reply = commit(ann, "acme/w", small("a.txt", "a"))
    direct = commit(Client(hub.url, ANN), "acme/w", small("a.txt", "a"))
    assert reply.status == direct.status == 307
    assert reply["Location"] == direct["Location"] == "/api/models/acme/new/commit/main"
    assert hub.state() == before
    assert ann.post(reply["Location"], commit_of(small("a.txt", "a")), content_type=NDJSON).status == 200


# Every kind of request.


def test_bodies_and_methods(hub, daemon, ann, repo):
    """DELETE with a body, POST without one, PUT and PATCH reach the Hub as they were sent."""
    hub.call("add_collection", owner="acme", title="Things", items=[])
    slug = ann.get("/api/collections?owner=acme").json()[0]["slug"]
    kind = "application/json"
    rows = [
        ("POST", "/api/models/acme/w/like", b"", kind, 200),
        ("DELETE", "/api/models/acme/w/like", None, None, 200),
        ("POST", "/api/models/acme/w/like", None, None, 200),
        ("PUT", "/api/models/acme/w/settings", b'{"private": true}', kind, 200),
        ("PATCH", f"/api/collections/{slug}", b'{"title": "Other", "description": "\xc3\xa4"}', kind, 200),
        ("POST", "/api/models/acme/w/branch/dev", b'{"startingPoint": "main"}', kind, 200),
        ("DELETE", "/api/models/acme/w/branch/dev", b"", None, 200),
        ("POST", "/api/models/acme/w/tag/main", b'{"tag": "v1"}', kind, 200),
        ("DELETE", "/api/repos/delete", b'{"name": "w", "organization": "acme", "type": "model"}', kind, 200),
    ]
    for method, target, body, kind, status in rows:
        hub.clear_log()
        reply = ann.request(method, target, body=body, content_type=kind)
        assert reply.status == status, (method, target, reply)
        (row,) = [r for r in hub.log("hub") if r["method"] == method]
        assert (row["target"], row["body"], row["headers"].get("content-type")) == (target, body or b"", kind)
        assert row["headers"]["authorization"] == f"Bearer {ANN}"
    assert ann.get("/api/models/acme/w").status == 404


def test_what_goes_along(hub, daemon, ann, repo):
    """Queries and the headers that mean something arrive; what is about us or the client's machine does not."""
    reply = ann.post(
        "/api/models/acme/w/commit/main?create_pr=1&hot_reload=0",
        commit_of(small("a.txt", "a")),
        content_type=NDJSON,
        user_agent="unknown/None; hf_hub/1.0",
        x_hf_bill_to="acme",
        cookie="token=secret",
        x_forwarded_for="10.0.0.1",
        accept_encoding="gzip",
    )
    assert reply.status == 200 and reply["Set-Cookie"] is None
    (row,) = asked(hub, COMMIT)
    assert row["query"] == "create_pr=1&hot_reload=0"
    assert row["headers"]["user-agent"] == "unknown/None; hf_hub/1.0" and row["headers"]["x-hf-bill-to"] == "acme"
    assert not {"cookie", "x-forwarded-for", "forwarded", "via", "expect"} & set(row["headers"])
    assert row["headers"]["content-type"] == NDJSON and row["headers"]["host"] == urlsplit(hub.url).netloc


def chunks(*parts):
    """Return parts in chunked framing."""
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts if p) + b"0\r\n\r\n"


def test_chunked_bodies(hub, daemon, ann, repo):
    """A body of unknown length arrives whole, however it was cut."""
    body = commit_of(small("a.txt", "a"), small("b.bin", bytes(range(256)) * 8000))
    cuts = [body[:1], body[1:100], body[100:100_000], body[100_000:]]
    with ann.stream(COMMIT, "POST", headers=[("Transfer-Encoding", "chunked"), ("Content-Type", NDJSON)]) as stream:
        stream.sock.sendall(chunks(*cuts))
        reply = stream.head()
        reply.body, reply.complete = stream.rest()
    assert reply.status == 200, reply
    (row,) = [r for r in hub.log("hub") if r["path"] == COMMIT]
    assert row["body_length"] == len(body) and row["body"] == body[: len(row["body"])]
    assert hub.file("models", "acme/w", "b.bin")["size"] == 256 * 8000


def test_chunked_deletion(hub, daemon, ann, repo):
    """A small body of unknown length that has to be read as a whole arrives too."""
    with ann.stream("/api/repos/delete", "DELETE", headers=[("Transfer-Encoding", "chunked")]) as stream:
        stream.sock.sendall(chunks(b'{"name": "w", ', b'"organization": "acme"}'))
        assert stream.head().status == 200
    assert ann.get("/api/models/acme/w").status == 404 == Client(hub.url, ANN).get("/api/models/acme/w").status


def test_expect_100(hub, daemon, ann, repo):
    """A client that waits for leave to send its body gets it, once, and then its answer."""
    for body in (commit_of(small("a.txt", "a")), commit_of(small("b.bin", bytes(3 * MIB)))):
        rows = [("Expect", "100-continue"), ("Content-Length", str(len(body))), ("Content-Type", NDJSON)]
        with ann.stream(COMMIT, "POST", headers=rows) as stream:
            assert stream.head().status == 100
            stream.sock.sendall(body)
            assert stream.head().status == 200


def test_a_slow_client(hub, daemon, ann, repo):
    """What a slow client has sent is upstream before it sends more: nothing waits for the whole."""
    body = commit_of(small("a.bin", bytes(2 * MIB)), small("b.txt", "b"))
    step = len(body) // 5 + 1
    with ann.stream(COMMIT, "POST", headers=[("Content-Length", str(len(body))), ("Content-Type", NDJSON)]) as stream:
        for at in range(0, len(body), step):
            stream.sock.sendall(body[at : at + step])
            here = min(len(body), at + step)
            wait_until(
                lambda: [r for r in asked(hub, COMMIT) if r["body_length"] >= here - 1], f"{here} bytes at the Hub"
            )
        assert stream.head().status == 200
    assert len(asked(hub, COMMIT)) == 1


def test_a_large_commit_in_flat_memory(hub, daemon, ann, repo, capsys):
    """A commit of 100 MB passes in bounded memory, and so it does while the Hub does not take it."""
    one = base64.b64encode(bytes(9_400_000)).decode()
    files = [line("file", {"path": f"f{n}.bin", "content": one, "encoding": "base64"}) for n in range(8)]
    body = commit_of(*files)
    assert len(body) > 100_000_000
    assert commit(ann, "acme/w", small("warm.bin", bytes(2 * MIB))).status == 200
    base = forget_peak(daemon)
    with hub.upload_gate(after_bytes=MIB, times=1, path=COMMIT) as gate:
        stream = ann.stream(
            COMMIT, "POST", headers=[("Content-Length", str(len(body))), ("Content-Type", NDJSON)], timeout=PATIENT
        )
        sender = threading.Thread(target=stream.sock.sendall, args=(body,), daemon=True)
        sender.start()
        gate.wait_reached()
        # The kernel's buffers fill up, and then nothing moves any more.
        wait_until(lambda: not select.select([], [stream.sock], [], 0.5)[1], "the client cannot send any more")
        assert sender.is_alive()
        stalled = memory(daemon) - base
        gate.release()
    with stream:
        assert stream.head().status == 200
    sender.join(10)
    peak = memory(daemon) - base
    with capsys.disabled():
        print(
            f"\n100 MB commit: {stalled / MIB:.1f} MiB more while the Hub stood still, {peak / MIB:.1f} MiB at the end"
        )
    assert stalled < 16 * MIB and peak < 16 * MIB
    assert hub.file("models", "acme/w", "f7.bin")["size"] == 9_400_000


# Once.

SMALL = commit_of(small("a.txt", "a"))
HUGE = commit_of(small("a.bin", bytes(9_000_000)), small("b.bin", bytes(9_000_000)), small("c.bin", bytes(9_000_000)))

BEFORE_IT_WAS_WHOLE = {
    "reset at once": {"upload_reset": 0},
    "reset in the body": {"upload_reset": 100_000},
    "reset late": {"upload_reset": 30_000_000},
}


@pytest.mark.parametrize("fault", BEFORE_IT_WAS_WHOLE)
def test_the_hub_breaks_off_in_the_body(hub, daemon, ann, repo, fault):
    """A commit that cannot have arrived is a failure, told in time, and not sent again."""
    before = hub.state()
    hub.fault(path=COMMIT, times=None, **BEFORE_IT_WAS_WHOLE[fault])
    reply = in_parallel(lambda: commit_sent(ann, HUGE))[0]
    assert reply.status in (502, 503) and reply["X-Hubcached-Error"], reply
    assert len(asked(hub, COMMIT)) == 1 and hub.state() == before


def commit_sent(client, body, timeout=PATIENT):
    """Send a body as far as it is taken and return the reply, which may come early."""
    rows = [("Content-Length", str(len(body))), ("Content-Type", NDJSON)]
    stream = client.stream(COMMIT, "POST", headers=rows, timeout=timeout)

    def send():
        """Send until the peer wants no more."""
        try:
            stream.sock.sendall(body)
        except OSError:
            pass

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    with stream:
        reply = stream.head()
        reply.body, reply.complete = stream.rest()
        stream.sock.shutdown(socket.SHUT_RDWR)
    sender.join(10)
    return reply


AFTER_IT_WAS_WHOLE = {
    "reset before the head": ({"reset": "before_head"}, False),
    "end before the head": ({"truncate": "before_head"}, False),
    "silence before the head": ({"hang": "before_head"}, False),
    "half a head": ({"raw": "HTTP/1.1 200 OK\r\nContent-Ty"}, False),
    "nonsense": ({"raw": "HELLO\r\n\r\n"}, False),
    "reset when read": ({"upload_reset": len(SMALL)}, False),
    "silence when read": ({"upload_hang": len(SMALL)}, False),
    "reset after the head": ({"reset": "after_head"}, True),
    "end after the head": ({"truncate": "after_head"}, True),
    "reset in the answer": ({"reset": 20}, True),
    "end in the answer": ({"truncate": 20}, True),
    "chunks without an end": ({"chunked_cut": 20}, True),
    "silence in the answer": ({"hang": 20}, True),
}


@pytest.mark.parametrize("used", [False, True], ids=["new connection", "used connection"])
@pytest.mark.parametrize("fault", AFTER_IT_WAS_WHOLE)
def test_the_hub_breaks_off_after_the_body(hub, make_daemon, repo, fault, used):
    """Nobody knows whether it happened: the client is told that, and the commit goes out exactly once."""
    daemon = make_daemon({"upstream": {"write_timeout": "1s", "stall_timeout": "1s", "first_byte_timeout": "1s"}})
    ann = daemon.as_user(ANN)
    action, happened = AFTER_IT_WAS_WHOLE[fault]
    if used:
        assert ann.get("/api/models/acme/w").status == 200
    hub.fault(path=COMMIT, times=None, **action)
    reply = commit(ann, "acme/w", small("a.txt", "a"))
    assert len(asked(hub, COMMIT)) == 1
    refs = hub.refs("models", "acme/w")["refs/heads/main"]
    assert (refs != repo) == happened
    if reply.status == 200:
        assert happened and not reply.complete, "half an answer was made to look whole"
    else:
        assert reply.status == 504 and reply["X-Hubcached-Error"] == "uncertain", reply
    hub.clear_faults()
    # Look before you send it again: what one sees is the truth.
    assert ann.get("/api/models/acme/w/refs").json()["branches"][0]["targetCommit"] == refs
    assert ann.get("/api/models/acme/w").json()["sha"] == refs
    assert len(asked(hub, COMMIT)) == 1


@pytest.mark.parametrize(
    "method,target,body",
    [
        ("POST", "/api/models/acme/w/like", b""),
        ("DELETE", "/api/models/acme/w/branch/dev", b""),
        ("PUT", "/api/models/acme/w/settings", b'{"private": true}'),
        ("DELETE", "/api/repos/delete", b'{"name": "w", "organization": "acme"}'),
        ("POST", "/api/repos/create", b'{"name": "n", "organization": "acme"}'),
        ("POST", "/api/jobs/acme", b'{"dockerImage": "x", "command": ["true"], "flavor": "cpu-basic"}'),
    ],
)
def test_no_write_is_repeated(hub, daemon, ann, repo, method, target, body):
    """A connection that was used before and breaks gives no reason to send a write again, whatever its kind."""
    hub.create_branch("models", "acme/w", "dev")
    assert ann.get("/api/models/acme/w").status == 200
    hub.fault(method=method, path=target, reset="before_head", times=None)
    reply = ann.request(method, target, body=body, content_type="application/json")
    assert len([r for r in hub.log("hub") if r["method"] == method]) == 1
    assert reply.status == 504 and reply["X-Hubcached-Error"] == "uncertain", reply


def test_a_hub_that_does_not_read(hub, make_daemon, repo):
    """A Hub that stops to read in the middle of a body does not keep the client for ever."""
    daemon = make_daemon({"upstream": {"write_timeout": "1s", "stall_timeout": "1s", "first_byte_timeout": "1s"}})
    before = hub.state()
    hub.fault(path=COMMIT, upload_hang=100_000, times=None)
    reply = in_parallel(lambda: commit_sent(daemon.as_user(ANN), HUGE))[0]
    assert reply.status in (502, 503, 504) and reply["X-Hubcached-Error"], reply
    hub.clear_faults()
    hub.wait_idle()
    assert len(asked(hub, COMMIT)) == 1 and hub.state() == before


def test_a_hub_that_cannot_be_reached(hub, daemon, ann, repo):
    """Nothing was sent, so nothing happened: the client hears that, and can send it again at once."""
    hub.down("hub")
    reply = commit(ann, "acme/w", small("a.txt", "a"))
    assert reply.status in (502, 503) and reply["X-Hubcached-Error"]
    hub.up("hub")
    assert not asked(hub, COMMIT)
    wait_until(lambda: commit(ann, "acme/w", small("a.txt", "a")).status == 200, "the Hub is asked again")
    assert len(asked(hub, COMMIT)) == 1


def test_a_hub_that_hangs_up(hub, daemon, ann, repo):
    """A connection that ends as soon as it is there carries no write, and the client is not told that it did."""
    hub.down("hub")
    hub.up("hub")
    hub.fault(origin="hub", accept_close=True, times=None)
    reply = commit(ann, "acme/w", small("a.txt", "a"))
    assert honest(reply), reply
    assert not asked(hub, COMMIT)


def test_the_hub_answers_before_the_body_is_there(hub, daemon, ann, repo):
    """A refusal that comes early reaches the client, although the rest of the body was never read."""
    before = hub.state()
    refusal = json.dumps({"error": "Forbidden: no"})
    hub.fault(
        path=COMMIT,
        upload_answer=200_000,
        status=403,
        body=refusal,
        headers={"Content-Type": "application/json", "X-Error-Message": "Forbidden: no"},
        times=None,
    )
    reply = in_parallel(lambda: commit_sent(ann, HUGE))[0]
    assert (reply.status, reply.body, reply["X-Error-Message"]) == (403, refusal.encode(), "Forbidden: no")
    assert len(asked(hub, COMMIT)) == 1 and hub.state() == before
    hub.clear_faults()
    assert commit(ann, "acme/w", small("a.txt", "a")).status == 200


# Clients that leave.


LINES = commit_of(*[small(f"{n}.bin", bytes(MIB)) for n in range(6)])


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", [SMALL, LINES], ids=["small", "large"])
def test_a_client_that_leaves_in_the_body(hub, daemon, ann, repo, body, chunked):
    """Half a body is never presented as a whole one: the request ends upstream, too, and no commit is made."""
    before = hub.state()
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    # What is sent ends with a line: taken for all it would be a commit.
    half = body[:-1] if body == SMALL else body[: body.rfind(b"\n", 0, len(body) // 2) + 1]
    with ann.stream(COMMIT, "POST", headers=[framing, ("Content-Type", NDJSON)]) as stream:
        stream.sock.sendall(b"%x\r\n%s\r\n" % (len(half), half) if chunked else half)
        if chunked or body == LINES:
            wait_until(lambda: sum(r["body_length"] for r in asked(hub, COMMIT)) == len(half), "it is at the Hub")
    wait_until(lambda: all(r["done"] for r in asked(hub, COMMIT)), "no request is open upstream")
    assert [(r["peer_closed"], r["status"]) for r in asked(hub, COMMIT)] in ([], [(True, None)])
    assert hub.state() == before
    assert commit(ann, "acme/w", small("a.txt", "a")).status == 200


@pytest.mark.parametrize("body", [SMALL, HUGE[: HUGE.index(b"\n", 2000) + 1]], ids=["small", "large"])
def test_a_client_that_leaves_after_the_body(hub, daemon, ann, repo, body):
    """What was sent whole is carried out once, and everybody sees it."""
    assert daemon.client.get("/api/models/acme/w").json()["sha"] == repo
    with hub.gate("before_head", path=COMMIT) as gate:
        with ann.stream(COMMIT, "POST", body=body, headers=[("Content-Type", NDJSON)]):
            gate.wait_reached()
        daemon.wait_log(r"op=commit .* error=cancelled")
    hub.wait_idle()
    (row,) = asked(hub, COMMIT)
    assert row["status"] == 200 and not row["peer_closed"]
    head = hub.refs("models", "acme/w")["refs/heads/main"]
    assert head != repo
    wait_until(lambda: daemon.client.get("/api/models/acme/w").json()["sha"] == head, "the commit is seen")
    name = "a.txt" if body == SMALL else "a.bin"
    assert daemon.client.head(f"/acme/w/resolve/main/{name}")["X-Repo-Commit"] == head


def test_a_client_that_leaves_before_the_hub_fails(hub, daemon, ann, repo):
    """With nobody left to be told, what may have changed is looked up anew all the same."""
    assert daemon.client.get("/api/models/acme/w").json()["sha"] == repo
    with hub.gate("before_head", path=COMMIT) as gate:
        hub.fault(path=COMMIT, reset="after_head")
        with ann.stream(COMMIT, "POST", body=SMALL, headers=[("Content-Type", NDJSON)]):
            gate.wait_reached()
        daemon.wait_log(r"op=commit .* error=cancelled")
    hub.wait_idle()
    head = hub.refs("models", "acme/w")["refs/heads/main"]
    assert head != repo and len(asked(hub, COMMIT)) == 1
    wait_until(lambda: daemon.client.get("/api/models/acme/w").json()["sha"] == head, "the commit is seen")


def test_stopping_waits_for_a_write(hub, daemon, ann, repo):
    """A write that is under way when the daemon stops is answered, with the truth or with an honest failure."""
    with hub.gate("before_head", path=COMMIT) as gate:
        with ann.stream(COMMIT, "POST", body=SMALL, headers=[("Content-Type", NDJSON)], timeout=30) as stream:
            gate.wait_reached()
            daemon.signal(15)
            daemon.wait_log(r"stopping|draining|shutdown")
            gate.release()
            reply = stream.head()
    assert reply.status == 200 or honest(reply), reply
    daemon.wait()
    daemon.start()
    head = hub.refs("models", "acme/w")["refs/heads/main"]
    assert head != repo
    assert daemon.client.get("/api/models/acme/w").json()["sha"] == head


# What cannot be a commit.

BAD = {
    "not JSON": b"hello\n",
    "HTML": b"<html></html>",
    "a JSON array": b"[1, 2]\n",
    "a number": b"17\n",
    "no key": header() + b'{"value": {"path": "a"}}\n',
    "no value": header() + b'{"key": "file"}\n',
    "no path": header() + line("file", {"content": "YQ=="}),
    "path is a number": header() + line("file", {"path": 5, "content": "YQ=="}),
    "half a line": header() + small("a", "a")[:-20],
    "two objects in a line": header()[:-1] + small("a", "a"),
    "two dots": header() + small("../etc/passwd", "a"),
    "dots inside": header() + small("a/../../b", "a"),
    "escaped dots": header()
    + b'{"key":"file","value":{"path":"\\u002e\\u002e/x","content":"YQ==","encoding":"base64"}}\n',
    "dots in a deletion": header() + line("deletedFile", {"path": "../x"}),
    "dots in a folder": header() + line("deletedFolder", {"path": "a/../"}),
    "dots in a large file": header() + line("lfsFile", {"path": "../x", "algo": "sha256", "oid": "0" * 64, "size": 1}),
    "absolute": header() + small("/etc/passwd", "a"),
    "control byte": header() + line("file", {"path": "a\nb", "content": "YQ=="}),
    "NUL": header() + line("file", {"path": "a\0b", "content": "YQ=="}),
    "empty path": header() + small("", "a"),
    "bad UTF-8": header() + b'{"key":"file","value":{"path":"\xff\xfe","content":"YQ==","encoding":"base64"}}\n',
    "path after the contents": header()
    + line("file", {"content": "YQ==" * 40000, "path": "../x", "encoding": "base64"}),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_a_commit(hub, daemon, ann, repo, bad, streamed):
    """The client is told that its commit is none, and none is made, however far the body got."""
    before, body = hub.state(), BAD[bad]
    if streamed:
        with ann.stream(COMMIT, "POST", headers=[("Transfer-Encoding", "chunked"), ("Content-Type", NDJSON)]) as stream:
            stream.sock.sendall(chunks(*[body[at : at + 70_000] for at in range(0, len(body), 70_000)]))
            reply = stream.head()
            reply.body, reply.complete = stream.rest()
    else:
        reply = ann.post(COMMIT, body, content_type=NDJSON)
    if bad == "path after the contents":
        assert reply.status in (400, 422), reply
    else:
        assert reply.status == 400 and "commit" in reply.json()["error"], reply
        assert not [r for r in asked(hub, COMMIT) if r["status"]], "the Hub was given the whole of it"
    assert hub.state() == before


def test_a_bad_line_late_in_a_large_commit(hub, daemon, ann, repo):
    """A large body that turns out to be no commit is broken off upstream before its end."""
    before = hub.state()
    body = commit_of(small("a.bin", bytes(5_000_000)), small("../b", "b"), small("c.bin", bytes(5_000_000)))
    reply = in_parallel(lambda: commit_sent(ann, body))[0]
    assert reply.status == 400 and "path" in reply.json()["error"], reply
    wait_until(lambda: all(r["done"] for r in asked(hub, COMMIT)), "the request upstream is over")
    assert all(r["peer_closed"] and r["status"] is None for r in asked(hub, COMMIT)) and hub.state() == before


def test_odd_commits_are_the_hubs_to_judge(hub, daemon, ann, repo):
    """Odd names, empty lines, line ends of Windows, unknown keys and lines without an end pass."""
    lines = [small("\u00e4 #1?.txt", "a"), small("a b/c%20d.txt", "b"), b"\n", small("...", "c"), small("a..b", "d")]
    assert ann.post(COMMIT, commit_of(*lines)[:-1], content_type=NDJSON).status == 200
    crlf = commit_of(small("w.txt", "w")).replace(b"\n", b"\r\n")
    assert ann.post(COMMIT, crlf, content_type=NDJSON).status == 200
    assert (
        ann.post(COMMIT, commit_of(line("newKey", {"a": 1})), content_type=NDJSON).json()["error"].startswith('"path"')
    )
    for path in ("\u00e4 #1?.txt", "a b/c%20d.txt", "...", "a..b", "w.txt"):
        assert hub.file("models", "acme/w", path)["size"] == 1


# Many at once.


def test_twenty_commits_at_once(hub, daemon, ann):
    """Commits to different repositories do not wait for each other's answers, and each is made once."""
    for n in range(20):
        hub.create_repo("models", f"acme/r{n}")
    hub.clear_log()
    replies = in_parallel(
        *[lambda n=n: commit(ann, f"acme/r{n}", small("a.txt", str(n)), timeout=30) for n in range(20)]
    )
    assert [r.status for r in replies] == [200] * 20
    assert len(asked(hub, "/commit/main")) == 20
    for n, reply in enumerate(replies):
        assert hub.refs("models", f"acme/r{n}")["refs/heads/main"] == reply.json()["commitOid"]
        assert daemon.client.get(f"/acme/r{n}/resolve/main/a.txt").body == str(n).encode()


def test_commits_to_one_branch_at_once(hub, daemon, ann, repo):
    """Of commits that name the same parent one is made and the others hear 412; the branch is where it left it."""
    replies = in_parallel(
        *[lambda n=n: commit(ann, "acme/w", small(f"{n}.txt", str(n)), parent=repo, timeout=30) for n in range(8)]
    )
    assert sorted(r.status for r in replies) == [200] + [412] * 7
    (made,) = [r.json()["commitOid"] for r in replies if r.status == 200]
    assert hub.refs("models", "acme/w")["refs/heads/main"] == made
    assert daemon.client.get("/api/models/acme/w").json()["sha"] == made


def test_a_write_does_not_wait_for_another(hub, daemon, ann, repo):
    """A commit that the Hub takes long over holds up nobody else, not even readers of its repository."""
    hub.create_repo("models", "acme/other")
    with hub.gate("before_head", path=COMMIT) as gate:
        with ann.stream(COMMIT, "POST", body=SMALL, headers=[("Content-Type", NDJSON)], timeout=30) as stream:
            gate.wait_reached()
            assert commit(ann, "acme/other", small("a.txt", "a")).status == 200
            assert daemon.client.get("/api/models/acme/w").json()["sha"] == repo
            gate.release()
            assert stream.head().status == 200
    head = hub.refs("models", "acme/w")["refs/heads/main"]
    assert daemon.client.get("/api/models/acme/w").json()["sha"] == head
