"""The origins: listening sockets, one thread per connection, and the sending of answers."""

import errno
import socket
import ssl
import threading
import time
import traceback
from email.utils import formatdate

from .faults import Plan, Unread, alter, replace
from .wire import REASONS, Abandon, Connection, PeerGone, Response


class Origin:
    """One listening address with a handler; it can be taken down and brought back on the same port."""

    def __init__(self, name, handler, journal, faults, host="127.0.0.1", port=0):
        """Bind at once, so that the port is known; `start` begins to accept."""
        self.name = name
        self.handler = handler
        self.journal = journal
        self.faults = faults
        self.host = host
        self.socket = self._bind(port)
        self.port = self.socket.getsockname()[1]
        self.connections = set()
        self.lock = threading.Lock()
        self.listening = False
        self.tls = None
        self.directory = None
        self.digests = False

    @property
    def url(self):
        """Return the base URL of this origin, without a final slash."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def use_certificate(self, certificate, key):
        """Speak TLS with this certificate on all connections accepted from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.tls = context

    def _bind(self, port):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, port))
        return sock

    def start(self):
        """Begin to accept connections."""
        with self.lock:
            if self.listening:
                return
            self.socket.listen(4096)
            self.listening = True
            threading.Thread(target=self._accept, args=(self.socket,), daemon=True).start()

    def stop(self, reset=True):
        """Refuse connections from now on; with `reset` also reset those that are open."""
        with self.lock:
            if not self.listening:
                return
            self.listening = False
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.socket.close()
            self.socket = self._rebind()
            open_now = list(self.connections) if reset else []
        for conn in open_now:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _rebind(self):
        end = time.monotonic() + 5
        while True:
            try:
                return self._bind(self.port)
            except OSError as e:
                if e.errno != errno.EADDRINUSE or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
                conn = Connection(sock, peer)
            except OSError as e:
                if e.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(0.05)
                if listener.fileno() < 0 or e.errno == errno.EINVAL:
                    return
                continue
            with self.lock:
                stopped = self.socket is not listener
                if not stopped:
                    self.connections.add(conn)
            if stopped:
                conn.close()
                return
            number = self.journal.connected(self.name) if self.journal else 0
            try:
                threading.Thread(target=self._serve, args=(conn, number), daemon=True).start()
            except RuntimeError:
                conn.close()

    def _serve(self, conn, number):
        try:
            if self.tls:
                conn.sock = self.tls.wrap_socket(conn.sock, server_side=True)
            if self.faults and self.faults.items and self.faults.select(self.name, None, accept=True):
                raise Abandon
            while request := conn.read_request():
                if not self._answer(conn, request, number):
                    break
            conn.finish()
        except (PeerGone, Abandon, ValueError, OSError):
            pass
        finally:
            conn.close()
            with self.lock:
                self.connections.discard(conn)

    def _answer(self, conn, request, number):
        record = self.journal.open(self.name, request, number) if self.journal else _NoRecord()
        gone = False
        try:
            selected = self.faults.select(self.name, request) if self.faults and self.faults.items else []
            record.fault_ids = [f["id"] for f in selected]
            return self._send_answer(conn, request, record, Plan(self.faults, selected))
        except PeerGone:
            gone = True
            raise
        finally:
            request.drop_spool()
            record.finish(gone)

    def _read_body(self, conn, request, record, plan):
        try:
            conn.read_body(request, self.directory, plan.upload_stops(conn, record), self.digests)
        except Unread:
            return False
        return True

    def _send_answer(self, conn, request, record, plan):
        whole = self._read_body(conn, request, record, plan)
        plan.pause(plan.sum("delay_head"), conn, record)
        plan.at("before_head", conn, record)
        raw = plan.first("raw")
        if raw is not None:
            conn.send(raw.encode("latin-1"))
            conn.finish()
            raise Abandon
        if plan.first("interim"):
            conn.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" * plan.first("interim"))
        response = next(filter(None, (replace(f, request) for f in plan.selected)), None)
        if response is None:
            if plan.first("ignore_range"):
                request.headers.pop("range", None)
            if plan.first("force_416"):
                request.headers["range"] = "bytes=9223372036854775806-"
            try:
                response = self.handler(request)
            except Exception:
                traceback.print_exc()
                response = Response(500, [("Content-Type", "application/json")], b'{"error":"Internal Error"}')
        plan.at("after_work", conn, record)
        for fault in plan.selected:
            alter(fault, response)
        keep = request.version != "HTTP/1.0" and request.headers.get("connection", "").lower() != "close"
        if plan.first("close") or (response.length is None and not response.chunked and request.method != "HEAD"):
            keep = False
        if response.length not in ("auto", None, len(response.body)) or not whole:
            keep = False
        self._send_head(conn, request, response, record, plan, keep)
        plan.at("after_head", conn, record)
        plan.pause(plan.sum("delay_body"), conn, record)
        if request.method != "HEAD" and response.status not in (204, 304):
            plan.send_body(conn, response, record)
            if response.chunked:
                conn.send(b"0\r\n\r\n")
        return keep

    def _send_head(self, conn, request, response, record, plan, keep):
        headers = list(response.headers)
        if response.get("Date") is None:
            headers.insert(0, ("Date", formatdate(usegmt=True)))
        if response.chunked:
            if request.method != "HEAD":
                headers.append(("Transfer-Encoding", "chunked"))
        elif response.length is not None and response.status not in (204, 304):
            if response.get("Content-Length") is None:
                length = len(response.body) if response.length == "auto" else response.length
                headers.append(("Content-Length", str(length)))
        headers.append(("Connection", "keep-alive" if keep else "close"))
        reason = response.reason or REASONS.get(response.status, "Unknown")
        head = f"HTTP/1.1 {response.status:03d} {reason}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers)
        raw_head = plan.first("raw_head") or ""
        record.status = response.status
        record.response_headers = headers
        data = head.encode("latin-1", "replace") + raw_head.encode("latin-1") + b"\r\n"
        small = isinstance(response.body, bytes) and len(response.body) <= 16384 and not response.chunked
        if small and not plan.selected and request.method != "HEAD" and response.status not in (204, 304):
            conn.send(data + response.body)
            record.count(len(response.body))
            response.body = b""
        else:
            conn.send(data)


class _NoRecord:
    """Stands in for a journal record at the control origin."""

    sent = 0

    def hold(self):
        """Ignore the event."""

    def go_on(self):
        """Ignore the event."""

    def count(self, n):
        """Ignore the bytes."""

    def finish(self, gone):
        """Ignore the end."""
