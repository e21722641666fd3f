"""What writes to the Hub look like on the wire: commits as lines of JSON, and what tests ask about them."""

import base64
import hashlib
import json
import threading
from pathlib import Path

NDJSON = "application/x-ndjson"


def line(key, value):
    """Return one line of a commit."""
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


def header(summary="A change", **more):
    """Return the first line of a commit."""
    return line("header", {"summary": summary, "description": "", **more})


def small(path, data):
    """Return the line of a file whose contents stand in it."""
    data = data.encode() if isinstance(data, str) else data
    return line("file", {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"})


def large(path, data):
    """Return the line of a file that has been uploaded before."""
    return line("lfsFile", {"path": path, "algo": "sha256", "oid": hashlib.sha256(data).hexdigest(), "size": len(data)})


def commit_of(*operations, summary="A change", **more):
    """Return the body of a commit."""
    return header(summary, **more) + b"".join(operations)


def commit(client, id, *operations, type="models", rev="main", query="", summary="A change", parent=None, **options):
    """Send a commit and return the reply."""
    body = commit_of(*operations, summary=summary, **({"parentCommit": parent} if parent else {}))
    return client.post(f"/api/{type}/{id}/commit/{rev}{query}", body, content_type=NDJSON, **options)


def asked(hub, path, method=None, origin="hub"):
    """Return the requests whose path has this part, also those that are not over yet."""
    rows = hub.call("log", origin=origin, settle=0)
    return [r for r in rows if path in r["target"] and method in (None, r["method"])]


def memory(daemon, field="VmHWM"):
    """Return a figure of the daemon's memory in bytes."""
    for row in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if row.startswith(field + ":"):
            return int(row.split()[1]) << 10
    raise AssertionError(f"there is no {field}")


def forget_peak(daemon):
    """Let the peak of the daemon's memory begin anew and return what it is now."""
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")
    return memory(daemon)


def in_parallel(*calls):
    """Make calls at the same time and return their results in order; the first exception is raised here."""
    results = [None] * len(calls)

    def run(n):
        """Make one of the calls."""
        try:
            results[n] = calls[n](), None
        except BaseException as e:
            results[n] = None, e

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a call did not come back"
    for _, error in results:
        if error:
            raise error
    return [value for value, _ in results]
