"""Buckets: storage without history, whose files come from and go to the chunk storage.

A bucket is kept as a repository without commits, so that the chunk storage can tell what belongs to it.
"""

import json
import time
from urllib.parse import quote, unquote

from . import access, rights, routes_cas
from .access import HubError
from .routes_files import sign
from .store import Entry, Repo, iso
from .wire import Response


def files(bucket):
    """Return {path: row} of a bucket."""
    return bucket.extra["files"]


def find(ctx, id):
    """Return the bucket of an id, if the caller may see it."""
    bucket = ctx.store.buckets.get(id)
    if bucket is None or not access.can_see(ctx.token, bucket):
        raise access.not_found(ctx.token, ctx.quirks)
    ctx.repo = bucket
    return bucket


def document(bucket):
    """Return what is told of a bucket."""
    rows = files(bucket).values()
    return {"id": bucket.id, "private": bucket.private, "createdAt": iso(bucket.created),
            "size": sum(r["blob"].size for r in rows), "totalFiles": len(rows)}


def file_row(path, row):
    """Return one file of a listing."""
    out = {"type": "file", "path": path, "size": row["blob"].size, "xetHash": row["hash"],
           "uploadedAt": iso(row["uploaded"])}
    return out | ({"mtime": iso(row["mtime"] / 1000)} if row["mtime"] is not None else {})


def web_url(ctx, id):
    """Return the address of a bucket's page."""
    return f"{ctx.world.public_url}/buckets/{id}"


def create(ctx, id):
    """Create a bucket."""
    given, namespace = rights.body(ctx), id.split("/")[0]
    rights.namespace_writer(ctx, namespace)
    if id in ctx.store.buckets:
        text = f"You already created this bucket: {id}"
        return ctx.json({"error": text, "url": web_url(ctx, id)}, [("X-Error-Message", text)], 409)
    private = given.get("private")
    private = namespace in ctx.store.private_orgs if private is None else bool(private)
    ctx.store.serial += 1
    ctx.store.buckets[id] = Repo("buckets", id, private, extra={"files": {}}, serial=ctx.store.serial)
    return ctx.json({"url": web_url(ctx, id), "name": id})


def move(ctx):
    """Give a bucket another name."""
    given = rights.body(ctx)
    old, new = rights.required(given, "fromRepo", "toRepo")
    bucket = find(ctx, old)
    rights.repo_writer(ctx)
    rights.namespace_writer(ctx, new.split("/")[0])
    if new in ctx.store.buckets:
        raise HubError(409, f"A bucket called {new} already exists")
    ctx.store.buckets[new] = ctx.store.buckets.pop(old)
    bucket.id = new
    return ctx.json({"url": web_url(ctx, new)})


def listing(ctx, namespace):
    """Answer the buckets of a user or organization that the caller can see."""
    known = {t.user for t in ctx.store.tokens.values()} | {o for t in ctx.store.tokens.values() for o in t.orgs}
    if namespace not in known:
        raise HubError(404, "This user does not exist")
    search = (ctx.param("search") or "").lower()
    rows = [document(b) for b in ctx.store.buckets.values()
            if b.author == namespace and search in b.id.split("/")[1].lower() and access.can_see(ctx.token, b)]
    part, links = ctx.page(rows, ctx.quirks["list_page_size"])
    return ctx.json(part, links)


def tree(ctx, bucket, rest):
    """Answer the files whose paths begin with a prefix; without `recursive`, folders stand for what is in them."""
    prefix = "/".join(unquote(s) for s in rest)
    rows, recursive = {}, ctx.param("recursive") is None or ctx.flag("recursive")
    for path, row in sorted(files(bucket).items()):
        if not path.startswith(prefix):
            continue
        below = path[len(prefix):].lstrip("/")
        if recursive or "/" not in below:
            rows[path] = file_row(path, row)
        else:
            folder = path[:len(path) - len(below)] + below.split("/")[0]
            rows.setdefault(folder, {"type": "directory", "path": folder, "uploadedAt": iso(row["uploaded"])})
    part, links = ctx.page(list(rows.values()), ctx.quirks["page_size"])
    return ctx.json(part, links)


def paths_info(ctx, bucket):
    """Answer the files of these paths; those that do not exist are left out."""
    paths, = rights.required(rights.body(ctx), "paths")
    return ctx.json([file_row(p, files(bucket)[p]) for p in paths if p in files(bucket)])


def source(ctx, given):
    """Return where a copied file comes from, if the caller may read it."""
    kind, id = rights.required(given, "sourceRepoType", "sourceRepoId")
    if kind == "bucket":
        there = ctx.store.buckets.get(id)
    else:
        there = ctx.store.lookup(kind + "s", id)
    if there is None or not access.can_see(ctx.token, there):
        raise access.not_found(ctx.token, ctx.quirks)
    access.check_gate(ctx.token, there)
    return there


