"""Discussions and pull requests: reading, opening, talking, merging, and the notifications that follow."""

import html
import time
from urllib.parse import unquote

from . import access, rights
from .access import HubError
from .routes_repo import difference
from .store import Entry, iso, object_id
from .wire import Response

HIDDEN_TEXT = "This comment has been hidden"
NOT_LISTED = ("events", "changes", "diff", "filesWithConflicts")


def visible(repo):
    """Return the discussions that have not been deleted; deleted ones only keep their numbers taken."""
    return [d for d in repo.discussions if not d.get("deleted")]


def person(name):
    """Return the author of a discussion or event."""
    return {"_id": object_id("user:" + name), "avatarUrl": f"/avatars/{object_id(name)}.svg", "fullname": name.title(),
            "name": name, "type": "user", "isPro": False, "isHf": False}


def event(discussion, kind, author, data):
    """Append an event and return it."""
    label = f"{discussion['repo']['type']}:{discussion['repo']['name']}:{discussion['num']}:{len(discussion['events'])}"
    row = {"id": object_id(label), "author": person(author), "createdAt": iso(time.time()), "type": kind, "data": data}
    discussion["events"].append(row)
    return row


def content(author, raw):
    """Return one version of a comment."""
    return {"raw": raw, "html": f"<p>{html.escape(raw)}</p>\n", "updatedAt": iso(time.time()), "author": person(author)}


def comment(discussion, author, raw):
    """Append a comment and return its event."""
    discussion["numComments"] = discussion.get("numComments", 0) + 1
    return event(discussion, "comment", author, {
        "edited": False, "hidden": False, "latest": content(author, raw), "numEdits": 0, "history": [],
        "editors": [author], "reactions": [], "isReport": False})


def open_discussion(ctx, repo, title, description, author, pull_request=False, status="open"):
    """Create a discussion or pull request and return it; discussions and pull requests share their numbers."""
    with ctx.store.lock:
        pulls = [int(ref[8:]) for ref in repo.refs if ref.startswith("refs/pr/") and ref[8:].isdigit()]
        num = max([0, *pulls, *(d["num"] for d in repo.discussions)]) + 1
        discussion = {
            "num": num, "title": title, "status": status, "isPullRequest": pull_request, "pinned": False,
            "createdAt": iso(time.time()), "author": person(author), "numComments": 0, "numReactionUsers": 0,
            "repo": {"name": repo.id, "type": repo.type[:-1]}, "events": []}
        if pull_request:
            base = repo.head()
            if base is None:
                raise HubError(400, "A pull request needs a commit on main to start from")
            discussion["changes"] = {"base": "refs/heads/main"}
            discussion["baseCommit"] = base.sha
            repo.refs[f"refs/pr/{num}"] = base.sha
        comment(discussion, author, description)
        repo.discussions.append(discussion)
        notify(ctx, repo, discussion, author)
        return discussion


def open_pull_request(ctx, repo, title, description, author):
    """Create an open pull request with its ref `refs/pr/N`, which starts at main, and return its number."""
    return open_discussion(ctx, repo, title, description or title, author, pull_request=True)["num"]


def notify(ctx, repo, discussion, author):
    """Tell everybody who owns the repository or has spoken in the discussion, but not the one who speaks."""
    people = {t.user for t in ctx.store.tokens.values() if rights.owns(t, repo.author)}
    people |= {e["author"]["name"] for e in discussion["events"]}
    for user in sorted(people - {author}):
        rows = ctx.store.notifications.setdefault(user, {})
        rows[repo.type, repo.id, discussion["num"]] = {"read": False, "updatedAt": iso(time.time())}


def pull(repo, discussion):
    """Return (base commit, head commit, own commits oldest first) of a pull request; the ref may be gone."""
    head = repo.resolve(f"refs/pr/{discussion['num']}")
    chain = repo.history(head) if head else []
    main = {c.sha for c in repo.history(repo.head())}
    base = next((c for c in chain if c.sha in main), None) or repo.commits.get(discussion.get("baseCommit"))
    own = chain[:chain.index(base)] if base in chain else []
    return base, head, own[::-1]


def changes(base, head):
    """Return {path: new entry, or None if it was deleted} between two commits."""
    before, after = base.files if base else {}, head.files if head else {}
    return {path: after.get(path) for path in set(before) | set(after)
            if (before[path].oid if path in before else None) != (after[path].oid if path in after else None)}


def conflicts(repo, discussion):
    """Return the files that a pull request and main have both changed, each in its own way."""
    base, head, _ = pull(repo, discussion)
    if base is None or head is None or discussion["status"] == "merged":
        return []
    ours, theirs = changes(base, repo.head()), changes(base, head)
    return sorted(p for p in set(ours) & set(theirs)
                  if (ours[p].oid if ours[p] else None) != (theirs[p].oid if theirs[p] else None))


