"""Uploads with hf_xet, which huggingface_hub from 1.20 on makes by default, on machines that can reach only us."""

import hashlib
import json
import os
import random
import struct
from urllib.parse import urlsplit

import pytest
from conftest import ANN, BOB

from tests.hub import Generated, xorbs
from tests.support import clients
from tests.support.apart import Apart
from tests.support.http import Client, Stream

VERSIONS = ["1.x", "2.x"]
CARL = "hf_CANARYcarl0000000000000000000000000000"
BIG = 12_000_000
# What may be told to a storage that is not the Hub: nothing about the client's machine, its cookies or its Hub token.
TOLD = {
    "host", "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "expect",
    "range", "transfer-encoding", "user-agent", "x-request-id", "x-xet-session-id",
}


@pytest.fixture(params=VERSIONS)
def version(request):
    """Give each version that uploads to the chunk storage by itself."""
    clients.venv(request.param)
    return request.param


@pytest.fixture
def front(hub, make_daemon):
    """Give a daemon that knows all storages of the Hub, in front of an empty repository."""
    hub.create_repo("models", "acme/up")
    hosts = [urlsplit(url).netloc for url in (hub.cdn_url, hub.cas_url, hub.s3_url)]
    one = make_daemon({"upstream": {"redirect_hosts": hosts}})
    yield one
    used = {r["headers"].get("authorization", "").removeprefix("Bearer ") for r in hub.log("cas")} - {""}
    log = one.log_text()
    assert not [t for t in used if t in log], "a token of the chunk storage is in the log"


@pytest.fixture
def machine(front):
    """Give a function that runs `hf` where only the daemon can be reached."""
    if not Apart.possible():
        pytest.skip("networks of their own cannot be made here (unshare -rn)")
    with Apart(front.url) as apart:

        def hf(version, home, *arguments, token=ANN, check=True, **more):
            command = os.path.join(os.path.dirname(clients.venv(version)), "hf")
            env = clients.environment(
                front.url, home, token, HF_XET_CLIENT_RETRY_BASE_DELAY="20ms", PYTHONUNBUFFERED="1", **more
            )
            return clients.run(apart.command([command, *arguments]), env, check=check)

        yield hf


def rows(hub, part):
    """Return what was asked of the chunk storage at paths with this part."""
    return [r for r in hub.log("cas") if part in r["path"]]


def check_told(hub):
    """The storages heard nothing that they need not know."""
    for row in hub.log("cas") + hub.log("s3") + hub.log("cdn"):
        names = set(row["headers"])
        assert names <= TOLD | ({"if-none-match", "x-amz-checksum-crc64nvme"} if row["origin"] == "s3" else set())
        if row["origin"] == "cas":
            assert row["headers"]["authorization"].startswith("Bearer xet_")
        else:
            assert "authorization" not in names


@pytest.mark.parametrize("grants", [False, True])
def test_a_file(hub, front, machine, version, tmp_path, grants):
    """`hf upload` and `hf download` of a large file, with and without direct uploads to the object storage."""
    hub.quirks(xet_grants=grants)
    data = random.Random(f"{version}{grants}").randbytes(BIG)
    (tmp_path / "big.bin").write_bytes(data)
    machine(version, tmp_path / "ann", "upload", "acme/up", tmp_path / "big.bin", "sub/big.bin")
    facts = hub.file("models", "acme/up", "sub/big.bin")
    assert (facts["sha256"], facts["size"], facts["lfs"]) == (hashlib.sha256(data).hexdigest(), BIG, True)
    assert [r["status"] for r in rows(hub, "/shards")] == [200]
    brought = rows(hub, "/v1/xorbs/") + [r for r in hub.log("s3") if r["method"] == "PUT"]
    assert BIG < sum(r["body_length"] for r in brought) < BIG + 100_000, "every byte went up once"
    check_told(hub)
    machine(version, tmp_path / "other", "download", "acme/up", "sub/big.bin", "--local-dir", tmp_path / "out")
    assert (tmp_path / "out/sub/big.bin").read_bytes() == data
    check_told(hub)


