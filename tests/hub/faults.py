"""Faults: conditions on requests and what shall go wrong when they hold.

A fault is a dictionary.  The conditions are `origin`, `method`, `path` and `header`; `skip` and `times` say for
which of the matching requests it acts.  Every other key is an action; the README lists them.  Several faults may
act on one request.
"""

import base64
import functools
import gzip
import itertools
import re
import threading
import time

from .wire import Abandon, FilePart, PeerGone, Response, body_bytes

CONDITIONS = {"id", "origin", "method", "path", "header", "skip", "times", "hits", "seen"}
ACTIONS = {
    "delay_head", "delay_body", "status", "headers", "body", "body_base64", "reason", "reset", "truncate", "hang",
    "flip", "content_length", "content_length_delta", "rate", "gzip", "content_range", "ignore_range", "force_416",
    "set_headers", "drop_headers", "huge_header", "many_headers", "raw_head", "redirect", "redirect_status",
    "redirect_hops", "redirect_loop", "chunked", "chunked_cut", "json_garbage", "accept_close", "gate", "raw",
    "raw_base64", "interim", "no_length", "close", "upload_reset", "upload_hang", "upload_gate", "upload_answer",
}
NO_STOP = 1 << 62


class Unread(Exception):
    """The request shall be answered although its body has not been read to the end."""


class Gate:
    """A place in an answer where the sender waits for the test."""

    def __init__(self):
        """Start closed and not reached."""
        self.reached = 0
        self.open = False


class Faults:
    """The list of active faults and the gates; all waiting uses one condition variable."""

    def __init__(self):
        """Start with no faults."""
        self.items = []
        self.gates = {}
        self.condition = threading.Condition()
        self.ids = itertools.count(1)

    def add(self, fault):
        """Add a fault and return its id; unknown keys are an error so that a misspelt fault cannot pass."""
        unknown = set(fault) - CONDITIONS - ACTIONS
        if unknown:
            raise ValueError(f"unknown fault keys {sorted(unknown)}")
        with self.condition:
            fault = dict(fault, id=next(self.ids), hits=0, seen=0)
            if "gate" in fault or "upload_gate" in fault:
                self.gates[fault["id"]] = Gate()
            self.items.append(fault)
            return fault["id"]

    def remove(self, id=None):
        """Remove one fault or all of them, and open their gates."""
        with self.condition:
            self.items = [f for f in self.items if id is not None and f["id"] != id]
            for key, gate in self.gates.items():
                if id is None or key == id:
                    gate.open = True
            self.condition.notify_all()

    def hits(self, id):
        """Return how many requests a fault has acted on."""
        with self.condition:
            return next((f["hits"] for f in self.items if f["id"] == id), None)

    def select(self, origin, request, accept=False):
        """Return the faults that act on this request, using up one of their times each."""
        chosen = []
        with self.condition:
            for fault in self.items:
                if bool(fault.get("accept_close")) != accept:
                    continue
                if not self._matches(fault, origin, request):
                    continue
                fault["seen"] += 1
                if fault["seen"] <= fault.get("skip", 0):
                    continue
                times = fault.get("times", 1)
                if times is not None and fault["hits"] >= times:
                    continue
                fault["hits"] += 1
                chosen.append(fault)
            self.condition.notify_all()
        return chosen

    @staticmethod
    def _matches(fault, origin, request):
        if fault.get("origin") not in (None, origin):
            return False
        if request is None:
            return True
        if fault.get("method") and not re.fullmatch(fault["method"], request.method):
            return False
        if fault.get("path") and not re.search(fault["path"], request.target):
            return False
        for name, pattern in (fault.get("header") or {}).items():
            value = request.headers.get(name.lower())
            if pattern is None:
                if value is not None:
                    return False
            elif value is None or not re.search(pattern, value):
                return False
        return True

    def wait_gate(self, id, conn):
        """Stop here until the gate is opened; raise PeerGone if the client leaves first."""
        gate = self.gates[id]
        with self.condition:
            gate.reached += 1
            self.condition.notify_all()
            while not gate.open:
                if conn.gone():
                    raise PeerGone
                self.condition.wait(0.05)

    def release(self, id):
        """Open a gate for good."""
        with self.condition:
            self.gates[id].open = True
            self.condition.notify_all()

    def wait_reached(self, id, count, timeout):
        """Return whether a gate was reached `count` times within the time."""
        with self.condition:
            return self.condition.wait_for(lambda: self.gates[id].reached >= count, timeout)

    def wait_hits(self, id, count, timeout):
        """Return whether a fault acted on `count` requests within the time."""
        def enough():
            return next((f["hits"] for f in self.items if f["id"] == id), 0) >= count
        with self.condition:
            return self.condition.wait_for(enough, timeout)


