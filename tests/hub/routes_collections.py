"""Collections: lists of repositories and papers that users and organizations keep."""

import html
import re
import time
from urllib.parse import unquote

from . import access, rights
from .access import HubError
from .store import iso, object_id

KINDS = {"model": "models", "dataset": "datasets", "space": "spaces", "kernel": "kernels"}
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
ORDERS = {"lastModified": lambda c: c["lastUpdated"], "trending": lambda c: c["upvotes"],
          "upvotes": lambda c: c["upvotes"]}


def seen(ctx):
    """Return the collections that the caller may know of."""
    return [c for c in ctx.store.collections if not c["private"] or rights.owns(ctx.token, c["owner"]["name"])]


def visible(ctx, item):
    """Tell whether the caller may know of an item; those whose repositories are gone or hidden are left out."""
    if item["type"] not in KINDS:
        return True
    repo = ctx.store.lookup(KINDS[item["type"]], item["id"])
    return repo is not None and access.can_see(ctx.token, repo)


def shown(ctx, collection, items=None):
    """Return the document of a collection, of which listings show the first items only."""
    return {**collection, "items": [i for i in collection["items"] if visible(ctx, i)][:items]}


def listing(ctx):
    """Answer one page of collections."""
    rows = seen(ctx)
    if owners := ctx.values("owner"):
        rows = [c for c in rows if c["owner"]["name"] in owners]
    if items := ctx.values("item"):
        wanted = [tuple(i.partition("/")[::2]) for i in items]
        rows = [c for c in rows if any((i["type"] + "s", i["id"]) in wanted for i in c["items"])]
    if order := ctx.param("sort"):
        if order not in ORDERS:
            raise HubError(400, f'"sort" must be one of [{", ".join(ORDERS)}]')
        rows = sorted(rows, key=ORDERS[order], reverse=True)
    rows = [{k: v for k, v in shown(ctx, c, 4).items() if k != "position"} for c in rows]
    part, links = ctx.page(rows, min(ctx.number("limit", 10) or 1, 100))
    return ctx.json(part, links)


