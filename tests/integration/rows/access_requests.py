"""Section 4.13: who is let into gated repositories."""

from . import Section

SECTION = Section()
KINDS = ("pending", "accepted", "rejected")
PAST = {"list": "listed", "accept": "accepted", "cancel": "canceled", "reject": "rejected", "grant": "granted"}


@SECTION.world
def world(hub):
    """Gated repositories at which bob has asked."""
    for name in PAST:
        hub.create_repo("models", "acme/" + PAST[name], gated="manual")
        hub.commit("models", "acme/" + PAST[name], {"config.json": f'"{name}"', "w.bin": name})
        if name != "grant":
            hub.ask_access("models", "acme/" + PAST[name], "bob", {"why": "research"})
    hub.create_repo("models", "acme/open")


def reads(c, repo):
    """Return a look at the files and, for those who may see them, at the requests."""
    return lambda a: [c.try_to(a.auth_check, repo), c.try_to(c.download, a, repo, "config.json"),
                      c.try_to(c.download, a, repo, "w.bin"),
                      [c.try_to(lambda: list(getattr(a, f"list_{k}_access_requests")(repo))) for k in KINDS]]


@SECTION.row(*(f"list_{kind}_access_requests" for kind in KINDS))
def lists(c):
    """Only the owner sees who asked, and with what address."""
    found = c.look(reads(c, "acme/listed"))
    assert len(found["ann"][3][0]) == 1 and "raised" in found["bob"][3][0]
    return [found, c.fails(lambda: list(c.api.list_pending_access_requests("acme/open")))]


@SECTION.row()
def accept_access_request(c):
    """Who was accepted reads at once."""
    out = c.seen(reads(c, "acme/accepted"), lambda: c.api.accept_access_request("acme/accepted", "bob"))
    assert "raised" in out["before"]["bob"][2] and "raised" not in out["after"]["bob"][2]
    return [out, c.fails(c.api.accept_access_request, "acme/accepted", "nobody-at-all"),
            c.fails(c.bob.accept_access_request, "acme/listed", "bob")]


@SECTION.row()
def cancel_access_request(c):
    """Whose acceptance was taken back reads no more."""
    c.api.accept_access_request("acme/canceled", "bob")
    out = c.seen(reads(c, "acme/canceled"), lambda: c.api.cancel_access_request("acme/canceled", "bob"))
    assert "raised" not in out["before"]["bob"][2] and "raised" in out["after"]["bob"][2]
    return out


@SECTION.row()
def reject_access_request(c):
    """Who was rejected reads no more."""
    c.api.accept_access_request("acme/rejected", "bob")
    out = c.seen(reads(c, "acme/rejected"),
                 lambda: c.api.reject_access_request("acme/rejected", "bob", rejection_reason="no"))
    assert "raised" not in out["before"]["bob"][2] and "raised" in out["after"]["bob"][2]
    return out


@SECTION.row()
def grant_access(c):
    """Who is let in without asking reads at once."""
    out = c.seen(reads(c, "acme/granted"), lambda: c.api.grant_access("acme/granted", "bob"))
    assert "raised" not in out["after"]["bob"][2]
    return [out, c.fails(c.api.grant_access, "acme/granted", "bob"), c.fails(c.bob.grant_access, "acme/listed", "bob"),
            c.fails(c.reader.grant_access, "acme/listed", "bob")]
