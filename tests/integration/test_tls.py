"""Upstream over TLS: with a certificate that fits everything works; with another no token and no byte is sent."""

import subprocess

import pytest
from conftest import ANN, people

from tests.hub import Generated, Hub

SIZE = 9 << 20


def certificate(folder, name, subject, days="2"):
    """Make a self-signed certificate for `subject` and return its two files."""
    files = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days, "-subj", "/CN=hub for tests"]
        + ["-addext", f"subjectAltName={subject}", "-out", files[0], "-keyout", files[1]],
        check=True,
        capture_output=True,
    )
    return files


@pytest.fixture
def tls_hub(tmp_path):
    """A Hub that speaks TLS, its repository, and the certificate that fits."""
    fits = certificate(tmp_path, "fits", "IP:127.0.0.1,IP:127.0.0.2")
    with Hub.start(tls_certificate=fits[0], tls_key=fits[1]) as hub:
        people(hub)
        hub.create_repo("models", "acme/m", private=True)
        sha = hub.commit("models", "acme/m", {"config.json": b"{}", "w.safetensors": Generated(SIZE, seed=3)})
        yield hub, f"/acme/m/resolve/{sha}", fits


def test_a_certificate_that_fits(tls_hub, make_daemon):
    """Metadata from the hub and bytes from the file host, both over TLS."""
    hub, files, fits = tls_hub
    daemon = make_daemon({"upstream": {"ca_file": str(fits[0])}}, hub=hub)
    for name in ("config.json", "w.safetensors"):
        reply = daemon.client.get(f"{files}/{name}", token=ANN)
        assert reply.status == 200 and reply.complete
    assert reply.sha256() == reply["ETag"].strip('"')


@pytest.mark.parametrize("wrong", ["unknown authority", "another name"])
def test_a_certificate_that_does_not(tls_hub, make_daemon, tmp_path, wrong):
    """Whoever cannot prove to be the Hub hears nothing, least of all a token; the client gets a 502 with a reason."""
    hub, files, fits = tls_hub
    trusted = fits[0]
    if wrong == "another name":
        other = certificate(tmp_path, "other", "DNS:other.example")
        hub.certificate("hub", *other)
        trusted = other[0]
    else:
        trusted = certificate(tmp_path, "stranger", "IP:127.0.0.1")[0]
    daemon = make_daemon({"upstream": {"ca_file": str(trusted)}}, hub=hub)
    hub.clear_log()
    reply = daemon.client.get(f"{files}/config.json", token=ANN)
    assert (reply.status, reply["X-Hubcached-Error"]) == (502, "upstream-connect")
    assert reply["X-Error-Code"] is None
    assert hub.log("hub") == [], "no request, and so no token, was sent"
