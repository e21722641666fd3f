"""The chunk storage of Xet: its API, its tokens at the hub, and its bytes at the CDN and the object storage."""

import base64
import json
import re
import secrets
import time
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from . import access
from .access import HubError
from .routes_files import refusal, signature, split_revision, xml_error
from .wire import Response
from .xorbs import Malformed, crc64nvme, parse_shard

HASH = r"([0-9a-f]{64})"
UPLOADS = "/xet-uploads/"
XORBS = "/xorbs/default/"
PULL_REQUEST = re.compile(r"refs/pr/\d+")


# Tokens, at the hub.


def may_write(token, repo):
    """Tell whether the caller may change a repository."""
    return (token is not None and token.role == "write" and access.in_scope(token, repo)
            and (repo.author == token.user or repo.author in token.orgs))


def token_answer(ctx, ref, write):
    """Answer a token for the chunk storage, in headers and body alike."""
    token, expires = ctx.world.xet.issue(ctx.repo, ref, write, ctx.quirks["xet_token_ttl"])
    cas = ctx.quirks["cas_url"] or ctx.world.cas_url
    return ctx.json({"casUrl": cas, "accessToken": token, "exp": expires},
                    [("X-Xet-Cas-Url", cas), ("X-Xet-Access-Token", token), ("X-Xet-Token-Expiration", str(expires))])


def read_token(ctx, rest):
    """Answer a token that reads the files of a repository."""
    access.check_gate(ctx.token, ctx.repo)
    rev, _ = split_revision(rest or ["main"])
    return token_answer(ctx, ctx.find_commit(rev).sha, False)


def write_token(ctx, rest):
    """Answer a token that uploads for a repository.

    Who has a token of any role may propose changes, so the rights are needed for branches only.
    """
    rev, _ = split_revision(rest or ["main"])
    if ctx.token is None:
        raise HubError(401, "Invalid username or password.")
    if not may_write(ctx.token, ctx.repo) and not (ctx.flag("create_pr") or PULL_REQUEST.fullmatch(rev)):
        raise HubError(403, "Forbidden: you have read access but not the required permissions for this operation")
    access.check_gate(ctx.token, ctx.repo)
    if ctx.repo.commits and not (rev == "None" and ctx.flag("create_pr")):
        ctx.find_commit(rev)
    return token_answer(ctx, rev, True)


# The API.


class Refused(Exception):
    """An answer that is an error; the text is its body."""

    def __init__(self, status, text):
        """Keep the parts."""
        super().__init__(text)
        self.status = status


def as_json(value, status=200):
    """Return a JSON answer."""
    return Response(status, [("Content-Type", "application/json")], json.dumps(value, separators=(",", ":")).encode())


