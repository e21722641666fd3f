"""Every fault of the Hub for tests, seen from a plain socket, and the rules that no real client can show."""

import gzip
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from . import Generated, Hub, LocalFile, Sparse, generated_bytes, git_blob_oid
from .world import CONFIG, WEIGHTS, populate

FILE = "/acme/tiny/resolve/main/model.safetensors"
API = "/api/models/acme/tiny"
LINK = "/xet-bridge-us/"


@pytest.fixture(scope="module")
def hub():
    """Run one Hub for all tests of this file."""
    with Hub.start() as running:
        running.known = populate(running)
        yield running


@pytest.fixture(autouse=True)
def clean(hub):
    """Start every test with no faults, the default quirks and an empty journal."""
    hub.clear_faults()
    hub.up("hub")
    hub.quirks(xet=True, page_size=1000, list_page_size=100, rate_limit=None, cdn_ttl=3600, cdn_etag="xet",
               resolve_cache_307_has_headers=True, repo_not_found_code_on_401=False, serve_directly=None)
    hub.clear_log()


def connect(url):
    """Open a socket to an origin."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def read_all(sock):
    """Return (bytes, how it ended): "eof" or "reset"."""
    data = bytearray()
    try:
        while part := sock.recv(1 << 16):
            data += part
    except ConnectionResetError:
        return bytes(data), "reset"
    return bytes(data), "eof"


def fetch(url, method="GET", body=b"", **headers):
    """Send one request on a new connection; return (status, headers, raw body, end of connection)."""
    parts = urlsplit(url)
    with connect(url) as sock:
        lines = [f"{method} {url[len(parts.scheme) + 3 + len(parts.netloc):]} HTTP/1.1", f"Host: {parts.netloc}",
                 "Connection: close"] + [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        data, end = read_all(sock)
    head, _, rest = data.partition(b"\r\n\r\n")
    rows = head.decode("latin-1").split("\r\n")
    found = {}
    for row in rows[1:]:
        name, _, value = row.partition(": ")
        found[name.lower()] = value
    return int(rows[0].split(" ")[1]) if head else None, found, rest, end


def location(hub):
    """Return a signed CDN URL of the weights."""
    return fetch(hub.url + FILE)[1]["location"]


WHOLE = generated_bytes(7, 0, WEIGHTS)


def test_bytes_and_counts(hub):
    """The CDN sends exactly the file, and the journal counts exactly its bytes."""
    status, headers, body, _ = fetch(location(hub))
    assert (status, body) == (200, WHOLE)
    assert hub.sent("cdn") == WEIGHTS
    assert headers["etag"] == f'"{hub.file("models", "acme/tiny", "model.safetensors")["xet_hash"]}"'
    row = hub.log("cdn")[0]
    assert row["status"] == 200 and row["done"] and row["end"] >= row["start"] and not row["peer_closed"]
    status, headers, body, _ = fetch(location(hub), Range="bytes=10-19")
    assert (status, body, headers["content-range"]) == (206, WHOLE[10:20], f"bytes 10-19/{WEIGHTS}")
    assert hub.sent("cdn") == WEIGHTS + 10


@pytest.mark.parametrize("spec,answer", [
    ("bytes=0-0", (206, f"bytes 0-0/{WEIGHTS}")), ("bytes=-1", (206, f"bytes {WEIGHTS - 1}-{WEIGHTS - 1}/{WEIGHTS}")),
    (f"bytes=5-{WEIGHTS + 9}", (206, f"bytes 5-{WEIGHTS - 1}/{WEIGHTS}")), ("bytes=5-2", (200, None)),
    (f"bytes={WEIGHTS}-", (416, f"bytes */{WEIGHTS}")), ("bytes=0-1,3-4", (200, None)), ("items=0-1", (200, None)),
])
def test_ranges(hub, spec, answer):
    """Ranges are honoured, clamped, refused or ignored as storage services do."""
    status, headers, _, _ = fetch(location(hub), Range=spec)
    assert (status, headers.get("content-range")) == answer


def test_cdn_guards(hub):
    """The CDN refuses credentials, wrong signatures and expired links."""
    url = location(hub)
    assert fetch(url, Authorization="Bearer hf_ann")[0] == 400
    assert fetch(url.replace("Expires=1", "Expires=2"))[0] == 403
    hub.quirks(cdn_ttl=-5)
    assert fetch(location(hub))[0] == 403


def test_resolve_of_git_files(hub):
    """A git file is a relative 307 to bytes that may be compressed, conditional or raw."""
    url = hub.url + "/acme/tiny/resolve/main/config.json"
    status, headers, _, _ = fetch(url)
    assert status == 307 and headers["location"].startswith("/api/resolve-cache/models/acme/tiny/")
    assert headers["x-repo-commit"] == hub.known["head"] and "x-linked-size" not in headers
    target = hub.url + headers["location"]
    assert fetch(target)[2] == fetch(target.partition("?")[0])[2] == CONFIG
    status, headers, body, _ = fetch(target, Accept_Encoding="gzip")
    assert headers["etag"].startswith('W/"') and headers["content-encoding"] == "gzip"
    assert "content-length" not in headers and gzip.decompress(unchunk(body)) == CONFIG
    head = fetch(target, "HEAD", Accept_Encoding="gzip")[1]
    assert "content-length" not in head and "accept-ranges" not in head
    assert fetch(target, Range="bytes=0-0", Accept_Encoding="gzip")[1]["content-range"] == f"bytes 0-0/{len(CONFIG)}"
    etag = f'"{hub.known["files"]["config.json"]["oid"]}"'
    assert fetch(url, If_None_Match=etag)[0] == fetch(target, If_None_Match=etag)[0] == 304
    assert fetch(url.replace("/resolve/", "/raw/"), If_None_Match=etag)[0] == 200
    hub.quirks(resolve_cache_307_has_headers=False)
    assert "x-repo-commit" not in fetch(url)[1]


def unchunk(data):
    """Return the payload of a chunked body."""
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        n = int(size, 16)
        if n == 0:
            return out
        out, data = out + data[:n], data[n + 2:]
    raise AssertionError("the last chunk is missing")


def test_redirected_names(hub):
    """Other spellings and old names are relative redirects which keep path and query."""
    status, headers, _, _ = fetch(hub.url + "/api/models/ACME/Tiny/tree/main?recursive=True")
    assert (status, headers["location"]) == (307, "/api/models/acme/tiny/tree/main?recursive=True")
    status, headers, _, _ = fetch(hub.url + "/acme/old-name/resolve/main/config.json")
    assert (status, headers["location"]) == (307, "/acme/new-name/resolve/main/config.json")


def test_errors_on_the_wire(hub):
    """Statuses, codes and texts are those that clients compare with."""
    def shown(path, **headers):
        status, found, _, _ = fetch(hub.url + path, **headers)
        return status, found.get("x-error-code"), found.get("x-error-message")
    bob, ann = {"Authorization": "Bearer hf_bob"}, {"Authorization": "Bearer hf_ann"}
    gone = (401, None, "Invalid username or password.")
    hidden = (404, "RepoNotFound", "Repository not found")
    assert shown("/api/models/acme/nope") == shown("/api/models/acme/secret") == gone
    assert shown("/api/models/acme/nope", **bob) == shown("/acme/secret/resolve/main/x", **bob) == hidden
    assert shown("/api/models/acme/secret", **ann)[0] == 200
    assert shown("/acme/gated/resolve/main/config.json")[:2] == (401, "GatedRepo")
    assert shown("/acme/gated/resolve/v9/config.json", **bob)[:2] == (403, "GatedRepo")
    assert shown(API, Authorization="Bearer hf_x") == (401, None, "Invalid credentials in Authorization header")
    assert shown("/acme/tiny/resolve/v9/x") == (404, "RevisionNotFound", "Invalid rev id: v9")
    assert shown("/acme/tiny/resolve/main/x") == (404, "EntryNotFound", "Entry not found")
    assert fetch(hub.url + "/acme/tiny/resolve/main/x")[1]["x-repo-commit"] == hub.known["head"]
    assert shown("/api/models/acme/disabled")[0] == 200
    assert shown("/acme/disabled/resolve/main/config.json") == (
        403, "DisabledRepo", "Access to this resource is disabled.")
    assert shown("/api/models/acme/gated")[0] == shown("/api/models/acme/gated/tree/main")[0] == 200
    assert shown("/api/models/acme/gated/commits/main")[:2] == (401, "GatedRepo")
    assert shown(API + "?expand=nonsense")[0] == 400
    assert shown("/api/nothing")[0] == 404
    hub.quirks(repo_not_found_code_on_401=True)
    assert shown("/api/models/acme/nope")[1] == "RepoNotFound"
    hub.grant("bob", "models", "acme/gated")
    assert shown("/acme/gated/resolve/main/config.json", **bob)[0] == 200
    hub.revoke("bob", "models", "acme/gated")
    assert shown("/acme/gated/resolve/main/config.json", **bob)[0] == 403
    basic = {"Authorization": "Basic YW55OmhmX2Fubg=="}
    assert shown("/api/models/acme/secret", **basic)[0] == 200
    hub.add_token("hf_short", "carl")
    hub.revoke_token("hf_short")
    assert shown(API, Authorization="Bearer hf_short")[0] == 401


def test_revision_spellings(hub):
    """A ref may be one encoded segment or three plain ones; a path may be one segment or many."""
    for rev in ("refs%2Fpr%2F1", "refs/pr/1"):
        assert fetch(f"{hub.url}/acme/tiny/resolve/{rev}/pr.txt")[0] == 307
        assert json.loads(fetch(f"{hub.url}{API}/tree/{rev}")[2])
    one = fetch(f"{hub.url}{API}/tree/main/sub%20dir%2Fdeep")[2]
    assert one == fetch(f"{hub.url}{API}/tree/main/sub%20dir/deep")[2]
    assert fetch(f"{hub.url}/api/models/gpt2/tree/main")[0] == 200
    assert fetch(f"{hub.url}{API}/revision/refs%2Fpr%2F1")[0] == 200
    assert fetch(f"{hub.url}{API}/revision/refs/pr/1")[0] == 404
    short = fetch(f"{hub.url}/acme/tiny/resolve/{hub.known['head'][:7]}/README.md")
    assert short[0] == 307 and short[1]["x-repo-commit"] == hub.known["head"]


def test_served_in_place(hub):
    """Git files that must not enter the public resolve cache are served at once."""
    for path, status in (("gpt2/resolve/main/config.json", 200), ("acme/tiny/resolve/main/empty.txt", 200),
                         ("acme/tiny/resolve/main/config.json", 307)):
        assert fetch(f"{hub.url}/{path}")[0] == status
    status, headers, body, _ = fetch(hub.url + "/acme/secret/resolve/main/config.json",
                                     Authorization="Bearer hf_ann")
    assert (status, body) == (200, CONFIG) and headers["etag"] == f'"{git_blob_oid(CONFIG)}"'
    hub.quirks(serve_directly=True)
    assert fetch(hub.url + "/acme/tiny/resolve/main/config.json")[0] == 200


def test_framework_etags(hub):
    """Documents and errors carry the weak etags of the Hub's web framework, and documents answer conditions."""
    assert fetch(hub.url + "/acme/tiny/resolve/main/x")[1]["etag"] == 'W/"f-mY2VvLxuxB7KhsoOdQTlMTccuAQ"'
    etag = fetch(hub.url + API)[1]["etag"]
    assert fetch(hub.url + API, If_None_Match=etag)[0] == 304


