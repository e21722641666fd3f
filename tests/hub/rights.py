"""Who may write: the questions that the handlers of writes ask before they change anything."""

import json

from .access import HubError


def login(ctx):
    """Return the caller's token; refuse anonymous callers."""
    if ctx.token is None:
        raise HubError(401, "Invalid username or password.")
    return ctx.token


def writer(ctx):
    """Return the caller's token; refuse those that may only read."""
    token = login(ctx)
    if token.role != "write":
        raise HubError(403, "Forbidden: this token does not have the right to write")
    return token


def owns(token, namespace):
    """Tell whether a namespace is the caller's own or that of one of their organizations."""
    return token is not None and namespace in [token.user, *token.orgs]


def in_namespace(ctx, namespace, status=403):
    """Return the caller's token; refuse those who do not belong to a user or organization."""
    token = login(ctx)
    if not owns(token, namespace):
        raise HubError(status, f"Forbidden: you do not have access to {namespace}")
    return token


def namespace_writer(ctx, namespace):
    """Return the caller's token; refuse those who may not write in a namespace."""
    writer(ctx)
    return in_namespace(ctx, namespace)


def may_write(token, repo):
    """Tell whether a token may change a repository."""
    covered = token is not None and (token.repos is None or repo.id in token.repos)
    return covered and token.role == "write" and owns(token, repo.author)


def repo_writer(ctx):
    """Return the caller's token; refuse those who may not change the repository."""
    token = login(ctx)
    if not may_write(token, ctx.repo):
        raise HubError(403, f"Forbidden: you do not have write access to {ctx.repo.id}")
    return token


def body(ctx):
    """Return the JSON object in the request; an empty body is an empty object."""
    try:
        value = json.loads(ctx.request.body or b"{}")
    except ValueError:
        raise HubError(400, "Invalid JSON in the body") from None
    if not isinstance(value, dict):
        raise HubError(400, "The body must be a JSON object")
    return value


def required(given, *names):
    """Return the values of fields that must be present, in order; the Hub names what is missing."""
    for name in names:
        if given.get(name) is None:
            raise HubError(400, f'"{name}" is required')
    return [given[name] for name in names]


def text(given, name, most=65536):
    """Return a field that must be text with something in it."""
    value, = required(given, name)
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise HubError(400, f'"{name}" must be text of 1 to {most} characters')
    return value
