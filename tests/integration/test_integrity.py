"""Nobody completes a file that is not the one that the Hub named, whatever goes wrong on the way or on the disk."""

import hashlib

import pytest
from conftest import ANN

from tests.hub import Generated, generated_bytes, git_blob_oid
from tests.support.daemon import wait_until

KIB, MIB = 1 << 10, 1 << 20
SMALL, LARGE = 3 * MIB + 17, 12 * MIB + 5
TAIL = 64 * KIB


@pytest.fixture
def repo(hub):
    """Publish a git file, a small and a large LFS file; return the prefix of their URLs."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit(
        "models",
        "acme/m",
        {
            "text.json": b'{"a": "' + b"y" * 5000 + b'"}',
            "small.safetensors": Generated(SMALL, seed=1),
            "large.safetensors": Generated(LARGE, seed=2),
        },
    )
    return f"/acme/m/resolve/{sha}/"


SIZES = {"text.json": 5009, "small.safetensors": SMALL, "large.safetensors": LARGE}
PLACES = {"first": 0, "middle": 0.5, "last": -1}
BODY = {
    "text.json": {"origin": "hub", "path": "resolve-cache", "method": "GET"},
    "small.safetensors": {"origin": "cdn"},
    "large.safetensors": {"origin": "cdn"},
}


def broken(client, target):
    """Ask for a file that must not arrive wrong; returns the reply, or None if the connection just closed."""
    try:
        reply = client.get(target)
    except ConnectionError:
        return None
    if reply.status == 200:
        oid = git_blob_oid(reply.body) if len(reply["ETag"]) == 42 else reply.sha256()
        assert not reply.complete or f'"{oid}"' == reply["ETag"], "a wrong file was completed"
    else:
        assert reply.status in (502, 503, 504), reply
        assert reply["X-Error-Code"] is None, "an invented 404 would be remembered for ever"
        assert reply["X-Hubcached-Error"]
    return reply


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SIZES)
def test_one_wrong_bit_is_never_completed(hub, daemon, repo, name, place):
    """A bit flipped on the way spoils the transfer and nothing else: the next try gets the file."""
    size = SIZES[name]
    offset = {"first": 0, "middle": size // 2, "last": size - 1}[place]
    fault = hub.fault(flip=offset, times=None, **BODY[name])
    reply = broken(daemon.client, repo + name)
    if reply and reply.status == 200:
        assert not reply.complete
        assert name == "large.safetensors", "a small file is verified before its first byte"
        assert len(reply.body) <= size - TAIL, "the tail is held until the digest is right"
    assert daemon.metric("digest_mismatches_total") >= 1
    assert daemon.metric("blobs_verified_total") == 0
    assert daemon.blob_file(hashlib.sha256(reply.body).hexdigest() if reply else "-") is None
    hub.clear_faults(fault)
    good = daemon.client.get(repo + name)
    assert good.status == 200 and good.complete
    oid = git_blob_oid(good.body) if name == "text.json" else good.sha256()
    assert good["ETag"] == f'"{oid}"'
    daemon.wait_metric("blobs_verified_total", 1)


def test_small_files_are_verified_before_the_first_byte(hub, daemon, repo):
    """Up to 8 MiB nothing leaves before everything has come and is right."""
    with hub.gate(after_bytes=SMALL - 1000, origin="cdn", times=1) as gate:
        with daemon.client.stream(repo + "small.safetensors") as stream:
            gate.wait_reached()
            stream.sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                stream.sock.recv(1)
            stream.sock.settimeout(10)
            gate.release()
            stream.head()
            body, whole = stream.rest()
    assert whole and hashlib.sha256(body).hexdigest() == stream.reply["ETag"].strip('"')


def test_large_files_stream_and_hold_their_tail(hub, daemon, repo):
    """A large file flows while it comes; its last 64 KiB wait for the verdict."""
    with hub.gate(after_bytes=LARGE - 1, origin="cdn", times=1) as gate:
        with daemon.client.stream(repo + "large.safetensors") as stream:
            gate.wait_reached()
            assert stream.head().status == 200
            assert len(stream.read(LARGE - TAIL - MIB)) == LARGE - TAIL - MIB
            rest = stream.read(MIB)
            assert stream.peek(0.5) == b"", "more than all but the tail came"
            assert len(rest) == MIB
            gate.release()
            body, whole = stream.rest()
    assert whole and len(body) == TAIL


def test_a_slow_small_file_streams_before_the_client_gives_up(hub, daemon, repo):
    """Clients give up after 10 s without a byte, so a file that takes longer starts to flow, its tail held."""
    with hub.gate(after_bytes=SMALL - 1000, origin="cdn", times=1) as gate:
        with daemon.client.stream(repo + "small.safetensors", timeout=10) as stream:
            assert stream.head().status == 200
            assert len(stream.read(MIB)) == MIB
            gate.release()
            body, whole = stream.rest()
    assert whole and hashlib.sha256(generated_bytes(1, 0, MIB) + body).hexdigest() == stream.reply["ETag"].strip('"')


LIES = {
    "body cut": {"truncate": LARGE // 2},
    "body reset": {"reset": LARGE // 3},
    "closed before the head": {"truncate": "before_head"},
    "closed after the head": {"truncate": "after_head"},
    "declared longer": {"content_length_delta": 100},
    "declared shorter": {"content_length_delta": -100},
    "no length, and cut": {"chunked": True, "chunked_cut": LARGE - 10},
    "compressed": {"gzip": True},
    "an error page with 200": {"status": 200, "body": "<html>maintenance</html>"},
    "an empty file": {"status": 200, "body": ""},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["large.safetensors", "text.json"])
def test_a_body_that_is_not_what_was_announced(hub, daemon, repo, name, lie):
    """Cut, stretched, compressed or replaced: never stored, never completed, and right again afterwards."""
    fault = {k: min(v, SIZES[name] // 2) if isinstance(v, int) and v > 200 else v for k, v in LIES[lie].items()}
    fault = hub.fault(times=None, **BODY[name], **fault)
    reply = broken(daemon.client, repo + name)
    if not reply or reply.status != 200 or not reply.complete:
        assert daemon.metric("blobs_verified_total") == 0
    hub.clear_faults(fault)
    good = daemon.client.get(repo + name)
    assert good.status == 200 and good.complete and len(good.body) == SIZES[name]


PARTS = {
    "other offset": {"content_range": f"bytes 1-{MIB}/{LARGE}"},
    "other total": {"content_range": f"bytes 0-{MIB - 1}/{LARGE + 1}"},
    "other unit": {"content_range": f"items 0-{MIB - 1}/{LARGE}"},
    "unknown total": {"content_range": f"bytes 0-{MIB - 1}/*"},
    "not satisfiable": {"force_416": True},
}


@pytest.mark.parametrize("lie", PARTS)
def test_a_part_that_is_not_the_one_that_was_asked_for(hub, daemon, repo, lie):
    """A 206 of something else is refused; afterwards the right bytes come."""
    fault = hub.fault(origin="cdn", header={"range": "."}, times=None, **PARTS[lie])
    reply = daemon.client.get(repo + "large.safetensors", range=f"bytes=2000-{MIB - 1}")
    if reply.status == 206:
        assert reply.body == generated_bytes(2, 2000, MIB - 2000)[: len(reply.body)]
    else:
        assert reply.status in (502, 503, 504), reply
    hub.clear_faults(fault)
    reply = daemon.client.get(repo + "large.safetensors", range=f"bytes=2000-{MIB - 1}")
    assert (reply.status, reply.complete) == (206, True)
    assert reply.body == generated_bytes(2, 2000, MIB - 2000)


def test_upstream_that_ignores_ranges(hub, daemon, repo):
    """200 to a range: the part is cut out of it, or the client is told; never shifted bytes."""
    hub.fault(origin="cdn", ignore_range=True, times=None)
    reply = daemon.client.get(repo + "large.safetensors", range=f"bytes={MIB}-{MIB + 99}")
    if reply.status == 206:
        assert reply.body == generated_bytes(2, MIB, 100)
    else:
        assert reply.status in (200, 502, 503, 504)
    whole = daemon.client.get(repo + "large.safetensors")
    assert whole.complete and whole.sha256() == whole["ETag"].strip('"')


def test_a_wrong_segment_never_becomes_a_file(hub, daemon, repo):
    """A flipped bit that came by a range spoils the whole later; all of it is fetched again and right."""
    fault = hub.fault(origin="cdn", flip=5 * MIB + 7, times=None)
    assert daemon.client.get(repo + "large.safetensors", range=f"bytes={5 * MIB}-{6 * MIB}").status == 206
    hub.clear_faults(fault)
    broken(daemon.client, repo + "large.safetensors")
    assert daemon.metric("digest_mismatches_total") == 1
    good = daemon.client.get(repo + "large.safetensors")
    assert good.complete and good.sha256() == good["ETag"].strip('"')


def test_a_resuming_client_cannot_mix_two_versions(hub, daemon, repo):
    """After a mismatch whoever goes on with what it has is answered 200 from the start, even after a restart."""
    target = repo + "large.safetensors"
    fault = hub.fault(origin="cdn", flip=100, times=None)
    broken(daemon.client, target)
    hub.clear_faults(fault)
    for _ in range(2):
        reply = daemon.client.get(target, range="bytes=1000000-")
        assert (reply.status, reply["Content-Length"], reply.complete) == (200, str(LARGE), True)
        assert reply.sha256() == reply["ETag"].strip('"')
        daemon.restart()


DISAGREE = {
    "etag": {"set_headers": {"X-Linked-Etag": '"' + "0" * 64 + '"'}},
    "size, smaller": {"set_headers": {"X-Linked-Size": str(LARGE - 1)}},
    "size, larger": {"set_headers": {"X-Linked-Size": str(LARGE + 1)}},
}


@pytest.mark.parametrize("what", DISAGREE)
def test_the_hub_contradicts_itself(hub, daemon, repo, what):
    """A file whose announced digest or size is not that of its bytes is not given out."""
    fault = hub.fault(origin="hub", path="large", times=None, **DISAGREE[what])
    broken(daemon.client, repo + "large.safetensors")
    assert daemon.metric("blobs_verified_total") == 0
    hub.clear_faults(fault)


@pytest.mark.parametrize(
    "value",
    [
        '"../../etc/passwd"',
        '"' + "A" * 10000 + '"',
        '"not-hex-at-all-but-forty-characters-long!"',
        "",
        '"' + "g" * 64 + '"',
        '"abc"',
        None,
    ],
)
def test_etags_that_name_no_digest(hub, daemon, repo, value):
    """The etag becomes a file name in the clients' caches: one that is no digest is not passed on."""
    fault = (
        {"set_headers": {"X-Linked-Etag": value}} if value is not None else {"drop_headers": ["X-Linked-Etag", "ETag"]}
    )
    hub.fault(origin="hub", path="large", times=None, **fault)
    for method in ("HEAD", "GET"):
        reply = daemon.client.request(method, repo + "large.safetensors")
        assert reply.status in (502, 503), reply
        assert reply["ETag"] is None
    assert not [n for n in daemon.files() if "passwd" in n]


