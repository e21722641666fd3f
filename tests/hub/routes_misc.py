"""API routes that are not below one repository: listings, users, organizations and the like."""

import json
from urllib.parse import parse_qsl, unquote

from . import access, cards, documents
from .access import HubError
from .store import TYPES, iso, object_id
from .wire import Response

ORDERS = {
    "lastModified": lambda r: r.head().date if r.head() else r.created, "createdAt": lambda r: r.created,
    "trendingScore": lambda r: r.extra.get("trendingScore", 0), "likes": lambda r: r.likes,
    "downloads": lambda r: r.downloads, "id": lambda r: r.id, "author": lambda r: r.author or "",
}
ORDERS |= {"last_modified": ORDERS["lastModified"], "created_at": ORDERS["createdAt"],
           "trending_score": ORDERS["trendingScore"]}


def listing(ctx, type):
    """Answer one page of repositories of a type that the caller can see."""
    rows = []
    search = [s.lower() for s in ctx.values("search")]
    filters = ctx.values("filter", "tags", "pipeline_tag", "library")
    author = ctx.param("author")
    gated = ctx.param("gated")
    for (kind, _), repo in list(ctx.store.repos.items()):
        if kind != type or not access.can_see(ctx.token, repo):
            continue
        if author and (repo.author or "").lower() != author.lower():
            continue
        if any(s not in repo.id.lower() for s in search):
            continue
        if gated is not None and bool(repo.gated) != ctx.flag("gated"):
            continue
        if filters:
            card = documents.front_matter(repo.head())
            tags = documents.tags(repo, card, repo.head())
            known = set(tags) | {t.rpartition(":")[2] for t in tags} | {documents.pipeline(repo, card)}
            if any(f not in known and f.rpartition(":")[2] not in known for f in filters):
                continue
        rows.append(repo)
    key = ctx.param("sort") or "trendingScore"
    if key not in ORDERS:
        raise HubError(400, f'"sort" must be one of the known orders, not {key}')
    rows.sort(key=lambda r: r.id)
    rows.sort(key=ORDERS[key], reverse=ctx.param("direction") != "1")
    size = min(ctx.number("limit", ctx.quirks["list_page_size"]) or 1, ctx.quirks["list_page_size"])
    part, links = ctx.page(rows, size)
    part = [documents.info(ctx, repo, repo.head()) for repo in part]
    expand = ctx.values("expand")
    if expand:
        out = [documents.shown(d, expand) for d in part]
    else:
        fields = list(documents.BRIEF[type])
        if ctx.param("full") not in (None, "false", "False"):
            fields += documents.FULL
        fields += [f for f in ("config", "cardData") if ctx.flag(f)]
        out = [{k: v for k, v in d.items() if k in fields} for d in part]
    return ctx.json(out, links)


def tags_by_type(ctx, type):
    """Answer the known tags of a repository type."""
    found = {}
    for (kind, _), repo in ctx.store.repos.items():
        if kind == type and not repo.private:
            for tag in documents.tags(repo, documents.front_matter(repo.head()), repo.head()):
                group = tag.partition(":")[0] if ":" in tag else "other"
                found.setdefault(group, {})[tag] = {"id": tag, "label": tag.rpartition(":")[2], "type": group}
    return ctx.json({group: list(rows.values()) for group, rows in found.items()})


def whoami(ctx):
    """Answer who the token belongs to."""
    token = ctx.token
    if token is None:
        raise HubError(401, "Invalid username or password.")
    orgs = [{"type": "org", "id": object_id("org:" + o), "name": o, "email": None,
             "fullname": ctx.store.fullnames.get(o, o.title()),
             "canPay": False, "isEnterprise": False, "avatarUrl": f"/avatars/{object_id(o)}.svg",
             "roleInOrg": token.role} for o in token.orgs]
    access_token = {"displayName": "test", "role": token.role, "createdAt": iso(1700000000)}
    if token.repos is not None:
        permissions = ["repo.content.read"] + (["repo.write"] if token.role == "write" else [])
        scoped = [{"entity": {"_id": r.object_id, "type": r.type[:-1], "name": r.id}, "permissions": permissions}
                  for r in ctx.store.repos.values() if r.id in token.repos]
        fine = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
        access_token.update(role="fineGrained", fineGrained=fine)
    return ctx.json({
        "type": "user", "id": object_id("user:" + token.user), "name": token.user,
        "fullname": ctx.store.fullnames.get(token.user, token.user.title()),
        "email": f"{token.user}@example.org", "emailVerified": True, "canPay": False, "periodEnd": None,
        "isPro": False, "avatarUrl": f"/avatars/{object_id(token.user)}.svg", "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": access_token},
    })


def user_names(ctx):
    """Return every user that a token, a like or a namespace speaks of."""
    names = {t.user for t in ctx.store.tokens.values()}
    for repo in ctx.store.repos.values():
        names |= set(repo.likers) | ({repo.author} if repo.author and repo.author not in ctx.store.orgs else set())
    return names


def followers(ctx, name):
    """Return who follows a user or organization."""
    return sorted(who for who, whom in ctx.store.follows if whom == name)


def following(ctx, name):
    """Return whom a user follows; organizations are followed too but not listed here."""
    return sorted(whom for who, whom in ctx.store.follows if who == name and whom not in ctx.store.orgs)


def is_followed(ctx, name):
    """Tell whether the caller follows somebody."""
    return ctx.token is not None and (ctx.token.user, name) in ctx.store.follows


