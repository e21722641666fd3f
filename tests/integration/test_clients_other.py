"""Clients that are not Python: huggingface.js, hf-hub for Rust, curl, wget and aria2."""

import hashlib
import json
import os

import pytest
from conftest import ANN, CARD, CONFIG_JSON, LARGE_LFS, SMALL_LFS

from tests.hub import Generated, generated_bytes
from tests.support import clients

JS = os.path.join(os.path.dirname(os.path.abspath(clients.__file__)), "js_client.mjs")
LARGE = hashlib.sha256(generated_bytes(8, 0, LARGE_LFS)).hexdigest()
SMALL = hashlib.sha256(generated_bytes(7, 0, SMALL_LFS)).hexdigest()


def test_javascript(world, tmp_path):
    """Listing, information and downloads with @huggingface/hub, on two machines."""
    folder = clients.needs("HUBCACHED_NODE_HUB", "@huggingface/hub")
    node = clients.tool("node")
    for home in ("a", "b"):
        world.hub.clear_log()
        env = clients.environment(world.daemon.url, tmp_path / home)
        done = clients.run([node, JS, world.daemon.url, "acme/tiny"], env, cwd=folder)
        seen = json.loads(done.stdout)
        assert ["model.safetensors", LARGE_LFS, None] in seen["files"] and len(seen["files"]) == 10
        assert seen["contents"] == {
            "config.json": [len(CONFIG_JSON), hashlib.sha256(CONFIG_JSON).hexdigest()],
            "small.safetensors": [SMALL_LFS, SMALL],
            "model.safetensors": [LARGE_LFS, LARGE],
        }
        assert seen["info"] == {"size": LARGE_LFS, "etag": f'"{LARGE}"', "xet": None}
        assert seen["missing"] is None and seen["exists"] == [True, False] and seen["repos"] == [True, False]
        assert seen["sha"] == world.known["head"] and seen["models"] == [f"listed/m{n}" for n in range(7)]
        assert seen["paths"] == ["config.json"]
    assert world.hub.sent("cdn") == 0, "the second machine took nothing from the CDN"


def test_rust(world, tmp_path):
    """hf-hub 0.5.0 as candle and other Rust programs use it."""
    program = clients.needs("HUBCACHED_RUST", "the Rust client")
    for home in ("a", "b"):
        world.hub.clear_log()
        env = clients.environment(world.daemon.url, tmp_path / home)
        done = clients.run(
            [program, "models", "acme/tiny", "main", "config.json", "small.safetensors", "model.safetensors"], env
        )
        *paths, sha = done.stdout.split("\n")[:4]
        assert open(paths[0], "rb").read() == CONFIG_JSON
        assert hashlib.sha256(open(paths[1], "rb").read()).hexdigest() == SMALL
        assert hashlib.sha256(open(paths[2], "rb").read()).hexdigest() == LARGE
        assert sha == f"sha {world.known['head']}"
        done = clients.run([program, "datasets", "acme/data", "refs/convert/parquet", "x/train.csv"], env)
        assert done.stdout.startswith("/")
        assert clients.run([program, "models", "acme/tiny", "main", "nope"], env, check=False).returncode != 0
    assert world.hub.sent("cdn") == 0


def test_curl(world, tmp_path):
    """Whole, resumed, by range, with a token in a header, and conditional."""
    curl, env = clients.tool("curl"), clients.environment(world.daemon.url, tmp_path / "home")
    url = f"{world.daemon.url}/acme/tiny/resolve/main/"
    clients.run([curl, "-sSfL", "-o", tmp_path / "w", url + "model.safetensors"], env)
    assert hashlib.sha256((tmp_path / "w").read_bytes()).hexdigest() == LARGE
    (tmp_path / "half").write_bytes((tmp_path / "w").read_bytes()[:5_000_000])
    clients.run([curl, "-sSf", "-C", "-", "-o", tmp_path / "half", url + "model.safetensors"], env)
    assert (tmp_path / "half").read_bytes() == (tmp_path / "w").read_bytes()
    done = clients.run(
        [curl, "-sS", "--compressed", "-o", tmp_path / "t", "-w", "%{http_code}", url + "README.md"], env
    )
    assert (done.stdout, (tmp_path / "t").read_bytes()) == ("200", CARD)
    private = f"{world.daemon.url}/acme/secret/resolve/main/config.json"
    done = clients.run([curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", private], env)
    assert done.stdout == "401"
    done = clients.run(
        [curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {ANN}", private], env
    )
    assert done.stdout == "200"


@pytest.fixture
def cold(hub):
    """Publish one large file; return the end of its URL."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(LARGE_LFS, seed=8)})
    return f"/acme/m/resolve/{sha}/w.safetensors"


def test_wget_goes_on(daemon, cold, tmp_path):
    """wget -c with half of a file that the daemon does not have yet."""
    wget, env = clients.tool("wget"), clients.environment(daemon.url, tmp_path / "home")
    out = tmp_path / "w.safetensors"
    out.write_bytes(generated_bytes(8, 0, 3_000_000))
    clients.run([wget, "-q", "-c", "-t", "3", "-T", "10", "-O", out, daemon.url + cold], env)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == LARGE


def test_curl_does_not_mix_after_a_mismatch(hub, daemon, cold, tmp_path):
    """Upstream's bytes were wrong once: going on with the wrong part never makes a file that looks whole."""
    curl, env = clients.tool("curl"), clients.environment(daemon.url, tmp_path / "home")
    fault = hub.fault(origin="cdn", flip=1000, times=None)
    out = tmp_path / "w.safetensors"
    assert clients.run([curl, "-sSf", "-o", out, daemon.url + cold], env, check=False).returncode != 0
    assert 0 < out.stat().st_size < LARGE_LFS
    hub.clear_faults(fault)
    assert clients.run([curl, "-sSf", "-C", "-", "-o", out, daemon.url + cold], env, check=False).returncode != 0
    clients.run([curl, "-sSf", "-o", out, daemon.url + cold], env)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == LARGE


def test_aria2_with_eight_connections(hub, daemon, cold, tmp_path):
    """Eight ranges at once of a cold file: the file is right and upstream sent each byte once."""
    aria2c, env = clients.tool("aria2c"), clients.environment(daemon.url, tmp_path / "home")
    clients.run(
        [
            aria2c,
            "-q",
            "-x8",
            "-s8",
            "-k1M",
            "--allow-overwrite=true",
            "--file-allocation=none",
            "-d",
            tmp_path,
            "-o",
            "w",
            daemon.url + cold,
        ],
        env,
    )
    assert hashlib.sha256((tmp_path / "w").read_bytes()).hexdigest() == LARGE
    hub.wait_idle()
    assert hub.sent("cdn") == LARGE_LFS
