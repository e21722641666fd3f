"""Jobs, endpoints and Spaces are asked about once for all who want to know, and nobody sees what is no longer true."""

import threading
import time

import pytest
from conftest import ANN, EVE
from test_pool import Access

from tests.support import clients
from tests.support.daemon import wait_until
from tests.support.http import Client

VERSIONS = ["0.36", "1.x", "2.x"]
BOT = "hf_CANARYbot00000000000000000000000000000"
CI = "hf_hubcached0" + "CANARYci".ljust(32, "0")
FAST = {"workers": {"poll_moving": "1s", "poll_resting": "2s"}}


def run_job(hub, namespace="acme", token=ANN, command=("sleep", "9")):
    """Run a job at the Hub itself and return its id."""
    body = {"dockerImage": "busybox", "command": list(command), "flavor": "cpu-basic", "environment": {"A": "1"}}
    reply = Client(hub.url, token).post(f"/api/jobs/{namespace}", body)
    assert reply.status == 200, reply
    return reply.json()["id"]


def make_endpoint(hub, name="bert", namespace="acme", token=ANN):
    """Create an endpoint at the Hub itself, which runs at once."""
    hub.create_repo("models", "acme/served")
    hub.commit("models", "acme/served", {"config.json": b"{}"})
    scaling = {"minReplica": 0, "maxReplica": 1}
    compute = {"accelerator": "cpu", "instanceSize": "x1", "instanceType": "intel-spr", "scaling": scaling}
    model = {"repository": "acme/served", "framework": "pytorch"}
    body = {"name": name, "compute": compute, "model": model, "type": "public",
            "provider": {"region": "us-east-1", "vendor": "aws"}}
    reply = Client(hub.endpoints_url, token).post(f"/v2/endpoint/{namespace}", body)
    assert reply.status == 202, reply


def asked(hub, target, method="GET", origin="hub"):
    """Return how often the Hub was asked for exactly this."""
    return len([r for r in hub.log(origin) if r["target"] == target and r["method"] == method])


def stage(reply):
    """Return the stage that an answer says."""
    assert reply.status == 200, reply
    return reply.json()["status"]["stage"]


def test_two_hundred_watchers_are_one(hub, make_daemon):
    """So many clients that ask again and again cost the Hub what the daemon's own polling costs."""
    daemon, job = make_daemon({"workers": {"poll_moving": "2s"}}), run_job(hub)
    target = f"/api/jobs/acme/{job}"
    seen, errors = [set() for _ in range(200)], []
    over = threading.Event()

    def watch(n):
        client = daemon.as_user(ANN)
        try:
            while not over.is_set():
                seen[n].add(stage(client.get(target)))
                if "COMPLETED" in seen[n]:
                    return
                over.wait(0.5)
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    threads = [threading.Thread(target=watch, args=(n,)) for n in range(200)]
    began = time.monotonic()
    for t in threads:
        t.start()
    wait_until(lambda: all(seen), "everybody has seen it run", 30)
    wait_until(lambda: asked(hub, target) >= 3, "it is polled", 20)
    hub.job_stage(job, "COMPLETED")
    for t in threads:
        t.join(30)
    over.set()
    assert not errors, errors[:3]
    assert all(s == {"RUNNING", "COMPLETED"} for s in seen)
    # One for every interval, a tenth of which may be missing, and the first.
    assert asked(hub, target) <= (time.monotonic() - began) / 1.8 + 2


def test_the_same_bytes(hub, daemon):
    """What comes from the last poll is what the Hub said, with its age."""
    job = run_job(hub)
    direct = Client(hub.url, ANN).get(f"/api/jobs/acme/{job}")
    first, second = (daemon.as_user(ANN).get(f"/api/jobs/acme/{job}") for _ in range(2))
    assert first.body == second.body == direct.body
    assert first["Content-Type"] == second["Content-Type"] == direct["Content-Type"]
    assert first["Age"] is None and second["Age"] == "0"
    assert asked(hub, f"/api/jobs/acme/{job}") == 2


