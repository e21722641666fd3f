"""The admin socket, its API, and the commands that ask the running daemon."""

import grp
import json
import os
import shutil
import socket
import stat
import subprocess
import sys

import pytest
from conftest import CONFIG_JSON, populate
from test_operation import command

from tests.support.daemon import binary, wait_until
from tests.support.http import Client

NOBODY = 65534
NO_DAEMON = 75
STATUS = "/-/api/v1/status"

# What another user does: connects, asks, and says what came of it.
STRANGER = """
import os, socket, sys
path, uid, gid, groups = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(g) for g in sys.argv[4:]]
os.setgroups(groups)
os.setgid(gid)
os.setuid(uid)
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(10)
try:
    sock.connect(path)
    sock.sendall(b"GET /-/api/v1/status HTTP/1.0\\r\\n\\r\\n")
    answer = sock.recv(100)
except OSError as e:
    print(type(e).__name__)
else:
    print(answer.decode().partition("\\r\\n")[0] or "closed")
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def stranger(path, uid=NOBODY, gid=NOBODY, groups=()):
    """Ask as another user and return the status line, "closed" or the name of an error."""
    arguments = [sys.executable, "-c", STRANGER, str(path), str(uid), str(gid), *map(str, groups)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def on(daemon, *arguments, env=None):
    """Run a command with the configuration of a daemon."""
    return command(*arguments, "--config", daemon.config_file, env=env)


def test_the_socket(daemon):
    """It belongs to the daemon's user and group, others may not use it, and it goes with the daemon."""
    found = os.stat(daemon.admin_socket)
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
    assert daemon.admin.get(STATUS).status == 200
    daemon.stop()
    assert not daemon.admin_socket.exists()
    daemon.start()
    assert daemon.admin.get(STATUS).status == 200


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_the_mode_does_not_come_from_the_umask(make_daemon, mask):
    """A daemon that was started with any umask makes the same socket."""
    one = make_daemon(start=False)
    before = os.umask(mask)
    try:
        one.start(wait=False)
    finally:
        os.umask(before)
    one.wait_ready()
    assert stat.S_IMODE(os.stat(one.admin_socket).st_mode) == 0o660


@as_root
def test_other_users(make_daemon, tmp_path):
    """Who is neither root nor of the group is closed without a word, however he got to the socket."""
    folder = tmp_path / "run"
    folder.mkdir()
    one = make_daemon({"admin": {"socket": str(folder / "admin.sock")}})
    for path in (folder, *list(folder.parents)[:-2]):
        path.chmod(path.stat().st_mode | 0o711)
    assert stranger(one.admin_socket) == "PermissionError"
    one.admin_socket.chmod(0o666)
    assert stranger(one.admin_socket) in ("closed", "BrokenPipeError", "ConnectionResetError")
    one.wait_log(r"admin\.refused uid=65534")
    assert stranger(one.admin_socket, gid=os.getegid()) == "HTTP/1.1 200 OK"
    assert stranger(one.admin_socket, groups=[os.getegid()]) == "HTTP/1.1 200 OK"
    assert stranger(one.admin_socket, groups=[4711, 4712]) in ("closed", "BrokenPipeError", "ConnectionResetError")
    assert Client(one.url).get("/-/healthz").status == 200


@as_root
def test_a_group(make_daemon, tmp_path):
    """The group that the configuration names may use the socket, and its members alone."""
    group = grp.getgrgid(NOBODY)
    folder = tmp_path / "run"
    folder.mkdir()
    one = make_daemon({"admin": {"socket": str(folder / "admin.sock"), "group": group.gr_name}})
    for path in (folder, *list(folder.parents)[:-2]):
        path.chmod(path.stat().st_mode | 0o711)
    found = os.stat(one.admin_socket)
    assert found.st_gid == NOBODY and stat.S_IMODE(found.st_mode) == 0o660
    assert stranger(one.admin_socket, uid=12345) == "HTTP/1.1 200 OK"
    assert stranger(one.admin_socket, uid=12345, gid=12345, groups=[NOBODY]) == "HTTP/1.1 200 OK"
    assert stranger(one.admin_socket, uid=12345, gid=12345) == "PermissionError"


def test_a_group_that_is_not_there(make_daemon):
    """The daemon does not start and says why."""
    one = make_daemon({"admin": {"group": "no-such-group"}}, start=False)
    one.start(wait=False)
    assert one.wait() == 1
    assert "admin.group: no-such-group: there is no such group" in one.log_text()


