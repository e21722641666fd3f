"""What happens is told to whoever follows it: in order, once, resumable, and only to who may know."""

import http.client
import signal
import threading

from conftest import ANN, EVE
from test_polling import FAST, asked, make_endpoint, run_job
from test_pool import Access

from tests.support.admin import Admin, Events
from tests.support.daemon import wait_until

BOT = "hf_CANARYbot00000000000000000000000000000"
CI = "hf_hubcached0" + "CANARYci".ljust(32, "0")
QUICK = {"workers": {"poll_moving": "500ms", "poll_resting": "1s"}}


def pooled(hub, tmp_path, config=QUICK, clients=()):
    """Return a configuration with a pool that serves acme."""
    hub.add_token(BOT, "bot", orgs=["acme"], role="write")
    access = Access(tmp_path / "access")
    access.token("main", "bot", BOT, namespaces=["acme"], role="write")
    for name, credential, repositories, verbs in clients:
        access.client(name, credential, repositories, verbs)
    access.write()
    return {**config, **access.config}


def client_events(daemon, subject, token=None, last_id=None):
    """Open a stream on the address that clients use."""
    host, port = daemon.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if last_id:
        headers["Last-Event-ID"] = str(last_id)
    connection.request("GET", f"/-/api/v1/events?subject={subject}", headers=headers)
    return Events(connection.getresponse())


def test_a_job_from_beginning_to_end(hub, make_daemon, tmp_path):
    """A stream that names a job shows what is known now, and then what changes."""
    daemon = make_daemon(pooled(hub, tmp_path))
    job = run_job(hub)
    stream = Admin(daemon).events(f"?subject=job:acme/{job}")
    wait_until(lambda: stream.of("state"), "the state now")
    assert stream.of("state")[0]["state"] == "RUNNING" and not stream.of("state")[0]["stale"]
    hub.job_stage(job, "UPDATING")
    wait_until(lambda: "UPDATING" in stream.states(), "it moves")
    hub.job_stage(job, "ERROR", "out of memory")
    wait_until(lambda: "ERROR" in stream.states(), "it ends")
    assert stream.states() == ["RUNNING", "UPDATING", "ERROR"]
    last = stream.of("transition")[-1]
    assert last["before"] == "UPDATING" and last["data"]["message"] == "out of memory"
    assert "busybox" not in str(last)


def test_resumed_after_a_restart(hub, make_daemon, tmp_path):
    """A reader that comes back with its last id gets what it missed, each once, across kill -9."""
    daemon = make_daemon(pooled(hub, tmp_path))
    admin, job = Admin(daemon), run_job(hub)
    stream = admin.events(f"?subject=job:acme/{job}")
    wait_until(lambda: stream.states() == ["RUNNING"], "it runs")
    seen = stream.last_id
    assert admin.call("POST", "watched", {"subject": f"job:acme/{job}"})[0] == 200
    stream.close()
    for state in ("UPDATING", "RUNNING"):
        hub.job_stage(job, state)
        daemon.wait_log(f"subject=acme/{job} before=\\w+ state={state}")
    wait_until(lambda: admin.events("?since=0").status == 200, "it is up")
    follower = admin.events("?since=0")
    wait_until(lambda: len(follower.states()) >= 3, "all are in the index")
    daemon.expect_death = True
    daemon.kill()
    hub.job_stage(job, "COMPLETED")
    daemon.start()
    again = admin.events(f"?subject=job:acme/{job}", last_id=seen)
    wait_until(lambda: "COMPLETED" in again.states(), "what was missed")
    ids = [n for n, kind, _ in again.rows if kind == "transition"]
    assert again.states() == ["UPDATING", "RUNNING", "COMPLETED"] and ids == sorted(set(ids)) and ids[0] > seen
    everything = admin.events("?since=0")
    wait_until(lambda: len(everything.states()) >= 4, "the history")
    ids = [n for n, kind, _ in everything.rows if kind == "transition"]
    assert ids == sorted(set(ids)) and everything.states()[0] == "RUNNING"


def test_many_readers_and_a_slow_one(hub, make_daemon, tmp_path):
    """Everybody gets everything; one who does not read is told later."""
    daemon = make_daemon(pooled(hub, tmp_path))
    admin, job = Admin(daemon), run_job(hub)
    streams = [admin.events("?topic=job") for _ in range(30)]
    before = asked(hub, f"/api/jobs/acme/{job}")
    daemon.as_user(ANN).get(f"/api/jobs/acme/{job}")
    wait_until(lambda: all(s.states() == ["RUNNING"] for s in streams), "all were told")
    hub.job_stage(job, "CANCELED")
    wait_until(lambda: all(s.states() == ["RUNNING", "CANCELED"] for s in streams), "all were told again")
    assert asked(hub, f"/api/jobs/acme/{job}") - before < 12


