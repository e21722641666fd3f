"""Requests that are wrong, odd or hostile: one reply each, closed where they could hide another, none passed on."""

import socket
import struct
import time

import pytest
from conftest import ANN

from tests.support.daemon import wait_until
from tests.support.http import exchange, statuses

SMUGGLED = "GET /acme/m/resolve/main/SMUGGLED HTTP/1.1\r\nHost: {host}\r\n\r\n"
GET = "GET /-/healthz HTTP/1.1\r\nHost: {host}\r\n"
POST = "POST /api/models/acme/m/paths-info/main HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
CLOSE = "Connection: close\r\n"

# name: (request, acceptable statuses).  An empty set of replies is "closed without a word" and written as 0.
FRAMING = {
    "length and chunked": (POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400}),
    "two lengths": (POST + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{{}}" + SMUGGLED, {400}),
    "two equal lengths": (POST + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}", {400}),
    "a list of lengths": (POST + "Content-Length: 3, 3\r\n\r\n{{}}", {400}),
    "length +3": (POST + "Content-Length: +3\r\n\r\n{{}}x", {400}),
    "length -1": (POST + "Content-Length: -1\r\n\r\n{{}}", {400}),
    "length 0x3": (POST + "Content-Length: 0x3\r\n\r\n{{}}", {400}),
    "length 3abc": (POST + "Content-Length: 3abc\r\n\r\n{{}}", {400}),
    "empty length": (POST + "Content-Length: \r\n\r\n{{}}", {400}),
    "length 2^63": (POST + "Content-Length: 9223372036854775808\r\n\r\n{{}}", {400, 413}),
    "length 2^64-1": (POST + "Content-Length: 18446744073709551615\r\n\r\n{{}}", {400, 413}),
    "length 2^64": (POST + "Content-Length: 18446744073709551616\r\n\r\n{{}}", {400, 413}),
    "gzip, chunked": (POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    "xchunked": (POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400, 501}),
    "identity": (POST + "Transfer-Encoding: identity\r\n\r\n", {400, 501}),
    "coding twice": (POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "space before the colon": (POST + "Content-Length : 5\r\n\r\n" + SMUGGLED, {400}),
    "chunked in 1.0": (POST.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "control byte in a value": (GET + "X: a\x01b\r\n\r\n", {400}),
    "delete byte in a value": (GET + "X: a\x7fb\r\n\r\n", {400}),
    "no colon": (GET + "Nonsense\r\n" + CLOSE + "\r\n", {400, 200}),
    "empty name": (GET + ": x\r\n" + CLOSE + "\r\n", {400, 200}),
    "no host": ("GET /-/healthz HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (GET + "Host: other\r\n\r\n", {400}),
    "host with a path": ("GET /-/healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", {400}),
    "host of somebody else": ("GET /-/healthz HTTP/1.1\r\nHost: evil.example\r\n" + CLOSE + "\r\n", {421}),
    "absolute target": ("GET http://{host}/-/healthz HTTP/1.1\r\nHost: {host}\r\n\r\n", {400}),
    "absolute target elsewhere": ("GET https://evil.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n", {400}),
    "connect": ("CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n", {400, 405}),
    "options of everything": ("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n" + CLOSE + "\r\n", {204, 400, 405}),
    "target without slash": ("GET x HTTP/1.1\r\nHost: {host}\r\n\r\n", {400}),
    "space in the target": ("GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n", {400}),
    "tab in the target": ("GET /a\tb HTTP/1.1\r\nHost: {host}\r\n\r\n", {400}),
    "fragment": ("GET /a#b HTTP/1.1\r\nHost: {host}\r\n\r\n", {400}),
    "version 1.9": ("GET / HTTP/1.9\r\nHost: {host}\r\n\r\n", {400, 505}),
    "version 2.0": ("GET / HTTP/2.0\r\nHost: {host}\r\n\r\n", {400, 505}),
    "h2 preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 501, 505, 0}),
    "small method": ("get / HTTP/1.1\r\nHost: {host}\r\n\r\n", {400, 405, 501}),
    "odd method": ('G=":<> / HTTP/1.1\r\nHost: {host}\r\n\r\n', {400, 405, 501}),
    "trace": ("TRACE / HTTP/1.1\r\nHost: {host}\r\n\r\n", {405, 501}),
    "long target": ("GET /" + "a" * 8300 + " HTTP/1.1\r\nHost: {host}\r\n\r\n", {400, 414, 431}),
    "very long target": ("GET /" + "a" * 40000 + " HTTP/1.1\r\nHost: {host}\r\n\r\n", {400, 413, 414, 431, 0}),
    "long header": (GET + "X: " + "a" * 40000 + "\r\n\r\n", {400, 413, 431, 0}),
    "many headers": (GET + "".join(f"X-{n}: 1\r\n" for n in range(3000)) + "\r\n", {400, 413, 431, 0}),
    "get with a body that is a request": (GET + "Content-Length: 60\r\n\r\n" + SMUGGLED, {400}),
    "expect something": (GET + "Expect: foo\r\n\r\n", {417}),
    "two tokens": (GET + f"Authorization: Bearer {ANN}\r\nAuthorization: Bearer x\r\n\r\n", {400}),
    "two ranges": (GET + "Range: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n", {400}),
    "foreign origin": (GET + "Origin: https://evil.example\r\n" + CLOSE + "\r\n", {403}),
    "cross site": (GET + "Sec-Fetch-Site: cross-site\r\n" + CLOSE + "\r\n", {403}),
    "upgrade to h2c": (GET + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n" + CLOSE + "\r\n", {200}),
    "upgrade to websocket": (GET + "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n" + CLOSE + "\r\n", {200}),
    "TLS hello": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 32 + "\r\n\r\n", {400, 405, 501, 505, 0}),
    "rubbish": ("\xff\xfe" * 500 + "\r\n\r\n", {400, 405, 414, 501, 505, 0}),
}


# libmicrohttpd refuses these itself, with the same reply twice and then the end of the connection.
TWICE = {"a list of lengths", "length +3", "length -1", "length 0x3", "length 3abc", "empty length", "length 2^64"}
# It takes a line that begins with a colon for the end of the head: what follows is the sender's next request.
ENDS_THE_HEAD = {"empty name"}


@pytest.mark.parametrize("name", FRAMING)
def test_framing(world, name):
    """Table A: exactly one reply of the right kind, then the connection is closed and nothing behind it is believed."""
    text, allowed = FRAMING[name]
    host = world.daemon.url[7:]
    world.hub.clear_log()
    raw, closed = exchange(
        world.daemon.url, text.replace("{host}", host).replace("{{", "{").replace("}}", "}").encode("latin-1")
    )
    got = statuses(raw) or [0]
    assert got[0] in allowed, raw[:300]
    if name in TWICE:
        assert set(got) == {got[0]} and got[0] >= 400, got
    elif name in ENDS_THE_HEAD:
        assert got in ([200, 400], [400]), got
    else:
        assert len(got) == 1, f"more than one reply: {got}"
    assert closed, "the connection stayed open"
    assert not [r for r in world.hub.log() if "SMUGGLED" in r["target"]]
    if got[0] >= 400 or got[0] == 0:
        assert world.hub.log() == []


PATHS = {
    "parent folders": ("/../../etc/passwd", {400}),
    "encoded parent": ("/acme/%2e%2e/resolve/main/x", {400}),
    "parent in the path": ("/acme/tiny/resolve/main/../x", {400}),
    "encoded parent in the path": ("/acme/tiny/resolve/main/%2e%2e/x", {400}),
    "slash in the id": ("/acme%2ftiny/resolve/main/config.json", {400, 401, 404}),
    "zero byte": ("/acme/tiny/resolve/main/a%00b", {400}),
    "line end": ("/acme/tiny/resolve/main/a%0d%0ab", {400}),
    "bad escape": ("/acme/tiny/resolve/main/%zz", {400}),
    "cut escape": ("/acme/tiny/resolve/main/a%4", {400}),
    "overlong": ("/acme/tiny/resolve/main/%c0%af", {400}),
    "surrogate": ("/acme/tiny/resolve/main/%ed%a0%80", {400}),
    "not UTF-8": ("/acme/tiny/resolve/main/%ff", {400}),
    "empty segment": ("/acme/tiny/resolve/main//x", {400}),
    "dot segment": ("/acme/tiny/resolve/main/./x", {400}),
    "slash at the end": ("/acme/tiny/resolve/main/config.json/", {400, 404}),
    "id of 97": ("/acme/" + "a" * 97 + "/resolve/main/x", {400}),
    "id with --": ("/acme/a--b/resolve/main/x", {400}),
    "id with ..": ("/acme/a..b/resolve/main/x", {400}),
    "id ends in .git": ("/acme/a.git/resolve/main/x", {400}),
    "id begins with -": ("/acme/-a/resolve/main/x", {400}),
    "id ends in .": ("/acme/a./resolve/main/x", {400}),
    "id of three": ("/a/b/c/resolve/main/x", {400}),
    "revision with spaces": ("/acme/tiny/resolve/a%20b/x", {400, 404}),
    "revision of 300": ("/acme/tiny/resolve/" + "r" * 300 + "/x", {400, 404}),
    "revision with @{": ("/acme/tiny/resolve/a%40%7bb/x", {400, 404}),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths(world, name):
    """Table B: tricks with ids, revisions and paths are refused or answered by the Hub, and never leave the data."""
    target, allowed = PATHS[name]
    for method in ("GET", "HEAD"):
        reply = world.proxied.request(method, target)
        assert reply.status in allowed, reply
        if reply.status == 400:
            assert reply["X-Hubcached-Error"] or reply["Connection"] == "close"
            assert reply["X-Error-Code"] is None


def test_doubly_encoded_names_are_names(world):
    """%252e%252e is a name that the Hub does not know, after one decoding."""
    for target in ("/acme/tiny/resolve/main/%252e%252e", "/acme/tiny/resolve/main/a%252fb"):
        reply = world.proxied.get(target)
        assert (reply.status, reply["X-Error-Code"]) == (404, "EntryNotFound")


def test_many_parameters(world):
    """A thousand query parameters are an odd request, not an accident."""
    query = "&".join(f"p{n}={n}" for n in range(700))
    assert world.proxied.get(f"/api/models/acme/tiny?{query}").status in (200, 400, 414)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"paths": 5}',
        b'{"paths": [5]}',
        b'{"paths": {"a": 1}}',
        b"\xff\xfe",
        b'{"paths": ["../x", "/etc/passwd", "a\\u0000b"]}',
        b"[" * 100000,
        b'{"paths": ["' + b"a" * 5000 + b'"]}',
    ],
)
def test_bodies_of_paths_info(world, body):
    """Bodies that are no question get an error or an empty answer, whatever the Hub would have said."""
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        reply = world.proxied.post("/api/models/acme/tiny/paths-info/main", body, kind)
        assert reply.status in (200, 400, 413, 415), reply
    assert world.proxied.get("/-/healthz").status == 200


def test_a_body_that_is_too_large(world):
    """Over the limit: refused before it is read."""
    began = time.monotonic()
    raw, _ = exchange(
        world.daemon.url, (POST + "Content-Length: 99999999\r\n\r\n").format(host=world.daemon.url[7:]).encode()
    )
    assert statuses(raw) == [413]
    assert time.monotonic() - began < 5


def test_pipelined_requests_are_answered_in_order(world):
    """Two hundred requests sent at once: two hundred answers, in order."""
    host = world.daemon.url[7:]
    one = f"GET /-/healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"
    two = f"GET /-/nothing HTTP/1.1\r\nHost: {host}\r\n\r\n"
    last = f"GET /-/healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    raw, closed = exchange(world.daemon.url, ((one + two) * 100 + last).encode())
    assert closed and statuses(raw) == [200, 404] * 100 + [200]


def test_one_connection_serves_many(world):
    """Keep-alive: files, errors and documents over one connection."""
    host = world.daemon.url[7:]
    lines = [
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
        for method, path in (
            ("GET", "/acme/tiny/resolve/main/one.txt"),
            ("HEAD", "/acme/tiny/resolve/main/model.safetensors"),
            ("GET", "/acme/tiny/resolve/main/nope"),
            ("GET", "/api/models/gpt2/revision/main"),
            ("GET", "/acme/tiny/resolve/main/one.txt"),
        )
    ]
    raw, closed = exchange(world.daemon.url, ("\r\n".join(lines) + "Connection: close\r\n\r\n").encode())
    assert closed and statuses(raw) == [200, 200, 404, 200, 200]


def test_a_client_of_1_0(world):
    """HTTP/1.0 without Host: served, and closed."""
    raw, closed = exchange(world.daemon.url, b"GET /acme/tiny/resolve/main/one.txt HTTP/1.0\r\n\r\n")
    assert closed and statuses(raw) == [200] and raw.endswith(b"\r\n\r\n1")


def test_bare_line_feeds_give_no_privilege(world):
    """Headers that end in LF alone are the sender's own."""
    raw, closed = exchange(
        world.daemon.url, b"GET /acme/secret/resolve/main/config.json HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n"
    )
    assert closed and (statuses(raw) or [400])[0] in (400, 401)


def test_trailers_give_no_privilege(world):
    """An Authorization behind a chunked body does not count."""
    text = (
        "POST /api/models/acme/secret/paths-info/main HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        f'10\r\n{{"paths": ["x"]}}\r\n0\r\nAuthorization: Bearer {ANN}\r\n\r\n'
    )
    raw, _ = exchange(world.daemon.url, text.encode())
    assert statuses(raw) in ([401], [400])


def test_clients_that_vanish(world):
    """Two hundred clients reset right after asking: nothing is left behind, and others are served."""
    port = int(world.daemon.url.rsplit(":", 1)[1])
    for n in range(200):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(f"GET /acme/tiny/resolve/main/x{n % 7} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert world.proxied.get("/acme/tiny/resolve/main/one.txt").status == 200
    wait_until(lambda: world.daemon.metric("connections") <= 2, "all are gone", 15)


def test_a_slow_head_is_cut(hub, make_daemon):
    """A client that dribbles its request is closed at limits.request_head_timeout."""
    daemon = make_daemon({"limits": {"request_head_timeout": "1s"}})
    port = int(daemon.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET /-/healthz HT")
        began = time.monotonic()
        try:
            while time.monotonic() - began < 8:
                sock.settimeout(0.3)
                try:
                    if not sock.recv(100):
                        break
                except TimeoutError:
                    sock.sendall(b"X")
        except ConnectionError:
            pass
        assert time.monotonic() - began < 7


def test_two_clients_never_see_each_others_bytes(hub, daemon):
    """Buffers are not shared: what one was sent is in nobody else's answer."""
    hub.create_repo("models", "acme/hidden", private=True)
    sha = hub.commit("models", "acme/hidden", {"a.txt": b"TOPSECRET " * 1000})
    assert b"TOPSECRET" in daemon.client.get(f"/acme/hidden/resolve/{sha}/a.txt", token=ANN).body
    host = daemon.url[7:]
    for path in ("/-/healthz", "/-/nothing", "/acme/hidden/resolve/main/a.txt", "/api/models/acme/hidden", "/%zz"):
        raw, _ = exchange(daemon.url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert b"TOPSECRET" not in raw
