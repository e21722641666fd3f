"""One stream of a job's log from the Hub serves any number of clients, and each reads what the Hub would have sent."""

import threading

import pytest
from conftest import ANN, EVE
from test_polling import asked, run_job

from tests.support import clients
from tests.support.daemon import wait_until
from tests.support.http import Client

VERSIONS = ["1.x", "2.x"]


class Reader(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, client, target):
        """Begin at once."""
        super().__init__(daemon=True)
        self.stream = client.stream(target, timeout=60)
        self.body, self.whole, self.status = b"", None, None
        self.start()

    def run(self):
        """Read the head and the chunks, as they come."""
        self.status = self.stream.head().status
        self.body, self.whole = self.stream.rest()

    def end(self):
        """Wait for the end and return the body, which is whole."""
        self.join(60)
        assert not self.is_alive() and self.whole and self.status == 200, (self.status, self.whole, self.body[-200:])
        return self.body


def logs(job, namespace="acme"):
    """Return the address of a job's log."""
    return f"/api/jobs/{namespace}/{job}/logs"


def held(hub, target):
    """Return the requests for a target that the Hub keeps open."""
    return [r for r in hub.log("hub") if r["target"] == target and not r["done"]]


def test_twenty_clients_one_stream(hub, daemon):
    """Early and late ones get the same bytes as from the Hub itself, which was asked once."""
    job = run_job(hub)
    hub.job_log(job, "one", "two")
    early = [Reader(daemon.as_user(ANN), logs(job)) for _ in range(10)]
    wait_until(lambda: daemon.metric("log_readers") == 10, "ten read")
    hub.job_log(job, *[f"line {n}" for n in range(500)])
    late = [Reader(daemon.as_user(ANN), logs(job)) for _ in range(10)]
    wait_until(lambda: daemon.metric("log_readers") == 20, "twenty read")
    assert asked(hub, logs(job)) == 1
    hub.job_log(job, "the last", end="COMPLETED")
    direct = Client(hub.url, ANN).get(logs(job)).body
    assert b"the last" in direct
    assert {r.end() for r in early + late} == {direct}
    assert asked(hub, logs(job)) == 2  # ours, and the direct one
    wait_until(lambda: daemon.metric("log_streams") == 0, "the stream is over")


def test_another_token_proves_its_right(hub, daemon):
    """Who may not read the log does not, although somebody does; who may, with a token of its own, joins."""
    hub.add_token("hf_CANARYfriend", "friend", orgs=["acme"], role="write")
    job = run_job(hub)
    first = Reader(daemon.as_user(ANN), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 1, "one reads")
    refused, direct = daemon.as_user(EVE).get(logs(job)), Client(hub.url, EVE).get(logs(job))
    assert refused.status == direct.status != 200 and refused.body == direct.body
    second = Reader(daemon.as_user("hf_CANARYfriend"), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 2, "two read")
    wait_until(lambda: len(held(hub, logs(job))) == 1, "one stream is left")
    third = Reader(daemon.as_user("hf_CANARYfriend"), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 3, "three read")
    assert len(held(hub, logs(job))) == 1
    hub.job_log(job, "end", end="COMPLETED")
    assert first.end() == second.end() == third.end()


def test_keep_alives_pass(hub, daemon):
    """A silent log shows that it lives."""
    hub.quirks(keep_alive=0.3)
    job = run_job(hub)
    readers = [Reader(daemon.as_user(ANN), logs(job)) for _ in range(2)]
    wait_until(lambda: daemon.metric("log_received_bytes_total") > 400, "comments come")
    hub.job_log(job, end="COMPLETED")
    bodies = {r.end() for r in readers}
    assert len(bodies) == 1 and bodies.pop().count(b": keep-alive") >= 2


def test_the_beginning_is_gone(hub, make_daemon):
    """Who comes when the beginning is no longer kept opens a stream of its own and misses nothing."""
    daemon, job = make_daemon({"workers": {"log_replay": "64KiB"}}), run_job(hub)
    first = Reader(daemon.as_user(ANN), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 1, "one reads")
    hub.job_log(job, *[f"line {n} " + "x" * 100 for n in range(2000)])
    wait_until(lambda: daemon.metric("log_received_bytes_total") > 200_000, "it passed")
    second = Reader(daemon.as_user(ANN), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 2, "two read")
    hub.job_log(job, "end", end="COMPLETED")
    direct = Client(hub.url, ANN).get(logs(job)).body
    assert first.end() == second.end() == direct


