"""Section 4.7: commits and uploads."""

import io
import os

from . import Section

SECTION = Section()
CARD = "---\nlicense: mit\n---\n# Card\n"


@SECTION.world
def world(hub):
    """A repository for each row; large files go up in parts."""
    hub.quirks(lfs_multipart_threshold=3 << 20, lfs_chunk_size=1 << 20)
    for name in ("mixed", "late", "pre", "one", "folder", "less", "less-folder", "less-files",
                 "pull", "card", "ignored"):
        hub.create_repo("models", f"ann/{name}")
        hub.commit("models", f"ann/{name}", {
            "old.txt": name, "old.bin": name * 3, "d/one.txt": "1", "d/two.bin": "2" * 9, "e/three.md": "3"})


def reads(c, repo, *paths, revision="main"):
    """Return a look at the files, the history and the bytes at some paths."""
    return lambda a: [
        c.files(a, repo, revision=revision), [x.title for x in a.list_repo_commits(repo, revision=revision)],
        a.model_info(repo, revision=revision).sha,
        [[a.file_exists(repo, p, revision=revision), c.try_to(c.download, a, repo, p, revision=revision)]
         for p in paths], sorted(f.path for f in a.get_paths_info(repo, list(paths), revision=revision))]


@SECTION.row()
def create_commit(c):
    """Small, large, copied and deleted files in one commit; what it says is there when it says so."""
    add, copy, delete = c.hf.CommitOperationAdd, c.hf.CommitOperationCopy, c.hf.CommitOperationDelete
    first = [add("a.txt", b"a"), add("empty", b""), add("sub dir/\u00e4 #1.txt", b"odd"), add("w.bin", b"w" * 100),
             add("big.safetensors", bytes(range(256)) * 20_000), add("io.bin", io.BytesIO(b"stream"))]
    second = [copy("w.bin", "copy of w.bin"), copy("a.txt", "b.txt"), delete("a.txt"), delete("d/", is_folder=True)]
    repo = "ann/mixed"
    out = [c.seen(reads(c, repo, "a.txt", "empty", "sub dir/\u00e4 #1.txt", "w.bin", "big.safetensors", "io.bin"),
                  lambda: c.api.create_commit(repo, first, commit_message="Add", commit_description="Much."))]
    head = c.api.model_info(repo).sha
    out.append(c.seen(reads(c, repo, "copy of w.bin", "b.txt", "a.txt", "d/one.txt"),
                      lambda: c.api.create_commit(repo, second, commit_message="Change", parent_commit=head)))
    again = c.api.create_commit(repo, [add("b.txt", b"a")], commit_message="Nothing")
    assert again.oid == c.api.model_info(repo).sha
    return out + [
        again, c.fails(c.bob.create_commit, repo, [add("x", b"x")], commit_message="No"),
        c.fails(c.reader.create_commit, repo, [add("x", b"x")], commit_message="No"),
        c.try_to(c.nobody.create_commit, repo, [add("x", b"x")], commit_message="No"),
        c.fails(c.api.create_commit, repo, [add("x", b"x")], commit_message="No", revision="nope"),
        c.fails(c.api.create_commit, "ann/nothing", [add("x", b"x")], commit_message="No"),
        c.fails(c.api.create_commit, repo, [delete("nope")], commit_message="No"),
        c.fails(c.api.create_commit, repo, [add("..\\x", b"x")], commit_message="No"),
    ]


@SECTION.row("create_commit")
def commit_conflict(c):
    """Who comes late is told so, and nothing has changed."""
    add, repo = c.hf.CommitOperationAdd, "ann/late"
    old = c.api.model_info(repo).sha
    c.api.create_commit(repo, [add("x", b"1")], commit_message="First", parent_commit=old)
    late = c.fails(c.api.create_commit, repo, [add("x", b"2")], commit_message="Late", parent_commit=old)
    assert late["status"] == 412
    return [late, c.look(reads(c, repo, "x"))]


@SECTION.row("create_commit")
def commit_as_pull_request(c):
    """A commit can be a proposal, also by somebody who may not write; the branch stays as it is."""
    add, repo = c.hf.CommitOperationAdd, "ann/pull"
    shown = lambda a: [[[d.num, d.title, d.status] for d in a.get_repo_discussions(repo)],  # noqa: E731
                       [r.ref for r in a.list_repo_refs(repo, include_pull_requests=True).pull_requests],
                       c.try_to(c.files, a, repo, revision="refs/pr/1"), c.files(a, repo)]
    out = [c.seen(shown, lambda: c.bob.create_commit(
        repo, [add("pr.txt", b"pr"), add("pr.bin", b"pr" * 50)], commit_message="Please", create_pr=True))]
    out.append(c.seen(reads(c, repo, "pr2.txt", revision="refs/pr/1"), lambda: c.bob.upload_file(
        path_or_fileobj=b"2", path_in_repo="pr2.txt", repo_id=repo, revision="refs/pr/1")))
    out.append(c.seen(reads(c, repo, "pr.txt", "pr.bin", "pr2.txt"), lambda: c.api.merge_pull_request(repo, 1)))
    return out


