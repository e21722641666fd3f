"""A mirror carried over: export here, import into a daemon that has no Hub, and what hostile bundles do not achieve."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import ANN, CONFIG_JSON, LARGE_LFS, SMALL_LFS, populate

from tests.support import clients
from tests.support.daemon import wait_until
from tests.support.http import Client

ALONE = {"mode": "offline"}


def make_key(folder, name="key"):
    """Make an ed25519 key; return the paths of its private and its public half."""
    openssl, private, public = clients.tool("openssl"), folder / f"{name}.pem", folder / f"{name}.pub"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run([openssl, "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return str(private), str(public)


@pytest.fixture
def source(hub, make_daemon):
    """A daemon that has mirrored a few repositories, public and not."""
    known = populate(hub)
    daemon = make_daemon()
    files = [row["path"] for row in Client(hub.url).get("/api/models/acme/tiny/tree/main?recursive=true").json()]
    for path in (
        "/api/models/acme/tiny",
        "/api/models/acme/tiny?blobs=true",
        "/api/models/acme/tiny/revision/main",
        "/api/models/acme/tiny/tree/main?recursive=true",
        "/api/models/acme/tiny/refs",
        "/acme/tiny/resolve/v1/config.json",
        "/acme/tiny/resolve/main/nope.json",
        "/datasets/acme/data/resolve/main/x/train.csv",
        "/acme/old-name/resolve/main/config.json",
        *(f"/acme/tiny/resolve/main/{quote(name)}" for name in files if "." in name),
    ):
        assert daemon.client.get(path).status in (200, 404), path
    for name in ("secret", "gated"):
        assert daemon.client.get(f"/acme/{name}/resolve/main/config.json", token=ANN).status == 200
        assert daemon.client.get(f"/api/models/acme/{name}", token=ANN).status == 200
    # What an answer teaches is written down after it.
    for name, commits in (("acme/tiny", 2), ("datasets/acme/data", 1), ("acme/secret", 1), ("acme/gated", 1)):
        wait_until(lambda n=name, c=commits: knows(daemon, n) == c, f"{name} is known")
    daemon.known = known
    return daemon


def knows(daemon, name, here=1):
    """Return how many commits a daemon knows of which it has so many files."""
    page = f"/-/api/v1/bundle/rows?repository={name}&part="
    commits = daemon.admin.get(page + "commits").json().get("commits", [])
    files = [daemon.admin.get(f"{page}files&commit={row['commit']}").json()["files"] for row in commits]
    return sum(sum(f.get("here", False) for f in of_one) >= here for of_one in files)


@pytest.fixture
def target(make_daemon):
    """A daemon without a Hub, in mode offline."""
    return make_daemon(ALONE, hub=None)


SNAPSHOT = """
import os
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import EntryNotFoundError
folder = snapshot_download("acme/tiny")
rows = {n: os.path.getsize(os.path.join(folder, n)) for n in ("config.json", "model.safetensors", "small.safetensors")}
try:
    hf_hub_download("acme/tiny", "nope.json")
    rows["nope"] = "found"
except EntryNotFoundError as e:
    rows["nope"] = type(e).__name__
