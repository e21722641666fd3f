"""The inference endpoints API, its catalog, and the endpoints themselves.

The API is `/v2`. The catalog is `/api/catalog` for huggingface_hub 0.x and 1.x and `/api/v1/catalog` for 2.x. An
endpoint that runs answers at `/run/{namespace}/{name}`.
"""

import copy
import json
import time
from urllib.parse import unquote

from . import access, rights
from .access import HubError
from .context import Context
from .store import iso, object_id
from .wire import Response

TYPES = ("public", "authenticated", "protected", "private")


def status(ctx, key, state):
    """Return what the API says about the life of an endpoint; only one that runs has an address."""
    doc = ctx.store.endpoints.get(key)
    now, who = iso(time.time()), {"id": object_id("user:" + ctx.token.user), "name": ctx.token.user}
    old = doc["status"] if doc else {"createdAt": now, "createdBy": who}
    running = state == "running"
    out = {"createdAt": old["createdAt"], "createdBy": old["createdBy"], "updatedAt": now, "updatedBy": who,
           "private": None, "state": state, "message": f"Endpoint is {state}", "readyReplica": int(running),
           "targetReplica": int(running)}
    if running:
        out["url"] = f"{ctx.world.endpoints_url}/run/{key[0]}/{key[1]}"
    return out


def reached(ctx, start):
    """Return the state in which an endpoint is when it is next looked at; `start` says how it begins."""
    return start if ctx.quirks["slow_starts"] else "running"


def create(ctx, namespace, given):
    """Create an endpoint; the answer still shows it pending, and it runs when it is next looked at."""
    name = rights.text(given, "name", 32)
    compute, model, provider, kind = rights.required(given, "compute", "model", "provider", "type")
    rights.required(compute, "accelerator", "instanceSize", "instanceType", "scaling")
    repository, _ = rights.required(model, "repository", "framework")
    if kind not in TYPES:
        raise HubError(400, f"type must be one of {', '.join(TYPES)}")
    repo = ctx.store.lookup("models", repository)
    if repo is None or not access.can_see(ctx.token, repo):
        raise HubError(400, f"Model repository {repository} not found")
    key = (namespace, name)
    if key in ctx.store.endpoints:
        raise HubError(409, f"Endpoint {name} already exists")
    doc = {k: v for k, v in given.items() if k in ("compute", "provider", "type", "route", "cacheHttpResponses",
                                                   "tags", "privateService", "accountId") and v is not None}
    doc.update(name=name, healthRoute="/health", model={
        "task": None, "revision": None, "image": {"huggingface": {}}, **without_secrets(model)})
    doc["model"]["revision"] = model.get("revision") or (repo.head().sha if repo.head() else None)
    doc["model"]["task"] = model.get("task") or "text-generation"
    doc["status"] = status(ctx, key, reached(ctx, "pending"))
    ctx.store.endpoints[key] = doc
    return {**doc, "status": status(ctx, key, "pending")}


def without_secrets(model):
    """Return the model part as it may be shown: with the names of its secrets only."""
    out = copy.deepcopy(model)
    if "secrets" in out:
        out["secrets"] = {name: "" for name in out["secrets"]}
    return out


def merge(into, changes):
    """Merge the changed parts into a document."""
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict) and name not in ("image", "env", "secrets"):
            merge(into[name], value)
        else:
            into[name] = value


def one(ctx, key, rest):
    """Answer the routes of one endpoint."""
    method, doc = ctx.request.method, ctx.store.endpoints.get(key)
    if doc is None:
        raise HubError(404, f"Endpoint {key[1]} not found")
    if not rest and method in ("GET", "HEAD"):
        return ctx.json(doc)
    rights.writer(ctx)
    if not rest and method == "DELETE":
        del ctx.store.endpoints[key]
        return ctx.json({})
    state = doc["status"]["state"]
    if not rest and method == "PUT":
        given = rights.body(ctx)
        if "model" in given:
            given["model"] = without_secrets(given["model"])
        merge(doc, {k: v for k, v in given.items() if k not in ("name", "status")})
        shown = "updating" if state == "running" else state
        doc["status"] = status(ctx, key, shown if ctx.quirks["slow_starts"] else state)
        return ctx.json({**doc, "status": status(ctx, key, shown)}, status=202)
    if method == "POST" and rest in (["pause"], ["scale-to-zero"]):
        doc["status"] = status(ctx, key, "paused" if rest == ["pause"] else "scaledToZero")
        return ctx.json(doc)
    if method == "POST" and rest == ["resume"]:
        if state == "running":
            raise HubError(400, "Bad Request: the endpoint is already running")
        doc["status"] = status(ctx, key, reached(ctx, "initializing"))
        return ctx.json({**doc, "status": status(ctx, key, "initializing")})
    raise HubError(404, "Not Found")