@SECTION.row("create_commit")
def commit_of_a_card(c):
    """A card is checked before it goes up."""
    repo = "ann/card"
    upload = lambda text: c.api.upload_file(  # noqa: E731
        path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=repo)
    return [
        c.seen(lambda a: [a.model_info(repo).card_data, c.try_to(c.download, a, repo, "README.md")],
               lambda: upload(CARD)),
        [c.fails(upload, f"---\n{bad}\n---\n") for bad in ("license: asdf", "tags: [a\nb: c", "[]")],
        c.seen(lambda a: a.model_info(repo).tags, lambda: upload(CARD.replace("mit", "apache-2.0"))),
    ]


@SECTION.row()
def preupload_lfs_files(c):
    """Bytes can go up first and be committed later; until then nobody sees them."""
    repo, data = "ann/pre", bytes(range(255)) * 30_000
    operation = c.hf.CommitOperationAdd("pre.bin", data)
    c.api.preupload_lfs_files(repo, [operation])
    between = c.look(lambda a: a.file_exists(repo, "pre.bin"))
    return [between, c.seen(reads(c, repo, "pre.bin"), lambda: c.api.create_commit(
        repo, [operation], commit_message="After"))]


@SECTION.row()
def upload_file(c):
    """One file, from a path, from bytes, from a stream, over an old one."""
    repo, big = "ann/one", c.file("big.bin", bytes(range(253)) * 20_000)
    out = []
    for path, source in (("new.txt", b"new"), ("old.txt", b"newer"), ("old.bin", b"newer" * 9), ("big.bin", big),
                         ("stream.bin", io.BytesIO(b"stream" * 9)), ("empty.bin", b"")):
        out.append(c.seen(reads(c, repo, path), lambda: c.api.upload_file(
            path_or_fileobj=source, path_in_repo=path, repo_id=repo, commit_message=f"Upload {path}")))
    future = c.api.upload_file(path_or_fileobj=b"f", path_in_repo="f.txt", repo_id=repo, run_as_future=True).result()
    return out + [future, c.look(reads(c, repo, "f.txt")), c.fails(
        c.bob.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id=repo)]


def local_folder(c, name="folder"):
    """Write a folder of small and large files and return its path."""
    for n in range(12):
        c.file(f"{name}/d{n % 3}/f{n}.{'bin' if n % 4 == 0 else 'txt'}", f"{name} {n}\n" * (n + 1))
    c.file(f"{name}/skip.log", "skip")
    return os.path.join(c.folder, name)


@SECTION.row()
def upload_folder(c):
    """A folder, below a path, with and without some files, over an old one."""
    repo, folder = "ann/folder", local_folder(c)
    out = [c.seen(reads(c, repo, "in/d0/f0.bin", "in/d1/f1.txt"), lambda: c.api.upload_folder(
        repo_id=repo, folder_path=folder, path_in_repo="in", ignore_patterns="*.log", commit_message="In"))]
    os.remove(os.path.join(folder, "d1", "f1.txt"))
    out.append(c.seen(reads(c, repo, "in/d1/f1.txt"), lambda: c.api.upload_folder(
        repo_id=repo, folder_path=folder, path_in_repo="in", delete_patterns="*.txt", commit_message="Again")))
    out.append(c.seen(reads(c, repo, "d0/f0.bin", revision="main"), lambda: c.api.upload_folder(
        repo_id=repo, folder_path=folder, allow_patterns=["d0/*"], commit_message="Part")))
    proposal = c.api.upload_folder(repo_id=repo, folder_path=local_folder(c, "other"), create_pr=True,
                                   commit_message="Other")
    return out + [proposal.pr_url, c.look(reads(c, repo, "d0/f0.bin", revision=proposal.pr_revision))]


@SECTION.row("upload_folder")
def ignored_files(c):
    """What .gitignore of the repository leaves out is not uploaded."""
    repo, folder = "ann/ignored", local_folder(c)
    c.api.upload_file(path_or_fileobj=b"*.log\nd1/\n", path_in_repo=".gitignore", repo_id=repo)
    return c.seen(reads(c, repo, "d0/f0.bin", "d1/f1.txt", "skip.log"), lambda: c.api.upload_folder(
        repo_id=repo, folder_path=folder, commit_message="Folder"))


@SECTION.row()
def delete_file(c):
    """One file less."""
    repo = "ann/less"
    return [c.seen(reads(c, repo, p), lambda: c.api.delete_file(p, repo)) for p in ("old.txt", "old.bin")] + [
        c.fails(c.api.delete_file, "nope", repo), c.fails(c.bob.delete_file, "d/one.txt", repo)]


@SECTION.row()
def delete_folder(c):
    """One folder less."""
    repo = "ann/less-folder"
    return [c.seen(reads(c, repo, "d/one.txt", "d/two.bin"), lambda: c.api.delete_folder("d", repo)),
            c.fails(c.api.delete_folder, "nope", repo)]


@SECTION.row()
def delete_files(c):
    """All files that a pattern names."""
    repo = "ann/less-files"
    return [c.seen(reads(c, repo, "old.bin", "d/two.bin", "old.txt"), lambda: c.api.delete_files(repo, ["*.bin"])),
            c.seen(reads(c, repo, "e/three.md"), lambda: c.api.delete_files(repo, ["e/*", "old.txt"]))]


@SECTION.row(until=1)
def upload_large_folder(c):
    """A folder that goes up in as many commits as it takes."""
    folder = local_folder(c)
    return c.seen(lambda a: [c.files(a, "ann/large"), c.download(a, "ann/large", "d0/f0.bin")],
                  lambda: c.api.upload_large_folder("ann/large", folder, repo_type="model", num_workers=2,
                                                    print_report=False))
