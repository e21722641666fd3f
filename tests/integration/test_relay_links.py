"""Uploads to the object storage lead through us: by addresses that only we can make, and are kept on the way."""

import base64
import hashlib
import hmac
import random
import threading
import time
from urllib.parse import urlsplit

import pytest
from conftest import ANN, BOB

from tests.support.daemon import wait_until
from tests.support.http import Client, Stream
from tests.support.writes import asked, commit, in_parallel, large, memory, small

SIZE = 700_001
CHUNK = 256 << 10
LFS = "application/vnd.git-lfs+json"
# What the object storage may be told: nothing of the client.
TOLD = {"host", "accept", "accept-encoding", "content-length", "content-type", "user-agent", "connection"}


@pytest.fixture
def data():
    """Give the bytes of an object."""
    return random.Random(5).randbytes(SIZE)


@pytest.fixture
def repo(hub):
    """Publish a repository to upload to."""
    hub.create_repo("models", "acme/w")
    return "acme/w"


@pytest.fixture
def parts(hub):
    """Let the Hub take objects in parts."""
    hub.quirks(lfs_multipart_threshold=CHUNK, lfs_chunk_size=CHUNK)


def batch(url, data, token=ANN, id="acme/w", transfers=("basic", "multipart")):
    """Ask where to put an object and return the row of the answer."""
    body = {
        "operation": "upload",
        "transfers": list(transfers),
        "hash_algo": "sha_256",
        "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}],
    }
    reply = Client(url, token).post(f"/{id}.git/info/lfs/objects/batch", body, content_type=LFS, accept=LFS)
    assert reply.status == 200, reply
    return reply.json()["objects"][0]


def send(href, data=b"", method="PUT", headers=(), timeout=30):
    """Send a request to an address as a client does that was given it."""
    where = urlsplit(href)
    target = where.path + ("?" + where.query if where.query else "")
    rows = list(headers)
    with Stream(f"http://{where.netloc}", method, target, rows, data, timeout) as stream:
        reply = stream.head()
        reply.body, reply.complete = stream.rest()
        return reply


def upload(url, data, **more):
    """Upload an object in one piece and return the reply of the storage."""
    return send(batch(url, data, **more)["actions"]["upload"]["href"], data)


def part_urls(row):
    """Return the addresses of the parts in order."""
    header = row["actions"]["upload"]["header"]
    return [header[k] for k in sorted(header) if k.isdigit()]


def complete(row, data, etags):
    """Tell the Hub that all parts are there."""
    body = {
        "oid": hashlib.sha256(data).hexdigest(),
        "parts": [{"partNumber": n, "etag": e} for n, e in enumerate(etags, 1)],
    }
    client = Client("http://" + urlsplit(row["actions"]["upload"]["href"]).netloc)
    where = urlsplit(row["actions"]["upload"]["href"])
    return client.post(where.path + ("?" + where.query if where.query else ""), body)


def urls_in(value):
    """Return every address in a document."""
    if isinstance(value, dict):
        return [u for v in value.values() for u in urls_in(v)]
    if isinstance(value, list):
        return [u for v in value for u in urls_in(v)]
    return [value] if isinstance(value, str) and value.startswith("http") else []


def committed(daemon, data, path="w.bin"):
    """Make the commit that names an object and return the reply."""
    return commit(daemon.as_user(ANN), "acme/w", large(path, data))


def downloaded(hub, daemon, data, path="w.bin"):
    """Download a file and return how many bytes that took from upstream."""
    hub.clear_log()
    reply = daemon.client.get(f"/acme/w/resolve/main/{path}", timeout=60)
    assert reply.status == 200 and reply.sha256() == hashlib.sha256(data).hexdigest()
    return hub.sent("cdn")


def claims_of(href):
    """Return (MAC, claims as text) of an address."""
    mac, claims = urlsplit(href).path.split("/")[-2:]
    return mac, base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)).decode()


def with_claims(href, mac, text):
    """Return an address with other claims."""
    where = urlsplit(href)
    head = where.path.rsplit("/", 2)[0]
    return f"http://{where.netloc}{head}/{mac}/{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}"


# The addresses.