def memberships(ctx, name):
    """Return the organizations of a user."""
    found = {o for t in ctx.store.tokens.values() if t.user == name for o in t.orgs}
    return sorted(found | {o for o, members in ctx.store.orgs.items() if name in members})


def organization(ctx, name):
    """Return an organization as others speak of it."""
    return {"_id": object_id("org:" + name), "name": name, "fullname": name.title(), "type": "org",
            "avatarUrl": f"/avatars/{object_id(name)}.svg", "isEnterprise": False, "isVerified": False}


def users(ctx, rest):
    """Answer the routes below `/api/users/{name}`."""
    name, verb = unquote(rest[0]), rest[1] if len(rest) > 1 else ""
    if name not in user_names(ctx):
        raise HubError(404, "This user does not exist")
    mine = [r for r in ctx.store.repos.values() if r.author == name and access.can_see(ctx.token, r)]
    if verb == "overview":
        doc = documents.user_document(name)
        counts = {f"num{t.title()}": sum(r.type == t for r in mine) for t in TYPES[:3]}
        talks = sum(d["author"]["name"] == name for r in ctx.store.repos.values() for d in r.discussions)
        likes = sum(name in r.likers for r in ctx.store.repos.values())
        doc.update(counts, numDiscussions=talks, numPapers=0, numUpvotes=0, numLikes=likes,
                   numFollowers=len(followers(ctx, name)), numFollowing=len(following(ctx, name)), details="",
                   isFollowing=is_followed(ctx, name), createdAt=iso(1700000000),
                   orgs=[organization(ctx, o) for o in memberships(ctx, name)])
        return ctx.json(doc)
    if verb == "likes":
        rows = [{"createdAt": r.extra.get("liked_at", {}).get(name, iso(r.created)),
                 "repo": {"name": r.id, "type": r.type[:-1]}}
                for r in ctx.store.repos.values() if name in r.likers and access.can_see(ctx.token, r)]
    elif verb in ("followers", "following"):
        names = followers(ctx, name) if verb == "followers" else following(ctx, name)
        rows = [documents.user_document(n, is_followed(ctx, n)) for n in names]
    elif verb == "socials":
        return ctx.json({"socialHandles": {}})
    elif verb == "avatar":
        return ctx.json({"avatarUrl": f"/avatars/{object_id(name)}.svg"})
    else:
        raise HubError(404, "Not Found")
    part, links = ctx.page(rows, ctx.quirks["list_page_size"])
    return ctx.json(part, links)


def organizations(ctx, rest):
    """Answer the routes below `/api/organizations/{name}`."""
    name, verb = unquote(rest[0]), rest[1] if len(rest) > 1 else ""
    members = sorted({t.user for t in ctx.store.tokens.values() if name in t.orgs}
                     | set(ctx.store.orgs.get(name, ())))
    if not members and name not in ctx.store.orgs:
        raise HubError(404, "This organization does not exist")
    if verb == "overview":
        mine = [r for r in ctx.store.repos.values() if r.author == name and access.can_see(ctx.token, r)]
        counts = {f"num{t.title()}": sum(r.type == t for r in mine) for t in TYPES[:3]}
        return ctx.json({**organization(ctx, name), "details": "", "numUsers": len(members), "numPapers": 0,
                         "isFollowing": is_followed(ctx, name), "numFollowers": len(followers(ctx, name)), **counts})
    if verb == "avatar":
        return ctx.json({"avatarUrl": f"/avatars/{object_id(name)}.svg"})
    if verb == "socials":
        return ctx.json({"socialHandles": {}})
    if verb not in ("members", "followers"):
        raise HubError(404, "Not Found")
    names = members if verb == "members" else followers(ctx, name)
    rows = [documents.user_document(n, is_followed(ctx, n)) for n in names]
    part, links = ctx.page(rows, ctx.quirks["list_page_size"])
    return ctx.json(part, links)


def validate_yaml(ctx):
    """Answer that a card is valid, or what is wrong with it: by JSON or a form, in JSON or as text."""
    request = ctx.request
    try:
        form = "urlencoded" in request.headers.get("content-type", "")
        given = dict(parse_qsl(request.body.decode(), keep_blank_values=True)) if form else json.loads(request.body)
        errors, warnings = cards.check(given["content"], given.get("repoType") or "model")
    except (ValueError, KeyError, TypeError, AttributeError):
        errors, warnings = ['"content" is required'], []
    status = 400 if errors else 200
    if request.headers.get("accept") == "text/plain":
        text = "".join(f"- Error: {e}\n" for e in errors) + "".join(f"- Warning: {w}\n" for w in warnings)
        return Response(status, [("Content-Type", "text/plain; charset=utf-8")], text.encode())
    rows = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    return ctx.json(rows, status=status)


def harnesses(ctx):
    """Answer the registry of coding agents that newer clients ask for."""
    return ctx.json({"standardEnvVars": ["AI_AGENT", "AGENT"], "harnesses": {}})


def tasks(ctx):
    """Answer the tasks that models can be for, of which clients read the names and the example models."""
    return ctx.json({name: {"id": name, "label": name.replace("-", " ").title(), "models": [],
                            "widgetModels": [f"acme/{name}"]}
                     for name in ("fill-mask", "summarization", "text-classification", "text-generation")})


def fixed_page(ctx):
    """Answer a small page for the web routes that no client parses."""
    return Response(200, [("Content-Type", "text/html; charset=utf-8")], b"<!doctype html><title>Hub</title>")
