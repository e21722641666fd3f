"""Git over HTTP: what `git clone`, `git fetch` and `git push` ask, answered by git itself."""

import gzip
import re
import zlib

from . import access
from .access import HubError
from .git_mirror import mirror_of
from .wire import Response

SERVICES = ("git-upload-pack", "git-receive-pack")
BASIC = 'Basic realm="Authentication required", charset="UTF-8"'


def match(rest):
    """Return (raw id, what is asked) if the segments after the type are git's, with or without `.git`."""
    for n in (1, 2):
        asked = "/".join(rest[n:])
        if asked in ("info/refs", *SERVICES) or asked.startswith("info/lfs/locks"):
            return [*rest[:n - 1], rest[n - 1].removesuffix(".git")], asked
    return None


def challenge(ctx, response):
    """Return an error as it is, but ask git and git-lfs for Basic credentials, the only ones that they have."""
    if response.status == 401 and re.search(r"/info/(refs|lfs/.*)$|/git-(upload|receive)-pack$", ctx.request.path):
        response.set("WWW-Authenticate", BASIC)
    return response


def check_push(ctx):
    """Refuse callers who may not write into the repository."""
    token, repo = ctx.token, ctx.repo
    if token is None:
        raise HubError(401, "Invalid username or password.")
    if token.role != "write" or repo.author not in [token.user, *token.orgs] or not access.in_scope(token, repo):
        raise HubError(403, "You are not authorized to push to this repository.")


def git(ctx, type, raw_id, asked):
    """Answer a request of git; the store is locked here, and no more when a pack is made."""
    request = ctx.request
    if asked.startswith("info/lfs/locks"):
        raise HubError(404, "Locks are not offered")
    service = ctx.param("service") if asked == "info/refs" else asked
    if service not in SERVICES:
        raise HubError(403, "Please upgrade your git client: only smart HTTP is offered")
    if request.method != ("GET" if asked == "info/refs" else "POST"):
        raise HubError(405, "Method Not Allowed")
    if asked != "info/refs" and request.headers.get("content-type") != f"application/x-{service}-request":
        raise HubError(415, "Unsupported Media Type")
    repo = ctx.find_repo(type, raw_id)
    access.check_disabled(repo)
    if service == "git-receive-pack":
        check_push(ctx)
    else:
        access.check_gate(ctx.token, repo)
    body = request.body
    if request.headers.get("content-encoding") in ("gzip", "x-gzip"):
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            raise HubError(400, "The body is not what Content-Encoding says") from None
    protocol = request.headers.get("git-protocol")
    if protocol and not re.fullmatch(r"[A-Za-z0-9=:.-]{1,100}", protocol):
        raise HubError(400, "Invalid Git-Protocol")
    mirror = mirror_of(ctx.store, repo)
    command = service.removeprefix("git-")
    if asked == "info/refs":
        return advertisement(mirror, command, protocol)
    if command == "receive-pack":
        return answer(f"application/x-{service}-result", mirror.receive(body, protocol))
    return lambda: answer(f"application/x-{service}-result", mirror.serve(command, body, protocol))


def advertisement(mirror, command, protocol):
    """Return the first answer to git: the refs, or since version 2 what the server can do."""
    head = b""
    if "version=2" not in (protocol or "").split(":"):
        line = f"# service=git-{command}\n".encode()
        head = b"%04x%s0000" % (len(line) + 4, line)
    body = head + mirror.serve(command, b"", protocol, advertise=True)
    return answer(f"application/x-git-{command}-advertisement", body)


def answer(kind, body):
    """Return an answer to git, which nobody may keep."""
    headers = [("Content-Type", kind), ("Cache-Control", "no-cache, max-age=0, must-revalidate"),
               ("Expires", "Fri, 01 Jan 1980 00:00:00 GMT"), ("Pragma", "no-cache")]
    return Response(200, headers, body, chunked=True)
