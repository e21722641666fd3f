"""File routes of the hub origin (resolve, resolve-cache, raw) and the CDN origin they point to."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from urllib.parse import parse_qsl, quote, unquote

from . import access, entity
from .access import HubError
from .wire import Response

XET_INFO = "application/vnd.xet-fileinfo+json"
CSP = "default-src 'none'; sandbox"


def split_revision(segments):
    """Return (decoded revision, remaining raw segments); a bare `refs/x/y` takes three segments."""
    first = unquote(segments[0])
    if first == "refs" and len(segments) >= 3:
        return "/".join(unquote(s) for s in segments[:3]), segments[3:]
    return first, segments[1:]


def decode_path(segments):
    """Return the file path that raw segments spell, whether its slashes were encoded or not."""
    return "/".join(unquote(s) for s in segments)


def missing(ctx):
    """Return the error for a path that is not in the commit."""
    return HubError(404, "Entry not found", "EntryNotFound", [("X-Repo-Commit", ctx.commit.sha)])


def find_entry(ctx, type, raw_id, rest):
    """Check repository, gate, revision and path in the Hub's order; return (revision, path, entry)."""
    repo = ctx.find_repo(type, raw_id)
    access.check_disabled(repo)
    rev, rest = split_revision(rest)
    path = decode_path(rest)
    if path != "README.md":  # the card of a gated repository is for everybody
        access.check_gate(ctx.token, repo)
    commit = ctx.find_commit(rev)
    entry = commit.files.get(path)
    if entry is None:
        raise missing(ctx)
    return rev, path, entry


def resolve(ctx, type, raw_id, rest):
    """Answer `/resolve/`: 307 to the resolve cache for git files, 302 to the CDN for LFS files.

    The resolve cache is public, so git files of private, gated and one-segment repositories are served in place, and
    so are empty files.
    """
    rev, path, entry = find_entry(ctx, type, raw_id, rest)
    repo, commit, request = ctx.repo, ctx.commit, ctx.request
    known = [("X-Repo-Commit", commit.sha), ("Accept-Ranges", "bytes"), ("X-Linked-Etag", f'"{entry.etag}"')]
    condition = request.headers.get("if-none-match")
    if condition and entity.etag_matches(condition, entry.etag):
        return Response(304, [("ETag", f'"{entry.etag}"'), ("X-Repo-Commit", commit.sha)])
    direct = repo.private or bool(repo.gated) or repo.author is None or entry.blob.size == 0
    if ctx.quirks["serve_directly"] is not None:
        direct = ctx.quirks["serve_directly"]
    if not entry.lfs and direct:
        return git_file(ctx, path, entry)
    if not entry.lfs:
        encoded = quote(path)
        key = quote(f"/{repo.prefix}{repo.id}/resolve/{quote(rev, safe='')}/{encoded}", safe="")
        target = (f"/api/resolve-cache/{type}/{repo.id}/{commit.sha}/{encoded.replace('/', '%2F')}"
                  f"?{key}=&etag=%22{entry.etag}%22")
        known += [("X-Hub-Cache", "MISS"), ("Content-Disposition", entity.disposition(path)),
                  ("Content-Security-Policy", CSP)]
        if ctx.quirks["resolve_cache_307_has_headers"] == "size":
            known.append(("X-Linked-Size", str(entry.blob.size)))
        if not ctx.quirks["resolve_cache_307_has_headers"]:
            known = []
        text = f"Temporary Redirect. Redirecting to {target}".encode()
        return Response(307, [*known, ("Location", target), ("Content-Type", "text/plain; charset=utf-8")], text)
    headers = [*known, ("X-Linked-Size", str(entry.blob.size)), ("Cache-Control", "no-store")]
    if ctx.quirks["xet"]:
        cas = ctx.quirks["cas_url"] or ctx.world.cas_url
        base = f"{ctx.world.public_url}/api/{type}/{repo.id}/xet-read-token/{commit.sha}"
        headers += [
            ("X-Xet-Hash", entry.blob.xet_hash),
            ("Link", f'<{base}>; rel="xet-auth", <{cas}/v1/reconstructions/{entry.blob.xet_hash}>; '
                     'rel="xet-reconstruction-info"'),
        ]
        if XET_INFO in request.headers.get("accept", ""):
            info = {"hash": entry.blob.xet_hash, "refreshUrl": base,
                    "reconstructionUrl": f"{cas}/v1/reconstructions/{entry.blob.xet_hash}",
                    "etag": f'"{entry.etag}"', "size": entry.blob.size}
            headers += [("Content-Type", XET_INFO), ("ETag", f'"{entry.etag}"')]
            return Response(200, headers, json.dumps(info).encode())
    target = sign(ctx.world, repo, entry, path, bool(ctx.param("noContentDisposition")))
    text = f"Found. Redirecting to {target}".encode()
    return Response(302, [*headers, ("Location", target), ("Content-Type", "text/plain; charset=utf-8")], text)


def resolve_cache(ctx, type, raw_id, rest):
    """Answer `/api/resolve-cache/`: the bytes of a git file at a commit, with or without the query."""
    _, path, entry = find_entry(ctx, type, raw_id, rest)
    return git_file(ctx, path, entry)


def git_file(ctx, path, entry):
    """Return the bytes of a git file, which text clients may get compressed."""
    kind = entity.content_type(path)
    headers = [("X-Repo-Commit", ctx.commit.sha), ("Content-Type", kind),
               ("Content-Disposition", entity.disposition(path)), ("Cache-Control", "private, max-age=0")]
    if ctx.quirks["csp"]:
        headers.append(("Content-Security-Policy", CSP))
    text = ctx.quirks["gzip_text"] and kind.startswith("text/")
    return entity.serve(ctx.request, entry.blob, entry.etag, headers, ctx.commit.date, may_gzip=text)


