"""The token pool: local clients work with the Hub's tokens and never see one, and do what they may and nothing else."""

import base64
import hashlib
import json
import os
import re
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from conftest import ANN, BOB, SECRETS, UNKNOWN
from test_operation import command

from tests.hub import Generated, Hub
from tests.hub.git_user import GitUser, has_lfs, with_token
from tests.support import clients
from tests.support.apart import Apart
from tests.support.daemon import Daemon, wait_until
from tests.support.http import Client, exchange, statuses

VERSIONS = ["0.36", "1.x", "2.x"]
# Tokens of the Hub that only the daemon knows.
BOT = "hf_CANARYbot00000000000000000000000000000"
DEPUTY = "hf_CANARYdeputy0000000000000000000000000"
READER = "hf_CANARYreader0000000000000000000000000"
STRANGER = "hf_CANARYstranger00000000000000000000000"
RENEWED = "hf_CANARYrenewed000000000000000000000000"
POOLED = (BOT, DEPUTY, READER, STRANGER, RENEWED)
MARK = "hf_hubcached0"
LATEST = 2.0  # seconds in which a change of the clients must be in force
BODY = bytes(range(256)) * 800


def local(name):
    """Return a local credential, whose secret part holds the canary too."""
    return MARK + f"CANARY{name}".ljust(32, "0")


CI, LOOKER, FOREIGN, NOBODY = local("ci"), local("looker"), local("foreign"), local("nobody")


def forms(secret):
    """Return what a secret looks like by itself and inside Basic credentials, whatever stands before it."""
    out = [secret.encode()]
    for before in range(3):
        out.append(base64.b64encode(b" " * before + secret.encode())[4 if before else 0 : -4])
    return out


def basic(secret, user="user"):
    """Return an Authorization value as git makes it."""
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


class Access:
    """The two files that say who may use what."""

    def __init__(self, folder):
        """Begin with nothing."""
        self.folder, self.pools, self.clients = folder, {}, {}
        folder.mkdir(parents=True, exist_ok=True)
        self.pools_file, self.clients_file = folder / "pools.yaml", folder / "clients.yaml"

    def token(self, pool, label, value, **more):
        """Put a token into a pool; `more` is role, namespaces, verbs, or `credential` in place of the file."""
        row = {"label": label, **more}
        if "credential" not in more:
            path = self.folder / f"{label}.token"
            path.touch(0o600)
            path.write_text(value + "\n")
            row["file"] = str(path)
        rows = [r for r in self.pools.get(pool, []) if r["label"] != label]
        self.pools[pool] = [*rows, row]

    def client(self, name, credential, repositories, verbs, pool="main"):
        """Know a client by its credential."""
        digest = hashlib.sha256(credential.encode()).hexdigest()
        self.clients[name] = {
            "secret": f"sha256:{digest}",
            "pool": pool,
            "repositories": list(repositories),
            "verbs": list(verbs),
        }

    def write(self):
        """Write both files, the second as `hubcached client` does: whole, and then in its place."""
        out = "pools:\n"
        for pool, rows in self.pools.items():
            out += f"  {pool}:\n"
            for row in rows:
                out += "    - " + "\n      ".join(f"{k}: {json.dumps(v)}" for k, v in row.items()) + "\n"
        self.pools_file.write_text(out)
        out = "clients:\n" if self.clients else ""
        for name, row in self.clients.items():
            out += f"  {name}:\n" + "".join(f"    {k}: {json.dumps(v)}\n" for k, v in row.items())
        new = self.folder / "clients.new"
        new.write_text(out)
        new.replace(self.clients_file)

    @property
    def config(self):
        """Return the options that name the files."""
        return {"access": {"pools_file": str(self.pools_file), "clients_file": str(self.clients_file)}}


class Tap:
    """An address in front of the daemon's that keeps every byte which comes back."""

    def __init__(self, url):
        """Listen."""
        parts = urlsplit(url)
        self.target, self.seen, self.lock = (parts.hostname, parts.port), bytearray(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        """Continue every connection at the daemon until the end."""
        while True:
            try:
                inner, _ = self.listener.accept()
                outer = socket.create_connection(self.target)
            except OSError:
                return
            threading.Thread(target=self.carry, args=(inner, outer, False), daemon=True).start()
            threading.Thread(target=self.carry, args=(outer, inner, True), daemon=True).start()

    def carry(self, source, target, keep):
        """Copy one direction of a connection."""
        try:
            while data := source.recv(1 << 16):
                if keep:
                    with self.lock:
                        self.seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, target):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        """Take no further connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Scene:
    """A Hub with an organization, a daemon that holds tokens of its members, and clients without any."""

    def __init__(self, hub, daemon, access):
        """Put a tap in front of the daemon."""
        self.hub, self.daemon, self.access = hub, daemon, access
        self.tap = Tap(daemon.url)

    def as_(self, credential):
        """Return a client of the daemon with a credential, or with none."""
        return Client(self.tap.url, credential)

    def python(self, version, code, home, credential=CI, **more):
        """Run code with huggingface_hub, with `api` at hand."""
        more = {"HF_HUB_DISABLE_XET": "1", **more}
        intro = "from huggingface_hub import *\napi = HfApi()\n"
        return clients.python(version, intro + code, self.tap.url, home, credential, **more)

    def carried(self, part="", method=None):
        """Return the tokens that reached the Hub in requests whose target holds a part, None for none."""
        rows = [r for r in self.hub.log("hub") if part in r["target"] and method in (None, r["method"])]
        return [token_in(r) for r in rows]

    def audit(self):
        """Return the audit lines as dictionaries."""
        lines = [x for x in self.daemon.log_text().splitlines() if "audit.write" in x]
        return [dict(pair.split("=", 1) for pair in re.findall(r'\w+=(?:"[^"]*"|\S+)', x)) for x in lines]

    def edit(self):
        """Write the files and have the daemon read both."""
        self.access.write()
        before = self.daemon.log_text().count("config.reloaded")
        self.daemon.signal(signal.SIGHUP)
        wait_until(lambda: self.daemon.log_text().count("config.reloaded") > before, "the files are read again")

    def check(self):
        """No token of the pool came back to a client, and no local credential went out."""
        self.tap.close()
        for token in POOLED:
            for form in forms(token):
                assert form not in self.tap.seen, "a token of the pool came back to a client"
        self.check_log()

    def check_log(self):
        """No local credential went out, and tokens went to the Hub alone."""
        for row in self.hub.log():
            said = f"{row['target']}\n{row['raw_headers']}\n{row['body']}"
            for value in re.findall(r"[Bb]asic ([A-Za-z0-9+/=]+)", said):
                said += base64.b64decode(value + "==").decode("latin-1")
            assert MARK not in said, f"a local credential went to {row['origin']}: {row['target']}"
            if row["origin"] != "hub":
                assert not [t for t in POOLED if t in said], f"a token went to {row['origin']}"


def token_in(row):
    """Return the token of a request in the Hub's journal."""
    scheme, _, value = (row["headers"].get("authorization") or " ").partition(" ")
    if scheme.lower() == "basic":
        value = base64.b64decode(value).decode().partition(":")[2]
    return value or None


