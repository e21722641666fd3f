"""The chunk storage judged by real clients with hf_xet, and by a plain client where no real one goes."""

import hashlib
import http.client
import json
import os
import random
import shutil
import struct
import subprocess
from urllib.parse import urlsplit

import pytest

from . import Generated, Hub, generated_bytes, xorbs
from .xorbs import Term, build_shard

VENVS = {
    "huggingface_hub 0.36": "HUBCACHED_VENV_036",
    "huggingface_hub 1.x": "HUBCACHED_VENV_1X",
    "huggingface_hub 2.x": "HUBCACHED_VENV_2X",
}
BIG, WEIGHTS = 12_000_000, 9_500_003


def sha256(data):
    """Return the sha256 of bytes in hex."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def hub():
    """Run one Hub for all tests of this file."""
    with Hub.start() as running:
        running.add_token("hf_ann", "ann", orgs=["acme"], role="write")
        running.add_token("hf_ann_reads", "ann", orgs=["acme"])
        running.add_token("hf_bob", "bob", role="write")
        for name in ("up", "tiny", "other"):
            running.create_repo("models", f"acme/{name}")
        running.create_repo("models", "acme/bare", init=False)
        running.create_repo("models", "acme/secret", private=True)
        running.commit("models", "acme/tiny", {"model.safetensors": Generated(WEIGHTS, seed=7)})
        yield running


@pytest.fixture(autouse=True)
def clean(hub):
    """Start every test with no faults, the default quirks and an empty journal."""
    hub.clear_faults()
    hub.up("s3")
    hub.quirks(xet=True, xet_grants=False, xet_token_ttl=900, cdn_ttl=3600)
    hub.clear_log()


@pytest.fixture(params=list(VENVS))
def reader(request):
    """Give the interpreter of each huggingface_hub in turn."""
    return interpreter(request.param)


@pytest.fixture(params=list(VENVS)[1:])
def python(request):
    """Give the interpreter of each huggingface_hub that uploads to the chunk storage by itself."""
    return interpreter(request.param)


def interpreter(name):
    """Return the interpreter of a huggingface_hub; skip without it."""
    path = os.environ.get(VENVS[name])
    if not path:
        pytest.skip(f"{name}: {VENVS[name]} does not name a Python with it")
    return path


def run(hub, python, home, *arguments, check=True, **env):
    """Run the `hf` command of a client as on a machine of its own."""
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_ENDPOINT": hub.url,
            "HF_TOKEN": "hf_ann", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*",
            "HF_XET_CLIENT_RETRY_BASE_DELAY": "20ms", "LC_ALL": "C.UTF-8", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    command = os.path.join(os.path.dirname(python), "hf")
    done = subprocess.run([command, *map(str, arguments)], env={**base, **env}, capture_output=True, text=True,
                          timeout=180)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    return done


def calls(hub, origin="cas"):
    """Return [method and first two segments] of the requests at an origin, each kind once, in order."""
    return list(dict.fromkeys(f"{r['method']} {'/'.join(r['path'].split('/')[:3])}" for r in hub.log(origin)))


def check_headers(hub):
    """The hub's tokens are never seen beside the hub, and the chunk storage's only there."""
    for row in hub.log():
        if row["origin"] != "hub":
            assert "hf_ann" not in str(row["raw_headers"])
        if row["origin"] == "cas":
            assert row["headers"]["authorization"].startswith("Bearer xet_")
            assert row["headers"]["user-agent"].split("; ")[-1].startswith("hf_xet/")
        if row["origin"] in ("cdn", "s3"):
            assert "authorization" not in row["headers"]


@pytest.mark.parametrize("grants", [False, True])
def test_upload_of_a_file(hub, python, tmp_path, grants):
    """`hf upload` brings a file to the chunk storage only, and others get it from there."""
    hub.quirks(xet_grants=grants)
    data = random.Random(f"{python}{grants}").randbytes(BIG)
    (tmp_path / "big.bin").write_bytes(data)
    run(hub, python, tmp_path / "ann", "upload", "acme/up", tmp_path / "big.bin", "sub/big.bin")
    through = "POST /v1/xorb-commits" if grants else "POST /v1/xorbs"
    assert calls(hub) == ["GET /v1/chunks", "POST /v1/xorb-grants", through, "POST /v2/shards"]
    assert hub.sent("cdn") == 0 and len(hub.log("s3")) == (1 if grants else 0)
    check_headers(hub)
    facts = hub.file("models", "acme/up", "sub/big.bin")
    assert (facts["sha256"], facts["size"], facts["lfs"]) == (sha256(data), BIG, True)
    hub.clear_log()
    run(hub, python, tmp_path / "other", "download", "acme/up", "sub/big.bin", "--local-dir", tmp_path / "out")
    assert (tmp_path / "out/sub/big.bin").read_bytes() == data
    assert calls(hub) == ["GET /v2/reconstructions"]
    assert all(r["path"].startswith("/xorbs/default/") for r in hub.log("cdn"))
    assert hub.log("cas")[0]["path"].endswith(facts["xet_hash"])
    check_headers(hub)
    again = hub.sent("cdn")
    assert BIG < again < BIG + 100_000


def make_folder(folder, seed):
    """Fill a folder with files that are stored in every way: plain, compressed, by planes of bytes, and small."""
    rng = random.Random(seed)
    files = {
        "random.bin": rng.randbytes(3_000_000),
        "text.bin": "".join(f"{n * 7919} line of text {seed} {n % 100}\n" for n in range(120_000)).encode(),
        "deep/er/floats.bin": b"".join(struct.pack("<f", rng.random() + n * 0.01) for n in range(300_001)) + b"odd",
        "zeros.safetensors": bytes(1_000_000),
        "small.bin": rng.randbytes(700),
        "twice.bin": 2 * rng.randbytes(400_000),
        "config.json": json.dumps({"seed": seed}).encode(),
        "notes/\u00e4 #1.txt": f"plain {seed}".encode(),
        "empty.txt": b"",
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return files


def test_upload_of_a_folder(hub, python, tmp_path):
    """A folder goes up in shared xorbs, compressed where that helps, and comes down as it was."""
    (tmp_path / "in").mkdir()
    files = make_folder(tmp_path / "in", seed=len(python))
    run(hub, python, tmp_path / "ann", "upload", "acme/other", tmp_path / "in", ".")
    check_headers(hub)
    brought = sum(r["body_length"] for r in hub.log("cas") if r["path"].startswith("/v1/xorbs/"))
    assert 0 < brought < sum(map(len, files.values())) * 0.8, "the text and the zeros came compressed"
    hub.clear_log()
    run(hub, python, tmp_path / "other", "download", "acme/other", "--local-dir", tmp_path / "out")
    for path, data in files.items():
        assert (tmp_path / "out" / path).read_bytes() == data, path
    assert not [r for r in hub.log("cdn") if not r["path"].startswith("/xorbs/default/")]


def test_second_upload_brings_nothing(hub, python, tmp_path):
    """A machine that uploaded a file before sends no chunk of it again; another machine with grants neither."""
    data = random.Random(python + "again").randbytes(2_000_000)
    (tmp_path / "a.bin").write_bytes(data)
    run(hub, python, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "one.bin")
    hub.clear_log()
    run(hub, python, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "two.bin")
    assert calls(hub) == ["POST /v2/shards"]
    hub.quirks(xet_grants=True)
    hub.clear_log()
    run(hub, python, tmp_path / "bob", "upload", "acme/up", tmp_path / "a.bin", "three.bin")
    assert [r["status"] for r in hub.log("cas") if "grants" in r["path"]] == [200] and not hub.log("s3")
    for name in ("one.bin", "two.bin", "three.bin"):
        assert hub.file("models", "acme/up", name)["sha256"] == sha256(data)


def test_clients_know_ways_out(hub, tmp_path):
    """What the storage does not offer or fails at once is done in another way."""
    python = interpreter("huggingface_hub 2.x")
    hub.quirks(xet_grants=True)
    hub.fault(origin="cas", path="^/v2/shards", status=404, times=None)
    hub.fault(origin="s3", path="/xet-uploads/", status=403, times=1)
    hub.fault(origin="cas", path="^/v2/reconstructions", status=404, times=None)
    hub.fault(origin="cdn", path="/xorbs/", status=403, times=1)
    data = random.Random("ways").randbytes(1_000_000)
    (tmp_path / "a.bin").write_bytes(data)
    run(hub, python, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "ways.bin")
    assert [r["status"] for r in hub.log("s3")] == [403, 200]
    assert [r["status"] for r in hub.log("cas") if r["path"].endswith("/shards")] == [404, 200]
    run(hub, python, tmp_path / "other", "download", "acme/up", "ways.bin", "--local-dir", tmp_path / "out")
    assert (tmp_path / "out/ways.bin").read_bytes() == data
    assert [r["status"] for r in hub.log("cdn")] == [403, 206]
    hub.down("s3")
    (tmp_path / "b.bin").write_bytes(data[::-1])
    run(hub, python, tmp_path / "ann", "upload", "acme/up", tmp_path / "b.bin", "ways.bin")
    assert hub.file("models", "acme/up", "ways.bin")["sha256"] == sha256(data[::-1])


def test_upload_that_the_batch_sends_here(hub, tmp_path):
    """huggingface_hub 0.36 uploads to the chunk storage when the LFS batch says so."""
    python = interpreter("huggingface_hub 0.36")
    data = random.Random("batch").randbytes(1_500_000)
    (tmp_path / "a.bin").write_bytes(data)
    hub.quirks(lfs_batch_xet=True)
    try:
        run(hub, python, tmp_path / "ann", "upload", "acme/up", tmp_path / "a.bin", "batch.bin")
    finally:
        hub.quirks(lfs_batch_xet=False)
    assert calls(hub) == ["GET /v1/chunks", "POST /v1/xorb-grants", "POST /v1/xorbs", "POST /v2/shards"]
    assert hub.file("models", "acme/up", "batch.bin")["sha256"] == sha256(data) and not hub.log("s3")


def test_who_may_not_write_learns_it(hub, python, tmp_path):
    """Neither a token that only reads nor that of a stranger uploads anything."""
    (tmp_path / "a.bin").write_bytes(bytes(100))
    for token in ("hf_ann_reads", "hf_bob"):
        done = run(hub, python, tmp_path / token, "upload", "acme/up", tmp_path / "a.bin", "no.bin", check=False,
                   HF_TOKEN=token)
        assert done.returncode != 0 and "403" in done.stdout + done.stderr
    assert not hub.log("cas")


def test_download_of_what_came_another_way(hub, reader, tmp_path):
    """Every client with hf_xet reads files through the chunk storage that nobody uploaded to it."""
    run(hub, reader, tmp_path / "home", "download", "acme/tiny", "model.safetensors", "--local-dir", tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == generated_bytes(7, 0, WEIGHTS)
    assert calls(hub) == ["GET /v2/reconstructions"]
    assert {r["path"][:7] for r in hub.log("cdn")} == {"/xorbs/"}
    check_headers(hub)


def test_javascript(hub, tmp_path):
    """The JavaScript client reads through the chunk storage, whole and in part."""
    where = os.environ.get("HUBCACHED_NODE_HUB")
    if not where or not shutil.which("node"):
        pytest.skip("@huggingface/hub: HUBCACHED_NODE_HUB does not name a folder with its node_modules")
    code = """
        const { createRequire } = require("node:module");
        const [where, hubUrl] = process.argv.slice(1);
        import(createRequire(where + "/x.js").resolve("@huggingface/hub")).then(async (hub) => {
            const blob = await hub.downloadFile({ repo: "acme/tiny", hubUrl, path: "model.safetensors", xet: true });
            const hash = async (b) => require("node:crypto").createHash("sha256")
                .update(Buffer.from(await b.arrayBuffer())).digest("hex");
            console.log(JSON.stringify([await hash(blob), await hash(blob.slice(8_000_001, 9_000_002))]));
        });
    """
    done = subprocess.run(["node", "-e", code, where, hub.url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    parts = generated_bytes(7, 0, WEIGHTS), generated_bytes(7, 8_000_001, 1_000_001)
    assert json.loads(done.stdout) == [sha256(p) for p in parts]
    assert {r["path"][:20] for r in hub.log("cas")} == {"/v2/reconstructions/"}
    assert {r["path"][:7] for r in hub.log("cdn")} == {"/xorbs/"}


# What no client does.


def ask(url, method="GET", body=None, **headers):
    """Send one request and return (status, headers in small letters, body)."""
    parts = urlsplit(url)
    conn = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        conn.request(method, url[url.index(parts.netloc) + len(parts.netloc):], body,
                     {k.replace("_", "-"): v for k, v in headers.items()})
        answer = conn.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        conn.close()


def token(hub, kind="write", repo="acme/up", rev="main", who="hf_ann", query=""):
    """Ask for a token of the chunk storage; return (status, headers, document)."""
    headers = {"Authorization": f"Bearer {who}"} if who else {}
    status, found, body = ask(f"{hub.url}/api/models/{repo}/xet-{kind}-token/{rev}{query}", **headers)
    return status, found, json.loads(body)


def cas(hub, path, method="GET", body=None, using=None, **headers):
    """Ask the chunk storage with a token for writing, or with another."""
    using = using or token(hub)[2]["accessToken"]
    return ask(hub.cas_url + path, method, body, Authorization=f"Bearer {using}", **headers)


def test_tokens(hub):
    """The hub gives tokens by the rights of the caller, in headers and body alike."""
    status, headers, said = token(hub)
    assert status == 200 and said["casUrl"] == headers["x-xet-cas-url"] == hub.cas_url
    assert said["accessToken"] == headers["x-xet-access-token"]
    assert str(said["exp"]) == headers["x-xet-token-expiration"]
    assert token(hub, who=None)[0] == 401 and token(hub, "read", who=None)[0] == 200
    assert token(hub, who="hf_ann_reads")[0] == token(hub, who="hf_bob")[0] == 403
    assert token(hub, who="hf_ann_reads", rev="refs%2Fpr%2F1")[0] == 404, "the right is there, the revision is not"
    assert token(hub, who="hf_bob", rev="None", query="?create_pr=1")[0] == 200
    assert token(hub, who="hf_bob", repo="acme/secret")[0] == token(hub, "read", "acme/secret", who="hf_bob")[0] == 404
    assert token(hub, rev="nope")[1]["x-error-code"] == "RevisionNotFound"
    assert token(hub, repo="acme/bare")[0] == 200, "a repository without commits takes uploads"


def test_rights_at_the_storage(hub):
    """A token is good for what it was given for, and for no longer than it says."""
    name, facts = "0" * 64, hub.file("models", "acme/tiny", "model.safetensors")
    path = f"/v2/reconstructions/{facts['xet_hash']}"
    read = token(hub, "read", "acme/tiny")[2]["accessToken"]
    assert cas(hub, path, using=read)[0] == 200
    assert cas(hub, path, using=token(hub, "read", "acme/other")[2]["accessToken"])[0] == 404
    assert cas(hub, path, using="xet_unknown")[0] == cas(hub, path, using="hf_ann")[0] == 401
    assert ask(hub.cas_url + path)[0] == 401
    for target in (f"/v1/xorbs/default/{name}", f"/v1/xorb-grants/default/{name}", "/v1/shards", "/v2/shards"):
        assert cas(hub, target, "POST", b"", using=read)[0] == 403
    hub.quirks(xet_token_ttl=-1)
    assert cas(hub, path, using=token(hub, "read", "acme/tiny")[2]["accessToken"])[0] == 401


def put_xorb(hub, *chunks):
    """Store plain chunks as a xorb and return its name."""
    name = sha256(b"".join(chunks))
    assert cas(hub, f"/v1/xorbs/default/{name}", "POST", xorbs.build_xorb(chunks))[0] == 200
    return name


def test_shards_are_checked(hub):
    """A file whose terms do not give its SHA-256, and one whose chunks are not there, are not registered."""
    name = put_xorb(hub, b"one" * 100, b"two" * 100, b"three" * 100)
    whole = b"two" * 100 + b"three" * 100 + b"two" * 100
    terms = [Term(name, 800, 1, 3), Term(name, 300, 1, 2)]
    stored = {name: [300, 300, 500]}
    good = ("a1" * 32, terms, sha256(whole))
    bad = {
        "digest": build_shard([("b1" * 32, terms, sha256(b"else"))], stored),
        "chunk": build_shard([("b2" * 32, [Term(name, 300, 3, 4)], sha256(b""))], stored),
        "xorb": build_shard([("b3" * 32, [Term("c" * 64, 300, 0, 1)], sha256(b""))], stored),
        "length": build_shard([("b4" * 32, [Term(name, 301, 0, 1)], sha256(b""))], stored),
        "section": build_shard([good], {name: [300, 301, 500]}),
        "cut": build_shard([good], stored)[:-48],
        "tag": b"x" + build_shard([good], stored)[1:],
    }
    for why, body in bad.items():
        assert cas(hub, "/v1/shards", "POST", body)[0] == 400, why
        status, headers, answer = cas(hub, "/v2/shards", "POST", body)
        if why == "digest":
            last = json.loads(answer.splitlines()[-1])
            assert status == 200 and last["type"] == "error" and last["retryable"] is False
        else:
            assert status == 400, why
    status, headers, answer = cas(hub, "/v2/shards", "POST", build_shard([good], stored))
    assert status == 200 and headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["type"] for line in answer.splitlines()] == [
        "validating", "validating", "committing", "committing", "result"]
    assert json.loads(cas(hub, "/v1/shards", "POST", build_shard([good], stored))[2]) == {"result": 0}
    assert json.loads(cas(hub, "/v1/shards", "POST", build_shard([("a2" * 32, *good[1:])], stored))[2]) == {"result": 1}
    assert cas(hub, "/v1/files/" + "a1" * 32, "HEAD")[1]["content-length"] == str(len(whole))
    assert cas(hub, "/v2/reconstructions/" + "b1" * 32)[0] == 404


def test_xorbs_are_checked(hub):
    """A xorb must consist of chunks; the same one again is no news."""
    path = "/v1/xorbs/default/" + "e" * 64
    head = xorbs.chunk_header
    for body in (b"", b"short", head(5, 0, 5) + b"four", head(4, 0, 5) + b"four", head(4, 7, 4) + b"four",
                 head(0, 1, 131073), b"\1" + head(4, 0, 4)[1:] + b"four"):
        assert cas(hub, path, "POST", body)[0] == 400
    for news in (True, False):
        assert json.loads(cas(hub, path, "POST", head(4, 0, 4) + b"four")[2]) == {"was_inserted": news}
    assert cas(hub, path, "HEAD")[1]["content-length"] == "12"
    assert cas(hub, "/v1/chunks/default-merkledb/" + "e" * 64)[0] == cas(hub, "/v3/anything")[0] == 404
    assert ask(hub.cas_url + "/v1/telemetry", "POST", b"{}")[0] == 200


@pytest.mark.parametrize("version", [1, 2])
def test_ranges(hub, version):
    """A part of a file is made of the chunks that meet it, in both forms of the answer."""
    chunks = [bytes([n]) * (1000 + n) for n in range(6)]
    name = put_xorb(hub, *chunks)
    order = [4, 0, 1, 5]
    whole = b"".join(chunks[n] for n in order)
    terms = [Term(name, 1004, 4, 5), Term(name, 2001, 0, 2), Term(name, 1005, 5, 6)]
    file = "d%d" % version * 32
    assert cas(hub, "/v1/shards", "POST",
               build_shard([(file, terms, sha256(whole))], {name: [len(c) for c in chunks]}))[0] == 200
    for first, last in ((0, None), (0, 18446744073709551614), (0, 0), (1003, 1004), (1500, 3500), (4009, 4009),
                        (2004, 2004)):
        spec = {} if last is None else {"Range": f"bytes={first}-{last}"}
        status, _, body = cas(hub, f"/v{version}/reconstructions/{file}", **spec)
        assert status == 200
        answer = json.loads(body)
        got = b""
        for term in answer["terms"]:
            a, b = term["range"]["start"], term["range"]["end"]
            if version == 2:
                places = [(p["url"], r["chunks"], r["bytes"]) for p in answer["xorbs"][name] for r in p["ranges"]]
            else:
                places = [(p["url"], p["range"], p["url_range"]) for p in answer["fetch_info"][name]]
            url, held, where = next(p for p in places if p[1]["start"] <= a and b <= p[1]["end"])
            status, headers, body = ask(url, Range=f"bytes={where['start']}-{where['end']}")
            assert status == 206 and len(body) == where["end"] - where["start"] + 1
            assert xorbs.decode_records(body) == b"".join(chunks[held["start"]:held["end"]])
            part = b"".join(chunks[a:b])
            assert len(part) == term["unpacked_length"]
            got += part
        last = len(whole) - 1 if last is None else min(last, len(whole) - 1)
        got = got[answer["offset_into_first_range"]:]
        assert got[:last - first + 1] == whole[first:last + 1] and len(got) - (last - first + 1) < 1005
    assert cas(hub, f"/v{version}/reconstructions/{file}", Range=f"bytes={len(whole)}-{len(whole) + 5}")[0] == 416


def test_signed_urls(hub):
    """The bytes of a xorb are given for the signed ranges only, alone or together."""
    facts = hub.file("models", "acme/tiny", "model.safetensors")
    name = put_xorb(hub, b"a" * 10, b"b" * 20, b"c" * 30)
    terms = [Term(name, 10, 0, 1), Term(name, 30, 2, 3)]
    digest = sha256(b"a" * 10 + b"c" * 30)
    assert cas(hub, "/v1/shards", "POST", build_shard([("e1" * 32, terms, digest)], {name: [10, 20, 30]}))[0] == 200
    place, = json.loads(cas(hub, "/v2/reconstructions/" + "e1" * 32)[2])["xorbs"][name]
    assert [r["bytes"] for r in place["ranges"]] == [{"start": 0, "end": 17}, {"start": 46, "end": 83}]
    url = place["url"]
    assert ask(url, Range="bytes=46-83")[2][8:] == b"c" * 30
    status, headers, body = ask(url, Range="bytes=0-17,46-83")
    assert status == 206 and headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert body.count(b"\r\n\r\n") == 2 and b"Content-Range: bytes 46-83/84\r\n\r\n" in body
    assert ask(url)[0] == ask(url, Range="bytes=0-18")[0] == ask(url.replace("Expires=1", "Expires=2"))[0] == 403
    assert ask(url, Range="bytes=0-17", Authorization="Bearer x")[0] == 400
    read = token(hub, "read", "acme/tiny")[2]["accessToken"]
    hub.quirks(cdn_ttl=-1)
    found = json.loads(cas(hub, f"/v2/reconstructions/{facts['xet_hash']}", using=read)[2])
    old = next(iter(found["xorbs"].values()))[0]
    assert ask(old["url"], Range="bytes={start}-{end}".format(**old["ranges"][0]["bytes"]))[0] == 403


def test_grants(hub):
    """A grant takes exactly the body that it was asked for, once, and counts when it is committed."""
    hub.quirks(xet_grants=True)
    name, body = "f" * 64, xorbs.chunk_header(4, 0, 4) + b"four"
    wanted = {"length": len(body), "checksum": {"algo": "crc64nvme", "value": str(xorbs.crc64nvme(body))}}
    path = f"/v1/xorb-grants/default/{name}"
    for wrong in (b"", b"[]", json.dumps({**wanted, "length": "1"}).encode()):
        assert cas(hub, path, "POST", wrong)[0] == 400
    status, _, answer = cas(hub, path, "POST", json.dumps(wanted).encode())
    grant = json.loads(answer)
    assert status == 201 and set(grant) == {"id", "method", "url", "headers"}
    end = f"/v1/xorb-commits/default/{name}/grant/{grant['id']}"
    assert cas(hub, end, "POST")[0] == 404
    sent = {k.replace("-", "_"): v for k, v in grant["headers"].items()}
    assert ask(grant["url"], "PUT", body)[0] == 403, "its headers are missing"
    assert ask(grant["url"], "PUT", body, **sent, Authorization="Bearer x")[0] == 400
    assert ask(grant["url"], "PUT", body[:-1] + b"x", **sent)[0] == 400, "the checksum is that of another body"
    assert ask(grant["url"], "PUT", body, **sent)[0] == 200
    assert ask(grant["url"], "PUT", body, **sent)[0] == 412
    assert cas(hub, end.replace(name, "0" * 64), "POST")[0] == 404
    assert cas(hub, end, "POST")[0] == 200
    assert cas(hub, path, "POST", json.dumps(wanted).encode())[0] == 200, "it exists"


def test_decoding():
    """Frames with every kind of block and match, and planes of bytes of every remainder, come out right."""
    head = bytes.fromhex("04224d18") + b"\x40\x40\xc0"
    end = bytes(4)
    plain = struct.pack("<I", 1 << 31 | 5) + b"hello"
    block = bytes([0x3F]) + b"abc" + b"\3\0" + bytes([255, 7]) + bytes([0x50]) + b"12345"
    packed = struct.pack("<I", len(block)) + block
    text = b"abc" * 94 + b"abc"[:(3 + 4 + 15 + 262) % 3]
    assert xorbs.lz4_frame(head + plain + packed + end) == b"hello" + text[:3 + 19 + 262] + b"12345"
    for wrong in (head, head + plain, b"junk" + head + end, head + struct.pack("<I", 4) + b"\x0f\1\0\0" + end,
                  head + struct.pack("<I", 9) + b"abc"):
        with pytest.raises(xorbs.Malformed):
            xorbs.lz4_frame(wrong)
    for size in range(1, 14):
        data = bytes(range(size))
        assert xorbs.ungroup(b"".join(data[k::4] for k in range(4))) == data
    assert xorbs.crc64nvme(b"123456789") == 0xAE8B14860A799888
