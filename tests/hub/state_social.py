"""The social and operational part of the Hub's state as data, without times, shas and ids made by the Hub."""

from . import spaces as made


def discussions(store):
    """Return every discussion with what was said and done in it."""
    def told(e):
        data = e["data"]
        what = {"comment": lambda: {"text": data["latest"]["raw"], "edited": data["edited"], "hidden": data["hidden"]},
                "status-change": lambda: {"status": data["status"]},
                "title-change": lambda: {"from": data["from"], "to": data["to"]}}.get(e["type"], dict)()
        return {"type": e["type"], "author": e["author"]["name"], **what}

    out = {}
    for (type, id), repo in sorted(store.repos.items()):
        rows = [{"num": d["num"], "title": d["title"], "status": d["status"], "author": d["author"]["name"],
                 "pullRequest": d["isPullRequest"], "pinned": d.get("pinned", False),
                 "merged": "mergeCommitId" in d.get("changes", {}), "events": [told(e) for e in d["events"]]}
                for d in repo.discussions if not d.get("deleted")]
        if rows:
            out[f"{type}/{id}"] = rows
    return {"discussions": out}


def collections(store):
    """Return every collection with its items."""
    return {"collections": [{
        **{k: c[k] for k in ("title", "description", "private", "theme", "position")}, "owner": c["owner"]["name"],
        "items": [{"type": i["type"], "id": i.get("slug", i["id"]).rpartition("-")[0] if "slug" in i else i["id"],
                   "note": (i.get("note") or {}).get("text")} for i in c["items"]]}
        for c in sorted(store.collections, key=lambda c: c["slug"])]}


def webhooks(store):
    """Return the webhooks of every user."""
    return {"webhooks": {user: [{k: v for k, v in hook.items() if k != "id"} for hook in table.values()]
                         for user, table in sorted(store.webhooks.items()) if table}}


def access_requests(store):
    """Return who has asked for access to what, and who may read what."""
    out = {}
    for (type, id), repo in sorted(store.repos.items()):
        rows = {u: {k: r.get(k) for k in ("status", "fields", "rejectionReason")}
                for u, r in repo.extra.get("access_requests", {}).items()}
        if rows or repo.grants:
            out[f"{type}/{id}"] = {"requests": rows, "grants": sorted(repo.grants)}
    return {"access_requests": out}


def spaces(store):
    """Return the settings of every Space; one at which nobody has looked yet has those that it would show."""
    out = {}
    for (type, id), repo in sorted(store.repos.items()):
        if type == "spaces":
            s = made.state(repo)
            kept = {k: v for k, v in s.items() if k not in ("build", "run", "secrets", "variables")}
            for kind in ("secrets", "variables"):
                kept[kind] = {k: {n: v for n, v in row.items() if n != "updatedAt"} for k, row in s[kind].items()}
            out[id] = kept
    return {"spaces": out}


def jobs(store):
    """Return every job and every scheduled job."""
    def plain(doc):
        return {k: v for k, v in doc.items()
                if k in ("dockerImage", "spaceId", "command", "arguments", "environment", "flavor", "labels", "volumes",
                         "expose", "secrets", "timeout", "retry")}

    return {
        "jobs": [{**plain(r["doc"]), "namespace": r["namespace"], "stage": r["doc"]["status"]["stage"]}
                 for r in store.jobs.values()],
        "scheduled_jobs": [{"jobSpec": plain(r["doc"]["jobSpec"]), "namespace": r["namespace"],
                            "ran": r["doc"]["status"]["lastJob"] is not None,
                            **{k: r["doc"][k] for k in ("schedule", "suspend", "concurrency")}}
                           for r in store.scheduled_jobs.values()]}


def endpoints(store):
    """Return every inference endpoint."""
    out = {}
    for (namespace, name), doc in sorted(store.endpoints.items()):
        kept = {k: v for k, v in doc.items() if k != "status"}
        kept["model"] = {k: v for k, v in doc["model"].items() if k != "revision"}
        out[f"{namespace}/{name}"] = {**kept, "state": doc["status"]["state"]}
    return {"endpoints": out}


def people(store):
    """Return who follows whom, what they want to hear of, and what they have not yet read."""
    return {
        "follows": sorted(map(list, store.follows)), "preferences": store.preferences,
        "notifications": {user: sorted([*key, row["read"]] for key, row in table.items())
                          for user, table in sorted(store.notifications.items()) if table}}


SECTIONS = [discussions, collections, webhooks, access_requests, spaces, jobs, endpoints, people]