def test_every_address_is_ours(hub, daemon, repo, data, parts):
    """Where to put an object, its parts, their end, and where to ask about it: all of it on our origin."""
    for transfers in (("basic",), ("basic", "multipart")):
        row, direct = batch(daemon.url, data, transfers=transfers), batch(hub.url, data, transfers=transfers)
        found = urls_in(row)
        assert len(found) == len(urls_in(direct)) == (2 if len(transfers) == 1 else 2 + 3)
        assert all(u.startswith(daemon.url + "/") for u in found)
        assert not [u for u in found if "X-Amz" in u or "Signature" in u], "a signature stands in it for all to read"
        mine, theirs = row["actions"]["upload"], direct["actions"]["upload"]
        assert set(mine) == set(theirs) and set(mine.get("header", {})) == set(theirs.get("header", {}))
        assert {k: v for k, v in row.items() if k != "actions"} == {k: v for k, v in direct.items() if k != "actions"}


def test_an_address_fits_how_the_client_reached_us(daemon, repo, data):
    """Addresses name the host that the client used, or the one that the operator says."""
    port = urlsplit(daemon.url).port
    body = {
        "operation": "upload",
        "transfers": ["basic"],
        "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}],
    }
    ask = ("/acme/w.git/info/lfs/objects/batch", body)
    reply = daemon.as_user(ANN).post(*ask, content_type=LFS, host=f"localhost:{port}")
    assert all(u.startswith(f"http://localhost:{port}/") for u in urls_in(reply.json()["objects"]))
    daemon.restart({"public_url": "http://cache.example:8090"})
    reply = daemon.as_user(ANN).post(*ask, content_type=LFS)
    assert all(u.startswith("http://cache.example:8090/") for u in urls_in(reply.json()["objects"]))


def test_an_upload_by_these_addresses_alone(hub, daemon, repo, data):
    """A client that can reach only us uploads, asks whether it arrived, commits, and others download from here."""
    row = batch(daemon.url, data)
    reply = send(row["actions"]["upload"]["href"], data)
    assert reply.status == 200 and reply["ETag"], reply
    check = row["actions"]["verify"]
    reply = Client(daemon.url).post(
        urlsplit(check["href"]).path,
        {"oid": row["oid"], "size": row["size"]},
        content_type=LFS,
        authorization=check["header"]["Authorization"],
    )
    assert reply.status == 200, reply
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0
    daemon.restart()
    assert downloaded(hub, daemon, data) == 0


def test_the_storage_hears_nothing_of_the_client(hub, daemon, repo, data):
    """Whatever a client sends along, the object storage gets the bytes and nothing that names anybody."""
    rows = [
        ("Authorization", f"Bearer {ANN}"),
        ("Cookie", "a=b"),
        ("X-HF-Bill-To", "acme"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("User-Agent", "unknown/None; hf_hub/1.0"),
        ("Referer", "http://somewhere"),
        ("Content-Type", "application/octet-stream"),
    ]
    reply = send(batch(daemon.url, data)["actions"]["upload"]["href"], data, headers=rows)
    assert reply.status == 200, reply
    (row,) = hub.log("s3")
    assert set(row["headers"]) <= TOLD, set(row["headers"]) - TOLD
    assert "hf_hub" not in row["headers"].get("user-agent", "")
    assert (row["body_length"], row["headers"]["content-length"]) == (SIZE, str(SIZE))
    assert "authorization" not in row["headers"]


def test_an_allowed_host_only(hub, make_daemon, repo, data):
    """Addresses of hosts that the operator does not allow stay as they are: the client goes there itself."""
    daemon = make_daemon({"upstream": {"upload_hosts": ["storage.example"]}})
    row = batch(daemon.url, data)
    assert row["actions"]["upload"]["href"].startswith(hub.s3_url + "/")
    assert row["actions"]["verify"]["href"].startswith(daemon.url + "/")
    assert send(row["actions"]["upload"]["href"], data).status == 200
    assert committed(daemon, data).status == 200


def test_who_may_not_upload_gets_no_address(hub, daemon, repo, data):
    """A refusal of the Hub is passed on as it is."""
    body = {"operation": "upload", "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": SIZE}]}
    for token in (None, BOB):
        ask = ("/acme/w.git/info/lfs/objects/batch", body)
        ours, direct = (Client(url, token).post(*ask, content_type=LFS) for url in (daemon.url, hub.url))
        assert ours.status == direct.status in (401, 403) and ours.body == direct.body
        assert ours["X-Error-Message"] == direct["X-Error-Message"]