def test_paging(hub):
    """Next links are absolute and lead through everything once."""
    hub.quirks(page_size=700)
    url, seen, pages = f"{hub.url}/api/models/acme/many/tree/main?recursive=true", [], 0
    while url:
        _, headers, body, _ = fetch(url)
        seen += [row["path"] for row in json.loads(body)]
        pages += 1
        url = headers["link"].partition(">")[0][1:] if "link" in headers else None
        assert url is None or url.startswith(hub.url)
    assert pages == 4 and len(seen) == len(set(seen)) == 2501


def test_git_lfs_batch(hub):
    """A download batch gives signed links without further authentication."""
    lfs = hub.known["files"]["model.safetensors"]
    body = json.dumps({"operation": "download", "objects": [
        {"oid": lfs["sha256"], "size": lfs["size"]}, {"oid": "0" * 64, "size": 1}]}).encode()
    answer = json.loads(fetch(hub.url + "/acme/tiny.git/info/lfs/objects/batch", "POST", body)[2])
    assert fetch(answer["objects"][0]["actions"]["download"]["href"])[2] == WHOLE
    assert answer["objects"][1]["error"]["code"] == 404


def test_status_fault(hub):
    """A fixed answer comes for the chosen requests only, the chosen number of times."""
    hub.fault(path="/api/models/acme/tiny$", status=429, headers={"Retry-After": "7"}, body='{"error":"slow"}', times=2)
    for expected in (429, 429, 200):
        status, headers, body, _ = fetch(hub.url + API)
        assert status == expected
    fault = hub.fault(path=FILE, header={"range": "bytes=5-"}, status=503, times=None)
    assert fetch(hub.url + FILE)[0] == 302
    assert fetch(hub.url + FILE, Range="bytes=5-")[0] == 503
    assert hub.call("fault_hits", id=fault) == 1
    hub.clear_faults(fault)
    hub.fault(path=API, status=500, skip=1, method="GET")
    assert [fetch(hub.url + API)[0] for _ in range(3)] == [200, 500, 200]