def test_a_folder(hub, front, machine, version, tmp_path):
    """A folder of files of every kind goes up and comes down as it was; a second upload sends no chunk."""
    rng = random.Random(version)
    files = {
        "random.bin": rng.randbytes(2_000_000),
        "text.bin": "".join(f"{n * 7919} line of text {n % 100}\n" for n in range(60_000)).encode(),
        "deep/er/floats.bin": b"".join(struct.pack("<f", rng.random() + n * 0.01) for n in range(200_000)) + b"odd",
        "zeros.safetensors": bytes(1_000_000),
        "config.json": b'{"a": 1}',
        "notes/\u00e4 #1.txt": b"plain",
        "empty.txt": b"",
    }
    for path, data in files.items():
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(data)
    machine(version, tmp_path / "ann", "upload", "acme/up", tmp_path / "in", ".")
    check_told(hub)
    machine(version, tmp_path / "other", "download", "acme/up", "--local-dir", tmp_path / "out")
    for path, data in files.items():
        assert (tmp_path / "out" / path).read_bytes() == data, path
    hub.clear_log()
    (tmp_path / "again.bin").write_bytes(files["random.bin"])
    machine(version, tmp_path / "ann", "upload", "acme/up", tmp_path / "again.bin", "again.bin")
    assert rows(hub, "/shards") and not rows(hub, "/xorbs/"), "the address of the storage is the same as before"
    assert hub.file("models", "acme/up", "again.bin")["sha256"] == hashlib.sha256(files["random.bin"]).hexdigest()


def test_a_pull_request_by_a_stranger(hub, front, machine, version, tmp_path):
    """Who may not write proposes: the token route gets the query that says so."""
    hub.add_token(CARL, "carl", role="write")
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 1000)
    done = machine(version, tmp_path / "carl", "upload", "acme/up", tmp_path / "a.bin", token=CARL, check=False)
    assert done.returncode != 0 and "403" in done.stdout + done.stderr and not hub.log("cas")
    machine(version, tmp_path / "carl", "upload", "acme/up", tmp_path / "a.bin", "--create-pr", token=CARL)
    assert [r for r in hub.log("hub") if "xet-write-token" in r["path"] and "create_pr=1" in r["query"]]
    assert hub.file("models", "acme/up", "a.bin", rev="refs/pr/1")["size"] == 256_000


def test_an_older_chunk_storage(hub, front, machine, version, tmp_path):
    """What the storage refuses or lacks reaches the client as it is, so that the client knows its way out."""
    hub.quirks(xet_grants=True)
    hub.fault(origin="cas", path="^/v2/shards", status=404, times=None)
    hub.fault(origin="cas", path="^/v1/xorb-grants", status=503, times=1)
    hub.fault(origin="s3", path="/xet-uploads/", status=503, times=1)
    data = random.Random("older" + version).randbytes(1_000_000)
    (tmp_path / "a.bin").write_bytes(data)
    machine(version, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "a.bin")
    assert hub.file("models", "acme/up", "a.bin")["sha256"] == hashlib.sha256(data).hexdigest()
    assert [r["path"] for r in rows(hub, "/shards")] == ["/v2/shards", "/v1/shards"]


def test_telemetry_of_transfers_ends_here(hub, front, machine, version, tmp_path):
    """Clients report transfers beside the address that they were given; nobody else hears of it."""
    (tmp_path / "a.bin").write_bytes(random.Random(version).randbytes(300_000))
    machine(version, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "a.bin", HF_HUB_DISABLE_TELEMETRY="0")
    assert not [r for r in hub.log() if r["path"].endswith("/v1/telemetry")]
    sent = front.client.post("/v1/telemetry", body=b"{}")
    assert sent.status < 500 and not [r for r in hub.log() if r["path"].endswith("/v1/telemetry")]


# The same without clients.


def write_token(url, token=ANN, rev="main", query=""):
    """Ask for a token for uploads."""
    return Client(url, token).get(f"/api/models/acme/up/xet-write-token/{rev}{query}")


