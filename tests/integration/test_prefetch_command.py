"""The command prefetch, as people and scripts use it; and the rules of the configuration."""

import json
import os
import pty
import re
import signal
import subprocess

import pytest
from conftest import ANN
from test_admin import on
from test_prefetch import MIB, asked_of, publish, slowly

from tests.support.admin import Prefetch, call
from tests.support.daemon import binary, wait_until


def start(daemon, *arguments, **options):
    """Begin a command that goes on."""
    return subprocess.Popen(
        [binary(), *arguments, "--config", str(daemon.config_file)], stdin=subprocess.DEVNULL, text=True, **options
    )


def prefetches(daemon):
    """Return all that are known."""
    return call(daemon, "GET", "prefetches")[1]["prefetches"]


def test_wait_until_it_is_done(hub, daemon):
    """Exit status 0, and how much came."""
    publish(hub)
    done = on(daemon, "prefetch", "acme/model", "--wait")
    assert done.returncode == 0 and "done: 5/5 files" in done.stdout, done
    again = on(daemon, "prefetch", "acme/model@main", "--wait", "--include", "*.json")
    assert again.returncode == 0 and "1/1 files" in again.stdout


def test_without_waiting(hub, daemon):
    """It says how to look at it; list, show and --json do."""
    publish(hub)
    publish(hub, "acme/corpus", "datasets", {"a.csv": b"1"})
    done = on(daemon, "prefetch", "acme/model")
    assert done.returncode == 0 and "hubcached prefetch show 1" in done.stdout
    done = on(
        daemon, "prefetch", "acme/corpus", "--type", "dataset", "--exclude", "*.bin", "--priority", "7",
        "--bandwidth", "5MiB", "--max-size", "1GiB", "--window", "00:00-23:59", "--schedule", "6h",
    )  # fmt: skip
    assert done.returncode == 0, done
    Prefetch(daemon, 1).wait("done")
    Prefetch(daemon, 2).wait("done")
    listed = on(daemon, "prefetch", "list").stdout
    assert re.search(r"^1\s+done\s+5/5\s.*acme/model", listed, re.M), listed
    assert re.search(r"^2\s+done\s+2/2\s.*datasets/acme/corpus", listed, re.M), listed
    shown = on(daemon, "prefetch", "show", "2").stdout
    for text in ("datasets/acme/corpus", "*.bin", "5242880", "1073741824", "00:00-23:59", "6h", "next run"):
        assert text in shown, (text, shown)
    document = json.loads(on(daemon, "prefetch", "list", "--json").stdout)
    assert [p["id"] for p in document["prefetches"]] == [2, 1], "the more important one comes first"
    assert json.loads(on(daemon, "prefetch", "show", "1", "--json").stdout)["state"] == "done"


def test_pause_resume_cancel(hub, daemon):
    """By number."""
    publish(hub)
    slowly(hub, rate=200_000)
    on(daemon, "prefetch", "acme/model")
    wait_until(lambda: asked_of(hub), "it is under way")
    assert "paused" in on(daemon, "prefetch", "pause", "1").stdout
    done = on(daemon, "prefetch", "resume", "1")
    assert done.returncode == 0
    assert "cancelled" in on(daemon, "prefetch", "cancel", "1").stdout
    assert "forgotten" in on(daemon, "prefetch", "cancel", "1").stdout
    done = on(daemon, "prefetch", "show", "1")
    assert done.returncode == 1 and "no prefetch" in done.stderr
    done = on(daemon, "prefetch", "show", "acme/model")
    assert done.returncode == 2 and "number" in done.stderr


def test_it_fails(hub, daemon):
    """Exit status 1 with the reason; 2 for what makes no sense."""
    done = on(daemon, "prefetch", "acme/nothing", "--wait")
    assert done.returncode == 1 and "does not exist" in done.stdout
    done = on(daemon, "prefetch", "acme/model", "--window", "noon")
    assert done.returncode == 2 and "noon" in done.stderr
    daemon.stop()
    assert on(daemon, "prefetch", "acme/model").returncode == 75


def test_interrupted(hub, daemon):
    """Ctrl-C ends the command and not the prefetch."""
    publish(hub)
    slowly(hub, rate=2 * MIB)
    running = start(daemon, "prefetch", "acme/model", "--wait", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: asked_of(hub), "it is under way")
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=10)
    assert running.returncode == 130 and "hubcached prefetch show 1" in errors
    assert Prefetch(daemon, 1).look()["state"] == "running"
    hub.clear_faults()
    Prefetch(daemon, 1).cancel()