def test_misspelt_fault_is_refused(hub):
    """A fault with an unknown key cannot be added."""
    with pytest.raises(Exception, match="unknown fault keys"):
        hub.fault(pth="/", status=500)


@pytest.mark.parametrize("cut", [0, 1, 65536, WEIGHTS - 1])
def test_cuts(hub, cut):
    """A cut by reset or by an early end comes exactly after the chosen byte."""
    for kind, end in (("reset", "reset"), ("truncate", "eof")):
        hub.fault(origin="cdn", **{kind: cut})
        _, headers, body, ended = fetch(location(hub))
        assert (headers["content-length"], body, ended) == (str(WEIGHTS), WHOLE[:cut], end)
        assert hub.log("cdn")[-1]["sent"] == cut


def test_cuts_at_the_head(hub):
    """The connection can be reset before or after the head, or closed when it is accepted."""
    hub.fault(origin="hub", reset="before_head")
    assert fetch(hub.url + API)[2:] == (b"", "reset")
    hub.fault(origin="hub", reset="after_head")
    status, _, body, end = fetch(hub.url + API)
    assert (status, body, end) == (200, b"", "reset")
    hub.fault(origin="hub", accept_close=True)
    with connect(hub.url) as sock:
        assert read_all(sock)[0] == b""
    assert fetch(hub.url + API)[0] == 200