api = HfApi()
rows["sha"] = api.model_info("acme/tiny").sha
rows["tree"] = len(list(api.list_repo_tree("acme/tiny", recursive=True)))
rows["paths"] = [p.size for p in api.get_paths_info("acme/tiny", ["model.safetensors"])]
rows["refs"] = sorted(t.name for t in api.list_repo_refs("acme/tiny").tags)
rows["old"] = os.path.getsize(hf_hub_download("acme/old-name", "config.json"))
rows["v1"] = open(hf_hub_download("acme/tiny", "config.json", revision="v1")).read()
result = rows
"""


@pytest.mark.parametrize("version", ["0.36", "1.x", "2.x"])
def test_carried_over(source, target, version, tmp_path):
    """A client with an empty cache gets from the other side what the first side had, and nothing else."""
    private, public = make_key(tmp_path)
    out = source.command("export", "--all", "--out", str(tmp_path / "bundle"), "--key", private)
    assert "signed" in out
    out = target.command("import", str(tmp_path / "bundle"), "--trust", public)
    assert "are not public" in out
    rows = clients.python(version, SNAPSHOT, target.url, tmp_path / "home")
    assert rows == {
        "config.json": len(CONFIG_JSON),
        "model.safetensors": LARGE_LFS,
        "small.safetensors": SMALL_LFS,
        "nope": rows["nope"],
        "sha": source.known["head"],
        "tree": 12,
        "paths": [LARGE_LFS],
        "refs": ["v1"],
        "old": len(CONFIG_JSON),
        "v1": "{}",
    }
    assert "EntryNotFound" in rows["nope"] and "Local" not in rows["nope"]
    client = target.client
    reply = client.get("/acme/tiny/resolve/main/model.safetensors", range="bytes=100-199")
    assert reply.status == 206
    assert reply.body == source.client.get("/acme/tiny/resolve/main/model.safetensors").body[100:200]
    assert client.get("/datasets/acme/data/resolve/main/x/train.csv").status == 200
    assert client.get("/api/models/acme/other")["X-Hubcached-Error"] == "offline-miss"
    # Who may see these only the Hub can say.
    for name in ("secret", "gated"):
        for token in (None, ANN):
            for path in (f"/acme/{name}/resolve/main/config.json", f"/api/models/acme/{name}"):
                reply = client.get(path, token=token)
                assert (reply.status, reply["X-Hubcached-Error"]) == (504, "offline-miss"), path
    target.restart()
    assert target.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON
    assert " 0 damaged" in target.command("verify")


def test_one_revision(source, target, tmp_path):
    """Only what was named is carried; a commit, a tag, a name that leads elsewhere; mistakes are said."""
    bundle = str(tmp_path / "bundle")
    source.command("export", "acme/tiny@v1", "datasets/acme/data", "--out", bundle)
    target.command("import", bundle, "--unsigned")
    assert target.client.get("/acme/tiny/resolve/v1/config.json").body == b"{}"
    assert target.client.get("/acme/tiny/resolve/main/config.json").status == 504
    assert target.client.get("/datasets/acme/data/resolve/main/x/train.csv").status == 200
    assert target.client.get("/acme/new-name/resolve/main/config.json").status == 504
    head = source.known["head"]
    source.command("export", f"acme/tiny@{head}", "acme/old-name", "--out", bundle)
    target.command("import", bundle, "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON
    assert target.client.get("/acme/old-name/resolve/main/config.json").body == CONFIG_JSON
    assert "acme/nope: it cannot be exported" in source.command("export", "acme/nope", "--out", bundle, code=1)
    assert not Path(bundle, "manifest.json").exists()
    assert "no commit of v9" in source.command("export", "acme/tiny@v9", "--out", bundle, code=1)
    assert "is not known here" in source.command("export", "acme/tiny@" + "1" * 40, "--out", bundle, code=1)
    assert "say --all" in source.command("export", "--out", bundle, code=2)
    assert "named like" in source.command("export", "../x", "--out", bundle, code=2)
    assert "it has no manifest" in target.command("import", str(tmp_path), "--unsigned", code=1)


def test_signatures(source, target, make_daemon, tmp_path):
    """Who signed it must be trusted, by flag or by option; nobody's bundle is taken only when that is said."""
    private, public = make_key(tmp_path)
    _, other = make_key(tmp_path, "other")
    signed, plain = str(tmp_path / "signed"), str(tmp_path / "plain")
    source.command("export", "acme/tiny", "--out", signed, "--key", private)
    source.command("export", "acme/tiny", "--out", plain)
    openssl = clients.tool("openssl")
    subprocess.run(
        [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public]
        + ["-in", f"{signed}/manifest.json", "-sigfile", f"{signed}/manifest.sig"],
        check=True,
    )
    assert "no key is trusted here" in target.command("import", signed, code=1)
    assert "not signed by a key" in target.command("import", signed, "--trust", other, code=1)
    assert "not signed: --unsigned" in target.command("import", plain, "--trust", public, code=1)
    assert "cannot be read" in target.command("import", signed, "--trust", "/nonexistent", code=1)
    assert "no ed25519 public key" in target.command("import", signed, "--trust", private, code=1)
    manifest = Path(signed, "manifest.json")
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b'"public"', b'"gated" '))
    assert "not signed by a key" in target.command("import", signed, "--trust", public, code=1)
    manifest.write_bytes(good)
    assert target.client.get("/acme/tiny/resolve/main/config.json").status == 504
    target.write_config({"import": {"trusted_keys": [other, public]}})
    target.command("import", signed)
    assert target.client.get("/acme/tiny/resolve/main/config.json").status == 200
    assert "no ed25519 private key" in source.command("export", "acme/tiny", "--out", plain, "--key", public, code=1)
    assert Path(plain, "manifest.json").exists(), "a wrong key costs nothing"