def storage(front, method, path, body=None, token=None, base=None):
    """Ask the storage where the daemon says that it is."""
    said = write_token(front.url).json()
    parts = urlsplit(base or said["casUrl"])
    headers = [("Authorization", f"Bearer {token or said['accessToken']}")]
    stream = Stream(f"http://{parts.netloc}", method, parts.path + path, headers, body)
    reply = stream.head()
    reply.body, reply.complete = stream.rest()
    return reply


def test_the_token_names_us(hub, front):
    """The storage's address is ours in body and headers alike, and always the same one; the rest is the Hub's."""
    reply, direct = write_token(front.url), write_token(hub.url)
    said = reply.json()
    assert reply.status == 200 and set(said) == set(direct.json()) == {"casUrl", "accessToken", "exp"}
    assert said["casUrl"].startswith(front.url) and not said["casUrl"].endswith("/")
    assert reply["X-Xet-Cas-Url"] == said["casUrl"] == write_token(front.url).json()["casUrl"]
    assert reply["X-Xet-Access-Token"] == said["accessToken"]
    assert int(reply["X-Xet-Token-Expiration"]) == said["exp"]
    assert hub.cas_url not in str(reply.headers) + str(reply.body)


def test_refusals_of_tokens_are_the_hubs(hub, front):
    """Status, code and body of a refusal are those of the Hub, and no refusal is remembered."""
    for token, rev, query in ((None, "main", ""), (BOB, "main", ""), (ANN, "nope", ""), (ANN, "refs%2Fpr%2F9", "")):
        reply, direct = write_token(front.url, token, rev, query), write_token(hub.url, token, rev, query)
        assert reply.status == direct.status >= 400
        # Without a token the Hub sends no code; clients on plain http need one (hub-protocol 3.6).
        code = direct["X-Error-Code"] or ("RepoNotFound" if token is None else None)
        assert reply.json() == direct.json() and reply["X-Error-Code"] == code
    assert write_token(front.url, BOB, "None", "?create_pr=1").status == 200
    hub.create_branch("models", "acme/up", "nope")
    assert write_token(front.url, ANN, "nope").status == 200


