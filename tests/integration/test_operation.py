"""Starting, stopping, configuring and watching the daemon."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import ANN

from tests.hub import Generated
from tests.support.daemon import binary, wait_until

MIB = 1 << 20


def command(*arguments, env=None, **options):
    """Run the program and return its result."""
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [binary(), *map(str, arguments)],
        env={**base, **(env or {})},
        capture_output=True,
        text=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
        **options,
    )


def test_version_and_help():
    """--version names the program; --help lists the commands and every option with its meaning."""
    done = command("--version")
    assert done.returncode == 0 and re.fullmatch(r"hubcached \d+\.\d+\.\d+\n", done.stdout)
    done = command("--help")
    assert done.returncode == 0 and "serve" in done.stdout and "check-config" in done.stdout
    for option in ("--listen", "--upstream-url", "--cache-ref-ttl", "--limits-drain"):
        assert option in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["serve", "--no-such-option", "1"],
        ["serve", "--listen"],
        ["serve", "--cache-ref-ttl", "soon"],
        ["serve", "--config", "/nonexistent.yaml"],
    ],
)
def test_a_wrong_command_line(arguments):
    """It says what it did not understand, on standard error, and ends with a status that is not 0."""
    done = command(*arguments)
    assert done.returncode not in (0, -6, -11) and done.stdout == ""
    assert arguments[-1].lstrip("-") in done.stderr or arguments[1].lstrip("-") in done.stderr
    assert "--help" in done.stderr or "expected" in done.stderr or "nonexistent" in done.stderr


def test_serve_without_arguments(tmp_path):
    """With nothing said it listens where the documentation says, and keeps its files below the user's cache."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8090))
        except OSError:
            pytest.skip("port 8090 is in use on this machine")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with subprocess.Popen(
        [binary(), "serve"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as daemon:
        line = daemon.stdout.readline()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    assert "export HF_ENDPOINT=http://127.0.0.1:8090" in line
    assert (tmp_path / ".cache" / "hubcached").is_dir()


def test_the_ready_line_says_what_to_export(daemon):
    """One line, with the real port."""
    assert re.search(r"export HF_ENDPOINT=http://127\.0\.0\.1:\d+$", daemon.ready_line)
    assert daemon.client.get("/-/healthz").status == 200


BAD_CONFIG = """
listen: "127.0.0.1:99999"
log_level: loud
upstrem:
  url: "https://x"
cache:
  ref_ttl: "10 parsecs"
  read_ahead: "-5"
  hide_xet: perhaps
limits:
  request_body: "99999TiB"
threads: many
threads: 4
"""


def test_a_bad_configuration_is_explained_whole(tmp_path):
    """Every mistake at once, with file, line, option, what was seen and what is expected."""
    path = tmp_path / "bad.yaml"
    path.write_text(BAD_CONFIG)
    for arguments in (("check-config", path), ("serve", "--config", path)):
        done = command(*arguments)
        assert done.returncode not in (0, -6, -11)
        text = done.stderr
        for line, word, seen in (
            (2, "listen", "99999"),
            (3, "log_level", "loud"),
            (5, "upstrem", "upstrem"),
            (7, "ref_ttl", "parsecs"),
            (8, "read_ahead", "-5"),
            (9, "hide_xet", "perhaps"),
            (11, "request_body", "99999TiB"),
            (12, "threads", "many"),
        ):
            assert re.search(rf"bad\.yaml:{line}\b.*{word}", text), (line, word, text)
            assert seen in text
        assert "debug" in text, "what a choice may say is listed"


@pytest.mark.parametrize(
    "text",
    [
        "listen: [",
        "\t- x",
        "a: b: c",
        "\0",
        "- 1\n- 2\n",
        "listen: {a: 1}\n",
        "cache: 5\n",
        'listen: &x "127.0.0.1:0"\nlog_level: *x\n',
        "x" * 200000,
    ],
)
def test_configurations_that_are_none(tmp_path, text):
    """Broken YAML and wrong shapes are refused with the file's name."""
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    done = command("check-config", path)
    assert done.returncode not in (0, -6, -11)
    assert "odd.yaml" in done.stderr


def test_check_config(tmp_path):
    """A good file is called good; what is in force can be printed, and read back."""
    path = tmp_path / "good.yaml"
    path.write_text('listen: "127.0.0.1:0"\ncache:\n  ref_ttl: 30s\n')
    done = command("check-config", path)
    assert done.returncode == 0 and "good" in done.stdout
    printed = command("check-config", path, "--print")
    assert printed.returncode == 0 and "ref_ttl" in printed.stdout
    path.write_text(printed.stdout)
    again = command("check-config", path, "--print")
    assert (again.returncode, again.stdout) == (0, printed.stdout)
    example = command("check-config", "--print-default")
    path.write_text(example.stdout)
    assert command("check-config", path).returncode == 0


def test_environment_and_flags_win_over_the_file(make_daemon):
    """File, then environment, then command line."""
    one = make_daemon({"cache": {"ref_ttl": "1s"}}, environment={"HUBCACHED_CACHE_REF_TTL": "2s"}, start=False)
    env = {**one.environment}
    assert "2s" in re.search(r".*ref_ttl.*", command("check-config", one.config_file, "--print", env=env).stdout).group(
        0
    )


def test_health_readiness_and_metrics(hub, daemon):
    """What a monitor asks, for GET and HEAD; other methods and pages are refused."""
    assert daemon.client.get("/-/healthz").body == b"ok\n"
    assert daemon.client.head("/-/healthz").status == 200
    assert daemon.client.get("/-/readyz").body == b"ready\n"
    reply = daemon.client.get("/-/metrics")
    assert reply.status == 200 and reply["Content-Type"].startswith("text/plain")
    names = set()
    for line in reply.body.decode().splitlines():
        if line.startswith("# TYPE "):
            names.add(line.split()[2])
        elif not line.startswith("#"):
            assert re.fullmatch(
                r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.eE]+(Inf)?', line
            ), line
    assert any("requests_total" in n for n in names) and any("flights" in n for n in names)
    assert daemon.client.get("/-/nothing").status == 404
    assert daemon.client.post("/-/healthz", b"x", "text/plain").status == 405
    assert hub.log() == []


def test_metrics_count_what_happened(hub, daemon):
    """Misses, hits and upstream bytes are counted, without names of repositories."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(300_000, seed=1)})
    for _ in range(3):
        assert daemon.client.get(f"/acme/m/resolve/{sha}/w.safetensors").complete
    wait_until(
        lambda: daemon.metric("requests_total", op="resolve") + daemon.metric("requests_total", result="hit") >= 3,
        "the requests are counted",
    )
    assert daemon.metric("requests_total", op="resolve", result="miss") == 1
    assert daemon.metric("upstream_received_body_bytes_total", host="cdn") == 300_000
    assert daemon.metric("upstream_requests_total", host="cdn") == 1
    assert "acme" not in daemon.client.get("/-/metrics").body.decode()


def test_sigterm_lets_answers_finish(hub, make_daemon):
    """A download that is under way is finished, new connections are refused, and it ends with 0."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(10 * MIB, seed=1)})
    daemon = make_daemon({"limits": {"drain": "20s"}})
    with hub.gate(after_bytes=5 * MIB, origin="cdn") as gate:
        with daemon.client.stream(f"/acme/m/resolve/{sha}/w.safetensors") as stream:
            stream.head()
            gate.wait_reached()
            daemon.signal(signal.SIGTERM)
            daemon.wait_log("daemon.stopping")

            def refused():
                try:
                    return daemon.client.get("/-/healthz", timeout=2).status >= 500
                except OSError:
                    return True

            wait_until(refused, "new requests are turned away")
            assert daemon.alive()
            gate.release()
            body, whole = stream.rest()
    assert whole and len(body) == 10 * MIB
    assert daemon.wait() == 0


def test_a_second_sigterm_does_not_wait(hub, make_daemon):
    """Whoever asks twice means it."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(10 * MIB, seed=1)})
    daemon = make_daemon({"limits": {"drain": "60s"}})
    with hub.gate(after_bytes=5 * MIB, origin="cdn") as gate:
        with daemon.client.stream(f"/acme/m/resolve/{sha}/w.safetensors") as stream:
            stream.head()
            gate.wait_reached()
            daemon.signal(signal.SIGTERM)
            daemon.wait_log("daemon.stopping")
            began = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert time.monotonic() - began < 8


def test_the_drain_ends(hub, make_daemon):
    """An answer that does not end is cut when limits.drain is over."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"w.safetensors": Generated(10 * MIB, seed=1)})
    daemon = make_daemon({"limits": {"drain": "1s"}})
    with hub.gate(after_bytes=5 * MIB, origin="cdn"):
        with daemon.client.stream(f"/acme/m/resolve/{sha}/w.safetensors") as stream:
            stream.head()
            began = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert time.monotonic() - began < 8


def test_sighup_takes_over_what_can_be(hub, daemon):
    """A changed TTL counts without a restart and without a dropped connection; what needs one is said."""
    hub.create_repo("models", "acme/m")
    hub.commit("models", "acme/m", {"config.json": b"1"})
    path = "/acme/m/resolve/main/config.json"
    daemon.write_config({"cache": {"ref_ttl": "1h"}})
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_total", 1)
    assert daemon.client.get(path).body == b"1"
    hub.commit("models", "acme/m", {"config.json": b"2"})
    daemon.write_config({"cache": {"ref_ttl": "0s"}, "threads": "3"})
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_total", 2)
    wait_until(lambda: daemon.client.get(path).body == b"2", "the shorter TTL counts")
    daemon.wait_log(r"threads.*(restart|next start)")


def test_sighup_with_a_bad_file_keeps_the_old_one(hub, daemon):
    """It says what is wrong and goes on."""
    hub.create_repo("models", "acme/m")
    good = daemon.config_file.read_text()
    daemon.config_file.write_text(good + "nonsense: 1\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_refused_total", 1)
    daemon.wait_log("nonsense")
    assert daemon.client.get("/api/models/acme/m").status == 200
    daemon.config_file.write_text(good)
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_total", 1)


def test_sighup_with_a_bad_rule_keeps_the_old_ones(daemon):
    """Rules of the workers and options are taken over together or not at all; secrets are not told."""
    good = daemon.config_file.read_text()
    secret = daemon.config_file.parent / "hook"
    secret.write_text("two-words of-a-secret\n")
    daemon.config_file.write_text(good + "webhooks:\n  ops:\n    url: http://hooks.example\n"
                                  f"    secret_file: {secret}\nwatch:\n  acme: {{kinds: [jbos]}}\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_refused_total", 1)
    daemon.wait_log(r"watch\.acme\.kinds: got .*jbos")
    daemon.wait_log(r"webhooks\.ops\.secret_file: .*holds more than one word")
    assert "of-a-secret" not in daemon.log_text()
    secret.write_text("one-word\n")
    secret.chmod(0o600)
    daemon.config_file.write_text(daemon.config_file.read_text().replace("jbos", "jobs"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_total", 1)
    # A pool that is not there would never do anything.
    daemon.config_file.write_text(daemon.config_file.read_text().replace("[jobs]", "[jobs], pool: gone"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_metric("reloads_refused_total", 2)
    daemon.wait_log(r"watch\.acme\.pool: there is no pool")


def test_reloads_under_load(hub, daemon):
    """A hundred reloads while clients read: not one failed answer."""
    hub.create_repo("models", "acme/m")
    sha = hub.commit("models", "acme/m", {"config.json": b"{}", "w.safetensors": Generated(2 * MIB, seed=1)})
    stop, bad = threading.Event(), []

    def read():
        while not stop.is_set():
            for name in ("config.json", "w.safetensors"):
                reply = daemon.client.get(f"/acme/m/resolve/{sha}/{name}")
                if reply.status != 200 or not reply.complete:
                    bad.append(reply)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for t in threads:
        t.start()
    for n in range(100):
        daemon.signal(signal.SIGHUP)
        if n % 10 == 9:
            done = daemon.metric("reloads_total")
            wait_until(lambda: daemon.metric("reloads_total") >= min(done + 1, n // 10 + 1), "reloads")
    stop.set()
    for t in threads:
        t.join()
    assert bad == [] and daemon.alive()


def test_the_log_is_readable(hub, make_daemon):
    """Text or JSON, one event a line, and hostile names cannot forge lines."""
    hub.create_repo("models", "acme/m")
    for form in ("text", "json"):
        daemon = make_daemon({"log_format": form})
        for path in (
            "/acme/m/resolve/main/a%1b[31mb",
            "/acme/m/resolve/main/x%0a2026-01-01 level=error",
            "/acme/m/resolve/main/%e2%80%ae",
        ):
            daemon.client.get(path.replace(" ", "%20"))
        daemon.client.get("/acme/m/resolve/main/config.json?token=CANARYquery", token=ANN)
        daemon.stop()
        for line in daemon.log_text().splitlines():
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", line), repr(line)
            if form == "json":
                assert isinstance(json.loads(line), dict)


def test_too_many_connections_are_turned_away(make_daemon):
    """Beyond the limit there is an answer at once, and room again when others have gone."""
    daemon = make_daemon({"max_connections": "16"})
    port = int(daemon.url.rsplit(":", 1)[1])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]

    def refused():
        try:
            return daemon.client.get("/-/healthz", timeout=3).status == 503
        except OSError:
            return True

    assert refused()
    for sock in held:
        sock.close()

    def served():
        try:
            return daemon.client.get("/-/healthz", timeout=3).status == 200
        except OSError:
            return False

    wait_until(served, "there is room again")


def test_the_environment_of_proxies_is_ignored(hub, make_daemon):
    """http_proxy and SSLKEYLOGFILE of whoever starts it lead no token astray."""
    hub.create_repo("models", "acme/m")
    daemon = make_daemon(
        environment={
            "http_proxy": hub.evil_url,
            "HTTP_PROXY": hub.evil_url,
            "ALL_PROXY": hub.evil_url,
            "SSLKEYLOGFILE": "/tmp/hubcached-keys",
        }
    )
    assert daemon.client.get("/api/models/acme/m", token=ANN).status == 200
    assert hub.log("evil") == []


def test_no_token_in_the_process(hub, daemon):
    """Neither the command line nor the environment shows tokens."""
    daemon.client.get("/api/whoami-v2", token=ANN)
    for name in ("cmdline", "environ"):
        with open(f"/proc/{daemon.process.pid}/{name}", "rb") as f:
            assert b"CANARY" not in f.read()
