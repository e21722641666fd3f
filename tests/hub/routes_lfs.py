"""git-lfs at the hub: batches of uploads, and the question whether an upload has arrived."""

import json
import re
import secrets
import time

from . import access, rights, routes_files, routes_s3
from .access import HubError
from .store import iso


def lfs(ctx, type, raw_id, rest):
    """Answer the routes below `/info/lfs/`."""
    if ctx.request.method != "POST" or rest not in (["objects", "batch"], ["objects", "verify"]):
        raise HubError(404, "Not Found")
    try:
        wanted = json.loads(ctx.request.body)
        upload = rest[1] == "batch" and wanted["operation"] == "upload"
    except (ValueError, KeyError, TypeError):
        raise HubError(422, "Invalid LFS request") from None
    if rest[1] == "batch" and not upload:
        return routes_files.lfs_batch(ctx, type, raw_id)
    repo = ctx.find_repo(type, raw_id)
    access.check_disabled(repo)
    return batch(ctx, repo, wanted) if upload else verify(ctx, repo, wanted)


def body_of(ctx, repo, oid):
    """Return the body of an LFS object that the repository has, committed or not, or None."""
    committed = any(oid in lfs_oids(commit) for commit in reversed(repo.commits.values()))
    return ctx.store.blobs.by_sha256.get(oid) if oid in repo.stored or committed else None


def lfs_oids(commit):
    """Return the ids of all LFS objects of a commit."""
    return commit.remembered("lfs", lambda: {e.blob.sha256 for e in commit.files.values() if e.lfs})


def check_upload(ctx, repo, ref):
    """Refuse callers who may not upload; to a pull request everybody may who has a token that writes."""
    token = rights.login(ctx)
    if rights.may_write(token, repo):
        return
    if token.role != "write" or not access.in_scope(token, repo) or (ref and not ref.startswith("refs/pr/")):
        raise HubError(403, f"Forbidden: you do not have write access to {repo.id}")


def batch(ctx, repo, wanted):
    """Answer a batch of uploads: where to put each object, and nothing for those that are here already."""
    try:
        rows = [(o["oid"], o["size"]) for o in wanted["objects"]]
        ref = (wanted.get("ref") or {}).get("name")
    except (KeyError, TypeError, AttributeError):
        raise HubError(422, "Invalid LFS batch") from None
    check_upload(ctx, repo, ref)
    if wanted.get("hash_algo", "sha256") not in ("sha256", "sha_256"):
        raise HubError(409, "The hash algorithm must be sha256")
    offered = wanted.get("transfers") or ["basic"]
    most = repo.extra.get("lfsmultipartthresh") or ctx.quirks["lfs_multipart_threshold"]
    transfer = "multipart" if "multipart" in offered and any(size > most for _, size in rows) else "basic"
    if "xet" in offered and ctx.quirks["lfs_batch_xet"]:
        transfer = "xet"
    objects = []
    for oid, size in rows:
        row = {"oid": oid, "size": size}
        objects.append(row)
        if not isinstance(oid, str) or not re.fullmatch("[0-9a-f]{64}", oid) or not isinstance(size, int) or size < 0:
            row["error"] = {"code": 422, "message": "Validation error: the oid must be a sha256"}
        elif size > ctx.quirks["lfs_max_size"]:
            row["error"] = {"code": 422, "message": f"File is too large: {size} bytes"}
        elif body_of(ctx, repo, oid) is None:
            row["authenticated"] = True
            row["actions"] = actions(ctx, repo, oid, size, transfer, size > most, ref)
    answer = ctx.json({"transfer": transfer, "objects": objects, "hash_algo": "sha256"})
    answer.set("Content-Type", "application/vnd.git-lfs+json; charset=utf-8")
    return answer


def actions(ctx, repo, oid, size, transfer, large, ref):
    """Return what a client has to do to upload one object."""
    world, ttl = ctx.world, int(ctx.quirks["s3_ttl"])
    until = {"expires_in": ttl, "expires_at": iso(time.time() + ttl)}
    if transfer == "xet":
        href = f"{world.public_url}/api/{repo.type}/{repo.id}/xet-write-token/{ref or 'main'}"
        token, expires = world.xet.issue(repo, ref or "main", True, int(ctx.quirks["xet_token_ttl"]))
        header = {"X-Xet-Cas-Url": ctx.quirks["cas_url"] or world.cas_url, "X-Xet-Access-Token": token,
                  "X-Xet-Token-Expiration": str(expires), "X-Xet-Session-Id": secrets.token_hex(8)}
        return {"upload": {"href": href, "header": header, **until}}
    if transfer == "multipart" and large:
        chunk = int(ctx.quirks["lfs_chunk_size"])
        href, parts = routes_s3.start_multipart(world, repo, oid, size, chunk)
        upload = {"href": href, "header": {"chunk_size": str(chunk), **parts}, **until}
    else:
        upload = {"href": routes_s3.signed_put(world, repo, oid), **until}
    check = f"{world.public_url}/{repo.prefix}{repo.id}.git/info/lfs/objects/verify"
    # git-lfs sends what stands here and nothing else to an address of an object that is "authenticated".
    header = {"Authorization": ctx.request.headers.get("authorization", "")}
    return {"upload": upload, "verify": {"href": check, "header": header, **until}}


def verify(ctx, repo, wanted):
    """Answer whether an object has arrived whole."""
    rights.login(ctx)
    oid, size = wanted.get("oid"), wanted.get("size")
    blob = body_of(ctx, repo, oid)
    if blob is None:
        raise HubError(404, "Object does not exist")
    if blob.size != size:
        raise HubError(422, f"The size of the object is {blob.size}, not {size}")
    answer = ctx.json({"oid": oid, "size": size})
    answer.set("Content-Type", "application/vnd.git-lfs+json; charset=utf-8")
    return answer
