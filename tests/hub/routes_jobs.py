"""Jobs and scheduled jobs: running, listing, labels, logs and metrics as streams, cancelling.

A job whose command is `sleep` runs until it is cancelled or a test ends it; every other job says that it runs in
the answer which starts it, and has completed when it is next looked at. With the quirk `slow_starts` each is being
scheduled until a test moves it.
"""

import re
import time

from . import events, rights, spaces
from .access import HubError
from .routes_spaces import hardware_list
from .store import iso, object_id

SPEC = ("dockerImage", "spaceId", "command", "arguments", "environment", "flavor", "labels", "volumes", "expose",
        "network", "arch", "tags")
ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
STAGES = ("SCHEDULING", "RUNNING", *ENDED)


def owner(ctx, namespace):
    """Return the user or organization that a job belongs to."""
    mine = ctx.token is not None and ctx.token.user == namespace
    kind = "user" if mine else "org"
    return {"id": object_id(f"{kind}:{namespace}"), "name": namespace, "type": kind}


def checked(given):
    """Return what a job description keeps; refuse one that cannot run."""
    if bool(given.get("dockerImage")) == bool(given.get("spaceId")):
        raise HubError(400, 'exactly one of "dockerImage" and "spaceId" is required')
    command, flavor = rights.required(given, "command", "flavor")
    if not isinstance(command, list) or not command:
        raise HubError(400, '"command" must be a list of words')
    if flavor not in spaces.HARDWARE:
        raise HubError(400, f'"flavor" must be one of [{", ".join(spaces.HARDWARE)}]')
    spec = {k: given[k] for k in SPEC if given.get(k) is not None}
    spec["labels"] = labels(given.get("labels") or {})
    if given.get("secrets"):
        spec["secrets"] = {name: {} for name in given["secrets"]}
    for name, to in (("timeoutSeconds", "timeout"), ("timeout", "timeout"), ("attempts", "retry")):
        if given.get(name) is not None:
            spec[to] = given[name]
    return spec


def labels(given):
    """Return labels if they are names with short texts."""
    if not isinstance(given, dict) or not all(isinstance(v, str) and len(v) <= 100 for v in given.values()):
        raise HubError(400, '"labels" must be an object of texts of at most 100 characters')
    return given


def start(ctx, namespace, spec):
    """Start a job of the caller; return (its document, the document as it was when it started)."""
    by = {"type": "user", "id": object_id("user:" + ctx.token.user), "name": ctx.token.user}
    return begin(ctx.world, namespace, spec, owner(ctx, namespace), by)


def begin(world, namespace, spec, owned, by):
    """Start a job; return (its document, the document as it was when it started)."""
    store, slow = world.store, world.quirks["slow_starts"]
    number = len(store.jobs) + 1
    now = iso(time.time())
    stays = spec["command"][0] == "sleep"
    job = {"id": object_id(f"job:{number}"), "createdAt": now, "startedAt": now, **spec, "owner": owned,
           "status": {"stage": "SCHEDULING" if slow else "RUNNING", "message": None, "failureCount": 0},
           "initiator": by}
    if "expose" in spec:
        ports = [*spec["expose"].get("ports", []), *spec["expose"].get("portsPublic", [])]
        job["status"]["exposeUrls"] = [f"https://{job['id']}--{port}.hf.jobs" for port in ports]
    begun = {**job, "status": dict(job["status"])}
    logs = events.Feed([spaces.line(f"===== Job started at {now} ====="), spaces.line(" ".join(spec["command"]))])
    metrics = events.Feed([{"cpu_usage_pct": 1, "cpu_millicores": 2000, "memory_used_bytes": 1 << 20,
                            "memory_total_bytes": 16 << 30, "rx_bps": 0, "tx_bps": 0, "gpus": {}, "replica": "57vr7"}])
    store.jobs[job["id"]] = {"doc": job, "namespace": namespace, "logs": logs, "metrics": metrics,
                                 "secrets": sorted(spec.get("secrets", {}))}
    if not stays and not slow:
        finish(store.jobs[job["id"]], "COMPLETED")
    return job, begun