def change(ctx, bucket, given):
    """Do what one line of a batch says."""
    kind, path = rights.required(given, "type", "path")
    if kind == "deleteFile":
        files(bucket).pop(path, None)
        return
    if kind not in ("addFile", "copyFile"):
        raise HubError(400, f"Unknown type on a line: {kind}")
    name, = rights.required(given, "xetHash")
    origin = bucket if kind == "addFile" else source(ctx, given)
    recipe = ctx.world.xet.recipe(name)
    if recipe is None or not ctx.world.xet.readable(recipe, origin):
        raise HubError(422, f"The file {path} was not uploaded: {name}")
    bucket.stored.add(recipe.blob.sha256)
    files(bucket)[path] = {"hash": name, "blob": recipe.blob, "mtime": given.get("mtime"), "uploaded": time.time()}


def batch(ctx, bucket):
    """Add, copy and delete files, one JSON object on each line."""
    rights.repo_writer(ctx)
    try:
        rows = [dict(json.loads(line)) for line in ctx.request.body.split(b"\n") if line.strip()]
    except (ValueError, TypeError):
        raise HubError(400, "Invalid JSON in the body") from None
    for row in rows:
        change(ctx, bucket, row)
    return ctx.json({"success": True, "processed": len(rows), "succeeded": len(rows), "failed": []})


def settings(ctx, bucket):
    """Change the visibility of a bucket."""
    rights.repo_writer(ctx)
    given = rights.body(ctx)
    if given.get("private") is not None:
        bucket.private = bool(given["private"])
    return ctx.json(document(bucket))


def buckets(ctx, rest):
    """Answer the routes below `/api/buckets`; the namespace `me` is the caller's own."""
    method, reads = ctx.request.method, ctx.request.method in ("GET", "HEAD")
    segments = [unquote(s) for s in rest[:2]]
    if segments[:1] == ["me"]:
        segments[0] = rights.login(ctx).user
    if len(segments) < 2:
        if segments and reads:
            return listing(ctx, segments[0])
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    id, verb = "/".join(segments), rest[2] if len(rest) > 2 else ""
    if method == "POST" and not verb:
        return create(ctx, id)
    bucket = find(ctx, id)
    if verb == "tree" and reads:
        return tree(ctx, bucket, rest[3:])
    if verb == "xet-read-token" and reads:
        return routes_cas.token_answer(ctx, "", False)
    if verb == "xet-write-token" and reads:
        rights.repo_writer(ctx)
        return routes_cas.token_answer(ctx, "", True)
    if not verb and reads:
        return ctx.json(document(bucket))
    if not verb and method == "DELETE":
        rights.repo_writer(ctx)
        del ctx.store.buckets[id]
        return Response(204, [], b"")
    handler = {("POST", "paths-info"): paths_info, ("POST", "batch"): batch, ("PUT", "settings"): settings}.get(
        (method, verb))
    if handler is None:
        raise HubError(404, "Not Found")
    return handler(ctx, bucket)


def resolve(ctx, rest):
    """Answer `/buckets/{namespace}/{name}/resolve/{path}`: what a file is to HEAD, its bytes at the CDN to GET."""
    bucket = find(ctx, "/".join(unquote(s) for s in rest[:2]))
    path = "/".join(unquote(s) for s in rest[3:])
    row = files(bucket).get(path)
    if row is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    blob = row["blob"]
    cas = ctx.quirks["cas_url"] or ctx.world.cas_url
    route = f"{ctx.world.public_url}/api/buckets/{quote(bucket.id)}/xet-read-token"
    headers = [("ETag", f'"{row["hash"]}"'), ("X-Linked-Size", str(blob.size)), ("X-Linked-Etag", f'"{row["hash"]}"'),
               ("Accept-Ranges", "bytes"), ("Cache-Control", "no-store"), ("X-Xet-Hash", row["hash"]),
               ("Link", f'<{route}>; rel="xet-auth", <{cas}/v1/reconstructions/{row["hash"]}>; '
                        'rel="xet-reconstruction-info"')]
    if ctx.request.method == "HEAD":
        return Response(200, [*headers, ("Content-Length", str(blob.size))])
    target = sign(ctx.world, bucket, Entry(blob, True), path)
    return Response(302, [*headers, ("Location", target)], f"Found. Redirecting to {target}".encode())


def state(store):
    """Return every bucket with its files."""
    return {"buckets": {id: {"private": b.private, "files": {p: [r["hash"], r["blob"].size]
                                                             for p, r in sorted(files(b).items())}}
                        for id, b in sorted(store.buckets.items())}}