def hardware(ctx):
    """Answer where an endpoint can run and on what."""
    compute = {"id": "aws-us-east-1-intel-spr-x1", "accelerator": "cpu", "instanceType": "intel-spr",
               "instanceSize": "x1", "architecture": "Intel Sapphire Rapids", "numAccelerators": 1, "numCpus": 1,
               "memoryGb": 2, "gpuMemoryGb": None, "pricePerHour": 0.033, "status": "available",
               "quota": {"maxAccelerators": 64, "usedAccelerators": len(ctx.store.endpoints)}}
    return ctx.json({"vendors": [{"name": "aws", "status": "available", "regions": [
        {"name": "us-east-1", "label": "N. Virginia", "status": "available", "computes": [compute]}]}]})


def recipes(ctx):
    """Return the models of the catalog: the public ones that generate text."""
    return [r for (kind, _), r in sorted(ctx.store.repos.items())
            if kind == "models" and r.extra.get("catalog") and not r.private]


def deploy(ctx, namespace, repository, name):
    """Create an endpoint as the catalog describes it."""
    rights.namespace_writer(ctx, namespace)
    if not any(r.id == repository for r in recipes(ctx)):
        raise HubError(404, f"{repository} is not in the catalog")
    name = name or repository.rpartition("/")[2].lower()[:28] + "-ctl"
    return ctx.json({"endpoint": create(ctx, namespace, {
        "name": name, "type": "authenticated", "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {"accelerator": "gpu", "instanceSize": "x1", "instanceType": "nvidia-a10g",
                    "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}},
        "model": {"repository": repository, "framework": "pytorch", "task": "text-generation"}})})


def catalog(ctx, rest):
    """Answer the catalog of both generations of clients."""
    method = ctx.request.method
    rights.login(ctx)
    if method in ("GET", "HEAD") and rest == ["repo-list"]:
        return ctx.json({"models": [r.id for r in recipes(ctx)]})
    if method in ("GET", "HEAD") and rest == ["list"]:
        words = (ctx.param("search") or "").lower()
        rows = [r for r in recipes(ctx) if words in r.id.lower()][:ctx.number("limit", 100)]
        return ctx.json({"items": [{
            "repoId": r.id, "modelName": r.id.rpartition("/")[2], "authorName": r.author, "license": "mit",
            "task": "text-generation", "createdAt": iso(r.created), "recipes": [{
                "publicId": object_id("recipe:" + r.id), "accelerator": "gpu", "engineType": "vllm",
                "ggufFile": None, "revision": None}]} for r in rows]})
    if method == "POST":
        given = rights.body(ctx)
        namespace = rights.text(given, "namespace")
        name = given.get("endpointName") or given.get("config", {}).get("name")
        if rest == ["deploy"]:
            return deploy(ctx, namespace, rights.text(given, "repoId"), name)
        if len(rest) == 3 and rest[0] == "recipe" and rest[2] == "deploy":
            found = next((r.id for r in recipes(ctx) if object_id("recipe:" + r.id) == rest[1]), "this recipe")
            return deploy(ctx, namespace, found, name)
        if len(rest) in (3, 4) and rest[0] == "model" and rest[-1] == "deploy":
            return deploy(ctx, namespace, "/".join(rest[1:-1]), name)
    raise HubError(404, "Not Found")


def api(ctx, rest):
    """Answer the routes below `/v2`; other people's namespaces are refused with 401, as clients expect."""
    if rest[:1] == ["provider"] and len(rest) == 2:
        rights.in_namespace(ctx, rest[1], 401)
        return hardware(ctx)
    if rest[:1] != ["endpoint"] or len(rest) < 2:
        raise HubError(404, "Not Found")
    namespace, rest = rest[1], rest[2:]
    rights.in_namespace(ctx, namespace, 401)
    if not rest and ctx.request.method in ("GET", "HEAD"):
        return ctx.json({"items": [d for (ns, _), d in ctx.store.endpoints.items() if ns == namespace]})
    if not rest and ctx.request.method == "POST":
        rights.writer(ctx)
        return ctx.json(create(ctx, namespace, rights.body(ctx)), status=202)
    if not rest:
        raise HubError(404, "Not Found")
    return one(ctx, (namespace, rest[0]), rest[1:])


def run(ctx, rest):
    """Answer as a running endpoint does: its health, and whatever else it is asked."""
    doc = ctx.store.endpoints.get(tuple(rest[:2]))
    if doc is None or doc["status"]["state"] != "running":
        raise HubError(503, "Service Unavailable")
    if doc["type"] != "public":
        rights.login(ctx)
    if rest[2:] == ["health"]:
        return Response(200, [("Content-Type", "text/plain")], b"")
    return ctx.json([{"generated_text": "an answer"}])


def endpoints(world, request):
    """Answer a request at the endpoints origin."""
    ctx = Context(world, request)
    try:
        ctx.token = access.principal(world.store, request)
        raw = [unquote(s) for s in ctx.raw]
        with world.store.lock:
            if raw[:1] == ["v2"]:
                return api(ctx, raw[1:])
            if raw[:1] == ["run"]:
                return run(ctx, raw[1:])
            if raw[:2] == ["api", "catalog"]:
                return catalog(ctx, raw[2:])
            if raw[:3] == ["api", "v1", "catalog"]:
                return catalog(ctx, raw[3:])
        raise HubError(404, "Not Found")
    except HubError as e:
        body = json.dumps({"error": e.message}).encode()
        return Response(e.status, [("Content-Type", "application/json"), *e.headers], body)
