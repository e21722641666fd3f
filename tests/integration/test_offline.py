"""The Hub is gone: what was fetched once goes on working, for every client, also after a restart."""

import pytest
from conftest import ANN, CONFIG_JSON, LARGE_LFS, SECRETS, SMALL_LFS, populate

from tests.hub import Hub
from tests.support import clients
from tests.support.daemon import Daemon, wait_until


@pytest.fixture(scope="module")
def gone(tmp_path_factory):
    """A daemon that saw a Hub once, restarted after that Hub was stopped."""
    folder = tmp_path_factory.mktemp("offline")
    hub = Hub.start()
    known = populate(hub)
    daemon = Daemon(hub, folder / "daemon", {"cache": {"ref_ttl": "1s"}}).start()
    for version in ("0.36", "1.x", "2.x"):
        try:
            clients.python(version, SNAPSHOT, daemon.url, folder / f"warm{version}")
        except pytest.skip.Exception:
            pass
    for path in (
        f"/acme/tiny/resolve/{known['head']}/config.json",
        "/acme/tiny/resolve/main/model.safetensors",
        "/acme/tiny/resolve/main/small.safetensors",
        "/acme/tiny/resolve/main/config.json",
        "/api/models/acme/tiny",
        "/acme/tiny/resolve/main/nope.json",
        "/api/models/acme/tiny/tree/main?recursive=true",
        "/api/models/acme/tiny/revision/main",
        "/datasets/acme/data/resolve/main/x/train.csv",
        "/api/models?author=listed",
    ):
        assert daemon.client.get(path).status in (200, 404)
    for path in ("/acme/secret/resolve/main/config.json", "/acme/gated/resolve/main/config.json"):
        assert daemon.client.get(path, token=ANN).status == 200
    hub.stop()
    daemon.restart()
    daemon.known = known
    yield daemon
    problems = daemon.finish(SECRETS)
    assert not problems, "\n".join(problems)


SNAPSHOT = """
import os
from huggingface_hub import snapshot_download, hf_hub_download
folder = snapshot_download("acme/tiny")
rows = {n: os.path.getsize(os.path.join(folder, n)) for n in ("config.json", "model.safetensors", "small.safetensors")}
try:
    hf_hub_download("acme/tiny", "nope.json")
    rows["nope"] = "found"
except Exception as e:
    rows["nope"] = type(e).__name__
result = rows
"""


@pytest.mark.parametrize("version", ["0.36", "1.x", "2.x"])
def test_snapshot_download(gone, version, tmp_path):
    """A new machine gets the whole repository, and is told that an optional file does not exist."""
    rows = clients.python(version, SNAPSHOT, gone.url, tmp_path)
    assert (rows["config.json"], rows["model.safetensors"], rows["small.safetensors"]) == (
        len(CONFIG_JSON),
        LARGE_LFS,
        SMALL_LFS,
    )
    assert "EntryNotFound" in rows["nope"] and "Local" not in rows["nope"]


def test_files_and_documents(gone):
    """Plain requests by branch and by commit, and the reasons for what is not here."""
    client, head = gone.client, gone.known["head"]
    branch = "/acme/tiny/resolve/main/config.json"
    wait_until(lambda: client.get(branch)["X-Hubcached"] == "stale", "the branch's time is over", 5)
    reply = client.get(branch)
    assert (reply.status, reply.body, reply["X-Hubcached"]) == (200, CONFIG_JSON, "stale")
    reply = client.get(f"/acme/tiny/resolve/{head}/config.json")
    assert (reply.status, reply["X-Hubcached"]) == (200, None)
    assert client.head("/acme/tiny/resolve/main/model.safetensors")["Content-Length"] == str(LARGE_LFS)
    assert client.get("/acme/tiny/resolve/main/model.safetensors", range="bytes=0-99").status == 206
    assert client.get("/acme/tiny/resolve/main/nope.json")["X-Error-Code"] == "EntryNotFound"
    assert client.get("/api/models/acme/tiny").json()["sha"] == head
    assert len(client.get("/api/models/acme/tiny/tree/main?recursive=true").json()) == 12
    assert client.get("/datasets/acme/data/resolve/main/x/train.csv").status == 200


def test_what_was_never_fetched(gone):
    """Unknown things are an outage, not a 404 that clients would remember for ever."""
    for path in (
        "/acme/other/resolve/main/config.json",
        "/acme/tiny/resolve/v1/config.json",
        "/api/models/acme/other",
        "/api/models?author=unseen",
        "/acme/tiny/resolve/" + "1" * 40 + "/config.json",
    ):
        reply = gone.client.get(path)
        assert reply.status in (502, 503, 504), (path, reply)
        assert reply["X-Error-Code"] is None


def test_private_contents_stay_closed(gone):
    """Nobody can vouch for a right now."""
    for token in (None, ANN):
        for name in ("secret", "gated"):
            reply = gone.client.get(f"/acme/{name}/resolve/main/config.json", token=token)
            assert reply.status in (502, 503, 504), reply


def test_javascript(gone, tmp_path):
    """huggingface.js lists and downloads."""
    folder, node = clients.needs("HUBCACHED_NODE_HUB", "@huggingface/hub"), clients.tool("node")
    program = tmp_path / "offline.mjs"
    program.write_text("""
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const require = createRequire(process.cwd() + "/");
const { downloadFile, listFiles } = await import(pathToFileURL(require.resolve("@huggingface/hub")));
const [hubUrl] = process.argv.slice(2);
let n = 0;
for await (const f of listFiles({ hubUrl, repo: "acme/tiny", recursive: true })) n += f.type === "file" ? 1 : 0;
const blob = await downloadFile({ hubUrl, repo: "acme/tiny", path: "model.safetensors" });
console.log(n, (await blob.arrayBuffer()).byteLength);
""")
    done = clients.run([node, program, gone.url], clients.environment(gone.url, tmp_path / "home"), cwd=folder)
    assert done.stdout.split() == ["10", str(LARGE_LFS)]


def test_rust_and_curl(gone, tmp_path):
    """hf-hub and curl."""
    env = clients.environment(gone.url, tmp_path / "home")
    done = clients.run(
        [
            clients.tool("curl"),
            "-sSf",
            "-o",
            tmp_path / "w",
            "-w",
            "%{size_download}",
            f"{gone.url}/acme/tiny/resolve/main/model.safetensors",
        ],
        env,
    )
    assert done.stdout == str(LARGE_LFS)
    program = clients.needs("HUBCACHED_RUST", "the Rust client")
    done = clients.run([program, "models", "acme/tiny", "main", "config.json", "small.safetensors"], env)
    assert open(done.stdout.split()[0], "rb").read() == CONFIG_JSON