def detailed(repo, discussion, diff):
    """Return the whole document of a discussion."""
    doc = {k: v for k, v in discussion.items() if k not in ("baseCommit", "diff")}
    doc["repo"] = {"name": repo.id, "type": repo.type[:-1]}
    if not doc["isPullRequest"]:
        return doc
    base, head, own = pull(repo, discussion)
    rows = [{"id": object_id("commit-event:" + c.sha), "author": person(c.author), "createdAt": iso(c.date),
             "type": "commit", "data": {"subject": c.title, "oid": c.sha}} for c in own]
    doc["events"] = sorted([*discussion["events"], *rows], key=lambda e: e["createdAt"])
    doc["filesWithConflicts"] = conflicts(repo, discussion)
    if diff:
        doc["diff"] = difference(base, head) if base and head else discussion.get("diff", "")
    return doc


def listed(repo, discussion):
    """Return the short document of a discussion."""
    doc = {k: v for k, v in discussion.items() if k not in (*NOT_LISTED, "baseCommit")}
    return {**doc, "repo": {"name": repo.id, "type": repo.type[:-1]}}


def index(ctx):
    """Answer one page of the discussions of a repository, newest first."""
    start = ctx.number("p", 0) * 50
    rows = everything = visible(ctx.repo)
    if (kind := ctx.param("type")) in ("pull_request", "discussion"):
        rows = [d for d in rows if d["isPullRequest"] == (kind == "pull_request")]
    if (status := ctx.param("status")) in ("open", "closed"):
        rows = [d for d in rows if (d["status"] in ("open", "draft")) == (status == "open")]
    if author := ctx.param("author"):
        rows = [d for d in rows if d["author"]["name"] == author]
    page = [listed(ctx.repo, d) for d in rows[::-1][start:start + 50]]
    closed = sum(d["status"] not in ("open", "draft") for d in everything) if start == 0 else None
    return ctx.json({"discussions": page, "count": len(rows), "start": start, "numClosedDiscussions": closed})


def create(ctx):
    """Open a discussion, or a pull request, which begins as a draft without changes."""
    token = rights.writer(ctx)
    access.check_gate(token, ctx.repo)
    given = rights.body(ctx)
    title, description = rights.text(given, "title", 200), rights.text(given, "description")
    is_pull = bool(given.get("pullRequest"))
    made = open_discussion(ctx, ctx.repo, title, description, token.user, is_pull, "draft" if is_pull else "open")
    where = f"{ctx.world.public_url}/{ctx.repo.prefix}{ctx.repo.id}/discussions/{made['num']}"
    return ctx.json({"num": made["num"], "url": where, "pullRequest": is_pull})


def find(ctx, raw):
    """Return the discussion of a number in the path."""
    found = next((d for d in visible(ctx.repo) if str(d["num"]) == unquote(raw)), None)
    if found is None:
        raise HubError(404, "Discussion not found")
    return found


def moderator(ctx, author):
    """Return the caller's token; refuse all but the author and those who may write to the repository."""
    token = rights.writer(ctx)
    if token.user != author and not rights.may_write(token, ctx.repo):
        raise HubError(403, "Forbidden: only its author or a writer of the repository may do this")
    return token


def change(ctx, discussion, rest):
    """Answer a POST below one discussion."""
    token, given = rights.writer(ctx), rights.body(ctx)
    if rest == ["comment"]:
        made = comment(discussion, token.user, rights.text(given, "comment"))
        notify(ctx, ctx.repo, discussion, token.user)
        return ctx.json({"newMessage": made})
    if len(rest) == 3 and rest[0] == "comment" and rest[2] in ("edit", "hide"):
        return change_comment(ctx, discussion, rest[1], rest[2], given)
    if rest == ["title"]:
        moderator(ctx, discussion["author"]["name"])
        old, discussion["title"] = discussion["title"], rights.text(given, "title", 200)
        return ctx.json({"newTitle": event(discussion, "title-change", token.user,
                                           {"from": old, "to": discussion["title"]})})
    if rest == ["status"]:
        moderator(ctx, discussion["author"]["name"])
        return ctx.json({"newStatus": set_status(discussion, token.user, given)})
    if rest == ["merge"]:
        rights.repo_writer(ctx)
        return merge(ctx, discussion, given)
    if rest == ["pin"]:
        rights.repo_writer(ctx)
        discussion["pinned"] = bool(given.get("pinned"))
        return ctx.json({"pinned": discussion["pinned"]})
    raise HubError(404, "Not Found")


def set_status(discussion, author, given):
    """Open or close a discussion, with a comment if one is given, and return the event."""
    status, = rights.required(given, "status")
    if status not in ("open", "closed"):
        raise HubError(400, '"status" must be one of [open, closed]')
    if discussion["status"] in (status, "merged"):
        raise HubError(400, f"The discussion is already {discussion['status']}")
    if given.get("comment"):
        comment(discussion, author, rights.text(given, "comment"))
    discussion["status"] = status
    data = {"status": status}
    if given.get("comment"):
        data["reason"] = given["comment"]
    return event(discussion, "status-change", author, data)