def publish(hub):
    """Give the Hub people and repositories."""
    hub.add_token(BOT, "bot", orgs=["acme", "labs"], role="write")
    hub.add_token(DEPUTY, "deputy", orgs=["acme", "labs"], role="write")
    hub.add_token(READER, "reader", orgs=["acme"])
    hub.add_token(STRANGER, "stranger")
    for kind, id, private in (
        ("models", "acme/tiny", False),
        ("models", "acme/secret", True),
        ("datasets", "acme/data", True),
        ("models", "labs/other", True),
        ("models", "away/open", False),
        ("models", "gpt2", False),
    ):
        hub.create_repo(kind, id, private=private)
        hub.commit(kind, id, {"config.json": f'{{"of": "{id}"}}', "w.safetensors": Generated(300_000, len(id))})
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": "print(1)\n", "README.md": "---\nsdk: static\n---\n"})


def ordinary(folder):
    """Return the files of a pool with two writers, of readers and of a stranger, and their clients."""
    out = Access(folder)
    out.token("main", "bot-1", BOT, role="write", namespaces=["acme", "bot"])
    out.token("main", "bot-2", DEPUTY, role="write", namespaces=["acme"])
    out.token("readers", "reader-1", READER)
    out.token("outside", "stranger-1", STRANGER)
    everything = ["acme/*", "datasets/acme/*", "spaces/acme/*", "bot/*"]
    out.client("ci", CI, everything, ["all"])
    out.client("looker", LOOKER, ["acme/tiny", "gpt2"], ["read"], pool="readers")
    out.client("foreign", FOREIGN, ["acme/*"], ["read"], pool="outside")
    return out


@pytest.fixture
def access(tmp_path):
    """Give the ordinary files."""
    return ordinary(tmp_path / "access")


@pytest.fixture
def begin(hub, make_daemon, access):
    """Give a function that starts a daemon with the files as they are then."""
    publish(hub)
    made = []

    def begin(config=None, **options):
        access.write()
        made.append(Scene(hub, make_daemon({**access.config, **(config or {})}, **options), access))
        return made[-1]

    yield begin
    for scene in made:
        scene.check()


@pytest.fixture
def scene(begin):
    """Give a daemon with the ordinary pools and clients."""
    return begin()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """Give a scene for all tests that change nothing."""
    folder = tmp_path_factory.mktemp("gate")
    with Hub.start() as hub:
        publish(hub)
        hub.add_token(ANN, "ann", orgs=["acme"], role="write")
        access = ordinary(folder / "access")
        access.write()
        one = Scene(hub, Daemon(hub, folder / "daemon", access.config).start(), access)
        yield one
        one.check()
        problems = one.daemon.finish(SECRETS)
        assert not problems, "\n".join(problems)


@pytest.fixture
def closed(gate):
    """Give that scene with an empty journal; what must not be said there is looked for after each test."""
    gate.hub.wait_idle()
    gate.hub.clear_log()
    yield gate
    gate.check_log()
    assert not gate.audit(), "nothing was written"


# What a client can do.


@pytest.mark.parametrize("version", VERSIONS)
def test_whoami(scene, tmp_path, version):
    """It names the account that will write, those of its organizations that are the client's, and the client's role."""
    code = """
who = api.whoami()
role = api.get_token_permission() if hasattr(api, "get_token_permission") else who["auth"]["accessToken"]["role"]
result = [who["type"], who["name"], [o["name"] for o in who["orgs"]], role, who["auth"]["accessToken"]["displayName"]]
"""
    assert scene.python(version, code, tmp_path / "ci") == ["user", "bot", ["acme"], "write", "ci"]
    assert scene.python(version, code, tmp_path / "looker", LOOKER) == ["user", "reader", [], "read", "looker"]
    assert scene.carried("/api/whoami-v2") == [BOT, READER], "the Hub limits how often it may be asked"
    assert b"example.org" not in scene.tap.seen, "the account's own address is nobody's business"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bare_name(scene, tmp_path, version):
    """A repository without a namespace belongs to the account that whoami names, and to it alone."""
    code = """
url = api.create_repo("mine", private=True)
api.upload_file(path_or_fileobj=b"text", path_in_repo="a.txt", repo_id=url.repo_id)
result = [url.repo_id, api.list_repo_files(url.repo_id)]
api.delete_repo("mine")
"""
    assert scene.python(version, code, tmp_path) == ["bot/mine", [".gitattributes", "a.txt"]]
    assert set(scene.carried("/mine") + scene.carried("/api/repos")) == {BOT}
    assert "bot/mine" not in str(scene.hub.state())


def test_a_bare_name_of_another(begin, access):
    """A client that may not write in the account's own namespace makes nothing there."""
    access.client("ci", CI, ["acme/*"], ["all"])
    scene = begin()
    assert scene.as_(CI).post("/api/repos/create", {"name": "mine"}).status == 403
    assert scene.as_(CI).request("DELETE", "/api/repos/delete", body=b'{"name": "mine"}').status == 403
    assert scene.carried("/api/repos") == [] and not scene.audit()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_days_work(scene, tmp_path, version):
    """Everything that a client may do in its namespaces works with HF_TOKEN alone, and by one account."""
    code = """
import io, os
os.makedirs("in/deep")
open("in/config.json", "w").write("{}")
open("in/deep/w.bin", "wb").write(bytes(range(256)) * 800)
made = api.create_repo("acme/work", private=True)
api.create_repo("acme/table", repo_type="dataset")
api.upload_file(path_or_fileobj=b"# Work", path_in_repo="README.md", repo_id="acme/work")
api.upload_folder(folder_path="in", repo_id="acme/work", path_in_repo="x")
api.create_branch("acme/work", branch="side")
api.create_tag("acme/work", tag="v1")
talk = api.create_discussion("acme/work", title="Question", description="why?")
api.comment_discussion("acme/work", talk.num, "because")
proposed = api.create_commit("acme/work", [CommitOperationAdd("p.txt", b"p")], commit_message="p", create_pr=True)
api.merge_pull_request("acme/work", proposed.pr_num)
api.delete_file("x/config.json", "acme/work")
slug = api.create_collection("Things", namespace="acme").slug
api.add_space_variable("acme/app", "K", "v")
api.update_repo_settings("acme/work", private=False)
back = hf_hub_download("acme/work", "x/deep/w.bin")
folder = snapshot_download("acme/work")
refs = api.list_repo_refs("acme/work")
result = [
    made.repo_id, open(back, "rb").read() == bytes(range(256)) * 800, sorted(api.list_repo_files("acme/work")),
    sorted(b.name for b in refs.branches), [t.name for t in refs.tags], slug.split("/")[0],
    api.get_discussion_details("acme/work", talk.num).author, sorted(os.listdir(folder)),
    api.list_repo_commits("acme/work")[0].authors,
]
"""
    home = tmp_path / "home"
    code = f"import os\nos.makedirs({str(home)!r}, exist_ok=True)\nos.chdir({str(home)!r})\n" + code
    seen = scene.python(version, code, home)
    files = [".gitattributes", "README.md", "p.txt", "x/deep/w.bin"]
    assert seen[:7] == ["acme/work", True, files, ["main", "side"], ["v1"], "acme", "bot"]
    assert seen[7] == [".gitattributes", "README.md", "p.txt", "x"] and seen[8] == ["bot"]
    reads = "^/api/(validate-yaml|telemetry)|/paths-info/"
    rows = [r for r in scene.hub.log("hub") if not re.search(reads, r["path"])]
    writes = [r for r in rows if r["method"] not in ("GET", "HEAD")]
    assert {token_in(r) for r in writes} == {BOT}, "one account does it all"
    assert set(scene.carried()) <= {BOT, DEPUTY, None}
    lines = scene.audit()
    assert {(x["client"], x["token"], x["status"]) for x in lines} == {("ci", "bot-1", "200")}
    wanted = ["/api/repos/create", "/api/models/acme/work/commit/main", "/api/models/acme/work/branch/side"]
    wanted += ["/api/models/acme/work/tag/main", "/api/models/acme/work/discussions", "/api/collections"]
    wanted += ["/api/spaces/acme/app/variables", "/api/models/acme/work/settings"]
    told = [x["target"] for x in lines]
    assert not [w for w in wanted if w not in told], told
    assert {x["op"] for x in lines} == {"repo-create", "commit", "write"}
    assert len(lines) == len([r for r in writes if not re.search("preupload|/objects/|paths-info", r["path"])])


