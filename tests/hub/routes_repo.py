"""API routes below one repository: info, trees, paths, refs, commits, discussions and the small ones."""

import base64
import difflib
import json
from urllib.parse import parse_qsl, unquote

from . import access, documents, routes_cas
from .access import HubError
from .routes_files import decode_path, split_revision
from .store import iso, object_id
from .wire import Response


def info(ctx, rest):
    """Answer the info document, at the default branch or at `/revision/{rev}`."""
    repo = ctx.repo
    if len(rest) > 1:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    commit = ctx.find_commit(unquote(rest[0])) if rest else repo.head()
    if repo.type == "models":
        for field in ctx.values("expand"):
            if field not in documents.MODEL_FIELDS:
                raise HubError(400, f'"expand" must be one of [{", ".join(documents.MODEL_FIELDS)}], not {field}')
    doc = documents.info(ctx, repo, commit, ctx.flag("blobs"), ctx.flag("securityStatus"))
    return ctx.json(documents.shown(doc, ctx.values("expand")))


def tree_rows(commit, folder, recursive):
    """Return [(path, entry or None)] below a folder: folders first at every level."""
    prefix = folder + "/" if folder else ""
    files, folders = [], []
    for path in commit.files:
        if path.startswith(prefix) and (recursive or "/" not in path[len(prefix):]):
            files.append((path, commit.files[path]))
    for path in commit.dirs:
        if path and path.startswith(prefix) and (recursive or "/" not in path[len(prefix):]):
            folders.append((path, None))
    return sorted(folders) + sorted(files, key=lambda row: (row[0].count("/"), row[0]))


def tree(ctx, rest):
    """Answer one page of a folder listing."""
    if not rest:
        raise HubError(404, "Not Found")
    rev, rest = split_revision(rest)
    commit = ctx.find_commit(rev)
    folder = decode_path(rest).strip("/")
    if folder not in commit.dirs:
        raise HubError(404, f'{folder} does not exist on "{rev}"', "EntryNotFound", [("X-Repo-Commit", commit.sha)])
    expand = ctx.flag("expand")
    most = ctx.quirks["expand_page_size"] if expand else ctx.quirks["page_size"]
    recursive = ctx.flag("recursive")
    rows = commit.remembered(("tree", folder, recursive), lambda: tree_rows(commit, folder, recursive))
    rows, links = tree_page(ctx, rows, min(ctx.number("limit", most) or 1, most), recursive, expand)
    out = [documents.file_row(ctx, path, entry, expand) if entry else documents.folder_row(commit, path, expand)
           for path, entry in rows]
    return ctx.json(out, [*links, ("X-Repo-Commit", commit.sha)])


def tree_page(ctx, rows, size, recursive, expand):
    """Return (rows of this page, Link header list); the cursor names the last path of the page before."""
    start = 0
    if cursor := ctx.param("cursor"):
        try:
            inner = base64.b64decode(base64.b64decode(cursor).decode().partition(":")[0])
            last = json.loads(inner)["file_name"]
        except (ValueError, KeyError, TypeError):
            raise HubError(400, "Invalid cursor") from None
        start = next((n + 1 for n, row in enumerate(rows) if row[0] == last), len(rows))
    part = rows[start:start + size]
    if start + size >= len(rows):
        return part, []
    inner = base64.b64encode(json.dumps({"file_name": part[-1][0], "tree_oid": ctx.commit.dirs[""]}).encode())
    following = base64.b64encode(inner + b":%d" % size).decode()
    params = [("expand", str(expand).lower()), ("recursive", str(recursive).lower()), ("limit", str(size)),
              ("cursor", following)]
    return part, [ctx.next_link(params)]


