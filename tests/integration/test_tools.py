"""Commands that look at the running daemon: top and doctor; and what the shell and man know of all commands."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import threading
import time

import pytest
from conftest import LARGE_LFS, populate
from test_pool import BOT, CI, Access
from test_tls import certificate

from tests.hub import Hub
from tests.support.daemon import binary, wait_until

MODEL = "/acme/tiny/resolve/main/model.safetensors"
MIB = 1 << 20


class Terminal:
    """A command of the program at a terminal of so many lines and columns."""

    def __init__(self, daemon, *arguments, lines=24, columns=80):
        """Start it."""
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.slave, self.seen = slave, b""
        self.resize(lines, columns)
        self.process = subprocess.Popen(
            [binary(), *arguments, "--config", str(daemon.config_file)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"PATH": os.environ["PATH"], "HOME": str(daemon.directory), "TERM": "xterm"},
            start_new_session=True,
        )

    def resize(self, lines, columns):
        """Give it another size, and say so as a terminal does."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, seconds=0.1):
        """Take what it wrote."""
        while select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)
            seconds = 0
        return self.seen

    def screen(self):
        """Return the lines of the last whole drawing."""
        frames = self.read().split(b"\x1b[H")
        whole = [f for f in frames if b"\x1b[J" in f]
        return whole[-1].split(b"\x1b[J")[0].decode().replace("\x1b[K", "").splitlines() if whole else []

    def wait_screen(self, text):
        """Wait until it shows this."""

        def shown():
            lines = self.screen()
            return lines if text in "\n".join(lines) else None

        return wait_until(shown, f"{text!r} is shown")

    def key(self, key):
        """Press a key."""
        os.write(self.master, key)

    def end(self):
        """Wait for its end; return the status and whether the terminal is as it was."""
        end = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        status = self.process.wait(1)
        self.read()
        same = termios.tcgetattr(self.slave) == self.before
        os.close(self.slave)
        os.close(self.master)
        return status, same


@pytest.fixture
def busy(hub, make_daemon):
    """A daemon that three clients wait for in the middle of one file."""
    populate(hub)
    daemon = make_daemon()
    sums = []
    with hub.gate(after_bytes=2 * MIB, origin="cdn") as gate:
        clients = [threading.Thread(target=lambda: sums.append(len(daemon.client.get(MODEL).body))) for _ in range(3)]
        for client in clients:
            client.start()
        gate.wait_reached()
        wait_until(lambda: daemon.admin.get("/-/api/v1/transfers").json()["transfers"], "the file is on its way")
        yield daemon
        gate.release()
        for client in clients:
            client.join()
    assert sums == [LARGE_LFS] * 3


def rows(daemon):
    """Return the transfers, which a command lists."""
    return json.loads(daemon.command("top", "--json"))["transfers"]


def test_transfers(busy):
    """A file that is coming in is there with its name, its bytes and its readers; afterwards it is gone."""
    wait_until(lambda: rows(busy)[0]["bytes"] >= MIB and rows(busy)[0]["readers"] == 3, "readers and bytes")
    (row,) = rows(busy)
    assert (row["repository"], row["path"], row["size"]) == ("acme/tiny", "model.safetensors", LARGE_LFS)
    assert row["bytes"] < LARGE_LFS and row["state"] == "running" and row["fetches"] >= 1
    wait_until(lambda: rows(busy)[0]["rate"] == 0, "nothing comes any more")
    text = busy.command("top", "--once")
    assert "1 files on their way" in text and "acme/tiny/model.safetensors" in text and "9.0 MiB" in text
    assert busy.command("top").splitlines()[1].split() == ["FILE", "DONE", "SIZE", "RATE", "READERS", "STATE"]
    assert busy.client.get("/-/api/v1/transfers").status == 404


def test_requests_that_wait(hub, make_daemon):
    """A request whose question the Hub does not answer is told of, with who asks."""
    populate(hub)
    daemon = make_daemon()
    with hub.gate("before_head", origin="hub", method="HEAD") as gate:
        client = threading.Thread(target=daemon.client.get, args=(MODEL,))
        client.start()
        gate.wait_reached()
        (row,) = json.loads(daemon.command("top", "--json"))["requests"]
        assert (row["op"], row["repository"]) == ("resolve", "acme/tiny") and row["peer"].startswith("127.0.0.1")
        gate.release()
        client.join()
    wait_until(lambda: rows(daemon) == [], "nothing is on its way")
    assert json.loads(daemon.command("top", "--json"))["requests"] == []


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_at_a_terminal(busy, key):
    """It is drawn over, fits, follows the window, and leaves the terminal as it was."""
    terminal = Terminal(busy, "top", columns=120)
    shown = terminal.wait_screen("acme/tiny/model.safetensors")
    assert "[##" in shown[2]
    terminal.resize(3, 20)
    wait_until(lambda: 0 < max(map(len, terminal.screen()), default=99) <= 20, "it fits the smaller window")
    assert len(terminal.screen()) <= 2
    terminal.key(b"x")
    terminal.key(key)
    assert terminal.end() == (0, True)