def test_a_socket_that_was_left_behind(make_daemon):
    """After kill -9 the next start takes its place; commands say meanwhile that nobody answers."""
    one = make_daemon()
    one.kill()
    assert one.admin_socket.exists()
    done = on(one, "status")
    assert done.returncode == NO_DAEMON and done.stdout == ""
    assert "no daemon answers there: is it running?" in done.stderr and "admin.sock" in done.stderr
    one.start()
    assert one.admin.get(STATUS).status == 200


def test_a_socket_of_another_daemon(make_daemon, tmp_path):
    """Two daemons do not share one; the first goes on."""
    shared = {"admin": {"socket": str(tmp_path / "shared.sock")}}
    one, two = make_daemon(shared), make_daemon(shared, start=False)
    two.start(wait=False)
    assert two.wait() == NO_DAEMON
    assert "another daemon listens" in two.log_text()
    assert one.admin.get(STATUS).status == 200


def test_a_file_in_its_place(make_daemon, tmp_path):
    """What is not a socket is left alone, and the daemon says what is in the way."""
    (tmp_path / "precious").write_text("mine")
    one = make_daemon({"admin": {"socket": str(tmp_path / "precious")}}, start=False)
    one.start(wait=False)
    assert one.wait() == 1
    assert "is there and no socket" in one.log_text() and (tmp_path / "precious").read_text() == "mine"


def test_a_long_path(make_daemon, tmp_path):
    """A data directory whose name is longer than the address of a socket works as any other."""
    one = make_daemon(data_dir=tmp_path / ("long" * 20) / ("longer" * 20) / "data")
    assert len(str(one.admin_socket)) > 200
    assert json.loads(on(one, "status", "--json").stdout)["store"]["data_dir"] == str(one.data_dir)
    one.stop()
    assert not one.admin_socket.exists()
    done = on(one, "status")
    assert done.returncode == NO_DAEMON and "no daemon answers there" in done.stderr


def test_clients_do_not_reach_it(daemon):
    """On the addresses of clients the rows of operators do not exist, whatever a page in a browser sends."""
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        for path in ("/-/api/v1/", "/-/api/v1", STATUS, STATUS + "?x=1", "//-/api/v1/status", "/-/api/v1/%73tatus"):
            assert daemon.client.request(method, path).status == 404, (method, path)
    form = "application/x-www-form-urlencoded"
    assert daemon.client.post(STATUS, "a=b", content_type=form).status == 404
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert daemon.client.get(STATUS, headers=headers).status == 403
        assert daemon.client.post(STATUS, "{}", headers=headers).status == 403
        assert daemon.admin.post(STATUS, "{}", headers=headers).status == 403
    reply = daemon.client.get(STATUS)
    assert reply["Access-Control-Allow-Origin"] is None and reply["Cache-Control"] == "no-store"


def test_what_it_serves(daemon):
    """The API and the pages of the daemon; wrong methods and unknown paths are told apart."""
    reply = daemon.admin.get("/-/api/v1/")
    rows = {(row["method"], row["path"]) for row in reply.json()["routes"]}
    assert {("GET", "/-/api/v1/"), ("GET", STATUS)} <= rows
    assert daemon.admin.get("/-/healthz").body == b"ok\n" and b"hubcached_" in daemon.admin.get("/-/metrics").body
    head = daemon.admin.head(STATUS)
    assert head.status == 200 and head.body == b"" and head["Content-Type"].startswith("application/json")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        reply = daemon.admin.request(method, STATUS)
        assert reply.status == 405 and reply["Allow"] == "GET" and reply.json()["error"], method
    for path in (STATUS + "/", STATUS + "/x", "/-/api/v1/nothing", "/-/api/v2/status", "/-/api/", "/-/nothing"):
        assert daemon.admin.get(path).status == 404, path
    daemon.wait_log(r"admin\.call peer=uid:\d+ method=DELETE path=/-/api/v1/status status=405")
    # The Hub's paths are for clients, whose limits do not hold here.
    for path in ("/api/models/acme/tiny", "/acme/tiny/resolve/main/config.json", "/"):
        assert daemon.admin.get(path).status == 404
        assert daemon.admin.get(path)["X-Error-Code"] is None
    assert daemon.admin.post("/api/repos/create", {"name": "x"}).status == 404
    assert not [row for row in daemon.hub.log() if row["origin"] == "hub"]