def test_a_bar_on_a_terminal(hub, daemon):
    """Files, bytes, rate and the time left, drawn over and over."""
    publish(hub)
    slowly(hub, rate=6 * MIB)
    ours, theirs = pty.openpty()
    running = start(daemon, "prefetch", "acme/model", "--wait", stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(ours)
    output, _ = running.communicate(timeout=30)
    assert running.returncode == 0 and "done" in output
    text = seen.decode()
    assert re.search(r"\[#+\.+\]\s+\d+% \d/5 files, .* of .*/s, .* left", text), text
    assert "\r" in text


def test_lines_where_there_is_no_terminal(hub, daemon):
    """And it outlives a restart of the daemon."""
    publish(hub)
    slowly(hub, rate=4 * MIB)
    running = start(daemon, "prefetch", "acme/model", "--wait", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: hub.sent("cdn") > 4 * MIB, "it is under way")
    daemon.stop()
    hub.clear_faults()
    daemon.start()
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 0 and "done: 5/5 files" in output, (output, errors)
    assert "files" in errors and "\r" not in errors


RULE = {"repositories": ["acme/model"], "include": ["*.json"]}


def test_rules_of_the_configuration(hub, make_daemon):
    """Each begins by itself, once; a changed one begins again; one that is gone is forgotten."""
    publish(hub)
    publish(hub, "acme/other", files={"o.txt": b"o"})
    daemon = make_daemon({"prefetch": {"first": RULE, "second": {"repositories": ["acme/other"]}}})
    wait_until(lambda: [p["state"] for p in prefetches(daemon)] == ["done", "done"], "both are done")
    assert {p["rule"]: p["files"] for p in prefetches(daemon)} == {"first": 1, "second": 2}
    hub.clear_log()
    daemon.stop()
    daemon.start()
    assert [p["state"] for p in prefetches(daemon)] == ["done", "done"]
    assert not [row for row in hub.log() if "/api/" in row["path"]]
    del daemon.config["prefetch"]["second"]
    daemon.write_config({"prefetch": {"first": {"include": ["*.json", "*.md"]}}})
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "second" not in [p["rule"] for p in prefetches(daemon)], "it is gone")
    wait_until(lambda: [p["files_done"] for p in prefetches(daemon) if p["rule"] == "first"] == [2], "it began again")


def test_a_rule_that_is_gone_ends_what_it_began(hub, make_daemon):
    """Not a byte more comes for it, and it says why."""
    publish(hub)
    slowly(hub, rate=MIB)
    daemon = make_daemon({"prefetch": {"first": {"repositories": ["acme/model"]}, "other": RULE}})
    wait_until(lambda: asked_of(hub), "it is under way")
    del daemon.config["prefetch"]["first"]
    daemon.write_config()
    daemon.signal(signal.SIGHUP)
    seen = wait_until(
        lambda: next((p for p in prefetches(daemon) if p["state"] == "cancelled"), None), "the rule's is cancelled"
    )
    assert seen["rule"] == "first" and "configuration" in seen["why"]
    hub.wait_idle()


def test_a_rule_that_is_wrong_changes_nothing(hub, make_daemon):
    """The reload is refused, and what runs goes on."""
    publish(hub)
    daemon = make_daemon({"prefetch": {"first": RULE}})
    wait_until(lambda: [p["state"] for p in prefetches(daemon)] == ["done"], "it is done")
    daemon.write_config({"prefetch": {"first": {"window": "noon"}}})
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_refused_total", 1)
    assert [p["state"] for p in prefetches(daemon)] == ["done"]
    daemon.write_config({"prefetch": {"first": {"window": "00:00-23:59"}}})


@pytest.mark.parametrize("who", [None, ANN])
def test_not_on_the_clients_address(daemon, who):
    """Clients see nothing of it, whatever their token."""
    for method, target in (("GET", "prefetches"), ("POST", "prefetches"), ("DELETE", "prefetches/1")):
        reply = daemon.client.request(method, f"/-/api/v1/{target}", token=who, body=b"{}" if method == "POST" else None)
        assert reply.status == 404


def test_watched(hub, daemon):
    """How it ends is an event, which watch waits for; looking again without news is none."""
    publish(hub)
    slowly(hub, rate=8 * MIB)
    one = Prefetch.add(daemon, repository="acme/model")
    done = on(daemon, "watch", "prefetch:1", "--until", "done")
    assert done.returncode == 0 and "done" in done.stdout, done
    one.do("resume")
    one.wait("done")
    failing = Prefetch.add(daemon, repository="acme/nothing")
    failing.wait("failed")
    done = on(daemon, "watch", "--since", "0", "prefetch", "--until", "failed", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["subject"], r["state"]) for r in rows if r.get("topic") == "prefetch"] == [("1", "done"), ("2", "failed")]
    assert "acme/nothing" in rows[-1]["data"]["message"]