def test_each_token_proves_its_right(hub, daemon):
    """What one may see another may not, however fresh it is."""
    job = run_job(hub)
    target = f"/api/jobs/acme/{job}"
    assert daemon.as_user(ANN).get(target).status == 200
    direct = Client(hub.url, EVE).get(target)
    through = daemon.as_user(EVE).get(target)
    assert through.status == direct.status != 200 and through.body == direct.body
    assert daemon.client.get(target).status == Client(hub.url).get(target).status
    assert daemon.as_user(ANN).get(target)["Age"] is not None


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELED", "ERROR", "DELETED"])
def test_what_is_over_is_not_polled(hub, make_daemon, end):
    """After a terminal state nothing more is asked."""
    daemon, job = make_daemon({"workers": {"poll_moving": "500ms"}}), run_job(hub)
    target = f"/api/jobs/acme/{job}"
    daemon.as_user(ANN).get(target)
    wait_until(lambda: asked(hub, target) >= 3, "it is polled while it runs")
    hub.job_stage(job, end)
    daemon.wait_log(f"topic=job subject=acme/{job} before=RUNNING state={end}")
    count, other = asked(hub, target), run_job(hub)
    # As long as another one is polled four times, this one is not.
    daemon.as_user(ANN).get(f"/api/jobs/acme/{other}")
    wait_until(lambda: asked(hub, f"/api/jobs/acme/{other}") >= 5, "another job is polled")
    assert asked(hub, target) == count


@pytest.mark.parametrize("version", VERSIONS)
def test_the_real_client_reads_what_it_wrote(hub, make_daemon, tmp_path, version):
    """After cancelling, pausing and resuming through us nobody sees what was before."""
    daemon = make_daemon()
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": b"print(1)"})
    make_endpoint(hub)
    job = run_job(hub)
    code = f"""
from huggingface_hub import HfApi, constants
import huggingface_hub._inference_endpoints as ie, huggingface_hub.hf_api as ha
constants.INFERENCE_ENDPOINTS_ENDPOINT = "{daemon.url}/-/endpoints/v2"
api = HfApi()
stages = lambda: api.inspect_job(job_id="{job}", namespace="acme").status.stage
space = lambda: api.get_space_runtime("acme/app").stage
end = lambda: api.get_inference_endpoint("bert", namespace="acme").status
plan = api.create_scheduled_job(image="busybox", command=["true"], schedule="@daily", namespace="acme") \
    if {version != "0.36"} else None
result = [[stages(), stages()], [space(), space()], [end(), end()]]
api.cancel_job(job_id="{job}", namespace="acme"); result[0] += [stages(), stages()]
api.pause_space("acme/app"); result[1] += [space(), space()]
api.restart_space("acme/app"); result[1] += [space()]
api.pause_inference_endpoint("bert", namespace="acme"); result[2] += [end(), end()]
api.resume_inference_endpoint("bert", namespace="acme"); result[2] += [end()]
if plan:
    planned = lambda: api.inspect_scheduled_job(scheduled_job_id=plan.id, namespace="acme").suspend
    result.append([planned(), planned()])
    api.suspend_scheduled_job(scheduled_job_id=plan.id, namespace="acme"); result[3] += [planned()]
    api.resume_scheduled_job(scheduled_job_id=plan.id, namespace="acme"); result[3] += [planned()]
"""
    told = clients.python(version, code, daemon.url, tmp_path / "home", ANN)
    assert told[0] == ["RUNNING", "RUNNING", "CANCELED", "CANCELED"]
    assert told[1] == ["RUNNING", "RUNNING", "PAUSED", "PAUSED", "RUNNING"]
    assert told[2] == ["running", "running", "paused", "paused", "running"]
    assert version == "0.36" or told[3] == [False, False, True, False]