def test_flip(hub):
    """A flipped bit sits at its place of the file, in whole answers and in ranges."""
    hub.fault(origin="cdn", flip={"offset": 100_000, "bit": 3}, times=None)
    bad = bytearray(WHOLE)
    bad[100_000] ^= 8
    assert fetch(location(hub))[2] == bad
    assert fetch(location(hub), Range="bytes=99990-100009")[2] == bad[99990:100010]
    assert fetch(location(hub), Range="bytes=0-10")[2] == WHOLE[:11]
    hub.clear_faults()
    hub.fault(path="resolve-cache", flip=0)
    headers = fetch(hub.url + "/acme/tiny/resolve/main/config.json")[1]
    assert fetch(hub.url + headers["location"])[2] == bytes([CONFIG[0] ^ 1]) + CONFIG[1:]


def test_lengths(hub):
    """The declared length can be wrong or missing."""
    for delta in (-10, 10):
        hub.fault(origin="cdn", content_length_delta=delta)
        _, headers, body, _ = fetch(location(hub))
        assert int(headers["content-length"]) == WEIGHTS + delta and body == WHOLE
    hub.fault(origin="cdn", no_length=True)
    _, headers, body, _ = fetch(location(hub))
    assert "content-length" not in headers and body == WHOLE


def test_ranges_broken(hub):
    """Ranges can be ignored, refused, or answered with a wrong Content-Range."""
    hub.fault(origin="cdn", ignore_range=True)
    assert fetch(location(hub), Range="bytes=5-9")[0] == 200
    hub.fault(origin="cdn", force_416=True)
    assert fetch(location(hub), Range="bytes=5-9")[0] == 416
    hub.fault(origin="cdn", content_range="bytes 6-10/999")
    assert fetch(location(hub), Range="bytes=5-9")[1]["content-range"] == "bytes 6-10/999"


