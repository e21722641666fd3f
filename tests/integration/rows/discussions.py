"""Section 4.9: discussions and pull requests."""

import os

from . import Section

SECTION = Section()
REPO = "acme/talk"


@SECTION.world
def world(hub):
    """Repositories in which nobody has said much yet."""
    for repo in (REPO, "acme/list", "acme/merge"):
        hub.create_repo("models", repo)
        hub.commit("models", repo, {"config.json": "{}", "old.txt": f"{repo}\n", "w.bin": repo})
    for n in range(25):
        hub.call("add_discussion", type="models", id="acme/list", title=f"Question {n}", comment="why?",
                 author="bob" if n % 3 else "ann", status="open" if n % 2 else "closed")
    hub.create_repo("datasets", "acme/data")
    hub.create_repo("models", "acme/secret", private=True)


def details(repo, num):
    """Return a look at a discussion."""
    return lambda a: a.get_discussion_details(repo, num)


def listed(repo):
    """Return a look at all discussions."""
    return lambda a: [[d.num, d.title, d.status, d.is_pull_request] for d in a.get_repo_discussions(repo)]


def opened(c, title):
    """Open a discussion to work at and return its number."""
    return c.api.create_discussion(REPO, title, description="Why?").num


@SECTION.row()
def get_repo_discussions(c):
    """All discussions, over several pages, and some of them."""
    found = c.look(lambda a: list(a.get_repo_discussions("acme/list")))
    assert len(found["nobody"]) == 25
    return [found] + [c.look(lambda a: [d.num for d in a.get_repo_discussions("acme/list", **more)]) for more in (
        {"author": "bob"}, {"discussion_type": "pull_request"}, {"discussion_status": "open"},
        {"discussion_status": "closed", "author": "ann"}, {"author": "nobody-at-all"})] + [
            c.look(lambda a: list(a.get_repo_discussions("acme/secret")))]


@SECTION.row()
def get_discussion_details(c):
    """Everything about one discussion."""
    return [c.look(details("acme/list", 3)), c.fails(c.api.get_discussion_details, "acme/list", 99),
            c.fails(c.bob.get_discussion_details, "acme/secret", 1)]


@SECTION.row()
def create_discussion(c):
    """A discussion is in the list as soon as it was opened."""
    return [
        c.seen(listed(REPO), lambda: c.api.create_discussion(REPO, "A question", description="Why?")),
        c.seen(listed(REPO), lambda: c.bob.create_discussion(REPO, "Another", description="How?")),
        c.api.create_discussion("acme/data", "About data", repo_type="dataset"),
        c.fails(c.reader.create_discussion, REPO, "x"), c.fails(c.bob.create_discussion, "acme/secret", "x"),
        c.try_to(c.nobody.create_discussion, REPO, "x"),
    ]


@SECTION.row()
def create_pull_request(c):
    """A pull request is a discussion with a ref of its own."""
    return c.seen(
        lambda a: [listed(REPO)(a), [r.ref for r in a.list_repo_refs(REPO, include_pull_requests=True).pull_requests]],
        lambda: c.bob.create_pull_request(REPO, "A change", description="Because."))


@SECTION.row()
def comment_discussion(c):
    """A comment is read by everybody."""
    num = opened(c, "Comments")
    return [c.seen(details(REPO, num), lambda: c.bob.comment_discussion(REPO, num, "Therefore.")),
            c.fails(c.api.comment_discussion, REPO, 999, "x"), c.fails(c.reader.comment_discussion, REPO, num, "x")]


@SECTION.row()
def edit_discussion_comment(c):
    """A comment that was edited is read as it is now."""
    num = opened(c, "Edits")
    comment = c.api.comment_discussion(REPO, num, "Therefor.")
    return [c.seen(details(REPO, num), lambda: c.api.edit_discussion_comment(REPO, num, comment.id, "Therefore.")),
            c.fails(c.bob.edit_discussion_comment, REPO, num, comment.id, "Mine")]


@SECTION.row()
def hide_discussion_comment(c):
    """A comment that was hidden is read by nobody."""
    num = opened(c, "Hidden")
    comment = c.bob.comment_discussion(REPO, num, "rude")
    return c.seen(details(REPO, num), lambda: c.api.hide_discussion_comment(REPO, num, comment.id))


@SECTION.row()
def rename_discussion(c):
    """A new title."""
    num = opened(c, "Old title")
    return [c.seen(lambda a: [listed(REPO)(a), details(REPO, num)(a)],
                   lambda: c.api.rename_discussion(REPO, num, "New title")),
            c.fails(c.bob.rename_discussion, REPO, num, "Mine")]


@SECTION.row()
def change_discussion_status(c):
    """Closed, with a word, and opened again."""
    num = opened(c, "Status")
    return [c.seen(lambda a: [listed(REPO)(a), details(REPO, num)(a)], lambda: c.api.change_discussion_status(
        REPO, num, status, comment=comment)) for status, comment in (("closed", "done"), ("open", None))]


@SECTION.row()
def merge_pull_request(c):
    """What was proposed is in main at once, with its bytes, and the pull request is merged."""
    repo, add = "acme/merge", c.hf.CommitOperationAdd
    pull = c.bob.create_commit(repo, [add("new.txt", b"new"), add("new.bin", b"new" * 9), c.hf.CommitOperationDelete(
        "old.txt")], commit_message="Change", create_pr=True)
    before = c.api.get_discussion_details(repo, pull.pr_num)
    if before.status == "draft":
        c.api.change_discussion_status(repo, pull.pr_num, "open")
    merged = c.seen(
        lambda a: [c.files(a, repo), a.model_info(repo).sha, c.try_to(c.download, a, repo, "new.txt"),
                   c.try_to(c.download, a, repo, "new.bin"), c.try_to(c.download, a, repo, "old.txt"),
                   a.get_discussion_details(repo, pull.pr_num).status, [x.title for x in a.list_repo_commits(repo)]],
        lambda: c.api.merge_pull_request(repo, pull.pr_num, comment="thanks"))
    return [before, merged, c.fails(c.api.merge_pull_request, repo, pull.pr_num),
            c.fails(c.bob.merge_pull_request, repo, pull.pr_num)]


@SECTION.row(since=2)
def upload_attachment(c):
    """An image for a comment, and the address at which everybody can see it."""
    address = c.api.upload_attachment(c.file("dot.png", b"\x89PNG\r\n"))
    return [os.path.splitext(address)[1], c.fails(c.nobody.upload_attachment, c.file("dot.png", b"\x89PNG\r\n"))]
