"""What every route handler gets: the request, the caller, the store, and helpers to answer."""

import base64
import hashlib
import json
import secrets
import time
from urllib.parse import parse_qsl, quote, unquote

from . import access
from .access import HubError
from .chunks import ChunkStore
from .wire import Response

DEFAULT_QUIRKS = {
    "xet": True,
    "xet_grants": False,
    "xet_token_ttl": 900,
    "resolve_cache_307_has_headers": True,
    "repo_not_found_code_on_401": False,
    "gzip_text": True,
    "page_size": 1000,
    "expand_page_size": 50,
    "list_page_size": 100,
    "commits_page_size": 50,
    "cdn_ttl": 3600,
    "cdn_etag": "xet",
    "serve_directly": None,
    "cdn_refuses_authorization": True,
    "set_cookie": True,
    "rate_limit": None,
    "cas_url": None,
    "public_url": None,
    "csp": True,
    "create_conflicts": 0,
    "commit_body_limit": None,
    "lfs_multipart_threshold": 5 << 30,
    "lfs_chunk_size": 64 << 20,
    "lfs_max_size": 500_000_000_000,
    "lfs_batch_xet": False,
    "s3_ttl": 900,
    "keep_alive": 30,
    "slow_starts": False,
}
EXPOSED = (
    "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,"
    "X-Linked-Size,X-Linked-ETag,X-Xet-Hash"
)
QUOTA = {"api": 500, "resolvers": 3000, "pages": 100}
QUOTA_WITH_TOKEN = {"api": 1000, "resolvers": 5000, "pages": 200}


class World:
    """The state shared by all origins: store, quirks, addresses and rate counters."""

    def __init__(self, store):
        """Start with the default quirks; the addresses are filled in when the origins are bound."""
        self.store = store
        self.xet = ChunkStore(store)
        self.quirks = dict(DEFAULT_QUIRKS)
        self.hub_url = self.cdn_url = self.evil_url = self.s3_url = self.cas_url = None
        self.endpoints_url = self.viewer_url = None
        self.secret = secrets.token_bytes(16)
        self.used = {}
        self.multiparts = {}

    @property
    def public_url(self):
        """Return the address that the Hub believes to have, used in absolute links."""
        return self.quirks["public_url"] or self.hub_url

    def count(self, kind, who, has_token):
        """Count a request against its quota; return (quota, left, seconds until the window ends)."""
        limits = self.quirks["rate_limit"] or {}
        quota = limits.get(kind, (QUOTA_WITH_TOKEN if has_token else QUOTA)[kind])
        window = int(time.time()) // 300
        key = (kind, who, window)
        self.used[key] = used = self.used.get(key, 0) + 1
        enforced = kind in limits
        return quota, quota - used if enforced else max(1, quota - used), 300 - int(time.time()) % 300, enforced


