"""What goes on at the Hub by itself, and commits that go wrong: what background workers meet."""

import json
import os
import subprocess

import pytest

from . import Hub
from .test_hub_alone import environment, python  # noqa: F401
from .test_hub_faults import fetch

HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN = {"Authorization": "Bearer hf_ann"}


@pytest.fixture
def hub():
    """Run a Hub of its own for each test."""
    with Hub.start() as running:
        running.add_token("hf_ann", "ann", orgs=["acme"], role="write")
        running.create_repo("datasets", "acme/logs")
        yield running


@pytest.fixture
def client(hub, python, tmp_path):  # noqa: F811
    """Return a function that runs a part of client_workers.py and returns its result."""
    def run(*words):
        done = subprocess.run([python, os.path.join(HERE, "client_workers.py"), *words], text=True,
                              env=environment(hub, tmp_path, HF_TOKEN="hf_ann"), capture_output=True, timeout=120)
        assert "RESULT " in done.stdout, done.stderr[-6000:]
        return json.loads(done.stdout.rpartition("RESULT ")[2])

    return run


def call(url, method="GET", given=None):
    """Return the JSON answer to a request of ann's."""
    body = b"" if given is None else json.dumps(given).encode()
    status, _, answer, _ = fetch(url, method, body, **TOKEN)
    assert status in (200, 202), answer
    return json.loads(answer)


def job(hub, command="python"):
    """Start a job and return its address and its id."""
    spec = {"dockerImage": "x", "command": [command], "flavor": "cpu-basic"}
    id = call(f"{hub.url}/api/jobs/ann", "POST", spec)["id"]
    return f"{hub.url}/api/jobs/ann/{id}", id


def test_jobs_move_on_command(hub):
    """A job that starts slowly is scheduled until it is moved, and its log ends with it."""
    hub.quirks(slow_starts=True)
    url, id = job(hub)
    assert call(url)["status"]["stage"] == "SCHEDULING"
    hub.job_stage(id, "RUNNING")
    assert call(url)["status"]["stage"] == "RUNNING"
    hub.job_log(id, "a line")
    hub.job_stage(id, "ERROR", "out of memory")
    ended = call(url)
    assert (ended["status"]["stage"], ended["status"]["message"]) == ("ERROR", "out of memory")
    assert "finishedAt" in ended
    for _ in range(2):  # each reader gets all of it from the beginning
        assert b"a line" in fetch(url + "/logs", **TOKEN)[2]


def test_jobs_move_by_themselves(hub):
    """A command can be performed later: a reader of the log sees the end come."""
    url, id = job(hub, "sleep")
    hub.later(0.2, "job_log", id=id, lines=["late"], end="COMPLETED")
    assert b"late" in fetch(url + "/logs", **TOKEN)[2]
    assert call(url)["status"]["stage"] == "COMPLETED"


def test_scheduled_jobs_come_due(hub):
    """One that is due starts a job, which its document then names; one that is suspended does not."""
    base = f"{hub.url}/api/scheduled-jobs/ann"
    made = call(base, "POST", {"schedule": "@hourly", "jobSpec": {"dockerImage": "x", "command": ["sleep"],
                                                                  "flavor": "cpu-basic"}})
    assert made["status"]["lastJob"] is None
    id = hub.scheduled_run(made["id"])
    assert call(f"{base}/{made['id']}")["status"]["lastJob"]["id"] == id
    started = call(f"{hub.url}/api/jobs/ann/{id}")
    assert started["status"]["stage"] == "RUNNING" and started["initiator"]["id"] == made["id"]
    call(f"{base}/{made['id']}/suspend", "POST", {})
    assert hub.scheduled_run(made["id"]) is None