def test_upstream_away(hub, make_daemon, tmp_path):
    """Who watches stays connected, hears that the state is old, and what is new once the Hub is back."""
    daemon = make_daemon(pooled(hub, tmp_path))
    job = run_job(hub)
    stream = Admin(daemon).events(f"?subject=job:acme/{job}")
    wait_until(lambda: stream.states() == ["RUNNING"], "it runs")
    hub.down("hub")
    wait_until(lambda: stream.of("state") and stream.of("state")[-1]["stale"], "it is told", 30)
    said = stream.of("state")[-1]
    assert said["state"] == "RUNNING" and said["trouble"] and said["age_seconds"] >= 0
    watched = [w for w in Admin(daemon).get("watched")["watched"] if w["subject"] == f"acme/{job}"]
    assert watched[0]["state"] == "RUNNING" and watched[0]["trouble"] and watched[0]["watchers"] == 1
    hub.up("hub")
    hub.job_stage(job, "COMPLETED")
    wait_until(lambda: stream.states()[-1] == "COMPLETED", "what is new", 90)
    assert not stream.over


def test_known_after_a_restart_without_upstream(hub, make_daemon, tmp_path):
    """The last known state is there with its age although nobody can be asked."""
    daemon = make_daemon(pooled(hub, tmp_path))
    admin, job = Admin(daemon), run_job(hub)
    stream = admin.events(f"?subject=job:acme/{job}")
    wait_until(lambda: stream.states() == ["RUNNING"], "it runs")
    wait_until(lambda: asked(hub, f"/api/jobs/acme/{job}") >= 3, "it is polled")
    daemon.stop()
    hub.down("hub")
    daemon.start()
    again = admin.events(f"?subject=job:acme/{job}")
    said = wait_until(lambda: again.of("state"), "what is known", 30)[0]
    assert said["state"] == "RUNNING" and said["stale"] and 0 <= said["age_seconds"] < 120
    # The documents are not kept on disk: a client is told that the Hub is away.
    assert daemon.as_user(ANN).get(f"/api/jobs/acme/{job}").status >= 500
    hub.up("hub")


def test_clients_see_what_they_may(hub, make_daemon, tmp_path):
    """On the address of clients a token sees the job that the Hub shows it, and nothing else."""
    daemon = make_daemon(pooled(hub, tmp_path, clients=[
        ("ci", CI, ["acme/*"], ["read", "job"]),
    ]))
    job = run_job(hub)
    subject = f"job:acme/{job}"
    ann, local = client_events(daemon, subject, ANN), client_events(daemon, subject, CI)
    assert ann.status == local.status == 200
    for token in (EVE, None):
        refused = client_events(daemon, subject, token)
        assert refused.status in (401, 403, 404), refused.error
    assert client_events(daemon, "job:bob/" + job, CI).status == 403
    assert client_events(daemon, "prefetch:1", ANN).status == 403
    assert daemon.as_user(ANN).get("/-/api/v1/events").status == 403
    assert daemon.as_user(ANN).get("/-/api/v1/watched").status == 404
    hub.job_stage(job, "COMPLETED")
    for stream in (ann, local):
        wait_until(lambda s=stream: "COMPLETED" in s.states(), "it is told")


def test_a_right_that_ends(hub, make_daemon):
    """A stream whose token is no longer valid ends without telling anything more."""
    daemon = make_daemon({**QUICK, "cache": {"permission_ttl": "1s"}})
    hub.add_token("hf_CANARYtemp", "temp", orgs=["acme"], role="write")
    job = run_job(hub)
    stays, goes = client_events(daemon, f"job:acme/{job}", ANN), client_events(daemon, f"job:acme/{job}", "hf_CANARYtemp")
    wait_until(lambda: stays.of("state") and goes.of("state"), "both are told")
    hub.revoke_token("hf_CANARYtemp")
    deadline = threading.Event()
    deadline.wait(1.5)  # the permission's life
    hub.job_stage(job, "COMPLETED")
    wait_until(lambda: "COMPLETED" in stays.states(), "the other is told", 20)
    wait_until(lambda: goes.over, "it ends", 20)
    assert "COMPLETED" not in goes.states() and goes.of("denied")