# The MAC.


def test_no_character_can_be_changed(hub, daemon, repo, data):
    """An address with any one character changed is refused, and nobody is asked."""
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    start = len(daemon.url) + len("/-/relay/")
    hub.clear_log()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    step = max(1, (len(href) - start) // 120)
    for at in [*range(start, start + 24), *range(start + 24, len(href), step), len(href) - 1]:
        # The neighbour differs in the lowest bit, which the last character of a base64 text may not even use.
        for other in {alphabet[(alphabet.find(href[at]) + 1) % 64], alphabet[(alphabet.find(href[at]) + 32) % 64]} - {
            href[at]
        }:
            changed = href[:at] + other + href[at + 1 :]
            reply = send(changed, b"x")
            # Without the slash between MAC and claims it is no such address at all.
            refused = (403, 404, 405) if href[at] == "/" else (403, 404)
            assert reply.status in refused and reply["X-Hubcached-Error"], (at, changed, reply)
    for tail in ("x", "A", "=", "/x", "//", "/../..", "%41"):
        reply = send(href + tail, b"x")
        assert reply.status in (400, 403, 404, 405), (tail, reply)
    for shorter in (
        href[:-1],
        href[:-4],
        href[: href.rfind("/") + 1],
        href[: href.rfind("/")],
        daemon.url + "/-/relay/",
    ):
        assert send(shorter, b"x").status in (403, 404, 405), shorter
    assert not hub.log("s3") and not hub.log("evil") and not hub.log("hub")


def test_claims_cannot_be_exchanged(hub, daemon, repo, data):
    """The MAC of one address does not open another, nor claims that somebody wrote."""
    one, two = (batch(daemon.url, d)["actions"]["upload"]["href"] for d in (data, data[::-1]))
    (mac_one, text_one), (mac_two, text_two) = claims_of(one), claims_of(two)
    assert mac_one != mac_two and text_one != text_two
    s3 = urlsplit(hub.s3_url).netloc
    assert s3 in text_one
    hub.clear_log()
    forged = [
        with_claims(one, mac_one, text_two),
        with_claims(one, mac_two, text_one),
        with_claims(one, mac_one, text_one.replace(s3, urlsplit(hub.evil_url).netloc)),
        with_claims(one, mac_one, text_one.replace(s3, s3 + "@" + urlsplit(hub.evil_url).netloc)),
        with_claims(one, mac_one, "d" + text_one[1:]),
        with_claims(one, mac_one, text_one + " "),
        with_claims(one, "A" * len(mac_one), text_one),
        with_claims(one, "", text_one),
        with_claims(
            one,
            base64.urlsafe_b64encode(hmac.new(b"", text_one.encode(), "sha256").digest()[:16]).decode().rstrip("="),
            text_one,
        ),
    ]
    for href in forged:
        for method in ("PUT", "GET", "POST"):
            reply = send(href, b"x" if method != "GET" else None, method)
            assert reply.status in (400, 403, 404, 405), (href, reply)
    assert not hub.log("s3") and not hub.log("evil") and not hub.log("cdn")


def test_an_address_is_for_one_use(hub, daemon, repo, data):
    """An address for an upload serves no other method, and none of another kind."""
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    hub.clear_log()
    for method in ("GET", "HEAD", "POST", "DELETE", "PATCH"):
        reply = send(href, b"x" if method not in ("GET", "HEAD") else None, method)
        assert reply.status in (403, 405), (method, reply)
    for path in (href.replace("/-/relay/", "/-/cas/") + "/v1/xorbs", href.replace("/-/relay/", "/-/cas/")):
        assert send(path, b"x", "POST").status in (403, 404, 405), path
    other = send(href, b"x", headers=[("Host", "evil.example")])
    assert other.status == 421, other
    assert not hub.log("s3") and not hub.log("evil") and not hub.log("hub")
    assert send(href, data).status == 200


def test_the_chunk_storages_address_is_for_one_use(hub, daemon, repo):
    """The address of the chunk storage is none for an upload to the object storage."""
    base = daemon.as_user(ANN).get("/api/models/acme/w/xet-write-token/main").json()["casUrl"]
    hub.clear_log()
    assert send(base.replace("/-/cas/", "/-/relay/"), b"x").status in (403, 405)
    assert not hub.log("cas") and not hub.log("s3")


def test_another_daemon_has_another_key(hub, daemon, make_daemon, repo, data):
    """What one cache gave out means nothing to another."""
    other = make_daemon()
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    assert send(href.replace(daemon.url, other.url), data).status == 403
    assert not hub.log("s3") and send(href, data).status == 200


def test_an_address_that_is_over(hub, daemon, repo, data):
    """An address whose signature inside is over is refused by the storage, in its own words; nothing is kept."""
    hub.quirks(s3_ttl=-5)
    stale = batch(daemon.url, data)["actions"]["upload"]["href"]
    hub.quirks(s3_ttl=900)
    reply = send(stale, data)
    assert reply.status == 403 and b"Request has expired" in reply.body, reply
    assert daemon.metric("uploads_kept_total") == 0
    assert upload(daemon.url, data).status == 200


def test_the_key_is_for_the_owner_only(daemon, repo, data):
    """The key that makes addresses is readable by nobody else, and its bytes are in no answer."""
    batch(daemon.url, data)
    keys = [daemon.data_dir / name for name in daemon.files() if "key" in name]
    assert keys and all(k.stat().st_mode & 0o077 == 0 for k in keys)


def test_a_restart_keeps_addresses_good(hub, daemon, make_daemon, repo, data):
    """A daemon that is restarted, or killed, between the batch and the upload takes the upload all the same."""
    config = {"listen": f"127.0.0.1:{urlsplit(daemon.url).port}"}
    first, second = (batch(daemon.url, d)["actions"]["upload"]["href"] for d in (data, data[::-1]))
    daemon.restart(config)
    assert send(first, data).status == 200
    daemon.expect_death = True
    daemon.kill()
    daemon.start()
    assert send(second, data[::-1]).status == 200
    assert commit(daemon.as_user(ANN), "acme/w", large("a.bin", data), large("b.bin", data[::-1])).status == 200
    assert downloaded(hub, daemon, data[::-1], "b.bin") == 0


# What is kept.


def test_wrong_bytes(hub, daemon, repo, data):
    """Bytes that are not what the client said are the storage's to refuse, and are not kept."""
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    wrong = b"\0" + data[1:]
    reply = send(href, wrong)
    direct = send(batch(hub.url, data)["actions"]["upload"]["href"], wrong)
    assert reply.status == direct.status == 400 and reply.body == direct.body
    assert committed(daemon, data).status == 400
    for digest in (hashlib.sha256(data).hexdigest(), hashlib.sha256(wrong).hexdigest()):
        assert daemon.blob_file(digest) is None
    # A second try with the right ones goes through, whatever became of the first.
    assert send(batch(daemon.url, data)["actions"]["upload"]["href"], data).status == 200
    assert committed(daemon, data).status == 200
    downloaded(hub, daemon, data)
    assert downloaded(hub, daemon, data) == 0


def test_a_storage_that_accepts_wrong_bytes(hub, daemon, repo, data):
    """Even where the storage says that all is well, bytes with another digest are not kept."""
    hub.fault(origin="s3", status=200, headers={"ETag": '"x"'}, body="")
    assert send(batch(daemon.url, data)["actions"]["upload"]["href"], b"\0" + data[1:]).status == 200
    hub.fault(
        path="/commit/main",
        status=200,
        headers={"Content-Type": "application/json"},
        body='{"success": true, "commitOid": "%s", "commitUrl": "x"}' % ("a" * 40),
    )
    assert committed(daemon, data).status == 200
    assert daemon.blob_file(hashlib.sha256(data).hexdigest()) is None
    assert daemon.blob_file(hashlib.sha256(b"\0" + data[1:]).hexdigest()) is None


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0])
def test_another_length(hub, daemon, repo, data, size):
    """More or fewer bytes than were announced are passed on, refused by the storage, and not kept."""
    reply = send(batch(daemon.url, data)["actions"]["upload"]["href"], (data + b"x")[:size])
    assert reply.status == 400, reply
    assert committed(daemon, data).status == 400
    assert daemon.blob_file(hashlib.sha256(data).hexdigest()) is None


