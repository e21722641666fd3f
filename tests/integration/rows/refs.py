"""Section 4.6: branches and tags."""

from . import Section

SECTION = Section()
REPO = "ann/named"


@SECTION.world
def world(hub):
    """A repository with a history."""
    hub.create_repo("models", REPO)
    hub.commit("models", REPO, {"f.txt": "1"}, message="One")
    hub.create_tag("models", REPO, "one")
    hub.commit("models", REPO, {"f.txt": "2"}, message="Two")
    for name in ("old", "older/still"):
        hub.create_branch("models", REPO, name, rev="one")
        hub.create_tag("models", REPO, "tag-" + name.replace("/", "-"), rev="one")
    hub.create_repo("datasets", "ann/data")


def reads(c, *names):
    """Return a look at refs and at what is behind some of them."""
    def read(a):
        refs = a.list_repo_refs(REPO)
        return [sorted(b.name for b in refs.branches), sorted(t.name for t in refs.tags)] + [
            [a.revision_exists(REPO, n), c.try_to(c.files, a, REPO, revision=n),
             c.try_to(c.download, a, REPO, "f.txt", revision=n)] for n in names]
    return read


@SECTION.row()
def create_branch(c):
    """A branch is there as soon as it was made."""
    return [
        c.seen(reads(c, "new"), lambda: c.api.create_branch(REPO, branch="new")),
        c.seen(reads(c, "deep/er"), lambda: c.api.create_branch(REPO, branch="deep/er", revision="one")),
        c.fails(c.api.create_branch, REPO, branch="new"), c.api.create_branch(REPO, branch="new", exist_ok=True),
        c.fails(c.api.create_branch, REPO, branch="x", revision="nope"), c.fails(c.bob.create_branch, REPO, branch="b"),
        c.fails(c.api.create_branch, REPO, branch="refs/pr/5"), c.fails(c.nobody.create_branch, REPO, branch="n"),
        c.try_to(c.bob.create_branch, REPO, branch="new", exist_ok=True),
        c.api.create_branch("ann/data", branch="b", repo_type="dataset"),
    ]


@SECTION.row()
def delete_branch(c):
    """A branch is gone as soon as it was deleted."""
    return [
        c.seen(reads(c, "old"), lambda: c.api.delete_branch(REPO, branch="old")),
        c.seen(reads(c, "older/still"), lambda: c.api.delete_branch(REPO, branch="older/still")),
        c.fails(c.api.delete_branch, REPO, branch="old"), c.fails(c.api.delete_branch, REPO, branch="main"),
        c.fails(c.bob.delete_branch, REPO, branch="main"),
    ]


@SECTION.row()
def create_tag(c):
    """A tag is there as soon as it was made."""
    return [
        c.seen(reads(c, "v1"), lambda: c.api.create_tag(REPO, tag="v1", tag_message="First")),
        c.seen(reads(c, "v/0"), lambda: c.api.create_tag(REPO, tag="v/0", revision="one")),
        c.fails(c.api.create_tag, REPO, tag="v1"), c.api.create_tag(REPO, tag="v1", exist_ok=True),
        c.fails(c.api.create_tag, REPO, tag="a b"), c.fails(c.api.create_tag, REPO, tag="x", revision="nope"),
        c.fails(c.bob.create_tag, REPO, tag="x"),
    ]


@SECTION.row()
def delete_tag(c):
    """A tag is gone as soon as it was deleted."""
    return [
        c.seen(reads(c, "tag-old"), lambda: c.api.delete_tag(REPO, tag="tag-old")),
        c.fails(c.api.delete_tag, REPO, tag="tag-old"), c.fails(c.bob.delete_tag, REPO, tag="one"),
    ]


@SECTION.row("create_branch")
def branch_that_moves(c):
    """A branch that is made again elsewhere shows what is there, and not what was."""
    c.api.create_branch(REPO, branch="moves", revision="one")
    return c.seen(reads(c, "moves"), lambda: [c.api.delete_branch(REPO, branch="moves"),
                                              c.api.create_branch(REPO, branch="moves", revision="main")])