def test_the_daemon_ends_meanwhile(hub, make_daemon):
    """Without a daemon there is nothing to look at: it says so, and the terminal is as it was."""
    daemon = make_daemon()
    terminal = Terminal(daemon, "top", columns=100)
    terminal.wait_screen("0 files")
    daemon.stop()
    assert terminal.end() == (75, True)
    daemon.command("top", "--once", code=75)


def examine(daemon, code=0):
    """Return what doctor finds: {name: (result, says, advice)}, and the clients seen."""
    out = daemon.command("doctor", "--json", code=code)
    doc = json.loads(out)
    return {c["name"]: (c["result"], c["says"], c["advice"]) for c in doc["checks"]}, doc["clients"]


def test_doctor_finds_nothing(hub, make_daemon):
    """Where all is well each check says so, and the clients are named by library and version."""
    daemon = make_daemon()
    for agent, n in (
        ("transformers/4.57.1; hf_hub/0.36.0; python/3.11.2; torch/2.1", 3),
        ("curl/7.88.1", 1),
        ("evil name\t/x; <script>", 1),
    ):
        for _ in range(n):
            daemon.client.get(f"/acme/none{n}/resolve/{'0' * 40}/x{_}", headers={"User-Agent": agent})
    checks, clients = examine(daemon)
    names = "room disk data_dir admin descriptors connections dns tls upstream clock"
    assert set(names.split()) <= set(checks)
    assert all(result == "ok" and advice == "" for result, _, advice in checks.values()), checks
    assert hub.url in checks["upstream"][1] and "200" in checks["upstream"][1]
    seen = {(c["name"], c["version"]): c["requests"] for c in clients}
    assert seen[("hf_hub", "0.36.0")] == 3 and seen[("curl", "7.88.1")] == 1
    assert not any(set("<>\t ") & set(name + version) for name, version in seen)
    text = daemon.command("doctor")
    assert text.splitlines()[0].startswith("ok   room") and "seen hf_hub" in text
    assert daemon.client.get("/-/api/v1/doctor").status == 404


def test_doctor_finds_trouble(hub, make_daemon):
    """A Hub that is away, a clock that is wrong and a directory that is open fail, and say what to do."""
    daemon = make_daemon()
    os.chmod(daemon.data_dir, 0o755)
    hub.down()
    checks, _ = examine(daemon, code=1)
    assert checks["data_dir"][0] == "warn" and "chmod 700" in checks["data_dir"][2]
    assert checks["connect"][0] == "fail" and checks["upstream"][0] == "fail" and checks["upstream"][2]
    hub.up()
    os.chmod(daemon.data_dir, 0o777)
    assert examine(daemon, code=1)[0]["data_dir"][0] == "fail"
    os.chmod(daemon.data_dir, 0o700)
    wait_until(lambda: daemon.client.get("/api/models?author=acme").status == 200, "it is there again", 20)
    assert "ok   upstream" in daemon.command("doctor")
    assert daemon.admin.request("POST", "/-/api/v1/doctor").status == 202
    daemon.stop()
    daemon.command("doctor", code=75)


def test_doctor_offline(hub, make_daemon):
    """Offline it asks nobody."""
    daemon = make_daemon({"mode": "offline"})
    hub.clear_log()
    checks, _ = examine(daemon)
    assert "not asked" in checks["upstream"][1] and "dns" not in checks
    assert hub.log() == []


def test_doctor_looks_at_the_certificate(tmp_path, make_daemon):
    """Over TLS the end of the certificate is told, and one that is not trusted is a failure."""
    fits = certificate(tmp_path, "fits", "IP:127.0.0.1,IP:127.0.0.2", "40")
    with Hub.start(tls_certificate=fits[0], tls_key=fits[1]) as hub:
        daemon = make_daemon({"upstream": {"ca_file": str(fits[0])}}, hub=hub)
        result, says, _ = examine(daemon)[0]["tls"]
        assert result == "ok" and ("39 days" in says or "40 days" in says)
        hub.certificate("hub", *certificate(tmp_path, "soon", "IP:127.0.0.1", "2"))
        result, says, advice = examine(daemon, code=1)[0]["tls"]
        assert result == "fail" and "upstream.ca_file" in advice and says
        daemon.restart({"upstream": {"ca_file": str(tmp_path / "soon.pem")}})
        assert examine(daemon)[0]["tls"][0] == "warn"


def test_doctor_tells_tokens_by_label(hub, make_daemon, tmp_path):
    """A token that the Hub calls invalid is a failure, by its label; no token is shown."""
    populate(hub)
    hub.add_token(BOT, "bot", orgs=["acme"], role="write")
    access = Access(tmp_path / "access")
    access.token("main", "bot-1", BOT)
    access.client("ci", CI, ["acme/*"], ["read"])
    access.write()
    daemon = make_daemon(access.config)
    assert "not used yet" in examine(daemon)[0]["token"][1]
    assert daemon.client.get("/acme/secret/resolve/main/config.json", token=CI).status == 200
    assert "bot-1 of pool main" in examine(daemon)[0]["token"][1]
    hub.call("revoke_token", token=BOT)
    daemon.client.get("/acme/secret/resolve/main/README.md", token=CI)
    result, says, advice = examine(daemon, code=1)[0]["token"]
    assert result == "fail" and "bot-1" in says and "SIGHUP" in advice
    assert "CANARY" not in daemon.command("doctor", code=1)
