"""Commits by REST: what becomes of each file (preupload), and the commit itself."""

import base64
import json
import re
from urllib.parse import unquote

from . import access, patterns, rights
from .access import HubError
from .routes_discussions import open_pull_request
from .routes_lfs import body_of
from .store import LFS_LIMIT, Entry

FULL_REF = re.compile(r"refs/(heads|pr|convert)/.+")


def target(ctx, rest):
    """Return (full name of the ref in the path, its commit or None); only branches and the like can be written to."""
    rev = "/".join(unquote(s) for s in rest)
    ref = rev if FULL_REF.fullmatch(rev) else "refs/heads/" + rev
    if ref in ctx.repo.refs:
        return ref, ctx.repo.commits[ctx.repo.refs[ref]]
    if ref == "refs/heads/main" and not ctx.repo.commits:
        return ref, None
    raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")


def check_commit(ctx, ref, create_pr):
    """Refuse callers who may not commit: others may open pull requests, and go on with their own."""
    token, repo = rights.login(ctx), ctx.repo
    if rights.may_write(token, repo):
        return
    own = {f"refs/pr/{d['num']}" for d in repo.discussions if d["author"]["name"] == token.user}
    if token.role == "write" and access.in_scope(token, repo) and (create_pr or ref in own):
        return
    if token.role != "write":
        raise HubError(403, "Forbidden: this token does not have the right to write")
    raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")


def text_at(commit, path):
    """Return a small text file of a commit, or nothing."""
    entry = commit.files.get(path) if commit else None
    return entry.blob.read(0, 1 << 20).decode("utf-8", "replace") if entry and not entry.lfs else ""


def preupload(ctx, rest):
    """Answer for each file whether it goes to LFS, whether it is ignored, and what is there now."""
    ref, commit = target(ctx, rest)
    check_commit(ctx, ref, ctx.flag("create_pr"))
    body = rights.body(ctx)
    attributes = body.get("gitAttributes") or text_at(commit, ".gitattributes")
    ignore = body.get("gitIgnore") if body.get("gitIgnore") is not None else text_at(commit, ".gitignore")
    out = []
    try:
        for row in body["files"]:
            path, size = row["path"], row["size"]
            base64.b64decode(row.get("sample", ""), validate=True)
            lfs = size > LFS_LIMIT or patterns.is_lfs(attributes, path)
            answer = {"path": path, "uploadMode": "lfs" if lfs else "regular",
                      "shouldIgnore": patterns.is_ignored(ignore, path)}
            if commit and path in commit.files:
                answer["oid"] = commit.files[path].etag
            out.append(answer)
    except (KeyError, TypeError, ValueError):
        raise HubError(400, '"files" must be a list of {path, size, sample}') from None
    return ctx.json({"files": out, "commitOid": commit.sha if commit else None})