def test_headers(hub):
    """Headers can be changed, removed, made huge or many, and filled with control bytes."""
    hub.fault(path=FILE, set_headers={"X-Linked-Etag": '"../x"'}, drop_headers=["X-Repo-Commit"])
    headers = fetch(hub.url + FILE)[1]
    assert headers["x-linked-etag"] == '"../x"' and "x-repo-commit" not in headers
    hub.fault(path=FILE, huge_header=1 << 20, many_headers=3000, raw_head="X-Bad: a\x00b\x1b[0m\r\n")
    headers = fetch(hub.url + FILE)[1]
    assert len(headers["x-huge"]) == 1 << 20 and headers["x-many-2999"] == "2999" and "\x1b" in headers["x-bad"]
    hub.fault(path=FILE, reason="x" * 65536)
    assert fetch(hub.url + FILE)[0] == 302
    hub.fault(path=API, raw="HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n")
    assert fetch(hub.url + API)[0] == 99


def test_encodings(hub):
    """File bytes can come compressed, and a chunked body can lack its end."""
    hub.fault(origin="cdn", gzip=True)
    _, headers, body, _ = fetch(location(hub))
    assert headers["content-encoding"] == "gzip" and gzip.decompress(body) == WHOLE
    hub.fault(origin="cdn", chunked=True)
    assert unchunk(fetch(location(hub))[2]) == WHOLE
    hub.fault(origin="cdn", chunked_cut=WEIGHTS)
    with pytest.raises(AssertionError, match="last chunk"):
        unchunk(fetch(location(hub))[2])


def test_redirect_faults(hub):
    """Redirects lead where the test says: to the evil origin, in loops, through hops."""
    hub.fault(path=FILE, redirect=hub.evil_url + "/steal")
    assert fetch(hub.url + FILE)[1]["location"] == hub.evil_url + "/steal"
    fetch(hub.evil_url + "/steal", Authorization="Bearer canary")
    assert hub.log("evil")[0]["headers"]["authorization"] == "Bearer canary"
    hub.fault(path=API, redirect_hops=6, times=None, redirect_status=307)
    url, hops = hub.url + API, 0
    while (answer := fetch(url))[0] == 307:
        url, hops = hub.url + answer[1]["location"], hops + 1
    assert hops == 6 and answer[0] == 200
    hub.clear_faults()
    hub.fault(path=API, redirect_loop=True, redirect_status=308)
    assert fetch(hub.url + API)[:2][1]["location"] == API


