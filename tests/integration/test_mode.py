"""Option `mode`: whether the Hub is asked at all, and how old an answer may be."""

import signal

import pytest
from conftest import ANN, CONFIG_JSON, LARGE_LFS, populate

from tests.support import clients
from tests.support.daemon import wait_until
from tests.support.http import Client

OLD = {"cache": {"ref_ttl": "0s", "stale_max": "0s", "permission_ttl": "0s"}}


@pytest.fixture
def warm(hub, make_daemon):
    """A daemon that has seen a repository and was restarted with a given mode; a function from mode to daemon."""
    known = populate(hub)
    daemon = make_daemon()
    for path in (
        "/acme/tiny/resolve/main/config.json",
        "/acme/tiny/resolve/main/model.safetensors",
        "/api/models/acme/tiny",
        "/api/models/acme/tiny/revision/main",
        "/api/models/acme/tiny/tree/main?recursive=true",
        "/acme/tiny/resolve/main/nope.json",
    ):
        assert daemon.client.get(path).status in (200, 404)
    assert daemon.client.get("/acme/secret/resolve/main/config.json", token=ANN).status == 200

    def restart(mode, config=None):
        daemon.restart(dict(config or {}, mode=mode))
        daemon.known = known
        hub.clear_log()
        return daemon

    return restart


def test_offline_asks_nobody(hub, warm):
    """The Hub is there and is not asked: what is here is served whatever its age, what is not says how to get it."""
    daemon = warm("offline", OLD)
    client = daemon.client
    reply = client.get("/acme/tiny/resolve/main/config.json")
    assert (reply.status, reply.body, reply["X-Hubcached"]) == (200, CONFIG_JSON, "stale")
    assert int(reply["Age"]) >= 0
    reply = client.get("/api/models/acme/tiny")
    assert (reply.status, reply["X-Hubcached"], reply.json()["sha"]) == (200, "stale", daemon.known["head"])
    assert int(reply["Age"]) >= 0
    assert len(client.get("/api/models/acme/tiny/tree/main?recursive=true").json()) == 12
    assert client.get("/acme/tiny/resolve/main/nope.json")["X-Error-Code"] == "EntryNotFound"
    for path, what in (
        ("/acme/tiny/resolve/main/small.safetensors", "acme/tiny@main"),
        ("/datasets/acme/data/resolve/v2/x", "datasets/acme/data@v2"),
        ("/api/models/acme/other", "acme/other@main"),
    ):
        reply = client.get(path)
        assert (reply.status, reply["X-Hubcached-Error"], reply["X-Error-Code"]) == (504, "offline-miss", None)
        assert f"hubcached prefetch {what}`" in reply["X-Error-Message"] == reply.json()["error"]
    assert client.get("/api/whoami-v2", token=ANN)["X-Hubcached-Error"] == "offline-miss"
    assert client.post("/api/repos/create", b'{"name": "n"}', token=ANN)["X-Hubcached-Error"] == "offline-miss"
    assert client.get("/acme/secret/resolve/main/config.json", token=ANN).status == 504
    assert hub.log() == []


def test_first_time_questions(hub, warm):
    """Info in forms that nobody asked for before is made of what is known, and says nothing that is not."""
    sizes = Client(hub.url).get("/api/models/acme/tiny?blobs=true").json()["siblings"]
    daemon = warm("offline")
    client, head = daemon.client, daemon.known["head"]
    for path in (
        "/api/models/acme/tiny?blobs=true",
        f"/api/models/acme/tiny/revision/{head}?blobs=1",
        "/api/models/acme/tiny/revision/main?blobs=true",
    ):
        reply = client.get(path)
        assert (reply.status, reply["X-Hubcached"]) == (200, "stale"), reply
        assert sorted(reply.json()["siblings"], key=str) == sorted(sizes, key=str)
        assert reply.json()["likes"] == 5
    assert client.get("/api/models/acme/tiny?expand=likes&expand=sha").json() | {"_id": 0} == {
        "_id": 0,
        "id": "acme/tiny",
        "likes": 5,
        "sha": head,
    }
    for path in (
        "/api/models/acme/tiny?expand=downloadsAllTime",
        "/api/models/acme/tiny?securityStatus=true",
        "/api/models/acme/secret?blobs=true",
    ):
        assert client.get(path)["X-Hubcached-Error"] == "offline-miss", path


