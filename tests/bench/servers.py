"""What the benchmark runs: an origin that speaks enough of the Hub, and the caches before it.

Every server can be started afresh with an empty cache, and says which processes it is.
"""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

OLAH = "olah==0.5.4"
NGINX_WORKERS = os.cpu_count() or 1
MIB = 1 << 20
GIGABIT = 125_000_000  # bytes per second
PREFETCHES = 4  # share such a line


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ahead_name(number):
    """The file, and repository, that one of the prefetches fetches."""
    return f"ahead-{number}"


def cpu_seconds(pids):
    """The CPU clocks of processes: nanoseconds, with the time of threads that ended."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            pass
    return total


def rss_anon(pids):
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def settle(pids, limit=10.0):
    """Waits until the processes have nothing more to do."""
    end = time.monotonic() + limit
    before = cpu_seconds(pids)
    while time.monotonic() < end:
        time.sleep(0.15)
        now = cpu_seconds(pids)
        if now - before < 0.003:
            return
        before = now


def fetch(url, method="GET", headers=None, body=None):
    """Status, headers and body of one answer; redirects are not followed."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, "/" + path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Data:
    """Files of random bytes, made once and kept: name, size, sha256."""

    def __init__(self, folder):
        self.folder = folder
        self.known = folder / "files.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.files = json.loads(self.known.read_text()) if self.known.exists() else {}

    def need(self, name, size):
        path = self.folder / name
        if name in self.files and path.exists() and path.stat().st_size == size:
            return
        sha = hashlib.sha256()
        with path.open("wb") as out:
            for at in range(0, size, 16 * MIB):
                piece = os.urandom(min(16 * MIB, size - at))
                sha.update(piece)
                out.write(piece)
        self.files[name] = {"size": size, "sha256": sha.hexdigest()}
        self.known.write_text(json.dumps(self.files, indent=1))

    def warm(self, name):
        """Into the page cache."""
        with (self.folder / name).open("rb") as f:
            while f.read(16 * MIB):
                pass


def commit_of(name):
    return hashlib.sha1(name.encode()).hexdigest()


class Server:
    """One process and its children, in its own folder."""

    name = ""

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def command(self):
        raise NotImplementedError

    def probe(self):
        """A URL that answers once the server is up."""
        raise NotImplementedError

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HUBCACHED_")}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.folder, env=environment)
        end = time.monotonic() + 30
        while True:
            try:
                if fetch(self.probe())[0] < 500:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                tail = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not start:\n{tail}")
            time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def write_config(self):
        pass

    def pids(self):
        """The process and its children."""
        root = self.process.pid
        found = [root]
        for task in Path(f"/proc/{root}/task").iterdir():
            found += [int(p) for p in (task / "children").read_text().split()]
        return found

    def cpu(self):
        return cpu_seconds(self.pids())

    def empty(self):
        """Starts afresh with nothing in the cache."""
        raise NotImplementedError


class Sink(Server):
    """Object storage: takes what is uploaded, no faster than a rate if there is one, and forgets it."""

    def __init__(self, folder, program, name, rate=0):
        super().__init__(folder)
        self.program, self.name, self.rate = program, name, rate
        self.port = free_port()

    def command(self):
        return [str(self.program), str(self.port)] + ([str(self.rate)] if self.rate else [])

    def probe(self):
        return f"http://127.0.0.1:{self.port}/"

    def arrived(self):
        """The body bytes that came since this was last asked."""
        return int(fetch(self.probe())[2])


class Nginx(Server):
    def __init__(self, folder, binary):
        super().__init__(folder)
        self.binary = binary

    def command(self):
        return [self.binary, "-p", str(self.folder), "-c", "nginx.conf"]

    def config(self, workers, http):
        user = "user root;" if os.geteuid() == 0 else ""
        return f"""
daemon off; {user} worker_processes {workers}; pid nginx.pid; error_log error.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  client_body_temp_path tmp-body; proxy_temp_path tmp-proxy; fastcgi_temp_path tmp-fastcgi;
  uwsgi_temp_path tmp-uwsgi; scgi_temp_path tmp-scgi;
  default_type application/octet-stream;
  sendfile on; tcp_nopush on; tcp_nodelay on; open_file_cache off; access_log off; etag off;
  server_tokens off; keepalive_requests 100000000; keepalive_timeout 75s;
{http}
}}
"""


