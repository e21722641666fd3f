"""The dataset viewer: what it knows of a dataset's tables, and some of their rows.

It reads CSV and JSON lines on main; the files on `refs/convert/parquet` are listed as they are.
"""

import csv
import io
import json

from . import access
from .access import HubError
from .context import Context
from .wire import Response

SPLITS = ("train", "validation", "test")


def split_of(path):
    """Return the split that a file's name speaks of."""
    return next((s for s in SPLITS if s in path.rpartition("/")[2].lower()), "train")


def tables(repo):
    """Return {split: rows} of all files on main that can be read."""
    out = {}
    head = repo.head()
    for path in sorted(head.files) if head else []:
        entry = head.files[path]
        if entry.blob.size > 1 << 22 or not path.endswith((".csv", ".jsonl")):
            continue
        text = entry.blob.read().decode("utf-8", "replace")
        rows = list(csv.DictReader(io.StringIO(text))) if path.endswith(".csv") else [
            json.loads(line) for line in text.splitlines() if line.strip()]
        out.setdefault(split_of(path), []).extend(rows)
    return out


def parquet_files(ctx, repo):
    """Return the converted files, whose paths are `{config}/{split}/{number}.parquet`."""
    converted = repo.resolve("refs/convert/parquet")
    rows = []
    for path in sorted(converted.files) if converted else []:
        parts = path.split("/")
        if path.endswith(".parquet") and len(parts) == 3:
            url = f"{ctx.world.public_url}/datasets/{repo.id}/resolve/refs%2Fconvert%2Fparquet/{path}"
            rows.append({"dataset": repo.id, "config": parts[0], "split": parts[1], "url": url,
                         "filename": parts[2], "size": converted.files[path].blob.size})
    wanted = ctx.param("config")
    return [r for r in rows if wanted in (None, r["config"])]


def features(rows):
    """Return the columns of a table with their types."""
    names = list(rows[0]) if rows else []
    return [{"feature_idx": n, "name": name, "type": {"dtype": kind(rows[0][name]), "_type": "Value"}}
            for n, name in enumerate(names)]


def kind(value):
    """Return the name of a value's type."""
    return {bool: "bool", int: "int64", float: "float64"}.get(type(value), "string")


def part(ctx, repo, first, most):
    """Return the rows of the split that the query names, with their columns."""
    found = tables(repo)
    split = ctx.param("split") or "train"
    if ctx.param("config") not in (None, "default") or split not in found:
        raise HubError(404, "Not found.", "ConfigNotFoundError")
    rows = found[split]
    shown = [{"row_idx": n, "row": row, "truncated_cells": []} for n, row in enumerate(rows)][first:first + most]
    return {"features": features(rows), "rows": shown, "num_rows_total": len(rows), "num_rows_per_page": 100,
            "partial": False}


def answer(ctx, repo, what):
    """Return the document of one route."""
    split = [{"dataset": repo.id, "config": "default", "split": s} for s in tables(repo)]
    fine = {"pending": [], "failed": [], "partial": False}
    if what == "is-valid":
        return {"preview": bool(split), "viewer": bool(split), "search": False, "filter": False, "statistics": False}
    if what == "splits":
        return {"splits": split, "pending": [], "failed": []}
    if what == "parquet":
        return {"parquet_files": parquet_files(ctx, repo), **fine}
    if what == "info":
        found = tables(repo)
        info = {"description": "", "citation": "", "homepage": "", "license": "", "config_name": "default",
                "features": {f["name"]: f["type"] for rows in found.values() for f in features(rows)},
                "splits": {s: {"name": s, "num_bytes": len(json.dumps(rows)), "num_examples": len(rows),
                               "dataset_name": repo.id.rpartition("/")[2]} for s, rows in found.items()}}
        if ctx.param("config") == "default":
            return {"dataset_info": info, **fine}
        return {"dataset_info": {"default": info}, **fine}
    if what == "size":
        total = sum(len(rows) for rows in tables(repo).values())
        return {"size": {"dataset": {"dataset": repo.id, "num_rows": total}, "configs": [], "splits": []}, **fine}
    if what == "first-rows":
        return {"dataset": repo.id, "config": "default", "split": ctx.param("split") or "train", "truncated": False,
                **{k: v for k, v in part(ctx, repo, 0, 100).items() if k in ("features", "rows")}}
    length = ctx.number("length", 100)
    if length > 100:
        raise HubError(422, "Parameter 'length' must not be greater than 100", "UnprocessableEntity")
    return part(ctx, repo, ctx.number("offset", 0), length)


def respond(ctx):
    """Answer a route of the viewer; who cannot read a dataset is told nothing of it."""
    what = ctx.request.path.strip("/")
    if what == "healthcheck":
        return Response(200, [("Content-Type", "text/plain")], b"ok")
    if ctx.request.method not in ("GET", "HEAD") or what not in (
            "is-valid", "splits", "parquet", "info", "size", "first-rows", "rows"):
        raise HubError(404, "Not Found")
    name = ctx.param("dataset")
    if not name:
        raise HubError(422, "Parameter 'dataset' is required", "MissingRequiredParameter")
    repo = ctx.store.lookup("datasets", name)
    if repo is None or not access.can_see(ctx.token, repo) or not access.can_read_files(ctx.token, repo):
        if ctx.token is None:
            raise HubError(401, "The dataset does not exist, or is not accessible without authentication (private or"
                                " gated). Please check the spelling of the dataset name or retry with"
                                " authentication.", "ExternalUnauthenticatedError")
        raise HubError(404, "The dataset does not exist, or is not accessible with the current credentials (private"
                            " or gated). Please check the spelling of the dataset name or retry with other"
                            " authentication credentials.", "ExternalAuthenticatedError")
    headers = [("Cache-Control", "max-age=120")]
    if repo.head():
        headers.append(("X-Revision", repo.head().sha))
    return ctx.json(answer(ctx, repo, what), headers)


def viewer(world, request):
    """Answer a request at the viewer origin."""
    ctx = Context(world, request)
    try:
        ctx.token = access.principal(world.store, request)
        with world.store.lock:
            return respond(ctx)
    except HubError as e:
        code = [("X-Error-Code", e.code)] if e.code else []
        return Response(e.status, [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *code],
                        json.dumps({"error": e.message}).encode())
