"""Who asks, what they may see, and the Hub's way to say no."""

import base64
import json

from .wire import Response


class HubError(Exception):
    """An answer that is an error (or a redirect), raised where it is found."""

    def __init__(self, status, message, code=None, headers=()):
        """Keep the parts of the answer."""
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, list(headers)

    def response(self, is_api):
        """Return the answer: JSON for the API, plain text for file routes, the message in a header for both."""
        headers = list(self.headers)
        if self.code:
            headers.append(("X-Error-Code", self.code))
        if self.status >= 400:
            headers.append(("X-Error-Message", self.message.encode("ascii", "replace").decode()))
        if self.status == 401:
            headers.append(("WWW-Authenticate", 'Bearer realm="Authentication required", charset="UTF-8"'))
        if is_api and self.status >= 400:
            headers.append(("Content-Type", "application/json; charset=utf-8"))
            body = json.dumps({"error": self.message}).encode()
        else:
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
            body = self.message.encode()
        return Response(self.status, headers, body)


def bearer(request):
    """Return the token of a request, taken from Bearer or Basic credentials, or None."""
    value = request.headers.get("authorization")
    if value is None:
        return None
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest).decode().partition(":")
        except ValueError:
            return ""
        return password or user
    return ""


def principal(store, request):
    """Return the Token of a request or None; a token that is unknown or revoked is refused outright."""
    value = bearer(request)
    if value is None:
        return None
    token = store.tokens.get(value)
    if token is None or token.revoked:
        raise HubError(401, "Invalid credentials in Authorization header")
    return token


def in_scope(token, repo):
    """Tell whether a fine-grained token covers a repository."""
    return token.repos is None or repo.id in token.repos


def can_see(token, repo):
    """Tell whether the caller may know that the repository exists."""
    if not repo.private:
        return True
    if token is None or not in_scope(token, repo):
        return False
    return repo.author == token.user or repo.author in token.orgs or token.user in repo.grants


def can_read_files(token, repo):
    """Tell whether the caller may read file contents of a repository that they can see."""
    if not repo.gated:
        return True
    if token is None or not in_scope(token, repo):
        return False
    return repo.author == token.user or repo.author in token.orgs or token.user in repo.grants


def not_found(token, quirks):
    """Return the error for a repository that is missing or hidden."""
    if token is None:
        code = "RepoNotFound" if quirks["repo_not_found_code_on_401"] else None
        return HubError(401, "Invalid username or password.", code)
    return HubError(404, "Repository not found", "RepoNotFound")


def check_gate(token, repo):
    """Refuse when the repository is gated and the caller is not on the list."""
    if can_read_files(token, repo):
        return
    kind = repo.type[:-1]
    if token is None:
        raise HubError(
            401,
            f"Access to {kind} {repo.id} is restricted. You must have access to it and be authenticated to access it."
            " Please log in.",
            "GatedRepo",
        )
    raise HubError(
        403,
        f"Access to {kind} {repo.id} is restricted and you are not in the authorized list. Visit"
        f" https://huggingface.co/{repo.prefix}{repo.id} to ask for access.",
        "GatedRepo",
    )


def check_disabled(repo):
    """Refuse when the repository has been disabled by the Hub."""
    if repo.disabled:
        raise HubError(403, "Access to this resource is disabled.", "DisabledRepo")