class Origin(Nginx):
    """The Hub and its CDN.  Each file is a repository of its own with the one path model.bin."""

    name = "origin"

    def __init__(self, folder, binary, data, storages):
        super().__init__(folder, binary)
        self.data = data
        self.storages = {s.name: s for s in storages}
        self.hub, self.cdn, self.answers = free_port(), free_port(), free_port()

    def resolve_path(self, name):
        return f"/bench/{name}/resolve/{commit_of(name)}/model.bin"

    def info_path(self, name="info"):
        return f"/api/models/bench/{name}/revision/{commit_of(name)}"

    def info(self, name):
        """A document of 2048 bytes."""
        doc = {
            "_id": hashlib.sha1(b"id" + name.encode()).hexdigest()[:24],
            "id": f"bench/{name}",
            "modelId": f"bench/{name}",
            "sha": commit_of(name),
            "private": False,
            "gated": False,
            "disabled": False,
            "lastModified": "2024-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": "model.bin"}],
            "tags": [],
        }
        doc["tags"] = ["x" * (2048 - len(json.dumps(doc)) - 2)]
        return json.dumps(doc)

    def places(self, name, file):
        commit = commit_of(name)
        entry = [{"type": "file", "path": "model.bin", "size": file["size"], "oid": commit,
                  "lfs": {"oid": file["sha256"], "size": file["size"], "pointerSize": 134}}]
        info = f"default_type application/json; add_header X-Repo-Commit {commit}; return 200 '{self.info(name)}';"
        return f"""
    location = /api/models/bench/{name} {{ {info} }}
    location = /api/models/bench/{name}/revision/{commit} {{ {info} }}
    location = /api/models/bench/{name}/paths-info/{commit} {{
      default_type application/json; return 200 '{json.dumps(entry)}'; }}
    location = {self.resolve_path(name)} {{
      add_header X-Repo-Commit {commit}; add_header X-Linked-Size {file['size']};
      add_header X-Linked-Etag '"{file['sha256']}"'; add_header Accept-Ranges bytes;
      return 302 http://127.0.0.1:{self.cdn}/blob/{name}; }}
"""

    def fetched_ahead(self, name, file):
        """What a prefetch asks about a repository besides, and its file no faster than a part of the line."""
        commit, api = commit_of(name), f"/api/models/bench/{name}"
        tree = [{"type": "file", "path": "model.bin", "size": file["size"], "oid": commit,
                 "lfs": {"oid": file["sha256"], "size": file["size"], "pointerSize": 134}}]
        refs = {"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": commit}], "converts": [],
                "tags": []}
        history = [{"id": commit, "title": "first", "message": "", "date": "2024-01-01T00:00:00.000Z", "authors": []}]
        answers = {f"{api}/revision/main": self.info(name), f"{api}/revision/HEAD": self.info(name), f"{api}/refs": json.dumps(refs),
                   f"{api}/tree/{commit}": json.dumps(tree), f"{api}/commits/{commit}": json.dumps(history)}
        return "".join(f"""
    location = {path} {{ default_type application/json; add_header X-Repo-Commit {commit}; return 200 '{a}'; }}
""" for path, a in answers.items())

    def writable(self, name, storage, file):
        """The answers of one storage's repository: what a client hears that uploads a file and commits it."""
        batch = {"transfer": "basic", "hash_algo": "sha256", "objects": [
            {"oid": file["sha256"], "size": file["size"], "authenticated": True,
             "actions": {"upload": {"href": f"{storage.probe()}big?X-Amz-Signature=bench", "expires_in": 900}}}]}
        commit = {"success": True, "commitOid": commit_of("committed"), "hookOutput": "",
                  "commitUrl": f"http://127.0.0.1:{self.hub}/bench/{name}/commit/{commit_of('committed')}"}
        return {f"/bench/{name}.git/info/lfs/objects/batch": batch, f"/api/models/bench/{name}/commit/main": commit}

    def calls(self):
        """Small calls with the answers that the Hub gives, at once."""
        who = {"type": "user", "id": "0" * 24, "name": "bench", "fullname": "Bench", "isPro": False, "orgs": [],
               "auth": {"type": "access_token", "accessToken": {"displayName": "bench", "role": "write"}}}
        return {
            "/api/whoami-v2": who,
            "/api/models/bench/info/preupload/main":
                {"files": [{"path": "model.bin", "uploadMode": "lfs", "shouldIgnore": False}]},
            "/api/models/bench/info/discussions/1/comment":
                {"newMessage": {"id": "0" * 24, "type": "comment", "author": {"name": "bench"},
                                "createdAt": "2024-01-01T00:00:00.000Z", "data": {"hidden": False}}},
        }

    def write_config(self):
        files = dict(self.data.files)
        places = "".join(self.places(n, f) for n, f in files.items())
        places += self.places("info", {"size": 2048, "sha256": "0" * 64})
        ahead = [ahead_name(i) for i in range(PREFETCHES)]
        places += "".join(self.fetched_ahead(name, files[name]) for name in ahead)
        answers = self.calls()
        for name, storage in self.storages.items():
            answers |= self.writable(name, storage, files["big"])
        # A bare "return" answers before the body came; passed on once more, the body is read first, as the Hub does.
        places += "".join(f"\n    location = {path} {{ proxy_pass http://answers; }}" for path in answers)
        ready = "".join(f"\n    location = {path} {{ return 200 '{json.dumps(a)}'; }}" for path, a in answers.items())
        (self.folder / "nginx.conf").write_text(self.config(1, f"""
  log_format sent '$body_bytes_sent $uri';
  proxy_http_version 1.1; proxy_set_header Connection "";
  upstream answers {{ server 127.0.0.1:{self.answers}; keepalive 64; }}
  server {{ listen 127.0.0.1:{self.answers} backlog=4096; default_type application/json;
{ready}
  }}
  server {{ listen 127.0.0.1:{self.hub} backlog=4096;
{places}
  }}
  server {{ listen 127.0.0.1:{self.cdn} backlog=4096;
    access_log sent.log sent;
    location /blob/ {{ alias {self.data.folder}/; }}
    location /blob/ahead- {{ alias {self.data.folder}/ahead-; limit_rate {GIGABIT // PREFETCHES}; }}
  }}
"""))

    def probe(self):
        return f"http://127.0.0.1:{self.hub}{self.info_path()}"

    def base(self):
        return f"http://127.0.0.1:{self.hub}"

    def resolve_url(self, name):
        return self.base() + self.resolve_path(name)

    def sent(self, name):
        """The body bytes of a file that left so far."""
        total = 0
        for line in (self.folder / "sent.log").read_text().splitlines():
            count, _, path = line.partition(" ")
            if path == f"/blob/{name}":
                total += int(count)
        return total


