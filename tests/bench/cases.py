"""The measurements.  Each takes all servers in turn, round after round, so that whatever else the
machine does meets them alike; a round gives one figure per server."""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

from ahead import Ahead
from servers import MIB, PREFETCHES, ahead_name, cpu_seconds, fetch, rss_anon, settle
from writes import Writes

GIB = 1 << 30


class Sizes:
    """How much is measured; everything else is the same in both."""

    def __init__(self, quick):
        self.rounds = 3 if quick else 5
        self.ttfb_rounds = 5 if quick else 15
        self.slow_rounds = 1 if quick else 3
        self.seconds = 0.5 if quick else 1.5
        self.big = 256 * MIB if quick else GIB
        self.herd = 64 * MIB if quick else 256 * MIB
        self.small = 16 * MIB
        # Python moves a tenth of what the others do: it is measured on smaller files.
        self.olah_rounds = 1 if quick else 5
        self.olah_big = 64 * MIB if quick else 256 * MIB
        self.olah_herd = self.small
        self.slow_clients = 1000
        # They must not be done before all rounds are.
        self.ahead = 512 * MIB if quick else GIB

    def files(self):
        return {"big": self.big, "herd": self.herd, "olah-big": self.olah_big,
                **{f"small-{i}": self.small for i in range(self.ttfb_rounds + 1)},
                **{ahead_name(i): self.ahead for i in range(PREFETCHES)}}


