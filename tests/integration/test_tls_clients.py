"""HTTPS towards clients: the certificate of the name they say, every byte over TLS, and reloads under way."""

import hashlib
import signal
import subprocess

import pytest
from conftest import ANN, LARGE_LFS, SMALL_LFS, World, check_hub, populate

from tests.hub import Hub, generated_bytes
from tests.support import clients
from tests.support.daemon import Daemon

LARGE = hashlib.sha256(generated_bytes(8, 0, LARGE_LFS)).hexdigest()
SMALL = hashlib.sha256(generated_bytes(7, 0, SMALL_LFS)).hexdigest()
VERSIONS = ["0.36", "1.x", "2.x"]
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def certificate(folder, name, *names):
    """Make a self-signed certificate and its key in one file, NAME.pem, and the certificate alone, NAME.crt."""
    whole, alone = folder / f"{name}.pem", folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", f"/CN={name}", "-addext", "subjectAltName=" + ",".join(names)]
        + ["-out", alone, "-keyout", folder / f"{name}.key"],
        check=True,
        capture_output=True,
    )
    whole.write_bytes(alone.read_bytes() + (folder / f"{name}.key").read_bytes())
    return whole


def address(daemon):
    """Return host and port where the daemon serves HTTPS."""
    return daemon.wait_log(r"server\.tls listen=(\S+)").group(1)


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A Hub with contents and a daemon with two certificates: one for the address, one for localhost and names."""
    folder = tmp_path_factory.mktemp("secure")
    first = certificate(folder, "first", "IP:127.0.0.1", "DNS:cache.example")
    certificate(folder, "second", "DNS:localhost", "DNS:*.lab.example")
    config = {
        "allowed_hosts": ["cache.example", "*.lab.example"],
        "tls": {"listen": "127.0.0.1:0", "certificates": [str(first), f"{folder}/second.crt:{folder}/second.key"]},
    }
    with Hub.start() as running:
        known = populate(running)
        one = Daemon(running, folder / "daemon", config).start()
        world = World(running, one, known)
        world.folder, world.port = folder, address(one).rpartition(":")[2]
        yield world
        check_hub(running)
        problems = one.finish(("CANARY",))
        assert not problems, "\n".join(problems)


def curl(world, name, authority, path, *arguments, check=True):
    """Ask with curl, which trusts this certificate only and finds any name here."""
    command = ["curl", "-sS", "--fail", "--cacert", world.folder / f"{authority}.crt"]
    command += ["--resolve", f"{name}:{world.port}:127.0.0.1", f"https://{name}:{world.port}{path}", *arguments]
    return clients.run(command, clients.environment("unused", world.folder / "curl"), check=check)


@pytest.mark.parametrize(
    "name, authority",
    [("cache.example", "first"), ("gpu7.lab.example", "second"), ("localhost", "second"), ("127.0.0.1", "first")],
)
def test_each_name_has_its_certificate(secure, name, authority):
    """The certificate follows the name that the client says, and the wrong one is never shown."""
    done = curl(secure, name, authority, "/gpt2/resolve/main/config.json", "-o", "/dev/null", "-w", "%{http_code}")
    assert done.stdout == "200"
    other = "second" if authority == "first" else "first"
    done = curl(secure, name, other, "/gpt2/resolve/main/config.json", check=False)
    assert done.returncode == 60, f"curl accepts no certificate of another name: {done}"


def test_foreign_names_are_refused(secure):
    """TLS does not make a name ours; the default certificate is shown, and the answer is 421."""
    show = ("-k", "-o", "/dev/null", "-w", "%{http_code}")
    done = curl(secure, "evil.example", "first", "/-/healthz", *show, check=False)
    assert done.stdout == "421"


def test_old_protocols_are_refused(secure):
    """TLS 1.1 is not spoken."""
    done = curl(secure, "cache.example", "first", "/-/healthz", "--tls-max", "1.1", check=False)
    assert done.returncode == 35
    assert curl(secure, "cache.example", "first", "/-/healthz", "--tls-max", "1.2").returncode == 0


def test_links_lead_back_over_https(secure):
    """The next page of a listing is at the scheme and host that the client used."""
    done = curl(secure, "gpu7.lab.example", "second", "/api/models?author=listed&limit=2", "-D", "-", "-o", "/dev/null")
    link = next(x for x in done.stdout.splitlines() if x.lower().startswith("link:"))
    assert f"<https://gpu7.lab.example:{secure.port}/api/models?" in link


def test_ranges_and_whole_files(secure, tmp_path):
    """Bytes of a cached file, which take another way to the socket than without TLS."""
    path = f"/acme/tiny/resolve/{secure.known['head']}/model.safetensors"
    for attempt in ("cold", "warm"):
        curl(secure, "cache.example", "first", path, "-o", tmp_path / attempt)
        assert hashlib.sha256((tmp_path / attempt).read_bytes()).hexdigest() == LARGE
    curl(secure, "cache.example", "first", path, "-r", "1000000-8999999", "-o", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == generated_bytes(8, 1000000, 8000000)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name, authority", [("localhost", "second"), ("127.0.0.1", "first")])
def test_huggingface_hub(secure, tmp_path, version, name, authority):
    """Downloads, paged listings and a private repository, by both names."""
    code = """