@pytest.mark.parametrize("version", VERSIONS)
def test_private_files(scene, tmp_path, version):
    """A private repository is read with a token of the pool, the second time from here."""
    code = """
a = hf_hub_download("acme/secret", "config.json")
b = hf_hub_download("acme/data", "w.safetensors", repo_type="dataset")
import os
result = [open(a).read(), os.path.getsize(b), api.model_info("acme/secret").private, api.repo_exists("acme/secret")]
"""
    for home in ("one", "two"):
        assert scene.python(version, code, tmp_path / home) == ['{"of": "acme/secret"}', 300_000, True, True]
    assert set(scene.carried("acme/secret/resolve") + scene.carried("acme/data/resolve")) <= {BOT, DEPUTY}
    assert scene.hub.sent("cdn") == 300_000
    assert not scene.audit(), "who reads writes nothing"


@pytest.mark.parametrize("version", ["0.36", "2.x"])
def test_a_large_file_in_parts(scene, tmp_path, version):
    """The parts go to the storage without a token, and their end is told to the Hub."""
    scene.hub.quirks(lfs_multipart_threshold=1_000_000, lfs_chunk_size=1_000_000)
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(2_500_000))
    code = f"""
api.upload_file(path_or_fileobj={str(big)!r}, path_in_repo="big.bin", repo_id="acme/secret")
result = open(hf_hub_download("acme/secret", "big.bin"), "rb").read() == open({str(big)!r}, "rb").read()
"""
    assert scene.python(version, code, tmp_path / "home")
    assert len([r for r in scene.hub.log("s3") if r["method"] == "PUT"]) == 3
    assert [(x["op"], x["token"]) for x in scene.audit()] == [("commit", "bot-1")]


@pytest.mark.parametrize("version", ["1.x", "2.x"])
def test_jobs(scene, tmp_path, version):
    """A job runs in a namespace of the client's, and its log arrives; elsewhere it does not start."""
    code = """
job = api.run_job(image="python", command=["true"], namespace="acme")
try:
    away = str(api.run_job(image="python", command=["true"], namespace="labs"))
except Exception as e:
    away = str(e)
result = [job.owner.name, api.inspect_job(job_id=job.id, namespace="acme").id == job.id,
          [j.id for j in api.list_jobs(namespace="acme")] == [job.id], away]
"""
    *seen, away = scene.python(version, code, tmp_path)
    assert seen == ["acme", True, True] and "403" in away
    assert set(scene.carried("/api/jobs/acme")) <= {BOT, None} and not scene.carried("/api/jobs/labs")
    assert [(x["target"], x["token"]) for x in scene.audit()] == [("/api/jobs/acme", "bot-1")]


def test_xet(scene, tmp_path):
    """A default upload by a client with hf_xet, on a machine that can reach nothing but us."""
    if not Apart.possible():
        pytest.skip("networks of their own cannot be made here (unshare -rn)")
    (tmp_path / "big.bin").write_bytes(os.urandom(3_000_000))
    hf = os.path.join(os.path.dirname(clients.venv("2.x")), "hf")
    with Apart(scene.tap.url) as apart:
        for home, arguments in (
            ("up", ["upload", "acme/secret", tmp_path / "big.bin", "big.bin"]),
            ("down", ["download", "acme/secret", "big.bin", "--local-dir", tmp_path / "out"]),
        ):
            clients.run(apart.command([hf, *arguments]), clients.environment(scene.tap.url, tmp_path / home, CI))
    assert (tmp_path / "out/big.bin").read_bytes() == (tmp_path / "big.bin").read_bytes()
    assert [r for r in scene.hub.log("cas") if "/shards" in r["path"]]
    assert set(scene.carried("xet-write-token") + scene.carried("/commit/")) == {BOT}