@functools.cache
def garbage(kind):
    """Return (body, headers) of a hostile JSON document."""
    if kind == "deep":
        return b"[" * 100_000 + b"]" * 100_000, []
    if kind == "deep_object":
        return b'{"a":' * 100_000 + b"1" + b"}" * 100_000, []
    if kind == "bomb":
        return gzip.compress(b'{"id":"' + b"A" * (256 << 20) + b'"}', 6), [("Content-Encoding", "gzip")]
    fixed = {
        "utf8": b'{"id":"\xff\xfe\xc0\xaf\xed\xa0\x80","sha":"\x80"}',
        "truncated": b'{"id":"a/b","sha":"0123',
        "numbers": b'{"size":1e400,"n":-99999999999999999999999999,"siblings":[{"size":1e999}]}',
        "duplicate": b'{"sha":"a","sha":"b","id":"x","id":"y"}',
        "html": b"<html><body>It works!</body></html>",
        "empty": b"",
        "nul": b'{"id":"a\\u0000b","sha":"\\u0000"}',
    }
    return fixed[kind], []


def replace(fault, request):
    """Return a Response that a fault puts in place of the ordinary one, or None."""
    if "redirect" in fault or "redirect_hops" in fault or "redirect_loop" in fault:
        target = fault.get("redirect")
        if target is None:
            hops = int(request.query.rpartition("hop=")[2] or 0) if "hop=" in request.query else 0
            last = fault.get("redirect_hops")
            if last is not None and hops >= last:
                return None
            target = f"{request.path}?hop={hops + 1}" if last is not None else request.target
        return Response(fault.get("redirect_status", 302), [("Location", target)], b"")
    if "json_garbage" in fault:
        body, headers = garbage(fault["json_garbage"])
        return Response(fault.get("status", 200), [("Content-Type", "application/json; charset=utf-8"), *headers], body)
    if "status" in fault:
        body = fault.get("body", "")
        body = base64.b64decode(fault["body_base64"]) if "body_base64" in fault else body.encode()
        return Response(fault["status"], [tuple(h) for h in _pairs(fault.get("headers"))], body)
    return None


def _pairs(headers):
    return list(headers.items()) if isinstance(headers, dict) else list(headers or [])


def alter(fault, response):
    """Change a ready Response as a fault says: headers, lengths, encodings and framing."""
    if fault.get("gzip"):
        data = body_bytes(response.body, 0, len(response.body))
        response.body = gzip.compress(data, 1)
        response.entity_offset = 0
        response.set("Content-Encoding", "gzip")
    for name, value in _pairs(fault.get("set_headers")):
        response.set(name, value)
    for name in fault.get("drop_headers", ()):
        response.drop(name)
        if name.lower() == "content-length":
            response.length = None
    if "content_range" in fault:
        response.set("Content-Range", fault["content_range"])
    if "content_length" in fault:
        response.length = fault["content_length"]
    if "content_length_delta" in fault:
        response.length = len(response.body) + fault["content_length_delta"]
    if fault.get("no_length"):
        response.length = None
    if "huge_header" in fault:
        response.headers.append(("X-Huge", "a" * fault["huge_header"]))
    for n in range(fault.get("many_headers", 0)):
        response.headers.append((f"X-Many-{n}", str(n)))
    if "reason" in fault:
        response.reason = fault["reason"]
    if "chunked_cut" in fault or fault.get("chunked"):
        response.chunked = True


