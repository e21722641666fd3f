"""A plain HTTP client that shows everything: short bodies, raw bytes, half a reply."""

import hashlib
import json
import os
import re
import socket
from pathlib import Path
from urllib.parse import urljoin, urlsplit

TIMEOUT = 12  # a client of the Hub gives up after 10 s without a byte; nothing may take longer


class Reply:
    """One answer; `complete` tells whether the body arrived whole."""

    def __init__(self, status, reason, headers, body=b"", complete=True):
        """Keep the parts."""
        self.status, self.reason, self.headers, self.body, self.complete = status, reason, headers, body, complete

    def __getitem__(self, name):
        """Return a header's value or None."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def all(self, name):
        """Return all values of a header."""
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def json(self):
        """Return the body as JSON."""
        return json.loads(self.body)

    def sha256(self):
        """Return the digest of the body in hex."""
        return hashlib.sha256(self.body).hexdigest()

    def __repr__(self):
        """Show what a failed assertion needs."""
        return (
            f"<Reply {self.status} {self.headers} {self.body[:300]!r} {len(self.body)} bytes complete={self.complete}>"
        )


class Stream:
    """A connection on which one request was sent; the body is read as the test likes."""

    def __init__(self, origin, method, target, headers=(), body=None, timeout=TIMEOUT, receive_buffer=None):
        """Connect and send."""
        host = "admin" if origin.startswith("unix:") else urlsplit(origin).netloc
        self.sock = socket.socket(socket.AF_UNIX if origin.startswith("unix:") else socket.AF_INET)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self._connect(origin)
        self.method, self.buffer, self.taken = method, b"", 0
        lines = [f"{method} {target} HTTP/1.1"]
        given = {k.lower() for k, _ in headers}
        lines += [] if "host" in given else [f"Host: {host}"]
        lines += [] if "connection" in given else ["Connection: close"]
        lines += [f"{k}: {v}" for k, v in headers]
        if body is not None and "content-length" not in given:
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        self.reply = None

    def _connect(self, origin):
        if not origin.startswith("unix:"):
            name, _, port = urlsplit(origin).netloc.rpartition(":")
            self.sock.connect((name, int(port)))
            return
        path = Path(origin.removeprefix("unix:"))
        folder = os.open(path.parent, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{path.name}")  # for paths of any length
        finally:
            os.close(folder)

    def head(self):
        """Read the head and return the Reply, whose body is still to come."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError(f"closed in the head after {self.buffer!r}")
            self.buffer += data
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status_line, *lines = raw.decode("latin-1").split("\r\n")
        _, status, reason = (status_line + " ").split(" ", 2)
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        self.reply = Reply(int(status), reason.strip(), headers)
        length = self.reply["Content-Length"]
        bodiless = self.method == "HEAD" or self.reply.status in (204, 304) or self.reply.status < 200
        self.left = 0 if bodiless else int(length) if length is not None else None
        self.chunked = not bodiless and "chunked" in (self.reply["Transfer-Encoding"] or "").lower()
        return self.reply

    def read(self, n):
        """Return n bytes of the body, fewer only if it ends; for bodies that are not chunked."""
        out = b""
        n = n if self.left is None else min(n, self.left)
        while len(out) < n:
            data, self.buffer = self.buffer[: n - len(out)], self.buffer[n - len(out) :]
            if not data:
                try:
                    data = self.sock.recv(min(1 << 20, n - len(out)))
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
            out += data
        self.taken += len(out)
        if self.left is not None:
            self.left -= len(out)
        return out

    def peek(self, seconds):
        """Return what more arrives within some time, for showing that nothing does."""
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            return self.read(1)
        except TimeoutError:
            return b""
        finally:
            self.sock.settimeout(before)

    def rest(self):
        """Read to the end and return (bytes, whether the body was whole)."""
        if self.chunked:
            return self._chunks()
        if self.left is not None:
            body = self.read(self.left)
            return body, self.left == 0
        body = b""
        while data := self.read(1 << 20):
            body += data
        return body, True

    def _chunks(self):
        raw = self.buffer
        while data := self._receive():
            raw += data
        out = b""
        while True:
            size, mark, raw = raw.partition(b"\r\n")
            if not mark or not re.fullmatch(rb"[0-9a-fA-F]+", size):
                return out, False
            n = int(size, 16)
            if n == 0:
                return out, True
            out += raw[:n]
            if len(raw) < n + 2:
                return out, False
            raw = raw[n + 2 :]

    def _receive(self):
        try:
            return self.sock.recv(1 << 20)
        except ConnectionResetError:
            return b""

    def close(self):
        """Leave, at whatever point."""
        self.sock.close()

    def __enter__(self):
        """Return the stream."""
        return self

    def __exit__(self, *_):
        """Leave."""
        self.close()


class Client:
    """Asks one origin; a token goes along with every request."""

    def __init__(self, origin, token=None):
        """Name the origin, such as http://127.0.0.1:8090 or unix:/run/hubcached/admin.sock."""
        self.origin, self.token = origin, token

    def stream(self, target, method="GET", token=None, body=None, headers=(), timeout=TIMEOUT, **more):
        """Send a request and return the Stream; keyword arguments such as if_none_match are headers."""
        receive_buffer = more.pop("receive_buffer", None)
        rows = list(headers.items() if isinstance(headers, dict) else headers)
        rows += [(k.replace("_", "-"), v) for k, v in more.items() if v is not None]
        token = token or self.token
        if token:
            rows.append(("Authorization", f"Bearer {token}"))
        return Stream(self.origin, method, target, rows, body, timeout, receive_buffer)

    def request(self, method, target, **options):
        """Send a request and return the whole Reply."""
        with self.stream(target, method, **options) as stream:
            reply = stream.head()
            reply.body, reply.complete = stream.rest()
            return reply

    def get(self, target, **options):
        """GET."""
        return self.request("GET", target, **options)

    def head(self, target, **options):
        """HEAD."""
        return self.request("HEAD", target, **options)

    def post(self, target, body, content_type="application/json", **options):
        """POST."""
        body = json.dumps(body).encode() if not isinstance(body, (bytes, str)) else body
        body = body.encode() if isinstance(body, str) else body
        return self.request("POST", target, body=body, content_type=content_type, **options)

    def follow(self, method, target, **options):
        """Follow redirects as a client does, the token staying with the first host; return all replies."""
        replies, origin, token = [], self.origin, options.pop("token", None) or self.token
        for _ in range(8):
            client = Client(origin, token if origin == self.origin else None)
            reply = client.request(method, target, **options)
            replies.append(reply)
            if reply.status not in (301, 302, 303, 307, 308):
                return replies
            parts = urlsplit(urljoin(origin + target, reply["Location"]))
            origin = f"{parts.scheme}://{parts.netloc}"
            target = parts.path + ("?" + parts.query if parts.query else "")
        raise AssertionError("too many redirects")


def exchange(origin, data, timeout=TIMEOUT, shut=False):
    """Send raw bytes and return all bytes that come back until the peer closes or the time is over."""
    parts = urlsplit(origin)
    with socket.create_connection((parts.hostname, parts.port), timeout) as sock:
        out = b""
        try:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                out += chunk
        except ConnectionError:
            pass
        except TimeoutError:
            return out, False
        return out, True


def statuses(raw):
    """Return the status codes of all replies in raw bytes."""
    return [int(m) for m in re.findall(rb"HTTP/1\.[01] (\d{3}) ", raw)]