def test_without_a_commit_nothing_is_kept(hub, daemon, repo, data):
    """An upload that no commit names is in no cache: neither for a reader nor after a restart."""
    digest = hashlib.sha256(data).hexdigest()
    assert upload(daemon.url, data).status == 200
    assert daemon.blob_file(digest) is None
    assert commit(daemon.as_user(ANN), "acme/w", small("a.txt", "a")).status == 200
    assert daemon.blob_file(digest) is None, "another commit names it not"
    assert daemon.metric("uploads_kept_total") == 0
    daemon.restart()
    assert daemon.blob_file(digest) is None
    assert not [n for n, size in daemon.files().items() if size == SIZE], "what was given up is still there"


@pytest.mark.parametrize("refusal", ["parent", "rights", "unavailable"])
def test_with_a_refused_commit_nothing_is_kept(hub, daemon, repo, data, refusal):
    """A commit that the Hub refuses makes nothing of its objects; one that it accepts later does."""
    assert upload(daemon.url, data).status == 200
    old = hub.refs("models", "acme/w")["refs/heads/main"]
    hub.commit("models", "acme/w", {"late.txt": "late"})
    if refusal == "parent":
        reply = commit(daemon.as_user(ANN), "acme/w", large("w.bin", data), parent=old)
        assert reply.status == 412
    elif refusal == "rights":
        assert commit(daemon.as_user(BOB), "acme/w", large("w.bin", data)).status == 403
    else:
        hub.fault(path="/commit/main", status=503)
        assert committed(daemon, data).status == 503
    assert daemon.blob_file(hashlib.sha256(data).hexdigest()) is None
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0


