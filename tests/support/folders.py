"""Watched folders: a daemon with a token of the pool, the commands for its folders, and what the Hub has of them."""

import http.client
import json
import os
import socket
import subprocess
from pathlib import Path

from .daemon import ROOT, binary, wait_until
from .http import Client

BOT = "hf_CANARYbot00000000000000000000000000000"
CRASH_MARK = b"HUBCACHED_CRASH_AT"


def crash_binary():
    """Return a program that was built with crash points, or None."""
    for path in (Path(binary()), ROOT / "build/asan/daemon/hubcached"):
        if path.exists() and CRASH_MARK in path.read_bytes():
            return str(path)
    return None


def pool_config(hub, folder, **token):
    """Give the Hub a token and return the configuration by which the daemon has it in its pool."""
    folder.mkdir(parents=True, exist_ok=True)
    hub.add_token(BOT, "bot", orgs=["acme"], role="write")
    secret = folder / "bot.token"
    secret.touch(0o600)
    secret.write_text(BOT + "\n")
    row = {"label": "bot", "file": str(secret), "role": "write", **token}
    pools = folder / "pools.yaml"
    pools.write_text("pools:\n  main:\n    - " + "\n      ".join(f"{k}: {json.dumps(v)}" for k, v in row.items()) + "\n")
    return {"access": {"pools_file": str(pools)}}


class UnixConnection(http.client.HTTPConnection):
    """A connection to the admin socket."""

    def __init__(self, path):
        """Name the socket."""
        super().__init__("localhost", timeout=20)
        self.path = str(path)

    def connect(self):
        """Connect to it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def admin(daemon, method, target, body=None):
    """Send one request to the admin API and return (status, document)."""
    conn = UnixConnection(daemon.data_dir / "admin.sock")
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        conn.request(method, "/-/api/v1/" + target, json.dumps(body) if body is not None else None, headers)
        answer = conn.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        conn.close()


class Folders:
    """The folders of one daemon."""

    def __init__(self, hub, daemon, root):
        """Keep the parts; folders are made below `root`."""
        self.hub, self.daemon, self.root = hub, daemon, Path(root)

    def command(self, *arguments, check=None):
        """Run `hubcached commits ...` and return its result; `check` is the exit status that it must have."""
        done = subprocess.run(
            [self.daemon.program or binary(), "commits", *map(str, arguments), "--config", self.daemon.config_file],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        if check is not None:
            assert done.returncode == check, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def add(self, name, repo="acme/log", every="1d", first=True, **more):
        """Watch a new folder and return its path, after its first round, which makes the repository."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        body = {"name": name, "folder": str(folder), "repository": repo, "schedule": every, **more}
        status, document = admin(self.daemon, "POST", "commits", body)
        assert status == 201, document
        if first:
            assert self.wait(name, 1)["state"] == "done"
        return folder

    def show(self, name):
        """Return what is known of a folder."""
        status, document = admin(self.daemon, "GET", f"commits/{name}")
        assert status == 200, document
        return document

    def wait(self, name, round, seconds=30):
        """Wait for a round and return what it came to."""

        def over():
            last = self.show(name)["last"]
            return last if last and last["round"] >= round else None

        return wait_until(over, f"round {round} of {name}", seconds)

    def begin(self, name):
        """Begin a round and return its number."""
        status, document = admin(self.daemon, "POST", f"commits/{name}/run")
        assert status == 202, document
        return document["round"]

    def run(self, name, state="done", seconds=30):
        """Make a round and return what it came to."""
        last = self.wait(name, self.begin(name), seconds)
        assert last["state"] == state, last
        return last


def notes(last, kind):
    """Return {path: reason} of the files of which a round says something."""
    return {note["path"]: note["reason"] for note in last["notes"] if note["kind"] == kind}


def tree(hub, repo, type="models", rev="main"):
    """Return {path: (size, id)} of a branch as the Hub has it."""
    rows, target = {}, f"/api/{type}/{repo}/tree/{rev}?recursive=true&limit=1000"
    while target:
        reply = Client(hub.url, BOT).get(target)
        assert reply.status == 200, reply
        for row in reply.json():
            if row["type"] == "file":
                rows[row["path"]] = (row["size"], row.get("lfs", row)["oid"])
        link = reply["Link"] or ""
        target = link.split(";")[0].strip("<> ").removeprefix(hub.url) if "next" in link else None
    return rows


def content(hub, repo, path, type="models", rev="main"):
    """Return the bytes of a file as the Hub has it."""
    prefix = "" if type == "models" else type + "/"
    reply = Client(hub.url, BOT).follow("GET", f"/{prefix}{repo}/resolve/{rev}/{path}")[-1]
    assert reply.status == 200, reply
    return reply.body


def history(hub, repo, type="models", rev="main"):
    """Return the commits of a branch, the first first, without the one that made the repository."""
    reply = Client(hub.url, BOT).get(f"/api/{type}/{repo}/commits/{rev}?limit=1000")
    assert reply.status == 200, reply
    return [row for row in reversed(reply.json()) if row["title"] != "initial commit"]
