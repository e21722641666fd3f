"""One part of the social and operational HfApi, called as users call it; prints what came back as JSON.

Used by test_hub_social.py with huggingface_hub 0.36, 1.x and 2.x. The parts work at the repositories that
the test has made, as the user ann of the organization acme.
"""

import inspect
import json
import os
import sys
import tempfile
import warnings

import huggingface_hub
from huggingface_hub import HfApi, RepoCard, constants

warnings.simplefilter("ignore")
MAJOR = int(huggingface_hub.__version__.split(".")[0])
HUB = os.environ["HF_ENDPOINT"]
# The places that HF_ENDPOINT does not move: module constants, and in 0.36 addresses in the middle of methods.
constants.INFERENCE_ENDPOINTS_ENDPOINT = os.environ["HUB_ENDPOINTS"] + "/v2"
CATALOG = "/api/v1/catalog" if MAJOR > 1 else "/api/catalog"
constants.INFERENCE_CATALOG_ENDPOINT = os.environ["HUB_ENDPOINTS"] + CATALOG
constants.DATASETS_SERVER_ENDPOINT = os.environ["HUB_VIEWER"]
constants._HF_DEFAULT_ENDPOINT = HUB
if MAJOR == 0:
    import requests

    class Rewriting(requests.adapters.HTTPAdapter):
        """Sends what is meant for the real Hub to the one for tests."""

        def send(self, request, *args, **more):
            """Change the address and send."""
            request.url = request.url.replace("https://huggingface.co", HUB)
            return super().send(request, *args, **more)

    def backend():
        """Return a session that never leaves this machine."""
        session = requests.Session()
        session.mount("https://huggingface.co", Rewriting())
        return session

    huggingface_hub.configure_http_backend(backend_factory=backend)
api = HfApi()
bob = HfApi(token="hf_bob")


def fails(call, *args, **more):
    """Return the name of the error class and the status of a call that must fail."""
    try:
        value = call(*args, **more)
        if hasattr(value, "__next__"):
            list(value)
    except Exception as e:
        return [type(e).__name__, getattr(getattr(e, "response", None), "status_code", None)]
    return ["nothing raised", None]


def discussions():
    """Open, discuss, change and merge."""
    repo = "acme/talk"
    one = api.create_discussion(repo, "A question", description="Why?")
    pull = api.create_pull_request(repo, "A change", description="Because.", token="hf_bob")
    answer = api.comment_discussion(repo, one.num, "Therefore.")
    edited = api.edit_discussion_comment(repo, one.num, answer.id, "Therefore!")
    other = api.comment_discussion(repo, one.num, "rude", token="hf_bob")
    hidden = api.hide_discussion_comment(repo, one.num, other.id)
    renamed = api.rename_discussion(repo, one.num, "A good question")
    closed = api.change_discussion_status(repo, one.num, "closed", comment="done")
    opened = api.change_discussion_status(repo, pull.num, "open")
    print("COMMIT", flush=True)
    sys.stdin.readline()
    before = api.get_discussion_details(repo, pull.num)
    api.merge_pull_request(repo, pull.num, comment="thanks")
    after = api.get_discussion_details(repo, pull.num)
    details = api.get_discussion_details(repo, one.num)
    listed = {status: [d.num for d in api.get_repo_discussions(repo, discussion_status=status)]
              for status in (None, "open", "closed")}
    return {
        "one": [one.num, one.status, one.is_pull_request, one.author], "url": one.url.removeprefix(HUB),
        "pull": [pull.num, pull.status, pull.git_reference, pull.target_branch, pull.author],
        "answer": [answer.content, answer.author, answer.edited], "edited": [edited.content, edited.edited],
        "edits": [edited.number_of_edits, edited.last_edited_by], "hidden": [hidden.hidden, hidden.content],
        "renamed": [renamed.old_title, renamed.new_title], "closed": closed.new_status, "opened": opened.new_status,
        "before": [before.status, before.conflicting_files, "+from the pull request" in before.diff],
        "after": [after.status, after.merge_commit_oid, [e.type for e in after.events]],
        "details": [details.title, details.status, [e.type for e in details.events]], "listed": listed,
        "pulls": [d.num for d in api.get_repo_discussions(repo, discussion_type="pull_request")],
        "by_bob": [d.num for d in api.get_repo_discussions(repo, author="bob")],
        "main": [c.title for c in api.list_repo_commits(repo)][0],
        "dataset": api.create_discussion("acme/data", "About data", repo_type="dataset").num,
        "fails": [fails(bob.rename_discussion, repo, one.num, "mine now"),
                  fails(bob.merge_pull_request, repo, pull.num),
                  fails(api.merge_pull_request, repo, pull.num), fails(api.get_discussion_details, repo, 99),
                  fails(HfApi(token=False).create_discussion, repo, "x"),
                  fails(HfApi(token="hf_read").create_discussion, repo, "x"),
                  fails(bob.create_discussion, "acme/secret", "x")],
        "attachment": attachment(),
    }