def test_increments(hub, source, target, tmp_path):
    """A later bundle holds what is new; it says what it needs, and is refused without that."""
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    source.command("export", "--all", "--out", first)
    assert source.command("diff", f"{first}/manifest.json") == "nothing\n"
    hub.commit("models", "acme/tiny", {"config.json": CONFIG_JSON, "new.txt": b"new bytes"})
    source.restart({"cache": {"ref_ttl": "0s"}})
    assert source.client.get("/acme/tiny/resolve/main/new.txt").status == 200
    assert source.client.get("/api/models/acme/tiny?blobs=true").status == 200
    wait_until(
        lambda: source.command("diff", f"{first}/manifest.json") == "acme/tiny: 1 commits, 1 files, 9 B\n",
        "the new commit is known",
    )
    rows = json.loads(source.command("diff", "--json", f"{first}/manifest.json"))
    assert rows == [{"repository": "acme/tiny", "commits": 1, "files": 1, "bytes": 9}]
    out = source.command("export", "--all", "--since", f"{first}/manifest.json", "--out", second)
    assert "1 files, 9 B" in out and "has to be imported first" in out
    assert sum(1 for p in Path(second, "blobs").rglob("*") if p.is_file()) == 1
    assert "import that one first" in target.command("import", second, "--unsigned", code=1)
    assert target.client.get("/acme/tiny/resolve/main/new.txt").status == 504
    target.command("import", first, "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/new.txt").status in (404, 504)
    target.command("import", second, "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/new.txt").body == b"new bytes"
    assert target.client.get("/acme/tiny/resolve/main/model.safetensors").status == 200
    # An older word of upstream does not undo a newer one.
    target.command("import", first, "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/new.txt").body == b"new bytes"


def test_resumed(source, target, tmp_path):
    """What is there is not written or sent again; what is half there, or wrong, is."""
    bundle = tmp_path / "bundle"
    source.command("export", "acme/tiny", "--out", str(bundle))
    files = sorted(p for p in (bundle / "blobs").rglob("*") if p.is_file())
    stamps = {p: p.stat().st_mtime_ns for p in files}
    files[0].write_bytes(files[0].read_bytes()[:-1] or b"x")
    files[1].unlink()
    (files[2].parent / f"{files[2].name}.part").write_bytes(b"half")
    (bundle / "manifest.json").unlink()
    source.command("export", "acme/tiny", "--out", str(bundle))
    assert [p for p in files[2:] if p.stat().st_mtime_ns != stamps[p]] == []
    assert not list((bundle / "blobs").rglob("*.part.part"))
    assert "files were not here yet" in target.command("import", str(bundle), "--unsigned")
    assert "; 0 files were not here yet" in target.command("import", str(bundle), "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/model.safetensors").status == 200


