"""The route table of the hub origin."""

from urllib.parse import quote

from . import (
    access, rights, routes_access, routes_buckets, routes_collections, routes_commit, routes_discussions,
    routes_files, routes_git, routes_jobs, routes_lfs, routes_misc, routes_papers, routes_repo, routes_s3,
    routes_settings, routes_spaces, routes_writes)
from .access import HubError
from .context import Context, finish
from .store import TYPES
from .wire import Response

WEB_VERBS = {"resolve", "raw", "blob", "tree", "commit", "commits", "discussions", "info", "git-upload-pack",
             "git-receive-pack", "ask-access"}
WRITES = {**routes_commit.WRITES, **routes_writes.WRITES}

REPO_GROUPS = (routes_access, routes_discussions, routes_spaces)
BELOW = {
    "users": routes_misc.users, "collections": routes_collections.collections, "papers": routes_papers.papers,
    "daily_papers": routes_papers.daily, "settings": routes_settings.settings, "jobs": routes_jobs.jobs,
    "notifications": routes_settings.notifications, "buckets": routes_buckets.buckets,
    "scheduled-jobs": routes_jobs.scheduled_jobs,
}


def split_id(ctx, type, raw, reserved):
    """Return (id segments, the rest): one segment if the second is a reserved word and no repository's name."""
    count = 1 if len(raw) == 1 or raw[1] in reserved and not ctx.store.lookup(type, "/".join(raw[:2])) else 2
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
        if head == "spaces" and (fixed := routes_spaces.FIXED.get("/".join(rest))):
            return fixed(ctx)
        raw_id, rest = split_id(ctx, head, rest, routes_repo.RESERVED)
        ctx.find_repo(head, raw_id)
        if not rest:
            return routes_repo.info(ctx, [])
        verb = rest[0]
        if write := WRITES.get((request.method, verb)):
            access.check_disabled(ctx.repo)
            return write(ctx, rest[1:])
        if group := next((g for g in REPO_GROUPS if verb in g.VERBS), None):
            if request.method not in ("GET", "HEAD") or verb not in routes_repo.OPEN_WHEN_DISABLED:
                access.check_disabled(ctx.repo)
            return group.VERBS[verb](ctx, rest[1:])
        handler = routes_repo.VERBS.get(verb)
        allowed = ("POST",) if verb in routes_repo.POSTED else ("GET", "HEAD")
        if handler and request.method in allowed:
            if verb not in routes_repo.OPEN_WHEN_DISABLED:
                access.check_disabled(ctx.repo)
            return handler(ctx, rest[1:])
        raise HubError(404, "Not Found")
    if head == "repos":
        return routes_writes.repos(ctx, rest)
    if head == "complete_multipart" and not rest:
        return routes_s3.complete(ctx)
    if head == "telemetry":
        return Response(200, [("Content-Type", "text/plain; charset=utf-8")], b"")
    if head in ("models-tags-by-type", "datasets-tags-by-type"):
        return routes_misc.tags_by_type(ctx, head.removesuffix("-tags-by-type"))
    plain = {"whoami-v2": routes_misc.whoami, "validate-yaml": routes_misc.validate_yaml,
             "agent-harnesses": routes_misc.harnesses, "tasks": routes_misc.tasks}
    if head in plain and not rest:
        return plain[head](ctx)
    if head == "organizations" and rest[1:] == ["settings", "repositories"]:
        rights.in_namespace(ctx, rest[0])
        return routes_settings.repositories(ctx, rest[0])
    if head == "organizations" and rest:
        return routes_misc.organizations(ctx, rest)
    if head in BELOW and (rest or head != "users"):
        return BELOW[head](ctx, rest)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def web(ctx, raw):
    """Dispatch everything that is not below `/api`: file routes, git and git-lfs."""
    if not raw:
        return routes_misc.fixed_page(ctx)
    type = raw[0] if raw[0] in TYPES[1:] else "models"
    rest = raw[1:] if type != "models" else raw
    if found := routes_git.match(rest):
        return routes_git.git(ctx, type, *found)
    for n in (1, 2):
        if len(rest) > n + 2 and rest[n - 1].endswith(".git") and rest[n:n + 2] == ["info", "lfs"]:
            return routes_lfs.lfs(ctx, type, [*rest[:n - 1], rest[n - 1].removesuffix(".git")], rest[n + 2:])
    if raw[0] == "buckets" and len(raw) > 4 and raw[3] == "resolve":
        return routes_buckets.resolve(ctx, raw[1:])
    if raw[0] == "uploads":
        return routes_discussions.uploads(ctx, raw[1:])
    if raw[0] == "papers" and len(raw) == 2 and ctx.request.method in ("GET", "HEAD"):
        return routes_papers.page_of(ctx, raw[1])
    if len(rest) < 2:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    raw_id, rest = split_id(ctx, type, rest, WEB_VERBS)
    if len(rest) >= 3 and rest[0] == "resolve":
        return routes_files.resolve(ctx, type, raw_id, rest[1:])
    if len(rest) >= 3 and rest[0] == "raw":
        return routes_files.raw(ctx, type, raw_id, rest[1:])
    ctx.find_repo(type, raw_id)
    if rest == ["ask-access"] and ctx.request.method == "POST":
        return routes_access.ask_access(ctx)
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
        if callable(response):  # a handler that goes on without the lock
            response = response()
    except HubError as e:
        response = routes_git.challenge(ctx, e.response(ctx.is_api))
    return finish(world, ctx, response)


def evil(request):
    """Answer a request at the evil origin, which takes whatever it gets."""
    return Response(200, [("Content-Type", "application/octet-stream"), ("X-Asked", quote(request.path))],
                    b"evil bytes\n")