def attachment():
    """Upload an image for a comment, where the client can, and return its address."""
    if not hasattr(api, "upload_attachment"):
        return None
    with tempfile.NamedTemporaryFile(suffix=".png") as f:
        f.write(b"\x89PNG\r\n")
        f.flush()
        return api.upload_attachment(f.name).removeprefix(HUB)


def collections():
    """Make a collection, fill it and remove it."""
    made = api.create_collection("Best of", namespace="acme", description="Our best", private=True)
    again = api.create_collection("Best of", namespace="acme", exists_ok=True)
    added = api.add_collection_item(made.slug, "acme/talk", "model", note="talkative")
    api.add_collection_item(made.slug, "acme/data", "dataset")
    twice = api.add_collection_item(made.slug, "acme/data", "dataset", exists_ok=True)
    api.add_collection_item(made.slug, "1706.03762", "paper")
    api.update_collection_item(made.slug, added.items[0].item_object_id, note="very talkative", position=2)
    moved = api.get_collection(made.slug)
    hidden = [c.slug for c in HfApi(token=False).list_collections(owner="acme")]
    changed = api.update_collection_metadata(made.slug, title="Better", private=False, theme="green", position=1)
    api.delete_collection_item(made.slug, moved.items[1].item_object_id)
    api.delete_collection_item(made.slug, moved.items[1].item_object_id, missing_ok=True)
    if hasattr(api, "update_collection_resource_group"):
        api.update_collection_resource_group(made.slug, None)
    found = [c.title for c in HfApi(token=False).list_collections(owner="acme", item="models/acme/talk")]
    left = [i.item_id for i in api.get_collection(made.slug).items]
    errors = [fails(api.create_collection, "Better", namespace="acme"),
              fails(bob.create_collection, "x", namespace="acme"),
              fails(api.add_collection_item, made.slug, "acme/nothing", "model"),
              fails(api.add_collection_item, made.slug, "acme/talk", "model"),
              fails(bob.delete_collection, made.slug), fails(api.get_collection, "acme/nothing-" + "0" * 24)]
    api.delete_collection(made.slug)
    api.delete_collection(made.slug, missing_ok=True)
    return {
        "made": [made.title, made.private, made.description, made.owner["name"], len(made.items)],
        "same": again.slug == made.slug, "added": [[i.item_id, i.item_type, i.note] for i in added.items],
        "twice": len(twice.items), "moved": [[i.item_id, i.note, i.position] for i in moved.items], "hidden": hidden,
        "changed": [changed.title, changed.private, changed.theme], "found": found, "left": left, "fails": errors,
        "gone": fails(api.get_collection, made.slug),
    }


def webhooks():
    """Make a webhook, change it and remove it."""
    watched = [{"type": "org", "name": "acme"}, {"type": "model", "name": "acme/talk"}]
    made = api.create_webhook(url="https://example.org/hook", watched=watched, domains=["repo"], secret="s3")
    listed = [w.id for w in api.list_webhooks()]
    changed = api.update_webhook(made.id, url="https://example.org/other", watched=watched[:1],
                                 domains=["repo", "discussion"], secret="s4")
    off, on = api.disable_webhook(made.id), api.enable_webhook(made.id)
    got = api.get_webhook(made.id)
    job = api.run_job(image="busybox", command=["true"])
    by_job = None
    if "job_id" in inspect.signature(api.create_webhook).parameters:
        hook = api.create_webhook(job_id=job.id, watched=watched)
        by_job = [hook.url, hook.job.docker_image, hook.job.command]
        api.delete_webhook(hook.id)
    errors = [fails(bob.get_webhook, made.id), fails(api.create_webhook, url="nowhere", watched=watched),
              fails(HfApi(token=False).list_webhooks)]
    api.delete_webhook(made.id)
    return {
        "made": [made.url, made.domains, made.secret, made.disabled, [[w.type, w.name] for w in made.watched]],
        "listed": listed == [made.id], "changed": [changed.url, changed.domains, changed.secret, len(changed.watched)],
        "switched": [off.disabled, on.disabled], "got": got.url, "job": by_job, "fails": errors,
        "gone": fails(api.get_webhook, made.id), "empty": api.list_webhooks(),
    }