class Plan:
    """What to do at which byte of one answer's body, collected from all faults that act on it."""

    def __init__(self, faults, selected):
        """Sort the stops by position; `selected` are fault dictionaries."""
        self.faults = faults
        self.selected = selected
        self.stops = []
        self.flips = []
        self.rate = None
        for fault in selected:
            for kind in ("reset", "truncate", "hang", "gate", "chunked_cut"):
                if isinstance(fault.get(kind), int) and not isinstance(fault.get(kind), bool):
                    self.stops.append((fault[kind], kind, fault["id"]))
            if "flip" in fault:
                flips = fault["flip"] if isinstance(fault["flip"], list) else [fault["flip"]]
                self.flips += [f if isinstance(f, dict) else {"offset": f} for f in flips]
            if "rate" in fault:
                self.rate = min(fault["rate"], self.rate or fault["rate"])
        self.stops.sort(key=lambda s: s[0])

    def sum(self, name):
        """Return the sum of a delay over all faults."""
        return sum(f.get(name, 0) for f in self.selected)

    def first(self, name):
        """Return the first value of an action, or None."""
        return next((f[name] for f in self.selected if name in f), None)

    def at(self, where, conn, record):
        """Do what is planned for a named place: `before_head`, `after_work` or `after_head`."""
        for fault in self.selected:
            if fault.get("gate") == where:
                record.hold()
                self.faults.wait_gate(fault["id"], conn)
                record.go_on()
            if fault.get("hang") == where:
                self.hang(fault["id"], conn, record)
            if fault.get("reset") == where:
                conn.reset()
                raise Abandon
            if fault.get("truncate") == where:
                conn.finish()
                raise Abandon

    def hang(self, id, conn, record):
        """Send nothing more until the client leaves or the fault is removed."""
        record.hold()
        with self.faults.condition:
            while any(f["id"] == id for f in self.faults.items):
                if conn.gone():
                    raise PeerGone
                self.faults.condition.wait(0.05)
        conn.close()
        raise Abandon

    def pause(self, seconds, conn, record):
        """Wait for a planned time; raise PeerGone if the client leaves first."""
        if not seconds:
            return
        record.hold()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if conn.gone():
                raise PeerGone
            time.sleep(min(left, 0.05))
        record.go_on()

    def upload_stops(self, conn, record):
        """Return a function that does what is planned for the n-th byte of the request's body.

        It returns how many bytes may be read before the next stop.
        """
        stops = sorted((f[kind], kind.removeprefix("upload_"), f["id"]) for f in self.selected
                       for kind in ("upload_reset", "upload_hang", "upload_gate", "upload_answer") if kind in f)

        def pause(n):
            while stops and stops[0][0] <= n:
                stop = stops.pop(0)
                if stop[1] == "answer":
                    raise Unread
                self._stop(stop, conn, record)
            return stops[0][0] - n if stops else NO_STOP
        return pause

    def send_body(self, conn, response, record):
        """Send the body, stopping, damaging and slowing it as planned."""
        if hasattr(response.body, "pieces"):
            self._send_pieces(conn, response.body, record)
            return
        position, total = 0, len(response.body)
        stops = [s for s in self.stops if s[0] <= total]
        fd = None
        if isinstance(response.body, FilePart) and response.body.blob.path and total:
            fd = open(response.body.blob.path, "rb")
        try:
            while True:
                while stops and stops[0][0] <= position:
                    self._stop(stops.pop(0), conn, record)
                if position >= total:
                    return
                end = min([total] + [s[0] for s in stops[:1]])
                self._send(conn, response, fd, position, end - position, record)
                position = end
        finally:
            if fd:
                fd.close()

    def _send_pieces(self, conn, body, record):
        position, stops = 0, list(self.stops)
        for piece in body.pieces(conn, record):
            while piece:
                while stops and stops[0][0] <= position:
                    self._stop(stops.pop(0), conn, record)
                part = piece[:stops[0][0] - position] if stops else piece
                conn.send(b"%x\r\n" % len(part) + part + b"\r\n")
                record.count(len(part))
                position, piece = position + len(part), piece[len(part):]

    def _stop(self, stop, conn, record):
        _, kind, id = stop
        if kind == "gate":
            record.hold()
            self.faults.wait_gate(id, conn)
            record.go_on()
        elif kind == "hang":
            self.hang(id, conn, record)
        elif kind == "reset":
            conn.reset()
            raise Abandon
        else:
            conn.finish()
            raise Abandon

    def _send(self, conn, response, fd, start, length, record):
        plain = not self.flips and not response.chunked
        if self.rate is None and plain and fd:
            conn.sendfile(fd.fileno(), response.body.offset + start, length, record.count)
            return
        if self.rate is None and plain:
            conn.send_counted(body_bytes(response.body, start, length), record.count)
            return
        step = 65536 if self.rate is None else max(1, self.rate // 50)
        if self.rate is not None:
            record.hold()
        due = time.monotonic()
        while length:
            part = min(step, length)
            if part == length:
                record.go_on()
            data = bytearray(body_bytes(response.body, start, part))
            for flip in self.flips:
                index = flip["offset"] - response.entity_offset - start
                if 0 <= index < part:
                    data[index] ^= 1 << flip.get("bit", 0)
            if response.chunked:
                conn.send(b"%x\r\n" % part + bytes(data) + b"\r\n")
                record.count(part)
            else:
                conn.send_counted(data, record.count)
            start, length = start + part, length - part
            if self.rate is not None and length:
                due += part / self.rate
                if (left := due - time.monotonic()) > 0:
                    if conn.gone():
                        raise PeerGone
                    time.sleep(left)
