"""API routes that are not below one repository: listings, users, collections, papers and the like."""

import json
from urllib.parse import unquote

from . import access, documents
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
    orgs = [{"type": "org", "id": object_id("org:" + o), "name": o, "fullname": o.title(), "email": None,
             "canPay": False, "isEnterprise": False, "avatarUrl": f"/avatars/{object_id(o)}.svg",
             "roleInOrg": token.role} for o in token.orgs]
    return ctx.json({
        "type": "user", "id": object_id("user:" + token.user), "name": token.user, "fullname": token.user.title(),
        "email": f"{token.user}@example.org", "emailVerified": True, "canPay": False, "periodEnd": None,
        "isPro": False, "avatarUrl": f"/avatars/{object_id(token.user)}.svg", "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": {
            "displayName": "test", "role": token.role, "createdAt": iso(1700000000)}},
    })


def user_names(ctx):
    """Return every user that a token, a like or a namespace speaks of."""
    names = {t.user for t in ctx.store.tokens.values()}
    for repo in ctx.store.repos.values():
        names |= set(repo.likers) | ({repo.author} if repo.author and repo.author not in ctx.store.orgs else set())
    return names


def users(ctx, rest):
    """Answer the routes below `/api/users/{name}`."""
    name, verb = unquote(rest[0]), rest[1] if len(rest) > 1 else ""
    if name not in user_names(ctx):
        raise HubError(404, "This user does not exist")
    mine = [r for r in ctx.store.repos.values() if r.author == name and access.can_see(ctx.token, r)]
    if verb == "overview":
        doc = documents.user_document(name)
        counts = {f"num{t.title()}": sum(r.type == t for r in mine) for t in TYPES[:3]}
        doc.update(counts, numDiscussions=0, numPapers=0, numUpvotes=0, numLikes=0, numFollowers=0, numFollowing=0,
                   orgs=[], details="", createdAt=iso(1700000000))
        return ctx.json(doc)
    if verb == "likes":
        rows = [{"createdAt": iso(r.created), "repo": {"name": r.id, "type": r.type[:-1]}}
                for r in ctx.store.repos.values() if name in r.likers and access.can_see(ctx.token, r)]
    elif verb in ("followers", "following"):
        rows = []
    elif verb == "socials":
        return ctx.json({"socialHandles": {}})
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
        return ctx.json({"_id": object_id("org:" + name), "name": name, "fullname": name.title(), "type": "org",
                         "avatarUrl": f"/avatars/{object_id(name)}.svg", "isEnterprise": False, "isVerified": False,
                         "details": "", "numUsers": len(members), "numFollowers": 0, **counts})
    if verb not in ("members", "followers"):
        raise HubError(404, "Not Found")
    rows = [documents.user_document(m) for m in members] if verb == "members" else []
    part, links = ctx.page(rows, ctx.quirks["list_page_size"])
    return ctx.json(part, links)


def collections(ctx, rest):
    """Answer the collections, or one of them by its slug."""
    rows = [c for c in ctx.store.collections
            if not c["private"] or (ctx.token and c["owner"]["name"] in [ctx.token.user, *ctx.token.orgs])]
    if rest:
        slug = "/".join(unquote(s) for s in rest)
        found = next((c for c in rows if c["slug"] == slug), None)
        if found is None:
            raise HubError(404, "Collection not found")
        return ctx.json(found)
    if owners := ctx.values("owner"):
        rows = [c for c in rows if c["owner"]["name"] in owners]
    if items := ctx.values("item"):
        wanted = [i.partition("/")[2] for i in items]
        rows = [c for c in rows if any(i["id"] in wanted for i in c["items"])]
    rows = [{k: v for k, v in c.items() if k != "position"} | {"items": c["items"][:4]} for c in rows]
    part, links = ctx.page(rows, min(ctx.number("limit", 10) or 1, 100))
    return ctx.json(part, links)


def papers(ctx, rest):
    """Answer the papers: a search, all of them, or one."""
    rows = ctx.store.papers
    if not rest or rest == ["search"]:
        query = (ctx.param("q") or "").lower()
        return ctx.json([{"paper": p, "publishedAt": p["publishedAt"], "title": p["title"], "numComments": 0}
                         for p in rows if query in p["title"].lower()])
    found = next((p for p in rows if p["id"] == unquote(rest[0])), None)
    if found is None or len(rest) > 1:
        raise HubError(404, "Paper not found")
    return ctx.json(found)


def daily_papers(ctx):
    """Answer the papers of the day."""
    return ctx.json([{"paper": p, "publishedAt": p["publishedAt"], "title": p["title"], "numComments": 0}
                     for p in ctx.store.papers])


def validate_yaml(ctx):
    """Answer that a card is valid, or what is wrong with it."""
    try:
        text = json.loads(ctx.request.body)["content"]
    except (ValueError, KeyError, TypeError):
        return ctx.json({"errors": [{"message": '"content" is required'}], "warnings": []}, status=400)
    if not text.startswith("---\n"):
        return ctx.json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    return ctx.json({"errors": [], "warnings": []})


def harnesses(ctx):
    """Answer the registry of coding agents that newer clients ask for."""
    return ctx.json({"standardEnvVars": ["AI_AGENT", "AGENT"], "harnesses": {}})


def fixed_page(ctx):
    """Answer a small page for the web routes that no client parses."""
    return Response(200, [("Content-Type", "text/html; charset=utf-8")], b"<!doctype html><title>Hub</title>")