class Context:
    """One request at the hub origin while it is being answered."""

    def __init__(self, world, request):
        """Split the target without decoding it, so that an encoded slash stays inside its segment."""
        self.world = world
        self.store = world.store
        self.quirks = world.quirks
        self.request = request
        self.raw = [s for s in request.path.split("/") if s != ""]
        self.is_api = bool(self.raw) and self.raw[0] == "api" and self.raw[1:2] != ["resolve-cache"]
        self.params = parse_qsl(request.query, keep_blank_values=True)
        self.token = None
        self.repo = None
        self.commit = None

    def param(self, name, default=None):
        """Return the last value of a query parameter."""
        return next((v for k, v in reversed(self.params) if k == name), default)

    def values(self, *names):
        """Return all values of repeated parameters; `x[]` counts as `x`, and commas separate values."""
        found = [v for k, v in self.params if k.removesuffix("[]") in names]
        return [part for v in found for part in v.split(",") if part]

    def flag(self, name):
        """Tell whether a parameter is a true value in any client's spelling."""
        return (self.param(name) or "").lower() in ("true", "1", "yes", "on")

    def number(self, name, default):
        """Return a whole number from the query, or the default."""
        value = self.param(name)
        if value is None:
            return default
        try:
            number = int(value)
        except ValueError:
            raise HubError(400, f'"{name}" must be a number') from None
        if number < 0:
            raise HubError(400, f'"{name}" must be greater than or equal to 0')
        return number

    def find_repo(self, type, raw_id):
        """Set `repo` from raw id segments, after the Hub's checks; other spellings are redirected."""
        id = "/".join(unquote(s) for s in raw_id)
        repo = self.store.lookup(type, id)
        if repo is None or not access.can_see(self.token, repo):
            raise access.not_found(self.token, self.quirks)
        if repo.id != id:
            old = "/" + "/".join(raw_id)
            path = self.request.path.replace(old, "/" + quote(repo.id), 1)
            target = path + ("?" + self.request.query if self.request.query else "")
            raise HubError(307, f"Temporary Redirect. Redirecting to {target}", None, [("Location", target)])
        self.repo = repo
        return repo

    def find_commit(self, rev):
        """Set `commit` from a decoded revision."""
        self.commit = self.repo.resolve(rev)
        if self.commit is None:
            raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return self.commit

    def json(self, value, headers=(), status=200):
        """Return a JSON answer."""
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return Response(status, [("Content-Type", "application/json; charset=utf-8"), *headers], body)

    def page(self, items, size, cursor_name="cursor"):
        """Return (items of this page, Link header list) for an offset kept in an opaque cursor."""
        start = self.number(cursor_name, 0) * (size if cursor_name == "p" else 1)
        part = items[start:start + size]
        if start + size >= len(items):
            return part, []
        following = start // size + 1 if cursor_name == "p" else start + size
        kept = [(k, v) for k, v in self.params if k != cursor_name]
        return part, [self.next_link([*kept, (cursor_name, str(following))])]

    def next_link(self, params):
        """Return the Link header which leads to the next page with these parameters."""
        query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in params)
        return "Link", f'<{self.world.public_url}{self.request.path}?{query}>; rel="next"'


def framework_etag(body):
    """Return the weak etag that the Hub's web framework gives to the bodies which it makes itself."""
    return f'W/"{len(body):x}-{base64.b64encode(hashlib.sha1(body).digest()).decode()[:27]}"'


def request_id(request):
    """Return the id of an answer, which is what the client chose or holds what its tracing header says."""
    root = f"Root=1-{secrets.token_hex(4)}-{secrets.token_hex(12)}"
    traced = request.headers.get("x-amzn-trace-id") or secrets.token_hex(16)
    return request.headers.get("x-request-id") or f"{root};{traced}"


def finish(world, context, response):
    """Add the headers that the Hub puts on every answer."""
    request = context.request
    made = isinstance(response.body, bytes) and not response.chunked
    if made and response.get("ETag") is None and not 300 <= response.status < 400:
        etag = framework_etag(response.body)
        response.headers.append(("ETag", etag))
        if response.status == 200 and context.is_api and request.headers.get("if-none-match") == etag:
            response.status, response.body = 304, b""
    kind = "resolvers" if "/resolve/" in request.path or "/resolve-cache/" in request.path else (
        "api" if context.is_api else "pages")
    who = request.headers.get("authorization") or request.peer[0]
    quota, left, reset, enforced = world.count(kind, who, "authorization" in request.headers)
    if enforced and left < 0:
        message = f"We had to rate limit your IP ({request.peer[0]}). To continue using our service, log in."
        response = HubError(429, message, None, [("Retry-After", str(reset))]).response(context.is_api)
        left = 0
    response.headers += [
        ("X-Powered-By", "huggingface-moon"),
        ("X-Request-Id", request_id(request)),
        ("RateLimit", f'"{kind}";r={max(0, left)};t={reset}'),
        ("RateLimit-Policy", f'"fixed window";"{kind}";q={quota};w=300'),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ("Access-Control-Max-Age", "86400"),
        ("Access-Control-Allow-Origin", request.headers.get("origin", "https://huggingface.co")),
        ("Access-Control-Expose-Headers", EXPOSED),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ]
    if response.get("Vary") is None:
        kind = "Origin, Accept" if kind == "resolvers" and response.status < 400 else "Origin"
        response.headers.append(("Vary", kind))
    if world.quirks["set_cookie"]:
        response.headers.append(("Set-Cookie", f"hub-session={secrets.token_hex(16)}; Path=/; HttpOnly; SameSite=Lax"))
    return response
