"""Section 4.4: downloading."""

import os
import tempfile

from . import Section

SECTION = Section()
REPO = "acme/tiny"
ODD = "sub dir/deep/\u00e4 #1.txt"
BIG = bytes(range(256)) * 20_000


@SECTION.world
def world(hub):
    """Files of every kind."""
    hub.create_repo("models", REPO)
    hub.commit("models", REPO, {"config.json": "{}"})
    hub.create_tag("models", REPO, "v1")
    hub.commit("models", REPO, {"config.json": '{"a": 1}', "empty": b"", ODD: "odd", "big.safetensors": BIG,
                                "w.bin": b"w" * 5000, "sub dir/other.md": "# other\n"})
    hub.create_pr_ref("models", REPO, 1)
    hub.commit("models", REPO, {"pr.txt": "pr"}, branch="refs/pr/1")
    hub.create_repo("datasets", "acme/data")
    hub.commit("datasets", "acme/data", {"x/train.csv": "a,b\n1,2\n" * 1000})
    hub.create_repo("models", "acme/old")
    hub.commit("models", "acme/old", {"config.json": '{"old": 1}'})
    hub.rename("models", "acme/old", "acme/new")
    hub.create_repo("models", "acme/delete")
    hub.commit("models", "acme/delete", {"config.json": '"delete"', "w.bin": "delete" * 3})
    for name, fields in (("secret", {"private": True}), ("gated", {"gated": "manual"})):
        hub.create_repo("models", f"acme/{name}", **fields)
        hub.commit("models", f"acme/{name}", {"config.json": f'"{name}"', "w.bin": name})


def tree(c, folder):
    """Return every file below a folder with size and digest, and whether it is a link."""
    return {os.path.relpath(os.path.join(where, name), folder): [
        c.digest(os.path.join(where, name)), os.path.islink(os.path.join(where, name))]
        for where, _, names in sorted(os.walk(folder)) for name in sorted(names) if ".lock" not in name}


@SECTION.row()
def hf_hub_download(c):
    """Every kind of file at every kind of revision, by everybody, twice."""
    wanted = [(REPO, p, {}) for p in ("config.json", "empty", ODD, "big.safetensors", "w.bin", "nope")]
    wanted += [(REPO, "config.json", {"revision": r}) for r in ("v1", "refs/pr/1", "nope")]
    wanted += [(r, "config.json", {}) for r in ("acme/old", "acme/secret", "acme/gated", "acme/nothing")]
    wanted += [("acme/data", "x/train.csv", {"repo_type": "dataset"}), ("acme/secret", "w.bin", {})]
    wanted += [("acme/gated", "w.bin", {}), (REPO, "other.md", {"subfolder": "sub dir"})]
    return [[c.look(lambda a: c.download(a, r, p, **more)) for _ in range(2)] for r, p, more in wanted]


@SECTION.row("hf_hub_download")
def named_like_a_verb(c):
    """A repository may be called as something that can be done to it."""
    return [c.look(lambda a: c.download(a, "acme/delete", p)) for p in ("config.json", "w.bin", "nope")]


@SECTION.row("hf_hub_download")
def downloaded_cache(c):
    """The local cache looks the same, also after a second version, and a file that does not exist is remembered."""
    with tempfile.TemporaryDirectory(dir=c.folder) as cache:
        for revision in ("v1", "main", "refs/pr/1"):
            c.api.hf_hub_download(REPO, "config.json", revision=revision, cache_dir=cache)
        c.fails(c.api.hf_hub_download, REPO, "nope", cache_dir=cache)
        scanned = c.hf.scan_cache_dir(cache)
        refs = {ref: sorted(f.file_name for f in r.files) for repo in scanned.repos for r in repo.revisions
                for ref in sorted(r.refs)}
        blobs = sorted(os.listdir(os.path.join(cache, "models--acme--tiny", "blobs")))
        missing = [n for _, _, names in os.walk(os.path.join(cache, "models--acme--tiny", ".no_exist")) for n in names]
        return [refs, len(blobs), sorted(missing), len(scanned.warnings)]


@SECTION.row()
def snapshot_download(c):
    """Whole repositories and parts of them, in the cache and in a folder."""
    out = []
    for name, api in c.callers.items():
        for repo, more in ((REPO, {}), (REPO, {"revision": "refs/pr/1"}), (REPO, {"allow_patterns": ["*.md", "*.bin"]}),
                           ("acme/data", {"repo_type": "dataset"}), ("acme/old", {}), ("acme/secret", {}),
                           ("acme/gated", {}), (REPO, {"revision": "nope"})):
            with tempfile.TemporaryDirectory(dir=c.folder) as empty:
                out.append([name, repo, more, c.try_to(
                    lambda: tree(c, api.snapshot_download(repo, cache_dir=empty, **more)))])
    target = os.path.join(c.folder, "here")
    c.api.snapshot_download(REPO, local_dir=target)
    out.append({k: v for k, v in tree(c, target).items() if not k.startswith(".cache")})
    return out


@SECTION.row("snapshot_download", since=1)
def dry_run(c):
    """What would be downloaded."""
    found = c.api.snapshot_download(REPO, cache_dir=c.folder, dry_run=True)
    return sorted([f.filename, f.file_size, f.is_cached, f.will_download] for f in found)


@SECTION.row(since=1)
def verify_repo_checksums(c):
    """A local copy is compared with the Hub; a changed file is found."""
    target = os.path.join(c.folder, "here")
    c.api.snapshot_download(REPO, local_dir=target)
    good = c.api.verify_repo_checksums(REPO, local_dir=target)
    with open(os.path.join(target, "w.bin"), "w") as f:
        f.write("changed")
    bad = c.api.verify_repo_checksums(REPO, local_dir=target)
    assert not good.mismatches and bad.mismatches
    return [good, bad]
