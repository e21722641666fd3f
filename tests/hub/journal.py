"""The journal: one record for every request that reached any origin."""

import base64
import threading
import time


class Record:
    """What is known about one request and the answer to it."""

    def __init__(self, journal, number, origin, request, connection_id):
        """Note the request; the answer is filled in while it is sent."""
        self.journal = journal
        self.number = number
        self.origin = origin
        self.request = request
        self.connection_id = connection_id
        self.status = None
        self.sent = 0
        self.response_headers = []
        self.start = time.monotonic()
        self.end = None
        self.peer_closed = False
        self.held = False
        self.fault_ids = []

    def count(self, n):
        """Add to the number of body bytes handed to the kernel."""
        self.sent += n

    def hold(self):
        """Say that the answer stands still on purpose."""
        with self.journal.condition:
            self.held = True
            self.journal.condition.notify_all()

    def go_on(self):
        """Say that the answer moves again."""
        self.held = False

    def finish(self, peer_closed=False):
        """Close the record."""
        with self.journal.condition:
            self.end = time.monotonic()
            self.peer_closed = peer_closed
            self.journal.condition.notify_all()

    def as_dict(self):
        """Return the record as JSON-ready data."""
        r = self.request
        return {
            "n": self.number, "origin": self.origin, "method": r.method, "path": r.path, "query": r.query,
            "target": r.target, "version": r.version, "headers": r.headers, "raw_headers": r.raw_headers,
            "body_base64": base64.b64encode(r.beginning).decode(), "body_length": r.body_length, "status": self.status,
            "response_headers": self.response_headers, "sent": self.sent, "start": self.start, "end": self.end,
            "done": self.end is not None, "held": self.held, "peer_closed": self.peer_closed,
            "connection": self.connection_id, "faults": self.fault_ids,
        }


class Journal:
    """The list of records and a condition on which tests can wait."""

    def __init__(self):
        """Start empty."""
        self.records = []
        self.condition = threading.Condition()
        self.next = 1
        self.limit = None
        self.connections = {}

    def open(self, origin, request, connection_id):
        """Start a record."""
        with self.condition:
            record = Record(self, self.next, origin, request, connection_id)
            self.next += 1
            self.records.append(record)
            if self.limit and len(self.records) > 2 * self.limit:
                del self.records[:self.limit]
            self.condition.notify_all()
            return record

    def connected(self, origin):
        """Count an accepted connection and return its number within the origin."""
        with self.condition:
            self.connections[origin] = self.connections.get(origin, 0) + 1
            self.condition.notify_all()
            return self.connections[origin]

    def clear(self):
        """Forget everything."""
        with self.condition:
            self.records = []
            self.connections = {}

    def settled(self):
        """Tell whether every request is answered or stands still on purpose."""
        return all(r.end is not None or r.held for r in self.records)

    def snapshot(self, origin=None, settle=1.0):
        """Return all records as data, after waiting a little for answers that are just ending."""
        with self.condition:
            self.condition.wait_for(self.settled, settle)
            return [r.as_dict() for r in self.records if origin in (None, r.origin)]

    def wait(self, predicate, timeout):
        """Wait until `predicate(records)` holds; return whether it did."""
        with self.condition:
            return self.condition.wait_for(lambda: predicate(self.records), timeout)
