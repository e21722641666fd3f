"""What goes the other way: uploads, and the small calls around them.  See README.md."""

import json
import os
import threading
import time

from servers import MIB, fetch, rss_anon, settle

GIB = 1 << 30
TOKEN = "Bearer hf_" + "b" * 34
JSON = {"Content-Type": "application/json", "Authorization": TOKEN}
COMMENT = json.dumps({"comment": "The evaluation of this checkpoint is done. " + "x" * 138})
SAMPLE = json.dumps({"files": [{"path": "model.bin", "size": 1 << 30, "sample": "x" * 140}]})


class Memory:
    """The largest anonymous memory of some processes while a block runs."""

    def __init__(self, pids):
        """Watch these; without any, nothing is read."""
        self.pids, self.most, self.over = pids, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        """Look twenty times a second."""
        while True:
            self.most = max(self.most, rss_anon(self.pids))
            if self.over.wait(0.05):
                return

    def __enter__(self):
        """Begin."""
        if self.pids:
            self.thread.start()
        return self

    def __exit__(self, *_):
        """End with one more look."""
        self.over.set()
        if self.pids:
            self.thread.join()


def post(url, body, content_type="application/json"):
    """The document that a POST is answered with."""
    status, _, answer = fetch(url, "POST", {**JSON, "Content-Type": content_type}, body)
    if status != 200:
        raise RuntimeError(f"POST {url}: {status} {answer[:200]}")
    return json.loads(answer)


class Writes:
    """The measurements of a Bench that send more than they receive."""

    def __init__(self, bench):
        """They use its servers, its files and its rounds."""
        self.bench = bench
        self.file = bench.data.files["big"]

    # ---- a large file ----

    def batch(self, base, repo):
        """Where to upload the file, in the words of whoever is asked."""
        wanted = {"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
                  "objects": [{"oid": self.file["sha256"], "size": self.file["size"]}]}
        answer = post(f"{base}/bench/{repo}.git/info/lfs/objects/batch", json.dumps(wanted),
                      "application/vnd.git-lfs+json")
        return answer["objects"][0]["actions"]["upload"]["href"]

    def commit(self, base, repo):
        """Make the uploaded file part of the repository."""
        lines = [{"key": "header", "value": {"summary": "bench", "description": ""}},
                 {"key": "lfsFile", "value": {"path": "model.bin", "algo": "sha256", "oid": self.file["sha256"],
                                              "size": self.file["size"]}}]
        post(f"{base}/api/models/bench/{repo}/commit/main", "".join(json.dumps(line) + "\n" for line in lines),
             "application/x-ndjson")

    def upload(self, server, storage, repo, base, prepare=None, place=None, kept=None):
        """A round: batch, PUT and commit, as a client does them one after the other.

        `place` replaces the address that the batch names; `kept` is how many files hubcached must have
        kept afterwards."""
        bench, size = self.bench, self.file["size"]

        def run():
            if prepare:
                prepare()
            os.sync()
            storage.arrived()
            before = server.cpu() if server else 0
            with Memory(server.pids() if server else []) as memory:
                begin = time.perf_counter()
                href = self.batch(base(), repo)
                batched = time.perf_counter()
                if server is bench.hubcached and not href.startswith(f"{base()}/-/relay/"):
                    raise RuntimeError(f"the upload does not lead through us: {href}")
                r = bench.load("put", "-u", bench.data.folder / "big", place or href, server=server)
                put = time.perf_counter()
                self.commit(base(), repo)
                commit = time.perf_counter() - put
            arrived = storage.arrived()
            if arrived != size:
                raise RuntimeError(f"{arrived} bytes arrived instead of {size}")
            figures = {"value": (batched - begin + r["seconds"] + commit) * GIB / size,
                       "put_s": r["seconds"] * GIB / size, "batch_ms": (batched - begin) * 1000,
                       "commit_ms": commit * 1000}
            if server:
                settle(server.pids())
                figures["cpu"] = (server.cpu() - before) * GIB / size
                figures["rss_mib"] = memory.most / MIB
            if kept is not None and server.metric("hubcached_uploads_kept_total") != kept:
                raise RuntimeError("the upload was not kept" if kept else "the upload was kept")
            return figures
        return run

    def large_upload(self, name):
        """Direct, through nginx, and through hubcached, which keeps the file or does not."""
        bench = self.bench
        n, h, o = bench.nginx, bench.hubcached, bench.origin
        storage, repo = o.storages[name], name

        def afresh(*options):
            def prepare():
                h.extra = options
                bench.warm_after_empty(h)
            return prepare

        variants = {
            "direct": self.upload(None, storage, repo, o.base),
            "nginx proxy": self.upload(n, storage, repo, lambda: n.url("/forward/hub"), None,
                                       n.url(f"/forward/{name}/big")),
            "hubcached": self.upload(h, storage, repo, h.base, afresh(), kept=1),
            "not kept": self.upload(h, storage, repo, h.base, afresh("--cache-keep-uploads=false"), kept=0),
        }
        case, rounds = {"upload": ("large upload", bench.sizes.rounds),
                        "upload-1g": ("large upload at 1 Gbit/s", bench.sizes.slow_rounds)}[name]
        bench.interleave(case, rounds, variants)
        h.extra = ()
        bench.warm_after_empty(h)

    # ---- small calls ----

    def call(self, server, url, *arguments):
        """A round: one client, one call after the other on one connection."""
        def run():
            r = self.bench.load("rate", "-c", 1, "-d", self.bench.sizes.seconds, "-H", f"Authorization: {TOKEN}",
                                *arguments, url, server=server)
            if not r["responses"]:
                raise RuntimeError("not one answer")
            figures = {"value": r["p50_us"] / 1000, "p99_us": r["p99_us"]}
            if server:
                figures["cpu"] = r["cpu_s"] / r["responses"] * 1e6
            return figures
        return run

    def small_calls(self):
        """A read that is never kept, a POST that only asks, and one that changes something."""
        bench = self.bench
        n, h, o = bench.nginx, bench.hubcached, bench.origin
        calls = {
            "forwarded GET": ("/api/whoami-v2",),
            "forwarded POST": ("/api/models/bench/info/preupload/main", "-X", "POST", "-B", SAMPLE),
            "forwarded write": ("/api/models/bench/info/discussions/1/comment", "-X", "POST", "-B", COMMENT),
        }
        for case, (path, *arguments) in calls.items():
            bench.interleave(case, bench.sizes.rounds, {
                "direct": self.call(None, o.base() + path, *arguments),
                "nginx proxy": self.call(n, n.url("/forward/hub" + path), *arguments),
                "hubcached": self.call(h, h.base() + path, *arguments),
            })