def finish(row, stage, message=None):
    """End a job and its streams."""
    row["doc"]["status"].update(stage=stage, message=message)
    row["doc"]["finishedAt"] = iso(time.time())
    row["doc"]["durations"] = {"schedulingSecs": 1, "runningSecs": 1, "totalSecs": 2}
    row["logs"].end()
    row["metrics"].end()


def labelled(ctx, doc_labels):
    """Tell whether labels have all that the query asks for as `label=name=value` or `label=name`."""
    for want in [v for k, v in ctx.params if k == "label"]:
        name, equals, value = want.partition("=")
        if name not in doc_labels or equals and doc_labels[name] != value:
            return False
    return True


def find(ctx, table, namespace, raw, kind):
    """Return the row of an id in the path."""
    row = table.get(raw)
    if row is None or row["namespace"] != namespace:
        raise HubError(404, f"{kind} not found")
    return row


def listing(ctx, namespace):
    """Answer one page of the jobs of a namespace, newest first."""
    stages = [s.upper() for s in ctx.values("stage")]
    if any(s not in STAGES for s in stages):
        raise HubError(400, f'"stage" must be one of [{", ".join(STAGES)}]')
    rows = [r["doc"] for r in ctx.store.jobs.values() if r["namespace"] == namespace
            and (not stages or r["doc"]["status"]["stage"] in stages) and labelled(ctx, r["doc"]["labels"])]
    part, links = ctx.page(rows[::-1], min(ctx.number("limit", 100) or 1, ctx.quirks["list_page_size"]))
    return ctx.json(part, links)


def jobs(ctx, rest):
    """Answer the routes below `/api/jobs`."""
    method = ctx.request.method
    if rest == ["hardware"]:
        return hardware_list(ctx)
    if not rest:
        raise HubError(404, "Not Found")
    namespace, rest = rest[0], rest[1:]
    rights.in_namespace(ctx, namespace)
    if method not in ("GET", "HEAD"):
        rights.writer(ctx)
    if rest == ["count"]:
        running = sum(r["namespace"] == namespace and r["doc"]["status"]["stage"] not in ENDED
                      for r in ctx.store.jobs.values())
        return ctx.json({"count": running})
    if not rest and method == "POST":
        return ctx.json(start(ctx, namespace, checked(rights.body(ctx)))[1])
    if not rest:
        return listing(ctx, namespace)
    row = find(ctx, ctx.store.jobs, namespace, rest[0], "Job")
    return one_job(ctx, namespace, row, method, rest[1:])


def one_job(ctx, namespace, row, method, rest):
    """Answer the routes of one job."""
    doc = row["doc"]
    if not rest and method in ("GET", "HEAD"):
        return ctx.json(doc)
    if method == "GET" and rest in (["logs"], ["metrics"]):
        return events.answer(ctx, row[rest[0]])
    if method == "GET" and rest == ["events"]:
        return events.answer(ctx, events.Feed([{"type": "status", "status": doc["status"]}], ended=True))
    if method == "POST" and rest == ["cancel"]:
        if doc["status"]["stage"] not in ENDED:
            finish(row, "CANCELED", "Job was canceled")
        return ctx.json(doc)
    if method == "POST" and rest == ["duplicate"]:
        return ctx.json(start(ctx, namespace, {k: v for k, v in doc.items() if k in (*SPEC, "secrets", "timeout")})[1])
    if method == "POST" and len(rest) == 2 and rest[0] == "auth-check":
        return ctx.json({"success": True})
    if method == "PUT" and rest == ["labels"]:
        doc["labels"] = labels(rights.required(rights.body(ctx), "labels")[0])
        return ctx.json(doc)
    if method == "PUT" and rest == ["expose"]:
        doc["expose"] = rights.body(ctx)
        return ctx.json(doc)
    raise HubError(404, "Not Found")