def lines(ctx):
    """Return (header, [(key, value)]) of a commit's body, one JSON object on each line."""
    limit = ctx.quirks["commit_body_limit"]
    if limit is not None and ctx.request.body_length > limit:
        raise HubError(413, "Payload Too Large")
    rows = []
    for number, line in enumerate(ctx.request.body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append((row["key"], dict(row["value"])))
        except (ValueError, KeyError, TypeError):
            raise HubError(400, f"Invalid JSON on line {number}") from None
    if not rows or rows[0][0] != "header":
        raise HubError(400, "The first line must have the key `header`")
    if len(rows) == 1:
        raise HubError(400, "Add a line with the key `lfsFile`, `file` or `deletedFile`")
    header = rows[0][1]
    if not isinstance(header.get("summary"), str) or not header["summary"].strip():
        raise HubError(400, '"summary" is required')
    return header, rows[1:]


def checked_path(value):
    """Return the path that a line names; names that leave the repository or hide in it are refused."""
    path = value.get("path")
    if not isinstance(path, str) or not path.strip("/"):
        raise HubError(400, '"path" is required')
    # Backslashes are ordinary characters of names, except where Windows would leave the repository at once.
    if "\0" in path or path.startswith(("/", "..\\")):
        raise HubError(422, f"Invalid path: {path}")
    if any(part in ("", ".", "..", ".git") for part in path.rstrip("/").split("/")):
        raise HubError(422, f"Invalid path: {path}")
    return path


def regular_file(ctx, value):
    """Return the Entry of a `file` line, whose content is in the line."""
    content = value.get("content")
    if not isinstance(content, str):
        raise HubError(400, '"content" is required')
    try:
        data = base64.b64decode(content, validate=True) if value.get("encoding") == "base64" else content.encode()
    except ValueError:
        raise HubError(400, f"Invalid base64 in {value['path']}") from None
    if len(data) > LFS_LIMIT:
        raise HubError(400, "Your push was rejected because it contains files larger than 10 MiB. "
                       f"Please use https://git-lfs.github.com/ to store larger files. Offending file: {value['path']}")
    return Entry(ctx.store.blobs.add_bytes(data), False)


def lfs_file(ctx, value):
    """Return the Entry of an `lfsFile` line, whose content must have been uploaded before."""
    oid, size = value.get("oid"), value.get("size")
    if value.get("algo", "sha256") != "sha256" or not isinstance(oid, str) or not re.fullmatch("[0-9a-f]{64}", oid):
        raise HubError(400, f"Invalid oid of {value['path']}")
    blob = body_of(ctx, ctx.repo, oid)
    if blob is None:
        raise HubError(400, f"LFS pointer pointed to a file that does not exist: {value['path']} ({oid})")
    if size is not None and size != blob.size:
        raise HubError(400, f"The size of {value['path']} is {blob.size}, not {size}")
    ctx.repo.stored.add(oid)
    return Entry(blob, True)


def apply(ctx, base, rows):
    """Return the table of files after all lines have been applied in order."""
    table = dict(base.files) if base else {}
    for key, value in rows:
        path = checked_path(value)
        if key in ("file", "lfsFile"):
            parts = path.split("/")
            if any("/".join(parts[:n]) in table for n in range(1, len(parts))) or path.endswith("/"):
                raise HubError(400, f"{path} cannot be a file: a part of the path is a file already")
            for inside in [p for p in table if p.startswith(path + "/")]:
                raise HubError(400, f"{path} cannot be a file: it is the folder of {inside}")
            table[path] = regular_file(ctx, value) if key == "file" else lfs_file(ctx, value)
        elif key == "deletedFile" and path in table:
            del table[path]
        elif key in ("deletedFile", "deletedFolder"):
            # Clients that do not say which of both they mean delete a folder as if it were a file.
            inside = [p for p in table if p.startswith(path.rstrip("/") + "/")]
            if not inside:
                raise missing(base, f"A {key.removeprefix('deleted').lower()} with this name doesn't exist")
            for p in inside:
                del table[p]
        else:
            raise HubError(400, f"Unknown key on a line: {key}")
    return table


def missing(base, text):
    """Return the error for the deletion of what is not there."""
    return HubError(404, text, "EntryNotFound", [("X-Repo-Commit", base.sha)] if base else [])


def track(ctx, table, rows):
    """Add lines to `.gitattributes` for LFS files which it does not name, so that git treats them as LFS too."""
    known = table.get(".gitattributes")
    if known is not None and known.lfs:
        return
    text = known.blob.read().decode("utf-8", "replace") if known else ""
    added = [patterns.lfs_line(v["path"]) for k, v in rows
             if k == "lfsFile" and v["path"] in table and not patterns.is_lfs(text, v["path"])]
    if added:
        text += ("\n" if text and not text.endswith("\n") else "") + "".join(dict.fromkeys(added))
        table[".gitattributes"] = Entry(ctx.store.blobs.add_bytes(text.encode()), False)


def commit(ctx, rest):
    """Make a commit from the lines of the body, on a branch or on a pull request, which may be a new one."""
    repo, create_pr = ctx.repo, ctx.flag("create_pr")
    ref, base = target(ctx, rest)
    check_commit(ctx, ref, create_pr)
    header, rows = lines(ctx)
    if parent := header.get("parentCommit"):
        wanted = repo.resolve(parent)
        if wanted is None:
            raise HubError(404, f"Invalid rev id: {parent}", "RevisionNotFound")
        if create_pr:
            base = wanted
        elif wanted is not base:
            raise HubError(412, "The branch was updated since you opened this page. Please refresh and try again.")
    table = apply(ctx, base, rows)
    track(ctx, table, rows)
    before = base.files if base else {}
    changed = {p: e for p, e in table.items() if p not in before or before[p].oid != e.oid}
    gone = [p for p in before if p not in table]
    title, description = header["summary"], header.get("description") or ""
    answer = {"success": True, "hookOutput": ""}
    if create_pr:
        number = open_pull_request(ctx, repo, title, description, ctx.token.user)
        repo.discussions[-1].setdefault("changes", {})["base"] = ref
        ref = f"refs/pr/{number}"
        repo.refs[ref] = base.sha
        answer["pullRequestUrl"] = f"{ctx.world.public_url}/{repo.prefix}{repo.id}/discussions/{number}"
    message = f"{title}\n\n{description}" if description else title
    made = ctx.store.commit(repo, ref, changed, gone, message, author=ctx.token.user)
    answer["commitOid"] = made.sha
    answer["commitUrl"] = f"{ctx.world.public_url}/{repo.prefix}{repo.id}/commit/{made.sha}"
    return ctx.json(answer)


WRITES = {("POST", "preupload"): preupload, ("POST", "commit"): commit}
