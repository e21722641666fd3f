"""The daemon's admin socket, asked as any program would ask it."""

import http.client
import json
import socket
import threading

from .daemon import wait_until


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Admin:
    """Calls of /-/api/v1/ over the admin socket."""

    def __init__(self, daemon):
        """Name the daemon, which may be restarted meanwhile."""
        self.path = daemon.data_dir / "admin.sock"

    def call(self, method, target, body=None):
        """Return (status, document)."""
        connection = _Connection(self.path, 20)
        data = None if body is None else json.dumps(body)
        connection.request(method, "/-/api/v1/" + target, data, {"Content-Type": "application/json"} if data else {})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, json.loads(text) if text else None

    def get(self, target):
        """Return a document."""
        status, document = self.call("GET", target)
        assert status == 200, (status, document)
        return document

    def events(self, query="", last_id=None):
        """Return a stream of events."""
        connection = _Connection(self.path, 60)
        connection.request("GET", "/-/api/v1/events" + query, headers={"Last-Event-ID": str(last_id)} if last_id else {})
        return Events(connection.getresponse())


class Events(threading.Thread):
    """A stream of server-sent events that is read in the background."""

    def __init__(self, reply):
        """Begin to read the body of a reply, whose lines come from `readline`."""
        super().__init__(daemon=True)
        self.reply, self.status, self.rows, self.comments, self.over = reply, reply.status, [], 0, False
        self.error = None if self.status == 200 else reply.read()
        if self.status == 200:
            self.start()

    def run(self):
        """Collect (id, event, data) until the stream ends."""
        row = {}
        try:
            while line := self.reply.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name and line != b"\n":
                    row[name] = value
                    self.comments += line.startswith(b":")
                elif row:
                    if "data" in row:
                        self.rows.append((int(row["id"]) if "id" in row else None, row["event"], json.loads(row["data"])))
                    row = {}
        except (OSError, http.client.HTTPException, ValueError, AttributeError):  # the last: closed meanwhile
            pass
        self.over = True

    def of(self, kind):
        """Return the data of all events of a kind so far."""
        return [data for _, name, data in self.rows if name == kind]

    def states(self, subject=None):
        """Return the states of the transitions so far."""
        return [d["state"] for d in self.of("transition") if subject in (None, d["subject"])]

    @property
    def last_id(self):
        """Return the id of the last event that had one."""
        return max((n for n, _, _ in self.rows if n), default=None)

    def close(self):
        """Leave."""
        self.reply.close()


def call(daemon, method, target, body=None):
    """Ask the admin API; return (status, document)."""
    return Admin(daemon).call(method, target, body)


class Prefetch:
    """One prefetch of a daemon."""

    def __init__(self, daemon, number):
        """Keep the parts."""
        self.daemon, self.number = daemon, number

    @classmethod
    def add(cls, daemon, **wants):
        """Ask for one."""
        status, document = call(daemon, "POST", "prefetches", wants)
        assert status in (200, 201), (status, document)
        return cls(daemon, document["id"])

    def look(self):
        """Return what is shown of it."""
        status, document = call(self.daemon, "GET", f"prefetches/{self.number}")
        assert status == 200, (status, document)
        return document

    def wait(self, *states, seconds=30):
        """Wait until it is in one of the states; return what is shown then."""

        def there():
            seen = self.look()
            if seen["state"] in states:
                return seen
            assert seen["state"] not in ("done", "failed", "cancelled"), f"it ended otherwise: {seen}"
            return None

        return wait_until(there, f"the prefetch is {' or '.join(states)}", seconds)

    def do(self, action):
        """Pause or resume."""
        status, document = call(self.daemon, "POST", f"prefetches/{self.number}/{action}")
        assert status == 200, (status, document)
        return document

    def cancel(self):
        """Cancel or forget."""
        status, document = call(self.daemon, "DELETE", f"prefetches/{self.number}")
        assert status == 200, (status, document)
        return document