def test_bodies(daemon):
    """A body is one JSON object of known members below a ceiling, and Host means nothing here."""
    pins = "/-/api/v1/pins"
    for body, text in (
        (b'{"repository": "acme/tiny", "colour": "red"}', 'unknown member "colour"'),
        (b'{"repository": "acme/tiny", "repository": "acme/other"}', "a name that is there twice"),
        (b'["acme/tiny"]', "must be a JSON object"),
        (b"{" * 5000, "must be a JSON object"),
        (b'{"repository"', "must be a JSON object"),
        (b"\xff", "must be a JSON object"),
    ):
        reply = daemon.admin.post(pins, body)
        assert reply.status == 400 and text in reply.json()["error"], (body, reply)
    form = daemon.admin.post(pins, "repository=acme/tiny", content_type="application/x-www-form-urlencoded")
    assert form.status == 415 and form.json()["error"]
    assert daemon.admin.post(pins, b'{"repository": "acme/tiny"}', content_type="text/plain").status == 415
    reply = daemon.admin.post(STATUS, b"x" * 70_000)
    assert reply.status == 413
    assert daemon.admin.get(STATUS, headers={"Host": "evil.example"}).status == 200
    assert daemon.client.post("/-/api/v1/status", b"x" * 70_000).status == 413


def test_status(make_daemon, hub):
    """It says what is going on, to people and to machines, and that the Hub does not answer."""
    populate(hub)
    one = make_daemon({"upstream": {"connect_timeout": "1s"}})
    assert one.client.get("/acme/tiny/resolve/main/config.json").body == CONFIG_JSON
    wait_until(lambda: one.admin.get(STATUS).json()["store"]["files"] == 1, "the file is stored")
    with socket.create_connection(("127.0.0.1", int(one.url.rpartition(":")[2]))):
        wait_until(lambda: one.admin.get(STATUS).json()["traffic"]["connections"] == 1, "one client")
    done = on(one, "status", "--json")
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    assert told["version"] == command("--version").stdout.split()[1] and told["pid"] == one.process.pid
    assert one.url == f"http://{told['listen']}" and told["mode"] == "fallback"
    assert told["upstream"] == {"url": hub.url, "down": False}
    assert told["store"]["files"] == 1 and told["store"]["bytes"] == len(CONFIG_JSON) and told["store"]["writable"]
    shown = on(one, "status").stdout
    assert f"1 files, {len(CONFIG_JSON)} B" in shown and hub.url in shown and "does not answer" not in shown
    hub.stop()

    def down():
        one.client.get("/api/models/acme/other")
        return json.loads(on(one, "status", "--json").stdout)["upstream"]["down"]

    wait_until(down, "the Hub is away", 30)
    assert "it does not answer" in on(one, "status").stdout


def test_commands_without_a_right(make_daemon, tmp_path):
    """A user whom the socket is not for is told so, with the status that means that nobody answered."""
    if os.geteuid() != 0:
        pytest.skip("becomes another user")
    one = make_daemon({"admin": {"socket": str(tmp_path / "admin.sock")}})
    program = tmp_path / "hubcached"
    shutil.copy(binary(), program)
    program.chmod(0o755)
    for path in list(tmp_path.parents)[:-2] + [tmp_path]:
        path.chmod(path.stat().st_mode | 0o711)
    for mode, text in ((0o660, "not for this user"), (0o666, "only root, its own user and its group may ask")):
        one.admin_socket.chmod(mode)
        done = subprocess.run(
            [str(program), "status", "--admin-socket", str(one.admin_socket), "--data-dir", "/nonexistent"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=20,
            env={"PATH": os.environ["PATH"]},
        )
        assert done.returncode == NO_DAEMON and text in done.stderr, done


def test_clients_cannot_keep_operators_out(make_daemon):
    """The limits on clients' connections do not count those of the admin socket."""
    one = make_daemon({"max_connections": 16, "max_connections_per_ip": 0})
    port = int(one.url.rpartition(":")[2])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
    try:
        wait_until(lambda: one.admin.get(STATUS).json()["traffic"]["connections"] >= 16, "all are taken")
        assert on(one, "status").returncode == 0
    finally:
        for sock in held:
            sock.close()
    extra = [one.admin.stream(STATUS) for _ in range(30)]
    assert all(s.head().status == 200 for s in extra)
    assert one.client.get("/-/healthz").status == 200
    for stream in extra:
        stream.close()


def test_help_and_wrong_usage():
    """Every command explains itself, and a wrong one costs status 2 and nothing else."""
    for words in (["client"], ["client", "add"], ["prefetch"], ["commits", "add"], ["watch"], ["status"], ["serve"]):
        done = command(*words, "--help")
        assert done.returncode == 0 and f"hubcached {' '.join(words)}" in done.stdout, done
        assert "Exit status" in done.stdout and done.stderr == ""
    for words in (["status", "now"], ["client", "add"], ["prefetch"], ["watch", "--until"], ["commits", "dance"]):
        done = command(*words)
        assert done.returncode == 2 and done.stdout == "" and "--help" in done.stderr, done