def test_an_upper_case_digest_is_the_same_digest(hub, daemon, repo):
    """Hex has no case."""
    true = daemon.client.head(repo + "small.safetensors")["ETag"]
    hub.create_repo("models", "acme/upper")
    sha = hub.commit("models", "acme/upper", {"w.safetensors": Generated(SMALL, seed=1)})
    hub.fault(origin="hub", path="upper", times=None, set_headers={"X-Linked-Etag": true.upper()})
    reply = daemon.client.get(f"/acme/upper/resolve/{sha}/w.safetensors")
    assert reply.status in (200, 502)
    if reply.status == 200:
        assert reply["ETag"] == true


def flip_on_disk(path, offset):
    """Change one bit of a file behind the daemon's back."""
    path.chmod(0o600)
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 4]))
    path.chmod(0o400)


@pytest.mark.parametrize("offset", [0, 5 * MIB + 3, LARGE - 1])
def test_rot_on_the_disk_never_leaves(hub, daemon, repo, offset):
    """What the disk changed is noticed before it leaves; the file is set aside and fetched again."""
    target = repo + "large.safetensors"
    etag = daemon.client.get(target)["ETag"].strip('"')
    path = wait_until(lambda: daemon.blob_file(etag), "the stored file")
    daemon.stop()
    flip_on_disk(path, offset)
    daemon.start()
    start = offset // MIB * MIB
    reply = daemon.client.get(target, range=f"bytes={start}-{min(start + 200, LARGE - 1)}")
    if reply.status == 206 and reply.complete:
        assert reply.body == generated_bytes(2, start, len(reply.body))
    last = None
    for _ in range(3):
        last = daemon.client.get(target)
        assert not last.complete or last.status != 200 or last.sha256() == etag
        if last.complete and last.status == 200:
            break
    assert last.complete and last.sha256() == etag, "it is whole again after a few tries"
    daemon.wait_metric("blobs_corrupt_total", 1, seconds=2)