def allowed(world, request, write):
    """Return what the caller's token allows, or refuse."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = world.xet.access(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise Refused(401, "Unauthorized")
    if write and not found.write:
        raise Refused(403, "Forbidden")
    return found


def xorb(world, request, name):
    """Store a xorb, or say how large it is."""
    if request.method == "HEAD":
        allowed(world, request, False)
        found = world.xet.xorb(name)
        if found is None:
            raise Refused(404, "Not Found")
        return Response(200, [("Content-Length", str(found.ends[-1]))])
    allowed(world, request, True)
    return as_json({"was_inserted": world.xet.add_xorb(name, request.body)})


def grant(world, request, name):
    """Grant the upload of a xorb to the object storage, if that is offered."""
    allowed(world, request, True)
    if not world.quirks["xet_grants"]:
        raise Refused(404, "Not Found")
    if world.xet.xorb(name):
        return as_json({})
    try:
        wanted = json.loads(request.body)
        length, checksum = wanted["length"], wanted["checksum"]
        value = base64.b64encode(int(checksum["value"]).to_bytes(8, "big")).decode()
        if checksum["algo"] != "crc64nvme" or not isinstance(length, int):
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError):
        raise Refused(400, "Bad Request") from None
    id = world.xet.grant(name, length, value)
    path = UPLOADS + id
    params = [("X-Amz-Date", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())),
              ("X-Amz-Expires", str(int(time.time()) + int(world.quirks["cdn_ttl"]))),
              ("X-Amz-SignedHeaders", "content-length;host;if-none-match;x-amz-checksum-crc64nvme")]
    params.append(("X-Amz-Signature", grant_signature(world, urlsplit(world.s3_url).netloc, path, params)))
    query = "&".join(f"{k}={quote(v, safe='')}" for k, v in params)
    return as_json({"id": id, "method": "PUT", "url": f"{world.s3_url}{path}?{query}", "headers": {
        "content-length": str(length), "if-none-match": "*", "x-amz-checksum-crc64nvme": value}}, 201)


def commit_grant(world, request, name, id):
    """Take over a xorb that came through a grant."""
    allowed(world, request, True)
    given = world.xet.grants.get(unquote(id))
    if given is None or given.xorb != name or given.body is None:
        raise Refused(404, "Not Found")
    if world.xet.xorb(name) is None:
        world.xet.add_xorb(name, given.body)
    given.body = b""
    return as_json({})


def shards(world, request, version):
    """Register the files of a shard.

    Version 2 answers before it has put the files together, so a wrong SHA-256 is an event in its stream; version 1
    answers it with a status.
    """
    caller = allowed(world, request, True)
    shard = parse_shard(request.body)
    world.xet.check(shard, caller.repo)
    events = [{"type": "validating", "verified": n, "total": len(shard.files)} for n in range(len(shard.files) + 1)]
    try:
        new = [world.xet.register(file, caller.repo) for file in shard.files]
    except Malformed as e:
        if version == "1":
            raise
        events.append({"type": "error", "message": str(e), "retryable": False})
    else:
        if version == "1":
            return as_json({"result": int(any(new))})
        events += [{"type": "committing", "stage": "uploading"}, {"type": "committing", "stage": "syncing"},
                   {"type": "result"}]
    body = b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)
    return Response(200, [("Content-Type", "application/x-ndjson")], body, chunked=True)


def recipe_of(world, request, name):
    """Return the recipe of a file that the caller may read."""
    caller = allowed(world, request, False)
    recipe = world.xet.recipe(name)
    if recipe is None or not world.xet.readable(recipe, caller.repo):
        raise Refused(404, "Not Found")
    return recipe


def reconstruction(world, request, version, name):
    """Answer of which chunks a file or a part of it is made, and where they are."""
    recipe = recipe_of(world, request, name)
    spec = request.headers.get("range")
    match = re.fullmatch(r"(?:bytes=)?(\d+)-(\d*)", spec or "bytes=0-")
    if not match:
        raise Refused(400, "Bad Request")
    found = world.xet.reconstruction(recipe, int(match[1]), int(match[2]) if match[2] else None)
    if found is None:
        raise Refused(416, "Range Not Satisfiable")
    offset, terms, wanted = found
    answer = {"offset_into_first_range": offset, "terms": [
        {"hash": t.xorb, "unpacked_length": t.length, "range": {"start": t.first, "end": t.end}} for t in terms]}
    places = {}
    for hash, ranges in wanted.items():
        ends = world.xet.xorb(hash).ends
        rows = [((a, b), (ends[a - 1] if a else 0, ends[b - 1] - 1)) for a, b in ranges]
        if version == "2":
            places[hash] = [{"url": sign(world, hash, [r for _, r in rows]), "ranges": [
                {"chunks": {"start": a, "end": b}, "bytes": {"start": s, "end": e}} for (a, b), (s, e) in rows]}]
        else:
            places[hash] = [{"range": {"start": a, "end": b}, "url": sign(world, hash, [(s, e)]),
                             "url_range": {"start": s, "end": e}} for (a, b), (s, e) in rows]
    answer["xorbs" if version == "2" else "fetch_info"] = places
    return as_json(answer)


def file_size(world, request, name):
    """Answer the size of a file."""
    return Response(200, [("Content-Length", str(recipe_of(world, request, name).blob.size))])


def no_chunk(world, request):
    """Know no chunk, so that uploads bring all of theirs."""
    allowed(world, request, False)
    raise Refused(404, "Not Found")


def telemetry(world, request):
    """Take a report."""
    return Response(200)


ROUTES = [(methods, re.compile(path), handler) for methods, path, handler in (
    ("GET", rf"/v([12])/reconstructions/{HASH}", reconstruction),
    ("HEAD", rf"/v1/files/{HASH}", file_size),
    ("HEAD POST", rf"/v1/xorbs/default/{HASH}", xorb),
    ("POST", rf"/v1/xorb-grants/default/{HASH}", grant),
    ("POST", rf"/v1/xorb-commits/default/{HASH}/grant/([^/]+)", commit_grant),
    ("POST", r"/v([12])/shards", shards),
    ("GET", rf"/v1/chunks/default(?:-merkledb)?/(?:{HASH[1:-1]})", no_chunk),
    ("POST", r"/v1/telemetry", telemetry),
)]


def cas(world, request):
    """Answer a request at the cas origin."""
    try:
        for methods, path, handler in ROUTES:
            match = path.fullmatch(request.path)
            if match and request.method in methods.split():
                response = handler(world, request, *match.groups())
                break
        else:
            raise Refused(404, "Not Found")
    except (Refused, Malformed) as e:
        status = getattr(e, "status", 400)
        response = Response(status, [("Content-Type", "text/plain; charset=utf-8")], str(e).encode())
    response.headers.append(("X-Request-Id", secrets.token_hex(13)))
    return response


# The bytes.


def sign(world, name, ranges):
    """Return a signed URL for some byte ranges of a xorb."""
    path = XORBS + name
    params = [("X-Xet-Signed-Range", "bytes=" + ",".join(f"{a}-{b}" for a, b in ranges)),
              ("Expires", str(int(time.time()) + int(world.quirks["cdn_ttl"]))), ("Key-Pair-Id", "K2L8F4GPSG1IFC")]
    params.append(("Signature", signature(world, path, params)))
    return f"{world.cdn_url}{path}?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in params)


def xorb_bytes(world, request):
    """Answer a signed request for ranges of a xorb at the CDN; None means that the request is none."""
    if not request.path.startswith(XORBS):
        return None
    refused = refusal(world, request)
    if refused:
        return refused
    given = dict(parse_qsl(request.query, keep_blank_values=True))
    found = world.xet.xorb(request.path.removeprefix(XORBS))
    if found is None:
        return xml_error(404, "NoSuchKey", "The specified key does not exist.")
    signed = given["X-Xet-Signed-Range"].removeprefix("bytes=").split(",")
    ranges = [r.strip() for r in request.headers.get("range", "").removeprefix("bytes=").split(",")]
    if not set(ranges) <= set(signed):
        return xml_error(403, "AccessDenied", "The range is not the signed one")
    total, parts = found.ends[-1], []
    for first, _, last in (r.partition("-") for r in ranges):
        span = f"bytes {first}-{last}/{total}"
        parts.append((span, found.read(int(first), int(last) - int(first) + 1)))
    headers = [("Cache-Control", "public, max-age=31536000"), ("Server", "AmazonS3"), ("X-Request-Id",
               secrets.token_hex(13)), ("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "*")]
    if len(parts) == 1:
        kind = [("Content-Type", "application/octet-stream"), ("Content-Range", parts[0][0])]
        return Response(206, kind + headers, parts[0][1])
    boundary = secrets.token_hex(12)
    body = b"".join(f"--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {span}\r\n\r\n".encode()
                    + data + b"\r\n" for span, data in parts) + f"--{boundary}--\r\n".encode()
    return Response(206, [("Content-Type", f"multipart/byteranges; boundary={boundary}"), *headers], body)


def grant_signature(world, host, path, params):
    """Return the signature of an upload, which binds the host as Amazon's does."""
    return signature(world, host + path, params)


