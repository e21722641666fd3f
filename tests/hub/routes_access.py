"""Access requests: users ask to read gated repositories, and their owners decide."""

import json
import time
from urllib.parse import parse_qsl

from . import rights
from .access import HubError
from .routes_misc import user_names
from .store import iso, object_id

STATES = ("pending", "accepted", "rejected")


def table(repo):
    """Return {user: request} of a repository."""
    return repo.extra.setdefault("access_requests", {})


def set_state(repo, user, status, **more):
    """Give a request a state; being accepted is what lets the user read the files."""
    row = table(repo).setdefault(user, {"user": user, "timestamp": iso(time.time()), "fields": None})
    row.update(status=status, **more)
    if status == "accepted":
        repo.grants.add(user)
    else:
        repo.grants.discard(user)
    return row


def ask(repo, user, fields=None):
    """Ask for access; repositories that are gated automatically accept at once."""
    if not repo.gated:
        raise HubError(400, "This repository is not gated")
    return set_state(repo, user, "accepted" if repo.gated == "auto" else "pending", fields=fields, asked=True)


def ask_access(ctx):
    """Answer `POST /{id}/ask-access`, the form by which a user asks; its body is a form or JSON."""
    token = rights.login(ctx)
    text = ctx.request.body.decode("utf-8", "replace")
    try:
        fields = json.loads(text) if "json" in ctx.request.headers.get("content-type", "") else dict(parse_qsl(text))
    except ValueError:
        raise HubError(400, "Invalid JSON in the body") from None
    return ctx.json({"status": ask(ctx.repo, token.user, fields or None)["status"]})


def document(repo, row):
    """Return one row of a listing, with the e-mail address if the user has shared it by asking."""
    name = row["user"]
    doc = {"requestId": object_id(f"request:{repo.type}:{repo.id}:{name}"), "status": row["status"],
           "timestamp": row["timestamp"],
           "user": {"_id": object_id("user:" + name), "user": name, "fullname": name.title(), "type": "user",
                    "avatarUrl": f"/avatars/{object_id(name)}.svg", "isPro": False}}
    if row.get("asked"):
        doc["user"]["email"] = f"{name}@example.org"
    if row.get("fields"):
        doc["fields"] = row["fields"]
    if row.get("rejectionReason"):
        doc["rejectionReason"] = row["rejectionReason"]
    return doc


def requested(ctx, given):
    """Return the user that a body names, by name or by the id of their request."""
    if given.get("requestId"):
        name = next((u for u, r in table(ctx.repo).items()
                     if document(ctx.repo, r)["requestId"] == given["requestId"]), None)
        if name is None:
            raise HubError(404, "Access request not found")
        return name
    name = rights.text(given, "user")
    if name not in user_names(ctx):
        raise HubError(404, "This user does not exist")
    return name


def access_requests(ctx, rest):
    """Answer the routes below `/user-access-request` of a repository, which are for its writers."""
    method, repo = ctx.request.method, ctx.repo
    rights.repo_writer(ctx)
    if not repo.gated:
        raise HubError(400, "This repository is not gated")
    if method in ("GET", "HEAD") and len(rest) == 1 and rest[0] in STATES:
        rows = [document(repo, r) for r in table(repo).values() if r["status"] == rest[0]]
        part, links = ctx.page(rows, ctx.quirks["list_page_size"])
        return ctx.json(part, links)
    given = rights.body(ctx)
    if method == "POST" and rest == ["handle"]:
        status, = rights.required(given, "status")
        if status not in STATES:
            raise HubError(400, f'"status" must be one of [{", ".join(STATES)}]')
        user = requested(ctx, given)
        row = table(repo).get(user)
        if row is None:
            raise HubError(404, "Access request not found")
        if row["status"] == status:
            raise HubError(404, f"The access request is already {status}")
        set_state(repo, user, status, rejectionReason=given.get("rejectionReason"))
        return ctx.json({"success": True})
    if method == "POST" and rest == ["grant"]:
        user = requested(ctx, given)
        if table(repo).get(user, {}).get("status") == "accepted" or user in repo.grants:
            raise HubError(400, "The user already has access to this repository")
        return ctx.json(document(repo, set_state(repo, user, "accepted")))
    raise HubError(404, "Not Found")


VERBS = {"user-access-request": access_requests}