@pytest.mark.parametrize("kind", ["deep", "bomb", "utf8", "truncated", "numbers", "duplicate", "html", "empty"])
def test_json_garbage(hub, kind):
    """Every kind of hostile document is sent."""
    hub.fault(path=API, json_garbage=kind)
    status, headers, body, _ = fetch(hub.url + API)
    assert status == 200 and (len(body) > 0) == (kind != "empty")


def test_gate(hub):
    """A gate holds an answer at a byte until it is opened, and other requests pass meanwhile."""
    with hub.gate(after_bytes=1000, origin="cdn") as gate, ThreadPoolExecutor() as pool:
        url = location(hub)
        waiting = [pool.submit(fetch, url) for _ in range(3)]
        gate.wait_reached(3)
        assert [r["sent"] for r in hub.log("cdn")] == [1000] * 3 and not any(w.done() for w in waiting)
        assert fetch(hub.url + API)[0] == 200
        gate.release()
        assert all(w.result()[2] == WHOLE for w in waiting)


def test_gate_sees_the_client_leave(hub):
    """A client that leaves at a gate is noticed."""
    with hub.gate(after_bytes="before_head", path="acme/tiny$") as gate:
        with connect(hub.url) as sock:
            sock.sendall(f"GET {API} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            gate.wait_reached()
        hub.wait_requests(path="acme/tiny$", done=True)
        assert hub.log("hub")[0]["peer_closed"]


def test_hang_and_slowness(hub):
    """Answers can stand still for ever, drip, or come late."""
    hub.fault(origin="cdn", hang=10)
    url = location(hub)
    with connect(url) as sock:
        sock.sendall(f"GET {url[len(hub.cdn_url):]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        hub.wait_requests(origin="cdn")
        data = sock.recv(65536)
        while not data.partition(b"\r\n\r\n")[2][9:]:
            data += sock.recv(65536)
        row = hub.log("cdn")[0]
        assert row["held"] and row["sent"] == 10
    hub.wait_requests(origin="cdn", done=True)
    hub.clear_log()
    hub.fault(path="model.safetensors", delay_head=0.05, delay_body=0.05)
    fetch(hub.url + FILE)
    row = hub.log("hub")[0]
    assert row["end"] - row["start"] >= 0.1
    hub.fault(origin="cdn", rate=1000)
    fetch(location(hub), Range="bytes=0-199")
    row = hub.log("cdn")[-1]
    assert row["sent"] == 200 and row["end"] - row["start"] > 0.15


def test_down_and_up(hub):
    """A Hub that is down refuses connections, ends open ones, and comes back on the same port."""
    with connect(hub.url) as sock:
        hub.down()
        assert read_all(sock)[0] == b""
        with pytest.raises(ConnectionRefusedError):
            connect(hub.url)
    hub.up()
    assert fetch(hub.url + API)[0] == 200


def test_rate_limit(hub):
    """A set limit is enforced and announced."""
    hub.quirks(rate_limit={"api": 2})
    answers = [fetch(hub.url + API)[:2] for _ in range(3)]
    assert [a[0] for a in answers] == [200, 200, 429]
    assert answers[1][1]["ratelimit"].startswith('"api";r=0;t=') and int(answers[2][1]["retry-after"]) > 0


def test_many_connections(hub):
    """Four hundred clients at once are served."""
    url = location(hub)
    with hub.gate(after_bytes=0, origin="cdn") as gate, ThreadPoolExecutor(400) as pool:
        jobs = [pool.submit(fetch, url, Range=f"bytes={n}-{n + 9}") for n in range(400)]
        gate.wait_reached(400)
        gate.release()
        assert all(job.result()[2] == WHOLE[n:n + 10] for n, job in enumerate(jobs))


def test_keep_alive_and_pipelining(hub):
    """Two requests sent at once on one connection are answered in order."""
    with connect(hub.url) as sock:
        one = f"GET {API} HTTP/1.1\r\nHost: x\r\n\r\n"
        two = "HEAD /acme/tiny/resolve/main/config.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        sock.sendall((one + two).encode())
        data, _ = read_all(sock)
    assert data.count(b"HTTP/1.1 200") == 1 and data.count(b"HTTP/1.1 307") == 1
    rows = hub.log("hub")
    assert rows[0]["connection"] == rows[1]["connection"]


def test_big_files(hub, tmp_path):
    """Sparse, local and generated files need no memory and keep their bytes."""
    hub.create_repo("models", "acme/big")
    (tmp_path / "local").write_bytes(os.urandom(400_000))
    hub.commit("models", "acme/big", {
        "sparse.bin": Sparse(64 << 20, {0: b"start", (64 << 20) - 3: b"end"}),
        "local.bin": LocalFile(tmp_path / "local"), "gen.bin": Generated(5 << 20, seed="s")})
    url = fetch(hub.url + "/acme/big/resolve/main/sparse.bin")[1]["location"]
    assert fetch(url, Range="bytes=-3")[2] == b"end"
    url = fetch(hub.url + "/acme/big/resolve/main/local.bin")[1]["location"]
    assert fetch(url)[2] == (tmp_path / "local").read_bytes()
    url = fetch(hub.url + "/acme/big/resolve/main/gen.bin")[1]["location"]
    assert fetch(url, Range="bytes=4000000-4000099")[2] == generated_bytes("s", 4_000_000, 100)


def test_publish_folder_matches_git(hub, tmp_path):
    """Ids are those that git itself computes."""
    (tmp_path / "repo" / "a.b").mkdir(parents=True)
    for name, text in (("a.b/x", "1"), ("a-c", "2"), ("z/y/x", "4")):
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text(text)
    hub.create_repo("datasets", "acme/git", init=False)
    hub.publish_folder("datasets", "acme/git", tmp_path / "repo")
    rows = {r["path"]: r["oid"] for r in json.loads(
        fetch(hub.url + "/api/datasets/acme/git/tree/main?recursive=true")[2])}
    where = {"cwd": tmp_path / "repo", "check": True, "capture_output": True, "text": True}
    subprocess.run(["git", "init", "-q"], **where)
    subprocess.run(["git", "add", "."], **where)
    tree = subprocess.run(["git", "write-tree"], **where).stdout.strip()
    listed = subprocess.run(["git", "ls-tree", "-rt", tree], **where).stdout.strip().split("\n")
    assert rows == {line.split("\t")[1]: line.split("\t")[0].split(" ")[2] for line in listed}


def test_request_bodies_are_logged(hub):
    """Bodies of any framing are in the journal."""
    fetch(hub.url + "/api/models/acme/tiny/paths-info/main", "POST", b"paths=config.json&expand=True",
          Content_Type="application/x-www-form-urlencoded")
    row = hub.log("hub")[0]
    assert row["body"] == b"paths=config.json&expand=True" and row["status"] == 200


def test_parallel_control(hub):
    """Commands from several threads do not disturb each other."""
    def work(n):
        hub.create_repo("models", f"par/r{n}")
        return hub.commit("models", f"par/r{n}", {"f.txt": str(n)})
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(work, range(32)))) == 32
    assert threading.active_count() < 40