def test_a_slow_reader_slows_nobody_for_long(hub, make_daemon):
    """It is broken off, in front of everybody's eyes, and the others get everything."""
    daemon, job = make_daemon({"workers": {"log_replay": "64KiB"}}), run_job(hub)
    slow = daemon.as_user(ANN).stream(logs(job), receive_buffer=4096)
    slow.head()
    fast = Reader(daemon.as_user(ANN), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 2, "two read")
    for part in range(20):
        hub.job_log(job, *[f"line {part} {n} " + "x" * 1000 for n in range(500)])
    hub.job_log(job, "end", end="COMPLETED")
    direct = Client(hub.url, ANN).get(logs(job)).body
    assert len(direct) > 10_000_000 and fast.end() == direct
    _, whole = slow.rest()
    assert not whole
    assert daemon.metric("log_readers_cut_total") == 1


def test_one_slow_reader_alone(hub, make_daemon):
    """Somebody who is alone may read as slowly as he likes."""
    daemon, job = make_daemon({"workers": {"log_replay": "64KiB"}}), run_job(hub)
    slow = daemon.as_user(ANN).stream(logs(job), receive_buffer=4096)
    slow.head()
    hub.job_log(job, *[f"line {n} " + "x" * 1000 for n in range(10_000)], end="COMPLETED")
    direct = Client(hub.url, ANN).get(logs(job)).body
    before = daemon.metric("log_received_bytes_total")
    assert before < len(direct)
    body, whole = slow.rest()
    assert whole and body == direct


def test_the_last_one_leaves(hub, daemon):
    """Without readers the stream from the Hub ends after a moment."""
    job = run_job(hub)
    streams = [daemon.as_user(ANN).stream(logs(job)) for _ in range(2)]
    for s in streams:
        assert s.head().status == 200
    streams[0].close()
    wait_until(lambda: daemon.metric("log_readers") == 1, "one left")
    assert len(held(hub, logs(job))) == 1
    streams[1].close()
    wait_until(lambda: daemon.metric("log_readers") == 0, "the other left")
    wait_until(lambda: not held(hub, logs(job)), "the stream is closed", 15)


def test_the_stream_breaks(hub, daemon):
    """When the Hub's connection breaks everybody's does, and nobody takes that for the end."""
    job = run_job(hub)
    readers = [Reader(daemon.as_user(ANN), logs(job)) for _ in range(3)]
    wait_until(lambda: daemon.metric("log_readers") == 3, "three read")
    hub.job_log(job, "something")
    hub.down("hub")
    for r in readers:
        r.join(30)
        assert r.whole is False
    hub.up("hub")


def test_a_part_of_a_log_is_asked_for_itself(hub, daemon):
    """A query means another log than the whole one."""
    job = run_job(hub)
    hub.job_log(job, "one", "two", "three")
    first = Reader(daemon.as_user(ANN), logs(job))
    wait_until(lambda: daemon.metric("log_readers") == 1, "one reads")
    tail = Reader(daemon.as_user(ANN), logs(job) + "?tail=1")
    wait_until(lambda: asked(hub, logs(job) + "?tail=1") == 1, "the tail is asked for")
    hub.job_log(job, end="COMPLETED")
    assert tail.end().count(b"data: ") == 1 and first.end().count(b"data: ") == 5


@pytest.mark.parametrize("version", VERSIONS)
def test_the_real_client(hub, daemon, tmp_path, version):
    """Two runs of the library follow one log to its end; a third, afterwards, and the Space's log."""
    job = run_job(hub)
    hub.job_log(job, "one")
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": b"print(1)"})
    code = f"""
from huggingface_hub import HfApi
api = HfApi()
result = list(api.fetch_job_logs(job_id="{job}", namespace="acme", follow=True))
"""
    told = {}

    def follow(name):
        told[name] = clients.python(version, code, daemon.url, tmp_path / name, ANN)

    threads = [threading.Thread(target=follow, args=(n,)) for n in ("a", "b")]
    for t in threads:
        t.start()
    wait_until(lambda: daemon.metric("log_readers") == 2, "both read", 60)
    assert asked(hub, logs(job)) == 1
    hub.job_log(job, "two", end="COMPLETED")
    for t in threads:
        t.join()
    follow("c")
    lines = ["sleep 9", "one", "two"]
    assert told == {"a": lines, "b": lines, "c": lines}
    if version == "2.x":
        space = "from huggingface_hub import HfApi\nresult = list(HfApi().fetch_space_logs('acme/app'))"
        direct = clients.python(version, space, hub.url, tmp_path / "d", ANN)
        assert clients.python(version, space, daemon.url, tmp_path / "e", ANN) == direct != []
