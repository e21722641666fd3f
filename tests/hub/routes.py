"""The route table of the hub origin."""

from urllib.parse import quote

from . import access, routes_files, routes_misc, routes_repo
from .access import HubError
from .context import Context, finish
from .store import TYPES
from .wire import Response

WEB_VERBS = {"resolve", "raw", "blob", "tree", "commit", "commits", "discussions", "info", "git-upload-pack"}


def split_id(raw, reserved):
    """Return (id segments, the rest): one segment if the second is a reserved word, otherwise two."""
    count = 1 if len(raw) == 1 or raw[1] in reserved else 2
    return raw[:count], raw[count:]


def api(ctx, raw):
    """Dispatch the segments below `/api`."""
    request = ctx.request
    head, rest = (raw[0], raw[1:]) if raw else ("", [])
    if head == "resolve-cache" and len(rest) > 3 and rest[0] in TYPES:
        commit_at = 2 if len(rest[2]) == 40 and len(rest[3]) != 40 else 3
        return routes_files.resolve_cache(ctx, rest[0], rest[1:commit_at], rest[commit_at:])
    if head in TYPES:
        if not rest:
            return routes_misc.listing(ctx, head)
        if head == "spaces" and rest in (["hardware"], ["templates"], ["semantic-search"]):
            return routes_misc.listing(ctx, head) if rest == ["semantic-search"] else ctx.json([])
        raw_id, rest = split_id(rest, routes_repo.RESERVED)
        ctx.find_repo(head, raw_id)
        if not rest:
            return routes_repo.info(ctx, [])
        verb = rest[0]
        handler = routes_repo.VERBS.get(verb)
        allowed = ("POST",) if verb in routes_repo.POSTED else ("GET", "HEAD")
        if handler and request.method in allowed:
            if verb not in routes_repo.OPEN_WHEN_DISABLED:
                access.check_disabled(ctx.repo)
            return handler(ctx, rest[1:])
        raise HubError(404, "Not Found")
    if head == "telemetry":
        return Response(200, [("Content-Type", "text/plain; charset=utf-8")], b"")
    if head in ("models-tags-by-type", "datasets-tags-by-type"):
        return routes_misc.tags_by_type(ctx, head.removesuffix("-tags-by-type"))
    plain = {"whoami-v2": routes_misc.whoami, "daily_papers": routes_misc.daily_papers,
             "validate-yaml": routes_misc.validate_yaml, "agent-harnesses": routes_misc.harnesses}
    if head in plain and not rest:
        return plain[head](ctx)
    below = {"users": routes_misc.users, "organizations": routes_misc.organizations}
    if head in below and rest:
        return below[head](ctx, rest)
    if head == "collections" and request.method in ("GET", "HEAD"):
        return routes_misc.collections(ctx, rest)
    if head == "papers" and request.method in ("GET", "HEAD"):
        return routes_misc.papers(ctx, rest)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def web(ctx, raw):
    """Dispatch everything that is not below `/api`: file routes and git-lfs."""
    if not raw:
        return routes_misc.fixed_page(ctx)
    type = raw[0] if raw[0] in TYPES[1:] else "models"
    rest = raw[1:] if type != "models" else raw
    for n in (1, 2):
        if len(rest) > n + 2 and rest[n - 1].endswith(".git") and rest[n:n + 2] == ["info", "lfs"]:
            return routes_files.lfs_batch(ctx, type, [*rest[:n - 1], rest[n - 1].removesuffix(".git")])
    if len(rest) < 2:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    raw_id, rest = split_id(rest, WEB_VERBS)
    if len(rest) >= 3 and rest[0] == "resolve":
        return routes_files.resolve(ctx, type, raw_id, rest[1:])
    if len(rest) >= 3 and rest[0] == "raw":
        return routes_files.raw(ctx, type, raw_id, rest[1:])
    ctx.find_repo(type, raw_id)
    if not rest or rest[0] in ("tree", "blob", "commit", "commits", "discussions"):
        return routes_misc.fixed_page(ctx)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def hub(world, request):
    """Answer a request at the hub origin."""
    ctx = Context(world, request)
    try:
        ctx.token = access.principal(world.store, request)
        with world.store.lock:
            response = api(ctx, ctx.raw[1:]) if ctx.raw[:1] == ["api"] else web(ctx, ctx.raw)
    except HubError as e:
        response = e.response(ctx.is_api)
    return finish(world, ctx, response)


def evil(request):
    """Answer a request at the evil origin, which takes whatever it gets."""
    return Response(200, [("Content-Type", "application/octet-stream"), ("X-Asked", quote(request.path))],
                    b"evil bytes\n")