def access():
    """Decide about access requests, and see what the user can read then."""
    repo = "acme/closed"

    def readable():
        with tempfile.TemporaryDirectory() as empty:
            return fails(bob.hf_hub_download, repo, "config.json", cache_dir=empty)[0]

    def names(kind):
        return [[r.username, r.status, r.email] for r in getattr(api, f"list_{kind}_access_requests")(repo)]

    steps = [[readable(), names("pending")]]
    api.accept_access_request(repo, "bob")
    steps.append([readable(), names("accepted")])
    api.cancel_access_request(repo, "bob")
    steps.append([readable(), names("pending")])
    api.reject_access_request(repo, "bob", rejection_reason="no")
    steps.append([readable(), names("rejected")])
    if MAJOR > 1:
        request = next(iter(api.list_rejected_access_requests(repo)))
        api.accept_access_request(repo, request_id=request.request_id)
        steps.append([readable(), names("accepted")])
    granted = api.grant_access(repo, "eve")
    fields = next(iter(api.list_accepted_access_requests(repo))).fields
    return {
        "steps": steps, "granted": granted["user"]["user"], "fields": fields,
        "eve": fails(HfApi(token="hf_eve").hf_hub_download, repo, "config.json")[0],
        "fails": [fails(api.grant_access, repo, "eve"), fails(api.grant_access, repo, "nobody"),
                  fails(api.accept_access_request, repo, "ann"), fails(bob.list_pending_access_requests, repo),
                  fails(api.list_pending_access_requests, "acme/talk"),
                  fails(HfApi(token="hf_read").grant_access, repo, "bob")],
    }


def spaces():
    """Change everything about a Space that can be changed."""
    repo, out = "acme/app", {}
    api.add_space_secret(repo, "KEY", "hush", description="a key")
    variables = api.add_space_variable(repo, "MODEL", "acme/talk", description="which")
    got = api.get_space_variables(repo)
    out["variables"] = [[v.key, v.value, v.description] for v in [*variables.values(), *got.values()]]
    if hasattr(api, "get_space_secrets"):
        out["secrets"] = [[s.key, s.description] for s in api.get_space_secrets(repo).values()]
    asked = api.request_space_hardware(repo, "t4-small", sleep_time=600)
    out["hardware"] = shown(asked), shown(api.get_space_runtime(repo))
    out["sleep"] = api.set_space_sleep_time(repo, 900).sleep_time
    if hasattr(api, "request_space_storage"):
        out["storage"] = [api.request_space_storage(repo, "small").storage, api.get_space_runtime(repo).storage,
                          api.delete_space_storage(repo).storage]
    out["paused"] = [shown(api.pause_space(repo)), api.get_space_runtime(repo).stage]
    out["restarted"] = [api.restart_space(repo).stage, api.get_space_runtime(repo).stage]
    out["factory"] = [api.restart_space(repo, factory_reboot=True).stage, api.get_space_runtime(repo).stage]
    out["info"] = api.space_info(repo).runtime.hardware
    if hasattr(api, "enable_space_dev_mode"):
        out["dev"] = [api.enable_space_dev_mode(repo).dev_mode, api.disable_space_dev_mode(repo).dev_mode]
        volume = huggingface_hub.Volume(type="model", source="acme/talk", mount_path="/m")
        api.set_space_volumes(repo, [volume])
        out["volumes"] = [v.source for v in api.get_space_runtime(repo).volumes]
        api.delete_space_volumes(repo)
        out["unmounted"] = api.get_space_runtime(repo).volumes
        out["logs"] = [list(api.fetch_space_logs(repo, build=True))[0], list(api.fetch_space_logs(repo))[0]]
        out["waited"] = api.wait_for_space(repo).stage
        out["machines"] = api.list_spaces_hardware()[0].name
        out["templates"] = api.list_space_templates()[0].name
        out["search"] = [s.id for s in api.search_spaces("app")]
    if hasattr(api, "get_zero_gpu_quota"):
        out["quota"] = api.get_zero_gpu_quota().base
    errors = [fails(bob.add_space_secret, repo, "K", "v"), fails(api.add_space_variable, repo, "KEY", "v"),
              fails(api.request_space_hardware, repo, "abacus"), fails(bob.restart_space, repo),
              fails(HfApi(token=False).pause_space, repo), fails(api.get_space_runtime, "acme/nothing")]
    api.delete_space_secret(repo, "KEY")
    out["emptied"] = api.delete_space_variable(repo, "MODEL")
    return {**out, "fails": errors}