def test_a_blob_that_was_cut_short_or_removed_on_disk(hub, daemon, repo):
    """A stored file that is gone or too short is fetched again."""
    target = repo + "small.safetensors"
    etag = daemon.client.get(target)["ETag"].strip('"')
    path = wait_until(lambda: daemon.blob_file(etag), "the stored file")
    for harm in ("cut", "removed"):
        daemon.stop()
        path = daemon.blob_file(etag) or path
        path.chmod(0o600)
        if harm == "cut":
            with open(path, "r+b") as f:
                f.truncate(1000)
        else:
            path.unlink()
        daemon.start()
        replies = [daemon.client.get(target) for _ in range(2)]
        for reply in replies:
            assert reply.status != 200 or not reply.complete or reply.sha256() == etag
        assert replies[-1].complete and replies[-1].sha256() == etag


def test_xet_etag_of_the_cdn_is_not_taken_for_the_files(hub, daemon, repo):
    """The CDN names objects by another hash; the client sees the sha256 alone."""
    reply = daemon.client.get(repo + "small.safetensors")
    assert reply["ETag"].strip('"') == hub.file("models", "acme/m", "small.safetensors")["sha256"]


def test_redirects_to_where_tokens_must_not_go(hub, daemon, repo):
    """Only the configured hosts are followed, and none of them sees the token."""
    evil = hub.evil_url
    port = hub.url.rsplit(":", 1)[1]
    places = [
        f"{evil}/x",
        f"http://127.0.0.1:{int(port) ^ 1}/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        f"http://127.1:{port}/x",
        "http://0x7f000001/x",
        "http://[::ffff:127.0.0.3]/x",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/x",
        "http://localhost.evil.example/",
        f"http://user@{evil[7:]}/",
        f"//{evil[7:]}/x",
        "http://" + hub.cdn_url[7:] + ".evil.example/x",
        "\\\\evil\\x",
        "http://" + "a" * 70000,
        "",
        f"http://{hub.cdn_url[7:]}@{evil[7:]}/x",
    ]
    for n, place in enumerate(places):
        fault = hub.fault(origin="hub", path=f"resolve/.*n={n}$|large", times=None, redirect=place)
        reply = daemon.client.get(repo + "large.safetensors", token=ANN)
        assert reply.status in (502, 503, 404), (place, reply)
        assert reply["Location"] is None
        hub.clear_faults(fault)
    assert [r for r in hub.log("evil")] == []
    assert daemon.client.get(repo + "large.safetensors", token=ANN).complete


def test_redirect_loops_end(hub, daemon, repo):
    """Six hops or a circle: 502, at once."""
    hub.fault(origin="hub", path="large", times=None, redirect_loop=True)
    reply = daemon.client.get(repo + "large.safetensors")
    assert reply.status == 502
    assert len(hub.log("hub")) <= 12


def test_an_expired_signature_is_asked_for_anew(hub, daemon, repo):
    """CDN links die; a file that is asked for later still comes."""
    hub.quirks(cdn_ttl=-5)
    reply = daemon.client.get(repo + "small.safetensors")
    assert reply.status in (200, 502, 503, 403)
    hub.quirks(cdn_ttl=3600)
    assert daemon.client.get(repo + "small.safetensors").complete
    with_head = daemon.client.head(repo + "large.safetensors")
    hub.fault(origin="cdn", status=403, body="<Error><Code>AccessDenied</Code></Error>", times=1)
    reply = daemon.client.get(repo + "large.safetensors")
    assert reply.status == 200 and reply.complete and reply["ETag"] == with_head["ETag"]