def test_git(scene, tmp_path):
    """git sends the credential as a password and works with it: clone, push and git-lfs."""
    user = GitUser(tmp_path / "user")
    if has_lfs():
        user.install_lfs()
    at = user.clone(with_token(scene.tap.url, CI) + "/acme/secret", "here")
    files = {"new.txt": "new"}
    if has_lfs():
        files["more.safetensors"] = BODY
    sha = user.commit(at, files)
    user.run("push", at=at)
    assert scene.hub.refs("models", "acme/secret")["refs/heads/main"] == sha
    if has_lfs():
        assert scene.hub.file("models", "acme/secret", "more.safetensors")["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert set(scene.carried("receive-pack") + scene.carried("/objects/batch", "POST")) <= {BOT, DEPUTY, None}
    assert scene.carried("/git-receive-pack", "POST")[-1] == BOT
    assert [(x["client"], x["op"], x["token"], x["status"]) for x in scene.audit()] == [
        ("ci", "git-push", "bot-1", "200")
    ]


def test_git_without_the_right(scene, tmp_path):
    """A client that may only read clones and cannot push; another repository is closed."""
    user = GitUser(tmp_path / "user")
    at = user.clone(with_token(scene.tap.url, LOOKER) + "/acme/tiny", "here", GIT_LFS_SKIP_SMUDGE="1")
    user.commit(at, {"new.txt": "new"})
    head = scene.hub.refs("models", "acme/tiny")["refs/heads/main"]
    assert "403" in user.refused("push", at=at)
    assert "403" in user.refused("clone", with_token(scene.tap.url, LOOKER) + "/acme/secret", "there")
    user.refused("clone", with_token(scene.tap.url, NOBODY) + "/acme/secret", "nowhere")
    assert scene.hub.refs("models", "acme/tiny")["refs/heads/main"] == head and not scene.audit()
    assert not scene.carried("git-receive-pack", "POST")


# What a client cannot do.

NEVER = [
    ("GET", "/api/settings/webhooks", None),
    ("POST", "/api/settings/webhooks", {"watched": [], "url": "http://127.0.0.1/"}),
    ("GET", "/api/settings/repositories", None),
    ("GET", "/api/settings/tokens", None),
    ("POST", "/api/settings/tokens", {"displayName": "x"}),
    ("DELETE", "/api/settings/tokens/abc", None),
    ("GET", "/api/settings/billing/usage", None),
    ("PATCH", "/api/settings/watch", {"add": []}),
    ("PATCH", "/api/settings/notifications", {}),
    ("GET", "/api/notifications", None),
    ("POST", "/api/notifications/mark-as-read", {}),
    ("GET", "/api/users/bot/billing/usage", None),
    ("POST", "/api/users/ann/follow", {}),
    ("GET", "/api/organizations/acme/resource-groups", None),
    ("GET", "/api/organizations/acme/audit-log/export", None),
    ("GET", "/api/organizations/acme/billing/usage", None),
    ("POST", "/api/organizations/acme/members", {}),
    ("DELETE", "/api/organizations/acme/members/ann", None),
    ("GET", "/oauth/userinfo", None),
    ("POST", "/oauth/userinfo", {}),
    ("GET", "/api/models/acme/tiny/jwt", None),
    ("POST", "/api/models/acme/tiny/resource-group", {}),
    ("POST", "/api/models/acme/tiny/surprise", {}),
    ("GET", "/api/agentic/provisioning/x", None),
    ("POST", "/api/papers/1706.03762/like", {}),
    ("GET", "/api/surprise", None),
    ("POST", "/api/surprise", {}),
    ("GET", "/settings/tokens", None),
    ("POST", "/settings/tokens", {}),
    ("POST", "/login", {}),
    ("POST", "/oauth/token", {}),
    ("GET", "/acme/tiny/settings", None),
    ("POST", "/acme/tiny/settings/delete", {}),
    ("POST", "/acme/tiny/upload/main", {}),
]


def ask(client, method, target, body, **options):
    """Send a request with a JSON body, or with none."""
    if body is None:
        return client.request(method, target, **options)
    text = json.dumps(body).encode()
    return client.request(method, target, body=text, content_type="application/json", **options)


@pytest.mark.parametrize("method, target, body", NEVER)
def test_never(closed, method, target, body):
    """Identity, settings, tokens, billing and administration are refused, and the Hub hears nothing of it."""
    for value in (f"Bearer {CI}", basic(CI)):
        reply = ask(Client(closed.tap.url), method, target, body, authorization=value)
        assert reply.status == 403, reply
    assert closed.hub.log() == [], "the Hub was not asked"


REFUSED = [
    ("another repository", LOOKER, "GET", "/api/models/acme/secret", None),
    ("its files", LOOKER, "GET", "/acme/secret/resolve/main/config.json", None),
    ("by the cache of the Hub", LOOKER, "GET", "/api/resolve-cache/models/acme/secret/" + "0" * 40 + "/a", None),
    ("a dataset of that name", LOOKER, "GET", "/api/datasets/acme/tiny", None),
    ("paths of another", LOOKER, "POST", "/api/models/acme/secret/paths-info/main", {"paths": ["a"]}),
    ("LFS of another", LOOKER, "POST", "/acme/secret.git/info/lfs/objects/batch", {"operation": "download"}),
    ("git of another", LOOKER, "GET", "/acme/secret.git/info/refs?service=git-upload-pack", None),
    ("chunks of another", LOOKER, "GET", "/api/models/acme/secret/xet-read-token/main", None),
    ("a private namespace", CI, "GET", "/labs/other/resolve/main/config.json", None),
    ("an upload", LOOKER, "POST", "/acme/tiny.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
    ("an unclear batch", LOOKER, "POST", "/acme/tiny.git/info/lfs/objects/batch", {"operation": "both"}),
    ("a commit", LOOKER, "POST", "/api/models/acme/tiny/commit/main", {}),
    ("what precedes a commit", LOOKER, "POST", "/api/models/acme/tiny/preupload/main", {"files": []}),
    ("chunks to write", LOOKER, "GET", "/api/models/acme/tiny/xet-write-token/main", None),
    ("a branch", LOOKER, "POST", "/api/models/acme/tiny/branch/b", {}),
    ("settings", LOOKER, "PUT", "/api/models/acme/tiny/settings", {"private": True}),
    ("a like", LOOKER, "POST", "/api/models/acme/tiny/like", {}),
    ("a discussion", LOOKER, "POST", "/api/models/acme/tiny/discussions", {"title": "x", "description": "y"}),
    ("a new repository", LOOKER, "POST", "/api/repos/create", {"name": "new", "organization": "acme"}),
    ("one of another type", CI, "POST", "/api/repos/create", {"name": "x", "organization": "labs", "type": "dataset"}),
    ("a deletion", LOOKER, "DELETE", "/api/repos/delete", {"name": "tiny", "organization": "acme"}),
    ("a move out", CI, "POST", "/api/repos/move", {"fromRepo": "acme/tiny", "toRepo": "labs/tiny", "type": "model"}),
    ("a move in", CI, "POST", "/api/repos/move", {"fromRepo": "labs/other", "toRepo": "acme/o", "type": "model"}),
    ("a copy of another", CI, "POST", "/api/models/labs/other/duplicate", {"repository": "acme/copy"}),
    ("a copy elsewhere", CI, "POST", "/api/models/acme/secret/duplicate", {"repository": "labs/copy"}),
    ("secrets", LOOKER, "GET", "/api/spaces/acme/app/secrets", None),
    ("jobs", LOOKER, "GET", "/api/jobs/acme", None),
    ("jobs elsewhere", CI, "POST", "/api/jobs/labs", {"command": ["sleep"]}),
    ("an endpoint elsewhere", CI, "GET", "/-/endpoints/v2/endpoint/labs", None),
    ("a collection elsewhere", CI, "POST", "/api/collections", {"namespace": "labs", "title": "x"}),
    ("requests for access", LOOKER, "GET", "/api/models/acme/tiny/user-access-request/pending", None),
    ("a dataset's viewer", LOOKER, "GET", "/-/viewer/rows?dataset=acme/data&config=default&split=train", None),
]


@pytest.mark.parametrize("what, credential, method, target, body", REFUSED)
def test_refused(closed, what, credential, method, target, body):
    """Another repository or another verb is refused, and the Hub hears nothing of it."""
    reply = ask(closed.as_(credential), method, target, body)
    assert reply.status == 403 and reply["X-Hubcached-Error"] == "forbidden", (what, reply)
    assert "client list" in reply["X-Error-Message"] or "no token" in reply["X-Error-Message"], reply
    assert closed.hub.log() == []


@pytest.mark.parametrize(
    "target",
    [
        "/acme/tiny/../secret/resolve/main/config.json",
        "/acme/tiny/resolve/main/..%2F..%2F..%2Fsecret",
        "/acme%2Fsecret/resolve/main/config.json",
        "//acme/secret/resolve/main/config.json",
        "/models/acme/secret/resolve/main/config.json",
        "/api/models/acme/tiny/..%2Fsecret",
        "/api/models/acme%2Fsecret",
        "/api//models/acme/secret",
        "/api/models/acme/secret/",
        "/ACME/Secret/resolve/main/config.json",
        "/api/models/acme/secret.git/tree/main",
        "/api/whoami-v2/../settings/webhooks",
        "/api/models/acme/tiny/resolve/main/../../../../settings/webhooks",
    ],
)
def test_other_spellings(closed, target):
    """Another repository is closed however it is spelt."""
    reply = closed.as_(LOOKER).get(target)
    assert reply.status >= 400 and b"acme/secret" not in reply.body.replace(b"acme/secret.git", b""), reply
    for row in closed.hub.log("hub"):
        assert "secret" not in row["target"].lower() and "settings" not in row["target"], row["target"]


@pytest.mark.parametrize("version", VERSIONS)
def test_python_sees_why(scene, tmp_path, version):
    """The client's exception carries the sentence of the refusal."""
    code = """
def why(fn, *a, **k):
    try:
        return repr(fn(*a, **k))
    except Exception as e:
        return f"{type(e).__name__}: {e}"
result = [
    why(api.model_info, "acme/secret"), why(get_hf_file_metadata, hf_hub_url("acme/secret", "config.json")),
    why(api.create_repo, "acme/new"), why(api.list_webhooks),
    why(api.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id="acme/tiny"),
]
"""
    scene.hub.clear_log()
    for text in scene.python(version, code, tmp_path, LOOKER):
        assert "this client may not do that there" in text or "token of the pool" in text, text
    assert not [r for r in scene.hub.log("hub") if "harness" not in r["target"]]


# Who it is.

SPELLINGS = [
    f"Bearer {NOBODY}",
    f"bearer {NOBODY}",
    f"BEARER   {NOBODY} ",
    f"Bearer {CI}x",
    f"Bearer {CI[:-1]}",
    f"Bearer {MARK}",
    f"Token {CI}",
    f"Digest username={CI}",
    CI,
    f"Bearer x{CI}",
    f"Bearer  {CI},{ANN}",
    basic(NOBODY),
    basic("x", user=CI),
    basic("", user=NOBODY),
    basic(CI + "0"),
]


@pytest.mark.parametrize("value", SPELLINGS)
def test_unknown_credentials(closed, value):
    """Whatever has our mark and is nobody's is refused here, warm or cold, and goes nowhere."""
    path = "/acme/tiny/resolve/main/config.json"
    assert closed.as_(None).get(path).status == closed.as_(None).get(path).status == 200
    closed.hub.clear_log()
    for target in (path, "/api/models/acme/tiny", "/api/models?author=acme", "/api/whoami-v2", "/api/tasks"):
        reply = Client(closed.tap.url).get(target, authorization=value)
        assert reply.status in (400, 401) and b"acme" not in reply.body, (target, reply)
        if reply.status == 401:
            assert reply["X-Error-Message"] == "Invalid credentials in Authorization header"
    for target in ("/api/models/acme/tiny/commit/main", "/acme/tiny.git/git-receive-pack", "/api/repos/create"):
        assert Client(closed.tap.url).post(target, {}, authorization=value).status in (400, 401)
    assert closed.hub.log() == []


def test_unknown_credentials_without_clients(hub, daemon):
    """The same where there are no clients at all."""
    publish(hub)
    path = "/acme/tiny/resolve/main/config.json"
    assert [daemon.client.get(path).status for _ in range(8)] == [200] * 8
    hub.clear_log()
    for target in (path, "/api/models/acme/tiny", "/api/whoami-v2"):
        for value in (f"Bearer {CI}", basic(CI)):
            assert daemon.client.get(target, authorization=value).status == 401
    assert daemon.client.post("/api/repos/create", {"name": "x"}, token=CI).status == 401
    assert hub.log() == []


def test_without_configuration(hub, daemon):
    """Callers use tokens of their own, and without one they read what is public and nothing else."""
    publish(hub)
    assert daemon.client.get("/acme/tiny/resolve/main/config.json").status == 200
    assert daemon.client.get("/acme/secret/resolve/main/config.json").status == 401
    assert daemon.client.get("/api/whoami-v2").status == 401
    body = {"name": "new", "organization": "acme"}
    assert daemon.client.post("/api/repos/create", body).status == 401
    assert daemon.as_user(ANN).get("/acme/secret/resolve/main/config.json").status == 200
    assert daemon.as_user(ANN).post("/api/repos/create", body).status == 200
    assert daemon.as_user(ANN).get("/api/settings/webhooks").status == 200
    assert "audit.write" not in daemon.log_text()


def test_the_callers_own_token_wins(scene, tmp_path):
    """Whoever has a token of the Hub's works with it and with nothing of the pool's, good or bad."""
    ann, bob = scene.as_(ANN), scene.as_(BOB)
    assert ann.get("/api/whoami-v2").json()["name"] == "ann"
    assert ann.get("/api/settings/webhooks").status == 200
    assert ann.get("/acme/secret/resolve/main/config.json").status == 200
    assert ann.post("/api/repos/create", {"name": "by-ann", "organization": "acme"}).status == 200
    assert bob.get("/acme/secret/resolve/main/config.json").status == 404
    assert bob.post("/api/repos/create", {"name": "by-bob", "organization": "acme"}).status == 403
    assert scene.as_(UNKNOWN).get("/api/whoami-v2").status == 401
    user = GitUser(tmp_path / "user")
    user.clone(with_token(scene.tap.url, ANN) + "/acme/secret", "here", GIT_LFS_SKIP_SMUDGE="1")
    assert set(scene.carried()) <= {ANN, BOB, UNKNOWN, None}
    assert not scene.audit(), "whose token it is answers for itself"
    assert scene.daemon.metric("pool_token_uses_total") == 0


def test_anonymous_callers(scene):
    """A pool is for its clients: without a credential nothing of it is used."""
    nobody = scene.as_(None)
    assert nobody.get("/acme/tiny/resolve/main/config.json").status == 200
    assert nobody.get("/acme/secret/resolve/main/config.json").status == 401
    assert nobody.post("/api/repos/create", {"name": "new", "organization": "acme"}).status == 401
    assert nobody.get("/api/whoami-v2").status == 401
    assert set(scene.carried()) == {None}


def test_listings_are_anonymous(scene):
    """A listing would name what a client may not see, so it is the one that everybody gets."""
    for target in ("/api/models?author=acme", "/api/datasets?author=acme", "/api/quicksearch?q=acme"):
        reply = scene.as_(CI).get(target)
        assert b"secret" not in reply.body and b"acme/data" not in reply.body, reply
    rows = scene.as_(CI).get("/api/models?author=acme").json()
    assert [r["id"] for r in rows] == ["acme/tiny"]
    assert scene.as_(CI).get("/api/organizations/acme/members").status == 200
    assert set(scene.carried()) == {None}


# What is kept.


def test_warm_public_answers(scene):
    """What everybody may read is still refused to a client whose patterns do not cover it."""
    targets = ["/away/open/resolve/main/config.json", "/api/models/away/open", "/api/models/away/open/tree/main"]
    for target in targets:
        assert scene.as_(None).get(target).status == scene.as_(None).get(target).status == 200
    scene.hub.clear_log()
    for target in targets:
        for method in ("GET", "HEAD"):
            for options in ({}, {"range": "bytes=0-3"}, {"if_none_match": "*"}):
                reply = scene.as_(LOOKER).request(method, target, **options)
                assert reply.status == 403 and b"away/open" not in reply.body, reply
    assert scene.hub.log() == []
    assert scene.as_(None).get(targets[0]).status == 200, "the others go on"


def test_repositories_without_a_namespace(scene):
    """A name as old as gpt2 is a pattern like any other."""
    assert scene.as_(LOOKER).get("/gpt2/resolve/main/config.json").status == 200
    assert scene.as_(CI).get("/gpt2/resolve/main/config.json").status == 403


def test_warm_private_answers(scene):
    """What one client was shown is not shown to another whose token may not see it, nor to anybody else."""
    path = "/acme/secret/resolve/main/w.safetensors"
    ways = [path, "/api/models/acme/secret", "/api/models/acme/secret/tree/main", "/api/models/acme/secret/refs"]
    for way in ways:
        assert scene.as_(CI).get(way).status == scene.as_(CI).get(way).status == 200
    for way in ways:
        assert scene.as_(FOREIGN).get(way).status == 404, "its pool's account is a stranger there"
        assert scene.as_(LOOKER).get(way).status == 403
        assert scene.as_(None).get(way).status == 401
        assert scene.as_(BOB).get(way).status == 404
        assert scene.as_(CI).get(way).status == 200
    assert set(scene.carried("acme/secret")) - {BOT, DEPUTY} == {STRANGER, BOB, None}


def test_a_private_answer_under_way(scene):
    """Nobody joins a download without a look of the Hub's at who they are."""
    path = "/acme/secret/resolve/main/w.safetensors"
    with scene.hub.gate(after_bytes=1000, origin="cdn") as gate:
        first = scene.as_(CI).stream(path)
        gate.wait_reached()
        assert scene.as_(FOREIGN).get(path).status == 404
        assert scene.as_(LOOKER).get(path).status == 403
        assert scene.as_(None).get(path).status == 401
        second = scene.as_(CI).stream(path)
        assert second.head().status == 200
    assert first.head().status == 200 and first.rest()[0] == second.rest()[0]
    assert scene.hub.sent("cdn") == 300_000


# What happens to tokens.


def test_a_revoked_token(scene):
    """The Hub's word takes a token out: it is reported once, and the next request goes with another."""
    scene.hub.revoke_token(BOT)
    body = {"name": "new", "organization": "acme"}
    reply = scene.as_(CI).post("/api/repos/create", body)
    assert reply.status == 503 and reply["Retry-After"] and "token invalid" in reply["X-Error-Message"], reply
    assert reply["X-Error-Message"] != "Invalid credentials in Authorization header", "the client's is good"
    assert scene.as_(CI).post("/api/repos/create", body).status == 200
    assert scene.carried("/api/repos/create") == [BOT, DEPUTY]
    assert scene.as_(CI).get("/api/whoami-v2").json()["name"] == "deputy", "whoami follows"
    scene.daemon.wait_log(r"pool\.token-rejected pool=main label=bot-1")
    assert scene.daemon.log_text().count("pool.token-rejected") == 1
    assert scene.daemon.metric("pool_token_rejected", label="bot-1") == 1
    assert scene.daemon.metric("pool_token_rejected", label="bot-2") == 0
    assert [(x["token"], x["status"]) for x in scene.audit()] == [("bot-1", "401"), ("bot-2", "200")]


@pytest.mark.parametrize("target", ["/acme/secret/resolve/main/config.json", "/api/models/acme/secret"])
def test_a_revoked_token_of_a_reader(scene, target):
    """Reading goes on too, and what was read with a good token before stays what it was."""
    scene.hub.revoke_token(BOT)
    replies = [scene.as_(CI).get(target) for _ in range(3)]
    assert [r.status for r in replies if r.status != 503] and replies[-1].status == 200
    scene.hub.revoke_token(DEPUTY)
    other = "/api/models/acme/secret/commits/main"
    assert [scene.as_(CI).get(other).status for _ in range(3)] == [503, 401, 401], "what remains is what is public"
    assert scene.as_(CI).get("/api/models/acme/tiny").status == 200
    scene.hub.clear_log()
    assert scene.as_(CI).post("/api/repos/create", {"name": "new", "organization": "acme"}).status == 403
    assert scene.hub.log() == []


def test_a_renewed_token(scene):
    """A token that is out comes back with another text in its file, and with the same one it does not."""
    scene.hub.revoke_token(BOT)
    assert scene.as_(CI).get("/api/whoami-v2").status == 503
    scene.edit()
    assert scene.daemon.metric("pool_token_rejected", label="bot-1") == 1
    assert scene.as_(CI).get("/api/whoami-v2").json()["name"] == "deputy"
    scene.hub.add_token(RENEWED, "bot", orgs=["acme"], role="write")
    (scene.access.folder / "bot-1.token").write_text(RENEWED)
    scene.edit()
    assert scene.daemon.metric("pool_token_rejected", label="bot-1") == 0
    assert scene.as_(CI).get("/api/whoami-v2").json()["name"] == "bot"
    assert scene.carried("/api/whoami-v2") == [BOT, DEPUTY, RENEWED]


def test_a_bad_reload(scene):
    """What cannot be read changes nothing, and the log says why without a word of a token."""
    (scene.access.folder / "bot-2.token").write_text(f"{DEPUTY} {RENEWED}\n")
    scene.daemon.signal(signal.SIGHUP)
    scene.daemon.wait_log(r"bot-2\.token")
    assert scene.as_(CI).get("/acme/secret/resolve/main/config.json").status == 200
    scene.access.clients["ci"]["pool"] = "nowhere"
    scene.access.write()
    scene.daemon.wait_log(r"clients-refused.*nowhere")
    assert scene.as_(CI).get("/acme/secret/resolve/main/config.json").status == 200


def test_it_does_not_start_with_a_bad_pool(make_daemon, access):
    """It says which file is wrong, and nothing of what it holds."""
    access.write()
    (access.folder / "bot-1.token").write_text("")
    daemon = make_daemon(access.config, start=False)
    daemon.start(wait=False)
    daemon.expect_death = True
    assert daemon.wait() != 0
    assert daemon.wait_log(r"bot-1\.token")


def test_systemd_credentials(begin, access, tmp_path):
    """A token may be a credential of the service in place of a file."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/hub").write_text(DEPUTY)
    access.pools.pop("main")
    access.token("main", "deputy-1", None, credential="hub", role="write")
    scene = begin(environment={"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert scene.as_(CI).get("/api/whoami-v2").json()["name"] == "deputy"


def test_roles_namespaces_and_verbs(begin, access):
    """A token is used for what it is for: the first that fits writes, and where none fits nobody does."""
    access.pools.clear()
    access.clients = {"ci": access.clients["ci"]}
    access.token("main", "reader-1", READER)
    access.token("main", "elsewhere", BOT, role="write", namespaces=["labs"])
    access.token("main", "commits", DEPUTY, role="write", namespaces=["acme"], verbs=["commit"])
    scene = begin()
    ci = scene.as_(CI)
    body = {"files": [{"path": "a", "size": 1, "sample": "YQ=="}]}
    assert ci.post("/api/models/acme/tiny/preupload/main", body).status == 200
    assert ci.post("/api/models/acme/tiny/branch/b", {}).status == 403
    assert ci.post("/api/repos/create", {"name": "x", "organization": "acme"}).status == 403
    assert set(scene.carried()) == {DEPUTY}
    assert ci.get("/api/models/acme/secret").status == 200
    assert set(scene.carried("acme/secret")) <= {READER, DEPUTY}


# Limits.


@pytest.mark.parametrize(
    "method, target, body",
    [
        ("GET", "/api/models/acme/secret/refs", None),
        ("GET", "/acme/secret/resolve/main/config.json", None),
        ("GET", "/api/models/acme/secret/auth-check", None),
        ("GET", "/api/whoami-v2", None),
        ("POST", "/api/models/acme/tiny/branch/b", {}),
        ("POST", "/acme/secret.git/info/lfs/objects/batch", {"operation": "download", "objects": []}),
    ],
)
def test_a_limit_is_relayed(scene, method, target, body):
    """429 comes back with its Retry-After, and until then the client waits: no other token goes out for it."""
    limit = {"status": 429, "headers": [["Retry-After", "37"]], "body": '{"error": "slow down"}', "times": None}
    scene.hub.fault(origin="hub", path=re.escape(target), **limit)
    reply = ask(scene.as_(CI), method, target, body)
    assert reply.status == 429 and 30 <= int(reply["Retry-After"]) <= 37, reply
    asked = scene.carried(target)
    assert len(set(asked)) == 1, "another token would have got round it"
    again = ask(scene.as_(CI), method, target, body)
    assert again.status == 429 and 30 <= int(again["Retry-After"]) <= 37, again
    assert scene.carried(target) == asked, "the Hub is left alone"
    label = {BOT: "bot-1", DEPUTY: "bot-2"}[asked[0]]
    assert scene.daemon.metric("pool_token_limited_total", label=label) == len(asked)


def test_a_limit_ends(scene):
    """When the time that the Hub named is over, the same token goes on."""
    target = "/api/models/acme/tiny/branch/"
    scene.hub.fault(origin="hub", path=target, status=429, headers=[["Retry-After", "1"]], times=1)
    assert scene.as_(CI).post(target + "b", {}).status == 429
    wait_until(lambda: scene.as_(CI).post(target + "b", {}).status == 200, "the limit ends")
    assert scene.carried(target) == [BOT, BOT]
    assert [x["status"] for x in scene.audit()] == ["429", "200"]


def test_a_limit_of_one_bucket(scene):
    """Files may be read while the API is limited, and what is here is answered all the time."""
    warm = "/api/models/acme/secret/revision/" + scene.hub.refs("models", "acme/secret")["refs/heads/main"]
    assert scene.as_(CI).get(warm).status == 200
    limit = {"status": 429, "headers": [["Retry-After", "60"]], "times": None}
    scene.hub.fault(origin="hub", path="/api/models/acme/secret/refs", **limit)
    assert scene.as_(CI).get("/api/models/acme/secret/refs").status == 429
    assert scene.as_(CI).get("/acme/secret/resolve/main/config.json").status == 200
    assert scene.as_(CI).get(warm).status == 200


def test_budgets(scene):
    """What the Hub says is left of each token is shown by label, to people and to machines."""
    scene.hub.quirks(rate_limit={"api": 50})
    for n in range(6):
        assert scene.as_(CI).get(f"/api/models/acme/secret/revision/main?expand=sha&n={n}").status in (200, 400)
    left = {
        label: scene.daemon.metric("pool_token_budget_left", label=label, bucket="api") for label in ("bot-1", "bot-2")
    }
    uses = {label: scene.daemon.metric("pool_token_uses_total", label=label) for label in left}
    assert min(uses.values()) > 0 and abs(uses["bot-1"] - uses["bot-2"]) <= 1, "the one with more left goes out"
    assert all(50 - uses[x] <= left[x] < 50 for x in left), (left, uses)
    shown = command("tokens", "--config", scene.daemon.config_file)
    assert shown.returncode == 0, shown
    rows = {line.split()[0]: line.split() for line in shown.stdout.splitlines()}
    assert rows["bot-1"][1:4] == ["main", "write", "in-use"]
    assert rows["stranger-1"][1:4] == ["outside", "read", "in-use"]
    assert f"{int(left['bot-1'])} of 50," in shown.stdout
    rows = json.loads(command("tokens", "--json", "--config", scene.daemon.config_file).stdout)
    assert [(r["label"], r["budgets"].get("api", {}).get("quota")) for r in rows] == [
        ("bot-1", 50),
        ("bot-2", 50),
        ("reader-1", None),
        ("stranger-1", None),
    ]
    assert "CANARY" not in shown.stdout + shown.stderr + str(rows)


def test_a_budget_that_is_used_up(scene):
    """The last request that the Hub allows is made, and none that it would refuse."""
    scene.hub.quirks(rate_limit={"api": 3})
    targets = [f"/api/models/acme/tiny/branch/b{n}" for n in range(6)]
    replies = [scene.as_(CI).post(t, {}) for t in targets]
    assert [r.status for r in replies] == [200] * 3 + [429] * 3
    assert all(1 <= int(r["Retry-After"]) <= 300 for r in replies[3:])
    assert scene.carried("/branch/") == [BOT] * 3


# Clients come and go.


def manage(scene, *arguments):
    """Run `hubcached client` on the files of a daemon."""
    return command("client", *arguments, "--config", scene.daemon.config_file)


def settle(scene, credential, status, what):
    """Wait until a credential is worth so much; it must not take longer than promised."""
    begin = time.monotonic()
    wait_until(lambda: scene.as_(credential).get("/acme/secret/resolve/main/config.json").status == status, what)
    assert time.monotonic() - begin < LATEST, what


def test_adding_rotating_and_removing(scene):
    """Each is in force within two seconds, without a signal, and warm answers make no difference."""
    done = manage(scene, "add", "laptop", "--pool", "main", "--repo", "acme/*", "--verb", "read")
    assert done.returncode == 0, done
    first = done.stdout.strip()
    assert re.fullmatch(r"hf_[A-Za-z0-9]{34,}", first) and first.startswith(MARK)
    assert first not in scene.access.clients_file.read_text()
    assert scene.access.clients_file.stat().st_mode & 0o077 == 0
    settle(scene, first, 200, "the new client is known")
    second = manage(scene, "rotate", "laptop").stdout.strip()
    assert second != first
    settle(scene, first, 401, "the old credential is worth nothing")
    settle(scene, second, 200, "the new one is")
    assert manage(scene, "remove", "laptop").returncode == 0
    settle(scene, second, 401, "the removed client is nobody")
    assert scene.as_(CI).get("/acme/secret/resolve/main/config.json").status == 200, "others are not concerned"
    assert "laptop" not in manage(scene, "list").stdout
    for secret in (first, second):
        assert secret not in scene.daemon.log_text() and secret not in scene.daemon.metrics_seen


def test_the_last_client_goes(begin, access):
    """Its credential is worth nothing even for what everybody may read."""
    access.clients.clear()
    access.client("ci", CI, ["acme/*"], ["read"])
    scene = begin()
    path = "/acme/tiny/resolve/main/config.json"
    for credential in (CI, *[None] * 8):
        assert scene.as_(credential).get(path).status == 200
    assert manage(scene, "remove", "ci").returncode == 0
    wait_until(lambda: scene.as_(CI).get(path).status == 401, "the removed client is nobody")
    assert scene.as_(None).get(path).status == 200


def test_fewer_rights(scene):
    """A client that loses a repository loses it with what is warm."""
    assert scene.as_(CI).get("/acme/secret/resolve/main/config.json").status == 200
    scene.access.client("ci", CI, ["acme/tiny"], ["read"])
    scene.access.write()
    settle(scene, CI, 403, "the repository is closed")
    assert scene.as_(CI).get("/acme/tiny/resolve/main/config.json").status == 200


# Tricks.


@pytest.mark.parametrize(
    "lines",
    [
        [f"Authorization: Bearer {LOOKER}", f"Authorization: Bearer {CI}"],
        [f"Authorization: Bearer {LOOKER}", f"authorization: Bearer {ANN}"],
        [f"Authorization: Bearer {ANN}", f"Authorization: Bearer {NOBODY}"],
        [f"Authorization: Bearer {LOOKER}, Bearer {CI}"],
        [f"Authorization : Bearer {CI}"],
        [f"Authorization: Bearer {LOOKER}", "X-Folded: a", f"  Authorization: Bearer {CI}"],
    ],
)
def test_two_credentials(closed, lines):
    """More than one credential is none."""
    raw = "\r\n".join(["GET /acme/secret/resolve/main/config.json HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""])
    out, _ = exchange(closed.tap.url, raw.encode())
    assert set(statuses(out)) <= {400, 401, 403, 404} and b'"of"' not in out, out
    assert [t for t in closed.carried() if t in POOLED] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "huggingface.co", "X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-User": "ci", "X-Remote-User": "ci", "X-Hubcached-Client": "ci", "Remote-User": "ci"},
        {"X-Original-URL": "/api/settings/webhooks", "X-Rewrite-URL": "/api/settings/webhooks"},
        {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"},
        {"Proxy-Authorization": f"Bearer {CI}", "Cookie": f"token={CI}", "X-Authorization": f"Bearer {CI}"},
        {"Connection": "close, Authorization"},
        {"X-HF-Bill-To": "acme"},
    ],
)
def test_smuggled_headers(closed, headers):
    """Headers beside the credential change nothing of what a client may do, and do not reach the Hub."""
    assert closed.as_(LOOKER).get("/acme/secret/resolve/main/config.json", headers=headers).status == 403
    assert closed.as_(None).get("/acme/secret/resolve/main/config.json", headers=headers).status == 401
    reply = closed.as_(LOOKER).get("/api/models/acme/tiny", headers=headers)
    assert reply.status == 200 and reply.json()["id"] == "acme/tiny"
    for row in closed.hub.log("hub"):
        names = {k.lower() for k in headers} - {"connection", "x-hf-bill-to"}
        assert not names & set(row["headers"]) and "settings" not in row["target"]
        assert row["method"] in ("GET", "HEAD")


@pytest.mark.parametrize(
    "query", [f"token={CI}", f"access_token={CI}", f"authorization=Bearer%20{CI}", f"token={ANN}", f"api_key={BOT}"]
)
def test_a_token_in_the_query(closed, query):
    """It is nobody's credential, and it is written down nowhere."""
    for target in ("/acme/secret/resolve/main/config.json", "/api/models/acme/secret"):
        assert closed.as_(None).get(f"{target}?{query}").status in (400, 401)
        assert closed.as_(LOOKER).get(f"{target}?{query}").status in (400, 403)
    name = urlsplit(closed.tap.url).netloc
    line = f"GET http://x:{CI}@{name}/acme/secret/resolve/main/config.json HTTP/1.0"
    out, _ = exchange(closed.tap.url, f"{line}\r\n\r\n".encode())
    assert set(statuses(out)) <= {400, 401, 421}


@pytest.mark.parametrize("authorization", [f"Bearer {CI}", basic(CI)])
def test_upload_actions(scene, authorization):
    """git-lfs is told to verify with the credential that it has, though the Hub told us the pool's token."""
    oid = hashlib.sha256(BODY).hexdigest()
    body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(BODY)}]}
    kind = "application/vnd.git-lfs+json"
    client = Client(scene.tap.url)
    reply = client.post(
        "/acme/secret.git/info/lfs/objects/batch", json.dumps(body), kind, authorization=authorization, accept=kind
    )
    assert reply.status == 200, reply
    actions = reply.json()["objects"][0]["actions"]
    assert actions["verify"]["header"] == {"Authorization": authorization}
    for action in actions.values():
        assert action["href"].startswith(scene.tap.url + "/"), action
    put = client.request("PUT", actions["upload"]["href"].removeprefix(scene.tap.url), body=BODY)
    assert put.status == 200, put
    check = json.dumps({"oid": oid, "size": len(BODY)})
    target = actions["verify"]["href"].removeprefix(scene.tap.url)
    assert client.post(target, check, kind, headers=actions["verify"]["header"]).status == 200
    assert client.post(target, check, kind, authorization=f"Bearer {LOOKER}").status == 403
    assert scene.carried("/objects/") == [BOT, BOT]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirects_carry_no_token(scene, status, method):
    """Wherever the Hub sends us, the pool's token stays with the Hub, and strange hosts hear nothing at all."""
    for number, to in enumerate((scene.hub.evil_url, scene.hub.cdn_url, scene.hub.s3_url, scene.hub.viewer_url)):
        get = f"/acme/secret/resolve/main/{number}.json"
        target = get if method == "GET" else f"/api/models/acme/secret/branch/b{number}"
        scene.hub.fault(
            origin="hub", path=target, redirect=f"{to}/x?y", redirect_status=status, times=None, method=method
        )
        reply = ask(scene.as_(CI), method, target, None if method == "GET" else {})
        assert reply.status >= 300 and scene.hub.evil_url not in str(reply.headers), reply
        assert to not in (reply["Location"] or ""), "nor is the client sent there with its credential"
    assert not [r for r in scene.hub.log() if r["origin"] != "hub" and "authorization" in r["headers"]]
    assert not [r for r in scene.hub.log("evil")]