def shown(runtime):
    """Return what matters of a Space's runtime."""
    return [runtime.stage, runtime.hardware, runtime.requested_hardware]


def jobs():
    """Run, watch, schedule and cancel jobs."""
    out = {}
    begun = api.run_job(image="python:3.12", command=["python", "-c", "print(1)"], env={"A": "1"}, secrets={"S": "2"},
                        timeout="5m", flavor="cpu-basic")
    done = api.inspect_job(job_id=begun.id)
    out["job"] = [begun.status.stage, done.status.stage, done.docker_image, done.command, done.environment,
                  done.owner.name, done.url.removeprefix(HUB) == f"/jobs/ann/{done.id}"]
    out["logs"] = list(api.fetch_job_logs(job_id=begun.id))
    in_org = api.run_job(image="hf.co/spaces/acme/app", command=["sleep", "9"], namespace="acme")
    out["space"] = [in_org.space_id, in_org.owner.name, in_org.owner.type]
    api.cancel_job(job_id=in_org.id, namespace="acme")
    out["canceled"] = api.inspect_job(job_id=in_org.id, namespace="acme").status.stage
    out["listed"] = [j.id == in_org.id for j in api.list_jobs(namespace="acme")]
    out["uv"] = api.run_uv_job("https://example.org/script.py", script_args=["--x"]).command[:2]
    planned = api.create_scheduled_job(image="busybox", command=["echo", "hi"], schedule="@hourly")
    api.suspend_scheduled_job(scheduled_job_id=planned.id)
    suspended = api.inspect_scheduled_job(scheduled_job_id=planned.id)
    api.resume_scheduled_job(scheduled_job_id=planned.id)
    resumed = api.inspect_scheduled_job(scheduled_job_id=planned.id)
    out["planned"] = [planned.schedule, planned.suspend, suspended.suspend, resumed.suspend, planned.job_spec.command]
    out["planned_listed"] = planned.id in [s.id for s in api.list_scheduled_jobs()]
    out["planned_uv"] = api.create_scheduled_uv_job("https://example.org/s.py", schedule="0 9 * * 1").schedule
    if MAJOR:
        newer_jobs(out, begun, planned)
    errors = [fails(bob.inspect_job, job_id=begun.id, namespace="ann"), fails(api.inspect_job, job_id="0" * 24),
              fails(api.run_job, image="x", command=["y"], flavor="abacus"),
              fails(api.create_scheduled_job, image="x", command=["y"], schedule="sometimes"),
              fails(HfApi(token="hf_read").run_job, image="x", command=["y"], namespace="ann")]
    api.delete_scheduled_job(scheduled_job_id=planned.id)
    return {**out, "fails": errors, "gone": fails(api.inspect_scheduled_job, scheduled_job_id=planned.id)}


def newer_jobs(out, begun, planned):
    """Do what only 1.x and 2.x can do with jobs."""
    named = api.run_job(image="busybox", command=["sleep", "9"], labels={"team": "red"}, name="nap")
    out["labels"] = [api.update_job_labels(job_id=named.id, labels={"team": "blue"}).labels,
                     [j.id == named.id for j in api.list_jobs(labels={"team": "blue"})],
                     [j.id == named.id for j in api.list_jobs(status="RUNNING")]]
    out["metrics"] = [sorted(m)[0] for m in api.fetch_job_metrics(job_id=begun.id)]
    api.cancel_job(job_id=named.id)
    out["waited"] = api.wait_for_job(named.id).status.stage
    out["tail"] = list(api.fetch_job_logs(job_id=begun.id, tail=1))
    out["machines"] = api.list_jobs_hardware()[0].name
    run = api.trigger_scheduled_job(scheduled_job_id=planned.id)
    last = api.inspect_scheduled_job(scheduled_job_id=planned.id).status.last_job
    out["triggered"] = [run.command, last.id == run.id]
    out["planned_labels"] = api.update_scheduled_job_labels(
        scheduled_job_id=planned.id, labels={"a": "b"}).job_spec.labels
    if MAJOR > 1:
        out["again"] = api.rerun_job(job_id=begun.id).command
        out["rescheduled"] = api.update_scheduled_job_schedule(scheduled_job_id=planned.id, schedule="@daily").schedule
        out["exposed"] = api.update_job_expose(job_id=begun.id, expose=[8000]).expose