def change_comment(ctx, discussion, raw_id, what, given):
    """Edit or hide a comment; a hidden comment loses its text for good."""
    found = next((e for e in discussion["events"]
                  if e["type"] == "comment" and e["id"] == unquote(raw_id).lower()), None)
    if found is None:
        raise HubError(404, "Comment not found")
    token, data = moderator(ctx, found["author"]["name"]), found["data"]
    if data["hidden"]:
        raise HubError(403, "This comment has been hidden and cannot be changed any more")
    if what == "hide":
        data.update(hidden=True, hiddenBy=token.user, history=[], latest={**content(token.user, HIDDEN_TEXT)})
    else:
        raw = rights.text(given, "content")
        data["history"] = [*data.get("history", []), data["latest"]]
        data.update(edited=True, numEdits=data.get("numEdits", 0) + 1, latest=content(token.user, raw))
    return ctx.json({"updatedComment": found})


def merge(ctx, discussion, given):
    """Merge a pull request as the Hub does: all its changes become one commit on main, named after it."""
    repo, num = ctx.repo, discussion["num"]
    if not discussion["isPullRequest"]:
        raise HubError(400, "This discussion is not a pull request")
    if discussion["status"] not in ("open", "draft"):
        raise HubError(400, f"This pull request is already {discussion['status']}")
    base, head, own = pull(repo, discussion)
    if head is None:
        raise HubError(400, "The ref of this pull request does not exist any more")
    if hit := conflicts(repo, discussion):
        raise HubError(409, f"This pull request conflicts with main in {', '.join(hit)}")
    if given.get("comment"):
        comment(discussion, ctx.token.user, rights.text(given, "comment"))
    changed = changes(base or repo.head(), head)
    files = {path: Entry(e.blob, e.lfs) for path, e in changed.items() if e}
    lines = "".join(f"- {c.title} ({c.sha})\n" for c in own)
    message = f"{discussion['title']} (#{num})" + (f"\n\n{lines}" if lines else "")
    made = ctx.store.commit(repo, "main", files, [path for path, e in changed.items() if e is None], message.rstrip(),
                            ctx.token.user)
    discussion["changes"] = {**discussion.get("changes", {"base": "refs/heads/main"}), "mergeCommitId": made.sha}
    discussion["status"] = "merged"
    event(discussion, "status-change", ctx.token.user, {"status": "merged"})
    return ctx.json({"success": True, "mergeCommitId": made.sha})


def remove(ctx, discussion, rest):
    """Delete a discussion, or only the ref of a closed pull request."""
    rights.repo_writer(ctx)
    if rest == ["ref"]:
        if discussion["status"] in ("open", "draft"):
            raise HubError(400, "The ref of an open pull request cannot be deleted")
        ctx.repo.refs.pop(f"refs/pr/{discussion['num']}", None)
    elif not rest:
        discussion["deleted"] = True
        ctx.repo.refs.pop(f"refs/pr/{discussion['num']}", None)
    else:
        raise HubError(404, "Not Found")
    return ctx.json({"success": True})


def discussions(ctx, rest):
    """Answer the routes below `/discussions` of a repository."""
    method = ctx.request.method
    if not rest and method in ("GET", "HEAD"):
        return index(ctx)
    if not rest and method == "POST":
        return create(ctx)
    if not rest:
        raise HubError(404, "Not Found")
    found = find(ctx, rest[0])
    if len(rest) == 1 and method in ("GET", "HEAD"):
        return ctx.json(detailed(ctx.repo, found, ctx.param("diff") not in (None, "", "0", "false")))
    if len(rest) > 1 and method == "POST":
        return change(ctx, found, rest[1:])
    if method == "DELETE":
        return remove(ctx, found, rest[1:])
    raise HubError(404, "Not Found")


def uploads(ctx, rest):
    """Take an attachment of a comment and answer its address, or give it back."""
    if ctx.request.method == "POST" and not rest:
        rights.login(ctx)
        kind = ctx.request.headers.get("content-type", "")
        if not kind.startswith(("image/", "video/", "audio/")):
            raise HubError(400, "Unsupported file type")
        blob = ctx.store.blobs.add_bytes(ctx.request.body)
        ctx.store.attachments[blob.sha256] = (kind, blob)
        where = f"{ctx.world.public_url}/uploads/{blob.sha256}"
        return Response(200, [("Content-Type", "text/plain; charset=utf-8")], where.encode())
    if ctx.request.method in ("GET", "HEAD") and len(rest) == 1 and rest[0] in ctx.store.attachments:
        kind, blob = ctx.store.attachments[rest[0]]
        return Response(200, [("Content-Type", kind)], blob.read())
    raise HubError(404, "Not Found")


VERBS = {"discussions": discussions}
