"""Section 4.1: identity and users."""

from . import READER, Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Repositories that are liked, and people who follow each other."""
    hub.create_repo("models", "acme/tiny")
    hub.commit("models", "acme/tiny", {"config.json": "{}"})
    hub.update_repo("models", "acme/tiny", likes=2, likers=["ann", "bob"])
    hub.create_repo("datasets", "acme/data")
    hub.update_repo("datasets", "acme/data", likes=1, likers=["ann"])
    hub.create_repo("models", "acme/secret", private=True)
    hub.update_repo("models", "acme/secret", likes=1, likers=["ann"])
    hub.create_repo("models", "acme/gated", gated="manual")
    hub.commit("models", "acme/gated", {"config.json": "{}"})
    hub.create_repo("models", "ann/own", private=True)
    for who, whom in (("bob", "ann"), ("ann", "bob"), ("bob", "acme")):
        hub.follow(who, whom)
    for n in range(130):
        hub.follow(f"fan{n:03}", "ann")
        hub.call("add_token", token=f"hf_fan{n:03}", user=f"fan{n:03}")


@SECTION.row()
def whoami(c):
    """Everybody is who their token says."""
    bad = c.hf.HfApi(token="hf_nobody0000000000000000000000000000000")
    return [c.api.whoami(), c.bob.whoami(), c.reader.whoami(), c.try_to(c.nobody.whoami), c.fails(bad.whoami),
            c.api.whoami(token=READER)]


@SECTION.row(until=0)
def get_token_permission(c):
    """What a token may do."""
    return [c.api.get_token_permission(), c.reader.get_token_permission()]


@SECTION.row()
def get_full_repo_name(c):
    """A bare name belongs to the caller."""
    return [c.api.get_full_repo_name("x"), c.bob.get_full_repo_name("x"),
            c.api.get_full_repo_name("x", organization="acme")]


@SECTION.row()
def run_as_future(c):
    """A call in the background gives what it gives in the foreground."""
    return [c.api.run_as_future(c.api.whoami), c.api.run_as_future(c.api.model_info, "acme/tiny")]


@SECTION.row()
def auth_check(c):
    """Who may read what, and once more."""
    repos = ("acme/tiny", "acme/secret", "acme/gated", "acme/nothing")
    return [{repo: c.look(lambda a: a.auth_check(repo)) for repo in repos} for _ in range(2)] + [
        c.look(lambda a: a.auth_check("acme/data", repo_type="dataset"))]


@SECTION.row()
def get_user_overview(c):
    """What a profile says; whether the caller follows depends on the caller."""
    return [c.look(lambda a: a.get_user_overview("ann")), c.look(lambda a: a.get_user_overview("bob")),
            c.fails(c.api.get_user_overview, "nobody-at-all")]


@SECTION.row()
def get_organization_overview(c):
    """What the page of an organization says."""
    return [c.look(lambda a: a.get_organization_overview("acme")), c.fails(c.api.get_organization_overview, "nothing")]


@SECTION.row()
def list_organization_members(c):
    """Who belongs to an organization."""
    return c.look(lambda a: list(a.list_organization_members("acme")))


@SECTION.row(since=1)
def list_organization_followers(c):
    """Who follows an organization."""
    return c.look(lambda a: list(a.list_organization_followers("acme")))


@SECTION.row()
def list_user_followers(c):
    """Who follows a user, over more than one page."""
    found = c.look(lambda a: [u.username for u in a.list_user_followers("ann")])
    assert len(found["ann"]) == 131
    return found


@SECTION.row()
def list_user_following(c):
    """Whom a user follows."""
    return c.look(lambda a: list(a.list_user_following("bob")))


@SECTION.row()
def list_liked_repos(c):
    """What somebody likes, of that which the caller can see."""
    return [c.look(lambda a: a.list_liked_repos("ann")), c.api.list_liked_repos(),
            c.try_to(c.nobody.list_liked_repos)]


@SECTION.row()
def list_repo_likers(c):
    """Who likes a repository."""
    return [c.look(lambda a: list(a.list_repo_likers("acme/tiny"))),
            c.look(lambda a: list(a.list_repo_likers("acme/data", repo_type="dataset")))]


@SECTION.row()
def unlike(c):
    """A like that is taken back is gone from the counters and lists at once."""
    return [
        c.seen(
            lambda a: [a.model_info("acme/tiny").likes, [u.username for u in a.list_repo_likers("acme/tiny")],
                       a.list_liked_repos("ann").models],
            lambda: c.api.unlike("acme/tiny"),
        ),
        c.fails(c.nobody.unlike, "acme/tiny"),
    ]


@SECTION.row(since=1)
def list_user_repos(c):
    """Everything of a user or an organization, private repositories included."""
    return [c.look(lambda a: list(a.list_user_repos())), c.look(lambda a: list(a.list_user_repos("acme")))]
