"""Papers: search, one paper, the papers of the day, and a paper as text."""

from urllib.parse import unquote

from . import documents, rights
from .access import HubError
from .wire import Response


def row(paper):
    """Return a paper as listings show it, wrapped in what is said about it."""
    doc = {"paper": paper, "publishedAt": paper["publishedAt"], "title": paper["title"], "numComments": 0,
           "thumbnail": "", "isAuthorParticipating": False}
    if paper.get("submittedBy"):
        doc["submittedBy"] = documents.user_document(paper["submittedBy"])
    return doc


def page(ctx, rows):
    """Return the part of a list that `p` and `limit` ask for."""
    size = min(ctx.number("limit", 50) or 1, 100)
    start = ctx.number("p", 0) * size
    return rows[start:start + size]


def find(ctx, id):
    """Return the paper of an arXiv id."""
    found = next((p for p in ctx.store.papers if p["id"] == id), None)
    if found is None:
        raise HubError(404, "Paper not found")
    return found


def papers(ctx, rest):
    """Answer the routes below `/api/papers`."""
    method, rest = ctx.request.method, [unquote(s) for s in rest]
    if method in ("GET", "HEAD") and (not rest or rest == ["search"]):
        words = (ctx.param("q") or "").lower()
        return ctx.json([row(p) for p in page(ctx, [p for p in ctx.store.papers if words in p["title"].lower()])])
    if method in ("GET", "HEAD") and len(rest) == 1:
        return ctx.json(find(ctx, rest[0]))
    if method == "POST" and rest == ["index"]:
        rights.writer(ctx)
        return ctx.json({"success": True, "id": find(ctx, rights.text(rights.body(ctx), "arxivId"))["id"]})
    if method == "POST" and len(rest) == 2 and rest[1] == "links":
        rights.writer(ctx)
        given = rights.body(ctx)
        found = find(ctx, rest[0])
        found.update({k: given[k] for k in ("projectPage", "githubRepo") if k in given})
        return ctx.json({"success": True})
    raise HubError(404, "Not Found")


def daily(ctx, rest):
    """Answer the papers of a day, week or month, or of all days."""
    if rest or ctx.request.method not in ("GET", "HEAD"):
        raise HubError(404, "Not Found")
    rows = ctx.store.papers
    if date := ctx.param("date") or ctx.param("month"):
        rows = [p for p in rows if p["publishedAt"].startswith(date)]
    if submitter := ctx.param("submitter"):
        rows = [p for p in rows if p.get("submittedBy") == submitter]
    if ctx.param("sort") == "trending":
        rows = sorted(rows, key=lambda p: p["upvotes"], reverse=True)
    return ctx.json([row(p) for p in page(ctx, rows)])


def page_of(ctx, name):
    """Answer `/papers/{id}.md`, a paper as text, or its page."""
    if not name.endswith(".md"):
        find(ctx, name)
        return Response(200, [("Content-Type", "text/html; charset=utf-8")], b"<!doctype html><title>Paper</title>")
    paper = find(ctx, name.removesuffix(".md"))
    text = f"# {paper['title']}\n\n{paper['summary']}\n"
    return Response(200, [("Content-Type", "text/markdown; charset=utf-8")], text.encode())
