"""Writes to repositories as such: creation, names, settings, branches, tags, histories, likes and LFS objects."""

import base64
import re
import time
from dataclasses import replace
from urllib.parse import unquote

from . import access, rights, routes_buckets
from .access import HubError
from .routes_lfs import lfs_oids
from .store import GITATTRIBUTES, TYPES, Entry, iso, object_id
from .wire import Response

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|^/|\.lock$|\.$|^-|^$")
SPACE_OPTIONS = ("hardware", "storageTier", "sleepTimeSeconds", "secrets", "variables", "volumes")
SETTINGS = ("xetEnabled", "description", "discussionsDisabled", "discussionsSorting", "autoDetectLanguage",
            "protectedBranches", "rewriteHistory")


def ok():
    """Return the answer of writes that have nothing to say."""
    return Response(200, [("Content-Type", "text/plain; charset=utf-8")], b"OK")


def web_url(ctx, repo):
    """Return the address of a repository's page."""
    return f"{ctx.world.public_url}/{repo.prefix}{repo.id}"


def kind(body):
    """Return the repository type that a body names, in the plural of paths."""
    type = (body.get("type") or "model") + "s"
    if type not in TYPES:
        raise HubError(400, '"type" must be one of [model, dataset, space, kernel]')
    return type


def checked_name(name):
    """Return a repository's name without namespace; names that the Hub does not allow are refused."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or "--" in name or ".." in name:
        raise HubError(400, f"Invalid repo name: {name} - repo name must use alphanumeric chars, '-', '_' or '.'")
    if name.endswith((".git", ".ipynb")):
        raise HubError(400, f"Invalid repo name: {name} - repo name cannot end with .git or .ipynb")
    return name


def check_namespace(ctx, type, namespace, verb="create"):
    """Refuse callers who may not have repositories under a name."""
    token = rights.login(ctx)
    if not rights.owns(token, namespace) or token.role != "write" or token.repos is not None:
        raise HubError(403, f"You don't have the rights to {verb} a {type[:-1]} under the namespace \"{namespace}\"")
    return token


def named(ctx, type, id):
    """Return the repository that has this name now, in whatever spelling, or None; old names do not count."""
    return next((r for (t, name), r in ctx.store.repos.items() if t == type and name.lower() == id.lower()), None)


def check_free(ctx, type, id):
    """Refuse a name that is taken, whatever its spelling, with the address of what is there."""
    if there := named(ctx, type, id):
        raise Taken(f"You already created this {type[:-1]} repo: {there.id}", web_url(ctx, there))


class Taken(HubError):
    """409 with the address of the repository that is there, which clients read."""

    def __init__(self, message, url):
        """Keep the address."""
        super().__init__(409, message)
        self.url = url

    def response(self, is_api):
        """Return the answer with `url` beside `error`."""
        answer = super().response(is_api)
        answer.body = answer.body[:-1] + f', "url": "{self.url}"}}'.encode()
        return answer


def visibility(body, type):
    """Return {private, visibility} as far as a body says something about it, in either spelling."""
    found = {}
    if body.get("private") is not None:
        if not isinstance(body["private"], bool):
            raise HubError(400, '"private" must be a boolean')
        found["private"] = body["private"]
    if (value := body.get("visibility")) is not None:
        if value not in ("public", "private", "protected") or (value == "protected" and type != "spaces"):
            raise HubError(400, '"visibility" must be one of [public, private]')
        found.update(private=value == "private", visibility=value)
    return found


def make_repo(ctx, type, id, body, files, title, sdk=None):
    """Create a repository with its first commit, and note what else the body asks for."""
    seen = visibility(body, type)
    extra = {"sdk": sdk} if sdk else {}
    if "lfsmultipartthresh" in body:
        extra["lfsmultipartthresh"] = int(body["lfsmultipartthresh"])
    private = seen.get("private", id.split("/")[0] in ctx.store.private_orgs)
    repo = ctx.store.create_repo(type, id, private=private, init=False, **extra)
    if seen.get("visibility") == "protected":
        inform(repo, visibility="protected")
    if body.get("resourceGroupId"):
        inform(repo, resourceGroup=group(body["resourceGroupId"]))
    if type == "spaces":
        repo.extra["space_options"] = {k: body[k] for k in SPACE_OPTIONS if body.get(k) is not None}
    ctx.store.commit(repo, "main", files, [], title, author=ctx.token.user)
    return repo


def inform(repo, **fields):
    """Set fields of the info document."""
    repo.extra.setdefault("info", {}).update(fields)


def group(id):
    """Return a resource group as info documents show it."""
    return {"id": id, "name": f"group {id}", "numUsers": 1}


def create(ctx):
    """Create a repository under the caller's or an organization's name."""
    if ctx.quirks["create_conflicts"] > 0:
        ctx.quirks["create_conflicts"] -= 1
        raise HubError(409, "Cannot create repo: another conflicting operation is in progress")
    token, body = rights.login(ctx), rights.body(ctx)
    type, name = kind(body), checked_name(body.get("name"))
    namespace = body.get("organization") or token.user
    check_namespace(ctx, type, namespace)
    check_free(ctx, type, f"{namespace}/{name}")
    texts, sdk = {".gitattributes": GITATTRIBUTES}, body.get("sdk")
    if type == "spaces":
        if sdk not in ("gradio", "docker", "static", "streamlit"):
            raise HubError(400, '"sdk" must be one of [gradio, docker, static]')
        texts["README.md"] = f"---\ntitle: {name}\nsdk: {sdk}\npinned: false\n---\n"
    elif body.get("license"):
        texts["README.md"] = f"---\nlicense: {body['license']}\n---\n"
    try:
        for row in body.get("files") or []:
            texts[row["path"]] = base64.b64decode(row["content"]).decode()
    except (ValueError, KeyError, TypeError):
        raise HubError(400, '"files" must be a list of {path, content, encoding}') from None
    files = {path: Entry(ctx.store.blobs.add_bytes(text.encode()), False) for path, text in texts.items()}
    repo = make_repo(ctx, type, f"{namespace}/{name}", body, files, "initial commit", sdk)
    return ctx.json({"url": web_url(ctx, repo), "name": repo.id, "id": repo.object_id})


def own_repo(ctx, type, id):
    """Return a repository that the caller may administer, by the name that it has now."""
    repo = named(ctx, type, id)
    if repo is None or not access.can_see(ctx.token, repo):
        raise access.not_found(ctx.token, ctx.quirks)
    ctx.repo = repo
    rights.repo_writer(ctx)
    return repo


def delete(ctx):
    """Delete a repository; its name is free at once."""
    token, body = rights.login(ctx), rights.body(ctx)
    rights.required(body, "name")
    id = f"{body.get('organization') or token.user}/{body['name']}"
    repo = own_repo(ctx, kind(body), id)
    ctx.store.delete_repo(repo.type, repo.id)
    return ok()


def move(ctx):
    """Give a repository another name; the old one leads to the new one."""
    rights.login(ctx)
    body = rights.body(ctx)
    if body.get("type") == "bucket":
        return routes_buckets.move(ctx)
    old, new = rights.required(body, "fromRepo", "toRepo")
    type = kind(body)
    repo = own_repo(ctx, type, old)
    namespace, slash, name = new.partition("/")
    if not slash:
        raise HubError(400, '"toRepo" must be in the form namespace/name')
    checked_name(name)
    check_namespace(ctx, type, namespace, "move")
    there = named(ctx, type, new)
    if there is not None and there is not repo:
        raise HubError(409, f"A {type[:-1]} repository called {there.id} already exists")
    if repo.id != new:
        ctx.store.rename(type, repo.id, new)
    return ctx.json({"url": web_url(ctx, repo)})


def repos(ctx, rest):
    """Dispatch the routes below `/api/repos`."""
    handler = {("POST", "create"): create, ("DELETE", "delete"): delete, ("POST", "move"): move}.get(
        (ctx.request.method, "/".join(rest)))
    if handler is None:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    return handler(ctx)


def settings(ctx, rest):
    """Change the settings of a repository and answer them."""
    rights.repo_writer(ctx)
    repo, body = ctx.repo, rights.body(ctx)
    unknown = set(body) - {"gated", "private", "visibility", *SETTINGS}
    if unknown or not body:
        raise HubError(400, f"Unrecognized keys: {', '.join(sorted(unknown))}" if unknown else "Nothing to change")
    if "gated" in body and body["gated"] not in (False, "auto", "manual"):
        raise HubError(400, '"gated" must be one of [auto, manual, false]')
    seen = visibility(body, repo.type)
    if "gated" in body:
        repo.gated = body["gated"]
    if "private" in seen:
        repo.private = seen["private"]
    if "visibility" in seen:
        inform(repo, visibility=seen["visibility"])
    inform(repo, **{k: body[k] for k in SETTINGS if k in body})
    return ctx.json({"private": repo.private, "gated": repo.gated, **repo.extra.get("info", {})})


def duplicate(ctx, rest):
    """Copy the files of a repository into a new one, with all that the body asks of it."""
    source = ctx.repo
    rights.login(ctx)
    access.check_gate(ctx.token, source)
    body = rights.body(ctx)
    id, = rights.required(body, "repository")
    namespace, _, name = id.partition("/")
    checked_name(name)
    check_namespace(ctx, source.type, namespace)
    check_free(ctx, source.type, id)
    head = source.head()
    files = {path: replace(entry) for path, entry in (head.files if head else {}).items()}
    body.setdefault("private", source.private if "visibility" not in body else None)
    repo = make_repo(ctx, source.type, id, body, files, f"Duplicate from {source.id}", source.extra.get("sdk"))
    return ctx.json({"url": web_url(ctx, repo), "name": repo.id, "id": repo.object_id})


def create_branch(ctx, rest):
    """Create a branch at a revision, or an empty one."""
    rights.repo_writer(ctx)
    repo, body, name = ctx.repo, rights.body(ctx), "/".join(unquote(s) for s in rest)
    ref = "refs/heads/" + name
    if name.startswith("refs/") or BAD_REF.search(name):
        raise HubError(400, f"Invalid reference for a branch: {name}")
    start = body.get("startingPoint")
    if ref in repo.refs and not body.get("overwrite"):
        raise HubError(409, f"Reference {ref} already exists")
    if body.get("emptyBranch"):
        ctx.store.commit(repo, ref, {}, [], "initial commit", author=ctx.token.user, root=True)
    elif start is not None or ref not in repo.refs:
        repo.refs[ref] = ctx.find_commit(start or "main").sha
    return ok()


def delete_branch(ctx, rest):
    """Delete a branch, but not the default one."""
    rights.repo_writer(ctx)
    name = "/".join(unquote(s) for s in rest)
    ref = name if name.startswith("refs/") else "refs/heads/" + name
    if ref == "refs/heads/main":
        raise HubError(403, f"Cannot delete {ref}")
    if not ref.startswith("refs/heads/") or ref not in ctx.repo.refs:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del ctx.repo.refs[ref]
    return ok()


def create_tag(ctx, rest):
    """Tag a revision; the revision is in the path, the tag in the body."""
    rights.repo_writer(ctx)
    repo, body = ctx.repo, rights.body(ctx)
    commit = ctx.find_commit("/".join(unquote(s) for s in rest))
    tag, = rights.required(body, "tag")
    ref = f"refs/tags/{tag}"
    if ref in repo.refs:
        raise HubError(409, f"Tag reference exists already: {ref}")
    if BAD_REF.search(tag):
        raise HubError(422, f"Invalid tag name: {tag}")
    repo.refs[ref] = commit.sha
    if body.get("message"):
        repo.extra.setdefault("tag_messages", {})[tag] = body["message"]
    return ok()


def delete_tag(ctx, rest):
    """Delete a tag; the tag is in the path."""
    rights.repo_writer(ctx)
    tag = "/".join(unquote(s) for s in rest)
    if ctx.repo.refs.pop(f"refs/tags/{tag}", None) is None:
        raise HubError(404, f"Invalid rev id: {tag}", "RevisionNotFound")
    ctx.repo.extra.get("tag_messages", {}).pop(tag, None)
    return ok()


def super_squash(ctx, rest):
    """Replace the history of a branch by one commit with the same files."""
    rights.repo_writer(ctx)
    repo, body, name = ctx.repo, rights.body(ctx), "/".join(unquote(s) for s in rest)
    ref = name if name.startswith("refs/") else "refs/heads/" + name
    if ref not in repo.refs:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    files = {path: replace(entry) for path, entry in repo.commits[repo.refs[ref]].files.items()}
    message = body.get("message") or f"Super-squash branch '{name}'"
    ctx.store.commit(repo, ref, files, [], message, author=ctx.token.user, root=True)
    return ok()


def like(ctx, rest):
    """Like or unlike a repository; doing it twice changes nothing."""
    token, repo = rights.login(ctx), ctx.repo
    if token.role != "write":
        raise HubError(403, "Forbidden: this token does not have the right to write")
    if ctx.request.method == "POST" and token.user not in repo.likers:
        repo.likers.append(token.user)
        repo.likes += 1
        repo.extra.setdefault("liked_at", {})[token.user] = iso(time.time())
    elif ctx.request.method == "DELETE" and token.user in repo.likers:
        repo.likers.remove(token.user)
        repo.likes -= 1
    return ok()


def lfs_files(ctx, rest):
    """Delete LFS objects for good, one by the path or many by the body, or copy some to another repository."""
    given = rights.body(ctx)
    if ctx.request.method == "POST" and rest == ["duplicate"]:
        return duplicate_objects(ctx, given)
    rights.repo_writer(ctx)
    if ctx.request.method == "DELETE" and len(rest) == 1:
        wanted, rewrite = [unquote(rest[0])], ctx.flag("rewriteHistory")
    elif ctx.request.method == "POST" and rest == ["batch"]:
        deletions = given.get("deletions")
        wanted = deletions.get("sha") if isinstance(deletions, dict) else None
        if not isinstance(wanted, list) or len(wanted) > 1000:
            raise HubError(400, '"deletions.sha" must be a list of at most 1000 ids')
        rewrite = bool(deletions.get("rewriteHistory"))
    else:
        raise HubError(404, "Not Found")
    repo = ctx.repo
    known = repo.stored.union(*map(lfs_oids, repo.commits.values()))
    doomed = {oid for oid in known if oid in wanted or object_id(oid) in wanted}
    purge(ctx, repo, doomed, rewrite)
    return ctx.json({"success": True})


def purge(ctx, repo, doomed, rewrite):
    """Remove LFS objects from a repository, and with `rewrite` also the files that name them in all commits."""
    if rewrite:
        without(ctx, repo, doomed)
    repo.stored -= doomed
    kept = {e.blob.sha256 for r in ctx.store.repos.values() if r is not repo
            for c in r.commits.values() for e in c.files.values()}
    kept = kept.union(*(r.stored for r in ctx.store.repos.values() if r is not repo))
    for oid in doomed - kept:
        if blob := ctx.store.blobs.by_sha256.get(oid):
            ctx.store.blobs.forget(blob)


def without(ctx, repo, doomed):
    """Write every ref's history again without the files whose LFS objects are doomed."""
    made, scratch = {}, "refs/rewritten"
    for ref, head in list(repo.refs.items()):
        for commit in reversed(repo.history(repo.commits[head])):
            if commit.sha in made:
                continue
            parent = made.get(commit.parents[0]) if commit.parents else None
            left = {p: replace(e) for p, e in commit.files.items() if not (e.lfs and e.blob.sha256 in doomed)}
            if len(left) == len(commit.files) and commit.parents[:1] == ([parent] if parent else []):
                made[commit.sha] = commit.sha
                continue
            before = repo.commits[parent].files if parent else {}
            message = f"{commit.title}\n\n{commit.message}" if commit.message else commit.title
            made[commit.sha] = ctx.store.commit(
                repo, scratch, left, [p for p in before if p not in left], message, commit.author, commit.date,
                parent, root=parent is None).sha
        repo.refs[ref] = made[head]
    repo.refs.pop(scratch, None)
    repo.commits = {sha: c for sha, c in repo.commits.items() if sha in set(made.values())}
    for index, commit in enumerate(repo.commits.values()):
        commit.index = index
    repo.storage = (0, 0)


