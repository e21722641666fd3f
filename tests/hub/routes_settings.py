"""What a user keeps for themselves: webhooks, repositories with their sizes, notifications."""

from urllib.parse import unquote, urlsplit

from . import rights
from .access import HubError
from .store import iso, object_id

DOMAINS = ("repo", "discussion")
WATCHABLE = ("user", "org", "model", "dataset", "space", "kernel", "bucket")


def watched(given):
    """Return what a webhook watches; refuse what cannot be watched."""
    rows = given.get("watched")
    if not isinstance(rows, list):
        raise HubError(400, '"watched" is required')
    for row in rows:
        kind, _ = rights.required(row, "type", "name")
        if kind not in WATCHABLE:
            raise HubError(400, f'"watched[].type" must be one of [{", ".join(WATCHABLE)}]')
    return [{"type": r["type"], "name": r["name"]} for r in rows]


def target(ctx, given):
    """Return the fields that say what a webhook does: call an address or run a job again."""
    if given.get("url"):
        if urlsplit(str(given["url"])).scheme not in ("http", "https"):
            raise HubError(400, '"url" must be a valid uri with a scheme matching the http|https pattern')
        return {"url": given["url"]}
    row = ctx.store.jobs.get(given.get("jobSourceId"))
    if row is None:
        raise HubError(400, '"url" or "jobSourceId" of an existing job is required')
    return {"url": None, "job": {k: row["doc"].get(k) for k in (
        "dockerImage", "spaceId", "command", "arguments", "environment", "flavor", "labels")} | {"secrets": {}}}


def settings_of(given):
    """Return the fields of a webhook that may be given without the target."""
    out = {}
    if "watched" in given:
        out["watched"] = watched(given)
    if given.get("domains") is not None:
        if any(d not in DOMAINS for d in given["domains"]):
            raise HubError(400, f'"domains" must be among [{", ".join(DOMAINS)}]')
        out["domains"] = list(given["domains"])
    if "secret" in given:
        out["secret"] = given["secret"]
    return out


def webhooks(ctx, rest):
    """Answer the routes below `/api/settings/webhooks`; nobody sees the webhooks of others."""
    method, token = ctx.request.method, rights.login(ctx)
    table = ctx.store.webhooks.setdefault(token.user, {})
    if method not in ("GET", "HEAD"):
        rights.writer(ctx)
    if not rest and method in ("GET", "HEAD"):
        return ctx.json(list(table.values()))
    if not rest and method == "POST":
        given = rights.body(ctx)
        ctx.store.webhook_count += 1
        hook = {"id": object_id(f"webhook:{ctx.store.webhook_count}"), "domains": list(DOMAINS), "secret": None,
                "disabled": False, "watched": watched(given), **target(ctx, given), **settings_of(given)}
        table[hook["id"]] = hook
        return ctx.json({"webhook": hook})
    hook = table.get(rest[0]) if rest else None
    if hook is None:
        raise HubError(404, "Webhook not found")
    if len(rest) == 2 and method == "POST" and rest[1] in ("enable", "disable"):
        hook["disabled"] = rest[1] == "disable"
    elif len(rest) == 1 and method == "POST":
        given = rights.body(ctx)
        changed = target(ctx, given) if given.get("url") or given.get("jobSourceId") else {}
        if changed.get("url"):
            hook.pop("job", None)
        hook.update(changed | settings_of(given))
    elif len(rest) == 1 and method == "DELETE":
        del table[rest[0]]
        return ctx.json({"success": True})
    elif len(rest) != 1 or method not in ("GET", "HEAD"):
        raise HubError(404, "Not Found")
    return ctx.json({"webhook": hook})


def repositories(ctx, namespace):
    """Answer the repositories of a user or organization with the storage that they take."""
    rows = [r for r in ctx.store.repos.values() if r.author == namespace]
    total = sum(r.used_storage() for r in rows)
    out = [{"id": r.id, "type": r.type[:-1], "visibility": "private" if r.private else "public",
            "updatedAt": iso(r.head().date if r.head() else r.created), "storage": r.used_storage(),
            "storagePercent": round(100 * r.used_storage() / total, 2) if total else 0} for r in rows]
    out.sort(key=lambda row: (-row["storage"], row["type"], row["id"]))
    part, links = ctx.page(out, ctx.quirks["list_page_size"])
    return ctx.json(part, links)


def settings(ctx, rest):
    """Answer the routes below `/api/settings`."""
    method = ctx.request.method
    if rest[:1] == ["webhooks"]:
        return webhooks(ctx, [unquote(s) for s in rest[1:]])
    if rest == ["repositories"] and method in ("GET", "HEAD"):
        return repositories(ctx, rights.login(ctx).user)
    if method == "PATCH" and rest in (["notifications"], ["watch"]):
        token = rights.writer(ctx)
        kept = ctx.store.preferences.setdefault(token.user, {}).setdefault(rest[0], {})
        given = rights.body(ctx)
        if rest == ["watch"]:
            old = [w for w in kept.get("watched", []) if w not in given.get("delete", [])]
            kept["watched"] = old + [w for w in given.get("add", []) if w not in old]
        else:
            kept.update(given)
        return ctx.json(kept)
    raise HubError(404, "Not Found")


def notifications(ctx, rest):
    """Answer the caller's notifications, mark them as read, or remove them."""
    method, token = ctx.request.method, rights.login(ctx)
    table = ctx.store.notifications.setdefault(token.user, {})
    rows = []
    for (type, id, num), state in table.items():
        repo = ctx.store.repos.get((type, id))
        found = next((d for d in repo.discussions if d["num"] == num), None) if repo else None
        if found is None or found.get("deleted"):
            continue
        rows.append({"type": "repo", "read": state["read"], "updatedAt": state["updatedAt"],
                     "repo": {"name": id, "type": type[:-1]},
                     "discussion": {"id": object_id(f"discussion:{type}:{id}:{num}"), "num": num,
                                    "title": found["title"], "status": found["status"],
                                    "isPullRequest": found["isPullRequest"]}})
    if not rest and method in ("GET", "HEAD"):
        unread = sum(not r["read"] for r in rows)
        status = ctx.param("readStatus", "all")
        wanted = [r for r in rows if status == "all" or r["read"] == (status == "read")]
        start = ctx.number("p", 0) * 20
        return ctx.json({"notifications": wanted[start:start + 20], "start": start, "lastUpdatedAt": None,
                         "count": {"all": len(rows), "unread": unread, "view": len(wanted)}})
    rights.writer(ctx)
    given = rights.body(ctx)
    wanted = given.get("discussionIds")
    chosen = [r for r in rows if ctx.flag("applyToAll") or wanted and r["discussion"]["id"] in wanted]
    if not ctx.flag("applyToAll") and wanted is None:
        raise HubError(400, '"discussionIds" is required')
    for row in chosen:
        key = (row["repo"]["type"] + "s", row["repo"]["name"], row["discussion"]["num"])
        if method == "DELETE" and not rest:
            del table[key]
        elif method == "POST" and rest == ["mark-as-read"]:
            table[key]["read"] = given.get("read", True)
        else:
            raise HubError(404, "Not Found")
    return ctx.json({"success": True})