def test_other_routes(hub):
    """The smaller reads answer with the documents that clients parse."""
    def get(path, **headers):
        status, _, body, _ = fetch(hub.url + path, **headers)
        return status, json.loads(body)
    ann = {"Authorization": "Bearer hf_ann"}
    assert get(f"{API}/treesize/main/sub%20dir")[1]["size"] == len("odd name") + len("# other\n" * 50)
    assert get(f"{API}/scan")[1]["scansDone"] is True
    assert get(f"{API}/lfs-files")[0] == 401
    assert get(f"{API}/lfs-files", **ann)[1][0]["size"] == WEIGHTS
    assert "+from a pull request" in fetch(f"{hub.url}{API}/compare/main..refs%2Fpr%2F1")[2].decode()
    assert get("/api/models-tags-by-type")[1]["license"][0]["id"] == "license:mit"
    assert get("/api/daily_papers")[1][0]["title"] == get("/api/papers/1706.03762")[1]["title"]
    assert get("/api/users/ann/likes")[1][0]["repo"]["name"] == "acme/tiny"
    assert get("/api/organizations/acme/overview")[1]["name"] == "acme"
    assert get("/api/collections?owner=acme")[1][0]["items"][0]["id"] == "acme/tiny"
    assert get(f"{API}/refs")[1]["converts"] == []
    assert get("/api/datasets/acme/data/refs")[1]["converts"][0]["ref"] == "refs/convert/parquet"
    assert get(f"{API}?securityStatus=True&blobs=true")[1]["securityRepoStatus"]["scansDone"]
    assert set(get(f"{API}?expand[]=likes")[1]) == {"_id", "id", "likes"}
    assert get("/api/models?filter=license:mit")[1][0]["id"] == "acme/tiny"
    assert get("/api/spaces/acme/app")[1]["runtime"]["stage"] == "RUNNING"
    assert fetch(hub.url + "/api/telemetry/x", "HEAD")[0] == 200
    checked = fetch(hub.url + "/api/validate-yaml", "POST", json.dumps({"content": "---\na: b\n---\n"}).encode())
    assert json.loads(checked[2]) == {"errors": [], "warnings": []}
    hub.create_repo("kernels", "acme/kern")
    hub.commit("kernels", "acme/kern", {"build.toml": "x"})
    assert get("/api/kernels/acme/kern")[0] == 200
    assert fetch(hub.url + "/kernels/acme/kern/resolve/main/build.toml")[0] == 307
    status, token = get(f"{API}/xet-read-token/main")
    assert status == 200 and set(token) == {"casUrl", "accessToken", "exp"}


