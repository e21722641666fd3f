"""Section 4.8: the large files of a repository."""

from urllib.error import HTTPError
from urllib.request import urlopen

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Large files on two branches."""
    hub.quirks(list_page_size=3)
    for repo in ("ann/list", "ann/rewrite", "ann/keep"):
        hub.create_repo("models", repo)
        hub.commit("models", repo, {f"{n}.bin": f"{repo} {n}" for n in ("one", "two", "three", "four", "five")})
        hub.create_branch("models", repo, "side")
        hub.commit("models", repo, {"side.bin": f"{repo} side"}, branch="side")
        hub.commit("models", repo, {"text.txt": "text"})


def listed(c, repo):
    """Return what the owner sees of the large files, in the order of their names."""
    return sorted([f.filename, f.oid, f.size, f.ref, f.file_oid] for f in c.api.list_lfs_files(repo))


@SECTION.row()
def list_lfs_files(c):
    """The owner sees all large files, over several pages, and nobody else does."""
    found = listed(c, "ann/list")
    assert len(found) == 6
    upload = c.api.upload_file(path_or_fileobj=b"more", path_in_repo="more.bin", repo_id="ann/list")
    return [found, upload, listed(c, "ann/list"), c.fails(lambda: list(c.bob.list_lfs_files("ann/list"))),
            c.fails(lambda: list(c.nobody.list_lfs_files("ann/list")))]


def bytes_of(c, repo, path, revision):
    """Return the bytes of a file, or that they do not come.

    How they do not may differ: the file host's 404 is a 502 through the daemon, because nothing that goes wrong there
    may look as if the repository had no such file.  And the clients would ask again for half a minute.
    """
    try:
        with urlopen(f"{c.api.endpoint}/{repo}/resolve/{revision}/{path}") as answer:
            return answer.read().decode()
    except HTTPError:
        return "not to be had"


@SECTION.row()
def permanently_delete_lfs_files(c):
    """What is deleted for good is gone from the history, or only from the storage."""
    out = []
    for repo, more in (("ann/rewrite", {}), ("ann/keep", {"rewrite_history": False})):
        files = [f for f in c.api.list_lfs_files(repo) if f.filename in ("one.bin", "side.bin")]
        assert len(files) == 2

        def reads(a):
            return [c.files(a, repo), c.files(a, repo, revision="side"), a.model_info(repo).sha,
                    [x.title for x in a.list_repo_commits(repo)], bytes_of(c, repo, "one.bin", "main"),
                    bytes_of(c, repo, "side.bin", "side"), bytes_of(c, repo, "two.bin", "main")]

        out += [c.fails(c.bob.permanently_delete_lfs_files, repo, files),
                c.seen(reads, lambda: c.api.permanently_delete_lfs_files(repo, files, **more)), listed(c, repo)]
    c.api.upload_file(path_or_fileobj=b"ann/keep one", path_in_repo="one.bin", repo_id="ann/keep")
    return [*out, c.look(lambda a: c.download(a, "ann/keep", "one.bin"))]