def raw(ctx, type, raw_id, rest):
    """Answer `/raw/`: the git content, which for an LFS file is its pointer; conditions are ignored."""
    _, path, entry = find_entry(ctx, type, raw_id, rest)
    blob = ctx.store.blobs.add_bytes(entry.pointer) if entry.lfs else entry.blob
    ctx.request.headers.pop("if-none-match", None)
    headers = [("X-Repo-Commit", ctx.commit.sha), ("Content-Type", "text/plain; charset=utf-8"),
               ("Content-Disposition", entity.disposition(path)), ("Content-Security-Policy", CSP)]
    return entity.serve(ctx.request, blob, entry.oid, headers, ctx.commit.date, may_gzip=ctx.quirks["gzip_text"])


def signature(world, path, params):
    """Return the signature of a CDN URL without its Signature parameter."""
    text = path + "?" + "&".join(f"{k}={v}" for k, v in sorted(params))
    digest = hmac.new(world.secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().replace("=", "_")


def sign(world, repo, entry, path, plain=False):
    """Return a signed CDN URL of an LFS object that expires."""
    expires = int(time.time()) + int(world.quirks["cdn_ttl"])
    key = entry.blob.xet_hash if world.quirks["xet"] else entry.blob.sha256
    url_path = f"/xet-bridge-us/{repo.object_id}/{key}"
    policy = base64.b64encode(json.dumps({"Statement": [{
        "Resource": f"{world.cdn_url}{url_path}*", "nonce": secrets.token_hex(4),
        "Condition": {"DateLessThan": {"AWS:EpochTime": expires}}}]}).encode()).decode()
    params = [("X-Xet-Cas-Uid", "public")]
    params += [] if plain else [("response-content-disposition", entity.disposition(path))]
    params += [("response-content-type", "application/octet-stream"), ("Expires", str(expires)), ("Policy", policy),
               ("Key-Pair-Id", "K2L8F4GPSG1IFC")]
    params.append(("Signature", signature(world, url_path, params)))
    return f"{world.cdn_url}{url_path}?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in params)


def xml_error(status, code, message):
    """Return an error in the storage service's form."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, [("Content-Type", "application/xml"), ("Server", "AmazonS3")], body.encode())


def refusal(world, request):
    """Return why the CDN refuses a request, or None if its signature is good."""
    if request.method not in ("GET", "HEAD"):
        return xml_error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
    if "authorization" in request.headers and world.quirks["cdn_refuses_authorization"]:
        return xml_error(400, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                         "parameter, Signature query string parameter or the Authorization header should be specified")
    params = parse_qsl(request.query, keep_blank_values=True)
    given = dict(params)
    unsigned = [(k, v) for k, v in params if k != "Signature"]
    if given.get("Signature") != signature(world, request.path, unsigned):
        return xml_error(403, "AccessDenied", "Access denied")
    if int(given.get("Expires", "0")) < time.time():
        return xml_error(403, "AccessDenied", "Request has expired")
    return None


def cdn(world, request):
    """Answer a request at the CDN origin."""
    refused = refusal(world, request)
    if refused:
        return refused
    given = dict(parse_qsl(request.query, keep_blank_values=True))
    blob = world.store.blob_of_key(request.path.rpartition("/")[2])
    if blob is None:
        return xml_error(404, "NoSuchKey", "The specified key does not exist.")
    headers = [
        ("Content-Type", given.get("response-content-type", "application/octet-stream")),
        ("Cache-Control", "public, max-age=31536000"), ("Server", "AmazonS3"), ("X-Cache", "Hit from cloudfront"),
        ("Via", "1.1 0123456789abcdef.cloudfront.net (CloudFront)"), ("X-Amz-Cf-Pop", "TST50-P1"),
        ("X-Amz-Cf-Id", secrets.token_urlsafe(40)), ("Age", "60"),
        ("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "*"),
        ("X-Request-Id", secrets.token_hex(13)),
    ]
    if "response-content-disposition" in given:
        headers.append(("Content-Disposition", given["response-content-disposition"]))
    etag = blob.sha256 if world.quirks["cdn_etag"] == "sha256" else blob.xet_hash
    return entity.serve(request, blob, etag, headers, 1700000000)


def lfs_batch(ctx, type, raw_id):
    """Answer a git-lfs batch of downloads with signed CDN links."""
    repo = ctx.find_repo(type, raw_id)
    access.check_disabled(repo)
    access.check_gate(ctx.token, repo)
    try:
        wanted = json.loads(ctx.request.body)
        oids = [(o["oid"], o["size"]) for o in wanted["objects"]]
    except (ValueError, KeyError, TypeError):
        raise HubError(422, "Invalid LFS batch") from None
    if wanted.get("operation") != "download":
        raise HubError(422, "The operation must be download or upload")
    here = {e.blob.sha256: e for c in repo.commits.values() for e in c.files.values() if e.lfs}
    objects = []
    for oid, size in oids:
        entry = here.get(oid)
        if entry is None:
            objects.append({"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}})
            continue
        href = sign(ctx.world, repo, entry, oid)
        objects.append({"oid": oid, "size": entry.blob.size, "authenticated": True, "actions": {
            "download": {"href": href, "header": {}, "expires_in": int(ctx.quirks["cdn_ttl"])}}})
    answer = ctx.json({"transfer": "basic", "objects": objects, "hash_algo": "sha256"})
    answer.set("Content-Type", "application/vnd.git-lfs+json; charset=utf-8")
    return answer