def stream():
    """Follow the logs of a job that still runs, line by line."""
    job = api.run_job(image="busybox", command=["sleep", "9"])
    print("JOB", job.id, flush=True)
    out = []
    for line in api.fetch_job_logs(job_id=job.id, **({"follow": True} if MAJOR else {})):
        out.append(line)
        print("LINE", line, flush=True)
    return {"lines": out, "stage": api.inspect_job(job_id=job.id).status.stage}


def endpoints():
    """Deploy a model, change it, stop it, start it, remove it."""
    made = api.create_inference_endpoint(
        "talker", repository="acme/talk", framework="pytorch", accelerator="cpu", instance_size="x1",
        instance_type="intel-spr", region="us-east-1", vendor="aws", task="text-generation", namespace="acme",
        secrets={"S": "hush"}, env={"A": "1"})
    ready = made.wait(timeout=20, refresh_every=1)
    got = api.get_inference_endpoint("talker", namespace="acme")
    changed = api.update_inference_endpoint("talker", namespace="acme", min_replica=0, max_replica=3, tags=["t"])
    still = api.resume_inference_endpoint("talker", namespace="acme")
    strict = fails(api.resume_inference_endpoint, "talker", namespace="acme", running_ok=False)
    paused = api.pause_inference_endpoint("talker", namespace="acme")
    resumed = api.resume_inference_endpoint("talker", namespace="acme")
    asleep = api.scale_to_zero_inference_endpoint("talker", namespace="acme")
    out = {"deployed": api.create_inference_endpoint_from_catalog("acme/talk", name="chosen").name}
    catalog = api.list_inference_catalog()
    out["catalog"] = [m.repo_id for m in catalog] if MAJOR > 1 else catalog
    if MAJOR > 1:
        out["recipe"] = api.create_inference_endpoint_from_catalog(recipe_id=catalog[0].recipes[0].id, name="r").name
        api.delete_inference_endpoint("r", namespace="ann")
    if MAJOR:
        out["machines"] = api.list_inference_endpoints_hardware()[0].instance_type
    everything = sorted(e.name for e in api.list_inference_endpoints(namespace="*"))
    errors = [fails(bob.get_inference_endpoint, "talker", namespace="acme"),
              fails(api.get_inference_endpoint, "nothing", namespace="acme"),
              fails(api.create_inference_endpoint_from_catalog, "acme/data")]
    api.delete_inference_endpoint("chosen")
    api.delete_inference_endpoint("talker", namespace="acme")
    return {
        **out, "made": [made.name, made.repository, made.framework, made.task],
        "ready": [ready.status, bool(ready.url)],
        "got": [got.status, got.raw["model"]["secrets"], got.raw["model"]["env"]],
        "scaling": [changed.raw["compute"]["scaling"]["maxReplica"], changed.raw["compute"]["accelerator"]],
        "still": still.status, "strict": strict, "paused": [paused.status, paused.url], "resumed": resumed.status,
        "asleep": asleep.status, "everything": everything, "fails": errors,
        "left": api.list_inference_endpoints(namespace="acme"),
    }


def people():
    """Look at users, organizations and papers."""
    user = api.get_user_overview("ann")
    out = {
        "user": [user.username, user.num_followers, user.num_following, [o.name for o in user.orgs]],
        "followers": [u.username for u in api.list_user_followers("ann")],
        "following": [u.username for u in api.list_user_following("ann")],
        "members": [u.username for u in api.list_organization_members("acme")],
        "org": [api.get_organization_overview("acme").name, api.get_organization_overview("acme").num_followers],
        "paper": [api.paper_info("1706.03762").title, [p.id for p in api.list_papers(query="attention")]],
        "fails": [fails(api.get_user_overview, "nobody"), fails(api.get_organization_overview, "nothing"),
                  fails(api.paper_info, "0000.00000")],
    }
    if MAJOR != 1:  # 1.x asks the real Hub, whatever its settings are
        out["card"] = RepoCard("---\nlicense: mit\n---\n# Card\n").validate()
    if MAJOR:
        out["org_followers"] = [u.username for u in api.list_organization_followers("acme")]
        out["daily"] = [p.title for p in api.list_daily_papers()]
        out["text"] = api.read_paper("1706.03762").startswith("# Attention")
        out["repos"] = sorted(r.id for r in api.list_user_repos("acme"))
        out["mine"] = [r.id for r in api.list_user_repos()]
        out["parquet"] = [[f.config, f.split, f.size, f.url.removeprefix(HUB)]
                          for f in api.list_dataset_parquet_files("acme/data")]
    return out


print("RESULT " + json.dumps(globals()[sys.argv[1]]()), flush=True)