def rewrite(bundle, change):
    """Change a bundle's manifest as its maker could, with digests and sizes of the rows made right again."""
    path = Path(bundle, "manifest.json")
    manifest = json.loads(path.read_text())
    change(manifest)
    for i, repo in enumerate(manifest["repositories"]):
        rows = Path(bundle, f"rows/{i:06}.jsonl")
        if rows.is_file() and isinstance(repo, dict) and "rows" in repo:
            data = rows.read_bytes()
            repo["rows"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))


def edit_rows(bundle, change):
    """Change the lines of the first repository."""
    path = Path(bundle, "rows/000000.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rewrite(bundle, lambda m: None)


def first_file(lines):
    """Return the row of a file that is here."""
    return next(f for line in lines for f in line.get("files", []) if f.get("here"))


def blobs(bundle):
    """Return the files of a bundle, the largest first."""
    return sorted((p for p in Path(bundle, "blobs").rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)


def replace_by(make):
    """Return a change that puts something else in the place of a bundle's largest file."""

    def change(bundle):
        path = blobs(bundle)[0]
        copy = path.rename(Path(bundle, "elsewhere"))
        make(copy, path)

    return change


def set_row(**fields):
    """Return a change of a file's row."""
    return lambda b: edit_rows(b, lambda lines: first_file(lines).update(fields))


def append(path, data):
    """Return a change that appends to a file of the bundle."""

    def change(bundle):
        with open(Path(bundle, path), "ab") as f:
            f.write(data)

    return change


def truncated(bundle):
    """Cut a file."""
    path = blobs(bundle)[0]
    os.truncate(path, path.stat().st_size - 1)


def flipped(bundle):
    """Change one bit of a file."""
    path = blobs(bundle)[0]
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def linked_folder(bundle):
    """Lead to the files through a link."""
    Path(bundle, "blobs").rename(Path(bundle, "elsewhere"))
    Path(bundle, "blobs").symlink_to("elsewhere")


def twice_in_manifest(bundle):
    """Name a file twice, with two sizes."""
    path = Path(bundle, "manifest.json")
    text = path.read_text()
    name = next(iter(json.loads(text)["blobs"]))
    path.write_text(text.replace('"blobs":{', '"blobs":{"%s":1,' % name).replace('"blobs": {', '"blobs": {"%s":1,' % name))


def manifest_with(**fields):
    """Return a change of the manifest."""
    return lambda b: rewrite(b, lambda m: m.update(fields))


def repo_with(**fields):
    """Return a change of the first repository in the manifest."""
    return lambda b: rewrite(b, lambda m: m["repositories"][0].update(fields))


HOSTILE = {
    # reliability.md table I
    "123 path up": set_row(path="../../etc/passwd"),
    "123 absolute path": set_row(path="/etc/passwd"),
    "123 NUL in a path": set_row(path="a\0b"),
    "123 long path": set_row(path="x/" * 2048 + "y"),
    "123 name in the manifest": manifest_with(blobs={"../../../etc/passwd": 1}),
    "123 repository up": repo_with(repository="../../x"),
    "124 link": replace_by(lambda copy, path: path.symlink_to(copy)),
    "124 chain of links": replace_by(lambda copy, path: (Path(f"{copy}2").symlink_to(copy), path.symlink_to(f"{copy}2"))),
    "124 link to a device": replace_by(lambda copy, path: path.symlink_to("/dev/zero")),
    "124 FIFO": replace_by(lambda copy, path: os.mkfifo(path)),
    "124 folder": replace_by(lambda copy, path: path.mkdir()),
    "124 sparse": replace_by(lambda copy, path: (path.touch(), os.truncate(path, copy.stat().st_size))),
    "124 linked folder": linked_folder,
    "125 other bytes": flipped,
    "125 size of a row": set_row(size=7),
    "125 size in the manifest": lambda b: rewrite(b, lambda m: m["blobs"].update({next(iter(m["blobs"])): 1})),
    "125 missing file": lambda b: blobs(b)[0].unlink(),
    "125 file that is not listed": lambda b: rewrite(b, lambda m: m["blobs"].pop(next(iter(m["blobs"])))),
    "126 claims terabytes": lambda b: rewrite(b, lambda m: m["blobs"].update({"sha256:" + "0" * 64: 1 << 50})),
    "126 deep": lambda b: Path(b, "manifest.json").write_text("[" * 100_000),
    "126 sparse manifest": lambda b: os.truncate(Path(b, "manifest.json"), 1 << 40),
    "126 sparse rows": lambda b: os.truncate(Path(b, "rows/000000.jsonl"), 1 << 40),
    "127 truncated": truncated,
    "127 truncated manifest": lambda b: os.truncate(Path(b, "manifest.json"), 200),
    "127 trailing bytes of rows": append("rows/000000.jsonl", b"{}\n"),
    "127 trailing bytes of the manifest": append("manifest.json", b"{}"),
    "127 a file twice": twice_in_manifest,
    "127 a repository twice": lambda b: rewrite(b, lambda m: m["repositories"].append(m["repositories"][0])),
    "127 no end of line": lambda b: (
        os.truncate(Path(b, "rows/000000.jsonl"), Path(b, "rows/000000.jsonl").stat().st_size - 1),
        rewrite(b, lambda m: None),
    ),
    "129 database": lambda b: (
        Path(b, "rows/000000.jsonl").write_bytes(b"SQLite format 3\0" + bytes(4000)),
        rewrite(b, lambda m: None),
    ),
    "rows are no file": lambda b: (Path(b, "rows/000000.jsonl").unlink(), Path(b, "rows/000000.jsonl").mkdir()),
    "another format": manifest_with(format=2),
    "unknown member": manifest_with(more=1),
    "unknown member of a row": set_row(more=1),
    "digest in capitals": set_row(lfs="A" * 64),
    "document of another": lambda b: edit_rows(b, lambda lines: lines.insert(0, {"documents": [
        {"key": "repo-info models acme/other   ", "status": 200, "at": 1, "body": "{}"}]})),
    "header in a document": lambda b: edit_rows(b, lambda lines: lines.insert(0, {"documents": [
        {"key": "repo-info models acme/tiny   ", "status": 200, "at": 1, "body": "{}", "link": "a\r\nSet-Cookie: b"}]})),
    "branch to nowhere": lambda b: edit_rows(b, lambda lines: lines.append({"refs": [
        {"name": "main", "commit": "1" * 40, "at": 1}]})),
    "commit that is not listed": lambda b: edit_rows(b, lambda lines: lines.append(
        {"commit": "1" * 40, "completeness": 2, "files": []})),
    "line of something else": lambda b: edit_rows(b, lambda lines: lines.append({"pins": []})),
}


def test_hostile_bundles(source, target, tmp_path):
    """Each is refused whole: nothing can be seen, no half of a file stays, and the daemon goes on."""
    good = tmp_path / "good"
    source.command("export", "acme/tiny", "--out", str(good))
    for name, change in HOSTILE.items():
        bundle = tmp_path / "bad"
        shutil.copytree(good, bundle)
        change(bundle)
        out = target.command("import", str(bundle), "--unsigned", code=1, timeout=30)
        assert out.strip(), name
        for path in ("/acme/tiny/resolve/main/config.json", "/acme/tiny/resolve/main/model.safetensors"):
            assert target.client.get(path).status == 504, name
        assert target.client.get("/api/models/acme/tiny").status == 504, name
        assert [f for f in target.files() if f.startswith("staging/")] == [], name
        shutil.rmtree(bundle)
    target.command("import", str(good), "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON


def test_bits_that_are_dropped(source, target, tmp_path):
    """Table I 130: setuid and foreign modes of the medium do not come along; nothing else in it is read."""
    bundle = tmp_path / "bundle"
    source.command("export", "acme/tiny", "--out", str(bundle))
    for path in blobs(bundle):
        path.chmod(0o4755)
    (bundle / "evil").symlink_to("/etc")
    (bundle / "blobs/sha256/zz").mkdir()
    (bundle / "rows/999999.jsonl").write_text("{}")
    target.command("import", str(bundle), "--unsigned")
    for name in target.files():
        if name.startswith("blobs/"):
            assert (target.data_dir / name).stat().st_mode & 0o7777 == 0o400


def test_closed_stays_closed(hub, source, make_daemon, tmp_path):
    """Table I 128: a bundle that nobody signed does not open what is known to be closed; a signed one says what it says."""
    private, public = make_key(tmp_path)
    bundle = tmp_path / "bundle"
    source.command("export", "acme/secret", "--out", str(bundle))
    other = make_daemon({"mode": "fallback"})
    assert other.client.get("/acme/secret/resolve/main/config.json", token=ANN).status == 200
    assert other.client.get("/api/models/acme/secret", token=ANN).status == 200
    other.restart({"mode": "offline"})
    now = int(time.time() * 1000)
    rewrite(bundle, lambda m: m["repositories"][0].update(visibility="public", at=now + 10**12))
    other.command("import", str(bundle), "--unsigned")
    assert other.client.get("/acme/secret/resolve/main/config.json").status == 504
    rewrite(bundle, lambda m: m["repositories"][0].update(upstream_id="0" * 24))
    assert "another repository of that name" in other.command("import", str(bundle), "--unsigned", code=1)
    # The Hub opened it, and somebody who is trusted saw that.
    hub.set_visibility("models", "acme/secret", private=False)
    source.restart({"cache": {"permission_ttl": "0s", "repo_doc_ttl": "0s", "ref_ttl": "0s"}})
    assert source.client.get("/api/models/acme/secret").status == 200
    shutil.rmtree(bundle)
    source.command("export", "acme/secret", "--out", str(bundle), "--key", private)
    other.command("import", str(bundle), "--trust", public)
    assert other.client.get("/acme/secret/resolve/main/config.json").status == 200


def test_moments_of_the_future(source, target, tmp_path):
    """I-20: a clock that was ahead does not make what it said unbeatable."""
    bundle = tmp_path / "bundle"
    source.command("export", "acme/tiny", "--out", str(bundle))
    later = int(time.time() * 1000) + 10 * 365 * 86400 * 1000

    def ahead(lines):
        for line in lines:
            for row in line.get("refs", []) + line.get("documents", []) + line.get("aliases", []):
                row["at"] = later

    edit_rows(bundle, ahead)
    rewrite(bundle, lambda m: m["repositories"][0].update(at=later))
    target.command("import", str(bundle), "--unsigned")
    reply = target.client.get("/acme/tiny/resolve/main/config.json")
    assert (reply.status, reply.body) == (200, CONFIG_JSON)
    shutil.rmtree(bundle)
    source.command("export", "acme/tiny", "--out", str(bundle))
    target.command("import", str(bundle), "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON


def test_no_room(source, make_daemon, tmp_path):
    """Table I 126, 138: a bundle larger than the limit is refused before anything is written."""
    bundle = str(tmp_path / "bundle")
    source.command("export", "acme/tiny", "--out", bundle)
    small = make_daemon({"mode": "offline", "cache": {"max_size": "5MiB"}}, hub=None)
    assert "there is no room" in small.command("import", bundle, "--unsigned", code=1)
    assert not [f for f in small.files() if f.startswith(("staging/", "blobs/"))]


def test_killed_in_the_middle(source, target, tmp_path):
    """Table I 131: whatever dies, a second import ends what the first began."""
    bundle = str(tmp_path / "bundle")
    source.command("export", "--all", "--out", bundle)
    digest = hashlib.sha256(source.client.get("/acme/tiny/resolve/main/model.safetensors").body).hexdigest()
    data = Path(bundle, f"blobs/sha256/{digest[:2]}/{digest}").read_bytes()
    with target.admin.stream(
        f"/-/api/v1/bundle/blobs/sha256:{digest}", "PUT", headers=[("Content-Length", str(len(data)))]
    ) as s:
        s.sock.sendall(data[: len(data) // 2])
        target.kill()
    target.start()
    assert target.client.get("/acme/tiny/resolve/main/config.json").status == 504
    target.command("import", bundle, "--unsigned")
    assert target.client.get("/acme/tiny/resolve/main/model.safetensors").body == data
    target.stop()
    assert "no daemon" in target.command("import", bundle, "--unsigned", code=75)


def test_damaged_at_the_source(source, tmp_path):
    """Table I 132: a file that cannot be read, or is damaged, is named, and there is no bundle; the rest of it stays."""
    body = source.client.get("/acme/tiny/resolve/main/model.safetensors").body
    digest = hashlib.sha256(body).hexdigest()
    bundle = tmp_path / "bundle"
    source.stop()
    blob = source.blob_file(digest)
    blob.chmod(0o600)
    with open(blob, "r+b") as f:
        f.seek(len(body) - 5)
        f.write(bytes([body[-5] ^ 1]))
    source.start()
    assert digest in source.command("export", "acme/tiny", "--out", str(bundle), code=1)
    assert not (bundle / "manifest.json").exists()
    assert not list(bundle.rglob("*.part"))
    kept = len(blobs(bundle))
    # It is out of the store by now: the bundle is whole without it, and says so.
    out = source.command("export", "acme/tiny", "--out", str(bundle))
    assert "have no bytes here" in out
    assert digest not in (bundle / "manifest.json").read_text().split('"blobs"')[1]
    assert len(blobs(bundle)) >= kept > 0


def test_clients_that_leave(source, target, tmp_path):
    """Half a file on its way costs nothing: no staging stays, others may send the same one, the daemon stops."""
    data = os.urandom(3_000_000)
    digest = hashlib.sha256(data).hexdigest()
    path = f"/-/api/v1/bundle/blobs/sha256:{digest}"
    for _ in range(3):
        with target.admin.stream(path, "PUT", headers=[("Content-Length", str(len(data)))]) as s:
            s.sock.sendall(data[:2_000_000])
            wait_until(lambda: any(f.startswith("staging/") for f in target.files()), "it comes in")
        wait_until(lambda: not any(f.startswith("staging/") for f in target.files()), "it is given up")
    assert target.admin.request("PUT", path, body=data).json() == {"stored": True}
    assert target.admin.get(path).body == data
    # Nobody sends half of a large file twice: the answer comes before the rest.
    with target.admin.stream(path, "PUT", headers=[("Content-Length", str(len(data)))]) as s:
        s.sock.sendall(data[:1000])
        s.sock.sendall(data[1000:])
        assert s.head().status == 200


def test_the_daemon_checks_too(source, target, tmp_path):
    """Over the admin socket: bytes that are not what they are called, rows without their files, refs without commits."""
    admin, tiny = target.admin, {"repository": "acme/tiny"}
    right = hashlib.sha256(b"right").hexdigest()

    def put(digest, body):
        return admin.request("PUT", f"/-/api/v1/bundle/blobs/{digest}", body=body)

    def post(what, **body):
        return admin.post(f"/-/api/v1/bundle/{what}", json.dumps(body).encode())

    assert put(f"sha256:{right}", b"wrong").status == 422
    assert [f for f in target.files() if f.startswith("staging/")] == []
    assert put("sha256:xyz", b"right").status == 400
    assert put("md5:" + "0" * 32, b"right").status == 400
    assert admin.get(f"/-/api/v1/bundle/blobs/sha256:{right}").status == 404
    file = {"path": "a.txt", "type": "file", "lfs": right, "size": 5, "here": True}
    rows = {"commit": "1" * 40, "completeness": 2, "files": [file]}
    begun = dict(tiny, step="begin", upstream_id="x", visibility="public", at=1)
    assert post("rows", **tiny, rows=rows).status == 409
    assert post("repositories", **begun).status == 200
    assert "bytes are not here" in post("rows", **tiny, rows=rows).json()["error"]
    assert put(f"sha256:{right}", b"right").json() == {"stored": True}
    assert put(f"sha256:{right}", b"right").json() == {"stored": False}
    assert admin.get(f"/-/api/v1/bundle/blobs/sha256:{right}").body == b"right"
    empty = hashlib.sha1(b"blob 0\0").hexdigest()
    assert put(f"git:{empty}", b"").json() == {"stored": True}
    assert admin.get(f"/-/api/v1/bundle/blobs/git:{empty}").body == b""
    assert post("rows", **tiny, rows={"refs": [{"name": "main", "commit": "1" * 40, "at": 1}]}).status == 409
    assert post("rows", **tiny, rows=rows).status == 200
    assert post("rows", **tiny, rows={"refs": [{"name": "main", "commit": "1" * 40, "at": 1}]}).status == 200
    other = [{"key": "repo-info models acme/other   ", "status": 200, "at": 1, "body": "{}"}]
    assert "another repository's" in post("rows", **tiny, rows={"documents": other}).json()["error"]
    for bad in ({"refs": [{"name": "a\nb", "commit": "1" * 40, "at": 1}]}, {"pins": []}, {"files": 1}, {"aliases": [{}]}):
        assert post("rows", **tiny, rows=bad).status == 400, bad
    assert post("rows", **tiny, rows=[]).status == 400
    assert target.client.get("/acme/tiny/resolve/main/a.txt").status == 504
    assert post("repositories", **dict(begun, step="end")).status == 200
    assert target.client.get("/acme/tiny/resolve/main/a.txt").body == b"right"
    for query in ("", "?repository=acme/tiny", "?repository=acme/tiny&part=x", "?repository=..&part=refs"):
        assert admin.get(f"/-/api/v1/bundle/rows{query}").status == 400, query
    assert admin.get("/-/api/v1/bundle/rows?repository=acme/tiny&part=files").status == 400
    assert admin.get("/-/api/v1/bundle/rows?repository=acme/none&part=refs").status == 404
    # Nobody else may, and nobody's body may be large elsewhere.
    assert target.client.get("/-/api/v1/bundle/rows?repository=acme/tiny&part=refs").status == 404
    assert target.client.request("PUT", f"/-/api/v1/bundle/blobs/sha256:{right}", body=b"right").status == 404
    assert admin.post("/-/api/v1/tasks", b'{"task": "%s"}' % (b"x" * 100_000)).status == 413


def test_many_files(hub, make_daemon, target, tmp_path):
    """More rows than one answer holds are all carried."""
    populate(hub)
    names = {f"dir{n % 40:02}/file-{n:05}.txt": b"%d" % (n % 7) for n in range(2500)}
    hub.create_repo("datasets", "acme/many")
    hub.commit("datasets", "acme/many", names)
    source = make_daemon()
    assert source.client.get("/api/datasets/acme/many?blobs=true").status == 200
    for n in range(7):
        assert source.client.get(f"/datasets/acme/many/resolve/main/dir{n:02}/file-{n:05}.txt").status == 200
    bundle = str(tmp_path / "bundle")
    wait_until(lambda: "7 files" in source.command("export", "datasets/acme/many", "--out", bundle), "all is known")
    target.command("import", bundle, "--unsigned")
    body = target.client.get("/api/datasets/acme/many?blobs=true").json()
    assert {s["rfilename"] for s in body["siblings"]} >= set(names)
    assert target.client.get("/datasets/acme/many/resolve/main/dir39/file-02479.txt").body == b"%d" % (2479 % 7)