def duplicate_objects(ctx, given):
    """Make LFS objects of one repository known to another, so that a commit there may name them."""
    rights.login(ctx)
    access.check_gate(ctx.token, ctx.repo)
    target, files = rights.required(given, "target", "files")
    here = set().union(*map(lfs_oids, ctx.repo.commits.values()))
    there = ctx.store.lookup(target["type"] + "s", target["name"])
    if there is None or not access.can_see(ctx.token, there):
        raise access.not_found(ctx.token, ctx.quirks)
    if not rights.may_write(ctx.token, there):
        raise HubError(403, f"Forbidden: you do not have write access to {there.id}")
    failed = [{"sha256": f["sha256"], "error": "File not found"} for f in files if f["sha256"] not in here]
    done = [f["sha256"] for f in files if f["sha256"] in here]
    there.stored.update(done)
    return ctx.json({"succeeded": [{"sha256": oid} for oid in done], "failed": failed})


def resource_group(ctx, rest):
    """Answer or set the resource group of a repository."""
    rights.repo_writer(ctx)
    if ctx.request.method == "POST":
        id = rights.body(ctx).get("resourceGroupId")
        inform(ctx.repo, resourceGroup=group(id) if id else None)
    return ctx.json(ctx.repo.extra.get("info", {}).get("resourceGroup"))


WRITES = {
    ("PUT", "settings"): settings, ("POST", "duplicate"): duplicate, ("POST", "branch"): create_branch,
    ("DELETE", "branch"): delete_branch, ("POST", "tag"): create_tag, ("DELETE", "tag"): delete_tag,
    ("POST", "super-squash"): super_squash, ("POST", "like"): like, ("DELETE", "like"): like,
    ("POST", "lfs-files"): lfs_files, ("DELETE", "lfs-files"): lfs_files,
    ("GET", "resource-group"): resource_group, ("POST", "resource-group"): resource_group,
}
