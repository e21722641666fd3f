"""Spaces: secrets, variables, hardware, storage, restarts and logs."""

import re

from . import access, events, rights, spaces
from .access import HubError
from .store import object_id


def a_space(ctx):
    """Return the state of the Space; other repositories have none of these routes."""
    if ctx.repo.type != "spaces":
        raise HubError(404, "Not Found")
    return spaces.state(ctx.repo)


def secrets(ctx, rest):
    """Answer the names of the secrets, or set or remove one; their values are never shown."""
    state = a_space(ctx)
    rights.repo_writer(ctx)
    if ctx.request.method in ("GET", "HEAD"):
        return ctx.json({k: {n: v for n, v in row.items() if n != "value"} for k, row in state["secrets"].items()})
    change_setting(ctx, state["secrets"], state["variables"])
    return ctx.json({"success": True})


def variables(ctx, rest):
    """Answer the variables, or set or remove one."""
    state = a_space(ctx)
    if ctx.request.method in ("GET", "HEAD"):
        rights.login(ctx)
    else:
        rights.repo_writer(ctx)
        change_setting(ctx, state["variables"], state["secrets"])
    return ctx.json(state["variables"])


def change_setting(ctx, table, other):
    """Set or remove a secret or variable as the body says; one name cannot be both."""
    given = rights.body(ctx)
    key = rights.text(given, "key", 256)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise HubError(400, '"key" must begin with a letter or underscore and hold only letters, digits, underscores')
    if ctx.request.method == "DELETE":
        table.pop(key, None)
        return
    if ctx.request.method != "POST":
        raise HubError(404, "Not Found")
    if key in other:
        raise HubError(400, f"Collision on variables and secrets names: {key}")
    value, = rights.required(given, "value")
    spaces.setting(table, key, str(value), given.get("description"))


def runtime(ctx, rest):
    """Answer the runtime state."""
    a_space(ctx)
    return ctx.json(spaces.runtime(ctx.repo))


def posted(ctx):
    """Return (state, body) of a change that is always a POST."""
    if ctx.request.method != "POST":
        raise HubError(404, "Not Found")
    state = a_space(ctx)
    rights.repo_writer(ctx)
    return state, rights.body(ctx)


def hardware(ctx, rest):
    """Change the machine; the answer still shows the old one as the current one."""
    state, given = posted(ctx)
    flavor, = rights.required(given, "flavor")
    old = state["hardware"]
    spaces.configure(ctx.repo, hardware=flavor, sleep=given.get("sleepTimeSeconds"))
    return ctx.json(spaces.runtime(ctx.repo, current=old))


def sleeptime(ctx, rest):
    """Change after how many idle seconds the Space sleeps."""
    _, given = posted(ctx)
    seconds, = rights.required(given, "seconds")
    spaces.configure(ctx.repo, sleep=seconds)
    return ctx.json(spaces.runtime(ctx.repo))


def pause(ctx, rest):
    """Stop the Space until it is restarted."""
    state, _ = posted(ctx)
    if state["stage"] == "PAUSED":
        raise HubError(400, "The Space is already paused")
    state["stage"] = "PAUSED"
    return ctx.json(spaces.runtime(ctx.repo))


def restart(ctx, rest):
    """Start the Space again; the answer shows it building, and it runs when it is next looked at."""
    state, _ = posted(ctx)
    factory = ctx.flag("factory")
    shown = "BUILDING" if factory else "RUNNING_BUILDING"
    state["stage"] = shown if ctx.quirks["slow_starts"] else "RUNNING"
    state["factory_restarts" if factory else "restarts"] += 1
    return ctx.json(spaces.runtime(ctx.repo, stage=shown))


def storage(ctx, rest):
    """Add persistent storage, which cannot be made smaller again, or remove it with what it holds."""
    if ctx.request.method == "DELETE":
        state = a_space(ctx)
        rights.repo_writer(ctx)
        if state["storage"] is None:
            raise HubError(400, "The Space has no persistent storage")
        state["storage"] = None
        return ctx.json(spaces.runtime(ctx.repo))
    state, given = posted(ctx)
    tier, = rights.required(given, "tier")
    if state["storage"] and tier in spaces.TIERS[:spaces.TIERS.index(state["storage"])]:
        raise HubError(400, "Persistent storage cannot be made smaller")
    spaces.configure(ctx.repo, storage=tier)
    return ctx.json(spaces.runtime(ctx.repo))


