"""Every method of HfApi, and what is built on it, straight at a Hub and through the daemon: nobody can tell which.

The rows are in `rows/`, one module for each section of the method table. All rows of a section run in one
interpreter, once at a Hub of their own and once through a daemon in front of another one; each test compares what one
row came to.
"""

import json
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rows
from conftest import SECRETS

from tests.hub import Hub
from tests.support import clients
from tests.support.daemon import Daemon

SECONDS = 240
# Origins that get tokens because the client means them to have one.
TRUSTED = ("hub", "endpoints", "viewer")
NORMAL = (
    (re.compile(r"\bscript-[0-9a-f]{8}\b"), "script-RANDOM"),
    (re.compile(r"\b\d{8}T\d{6}-[0-9a-f]{6}\b"), "RANDOM"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\(Request ID: [^)]*\)"), ""),
    (re.compile(r"/tmp/rows-[a-z0-9_]+(/tmp[a-z0-9_]+)?"), "FOLDER"),
)
IDS = re.compile(r"\b([0-9a-f]{40}|[0-9a-f]{24})\b")
# In the state the ids of contents stand by themselves, those of commits only in messages and addresses.
STATE_IDS = re.compile(r"(?<=[(/])[0-9a-f]{40}\b")


class Run:
    """The rows of one section in one mode."""

    def __init__(self, hub, endpoint, beside):
        """Name the Hub, the address that clients are given, and the addresses of the hosts beside the Hub."""
        self.hub, self.endpoint, self.beside = hub, endpoint, beside
        self.outcomes, self.methods, self.state, self.problems = {}, [], None, []

    def client(self, section, version, home, **more):
        """Run the client and keep what its rows came to."""
        home.mkdir(parents=True)
        env = clients.environment(
            self.endpoint,
            home,
            rows.ANN,
            HF_HUB_DISABLE_XET="1",
            PYTHONPATH=str(Path(__file__).parent),
            ROWS_CONTROL=self.hub.control_url,
            ROWS_ENDPOINTS=self.beside["endpoints"],
            ROWS_VIEWER=self.beside["viewer"],
            COLUMNS="200",
            **more,
        )
        with open(home / "out", "w+b") as out, open(home / "err", "w+b") as err:
            process = subprocess.Popen(
                [clients.venv(version), "-m", "rows.client", section],
                env=env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            timer = threading.Timer(SECONDS, process.kill)
            timer.start()
            status = process.wait()
            timer.cancel()
        begun = None
        for line in (home / "out").read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "BEGIN":
                begun = rest
            elif word == "ROW":
                name, outcome = json.loads(rest)
                self.outcomes[name], begun = self.normal(outcome, home), None
            elif word == "METHODS":
                self.methods = json.loads(rest)
        if begun:
            self.outcomes[begun] = {"failed": f"the client ended with status {status} or did not end in {SECONDS} s"}
        if status != 0 or not self.methods:
            self.problems.append(f"the client ended with {status}\n{(home / 'err').read_text()[-4000:]}")

    def normal(self, outcome, home, ids=IDS):
        """Return what was found without what two Hubs cannot have in common."""
        text = json.dumps(outcome, ensure_ascii=False)
        for url, word in (
            (self.beside["endpoints"], "ENDPOINTS"),
            (self.beside["viewer"], "VIEWER"),
            (self.hub.endpoints_url, "ENDPOINTS"),
            (self.hub.viewer_url, "VIEWER"),
            (self.endpoint, "HUB"),
            (self.hub.url, "HUB"),
            (str(home), "HOME"),
        ):
            text = text.replace(url, word)
        for pattern, word in NORMAL:
            text = pattern.sub(word, text)
        known = {}
        return json.loads(ids.sub(lambda m: known.setdefault(m.group(), f"ID {len(known)}"), text))


class Batch:
    """The rows of one section with one version of the client, in both modes."""

    def __init__(self, section, version, directory):
        """Run them."""
        self.directory = directory
        with ThreadPoolExecutor(2) as pool:
            direct, proxied = pool.submit(self.straight, section, version), pool.submit(self.through, section, version)
            self.direct, self.proxied = direct.result(), proxied.result()

    def straight(self, section, version):
        """Run at the Hub itself."""
        with Hub.start() as hub:
            hub.quirks(xet=False)
            hub.distinct_times()
            rows.people(hub)
            rows.section(section).prepare(hub)
            run = Run(hub, hub.url, {"endpoints": hub.endpoints_url, "viewer": hub.viewer_url})
            run.client(section, version, self.directory / "direct", ROWS_AS_OVER_HTTPS="1")
            run.state = run.normal(hub.state(), self.directory, STATE_IDS)
            return run

    def through(self, section, version):
        """Run through a daemon."""
        with Hub.start() as hub:
            hub.quirks(xet=False)
            hub.distinct_times()
            rows.people(hub)
            rows.section(section).prepare(hub)
            daemon = Daemon(hub, self.directory / "daemon").start()
            run = Run(hub, daemon.url, {n: f"{daemon.url}/-/{n}" for n in ("endpoints", "viewer")})
            run.client(section, version, self.directory / "proxied")
            run.state = run.normal(hub.state(), self.directory, STATE_IDS)
            for row in hub.log():
                text = row["target"] + str(row["raw_headers"])
                if row["origin"] not in TRUSTED and "CANARY" in text or row["origin"] == "evil":
                    run.problems.append(f"a token or a request went to {row['origin']}: {row['target']}")
            run.problems += daemon.finish(SECRETS)
            return run


@pytest.fixture(scope="module")
def batches():
    """Keep the sections that have run."""
    return {}


@pytest.fixture
def batch(batches, section, version, tmp_path_factory):
    """Give the section with this version of the client; the first test that wants it runs it."""
    clients.venv(version)
    key = section, version
    if key not in batches:
        batches[key] = Batch(section, version, tmp_path_factory.mktemp(f"rows-{section}"))
    return batches[key]


def cases():
    """Return every row with every version that has it."""
    for section in rows.SECTIONS:
        for version, major in rows.VERSIONS.items():
            for row in rows.section(section).rows:
                if row.fits(major):
                    yield pytest.param(section, version, row.name, id=f"{section}-{version}-{row.name}")


def differences(direct, proxied, path=""):
    """Return where two values differ, which says more than two long values."""
    if isinstance(direct, dict) and isinstance(proxied, dict):
        keys = [*direct, *(k for k in proxied if k not in direct)]
        return [d for k in keys for d in differences(direct.get(k), proxied.get(k), f"{path}.{k}")]
    if isinstance(direct, list) and isinstance(proxied, list) and len(direct) == len(proxied):
        return [d for n, (a, b) in enumerate(zip(direct, proxied)) for d in differences(a, b, f"{path}[{n}]")]
    return [] if direct == proxied else [f"{path}: {direct!r} directly, {proxied!r} through the daemon"]


@pytest.mark.parametrize("section,version,row", cases())
def test_row(batch, row):
    """What a client does gives the same result, or the same error, with and without the daemon."""
    direct, proxied = batch.direct.outcomes.get(row), batch.proxied.outcomes.get(row)
    assert direct and "failed" not in direct, f"directly: {direct} {batch.direct.problems}"
    assert proxied and "failed" not in proxied, f"through the daemon: {proxied} {batch.proxied.problems}"
    found = differences(direct["result"], proxied["result"])
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("version", rows.VERSIONS)
@pytest.mark.parametrize("section", rows.SECTIONS)
def test_state(batch):
    """What all rows of a section left behind at the Hub is the same, and the daemon told nobody what it must not."""
    assert not batch.direct.problems and not batch.proxied.problems, batch.direct.problems + batch.proxied.problems
    found = differences(batch.direct.state, batch.proxied.state)
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("version", rows.VERSIONS)
@pytest.mark.parametrize("section", ["papers"])
def test_every_method_has_a_row(batch, version):
    """No method of HfApi is forgotten, also when a newer client brings new ones."""
    major = rows.VERSIONS[version]
    covered = {m for s in rows.SECTIONS for r in rows.section(s).rows if r.fits(major) for m in r.covers}
    assert set(batch.direct.methods) - covered == set()