def test_endpoints_and_spaces_move_on_command(hub):
    """What is slow to start stays as it was shown until it is moved."""
    hub.quirks(slow_starts=True)
    hub.create_repo("models", "acme/m")
    made = call(f"{hub.endpoints_url}/v2/endpoint/acme", "POST", {
        "name": "e", "type": "public", "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {"accelerator": "cpu", "instanceSize": "x1", "instanceType": "intel-spr", "scaling": {}},
        "model": {"repository": "acme/m", "framework": "pytorch"}})
    assert made["status"]["state"] == "pending"
    for state in ("pending", "initializing", "running", "failed"):
        if state != "pending":
            hub.endpoint_state("acme", "e", state)
        assert call(f"{hub.endpoints_url}/v2/endpoint/acme/e")["status"]["state"] == state
    hub.create_repo("spaces", "acme/s")
    runtime = f"{hub.url}/api/spaces/acme/s/runtime"
    assert call(f"{hub.url}/api/spaces/acme/s/restart", "POST", {})["stage"] == "RUNNING_BUILDING"
    assert call(runtime)["stage"] == "RUNNING_BUILDING"
    hub.space_stage("acme/s", "RUNTIME_ERROR")
    assert call(runtime)["stage"] == "RUNTIME_ERROR"


def test_requests_are_counted(hub):
    """A test can ask how often something was asked."""
    url, _ = job(hub)
    hub.clear_log()
    for _ in range(3):
        call(url)
    assert hub.count(path="^/api/jobs/") == 3
    assert (hub.count(method="POST"), hub.count(origin="endpoints"), hub.count()) == (0, 0, 3)


def test_what_an_organization_has(hub, client):
    """Its repositories come page by page; so do collections and searches."""
    hub.quirks(list_page_size=2)
    for n in range(5):
        hub.create_repo("models", f"acme/tiny-{n}")
        hub.create_repo("models", f"other/tiny-{n}")
    hub.create_repo("spaces", "acme/app")
    hub.call("add_collection", owner="acme", title="Favourites", items=[
        {"type": "model", "id": "acme/tiny-1"}, {"type": "dataset", "id": "acme/logs"}])
    hub.clear_log()
    found = client("listings", "acme")
    assert found["models"] == [f"acme/tiny-{n}" for n in range(5)]
    assert (found["datasets"], found["spaces"]) == (["acme/logs"], ["acme/app"])
    assert len(found["search"]) == 3
    assert found["collection"] == ["model:acme/tiny-1", "dataset:acme/logs"]
    assert hub.count(path="^/api/models.*author=acme") == 3


@pytest.mark.parametrize("status", [409, 412, 429])
def test_refused_commits(hub, client, status):
    """The client hears of it, and nothing has happened."""
    before = hub.refs("datasets", "acme/logs")
    # The client waits itself when it is told 429, and tries a few times.
    hub.fault(path="/commit/main", method="POST", status=status, times=None, headers=[["Retry-After", "1"]],
              body=json.dumps({"error": "refused"}))
    assert client("commit", "a.txt") == status
    assert hub.refs("datasets", "acme/logs") == before


def test_a_commit_on_an_old_head(hub, client):
    """It is refused with 412."""
    old = hub.refs("datasets", "acme/logs")["refs/heads/main"]
    hub.commit("datasets", "acme/logs", {"b.txt": b"b"})
    assert client("commit", "a.txt", old) == 412


@pytest.mark.parametrize("place, happened", [("before_head", False), ("after_work", True)])
def test_lost_answers_to_commits(hub, client, place, happened):
    """The connection breaks before the commit or after it; the client cannot tell which."""
    before = hub.refs("datasets", "acme/logs")
    hub.fault(path="/commit/main", method="POST", reset=place, times=None)
    assert isinstance(client("commit", "a.txt"), str)
    assert (hub.refs("datasets", "acme/logs") != before) == happened


def test_commit_scheduler(hub, client):
    """What the client's own scheduler leaves behind: a commit for each round that found something."""
    assert client("scheduler", "acme/logs")[:2] == ["Scheduled Commit"] * 2
    sha = hub.refs("datasets", "acme/logs")["refs/heads/main"]
    body = fetch(f"{hub.url}/datasets/acme/logs/raw/{sha}/data/log.jsonl", **TOKEN)[2]
    assert body == b'{"n": 1}\n{"n": 2}\n'