class NginxProxy(Nginx):
    """The baselines in one server: the files themselves, proxy_cache, proxy_cache by slices, and a
    proxy that keeps nothing.

    The caches ask the CDN for contents directly: nginx does not follow redirects, so it is spared
    the question to the Hub and the check of the digest."""

    name = "nginx"

    def __init__(self, folder, binary, origin):
        super().__init__(folder, binary)
        self.origin = origin
        self.port = free_port()
        self.version = 0

    def write_config(self):
        o = self.origin
        www = self.folder / "www"
        www.mkdir(exist_ok=True)
        (www / "info.json").write_text(o.info("info"))
        storages = "".join(f"""
    location /forward/{s.name}/ {{ proxy_pass {s.probe()}; proxy_request_buffering off;
      client_max_body_size 0; client_body_buffer_size 256k; }}
""" for s in o.storages.values())
        (self.folder / "nginx.conf").write_text(self.config(NGINX_WORKERS, f"""
  proxy_cache_path cache levels=1:2 keys_zone=z:64m max_size=100g inactive=1d use_temp_path=off;
  proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_cache_valid 200 206 302 1d;
  proxy_cache_lock on; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s;
  upstream hub {{ server 127.0.0.1:{o.hub}; keepalive 64; }}
  upstream cdn {{ server 127.0.0.1:{o.cdn}; keepalive 64; }}
  server {{ listen 127.0.0.1:{self.port} backlog=4096;
    location /static/www/ {{ alias {www}/; }}
    location /static/blob/ {{ alias {o.data.folder}/; }}
    location /forward/hub/ {{ proxy_pass http://hub/; }}
{storages}
    location /cache/hub/ {{ proxy_pass http://hub/; proxy_cache z; proxy_cache_key $request_uri; }}
    location /cache/blob/ {{ proxy_pass http://cdn/blob/; proxy_cache z; proxy_cache_key $request_uri; }}
    location /slice/blob/ {{ proxy_pass http://cdn/blob/; proxy_cache z;
      slice 16m; proxy_set_header Range $slice_range; proxy_cache_key $request_uri$slice_range; }}
  }}
"""))

    def probe(self):
        return f"http://127.0.0.1:{self.port}/static/www/info.json"

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def new_url(self, kind, name):
        """A URL of a file that is not in the cache."""
        self.version += 1
        return self.url(f"/{kind}/blob/{name}?v={self.version}")

    def empty(self):
        """nginx asks again when a file of its cache is gone; there is no need to restart it."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        self.stop()
        self.start()


class Cache(Server):
    """A cache of the Hub: one URL space, by the Hub's own paths."""

    def __init__(self, folder, origin):
        super().__init__(folder)
        self.origin = origin
        self.port = free_port()
        self.kept = folder / "kept"

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def resolve_url(self, name):
        return self.url(self.origin.resolve_path(name))

    def info_url(self):
        return self.url(self.origin.info_path())

    def probe(self):
        return self.info_url()

    def empty(self):
        self.stop()
        shutil.rmtree(self.kept, ignore_errors=True)
        self.start()