def volumes(ctx, rest):
    """Mount repositories and buckets into the Space, or unmount them all."""
    state = a_space(ctx)
    rights.repo_writer(ctx)
    if ctx.request.method == "DELETE":
        state["volumes"] = None
    elif ctx.request.method == "PUT":
        rows, = rights.required(rights.body(ctx), "volumes")
        for row in rows:
            rights.required(row, "type", "source", "mountPath")
        state["volumes"] = rows
    else:
        raise HubError(404, "Not Found")
    return ctx.json(spaces.runtime(ctx.repo))


def dev_mode(ctx, rest):
    """Switch the development mode on or off."""
    state, given = posted(ctx)
    enabled, = rights.required(given, "enabled")
    state["dev_mode"] = bool(enabled)
    return ctx.json(spaces.runtime(ctx.repo))


def logs(ctx, rest):
    """Stream the log of the build or of the running Space to those who may write to it."""
    state = a_space(ctx)
    rights.repo_writer(ctx)
    if rest not in (["build"], ["run"]):
        raise HubError(404, "Not Found")
    return events.answer(ctx, state[rest[0]])


def happenings(ctx, rest):
    """Stream the runtime state as it is now."""
    a_space(ctx)
    return events.answer(ctx, events.Feed([{"type": "runtime", "runtime": spaces.runtime(ctx.repo)}], ended=True))


def metrics(ctx, rest):
    """Stream one measurement of the running Space."""
    a_space(ctx)
    rights.repo_writer(ctx)
    row = {"replica": object_id(ctx.repo.id)[:5], "cpu_usage_pct": 1.5, "memory_used_bytes": 1 << 28,
           "memory_total_bytes": 16 << 30, "rx_bps": 0, "tx_bps": 0, "gpus": {}}
    return events.answer(ctx, events.Feed([row], ended=True))


def jwt(ctx, rest):
    """Answer a token by which a browser enters a private Space."""
    a_space(ctx)
    rights.login(ctx)
    return ctx.json({"token": "jwt-" + object_id(f"{ctx.token.user}:{ctx.repo.id}")})


def resource_group(ctx, rest):
    """Answer that the repository belongs to no group of its organization."""
    rights.repo_writer(ctx)
    return ctx.json({"resourceGroup": None})


def hardware_list(ctx):
    """Answer the machines on which Spaces and jobs can run, with their prices."""
    return ctx.json([{
        "name": name, "prettyName": pretty, "cpu": cpu, "ram": ram, "ephemeralStorage": "50 GB", "accelerator": None,
        "unitCostMicroUSD": cost, "unitCostUSD": cost / 1e6, "unitLabel": "minute",
    } for name, (pretty, cpu, ram, cost) in spaces.HARDWARE.items()])


def templates(ctx):
    """Answer the Spaces from which a new one may be begun."""
    return ctx.json({"templates": [{"name": "Streamlit", "repoId": "streamlit/streamlit-template-space",
                                    "sdk": "docker", "preferredPrivate": False}]})


def quota(ctx):
    """Answer how much shared GPU time the caller has left today."""
    rights.login(ctx)
    return ctx.json({"base": 240.0, "current": 200.0, "resetsAt": None, "overquotaUsed": None})


def search(ctx):
    """Answer the Spaces whose names hold a word of the query."""
    words = (ctx.param("q") or "").lower().split()
    rows = []
    for (kind, id), repo in sorted(ctx.store.repos.items()):
        if kind == "spaces" and access.can_see(ctx.token, repo) and any(w in id.lower() for w in words):
            rows.append({"id": id, "author": repo.author, "title": id.rpartition("/")[2], "emoji": None,
                         "sdk": repo.extra.get("sdk", "gradio"), "likes": repo.likes, "private": repo.private,
                         "tags": [], "runtime": spaces.runtime(repo), "ai_short_description": None,
                         "ai_category": None, "semanticRelevancyScore": 1.0, "trendingScore": 0})
    return ctx.json(rows)


FIXED = {"hardware": hardware_list, "templates": templates, "semantic-search": search, "zero-gpu/quota": quota}
VERBS = {
    "secrets": secrets, "variables": variables, "runtime": runtime, "hardware": hardware, "sleeptime": sleeptime,
    "pause": pause, "restart": restart, "storage": storage, "volumes": volumes, "dev-mode": dev_mode, "logs": logs,
    "events": happenings, "metrics": metrics, "jwt": jwt, "resource-group": resource_group,
}