def test_namespaces_of_the_configuration(hub, make_daemon, tmp_path):
    """Jobs, scheduled jobs, endpoints and Spaces of a namespace are watched without anybody asking."""
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": b"print(1)"})
    make_endpoint(hub)
    old = run_job(hub)
    hub.job_stage(old, "COMPLETED")
    config = pooled(hub, tmp_path, {**QUICK, "watch": {"acme": {"pool": "main"}}})
    daemon = make_daemon(config)
    admin = Admin(daemon)
    stream = admin.events("?since=0")

    def known(topic):
        return {w["subject"]: w["state"] for w in admin.get("watched")["watched"] if w["topic"] == topic}

    wait_until(lambda: known("space").get("acme/app") == "RUNNING" and known("endpoint").get("acme/bert") == "running"
               and known("job").get(f"acme/{old}") == "COMPLETED", "all are known")
    assert not [d for d in stream.of("transition") if d["topic"] in ("job", "endpoint")]  # it was like that before
    job = run_job(hub)
    hub.endpoint_state("acme", "bert", "paused")
    hub.space_stage("acme/app", "BUILD_ERROR")
    wait_until(lambda: stream.states(f"acme/{job}") == ["RUNNING"], "the new job")
    hub.job_stage(job, "COMPLETED")
    wait_until(lambda: stream.states(f"acme/{job}") == ["RUNNING", "COMPLETED"], "its end")
    wait_until(lambda: stream.states("acme/bert") == ["paused"], "the endpoint")
    wait_until(lambda: stream.states("acme/app")[-1:] == ["BUILD_ERROR"], "the Space")
    assert asked(hub, f"/api/jobs/acme/{job}") == 0  # the list says it


def test_watched_until_told_otherwise(hub, make_daemon, tmp_path):
    """An operator's wish outlives the process."""
    daemon = make_daemon(pooled(hub, tmp_path))
    admin, job = Admin(daemon), run_job(hub)
    target = f"/api/jobs/acme/{job}"
    assert admin.call("POST", "watched", {"subject": "job:nothing"})[0] == 400
    assert admin.call("POST", "watched", {"subject": f"job:acme/{job}", "x": 1})[0] == 400
    assert admin.call("POST", "watched", {"subject": f"job:acme/{job}"})[0] == 200
    wait_until(lambda: asked(hub, target) >= 2, "it is polled")
    daemon.restart()
    count = asked(hub, target)
    wait_until(lambda: asked(hub, target) >= count + 2, "it is polled again")
    assert admin.call("DELETE", f"watched/job/acme/{job}")[0] == 200
    assert admin.call("DELETE", f"watched/job/acme/{job}")[0] == 404


def test_no_token_is_for_it(hub, make_daemon):
    """A watcher of what the pool cannot see is told so."""
    daemon, job = make_daemon(FAST), run_job(hub)
    stream = Admin(daemon).events(f"?subject=job:acme/{job}")
    said = wait_until(lambda: stream.of("state"), "it is told")[0]
    assert said["stale"] and "token" in said["trouble"] and said["state"] == ""


def test_what_is_gone(hub, make_daemon, tmp_path):
    """A job that the Hub no longer knows is gone, and not asked about any more."""
    daemon = make_daemon(pooled(hub, tmp_path))
    job, other = run_job(hub), run_job(hub)
    stream = Admin(daemon).events(f"?subject=job:acme/{job}")
    wait_until(lambda: stream.states() == ["RUNNING"], "it runs")
    hub.forget_job(job)
    wait_until(lambda: stream.states() == ["RUNNING", "GONE"], "it is gone")
    count = asked(hub, f"/api/jobs/acme/{job}")
    daemon.as_user(ANN).get(f"/api/jobs/acme/{other}")
    wait_until(lambda: asked(hub, f"/api/jobs/acme/{other}") >= 4, "another is polled")
    assert asked(hub, f"/api/jobs/acme/{job}") == count


def test_a_rate_limit(hub, make_daemon, tmp_path):
    """While the Hub says that it is too much, who may see a job gets the last answer, and polls wait."""
    daemon = make_daemon(pooled(hub, tmp_path))
    job = run_job(hub)
    target = f"/api/jobs/acme/{job}"
    assert daemon.as_user(ANN).get(target).status == 200
    hub.fault(origin="hub", path=f"^{target}$", status=429, times=None, headers={"Retry-After": "30"})
    wait_until(lambda: daemon.as_user(ANN).get(target)["X-Hubcached"] == "stale", "it is stale")
    polls = daemon.metric("polls_total", topic="job")
    watched = [w for w in Admin(daemon).get("watched")["watched"] if w["subject"] == f"acme/{job}"]
    assert watched[0]["state"] == "RUNNING"
    wait_until(lambda: daemon.as_user(ANN).get(target)["X-Hubcached"] == "stale", "still")
    assert daemon.metric("polls_total", topic="job") <= polls + 3


def test_bad_questions(hub, daemon):
    """What is malformed is refused with a reason."""
    admin = Admin(daemon)
    for query in ("?topic=nothing", "?subject=job", "?subject=job:x", "?since=abc", "?other=1", "?since=99999999999999999999"):
        status, document = admin.call("GET", "events" + query)
        assert status == 400 and document["error"], query


def test_stopping_ends_the_streams(hub, daemon):
    """A stop does not wait for those who watch."""
    stream = Admin(daemon).events()
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: stream.over, "the stream ends")
    assert daemon.wait() == 0