def test_we_are_no_open_relay(hub, front):
    """Addresses that we did not hand out lead nowhere."""
    base = write_token(front.url).json()["casUrl"]
    hub.clear_log()
    path = urlsplit(base).path
    at = [n for n, c in enumerate(path) if c.isalnum() and n > 5]
    for n in at[:: max(1, len(at) // 12)] + at[-1:]:
        other = path[:n] + ("b" if path[n] == "a" else "a") + path[n + 1 :]
        reply = storage(front, "POST", "/v1/xorbs/default/" + "0" * 64, b"x", base=front.url + other)
        assert 400 <= reply.status < 500, other
    for tail in ("/../../evil", "/%2e%2e/%2e%2e/api/models", "//127.0.0.3/x", "@127.0.0.3/x"):
        assert 400 <= storage(front, "GET", tail).status < 500
    assert not [r for r in hub.log() if r["origin"] in ("evil", "cdn", "s3") or r["path"].startswith("/v1/xorbs/")]


def test_refusals_of_the_storage_are_its_own(hub, front):
    """Unknown tokens, malformed bodies and unknown things are answered by the storage, as it does."""
    name = "a" * 64
    assert storage(front, "POST", f"/v1/xorbs/default/{name}", b"x", token="xet_unknown").status == 401
    assert storage(front, "POST", f"/v1/xorbs/default/{name}", b"x").status == 400
    assert storage(front, "POST", "/v2/shards", b"x").status == 400
    assert storage(front, "GET", f"/v1/chunks/default/{name}").status == 404
    body = xorbs.build_xorb([b"one", b"two"])
    for news in (True, False):
        reply = storage(front, "POST", f"/v1/xorbs/default/{name}", body)
        assert reply.status == 200 and reply.json() == {"was_inserted": news}


def test_a_grant_leads_through_us(hub, front):
    """A grant of an upload to the object storage names us, or there is none and the storage itself takes the xorb."""
    hub.quirks(xet_grants=True)
    body = xorbs.build_xorb([b"granted"])
    wanted = {"length": len(body), "checksum": {"algo": "crc64nvme", "value": str(xorbs.crc64nvme(body))}}
    reply = storage(front, "POST", "/v1/xorb-grants/default/" + "f" * 64, json.dumps(wanted).encode())
    assert reply.status in (201, 404), "every other status makes clients give up"
    if reply.status == 201:
        assert reply.json()["url"].startswith(front.url)


def test_shard_events_arrive_while_the_storage_works(hub, front):
    """The first event of a shard's registration is here while the last is not yet made."""
    name, whole = "a" * 64, b"one" * 1000 + b"two" * 1000
    parts = xorbs.build_xorb([whole[:3000], whole[3000:]])
    assert storage(front, "POST", f"/v1/xorbs/default/{name}", parts).status == 200
    shard = xorbs.build_shard(
        [("b" * 64, [xorbs.Term(name, 6000, 0, 2)], hashlib.sha256(whole).hexdigest())], {name: [3000, 3000]}
    )
    said = write_token(front.url).json()
    parts = urlsplit(said["casUrl"])
    with hub.gate(after_bytes=60, origin="cas", path="/v2/shards") as gate:
        headers = [("Authorization", f"Bearer {said['accessToken']}")]
        stream = Stream(f"http://{parts.netloc}", "POST", parts.path + "/v2/shards", headers, shard)
        gate.wait_reached()
        assert stream.head().status == 200
        data = b""
        while b"\n" not in data:
            part = stream.sock.recv(4096) if not stream.buffer else stream.buffer
            stream.buffer = b""
            assert part, "the answer ended before its first event"
            data += part
        gate.release()
        while part := stream.sock.recv(4096):
            data += part
    assert b'"validating"' in data and b'{"type":"result"}' in data


def test_a_wrong_digest_is_reported(hub, front):
    """An error inside a stream that began with 200 is the client's to hear, and the file does not exist."""
    name = "c" * 64
    assert storage(front, "POST", f"/v1/xorbs/default/{name}", xorbs.build_xorb([b"some bytes"])).status == 200
    wrong = xorbs.build_shard(
        [("d" * 64, [xorbs.Term(name, 10, 0, 1)], hashlib.sha256(b"other").hexdigest())], {name: [10]}
    )
    reply = storage(front, "POST", "/v2/shards", wrong)
    last = json.loads(reply.body.splitlines()[-1])
    assert reply.status == 200 and (last["type"], last["retryable"]) == ("error", False)
    assert storage(front, "POST", "/v1/shards", wrong).status == 400


def test_a_storage_that_dies_under_a_body(hub, front, machine, version, tmp_path):
    """A connection that breaks in the middle is the client's to repeat; nothing is sent twice on its behalf."""
    hub.fault(origin="cas", path="^/v1/xorbs/", reset="before_head", times=1)
    data = random.Random("dies" + version).randbytes(2_000_000)
    (tmp_path / "a.bin").write_bytes(data)
    machine(version, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "a.bin")
    assert hub.file("models", "acme/up", "a.bin")["sha256"] == hashlib.sha256(data).hexdigest()
    assert len(rows(hub, "/v1/xorbs/")) == 2


def test_rights_are_asked_every_time(hub, front):
    """A token for uploads is never from a cache: who lost the right gets none."""
    hub.add_token(CARL, "carl", orgs=["acme"], role="write")
    assert write_token(front.url, CARL).status == 200
    hub.revoke_token(CARL)
    assert write_token(front.url, CARL).status == 401


def test_uploads_are_for_xet_and_downloads_are_not(hub, front, tmp_path):
    """Files are announced without Xet through us, so that they come from the cache."""
    hub.commit("models", "acme/up", {"model.safetensors": Generated(300_000, seed=5)})
    reply = front.client.head("/acme/up/resolve/main/model.safetensors")
    assert reply.status in (200, 302, 307) and not [n for n, _ in reply.headers if n.lower().startswith("x-xet")]