class Bench:
    def __init__(self, sizes, load, data, origin, nginx, hubcached, olah):
        self.sizes, self.load_program, self.data = sizes, load, data
        self.origin, self.nginx, self.hubcached, self.olah = origin, nginx, hubcached, olah
        self.results = {}
        self.writes = Writes(self)
        self.ahead = Ahead(self)

    # ---- tools ----

    def load(self, *arguments, server=None):
        pids = server.pids() if server else []
        command = [str(self.load_program), arguments[0]]
        command += [word for pid in pids for word in ("-p", str(pid))]
        command += [str(a) for a in arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"load ended with {done.returncode}")
        result = json.loads(done.stdout)
        bad = {s: n for s, n in result["status"].items() if s not in ("200", "206", "302")}
        if result["errors"] or bad:
            raise RuntimeError(f"{result['errors']} connections failed, statuses {result['status']}")
        return result

    def interleave(self, case, rounds, variants):
        """variants: name -> function that gives one round's figures, or (function, its rounds)."""
        print(f"  {case}", end="", flush=True)
        begin = time.monotonic()
        kept = self.results.setdefault(case, {})
        names = list(variants)
        for i in range(rounds):
            for name in names[i % len(names):] + names[:i % len(names)]:
                run, limit = variants[name] if isinstance(variants[name], tuple) else (variants[name], rounds)
                if i >= limit:
                    continue
                try:
                    figures = run()
                except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as e:
                    figures = {"failed": str(e)}
                kept.setdefault(name, []).append({"round": i, **figures})
            print(".", end="", flush=True)
        print(f" {time.monotonic() - begin:.0f} s", flush=True)

    # ---- answers from memory ----

    def rate(self, server, url, *arguments):
        # olah asks the Hub for each HEAD and range: 64 at once would wait for longer than is measured.
        clients = ("-c", 8, "-w", 1, "-d", 3) if server is self.olah else ("-c", 64, "-d", self.sizes.seconds)

        def run():
            r = self.load("rate", *clients, *arguments, url, server=server)
            if not r["responses"]:
                raise RuntimeError("not one answer")
            return {"value": r["responses"] / r["seconds"], "cpu": r["cpu_s"] / max(r["responses"], 1) * 1e6,
                    "p50_us": r["p50_us"], "p99_us": r["p99_us"]}
        return run

    def with_olah(self, variants, run):
        if self.olah:
            variants["olah"] = (run, self.sizes.olah_rounds)
        return variants

    def hot_get(self):
        n, h = self.nginx, self.hubcached
        variants = {
            "nginx static": self.rate(n, n.url("/static/www/info.json")),
            "nginx cache": self.rate(n, n.url("/cache/hub" + self.origin.info_path())),
            "hubcached": self.rate(h, h.info_url()),
        }
        if self.olah:
            self.with_olah(variants, self.rate(self.olah, self.olah.info_url()))
        self.interleave("hot GET metadata", self.sizes.rounds, variants)

    def hot_head(self):
        n, h = self.nginx, self.hubcached
        variants = {
            "nginx static": self.rate(n, n.url("/static/blob/big"), "-X", "HEAD"),
            "nginx cache": self.rate(n, n.url("/cache/hub" + self.origin.resolve_path("big")), "-X", "HEAD"),
            "hubcached": self.rate(h, h.resolve_url("big"), "-X", "HEAD"),
        }
        if self.olah:
            self.with_olah(variants, self.rate(self.olah, self.olah.resolve_url("olah-big"), "-X", "HEAD"))
        self.interleave("hot HEAD resolve", self.sizes.rounds, variants)

    def hot_range(self):
        n, h = self.nginx, self.hubcached
        some = ("-r", f"16384:{self.sizes.big}")
        variants = {
            "nginx static": self.rate(n, n.url("/static/blob/big"), *some),
            "nginx cache": self.rate(n, n.url("/cache/blob/big"), *some),
            "nginx slice": self.rate(n, n.url("/slice/blob/big"), *some),
            "hubcached": self.rate(h, h.resolve_url("big"), *some),
        }
        if self.olah:
            self.with_olah(variants, self.rate(self.olah, self.olah.resolve_url("olah-big"),
                                               "-r", f"16384:{self.sizes.olah_big}"))
        self.interleave("hot 16 KiB range", self.sizes.rounds, variants)

    # ---- large files ----

    def stream(self, server, url, size, streams, times):
        def run():
            r = self.load("whole", "-c", streams, "-n", times, url, server=server)
            if r["bytes"] != size * streams * times:
                raise RuntimeError(f"{r['bytes']} bytes instead of {size * streams * times}")
            gib = r["bytes"] / GIB
            return {"value": gib / r["seconds"], "cpu": r["cpu_s"] / gib, "client_cpu": r["client_cpu_s"] / gib}
        return run

    def hot_stream(self, streams, times):
        n, h, size = self.nginx, self.hubcached, self.sizes.big
        variants = {
            "nginx static": self.stream(n, n.url("/static/blob/big"), size, streams, times),
            "nginx cache": self.stream(n, n.url("/cache/blob/big"), size, streams, times),
            "nginx slice": self.stream(n, n.url("/slice/blob/big"), size, streams, times),
            "hubcached": self.stream(h, h.resolve_url("big"), size, streams, times),
        }
        if self.olah and streams == 1:
            self.with_olah(variants, self.stream(self.olah, self.olah.resolve_url("olah-big"),
                                                 self.sizes.olah_big, 1, 1))
        self.interleave(f"hot large GET, {streams} stream{'s' if streams > 1 else ''}", self.sizes.rounds, variants)

    def warm_after_empty(self, server):
        """A server that just started with an empty cache has connections and threads again."""
        server.empty()
        fetch(server.resolve_url("small-0"))
        settle(server.pids())

    def cold(self, server, url, size, prepare=None, follow=False):
        """The whole body of a file that is not there; processor time with what is done afterwards."""
        def run():
            if prepare:
                prepare()
            os.sync()
            target = url() if callable(url) else url
            before = server.cpu() if server else 0
            r = self.load("whole", *(["-f"] if follow else []), target)
            if r["bytes"] != size:
                raise RuntimeError(f"{r['bytes']} bytes instead of {size}")
            figures = {"value": r["seconds"] * GIB / size, "ttfb_ms": r["ttfb_ms"][0]}
            if server:
                settle(server.pids())
                figures["cpu"] = (server.cpu() - before) * GIB / size
            return figures
        return run

    @staticmethod
    def sha256():
        """How long the digest alone takes, of bytes in the processor's cache: the floor of a checked fetch."""
        piece = b"x" * (256 << 10)
        sha = hashlib.sha256()
        begin = time.perf_counter()
        for _ in range(1024):
            sha.update(piece)
        return {"value": (time.perf_counter() - begin) * GIB / (1024 * len(piece))}

    def cold_stream(self):
        n, h, o, size = self.nginx, self.hubcached, self.origin, self.sizes.big

        def drop_slices():
            n.empty()
            fetch(n.new_url("slice", "small-0"))

        def drop_cache():
            n.empty()
            fetch(n.new_url("cache", "small-0"))

        variants = {
            "direct": self.cold(None, o.resolve_url("big"), size, follow=True),
            "nginx cache": self.cold(n, lambda: n.new_url("cache", "big"), size, drop_cache),
            "nginx slice": self.cold(n, lambda: n.new_url("slice", "big"), size, drop_slices),
            "hubcached": self.cold(h, h.resolve_url("big"), size, lambda: self.warm_after_empty(h)),
            "SHA-256 alone": self.sha256,
        }
        if self.olah:
            self.with_olah(variants, self.cold(self.olah, self.olah.resolve_url("olah-big"), self.sizes.olah_big,
                                               lambda: self.warm_after_empty(self.olah)))
        self.interleave("cold large GET", self.sizes.rounds, variants)

    # ---- the first byte ----

    def first_byte(self):
        n, h, o = self.nginx, self.hubcached, self.origin
        self.warm_after_empty(h)
        if self.olah:
            self.warm_after_empty(self.olah)
        used = {"hubcached": 0, "olah": 0}

        def once(server, url, *arguments):
            def run():
                r = self.load("whole", *arguments, url())
                if r["bytes"] != self.sizes.small:
                    raise RuntimeError(f"{r['bytes']} bytes instead of {self.sizes.small}")
                if server:
                    settle(server.pids(), 2)
                return {"value": r["ttfb_ms"][0], "all_ms": r["done_ms"][0]}
            return run

        def next_of(server):
            def url():
                used[server.name] += 1
                return server.resolve_url(f"small-{used[server.name]}")
            return url

        variants = {
            "direct": once(None, lambda: o.resolve_url("small-1"), "-f"),
            "nginx cache": once(n, lambda: n.new_url("cache", "small-1")),
            "hubcached": once(h, next_of(h)),
        }
        if self.olah:
            self.with_olah(variants, once(self.olah, next_of(self.olah)))
        self.interleave("cold first byte", self.sizes.ttfb_rounds, variants)

    def herd(self):
        """64 clients, one file that is not there."""
        n, h = self.nginx, self.hubcached

        def crowd(server, name, size, url, prepare):
            def run():
                prepare()
                os.sync()
                sent, before = self.origin.sent(name), server.cpu()
                r = self.load("whole", "-c", 64, url())
                if r["bytes"] != 64 * size:
                    raise RuntimeError(f"{r['bytes']} bytes instead of {64 * size}")
                settle(server.pids())
                return {"value": max(r["ttfb_ms"]) - min(r["ttfb_ms"]), "first_ms": min(r["ttfb_ms"]),
                        "seconds": r["seconds"], "cpu": server.cpu() - before,
                        "upstream": (self.origin.sent(name) - sent) / size}
            return run

        size = self.sizes.herd
        variants = {
            "nginx cache": crowd(n, "herd", size, lambda: n.new_url("cache", "herd"), n.empty),
            "hubcached": crowd(h, "herd", size, lambda: h.resolve_url("herd"), lambda: self.warm_after_empty(h)),
        }
        if self.olah:
            # Once: it takes olah a minute.
            variants["olah"] = (crowd(self.olah, "small-1", self.sizes.olah_herd,
                                      lambda: self.olah.resolve_url("small-1"),
                                      lambda: self.warm_after_empty(self.olah)), 1)
        self.interleave("64 clients, one cold file", self.sizes.rounds, variants)

    # ---- memory ----

    def slow(self):
        """Clients that ask for a large file which is there, read 64 KiB and stop reading."""
        n, h, count = self.nginx, self.hubcached, self.sizes.slow_clients

        def stalled(server, url, *first):
            def run():
                server.stop()
                server.start()
                self.load(*(first or ("whole",)), url)
                settle(server.pids())
                before, kernel = rss_anon(server.pids()), kernel_memory()
                client = subprocess.Popen([str(self.load_program), "slow", "-c", str(count), "-b", "65536", url],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                try:
                    result = json.loads(client.stdout.readline())
                    client.stdout.readline()
                    time.sleep(0.5)
                    figures = {"value": (rss_anon(server.pids()) - before) / MIB * 1000 / count,
                               "kernel_mib": (kernel_memory() - kernel) / MIB * 1000 / count,
                               "base_mib": before / MIB}
                finally:
                    client.communicate("")
                if result["errors"] or result["stalled"] != count:
                    raise RuntimeError(f"{result['stalled']} of {count} clients were served")
                return figures
            return run

        # Bytes that were not read since the start are checked on their way out, through memory.
        variants = {
            "nginx static": stalled(n, n.url("/static/blob/big")),
            "hubcached": stalled(h, h.resolve_url("big")),
            "not read yet": stalled(h, h.resolve_url("big"), "rate", "-c", 1, "-w", 0, "-d", 0.01, "-X", "HEAD"),
        }
        if self.olah:
            variants["olah"] = (stalled(self.olah, self.olah.resolve_url("olah-big")), 1)
        self.interleave("1000 slow clients", min(self.sizes.rounds, 5), variants)

    # ---- the order ----

    def check(self):
        """What is measured below is the right answer."""
        sha = self.data.files["big"]["sha256"]
        status, headers, _ = fetch(self.hubcached.resolve_url("big"), "HEAD")
        if status != 200 or headers.get("X-Linked-Etag", headers.get("ETag", "")).strip('"') != sha:
            raise RuntimeError(f"HEAD of a file: {status} {headers}")
        status, headers, body = fetch(self.hubcached.info_url())
        if status != 200 or len(body) != 2048:
            raise RuntimeError(f"GET of a document: {status} {headers}, {len(body)} bytes")

    def make_hot(self):
        n, h, o = self.nginx, self.hubcached, self.origin
        for url in (n.url("/cache/hub" + o.info_path()), n.url("/cache/hub" + o.resolve_path("big")), h.info_url()):
            fetch(url)
        whole = [n.url("/cache/blob/big"), n.url("/slice/blob/big"), n.url("/static/blob/big"), h.resolve_url("big")]
        if self.olah:
            fetch(self.olah.info_url())
            whole.append(self.olah.resolve_url("olah-big"))
        for url in whole:
            self.load("whole", url)
        for server in filter(None, (n, h, self.olah)):
            settle(server.pids())
        os.sync()

    CASES = ("hot-get", "hot-head", "hot-range", "hot-1", "hot-8", "slow", "first-byte", "cold", "herd",
             "call", "upload", "upload-1g", "ahead")

    def run(self, only):
        self.make_hot()
        self.check()
        steps = {
            "hot-get": self.hot_get,
            "hot-head": self.hot_head,
            "hot-range": self.hot_range,
            "hot-1": lambda: self.hot_stream(1, 4),
            "hot-8": lambda: self.hot_stream(8, 1),
            "slow": self.slow,
            "first-byte": self.first_byte,
            "cold": self.cold_stream,
            "herd": self.herd,
            "call": self.writes.small_calls,
            "upload": lambda: self.writes.large_upload("upload"),
            "upload-1g": lambda: self.writes.large_upload("upload-1g"),
            "ahead": self.ahead.hits,
        }
        for name in self.CASES:
            if not only or name in only:
                steps[name]()


def kernel_memory():
    """Bytes that TCP sockets hold."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[-1]) * 4096
    return 0