def paths_info(ctx, rest):
    """Answer POST paths-info, whose body is a form or JSON; paths that do not exist are left out."""
    rev, _ = split_revision(rest or ["main"])
    commit = ctx.find_commit(rev)
    body = ctx.request.body.decode("utf-8", "replace")
    if "json" in ctx.request.headers.get("content-type", ""):
        try:
            given = json.loads(body)
            paths, expand = given["paths"], bool(given.get("expand"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise HubError(400, '"paths" is required') from None
        paths = [paths] if isinstance(paths, str) else paths
    else:
        form = parse_qsl(body, keep_blank_values=True)
        paths = [v for k, v in form if k.removesuffix("[]") == "paths"]
        expand = any(k == "expand" and v.lower() == "true" for k, v in form)
    out = []
    for path in paths:
        path = path.strip("/")
        if path in commit.files:
            out.append(documents.file_row(ctx, path, commit.files[path], expand))
        elif path and path in commit.dirs:
            out.append(documents.folder_row(commit, path, expand))
    return ctx.json(out)


def refs(ctx, rest):
    """Answer the list of branches, tags, conversions and, if asked, pull requests."""
    out = {"branches": [], "converts": [], "tags": []}
    if ctx.param("include_prs") not in (None, "0", "false", "False"):
        out["pullRequests"] = []
    kinds = [("refs/heads/", "branches"), ("refs/convert/", "converts"), ("refs/tags/", "tags"),
             ("refs/pr/", "pullRequests")]
    for ref, sha in ctx.repo.refs.items():
        for prefix, kind in kinds:
            if ref.startswith(prefix) and kind in out:
                out[kind].append({"name": ref[len(prefix):], "ref": ref, "targetCommit": sha})
    return ctx.json(out)


def commits(ctx, rest):
    """Answer one page of the history of a revision."""
    access.check_gate(ctx.token, ctx.repo)
    rev, _ = split_revision(rest or ["main"])
    chain = ctx.repo.history(ctx.find_commit(rev))
    size = min(ctx.number("limit", ctx.quirks["commits_page_size"]) or 1, 1000)
    part, links = ctx.page(chain, size, "p")
    formatted = "formatted" in ctx.values("expand")
    return ctx.json([documents.commit_document(c, formatted) for c in part],
                    [*links, ("X-Total-Count", str(len(chain)))])


def difference(old, new):
    """Return the difference of two commits as text; `old` may be None."""
    before, after, out = old.files if old else {}, new.files, []
    for path in sorted(set(before) | set(after)):
        a, b = before.get(path), after.get(path)
        if a and b and a.oid == b.oid:
            continue
        texts = [(e.pointer if e.lfs else e.blob.read(0, 65536)).decode("utf-8", "replace").splitlines(True)
                 if e else [] for e in (a, b)]
        out.append(f"diff --git a/{path} b/{path}\n")
        out += difflib.unified_diff(*texts, f"a/{path}" if a else "/dev/null", f"b/{path}" if b else "/dev/null")
    return "".join(out)


def compare(ctx, rest):
    """Answer the difference of two revisions named `a..b` as text."""
    spec = decode_path(rest)
    left, dots, right = spec.partition("...") if "..." in spec else spec.partition("..")
    if not dots:
        right, left = spec, None
    new = ctx.find_commit(right)
    old = ctx.find_commit(left) if left else ctx.repo.commits.get(new.parents[0]) if new.parents else None
    return Response(200, [("Content-Type", "text/plain; charset=utf-8")], difference(old, new).encode())


def treesize(ctx, rest):
    """Answer the total size of a folder."""
    rev, rest = split_revision(rest or ["main"])
    commit = ctx.find_commit(rev)
    folder = decode_path(rest).strip("/")
    if folder not in commit.dirs:
        raise HubError(404, f"{folder} does not exist", "EntryNotFound", [("X-Repo-Commit", commit.sha)])
    prefix = folder + "/" if folder else ""
    size = sum(e.blob.size for p, e in commit.files.items() if p.startswith(prefix))
    return ctx.json({"path": folder or "/", "size": size})


def lfs_files(ctx, rest):
    """Answer the LFS objects of a repository to those who may write to it."""
    token = ctx.token
    if token is None:
        raise HubError(401, "Invalid username or password.")
    if token.role != "write" or ctx.repo.author not in [token.user, *token.orgs]:
        raise HubError(403, "Forbidden: you must have write access to this repository")
    rows, repo = {}, ctx.repo
    for ref in sorted(repo.refs, key=lambda name: name != "refs/heads/main"):
        for commit in repo.history(repo.commits[repo.refs[ref]]):
            for path, e in commit.files.items():
                if e.lfs and e.blob.sha256 in ctx.store.blobs.by_sha256:
                    rows.setdefault(e.blob.sha256, {
                        "fileOid": object_id(e.blob.sha256), "filename": path, "oid": e.blob.sha256,
                        "pushedAt": iso(e.commit.date), "ref": ref, "size": e.blob.size})
    part, links = ctx.page(list(rows.values()), min(ctx.number("limit", 1000) or 1, 1000))
    return ctx.json(part, links)


def scan(ctx, rest):
    """Answer the state of the security scan."""
    return ctx.json({"scansDone": True, "filesWithIssues": []})


def likers(ctx, rest):
    """Answer who likes the repository."""
    part, links = ctx.page([documents.user_document(u) for u in ctx.repo.likers], ctx.quirks["list_page_size"])
    return ctx.json(part, links)


def auth_check(ctx, rest):
    """Answer whether the caller may read the files."""
    access.check_gate(ctx.token, ctx.repo)
    return Response(200, [("Content-Type", "text/plain; charset=utf-8")], b"OK")




def leaderboard(ctx, rest):
    """Answer an empty leaderboard."""
    return ctx.json([])


VERBS = {
    "revision": info, "tree": tree, "paths-info": paths_info, "refs": refs, "commits": commits, "compare": compare,
    "treesize": treesize, "lfs-files": lfs_files, "scan": scan, "likers": likers, "auth-check": auth_check,
    "xet-read-token": routes_cas.read_token, "xet-write-token": routes_cas.write_token, "leaderboard": leaderboard,
}
POSTED = {"paths-info"}
OPEN_WHEN_DISABLED = {"revision", "discussions"}
RESERVED = set(VERBS) | {
    "branch", "tag", "super-squash", "preupload", "commit", "settings", "like", "user-access-request", "discussions",
    "xet-write-token", "duplicate", "secrets", "variables", "hardware", "sleeptime", "pause", "restart", "storage",
    "volumes", "dev-mode", "logs", "events", "metrics", "replicas", "parquet", "sql-console", "jwt", "notebook",
    "resource-group", "runtime",
}