class Hubcached(Cache):
    name = "hubcached"

    def __init__(self, folder, origin, binary, options):
        super().__init__(folder, origin)
        self.binary = binary
        self.options = options
        self.extra = ()

    def command(self):
        return [self.binary, "serve", "--config", "hubcached.yaml", *self.options, *self.extra]

    def base(self):
        return self.url("")

    def metric(self, name):
        """The value of a counter without labels."""
        for line in fetch(self.url("/-/metrics"))[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise RuntimeError(f"there is no metric {name}")

    def write_config(self):
        self.kept.mkdir(exist_ok=True)
        uploads = ", ".join(f'"127.0.0.1:{s.port}"' for s in self.origin.storages.values())
        (self.folder / "hubcached.yaml").write_text(f"""
listen: "127.0.0.1:{self.port}"
data_dir: "{self.kept}"
upstream:
  url: "http://127.0.0.1:{self.origin.hub}"
  redirect_hosts: ["127.0.0.1:{self.origin.cdn}"]
  upload_hosts: [{uploads}]
  allow_private_addresses: true
""")


class Olah(Cache):
    name = "olah"

    def __init__(self, folder, origin, venv):
        super().__init__(folder, origin)
        self.venv = venv

    def command(self):
        hub, cdn = f"127.0.0.1:{self.origin.hub}", f"127.0.0.1:{self.origin.cdn}"
        return [str(self.venv / "bin/python"), "-m", "olah.server", "--host", "127.0.0.1", "--port", str(self.port),
                "--hf-scheme", "http", "--hf-netloc", hub, "--hf-lfs-netloc", cdn,
                "--repos-path", str(self.kept), "--log-path", str(self.folder / "logs")]


def install_olah(venv):
    """True if olah can be run."""
    try:
        if not (venv / "bin/pip").exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        have = subprocess.run([str(venv / "bin/pip"), "freeze"], capture_output=True, text=True).stdout
        if OLAH not in have.splitlines():
            subprocess.run([str(venv / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", OLAH],
                           check=True)
        return True
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"olah is left out: {e}", flush=True)
        return False