def test_lists_too(hub, daemon):
    """A list is shared by the users of one token for a moment, and a write through us ends that."""
    ann = daemon.as_user(ANN)
    assert [ann.get("/api/jobs/acme").json() for _ in range(3)] == [[], [], []]
    assert asked(hub, "/api/jobs/acme") == 1
    assert daemon.as_user(EVE).get("/api/jobs/acme").status == Client(hub.url, EVE).get("/api/jobs/acme").status != 200
    body = {"dockerImage": "busybox", "command": ["sleep", "9"], "flavor": "cpu-basic"}
    made = ann.post("/api/jobs/acme", body).json()["id"]
    assert [j["id"] for j in ann.get("/api/jobs/acme").json()] == [made]


def test_an_answer_that_a_write_overtook(hub, daemon):
    """A GET that was on its way when somebody wrote tells nobody after the write what was before."""
    job = run_job(hub)
    target = f"/api/jobs/acme/{job}"
    fault = hub.fault(origin="hub", method="GET", path=f"^{target}$", delay_body=2)
    slow = threading.Thread(target=lambda: daemon.as_user(ANN).get(target))
    slow.start()
    hub.wait_fault(fault)
    assert daemon.as_user(ANN).post(target + "/cancel", b"").status == 200
    assert stage(daemon.as_user(ANN).get(target)) == "CANCELED"
    slow.join()
    assert stage(daemon.as_user(ANN).get(target)) == "CANCELED"


def test_upstream_away(hub, make_daemon):
    """The last answer comes with its age for who was allowed to see it, and what is new once the Hub is back."""
    daemon, job = make_daemon(FAST), run_job(hub)
    target = f"/api/jobs/acme/{job}"
    before = daemon.as_user(ANN).get(target)
    hub.down("hub")
    reply = wait_until(lambda: (r := daemon.as_user(ANN).get(target))["X-Hubcached"] == "stale" and r, "it is stale", 30)
    assert reply.status == 200 and reply.body == before.body and int(reply["Age"]) >= 1
    assert daemon.as_user(EVE).get(target).status >= 500
    hub.up("hub")
    hub.job_stage(job, "ERROR", "out of memory")
    wait_until(lambda: stage(daemon.as_user(ANN).get(target)) == "ERROR", "what is new is seen", 90)


def test_a_right_that_ended(hub, make_daemon):
    """A token that the Hub no longer lets see a job sees it no longer than a permission's life."""
    daemon, job = make_daemon({"cache": {"permission_ttl": "2s"}, "workers": {"poll_moving": "30s"}}), run_job(hub)
    target = f"/api/jobs/acme/{job}"
    assert daemon.as_user(ANN).get(target).status == 200
    hub.revoke_token(ANN)
    wait_until(lambda: daemon.as_user(ANN).get(target).status == 401, "the right ends", 10)


def test_local_clients_share_what_the_pool_sees(hub, make_daemon, tmp_path):
    """Who has no token of its own is served with the pool's, and the polling goes on with it."""
    hub.add_token(BOT, "bot", orgs=["acme"], role="write")
    access = Access(tmp_path / "access")
    access.token("main", "bot", BOT, namespaces=["acme"], role="write")
    access.client("ci", CI, ["acme/*"], ["read", "job"])
    access.write()
    daemon, job = make_daemon({**FAST, **access.config}), run_job(hub)
    target = f"/api/jobs/acme/{job}"
    assert stage(daemon.as_user(CI).get(target)) == "RUNNING"
    wait_until(lambda: asked(hub, target) >= 3, "it is polled")
    assert all(BOT in str(r["raw_headers"]) for r in hub.log("hub") if r["target"] == target)
    assert daemon.as_user(CI).post(target + "/cancel", b"").status == 200
    assert stage(daemon.as_user(CI).get(target)) == "CANCELED"
    assert daemon.as_user(CI).get(f"/api/jobs/bob/{job}").status == 403
