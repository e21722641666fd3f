"""`hubcached watch`: what happens, as lines; how it ends, as an exit status."""

import json
import os
import signal
import subprocess

import pytest
from test_events import QUICK, pooled
from test_operation import command
from test_polling import make_endpoint, run_job

from tests.support.admin import Admin
from tests.support.daemon import binary, wait_until


class Watch:
    """The command, running."""

    def __init__(self, daemon, *arguments, directory):
        """Start it, with its output in files."""
        self.out, self.err = directory / "out", directory / "err"
        self.process = subprocess.Popen(
            [binary(), "watch", "--config", str(daemon.config_file), *arguments],
            stdout=open(self.out, "w"), stderr=open(self.err, "w"), stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
            # A shell that runs the tests in the background has its children ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def shows(self, text, seconds=15):
        """Wait for a part of the output."""
        return wait_until(lambda: text in self.out.read_text(), text, seconds)

    def says(self, text, seconds=30):
        """Wait for a part of what it says about itself."""
        return wait_until(lambda: text in self.err.read_text(), text, seconds)

    def end(self, seconds=20):
        """Wait for its end and return the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.out.read_text() + self.err.read_text()) from None


@pytest.fixture
def watch(tmp_path):
    """Start the command; what still runs at the end is ended."""
    made = []

    def start(daemon, *arguments):
        directory = tmp_path / f"watch{len(made)}"
        directory.mkdir()
        made.append(Watch(daemon, *arguments, directory=directory))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()


def test_until_it_is_done(hub, make_daemon, tmp_path, watch):
    """0 when the state is reached, 1 when it ended otherwise, 124 when time is over."""
    daemon = make_daemon(pooled(hub, tmp_path))
    job, other = run_job(hub), run_job(hub)
    good = watch(daemon, f"job:acme/{job}", "--until", "COMPLETED")
    bad = watch(daemon, f"job:acme/{other}", "--until", "COMPLETED")
    both = watch(daemon, f"job:acme/{job}", f"job:acme/{other}", "--until", "completed", "--until", "ERROR")
    late = watch(daemon, f"job:acme/{job}", "--until", "DELETED", "--timeout", "2s")
    assert late.end() == 124
    for one in (good, bad, both):
        one.shows("RUNNING")
    hub.job_stage(job, "COMPLETED")
    hub.job_stage(other, "ERROR", "exit code 3")
    assert (good.end(), bad.end(), both.end()) == (0, 1, 0)
    assert f"job acme/{other}  RUNNING -> ERROR  (exit code 3)" in bad.out.read_text()
    # What is over already is seen at once.
    assert watch(daemon, f"job:acme/{job}", "--until", "COMPLETED").end() == 0
    assert watch(daemon, f"job:acme/{other}", "--until", "COMPLETED").end() == 1


def test_an_endpoint_and_a_space(hub, make_daemon, tmp_path, watch):
    """They are waited for like jobs; what failed will not run by itself."""
    daemon = make_daemon(pooled(hub, tmp_path))
    make_endpoint(hub)
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": b"print(1)"})
    hub.endpoint_state("acme", "bert", "initializing")
    hub.space_stage("acme/app", "BUILDING")
    endpoint = watch(daemon, "endpoint:acme/bert", "--until", "running")
    space = watch(daemon, "space:acme/app", "--until", "RUNNING")
    endpoint.shows("initializing")
    space.shows("BUILDING")
    hub.endpoint_state("acme", "bert", "running")
    hub.space_stage("acme/app", "BUILD_ERROR")
    assert endpoint.end() == 0 and space.end() == 1


def test_it_stays_connected(hub, make_daemon, tmp_path, watch):
    """While the Hub is away, and over a restart of the daemon, it waits, and misses nothing."""
    daemon = make_daemon(pooled(hub, tmp_path))
    job = run_job(hub)
    one = watch(daemon, f"job:acme/{job}", "--until", "COMPLETED")
    one.shows("RUNNING")
    hub.down("hub")
    one.says("RUNNING when it was last seen")
    daemon.stop()
    one.says("the daemon is gone")
    hub.up("hub")
    hub.job_stage(job, "UPDATING")
    daemon.start()
    one.shows("UPDATING", 60)
    hub.job_stage(job, "COMPLETED")
    assert one.end(60) == 0
    assert one.out.read_text().count("-> UPDATING") == 1


def test_json_and_all_of_a_kind(hub, make_daemon, tmp_path, watch):
    """Programs get documents; a topic alone shows all of it, from where they want."""
    daemon = make_daemon(pooled(hub, tmp_path))
    admin, job = Admin(daemon), run_job(hub)
    admin.call("POST", "watched", {"subject": f"job:acme/{job}"})
    first = watch(daemon, "job", "--json")
    daemon.wait_log(f"subject=acme/{job} before=- state=RUNNING")
    hub.job_stage(job, "COMPLETED")
    first.shows("COMPLETED")
    rows = [json.loads(line) for line in first.out.read_text().splitlines()]
    assert rows[-1]["state"] == "COMPLETED" and rows[-1]["subject"] == f"acme/{job}"
    again = watch(daemon, "job", "--json", "--since", "0", "--until", "COMPLETED")
    assert again.end() == 0
    assert [json.loads(line)["state"] for line in again.out.read_text().splitlines()] == ["RUNNING", "COMPLETED"]


def test_no_daemon_and_bad_words(hub, make_daemon):
    """75 if nobody answers; 2 for what makes no sense, with a reason."""
    daemon = make_daemon(start=False)
    done = command("watch", "job", "--config", daemon.config_file)
    assert done.returncode == 75 and "admin.sock" in done.stderr
    for words in (["nothing:x"], ["job:"], ["job", "--timeout", "soon"], ["job", "--since", "x"]):
        done = command("watch", *words, "--config", daemon.config_file)
        assert done.returncode == 2 and done.stderr, words
    daemon.start()
    done = command("watch", "job:noslash", "--config", daemon.config_file)
    assert done.returncode == 1 and "namespace" in done.stderr


def test_ctrl_c(hub, make_daemon, tmp_path, watch):
    """It ends when it is told to, and the daemon notices."""
    daemon = make_daemon(pooled(hub, tmp_path, QUICK))
    one = watch(daemon)
    wait_until(lambda: daemon.metric("event_streams") == 1, "it is connected")
    one.process.send_signal(signal.SIGINT)
    assert one.end() in (130, -signal.SIGINT)
    wait_until(lambda: daemon.metric("event_streams") == 0, "it is gone")
