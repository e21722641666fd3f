"""The fixtures: a Hub for tests, daemons in front of it, and the search for secrets at their end."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.hub import Generated, Hub  # noqa: E402
from tests.support.daemon import Daemon, binary  # noqa: E402
from tests.support.http import Client  # noqa: E402

# Every token of the tests; no byte of them may be found outside requests to the hub's own origin.
ANN = "hf_CANARYann00000000000000000000000000000"
BOB = "hf_CANARYbob00000000000000000000000000000"
EVE = "hf_CANARYeve00000000000000000000000000000"
UNKNOWN = "hf_CANARYunknown0000000000000000000000000"
SECRETS = ("CANARY", "Signature=", "Key-Pair-Id")

CONFIG_JSON = b'{"architectures": ["BertModel"], "model_type": "bert", "note": "' + b"x" * 400 + b'"}'
CARD = b"---\nlicense: mit\nlanguage:\n- en\ntags: [tiny, test]\npipeline_tag: fill-mask\n---\n# Tiny\n"
ODD_PATH = "sub dir/deep/\u00e4 #1.txt"
SMALL_LFS = 300_001
LARGE_LFS = 9_500_003


def pytest_report_header(config):
    """Say what is tested and which clients are left out."""
    lines = [f"daemon: {binary()}"]
    missing = Path(os.environ.get("HUBCACHED_NODE_HUB", "/nonexistent")).parent / "missing"
    if missing.exists() and missing.read_text().strip():
        lines += ["client left out: " + line for line in missing.read_text().splitlines()]
    return lines


def pytest_sessionstart(session):
    """Without a daemon there is nothing to test."""
    if not os.access(binary(), os.X_OK):
        pytest.exit(f"there is no daemon at {binary()}: run `make build` first", returncode=2)


def people(hub):
    """Give the Hub its tokens."""
    hub.add_token(ANN, "ann", orgs=["acme"], role="write")
    hub.add_token(BOB, "bob")
    hub.add_token(EVE, "eve")


def populate(hub):
    """Publish one repository of each kind and return {name: commit}."""
    people(hub)
    known = {}
    hub.create_repo("models", "acme/tiny")
    known["first"] = hub.commit("models", "acme/tiny", {"config.json": b"{}"}, message="First\n\nWith a body.")
    hub.create_tag("models", "acme/tiny", "v1")
    known["head"] = hub.commit(
        "models",
        "acme/tiny",
        {
            "config.json": CONFIG_JSON,
            "README.md": CARD,
            "empty.txt": b"",
            ODD_PATH: "odd name",
            "small.safetensors": Generated(SMALL_LFS, seed=7),
            "model.safetensors": Generated(LARGE_LFS, seed=8),
            "sub dir/other.md": "# other\n" * 50,
            "tokenizer.json": b'{"version": "1.0"}',
            "one.txt": b"1",
        },
    )
    hub.create_pr_ref("models", "acme/tiny", 1)
    known["pr"] = hub.commit("models", "acme/tiny", {"pr.txt": "from a pull request"}, branch="refs/pr/1")
    hub.create_branch("models", "acme/tiny", "dev/x", rev=known["first"])
    hub.update_repo("models", "acme/tiny", likes=5, likers=["ann"])
    hub.call("add_discussion", type="models", id="acme/tiny", title="Question", comment="why?")
    hub.create_repo("datasets", "acme/data")
    known["data"] = hub.commit(
        "datasets",
        "acme/data",
        {
            "x/train.csv": "a,b\n1,2\n" * 100,
            "README.md": "---\nlicense: mit\n---\n",
            "x/big.parquet": Generated(SMALL_LFS, seed=9),
        },
    )
    hub.create_convert_ref("datasets", "acme/data")
    hub.create_repo("spaces", "acme/app")
    known["space"] = hub.commit("spaces", "acme/app", {"app.py": "print(1)\n", "README.md": "---\nsdk: static\n---\n"})
    hub.create_repo("models", "gpt2")
    known["gpt2"] = hub.commit("models", "gpt2", {"config.json": CONFIG_JSON})
    hub.create_repo("models", "acme/old-name")
    known["renamed"] = hub.commit("models", "acme/old-name", {"config.json": CONFIG_JSON})
    hub.rename("models", "acme/old-name", "acme/new-name")
    for name, fields in (("secret", {"private": True}), ("gated", {"gated": "auto"}), ("disabled", {})):
        hub.create_repo("models", f"acme/{name}", **fields)
        known[name] = hub.commit(
            "models",
            f"acme/{name}",
            {"config.json": CONFIG_JSON + name.encode(), "model.safetensors": Generated(SMALL_LFS, seed=len(name))},
        )
    hub.set_visibility("models", "acme/disabled", disabled=True)
    for n in range(7):
        hub.create_repo("models", f"listed/m{n}", init=False)
        hub.update_repo("models", f"listed/m{n}", likes=n)
    hub.call("add_collection", owner="acme", title="Small things", items=[{"id": "acme/tiny", "type": "model"}])
    hub.call("add_paper", id="1706.03762", title="Attention is all you need")
    return known


def check_hub(hub):
    """No token reached an origin that is not one of the hub's, and nobody asked the evil host."""
    if hub.process is None:
        return
    for row in hub.log():
        if row["origin"] not in ("hub", "endpoints", "viewer"):
            assert "CANARY" not in str(row["raw_headers"]) + row["target"], f"a token went to {row['origin']}: {row}"
        assert row["origin"] != "evil", f"the evil host was asked: {row['target']}"


@pytest.fixture
def hub():
    """A Hub of its own for one test."""
    with Hub.start() as running:
        people(running)
        yield running
        check_hub(running)


@pytest.fixture
def make_daemon(hub, tmp_path):
    """Start daemons with any configuration; all are stopped, and searched for secrets, at the end."""
    made = []

    def make(config=None, start=True, **options):
        one = Daemon(
            options.pop("hub", hub), options.pop("directory", tmp_path / f"daemon{len(made)}"), config, **options
        )
        made.append(one)
        return one.start() if start else one

    yield make
    problems = [p for one in made for p in one.finish(SECRETS)]
    assert not problems, "\n".join(problems)


@pytest.fixture
def daemon(make_daemon):
    """One daemon as users run it."""
    return make_daemon()


class World:
    """A Hub with contents and a daemon, shared by tests that only read."""

    def __init__(self, hub, daemon, known):
        """Keep the parts."""
        self.hub, self.daemon, self.known = hub, daemon, known

    @property
    def proxied(self):
        """Return a client of the daemon."""
        return Client(self.daemon.url)

    @property
    def direct(self):
        """Return a client of the Hub."""
        return Client(self.hub.url)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A Hub with one repository of each kind and a daemon, for all tests of a file."""
    with Hub.start() as running:
        known = populate(running)
        one = Daemon(running, tmp_path_factory.mktemp("world")).start()
        yield World(running, one, known)
        check_hub(running)
        problems = one.finish(SECRETS)
        assert not problems, "\n".join(problems)