import hashlib, os
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
folder = snapshot_download("acme/tiny")
digest = lambda p: hashlib.sha256(open(p, "rb").read()).hexdigest()
result = {
    "files": {n: digest(os.path.join(folder, n)) for n in ("model.safetensors", "small.safetensors")},
    "models": sorted(m.id for m in HfApi().list_models(author="listed", limit=7)),
    "secret": os.path.getsize(hf_hub_download("acme/secret", "model.safetensors")),
}
"""
    trust = dict.fromkeys(CA_VARIABLES, str(secure.folder / f"{authority}.crt"))
    seen = clients.python(version, code, f"https://{name}:{secure.port}", tmp_path, ANN, **trust)
    assert seen == {
        "files": {"model.safetensors": LARGE, "small.safetensors": SMALL},
        "models": [f"listed/m{n}" for n in range(7)],
        "secret": SMALL_LFS,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_huggingface_hub_does_not_trust_another(secure, tmp_path, version):
    """A client that does not know the certificate gets nothing."""
    code = """
from huggingface_hub import HfApi
try:
    HfApi().model_info("gpt2")
    result = "trusted"
except Exception as e:
    result = f"{e!r} {e.__cause__!r} {e.__context__!r}"
"""
    trust = dict.fromkeys(CA_VARIABLES, str(secure.folder / "first.crt"))
    seen = clients.python(version, code, f"https://localhost:{secure.port}", tmp_path, **trust)
    assert "certificate" in seen.lower()


def test_a_renewed_certificate(hub, make_daemon, tmp_path):
    """SIGHUP reads the files again; a bad file leaves the old certificate in force and says so."""
    pem = certificate(tmp_path, "hub", "DNS:cache.example")
    former = tmp_path / "former.crt"
    former.write_bytes((tmp_path / "hub.crt").read_bytes())
    tls = {"listen": "127.0.0.1:0", "certificates": [str(pem)]}
    daemon = make_daemon({"allowed_hosts": ["cache.example"], "tls": tls})
    world = World(hub, daemon, {})
    world.folder, world.port = tmp_path, address(daemon).rpartition(":")[2]
    good = pem.read_bytes()
    pem.write_bytes(good[: len(good) // 2])
    daemon.signal(signal.SIGHUP)
    daemon.wait_log(r"tls\.refused error=.*hub\.pem")
    assert curl(world, "cache.example", "former", "/-/healthz").returncode == 0
    certificate(tmp_path, "hub", "DNS:cache.example")
    daemon.signal(signal.SIGHUP)
    daemon.wait_log(r"(?s)config\.reloaded.*config\.reloaded")
    assert curl(world, "cache.example", "hub", "/-/healthz").returncode == 0
    assert curl(world, "cache.example", "former", "/-/healthz", check=False).returncode == 60


@pytest.mark.parametrize("wrong", ["absent", "no key", "another key", "none given"])
def test_it_does_not_start_with_bad_files(make_daemon, tmp_path, wrong):
    """The reason names the file and what is wrong with it."""
    certificate(tmp_path, "hub", "DNS:cache.example")
    certificate(tmp_path, "other", "DNS:other.example")
    files, reason = {
        "absent": ([f"{tmp_path}/none.pem"], r"none\.pem: No such file"),
        "no key": ([f"{tmp_path}/hub.crt"], r"hub\.crt"),
        "another key": ([f"{tmp_path}/hub.crt:{tmp_path}/other.key"], r"other\.key: the key does not belong"),
        "none given": ([], r"tls\.certificates: must not be empty"),
    }[wrong]
    daemon = make_daemon({"tls": {"listen": "127.0.0.1:0", "certificates": files}}, start=False)
    daemon.start(wait=False)
    daemon.expect_death = True
    assert daemon.wait() != 0
    assert daemon.wait_log(reason)
