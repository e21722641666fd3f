"""The daemon under test: started, asked, stopped and killed."""

import os
import re
import select
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from .http import Client

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 20
STOP_SECONDS = 20
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:).*")


def binary():
    """Return the path of the program under test: $HUBCACHED, else what `make` builds."""
    return os.environ.get("HUBCACHED") or str(ROOT / "build/plain/daemon/hubcached")


def wait_until(condition, what, seconds=10):
    """Wait until a condition is true and return its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def to_yaml(value, indent=0):
    """Return a dictionary as YAML, enough for configurations."""
    out = ""
    for key, item in value.items():
        if isinstance(item, dict):
            out += " " * indent + f"{key}:\n" + to_yaml(item, indent + 2)
        elif isinstance(item, list):
            out += " " * indent + f"{key}: [{', '.join(f'{chr(34)}{i}{chr(34)}' for i in item)}]\n"
        else:
            text = str(item).lower() if isinstance(item, bool) else str(item)
            out += (
                " " * indent + f'{key}: "{text}"\n' if not isinstance(item, bool) else " " * indent + f"{key}: {text}\n"
            )
    return out


def merged(base, more):
    """Return base with the values of more in it, section by section."""
    out = {k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}
    for key, value in (more or {}).items():
        out[key] = merged(out.get(key, {}), value) if isinstance(value, dict) else value
    return out


class Daemon:
    """One data directory and the process that serves it, which may be started more than once."""

    def __init__(
        self, hub, directory, config=None, arguments=(), environment=None, data_dir=None, program=None, prefix=()
    ):
        """Write the configuration; `start` does the rest.  `prefix` is a command that runs the program."""
        self.program, self.prefix = program, list(prefix)
        self.hub, self.directory = hub, Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = Path(data_dir) if data_dir else self.directory / "data"
        self.config_file = self.directory / "hubcached.yaml"
        self.log_file = self.directory / "log"
        self.arguments, self.environment = list(arguments), environment or {}
        self.process, self.url, self.ready_line = None, None, None
        self.metrics_seen = ""
        self.expect_death = False
        base = {
            "listen": "127.0.0.1:0",
            "data_dir": str(self.data_dir),
            "log_level": "debug",
            "limits": {"drain": "2s"},
            "cache": {"min_free": "1MiB"},
        }
        if hub is not None:
            base["upstream"] = {
                "url": hub.url,
                "redirect_hosts": [urlsplit(hub.cdn_url).netloc, urlsplit(hub.cas_url).netloc],
                "upload_hosts": [urlsplit(hub.s3_url).netloc],
                "endpoints_url": hub.endpoints_url,
                "catalog_url": hub.endpoints_url,
                "viewer_url": hub.viewer_url,
                "allow_private_addresses": True,
            }
        self.config = merged(base, config)
        self.write_config()

    def write_config(self, config=None):
        """Write the configuration file, changed by `config`."""
        self.config = merged(self.config, config)
        self.config_file.write_text(to_yaml(self.config))

    def start(self, wait=True):
        """Start the process and wait until it says that it is ready."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        command = [*self.prefix, self.program or binary(), "serve", "--config", str(self.config_file), *self.arguments]
        self.expect_death = False
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env={**env, **self.environment}
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        """Wait for the line that says where it listens."""
        fd = self.process.stdout.fileno()
        line, end = b"", time.monotonic() + READY_SECONDS
        while b"\n" not in line:
            readable, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            data = os.read(fd, 4096) if readable else b""
            if not data:
                raise AssertionError(f"the daemon did not become ready: {line!r}\n{self.log_text()[-3000:]}")
            line += data
        self.ready_line = line.decode().strip()
        match = re.search(r"HF_ENDPOINT=(http://\S+)", self.ready_line)
        assert match, f"the ready line names no HF_ENDPOINT: {self.ready_line}"
        self.url = match.group(1)

    @property
    def client(self):
        """Return a client without a token."""
        return Client(self.url)

    @property
    def admin_socket(self):
        """Return the path of the admin socket."""
        return Path(self.config.get("admin", {}).get("socket") or self.data_dir / "admin.sock")

    @property
    def admin(self):
        """Return a client of the admin socket."""
        return Client(f"unix:{self.admin_socket}")

    def as_user(self, token):
        """Return a client with a token."""
        return Client(self.url, token)

    def signal(self, number):
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self):
        """Stop it as an administrator does; it must end by itself with status 0."""
        if self.process is None:
            return
        self._keep_metrics()
        self.signal(signal.SIGTERM)
        status = self.wait()
        assert status == 0, f"ended with status {status}\n{self.log_text()[-3000:]}"

    def _keep_metrics(self):
        try:
            self.metrics_seen += Client(self.url).get("/-/metrics", timeout=5).body.decode()
        except (OSError, TypeError):
            pass

    def wait(self, seconds=STOP_SECONDS):
        """Wait for the end of the process and return its status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self._gone()
            raise AssertionError(f"did not stop within {seconds} s\n{self.log_text()[-3000:]}") from None
        self._gone()
        return status

    def _gone(self):
        self.process.stdout.close()
        self.process = None

    def kill(self):
        """End it without warning."""
        self.process.kill()
        self.process.wait()
        self._gone()

    def restart(self, config=None):
        """Stop and start again on the same data."""
        self.stop()
        self.write_config(config)
        return self.start()

    def metrics(self):
        """Return {"name{labels}": value}."""
        text = Client(self.url).get("/-/metrics").body.decode()
        self.metrics_seen += text
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def metric(self, name, **labels):
        """Return the sum of a metric's series that carry these labels; the prefix need not be said."""
        total = 0.0
        for key, value in self.metrics().items():
            series, _, rest = key.partition("{")
            if series.removeprefix("hubcached_") == name and all(f'{k}="{v}"' in rest for k, v in labels.items()):
                total += value
        return total

    def wait_metric(self, name, at_least, seconds=10, **labels):
        """Wait until a metric is so large."""
        wait_until(lambda: self.metric(name, **labels) >= at_least, f"{name}{labels or ''} >= {at_least}", seconds)

    def log_text(self):
        """Return everything it has logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_log(self, pattern, seconds=10):
        """Wait until a line of the log matches."""
        return wait_until(lambda: re.search(pattern, self.log_text()), f"a line with {pattern}", seconds)

    def alive(self):
        """Tell whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def files(self):
        """Return {path below the data directory: size}."""
        out = {}
        for where, _, names in os.walk(self.data_dir):
            for name in names:
                path = Path(where) / name
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    out[str(path.relative_to(self.data_dir))] = status.st_size
        return out

    def blob_file(self, digest):
        """Return the path of the published file with this digest, or None."""
        for name in self.files():
            flat = name.replace("/", "")
            if flat.endswith(digest) or flat.endswith(digest[2:]) and Path(name).parent.name == digest[:2]:
                if "partial" not in name and "staging" not in name and "tmp" not in name:
                    return self.data_dir / name
        return None

    def command(self, *arguments, code=0, timeout=60):
        """Run a command of the program against this daemon; return its output, of both kinds if it failed as expected."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [binary(), *arguments, "--config", str(self.config_file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=env,
            timeout=timeout,
        )
        assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stdout + done.stderr

    def finish(self, secrets):
        """Stop, look for secrets in everything it wrote, and remove its data."""
        problems = []
        try:
            if self.process is not None:
                if self.process.poll() is not None and not self.expect_death:
                    status = self.process.returncode
                    self._gone()
                    problems.append(f"the daemon died with status {status}\n{self.log_text()[-3000:]}")
                else:
                    self.stop()
        except AssertionError as e:
            problems.append(str(e))
        log = self.log_text()
        if found := SANITIZER.search(log):
            problems.append(log[max(0, found.start() - 200) : found.start() + 4000])
        for secret in secrets:
            if secret in log:
                problems.append(f"the log holds {secret}")
            if secret in self.metrics_seen:
                problems.append(f"the metrics hold {secret}")
            for name in self.files():
                if secret.encode() in (self.data_dir / name).read_bytes():
                    problems.append(f"{name} holds {secret}")
        shutil.rmtree(self.data_dir, ignore_errors=True)
        return problems