def test_old_names(scene):
    """A repository that has moved is judged by the name that the Hub knows now."""
    for private in (True, False):
        old, new = f"acme/was-{private}", f"labs/is-{private}"
        scene.hub.create_repo("models", old, private=private)
        scene.hub.commit("models", old, {"config.json": '{"of": "labs"}'})
        scene.hub.rename("models", old, new)
        ways = [f"/{old}/resolve/main/config.json", f"/{old}/resolve/main/none.json"]
        ways += [f"/api/models/{old}{verb}" for verb in ("", "/tree/main", "/refs", "/commits/main", "/auth-check")]
        for way in ways:
            for warm in (False, True):
                if warm:
                    assert scene.as_(BOT).follow("GET", way)[-1].status in (200, 404)
                replies = scene.as_(CI).follow("GET", way)
                assert replies[-1].status == 403, f"{way} left the client's namespaces: {replies}"
                assert not [r for r in replies if b'"of"' in r.body or b'"sha"' in r.body]
    scene.hub.rename("models", "acme/tiny", "acme/renamed")
    for way in ("/acme/tiny/resolve/main/config.json", "/api/models/acme/tiny"):
        assert scene.as_(CI).follow("GET", way)[-1].status == 200, "and this one did not"


def test_a_write_that_is_refused(scene):
    """What the Hub refuses leaves a line with the status that it gave."""
    assert scene.as_(CI).post("/api/repos/create", {"name": "tiny", "organization": "acme"}).status == 409
    scene.hub.fault(origin="hub", path="/branch/", status=500, times=None)
    assert scene.as_(CI).post("/api/models/acme/tiny/branch/b", {}).status == 500
    scene.hub.fault(origin="hub", path="/tag/", reset="before_head", times=None)
    assert scene.as_(CI).post("/api/models/acme/tiny/tag/main", {"tag": "v2"}).status == 504
    lines = [(x["client"], x["op"], x["method"], x["target"], x["token"], x["status"]) for x in scene.audit()]
    assert lines == [
        ("ci", "repo-create", "POST", "/api/repos/create", "bot-1", "409"),
        ("ci", "write", "POST", "/api/models/acme/tiny/branch/b", "bot-1", "500"),
        ("ci", "write", "POST", "/api/models/acme/tiny/tag/main", "bot-1", "0"),
    ]
