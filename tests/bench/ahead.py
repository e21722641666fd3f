"""What people wait for while the daemon fetches ahead.  See README.md."""

import json
import subprocess
import time

from servers import MIB, PREFETCHES, ahead_name, fetch, settle


class Ahead:
    """The measurements of a Bench that concern prefetches."""

    def __init__(self, bench):
        """They use its servers, its files and its rounds."""
        self.bench, self.hubcached = bench, bench.hubcached
        self.ids = []

    def command(self, *words):
        """What a command of hubcached prints."""
        h = self.hubcached
        done = subprocess.run([h.binary, "prefetch", *words, "--config", "hubcached.yaml"], cwd=h.folder, text=True,
                              capture_output=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"prefetch {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def jobs(self):
        """How the prefetches are, by id."""
        return {str(p["id"]): p for p in json.loads(self.command("list", "--json"))["prefetches"]}

    def fetched(self):
        """The bytes that each prefetch has so far."""
        jobs = self.jobs()
        return [jobs[i]["bytes_done"] for i in self.ids]

    def wait(self, what, condition):
        """Until a condition holds."""
        end = time.monotonic() + 30
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"30 s without {what}: {self.jobs()}")
            time.sleep(0.05)

    def begin(self):
        """Starts the prefetches, which then pause."""
        for number in range(PREFETCHES):
            self.command(f"bench/{ahead_name(number)}")
        self.ids = list(self.jobs())
        self.wait("a byte of each", lambda: all(self.fetched()))
        self.pause()

    def pause(self):
        """Lets them rest."""
        for i in self.ids:
            self.command("pause", i)
        settle(self.hubcached.pids())

    def resume(self):
        """Lets them go on, until bytes come for each."""
        before = self.fetched()
        for i in self.ids:
            self.command("resume", i)
        self.wait("more bytes of each", lambda: all(b > a for a, b in zip(before, self.fetched(), strict=True)))

    def beside(self, measure):
        """The same figures while all of them fetch."""
        def run():
            self.resume()
            try:
                before, begin = self.fetched(), time.monotonic()
                figures = measure()
                after, seconds = self.fetched(), time.monotonic() - begin
            finally:
                self.pause()
            if any(b <= a for a, b in zip(before, after, strict=True)):
                raise RuntimeError(f"not all prefetches went on meanwhile: {self.jobs()}")
            return {**figures, "ahead_mib": (sum(after) - sum(before)) / MIB / seconds}
        return run

    def latency(self, url, *arguments):
        """How long a hit takes somebody who asks one thing after the other."""
        def run():
            r = self.bench.load("rate", "-c", 1, "-d", self.bench.sizes.seconds, *arguments, url)
            return {"value": r["p50_us"], "p99_us": r["p99_us"]}
        return run

    def hits(self):
        """Hits in memory and on disk, alone and beside the prefetches."""
        h, sizes = self.hubcached, self.bench.sizes
        kept = h.extra
        h.extra = (f"--workers-prefetch-files={PREFETCHES}",)
        h.stop()
        h.start()
        fetch(h.info_url())
        self.bench.load("whole", h.resolve_url("big"))
        try:
            self.begin()
            for case, run in (
                    ("GET metadata", self.latency(h.info_url())),
                    ("16 KiB range", self.latency(h.resolve_url("big"), "-r", f"16384:{sizes.big}"))):
                case = f"{case} beside {PREFETCHES} prefetches"
                self.bench.interleave(case, sizes.rounds, {"alone": run, "hubcached": self.beside(run)})
                self.bench.results[case + ", p99"] = {
                    name: [{"round": r["round"], "value": r["p99_us"]} for r in rounds if "p99_us" in r]
                    for name, rounds in self.bench.results[case].items()}
            for i in self.ids:
                self.command("cancel", i)
        finally:
            h.extra = kept
            h.empty()
            self.bench.make_hot()