def test_an_uploader_cannot_put_bytes_under_another_name(hub, daemon, repo, data):
    """What somebody uploaded to a repository of their own is no way into another's."""
    hub.create_repo("models", "acme/hidden", private=True)
    hub.commit("models", "acme/hidden", {"w.safetensors": b"secret" * 60_000})
    secret = b"secret" * 60_000
    # The digest alone, in a commit that the Hub refuses, opens nothing.
    hub.add_token("hf_CANARYcarl0000000000000000000000000000", "carl", role="write")
    carl = daemon.as_user("hf_CANARYcarl0000000000000000000000000000")
    hub.create_repo("models", "carl/own")
    assert daemon.as_user(ANN).get("/acme/hidden/resolve/main/w.safetensors").status == 200
    reply = commit(carl, "carl/own", large("x.bin", secret))
    assert reply.status == 400
    assert carl.get("/carl/own/resolve/main/x.bin").status == 404
    body = {"operation": "download", "objects": [{"oid": hashlib.sha256(secret).hexdigest(), "size": len(secret)}]}
    answer = carl.post("/carl/own.git/info/lfs/objects/batch", body, content_type=LFS).json()["objects"][0]
    assert "actions" not in answer, answer


def test_two_uploads_of_one_object(hub, daemon, repo, data):
    """Two clients that upload the same object at the same time both succeed, and it is kept once and whole."""
    hrefs = [batch(daemon.url, data)["actions"]["upload"]["href"] for _ in range(2)]
    with hub.upload_gate(after_bytes=200_000, times=2, origin="s3") as gate:
        results = []
        threads = [threading.Thread(target=lambda h=h: results.append(send(h, data).status)) for h in hrefs]
        for thread in threads:
            thread.start()
        gate.wait_reached(2)
        gate.release()
        for thread in threads:
            thread.join(30)
    assert results == [200, 200]
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0