def granted(world, request):
    """Answer an upload under a grant at the object storage; None means that the request is none."""
    if not request.path.startswith(UPLOADS):
        return None
    params = parse_qsl(request.query, keep_blank_values=True)
    given, body = dict(params), request.body
    grant = world.xet.grants.get(request.path.removeprefix(UPLOADS))
    unsigned = [(k, v) for k, v in params if k != "X-Amz-Signature"]
    expected = grant_signature(world, request.headers.get("host", ""), request.path, unsigned)
    if request.method != "PUT" or grant is None or given.get("X-Amz-Signature") != expected:
        return xml_error(403, "SignatureDoesNotMatch", "The request signature does not match")
    if int(given.get("X-Amz-Expires", "0")) < time.time():
        return xml_error(403, "AccessDenied", "Request has expired")
    if "authorization" in request.headers:
        return xml_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    if (request.headers.get("x-amz-checksum-crc64nvme"), request.headers.get("if-none-match")) != (
            grant.checksum, "*") or len(body) != grant.length:
        return xml_error(403, "SignatureDoesNotMatch", "A signed header is not the signed one")
    if grant.body is not None:
        return xml_error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode() != grant.checksum:
        return xml_error(400, "BadDigest", "The CRC64NVME you specified did not match what we received")
    grant.body = body
    return Response(200, [("Server", "AmazonS3"), ("ETag", f'"{secrets.token_hex(16)}"')])
