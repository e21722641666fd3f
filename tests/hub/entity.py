"""Sending a file as HTTP: types, ranges, conditions and compression."""

import gzip
import os
import re
from email.utils import formatdate
from urllib.parse import quote

from .wire import FilePart, Response

TEXT = {
    ".json": "application/json", ".md": "text/plain", ".txt": "text/plain", ".py": "text/plain",
    ".yaml": "text/plain", ".yml": "text/plain", ".csv": "text/plain", ".jsonl": "text/plain",
    ".jinja": "text/plain", ".html": "text/plain", ".gitattributes": "text/plain", ".gitignore": "text/plain",
}


def content_type(path):
    """Return the type under which the Hub serves a file of this name."""
    name = os.path.basename(path)
    kind = TEXT.get(os.path.splitext(name)[1].lower()) or TEXT.get(name)
    return "text/plain; charset=utf-8" if kind else "application/octet-stream"


def disposition(path):
    """Return the Content-Disposition of a file."""
    name = os.path.basename(path)
    plain = name.encode("ascii", "replace").decode().replace('"', "%22")
    return f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"


def parse_range(value, size):
    """Return (first, last) of a single satisfiable range, None to ignore it, or "unsatisfiable"."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (value or "").replace(" ", ""))
    if not match or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        n = min(int(last), size)
        return (size - n, size - 1) if n else "unsatisfiable"
    first = int(first)
    last = int(last) if last else size - 1
    if int(match.group(2) or first) < first:
        return None
    return (first, min(last, size - 1)) if first < size else "unsatisfiable"


def etag_matches(header, etag):
    """Tell whether an If-None-Match or If-Match list names the etag, comparing weakly."""
    if header.strip() == "*":
        return True
    return etag in [e.strip().removeprefix("W/").strip('"') for e in header.split(",")]


def serve(request, blob, etag, headers, modified, may_gzip=False, offset=0):
    """Return the answer to a GET or HEAD of a blob: 200, 206, 304 or 416."""
    headers = [*headers, ("ETag", f'"{etag}"')]
    condition = request.headers.get("if-none-match")
    if condition and etag_matches(condition, etag):
        return Response(304, headers)
    headers.append(("Last-Modified", formatdate(modified, usegmt=True)))
    spec = request.headers.get("range")
    if_range = request.headers.get("if-range")
    if if_range is not None and if_range != f'"{etag}"':
        spec = None
    wanted = parse_range(spec, blob.size) if spec else None
    if wanted == "unsatisfiable":
        headers.append(("Content-Range", f"bytes */{blob.size}"))
        return Response(416, [*headers, ("Accept-Ranges", "bytes"), ("Content-Type", "text/plain")],
                        b"Range Not Satisfiable")
    if wanted:
        first, last = wanted
        headers += [("Accept-Ranges", "bytes"), ("Content-Range", f"bytes {first}-{last}/{blob.size}")]
        return Response(206, headers, FilePart(blob, first, last - first + 1), entity_offset=first)
    if may_gzip and re.search(r"\bgzip\b", request.headers.get("accept-encoding", "")) and blob.size >= 150:
        headers = [(k, v) for k, v in headers if k != "ETag"]
        headers += [("ETag", f'W/"{etag}"'), ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        body = b"" if request.method == "HEAD" else gzip.compress(blob.read(), 6)
        return Response(200, headers, body, chunked=True)
    headers.append(("Accept-Ranges", "bytes"))
    return Response(200, headers, FilePart(blob, 0, blob.size))
