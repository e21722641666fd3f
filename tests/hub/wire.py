"""HTTP/1.1 on sockets: reading requests, sending responses, and doing wrong things exactly when told to.

The standard library's HTTP server hides the socket too well for a test server that must cut, hold, slow down and
damage answers at given bytes, so requests are parsed and responses are written here.
"""

import fcntl
import hashlib
import os
import select
import socket
import ssl
import struct
import tempfile
import termios
import time
from dataclasses import dataclass, field

MAX_HEAD = 4 << 20
BODY_IN_MEMORY = 1 << 20
PORTION = 256 << 10
REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 302: "Found",
    303: "See Other", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
    411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large", 416: "Range Not Satisfiable",
    422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}


class PeerGone(Exception):
    """The client has closed or reset the connection."""


class Abandon(Exception):
    """The connection has been ended on purpose and must not be used again."""


@dataclass(eq=False)
class Request:
    """One parsed request; `target` is the raw request target.

    A body of more than a megabyte is kept in the file `spool`, and `beginning` is its first megabyte.
    """

    method: str
    target: str
    version: str
    raw_headers: list
    headers: dict = field(default_factory=dict)
    peer: tuple = None
    beginning: bytes = b""
    body_length: int = 0
    spool: str = None
    sha256: str = None

    def __post_init__(self):
        """Index the headers by lower-case name, joining repeated ones."""
        for name, value in self.raw_headers:
            low = name.lower()
            self.headers[low] = f"{self.headers[low]}, {value}" if low in self.headers else value
        self.path, _, self.query = self.target.partition("?")

    @property
    def body(self):
        """Return the whole body, which is read from its file if it is large."""
        if self.spool is None:
            return self.beginning
        with open(self.spool, "rb") as f:
            return f.read()

    def take_spool(self):
        """Return the file of a large body or None; the file then belongs to the caller."""
        path, self.spool = self.spool, None
        return path

    def drop_spool(self):
        """Remove the file of a large body that nobody has taken."""
        if path := self.take_spool():
            os.unlink(path)