def slug_of(owner, title, id):
    """Return the slug of a collection: words of its title, which may change, and its id, which does not."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"{owner}/{words}-{id}"


def new_id(ctx, owner, title):
    """Return an id that no collection has."""
    id = object_id(owner + title)
    while any(c["slug"].endswith("-" + id) for c in ctx.store.collections):
        id = object_id(id)
    return id


def touch(collection):
    """Note that a collection has just changed."""
    collection["lastUpdated"] = iso(time.time())


def create(ctx):
    """Create a collection; one owner cannot have two of the same title."""
    given = rights.body(ctx)
    title, namespace = rights.text(given, "title", 60), rights.text(given, "namespace")
    token = rights.namespace_writer(ctx, namespace)
    if len(given.get("description") or "") > 150:
        raise HubError(400, '"description" must be at most 150 characters')
    there = next((c for c in ctx.store.collections if c["owner"]["name"] == namespace and c["title"] == title), None)
    if there:
        error = HubError(409, "This collection already exists").response(True)
        return ctx.json({"error": "This collection already exists", "slug": there["slug"]}, error.headers[:1], 409)
    slug = slug_of(namespace, title, new_id(ctx, namespace, title))
    made = {
        "slug": slug, "title": title, "description": given.get("description") or "", "gating": False,
        "owner": {"_id": object_id(namespace), "name": namespace, "fullname": namespace.title(),
                  "avatarUrl": f"/avatars/{object_id(namespace)}.svg",
                  "type": "user" if token.user == namespace else "org", "isHf": False},
        "items": [], "lastUpdated": iso(time.time()), "private": bool(given.get("private")), "theme": THEMES[0],
        "position": sum(c["owner"]["name"] == namespace for c in ctx.store.collections), "upvotes": 0,
        "isUpvotedByUser": False, "shareUrl": f"{ctx.world.public_url}/collections/{slug}"}
    ctx.store.collections.append(made)
    return ctx.json(shown(ctx, made))


def find(ctx, slug):
    """Return the collection of a slug; its last part alone, the id, is enough."""
    for row in seen(ctx):
        if row["slug"] == slug or row["slug"].split("/")[0] == slug.split("/")[0] \
                and row["slug"].rpartition("-")[2] == slug.rpartition("-")[2]:
            return row
    raise HubError(404, "Collection not found")


def update(ctx, collection):
    """Change title, description, position, visibility or theme."""
    given = rights.body(ctx)
    if given.get("theme") not in (None, *THEMES):
        raise HubError(400, f'"theme" must be one of [{", ".join(THEMES)}]')
    for name in ("title", "description", "position", "private", "theme"):
        if name in given:
            collection[name] = given[name]
    if "title" in given:
        id = collection["slug"].rpartition("-")[2]
        collection["slug"] = slug_of(collection["owner"]["name"], rights.text(given, "title", 60), id)
        collection["shareUrl"] = f"{ctx.world.public_url}/collections/{collection['slug']}"
    touch(collection)
    return ctx.json({"success": True, "data": shown(ctx, collection)})


def described(ctx, kind, id):
    """Return what an item shows of the thing that it names; refuse what the caller cannot see."""
    if kind in KINDS:
        repo = ctx.store.lookup(KINDS[kind], id)
        if repo is None or not access.can_see(ctx.token, repo):
            raise HubError(404, f"{kind.title()} not found", "RepoNotFound")
        return {"id": repo.id, "author": repo.author, "likes": repo.likes, "private": repo.private,
                "repoType": kind, "lastModified": iso(repo.head().date if repo.head() else repo.created)}
    if kind == "paper":
        paper = next((p for p in ctx.store.papers if p["id"] == id), None)
        if paper is None:
            raise HubError(404, "Paper not found")
        return {"id": id, "title": paper["title"], "upvotes": paper["upvotes"], "publishedAt": paper["publishedAt"]}
    if kind == "collection":
        other = find(ctx, id)
        return {"id": object_id(other["slug"]), "slug": other["slug"], "title": other["title"]}
    raise HubError(400, f'"type" must be one of [{", ".join([*KINDS, "paper", "collection"])}]')


def noted(text):
    """Return a note, of which the Hub keeps text and markup."""
    if not isinstance(text, str) or len(text) > 500:
        raise HubError(400, '"note" must be text of at most 500 characters')
    return {"html": html.escape(text), "text": text}


def add_item(ctx, collection):
    """Add an item at the end."""
    given = rights.body(ctx)
    item, = rights.required(given, "item")
    kind, id = rights.required(item, "type", "id")
    row = described(ctx, kind, id)
    if any(i["type"] == kind and i["id"] == row["id"] for i in collection["items"]):
        raise HubError(409, "Item already in the collection")
    row = {"_id": object_id(f"{collection['slug']}:{kind}:{row['id']}"), "type": kind, **row,
           "position": len(collection["items"])}
    if given.get("note") is not None:
        row["note"] = noted(given["note"])
    collection["items"].append(row)
    touch(collection)
    return ctx.json(shown(ctx, collection))


def change_item(ctx, collection, item_id):
    """Change the note or the place of an item, or remove it; the others move up or down."""
    items = collection["items"]
    item = next((i for i in items if i["_id"] == item_id), None)
    if item is None:
        raise HubError(404, "Item not found in the collection")
    if ctx.request.method == "DELETE":
        items.remove(item)
    else:
        given = rights.body(ctx)
        if "note" in given:
            item["note"] = noted(given["note"])
        if "position" in given:
            items.remove(item)
            items.insert(min(max(0, int(given["position"])), len(items)), item)
    for n, row in enumerate(items):
        row["position"] = n
    touch(collection)
    return ctx.json({"success": True})


def collections(ctx, rest):
    """Answer the routes below `/api/collections`."""
    method, rest = ctx.request.method, [unquote(s) for s in rest]
    if not rest:
        if method == "POST":
            return create(ctx)
        if method in ("GET", "HEAD"):
            return listing(ctx)
        raise HubError(404, "Not Found")
    found, rest = find(ctx, "/".join(rest[:2])), rest[2:]
    if not rest and method in ("GET", "HEAD"):
        return ctx.json(shown(ctx, found))
    rights.namespace_writer(ctx, found["owner"]["name"])
    if not rest and method == "PATCH":
        return update(ctx, found)
    if not rest and method == "DELETE":
        ctx.store.collections.remove(found)
        return ctx.json({"success": True})
    if rest == ["items"] and method == "POST":
        return add_item(ctx, found)
    if len(rest) == 2 and rest[0] == "items" and method in ("PATCH", "DELETE"):
        return change_item(ctx, found, rest[1])
    if rest == ["resource-group"] and method == "POST":
        found["resourceGroup"] = rights.body(ctx).get("resourceGroupId")
        return ctx.json({"resourceGroup": found["resourceGroup"]})
    raise HubError(404, "Not Found")
