"""The object storage: signed URLs to which LFS bodies are uploaded, whole or in parts, and the end of such parts.

The signature binds method, host, path and parameters, as Amazon's does, so that whoever passes a request on must pass
it on as it is.
"""

import calendar
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit

from .access import HubError
from .routes_files import xml_error
from .wire import Response

BUCKET = "hub-lfs-test-1"


@dataclass(eq=False)
class Multipart:
    """An upload in parts that is under way; the parts are put into one file at their places."""

    repo: object
    oid: str
    size: int
    chunk: int
    path: str
    parts: dict = field(default_factory=dict)
    lock: object = field(default_factory=threading.Lock)


def signature(world, method, host, path, params):
    """Return the signature of a request to the object storage."""
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(params))
    text = f"{method}\n{host}\n{path}\n{query}"
    return hmac.new(world.secret, text.encode(), hashlib.sha256).hexdigest()


def signed_put(world, repo, oid, part=()):
    """Return a signed URL that expires, to which an object or one part of it can be put."""
    now = time.time()
    path = f"/repos/{repo.object_id[:2]}/{repo.object_id[2:4]}/{repo.object_id}/{oid}"
    day = time.strftime("%Y%m%d", time.gmtime(now))
    params = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
        ("X-Amz-Credential", f"AKIAHUBFORTESTS/{day}/us-east-1/s3/aws4_request"),
        ("X-Amz-Date", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))),
        ("X-Amz-Expires", str(int(world.quirks["s3_ttl"]))), ("X-Amz-SignedHeaders", "host"), *part,
        ("x-id", "UploadPart" if part else "PutObject")]
    sign = signature(world, "PUT", urlsplit(world.s3_url).netloc, path, params)
    query = "&".join(f"{k}={quote(v, safe='')}" for k, v in [*params, ("X-Amz-Signature", sign)])
    return f"{world.s3_url}{path}?{query}"


def start_multipart(world, repo, oid, size, chunk):
    """Begin an upload in parts; return (URL of its end, {part number of five digits: URL})."""
    id = secrets.token_urlsafe(48)
    fd, path = tempfile.mkstemp(prefix="parts-", dir=world.store.blobs.directory)
    os.close(fd)
    world.multiparts[id] = Multipart(repo, oid, size, chunk, path)
    count = -(-size // chunk)
    urls = {f"{n:05d}": signed_put(world, repo, oid, [("partNumber", str(n)), ("uploadId", id)])
            for n in range(1, count + 1)}
    expires = time.time() + int(world.quirks["s3_ttl"])
    params = [("uploadId", id), ("bucket", BUCKET), ("prefix", f"repos/{repo.object_id}"),
              ("expiration", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(expires)))]
    params.append(("signature", signature(world, "POST", BUCKET, "/api/complete_multipart", params)))
    query = "&".join(f"{k}={quote(v, safe='')}" for k, v in params)
    return f"{world.public_url}/api/complete_multipart?{query}", urls


def answer(status, etag=None):
    """Return an answer without a body."""
    headers = [("x-amz-request-id", secrets.token_hex(8).upper()), ("x-amz-id-2", secrets.token_urlsafe(32)),
               ("Server", "AmazonS3")]
    return Response(status, [*headers, *([("ETag", f'"{etag}"')] if etag else [])], b"")


def s3(world, request):
    """Answer a request at the s3 origin; the body has been read, for a storage that refuses early see the faults."""
    params = parse_qsl(request.query, keep_blank_values=True)
    given = dict(params)
    if "authorization" in request.headers:
        return xml_error(400, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                         "parameter, Signature query string parameter or the Authorization header should be specified")
    if "X-Amz-Signature" not in given:
        return xml_error(403, "AccessDenied", "Access Denied")
    unsigned = [(k, v) for k, v in params if k != "X-Amz-Signature"]
    host = request.headers.get("host", "")
    if given["X-Amz-Signature"] != signature(world, request.method, host, request.path, unsigned):
        return xml_error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the "
                         "signature you provided. Check your key and signing method.")
    begun = calendar.timegm(time.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    if begun + int(given["X-Amz-Expires"]) < time.time():
        return xml_error(403, "AccessDenied", "Request has expired")
    if "transfer-encoding" in request.headers:
        return xml_error(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    if "content-length" not in request.headers:
        return xml_error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if "uploadId" in given:
        return put_part(world, request, given["uploadId"], int(given["partNumber"]))
    return put_object(world, request, request.path.rpartition("/")[2])


def put_object(world, request, oid):
    """Keep a whole object."""
    digest = request.sha256 or hashlib.sha256(b"").hexdigest()
    if digest != oid:
        return xml_error(400, "BadDigest", "The sha256 you specified did not match the calculated checksum.")
    blobs, id = world.store.blobs, request.path.split("/")[4]
    if request.spool:
        blobs.adopt_file(request.take_spool(), digest)
    else:
        blobs.add_bytes(request.beginning)
    with world.store.lock:
        for repo in world.store.repos.values():
            if repo.object_id == id:
                repo.stored.add(oid)
    return answer(200, digest[:32])


def put_part(world, request, id, number):
    """Keep one part of an object."""
    upload = world.multiparts.get(id)
    if upload is None:
        return xml_error(404, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or "
                         "the upload may have been aborted or completed.")
    if request.body_length > upload.chunk:
        return xml_error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    etag = (request.sha256 or "0" * 64)[:32]
    place = (number - 1) * upload.chunk
    with upload.lock, open(upload.path, "r+b") as target:
        target.seek(place)
        if request.spool:
            with open(request.spool, "rb") as source:
                while data := source.read(1 << 20):
                    target.write(data)
        else:
            target.write(request.beginning)
        upload.parts[number] = (etag, request.body_length)
    return answer(200, etag)


def complete(ctx):
    """Answer the end of an upload in parts, which clients ask the Hub for without a token."""
    world, params = ctx.world, [(k, v) for k, v in ctx.params if k != "signature"]
    if ctx.request.method != "POST":
        raise HubError(404, "Not Found")
    if ctx.param("signature") != signature(world, "POST", BUCKET, "/api/complete_multipart", params):
        raise HubError(403, "Invalid signature")
    if calendar.timegm(time.strptime(ctx.param("expiration"), "%a, %d %b %Y %H:%M:%S GMT")) < time.time():
        raise HubError(403, "Link expired")
    upload = world.multiparts.get(ctx.param("uploadId"))
    if upload is None:
        raise HubError(404, "The specified upload does not exist")
    try:
        body = json.loads(ctx.request.body)
        rows = [(int(p["partNumber"]), p["etag"].strip('"')) for p in body["parts"]]
        oid = body["oid"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HubError(400, '"oid" and "parts" are required') from None
    count = -(-upload.size // upload.chunk)
    with upload.lock:
        right = rows == [(n, upload.parts.get(n, ("",))[0]) for n in range(1, count + 1)]
        if oid != upload.oid or not right or sum(size for _, size in upload.parts.values()) != upload.size:
            raise HubError(400, "One or more of the specified parts could not be found or do not fit")
        del world.multiparts[ctx.param("uploadId")]
        blob = ctx.store.blobs.add_file(upload.path, copy=False)
        if blob.sha256 != oid and blob.path == upload.path:
            ctx.store.blobs.forget(blob)
        if blob.sha256 != oid or blob.path != upload.path:
            os.unlink(upload.path)
    if blob.sha256 != oid:
        raise HubError(400, "The sha256 of the parts together is not that of the object")
    upload.repo.stored.add(oid)
    return ctx.json({"success": True, "location": f"{world.s3_url}/repos/{upload.repo.object_id}/{oid}"})