@dataclass(eq=False)
class Response:
    """One answer; `body` is bytes or a FilePart, `chunked` selects chunked framing."""

    status: int = 200
    headers: list = field(default_factory=list)
    body: object = b""
    chunked: bool = False
    length: object = "auto"
    entity_offset: int = 0
    reason: str = None

    def get(self, name):
        """Return the value of a header or None."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def set(self, name, value):
        """Replace a header, or append it."""
        self.drop(name)
        self.headers.append((name, value))

    def drop(self, name):
        """Remove every header of this name."""
        self.headers = [(k, v) for k, v in self.headers if k.lower() != name.lower()]


@dataclass(eq=False)
class FilePart:
    """A slice of a blob, used as a body."""

    blob: object
    offset: int
    size: int

    def __len__(self):
        """Return the number of bytes in the slice."""
        return self.size


def body_bytes(body, start, length):
    """Return a part of a body as bytes."""
    if isinstance(body, FilePart):
        return body.blob.read(body.offset + start, length)
    return body[start:start + length]


class _Sink:
    """Takes the body of a request: the beginning into memory, and everything into a file once it is large."""

    def __init__(self, request, directory, digest):
        """Start empty."""
        self.request, self.directory, self.file = request, directory, None
        self.digest = hashlib.sha256() if digest else None

    def write(self, data):
        """Add bytes."""
        request = self.request
        if self.digest:
            self.digest.update(data)
        room = BODY_IN_MEMORY - len(request.beginning)
        if self.file is None and len(data) > room:
            fd, request.spool = tempfile.mkstemp(prefix="request-", dir=self.directory)
            self.file = os.fdopen(fd, "wb")
            self.file.write(request.beginning)
        if self.file:
            self.file.write(data)
        if room:
            request.beginning += data[:room]
        request.body_length += len(data)

    def close(self):
        """Finish the file and the digest."""
        if self.file:
            self.file.close()
        if self.digest:
            self.request.sha256 = self.digest.hexdigest()


class Connection:
    """A client connection with its own read buffer."""

    def __init__(self, sock, peer):
        """Take over an accepted socket."""
        self.sock = sock
        self.peer = peer
        self.buffer = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _fill(self):
        try:
            data = self.sock.recv(262144)
        except OSError:
            data = b""
        if not data:
            raise PeerGone
        self.buffer += data

    def _line(self):
        while b"\n" not in self.buffer:
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def _some(self, most):
        """Return between 1 and `most` bytes, those that are there first."""
        if not self.buffer:
            try:
                data = self.sock.recv(min(most, PORTION))
            except OSError:
                data = b""
            if not data:
                raise PeerGone
            return data
        part, self.buffer = self.buffer[:most], self.buffer[most:]
        return part

    def read_request(self):
        """Return the head of the next request, or None if the client closed between requests.

        The body is read by `read_body`, so that a test can see a request whose body is still under way.
        """
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if len(self.buffer) > MAX_HEAD:
                raise PeerGone
            try:
                self._fill()
            except PeerGone:
                return None
        head, self.buffer = self.buffer[:end], self.buffer[end + 4:]
        lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3:
            raise PeerGone
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers.append((name, value.strip(" \t")))
        return Request(parts[0], parts[1], parts[2], headers, peer=self.peer)

    def read_body(self, request, directory, pause, digest=False):
        """Read the body of a request; `pause(n)` is called when exactly n bytes have been read and says how many
        bytes may follow before it must be called again. With `digest` the sha256 is computed on the way.
        """
        chunked = "chunked" in request.headers.get("transfer-encoding", "").lower()
        length = int(request.headers.get("content-length", "0") or 0)
        allowed = pause(0)
        if not chunked and not length:
            return
        if request.headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        sink = _Sink(request, directory, digest)
        try:
            left = int(self._line().split(b";")[0], 16) if chunked else length
            while left:
                data = self._some(min(left, allowed))
                sink.write(data)
                left, allowed = left - len(data), allowed - len(data)
                if not allowed:
                    allowed = pause(request.body_length)
                if chunked and not left:
                    self._line()
                    left = int(self._line().split(b";")[0], 16)
            while chunked and self._line():
                pass
        finally:
            sink.close()

    def send(self, data):
        """Send all bytes and return their number; raise PeerGone if the client left."""
        try:
            self.sock.sendall(data)
        except OSError:
            raise PeerGone from None
        return len(data)

    def send_counted(self, data, count):
        """Send bytes, reporting every accepted part to `count`."""
        view = memoryview(data)
        while view:
            try:
                n = self.sock.send(view)
            except OSError:
                raise PeerGone from None
            count(n)
            view = view[n:]

    def sendfile(self, fd, offset, length, count):
        """Send a part of an open file, reporting every accepted part to `count`."""
        if isinstance(self.sock, ssl.SSLSocket):
            while length:
                data = os.pread(fd, min(length, 1 << 20), offset)
                self.send_counted(data, count)
                offset, length = offset + len(data), length - len(data)
        while length:
            try:
                n = os.sendfile(self.sock.fileno(), fd, offset, min(length, 8 << 20))
            except OSError:
                raise PeerGone from None
            if n == 0:
                raise PeerGone
            count(n)
            offset, length = offset + n, length - n

    def gone(self):
        """Tell whether the client has closed its side or reset the connection."""
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def drain(self, seconds=2.0):
        """Wait until the client's kernel has acknowledged all sent bytes, at most for some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            queued = struct.unpack("i", fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
            if not queued:
                return
            time.sleep(0.002)

    def reset(self):
        """End the connection with a TCP reset, after the sent bytes have arrived."""
        try:
            self.drain()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.close()

    def close(self):
        """Close the socket."""
        try:
            self.sock.close()
        except OSError:
            pass

    def finish(self):
        """Close in the ordinary way: send a FIN and discard what the client still sends for a moment."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(1.0)
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.close()