@pytest.mark.parametrize("version", ["0.36", "1.x", "2.x"])
def test_offline_with_a_client(hub, warm, version, tmp_path):
    """The real client downloads what is here, and does not take a miss for an absence."""
    daemon = warm("offline", OLD)
    rows = clients.python(
        version,
        """
import os
from huggingface_hub import hf_hub_download, file_exists
from huggingface_hub.utils import EntryNotFoundError
size = os.path.getsize(hf_hub_download("acme/tiny", "model.safetensors"))
try:
    hf_hub_download("acme/tiny", "small.safetensors")
    missing = "found"
except EntryNotFoundError as e:
    missing = type(e).__name__
except Exception as e:
    missing = "outage"
result = [size, missing]
""",
        daemon.url,
        tmp_path,
    )
    assert rows[0] == LARGE_LFS
    assert rows[1] in ("outage", "LocalEntryNotFoundError")
    assert hub.log() == []


def test_online_serves_nothing_old(hub, warm):
    """Without the Hub there is no answer about a branch; what a commit names is as true as ever while it may be seen."""
    daemon = warm("online")
    assert daemon.client.get("/acme/tiny/resolve/main/config.json").status == 200
    hub.stop()
    wait_until(
        lambda: daemon.client.get("/acme/tiny/resolve/main/config.json").status in (502, 503, 504),
        "the branch's time is over",
        20,
    )
    assert daemon.client.get("/acme/tiny/resolve/main/config.json")["X-Error-Code"] is None


def test_changed_by_a_reload(hub, warm):
    """SIGHUP takes the daemon off the Hub and back, without a restart."""
    daemon = warm("fallback")
    miss = "/acme/tiny/resolve/main/small.safetensors"
    daemon.write_config({"mode": "offline"})
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.client.get(miss)["X-Hubcached-Error"] == "offline-miss", "it is offline")
    hub.clear_log()
    assert daemon.client.get(miss).status == 504
    assert hub.log() == []
    daemon.write_config({"mode": "fallback"})
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.client.get(miss).status == 200, "it is online")


def test_changed_by_command(hub, warm):
    """`hubcached offline on` takes effect at once, outlives a reload, and is taken back by `off`."""
    daemon = warm("fallback")
    miss = "/acme/tiny/resolve/main/small.safetensors"
    assert daemon.command("offline", "on") == "mode offline (configured: fallback)\n"
    assert daemon.client.get(miss)["X-Hubcached-Error"] == "offline-miss"
    assert daemon.client.get("/acme/tiny/resolve/main/config.json").status == 200
    assert "mode offline" in daemon.command("status")
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("config.reloaded")
    assert daemon.client.get(miss)["X-Hubcached-Error"] == "offline-miss"
    assert hub.log() == []
    assert daemon.command("offline", "off") == "mode fallback (configured: fallback)\n"
    assert daemon.client.get(miss).status == 200
    daemon.restart({"mode": "offline"})
    assert daemon.command("offline", "off") == "mode fallback (configured: offline)\n"
    assert daemon.client.get("/acme/tiny/resolve/main/tokenizer.json").status == 200


def test_env(make_daemon):
    """What clients set, in the form that their world wants; no daemon has to run."""
    daemon = make_daemon({"listen": "127.0.0.1:8090"}, start=False)
    assert daemon.command("env") == "export HF_ENDPOINT=http://127.0.0.1:8090\n"
    daemon.write_config({"public_url": "https://cache.example"})
    assert daemon.command("env", "systemd") == "[Service]\nEnvironment=HF_ENDPOINT=https://cache.example\n"
    assert "value: https://cache.example" in daemon.command("env", "kubernetes")
    assert "sh, docker, systemd, kubernetes" in daemon.command("env", "fish", code=2)
