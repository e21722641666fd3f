"""The control origin: JSON commands by which tests fill the Hub, break it and read its journal."""

import base64
import json
import os
import re
import threading
import traceback

from . import routes_access, routes_jobs, spaces, state
from .store import Token, iso, object_id
from .wire import Response


def matching(records, origin=None, method=None, path=None, done=False):
    """Return how many requests match; `done` leaves out those that are being answered."""
    return sum(
        1 for r in records
        if origin in (None, r.origin) and (method is None or re.fullmatch(method, r.request.method))
        and (path is None or re.search(path, r.request.target)) and (r.end is not None or not done))


class Control:
    """One method for each command; the keyword arguments are the JSON body of the request."""

    def __init__(self, world, journal, faults, origins):
        """Keep what the commands act on."""
        self.world, self.journal, self.faults, self.origins = world, journal, faults, origins
        self.store = world.store

    def handle(self, request):
        """Answer `POST /{command}` with `{"result": …}` or, with status 400, `{"error": …}`."""
        name = request.path.strip("/")
        method = getattr(self, "do_" + name, None)
        try:
            if method is None:
                raise ValueError(f"unknown command {name}")
            result, status = {"result": method(**json.loads(request.body or b"{}"))}, 200
        except (ValueError, KeyError, TypeError, OSError) as e:
            result, status = {"error": f"{type(e).__name__}: {e}", "trace": traceback.format_exc()}, 400
        return Response(status, [("Content-Type", "application/json")], json.dumps(result).encode())

    def do_ping(self):
        """Return nothing; shows that the process answers."""
        return None

    def _blob(self, spec):
        blobs = self.store.blobs
        if "base64" in spec:
            return blobs.add_bytes(base64.b64decode(spec["base64"]))
        if "local" in spec:
            return blobs.add_file(spec["local"], spec.get("copy", True))
        if "generated" in spec:
            return blobs.add_generated(spec["generated"], spec.get("seed", 0))
        return blobs.add_sparse(spec["sparse"], [(o, base64.b64decode(d)) for o, d in spec.get("marks", [])])

    def do_create_repo(self, type, id, **options):
        """Create a repository and return the sha of its first commit, if it has one."""
        repo = self.store.create_repo(type, id, **options)
        return repo.head().sha if repo.head() else None

    def do_commit(self, type, id, files=None, branch="main", delete=(), message="Update files", author=None,
                  date=None, parent=None, filler=None):
        """Add a commit; each file is a body description with an optional `lfs`. Return the commit and its files."""
        repo = self.store.get(type, id)
        entries = {}
        for path, spec in (files or {}).items():
            entries[path] = self.store.entry(path, self._blob(spec), spec.get("lfs"))
        if filler:
            entry = self.store.entry("same", self.store.blobs.add_bytes(b"same\n"), False)
            for n in range(filler["count"]):
                path = filler["pattern"] % n
                if filler.get("distinct", True):
                    entry = self.store.entry(path, self.store.blobs.add_bytes(b"%d\n" % n), False)
                entries[path] = entry
        commit = self.store.commit(repo, branch, entries, list(delete), message, author, date, parent)
        out = {p: {"oid": e.oid, "etag": e.etag, "size": e.blob.size, "lfs": e.lfs, "sha256": e.blob.sha256}
               for p, e in entries.items()} if not filler else {}
        return {"sha": commit.sha, "files": out}

    def do_publish_folder(self, type, id, folder, branch="main", message="Upload folder", copy=True, lfs=None):
        """Commit every file below a local folder."""
        files = {}
        for where, _, names in os.walk(folder):
            for name in names:
                full = os.path.join(where, name)
                path = os.path.relpath(full, folder).replace(os.sep, "/")
                files[path] = {"local": full, "copy": copy, "lfs": (lfs or {}).get(path)}
        return self.do_commit(type, id, files, branch, message=message)

    def do_set_ref(self, type, id, ref, rev):
        """Point a full ref name at a revision and return the commit."""
        return self.store.set_ref(self.store.get(type, id), ref, rev).sha

    def do_delete_ref(self, type, id, ref):
        """Remove a ref."""
        del self.store.get(type, id).refs[ref]

    def do_refs(self, type, id):
        """Return all refs of a repository."""
        return self.store.get(type, id).refs

    def do_file(self, type, id, path, rev="main"):
        """Return the ids and size of one file."""
        commit = self.store.get(type, id).resolve(rev)
        e = commit.files[path]
        return {"oid": e.oid, "etag": e.etag, "size": e.blob.size, "lfs": e.lfs, "sha256": e.blob.sha256,
                "xet_hash": e.blob.xet_hash, "commit": commit.sha, "last_commit": e.commit.sha}

    def do_rename(self, type, old, new):
        """Rename a repository."""
        self.store.rename(type, old, new)

    def do_delete_repo(self, type, id):
        """Delete a repository."""
        self.store.delete_repo(type, id)

    def do_update_repo(self, type, id, **fields):
        """Set private, gated, disabled, likes, downloads, likers or discussions; `extra` is merged."""
        repo = self.store.get(type, id)
        repo.extra.update(fields.pop("extra", {}))
        for name, value in fields.items():
            if name not in ("private", "gated", "disabled", "likes", "downloads", "likers", "discussions"):
                raise ValueError(f"unknown field {name}")
            setattr(repo, name, value)

    def do_add_discussion(self, type, id, title, pull_request=False, author="someone", status="open", comment=""):
        """Add a discussion or pull request and return its number."""
        repo = self.store.get(type, id)
        num = len(repo.discussions) + 1
        when = iso(1700000000 + num)
        repo.discussions.append({
            "num": num, "title": title, "status": status, "isPullRequest": pull_request, "createdAt": when,
            "author": {"name": author, "type": "user"}, "repo": {"name": id, "type": type[:-1]}, "numComments": 1,
            "events": [{"id": object_id(f"{id}:{num}"), "type": "comment", "createdAt": when,
                        "author": {"name": author, "type": "user"},
                        "data": {"edited": False, "hidden": False, "latest": {"raw": comment, "html": comment}}}],
            "changes": {"base": "refs/heads/main"}, "filesWithConflicts": [], "diff": ""})
        if pull_request:
            self.store.set_ref(repo, f"refs/pr/{num}", "main")
        return num

    def do_add_collection(self, owner, title, items, private=False):
        """Add a collection of `{id, type}` items and return its slug."""
        slug = f"{owner}/{re.sub(r'[^a-z0-9]+', '-', title.lower())}-{object_id(owner + title)}"
        rows = [{"_id": object_id(f"{slug}:{n}"), "position": n, "type": i["type"], "id": i["id"],
                 "repoType": i["type"]} for n, i in enumerate(items)]
        self.store.collections.append({
            "slug": slug, "title": title, "description": "", "owner": {"name": owner, "type": "user"}, "items": rows,
            "lastUpdated": iso(1700000000), "position": 0, "private": private, "theme": "blue", "upvotes": 0,
            "gating": False, "shareUrl": ""})
        return slug

    def do_distinct_times(self):
        """Let every commit from now on have a second of its own, so that equal contents never have equal ids."""
        self.store.latest = 0

    def do_add_paper(self, id, title, **fields):
        """Add a paper."""
        self.store.papers.append({"id": id, "title": title, "summary": "", "authors": [], "upvotes": 0,
                                  "publishedAt": iso(1700000000), **fields})

    def do_follow(self, user, whom):
        """Let a user follow a user or organization."""
        self.store.follows.add((user, whom))

    def do_ask_access(self, type, id, user, fields=None):
        """Let a user ask to read a gated repository; return the state of the request."""
        with self.store.lock:
            return routes_access.ask(self.store.get(type, id), user, fields)["status"]

    def do_job_log(self, id, lines=(), end=None):
        """Append lines to the log of a job; `end` is the stage in which it then ends."""
        row = self.store.jobs[id]
        row["logs"].add(*[spaces.line(text) for text in lines])
        if end:
            routes_jobs.finish(row, end)

    def do_job_stage(self, id, stage, message=None):
        """Let a job be in a stage; one that ends it ends its streams."""
        row = self.store.jobs[id]
        if stage in routes_jobs.ENDED:
            routes_jobs.finish(row, stage, message)
        else:
            row["doc"]["status"].update(stage=stage, message=message)

    def do_forget_job(self, id):
        """Let a job be gone."""
        del self.store.jobs[id]

    def do_endpoint_state(self, namespace, name, state):
        """Let an endpoint be in a state."""
        status = self.store.endpoints[(namespace, name)]["status"]
        status.update(state=state, message=f"Endpoint is {state}")

    def do_space_stage(self, id, stage):
        """Let a Space be in a stage."""
        spaces.state(self.store.get("spaces", id))["stage"] = stage

    def do_space_log(self, id, lines=(), which="run", ended=None):
        """Append lines to a log of a Space; `ended` says whether its streams end after the last line."""
        feed = spaces.state(self.store.get("spaces", id))[which]
        feed.add(*[spaces.line(text) for text in lines])
        if ended is not None:
            feed.end(ended)

    def do_scheduled_run(self, id):
        """Start the job of a scheduled job as its schedule does; return its id, or None if it is suspended."""
        row = self.store.scheduled_jobs[id]
        return None if row["doc"]["suspend"] else routes_jobs.run_scheduled(self.world, row)["id"]

    def do_later(self, seconds, name, arguments):
        """Perform another command after so many seconds."""
        method = getattr(self, "do_" + name)
        threading.Timer(seconds, lambda: method(**arguments)).start()

    def do_add_token(self, token, user, orgs=(), role="read", repos=None):
        """Add an access token; `repos` makes it fine-grained."""
        self.store.tokens[token] = Token(token, user, list(orgs), role, repos)

    def do_revoke_token(self, token):
        """Make a token invalid."""
        self.store.tokens[token].revoked = True

    def do_add_org(self, name, members=(), private=False):
        """Add an organization with members; `private` makes its new repositories private unless said otherwise."""
        self.store.orgs[name] = list(members)
        (self.store.private_orgs.add if private else self.store.private_orgs.discard)(name)

    def do_set_fullname(self, name, fullname):
        """Give a user or an organization the name that whoami shows."""
        self.store.fullnames[name] = fullname

    def do_grant(self, user, type, id):
        """Let a user see a private or gated repository."""
        self.store.get(type, id).grants.add(user)

    def do_revoke(self, user, type, id):
        """Take back what grant gave."""
        self.store.get(type, id).grants.discard(user)

    def do_state(self):
        """Return the state of everything, without times and ids, so that two Hubs can be compared."""
        return state.snapshot(self.store)

    def do_quirks(self, **changes):
        """Change quirks and return all of them."""
        for name in changes:
            if name not in self.world.quirks:
                raise ValueError(f"unknown quirk {name}")
        self.world.quirks.update(changes)
        self.world.used.clear()
        return self.world.quirks

    def do_fault(self, **fault):
        """Add a fault and return its id."""
        return self.faults.add(fault)

    def do_clear_faults(self, id=None):
        """Remove one fault or all."""
        self.faults.remove(id)

    def do_fault_hits(self, id):
        """Return how many requests a fault has acted on."""
        return self.faults.hits(id)

    def do_wait_fault(self, id, count=1, timeout=30):
        """Wait until a fault has acted on `count` requests."""
        return self.faults.wait_hits(id, count, timeout)

    def do_wait_gate(self, id, count=1, timeout=30):
        """Wait until a gate has been reached `count` times."""
        return self.faults.wait_reached(id, count, timeout)

    def do_release_gate(self, id):
        """Open a gate."""
        self.faults.release(id)

    def do_down(self, origin="hub", reset=True):
        """Stop listening; connections are refused until `up`."""
        self.origins[origin].stop(reset)

    def do_up(self, origin="hub"):
        """Listen again on the same port."""
        self.origins[origin].start()

    def do_certificate(self, origin, certificate, key):
        """Give an origin that speaks TLS another certificate."""
        self.origins[origin].use_certificate(certificate, key)

    def do_log(self, origin=None, settle=1.0):
        """Return the journal."""
        return self.journal.snapshot(origin, settle)

    def do_limit_log(self, limit):
        """Keep only about the newest `limit` records; None keeps all."""
        self.journal.limit = limit

    def do_clear_log(self):
        """Empty the journal."""
        self.journal.clear()

    def do_connections(self):
        """Return how many connections each origin has accepted since the log was cleared."""
        return self.journal.connections

    def do_wait_requests(self, count=1, origin=None, method=None, path=None, done=False, timeout=30):
        """Wait until `count` requests match; return whether they came."""
        return self.journal.wait(lambda records: matching(records, origin, method, path, done) >= count, timeout)

    def do_count(self, origin=None, method=None, path=None):
        """Return how many requests match."""
        with self.journal.condition:
            return matching(self.journal.records, origin, method, path)

    def do_wait_idle(self, timeout=30):
        """Wait until no request is being answered; return whether that came."""
        return self.journal.wait(lambda records: all(r.end is not None for r in records), timeout)