def test_chunked_request_and_expect(hub):
    """A chunked body after an Expect is read, answered and logged."""
    with connect(hub.url) as sock:
        sock.sendall(f"POST {API}/paths-info/main HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
                     "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        body = b'{"paths":["config.json"]}'
        sock.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert read_all(sock)[0].startswith(b"HTTP/1.1 200 ")
    assert hub.log("hub")[0]["body"] == body


def test_tls(tmp_path):
    """The origins speak TLS when given a certificate, and the certificate can be changed."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    def make(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-subj", f"/CN={name}", "-days", "2", "-keyout", tmp_path / f"{name}.key",
                        "-out", tmp_path / f"{name}.pem", "-addext", "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"],
                       check=True, capture_output=True)
        return str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key")
    def get(port, certificate):
        context = ssl.create_default_context(cafile=certificate)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1") as sock:
            sock.sendall(b"GET /api/whoami-v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return read_all(sock)[0].split(b" ")[1]
    one, two = make("one"), make("two")
    with Hub.start(tls_certificate=one[0], tls_key=one[1]) as hub:
        assert hub.url.startswith("https://") and hub.cdn_url.startswith("https://")
        port = urlsplit(hub.url).port
        assert get(port, one[0]) == b"401"
        hub.certificate("hub", *two)
        with pytest.raises(ssl.SSLError):
            get(port, one[0])
        assert get(port, two[0]) == b"401"
        hub.create_repo("models", "a/b")
        hub.commit("models", "a/b", {"x.bin": Generated(2_000_000)})
        done = subprocess.run(["curl", "-fsSLk", hub.url + "/a/b/resolve/main/x.bin"], capture_output=True, check=True)
        assert done.stdout == generated_bytes(0, 0, 2_000_000)
        assert hub.sent("cdn") == 2_000_000
