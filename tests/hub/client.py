"""The handle by which tests start the Hub for tests, fill it, break it and read its journal.

Nothing here sleeps: whatever has to be waited for is waited for inside the Hub on a condition.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import tempfile
from urllib.parse import urlsplit

INLINE_LIMIT = 1 << 20


class HubControlError(Exception):
    """The Hub for tests refused a command."""


class LocalFile:
    """A file on this machine as the content of a path; without `copy` it must not change afterwards."""

    def __init__(self, path, copy=True, lfs=None):
        """Name the file."""
        self.spec = {"local": os.path.abspath(path), "copy": copy, "lfs": lfs}


class Generated:
    """A pseudo-random file of any size; `generated_bytes(seed, offset, length)` gives its bytes again."""

    def __init__(self, size, seed=0, lfs=None):
        """Choose the size and the seed."""
        self.spec = {"generated": size, "seed": seed, "lfs": lfs}


class Sparse:
    """A file of zeros that takes no disk space, with `marks` = {offset: bytes} set in it."""

    def __init__(self, size, marks=None, lfs=None):
        """Choose the size and the marks."""
        rows = [(o, base64.b64encode(d).decode()) for o, d in (marks or {}).items()]
        self.spec = {"sparse": size, "marks": rows, "lfs": lfs}


class Gate:
    """A place in an answer at which the Hub waits; usable as a context manager that releases it."""

    def __init__(self, hub, id):
        """Remember the fault that holds the gate."""
        self.hub, self.id = hub, id

    def wait_reached(self, count=1, timeout=30):
        """Wait until `count` answers have arrived at the gate; raise AssertionError if they do not."""
        if not self.hub.call("wait_gate", id=self.id, count=count, timeout=timeout):
            raise AssertionError(f"the gate was not reached {count} times in {timeout} s")

    def release(self):
        """Let all answers pass, now and later."""
        self.hub.call("release_gate", id=self.id)

    def __enter__(self):
        """Return the gate."""
        return self

    def __exit__(self, *_):
        """Release the gate."""
        self.release()


class Hub:
    """A running Hub for tests."""

    def __init__(self, process, addresses):
        """Use `Hub.start()` instead."""
        self.process = process
        self.url, self.cdn_url = addresses["hub"], addresses["cdn"]
        self.evil_url, self.control_url = addresses["evil"], addresses["control"]
        self.s3_url, self.cas_url = addresses["s3"], addresses["cas"]
        self.endpoints_url, self.viewer_url = addresses["endpoints"], addresses["viewer"]
        self.pid, self.data = addresses["pid"], addresses["data"]

    @classmethod
    def start(cls, **options):
        """Start the process and wait until it is ready; `hub_port=…`, `cdn_host=…` and the like are options."""
        command = [sys.executable, os.path.dirname(os.path.abspath(__file__)), "--exit-with-stdin"]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Hub for tests ended with status {process.wait()}")
        return cls(process, json.loads(line))

    @classmethod
    def attach(cls, state_file):
        """Return a handle of a Hub that was started by hand with `--state-file`."""
        with open(state_file) as f:
            return cls(None, json.load(f))

    def stop(self):
        """End the process."""
        if self.process:
            self.process.stdin.close()
            self.process.wait(30)
            self.process.stdout.close()
            self.process = None

    def __enter__(self):
        """Return the handle."""
        return self

    def __exit__(self, *_):
        """End the process."""
        self.stop()

    def call(self, command, **arguments):
        """Send a control command and return its result."""
        conn = http.client.HTTPConnection(urlsplit(self.control_url).netloc)
        try:
            conn.request("POST", "/" + command, json.dumps(arguments), {"Content-Type": "application/json"})
            answer = json.loads(conn.getresponse().read())
        finally:
            conn.close()
        if "error" in answer:
            raise HubControlError(answer["error"])
        return answer["result"]

    # Repositories.

    def create_repo(self, type, id, private=False, gated=False, init=True, **extra):
        """Create a repository; return the sha of its first commit (which adds .gitattributes) if `init`."""
        return self.call("create_repo", type=type, id=id, private=private, gated=gated, init=init, **extra)

    def commit(self, type, id, files=None, branch="main", lfs=None, delete=(), message="Update files", author=None,
               date=None, parent=None):
        """Commit files ({path: bytes, str, LocalFile, Generated or Sparse}) and return the new sha.

        `lfs` is None (as the Hub decides), a truth value for all files, or {path: truth value}.
        """
        return self.commit_detail(type, id, files, branch, lfs, delete, message, author, date, parent)["sha"]

    def commit_detail(self, type, id, files=None, branch="main", lfs=None, delete=(), message="Update files",
                      author=None, date=None, parent=None):
        """Like commit, but return {"sha", "files": {path: {oid, etag, size, lfs, sha256}}}."""
        specs, temporary = {}, []
        try:
            for path, content in (files or {}).items():
                spec = self._spec(content, temporary)
                chosen = lfs.get(path) if isinstance(lfs, dict) else lfs
                if chosen is not None:
                    spec["lfs"] = chosen
                specs[path] = spec
            return self.call("commit", type=type, id=id, files=specs, branch=branch, delete=list(delete),
                             message=message, author=author, date=date, parent=parent)
        finally:
            for name in temporary:
                os.unlink(name)

    @staticmethod
    def _spec(content, temporary):
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, (bytes, bytearray)):
            return dict(content.spec)
        if len(content) <= INLINE_LIMIT:
            return {"base64": base64.b64encode(content).decode()}
        with tempfile.NamedTemporaryFile(delete=False) as f:
            f.write(content)
        temporary.append(f.name)
        return {"local": f.name}

    def fill(self, type, id, count, pattern="data/file-%06d.txt", distinct=True, branch="main"):
        """Commit `count` small files at once and return the sha."""
        filler = {"count": count, "pattern": pattern, "distinct": distinct}
        return self.call("commit", type=type, id=id, branch=branch, filler=filler)["sha"]

    def publish_folder(self, type, id, folder, branch="main", copy=True, lfs=None):
        """Commit every file below a folder and return the sha."""
        return self.call("publish_folder", type=type, id=id, folder=os.path.abspath(folder), branch=branch, copy=copy,
                         lfs=lfs)["sha"]

    def file(self, type, id, path, rev="main"):
        """Return {oid, etag, size, lfs, sha256, xet_hash, commit, last_commit} of a file."""
        return self.call("file", type=type, id=id, path=path, rev=rev)

    def set_ref(self, type, id, ref, rev="main"):
        """Point a full ref name (refs/…) at a revision and return the commit."""
        return self.call("set_ref", type=type, id=id, ref=ref, rev=rev)

    def create_branch(self, type, id, branch, rev="main"):
        """Create or move a branch."""
        return self.set_ref(type, id, "refs/heads/" + branch, rev)

    def create_tag(self, type, id, tag, rev="main"):
        """Create or move a tag."""
        return self.set_ref(type, id, "refs/tags/" + tag, rev)

    def create_pr_ref(self, type, id, number, rev="main"):
        """Create or move the ref of a pull request."""
        return self.set_ref(type, id, f"refs/pr/{number}", rev)

    def create_convert_ref(self, type, id, name="parquet", rev="main"):
        """Create or move a conversion ref."""
        return self.set_ref(type, id, f"refs/convert/{name}", rev)

    def delete_ref(self, type, id, ref):
        """Remove a ref by its full name."""
        self.call("delete_ref", type=type, id=id, ref=ref)

    def refs(self, type, id):
        """Return {full ref name: sha}."""
        return self.call("refs", type=type, id=id)

    def rename(self, type, old, new):
        """Rename a repository; the old name redirects."""
        self.call("rename", type=type, old=old, new=new)

    def delete_repo(self, type, id):
        """Delete a repository."""
        self.call("delete_repo", type=type, id=id)

    def set_visibility(self, type, id, **fields):
        """Set private, gated (False, "auto", "manual") or disabled."""
        self.call("update_repo", type=type, id=id, **fields)

    def update_repo(self, type, id, **fields):
        """Set likes, downloads, likers or discussions, or merge `extra` (tags, pipeline_tag, info, …)."""
        self.call("update_repo", type=type, id=id, **fields)

    def distinct_times(self):
        """Let every commit from now on have a second of its own, so that equal contents never have equal ids."""
        self.call("distinct_times")

    # People.

    def add_token(self, token, user, orgs=(), role="read", repos=None):
        """Add an access token and return it; `repos` makes it fine-grained."""
        self.call("add_token", token=token, user=user, orgs=list(orgs), role=role, repos=repos)
        return token

    def revoke_token(self, token):
        """Make a token invalid."""
        self.call("revoke_token", token=token)

    def grant(self, user, type, id):
        """Let a user see a private repository or the files of a gated one."""
        self.call("grant", user=user, type=type, id=id)

    def revoke(self, user, type, id):
        """Take back what grant gave."""
        self.call("revoke", user=user, type=type, id=id)

    def follow(self, user, whom):
        """Let a user follow a user or organization."""
        self.call("follow", user=user, whom=whom)

    def ask_access(self, type, id, user, fields=None):
        """Let a user ask to read a gated repository; return the state of the request."""
        return self.call("ask_access", type=type, id=id, user=user, fields=fields)

    # Streams and state.

    def job_log(self, id, *lines, end=None):
        """Append lines to the log of a job; `end` is the stage in which it then ends, and its streams with it."""
        self.call("job_log", id=id, lines=lines, end=end)

    def job_stage(self, id, stage, message=None):
        """Let a job be in a stage; one that ends it ends its streams too."""
        self.call("job_stage", id=id, stage=stage, message=message)

    def forget_job(self, id):
        """Let a job be gone."""
        self.call("forget_job", id=id)

    def endpoint_state(self, namespace, name, state):
        """Let an endpoint be in a state."""
        self.call("endpoint_state", namespace=namespace, name=name, state=state)

    def space_stage(self, id, stage):
        """Let a Space be in a stage."""
        self.call("space_stage", id=id, stage=stage)

    def space_log(self, id, *lines, which="run", ended=None):
        """Append lines to a log ("run" or "build") of a Space; `ended=False` holds its streams open."""
        self.call("space_log", id=id, lines=lines, which=which, ended=ended)

    # Faults.

    def scheduled_run(self, id):
        """Let a scheduled job come due; return the id of the job that it starts, None if it is suspended."""
        return self.call("scheduled_run", id=id)

    def later(self, seconds, command, **arguments):
        """Perform a control command by itself after so many seconds."""
        self.call("later", seconds=seconds, name=command, arguments=arguments)

    def fault(self, **fault):
        """Add a fault (see the README) for the next match, the next `times`, or always (None); return its id."""
        return self.call("fault", **fault)

    def clear_faults(self, id=None):
        """Remove one fault or all."""
        self.call("clear_faults", id=id)

    def wait_fault(self, id, count=1, timeout=30):
        """Wait until a fault has acted on `count` requests."""
        if not self.call("wait_fault", id=id, count=count, timeout=timeout):
            raise AssertionError(f"fault {id} did not act {count} times in {timeout} s")

    def gate(self, after_bytes=0, times=None, **conditions):
        """Hold matching answers after so many body bytes (or "before_head", "after_head") until released."""
        return Gate(self, self.fault(gate=after_bytes, times=times, **conditions))

    def upload_gate(self, after_bytes=0, times=None, **conditions):
        """Hold matching requests after so many bytes of their bodies have been read, until released."""
        return Gate(self, self.fault(upload_gate=after_bytes, times=times, **conditions))

    def shape(self, origin=None, latency=0, rate=None):
        """Give an origin a latency (seconds before each head) and a rate (body bytes per second and connection)."""
        return self.fault(origin=origin, times=None, delay_head=latency, **({"rate": rate} if rate else {}))

    def down(self, origin="hub", reset=True):
        """Refuse connections at an origin."""
        self.call("down", origin=origin, reset=reset)

    def up(self, origin="hub"):
        """Accept connections again on the same port."""
        self.call("up", origin=origin)

    def certificate(self, origin, certificate, key):
        """Give an origin that was started with TLS another certificate."""
        self.call("certificate", origin=origin, certificate=os.path.abspath(certificate), key=os.path.abspath(key))

    def quirks(self, **changes):
        """Change quirks and return all of them."""
        return self.call("quirks", **changes)

    def state(self):
        """Return the state of everything, without times and ids, so that two Hubs can be compared."""
        return self.call("state")

    # The journal.

    def log(self, origin=None, settle=1.0):
        """Return one dictionary for every request; answers that are just ending are waited for."""
        rows = self.call("log", origin=origin, settle=settle)
        for row in rows:
            row["body"] = base64.b64decode(row.pop("body_base64"))
        return rows

    def limit_log(self, limit):
        """Keep only about the newest `limit` records, for long measurements; None keeps all."""
        self.call("limit_log", limit=limit)

    def clear_log(self):
        """Empty the journal."""
        self.call("clear_log")

    def sent(self, origin=None, path=None):
        """Return the sum of body bytes sent, by origin and by a part of the target."""
        return sum(r["sent"] for r in self.log(origin) if path is None or path in r["target"])

    def connections(self):
        """Return {origin: accepted connections since the log was cleared}."""
        return self.call("connections")

    def wait_requests(self, count=1, timeout=30, **conditions):
        """Wait until `count` requests match origin, method and path (regular expressions); `done` = answered."""
        if not self.call("wait_requests", count=count, timeout=timeout, **conditions):
            raise AssertionError(f"{count} requests with {conditions} did not come in {timeout} s")

    def count(self, path=None, method=None, origin=None):
        """Return how many requests came since the log was cleared; path and method are regular expressions."""
        return self.call("count", origin=origin, method=method, path=path)

    def wait_idle(self, timeout=30):
        """Wait until no request is being answered."""
        if not self.call("wait_idle", timeout=timeout):
            raise AssertionError(f"the Hub is still answering after {timeout} s")