def test_one_of_two_uploads_leaves(hub, daemon, repo, data):
    """A client that leaves in the middle spoils nothing for another that uploads the same object."""
    hrefs = [batch(daemon.url, data)["actions"]["upload"]["href"] for _ in range(2)]
    where = urlsplit(hrefs[0])
    rows = [("Content-Length", str(SIZE))]
    with Stream(daemon.url, "PUT", where.path, rows) as stream:
        stream.sock.sendall(data[: SIZE // 2])
        wait_until(
            lambda: sum(r["body_length"] for r in asked(hub, "/repos/", origin="s3")) > 100_000, "half of it is there"
        )
    wait_until(lambda: all(r["done"] for r in asked(hub, "/repos/", origin="s3")), "the first upload is over")
    assert send(hrefs[1], data).status == 200
    assert committed(daemon, data).status == 200
    downloaded(hub, daemon, data)
    assert downloaded(hub, daemon, data) == 0


def test_a_client_that_leaves_in_the_middle(hub, daemon, repo, data):
    """Half an upload ends at the storage as half, and nothing of it is kept once the daemon stops."""
    where = urlsplit(batch(daemon.url, data)["actions"]["upload"]["href"])
    with Stream(daemon.url, "PUT", where.path, [("Content-Length", str(SIZE))]) as stream:
        stream.sock.sendall(data[: SIZE // 2])
        wait_until(
            lambda: sum(r["body_length"] for r in asked(hub, "/repos/", origin="s3")) == SIZE // 2, "half is there"
        )
    wait_until(lambda: all(r["done"] for r in asked(hub, "/repos/", origin="s3")), "it is over upstream")
    (row,) = asked(hub, "/repos/", origin="s3")
    assert row["peer_closed"] and row["status"] is None
    assert committed(daemon, data).status == 400


def test_a_slow_storage_is_waited_for(hub, daemon, repo, data):
    """What the storage does not take yet, the client does not send: nothing is gathered here."""
    big = random.Random(8).randbytes(40_000_000)
    href = batch(daemon.url, big)["actions"]["upload"]["href"]
    before = memory(daemon, "VmRSS")
    with hub.upload_gate(after_bytes=100_000, origin="s3") as gate:
        result = []
        thread = threading.Thread(target=lambda: result.append(send(href, big, timeout=60)))
        thread.start()
        gate.wait_reached()
        assert memory(daemon, "VmRSS") - before < 32 << 20
        gate.release()
        thread.join(60)
    assert result[0].status == 200
    assert memory(daemon, "VmRSS") - before < 48 << 20
    assert committed(daemon, big).status == 200
    assert downloaded(hub, daemon, big) == 0


def test_a_storage_that_is_busy_once(hub, daemon, repo, data):
    """503 of the storage reaches the client, who tries again at the same address; nothing is tried for it."""
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    hub.fault(origin="s3", status=503, headers={"Retry-After": "1"}, body="<Error><Code>SlowDown</Code></Error>")
    reply = send(href, data)
    assert (reply.status, reply.body, reply["Retry-After"]) == (503, b"<Error><Code>SlowDown</Code></Error>", "1")
    assert len(hub.log("s3")) == 1
    assert send(href, data).status == 200
    assert len(hub.log("s3")) == 2
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"reset": "before_head"},
        {"truncate": "before_head"},
        {"upload_reset": 100_000},
        {"raw": "nonsense\r\n\r\n"},
    ],
)
def test_a_storage_that_breaks_off(hub, daemon, repo, data, fault):
    """An upload that breaks is told to the client as a failure of the storage, is not repeated, and can be."""
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    hub.fault(origin="s3", **fault)
    reply = send(href, data)
    assert reply.status in (502, 503, 504) and reply["X-Hubcached-Error"], reply
    assert len(hub.log("s3")) == 1
    assert send(href, data).status == 200
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0


def test_an_empty_object_and_a_small_one(hub, daemon, repo):
    """Objects of no byte and of one byte are uploaded like others."""
    for body in (b"", b"x"):
        assert upload(daemon.url, body).status == 200
        assert commit(daemon.as_user(ANN), "acme/w", large(f"{len(body)}.bin", body)).status == 200
        assert daemon.client.get(f"/acme/w/resolve/main/{len(body)}.bin").body == body


# Parts.


def test_parts_in_any_order(hub, daemon, repo, data, parts):
    """Parts that come last first, and one of them twice, make one object, which is kept."""
    row = batch(daemon.url, data)
    urls, etags = part_urls(row), {}
    pieces = [data[n * CHUNK : (n + 1) * CHUNK] for n in range(len(urls))]
    for n in (2, 0, 1, 0):
        reply = send(urls[n], pieces[n])
        assert reply.status == 200 and reply["ETag"], reply
        etags[n] = reply["ETag"]
    assert complete(row, data, [etags[n] for n in range(3)]).status == 200
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0
    daemon.restart()
    assert downloaded(hub, daemon, data) == 0


def test_parts_in_parallel(hub, daemon, repo, parts):
    """Many parts at once, as clients send them."""
    data = random.Random(6).randbytes(20 * CHUNK - 17)
    row = batch(daemon.url, data)
    urls = part_urls(row)
    order = list(range(len(urls)))
    random.Random(1).shuffle(order)
    replies = {}

    def some(mine):
        """Send some of the parts."""
        for n in mine:
            replies[n] = send(urls[n], data[n * CHUNK : (n + 1) * CHUNK])

    in_parallel(*[lambda k=k: some(order[k::5]) for k in range(5)])
    assert {r.status for r in replies.values()} == {200}
    assert complete(row, data, [replies[n]["ETag"] for n in range(len(urls))]).status == 200
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0


def test_a_part_that_fails_once(hub, daemon, repo, data, parts):
    """A part that the storage refuses once is sent again by the client alone, and the object is whole."""
    row = batch(daemon.url, data)
    urls = part_urls(row)
    hub.fault(origin="s3", path="partNumber=2", status=503, body="busy")
    etags = []
    for n, url in enumerate(urls):
        reply = send(url, data[n * CHUNK : (n + 1) * CHUNK])
        if n == 1:
            assert reply.status == 503
            reply = send(url, data[n * CHUNK : (n + 1) * CHUNK])
        assert reply.status == 200
        etags.append(reply["ETag"])
    assert complete(row, data, etags).status == 200
    assert committed(daemon, data).status == 200
    assert downloaded(hub, daemon, data) == 0


def test_parts_that_were_exchanged(hub, daemon, repo, data, parts):
    """Parts at each other's places are not the object: the Hub says so, and nothing is kept."""
    row = batch(daemon.url, data)
    urls = part_urls(row)
    etags = [send(url, data[n * CHUNK : (n + 1) * CHUNK])["ETag"] for url, n in zip(urls, (1, 0, 2))]
    reply = complete(row, data, etags)
    assert reply.status == 400 and b"sha256" in reply.body, reply
    assert committed(daemon, data).status == 400
    assert daemon.blob_file(hashlib.sha256(data).hexdigest()) is None


def test_only_some_parts_came_by(hub, daemon, repo, data, parts):
    """If some parts went up past us the commit is made, and what we have of the object is not taken for it."""
    row = batch(daemon.url, data)
    urls = part_urls(row)
    direct = claims_of(urls[1])[1].rpartition(" ")[2]
    etags = []
    for n, url in enumerate(urls):
        etags.append(send(direct if n == 1 else url, data[n * CHUNK : (n + 1) * CHUNK])["ETag"])
    assert complete(row, data, etags).status == 200
    assert committed(daemon, data).status == 200
    assert daemon.blob_file(hashlib.sha256(data).hexdigest()) is None
    assert downloaded(hub, daemon, data) == SIZE


def test_kept_or_not_as_configured(hub, make_daemon, repo, data):
    """With cache.keep_uploads off nothing that goes up is kept."""
    daemon = make_daemon({"cache": {"keep_uploads": False}})
    assert upload(daemon.url, data).status == 200 and committed(daemon, data).status == 200
    assert daemon.blob_file(hashlib.sha256(data).hexdigest()) is None
    assert downloaded(hub, daemon, data) == SIZE


def test_a_second_upload_costs_nothing(hub, daemon, repo, data):
    """What the repository has already has no address to be put to, and a commit that names it is made."""
    assert upload(daemon.url, data).status == 200 and committed(daemon, data).status == 200
    assert "actions" not in batch(daemon.url, data)
    assert committed(daemon, data, "again.bin").status == 200
    assert downloaded(hub, daemon, data, "again.bin") == 0


def test_addresses_are_not_logged(hub, daemon, repo, data):
    """An address is as good as the right to upload: it stands in no log, and neither does what is inside."""
    href = batch(daemon.url, data)["actions"]["upload"]["href"]
    assert send(href, data).status == 200
    assert send(href[:-1] + ("A" if href[-1] != "A" else "B"), data).status in (403, 404)
    mac, text = claims_of(href)
    log = daemon.log_text()
    assert mac not in log and href.rpartition("/")[2] not in log and "X-Amz-Signature" not in log
    assert text.rpartition("Signature=")[2] not in log


def test_time_is_not_a_way_in(daemon, repo, data):
    """An address of ours says until when it is good, at most a day."""
    _, text = claims_of(batch(daemon.url, data)["actions"]["upload"]["href"])
    until = int(text.split(" ")[1])
    assert time.time() < until <= time.time() + 24 * 3600 + 5