ALIASES = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually")


def schedule(given):
    """Return a schedule if it is one of the known words or five fields of cron."""
    value = rights.text(given, "schedule", 100)
    if value not in ALIASES and not re.fullmatch(r"([\d*/,\-]+\s+){4}[\d*/,\-]+", value):
        raise HubError(400, f'"schedule" must be one of [{", ".join(ALIASES)}] or a CRON expression')
    return value


def scheduled_jobs(ctx, rest):
    """Answer the routes below `/api/scheduled-jobs`."""
    method, table = ctx.request.method, ctx.store.scheduled_jobs
    if not rest:
        raise HubError(404, "Not Found")
    namespace, rest = rest[0], rest[1:]
    rights.in_namespace(ctx, namespace)
    if method not in ("GET", "HEAD"):
        rights.writer(ctx)
    if not rest and method == "POST":
        return create_scheduled(ctx, namespace)
    if not rest:
        rows = [r["doc"] for r in table.values()
                if r["namespace"] == namespace and labelled(ctx, r["doc"]["jobSpec"]["labels"])]
        return ctx.json(rows)
    row = find(ctx, table, namespace, rest[0], "Scheduled Job")
    if not rest[1:] and method in ("GET", "HEAD"):
        return ctx.json(row["doc"])
    if not rest[1:] and method == "DELETE":
        del table[rest[0]]
        return ctx.json({"success": True})
    return change_scheduled(ctx, namespace, row["doc"], method, rest[1:])


def create_scheduled(ctx, namespace):
    """Create a scheduled job."""
    given = rights.body(ctx)
    spec, = rights.required(given, "jobSpec")
    ctx.store.scheduled_count += 1
    doc = {"id": object_id(f"scheduled-job:{ctx.store.scheduled_count}"), "createdAt": iso(time.time()),
           "jobSpec": checked(spec), "schedule": schedule(given), "suspend": bool(given.get("suspend")),
           "concurrency": bool(given.get("concurrency")), "owner": owner(ctx, namespace),
           "status": {"lastJob": None, "nextJobRunAt": iso(time.time() + 3600)}}
    if doc["suspend"]:
        doc["status"]["nextJobRunAt"] = None
    ctx.store.scheduled_jobs[doc["id"]] = {"doc": doc, "namespace": namespace}
    return ctx.json(doc)


def run_scheduled(world, row):
    """Start a job because its schedule says so; return its document."""
    doc = row["doc"]
    job, _ = begin(world, row["namespace"], dict(doc["jobSpec"]), doc["owner"],
                   {"type": "scheduled-job", "id": doc["id"]})
    doc["status"].update(lastJob={"id": job["id"], "at": job["createdAt"]}, nextJobRunAt=iso(time.time() + 3600))
    return job


def change_scheduled(ctx, namespace, doc, method, rest):
    """Answer the changes of one scheduled job."""
    if method == "POST" and rest in (["suspend"], ["resume"]):
        doc["suspend"] = rest == ["suspend"]
        doc["status"]["nextJobRunAt"] = None if doc["suspend"] else iso(time.time() + 3600)
    elif method == "POST" and rest == ["run"]:
        job, begun = start(ctx, namespace, dict(doc["jobSpec"]))
        doc["status"]["lastJob"] = {"id": job["id"], "at": job["createdAt"]}
        return ctx.json(begun)
    elif method == "POST" and rest == ["schedule"]:
        doc["schedule"] = schedule(rights.body(ctx))
    elif method == "PUT" and rest == ["labels"]:
        doc["jobSpec"]["labels"] = labels(rights.required(rights.body(ctx), "labels")[0])
    else:
        raise HubError(404, "Not Found")
    return ctx.json(doc)
