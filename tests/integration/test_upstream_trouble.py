"""The Hub is down, slow, wrong or refuses: what is here is served, what is not gets an honest error, in time."""

import threading
import time

import pytest
from conftest import ANN

from tests.hub import Generated, generated_bytes
from tests.support.daemon import wait_until

MIB = 1 << 20
LARGE = 10 * MIB + 7


@pytest.fixture
def sha(hub):
    """Publish a repository."""
    hub.create_repo("models", "acme/m")
    return hub.commit(
        "models",
        "acme/m",
        {
            "config.json": b'{"v": 1}',
            "other.json": b"{}",
            "w.safetensors": Generated(LARGE, seed=2),
            "s.safetensors": Generated(200_000, seed=3),
        },
    )


def impatient(make_daemon, **cache):
    """A daemon that asks again at once and waits shortly."""
    return make_daemon(
        {
            "cache": {"ref_ttl": "0s", "repo_doc_ttl": "0s", "list_ttl": "0s", **cache},
            "upstream": {"first_byte_timeout": "1s", "stall_timeout": "1s", "connect_timeout": "1s"},
        }
    )


def timed(do):
    """Return (result, seconds); a closed connection is a result too."""
    began = time.monotonic()
    try:
        result = do()
    except ConnectionError as e:
        result = e
    return result, time.monotonic() - began


OUTAGES = {
    "refused": lambda hub: hub.down("hub"),
    "hanging": lambda hub: hub.fault(origin="hub", hang="before_head", times=None),
    "resetting": lambda hub: hub.fault(origin="hub", reset="before_head", times=None),
    # Connections that are open already would go on working.
    "closing": lambda hub: (hub.down("hub"), hub.up("hub"), hub.fault(origin="hub", accept_close=True, times=None)),
    "500": lambda hub: hub.fault(origin="hub", status=500, body="oops", times=None),
    "502": lambda hub: hub.fault(origin="hub", status=502, times=None),
    "503": lambda hub: hub.fault(origin="hub", status=503, headers={"Retry-After": "1"}, times=None),
    "504": lambda hub: hub.fault(origin="hub", status=504, body="<html>", times=None),
    "520": lambda hub: hub.fault(origin="hub", status=520, times=None),
    "429": lambda hub: hub.fault(origin="hub", status=429, headers={"Retry-After": "7"}, times=None),
    "nonsense": lambda hub: hub.fault(origin="hub", raw="HELLO\r\n\r\n", times=None),
    "huge header": lambda hub: hub.fault(origin="hub", huge_header=1 << 20, times=None),
    "many headers": lambda hub: hub.fault(origin="hub", many_headers=10000, times=None),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_what_is_here_goes_on_being_served(hub, make_daemon, sha, outage):
    """A branch is served as it was last seen, and says that it is stale; a commit is served as ever."""
    daemon = impatient(make_daemon)
    main, commit = "/acme/m/resolve/main/config.json", f"/acme/m/resolve/{sha}/config.json"
    documents = (
        "/api/models/acme/m/tree/main?recursive=true",
        "/api/models/acme/m",
        "/api/models/acme/m/revision/main",
    )
    for path in (main, commit, *documents):
        assert daemon.client.get(path).status == 200
    OUTAGES[outage](hub)
    for path in (commit, main, main, *documents):
        reply, seconds = timed(lambda: daemon.client.get(path))
        assert seconds < 10, path
        assert reply.status == 200, (path, reply)
        if path == main:
            assert (reply.body, reply["X-Repo-Commit"], reply["X-Hubcached"]) == (b'{"v": 1}', sha, "stale")
    hub.clear_faults()
    hub.up("hub")
    new = hub.commit("models", "acme/m", {"config.json": b'{"v": 2}'})
    wait_until(lambda: daemon.client.get(main)["X-Repo-Commit"] == new, "the new commit", 15)


@pytest.mark.parametrize("outage", OUTAGES)
def test_what_is_not_here_gets_an_honest_error(hub, make_daemon, sha, outage):
    """Never a 404 of our own, never a hang, and a reason in words that a library can show."""
    daemon = impatient(make_daemon)
    OUTAGES[outage](hub)
    for path in (
        f"/acme/m/resolve/{sha}/config.json",
        "/acme/m/resolve/main/config.json",
        "/api/models/acme/m",
        "/api/models/acme/m/tree/main",
        "/api/models?search=x",
        "/api/whoami-v2",
    ):
        reply, seconds = timed(lambda: daemon.client.get(path))
        assert seconds < 10, path
        assert not isinstance(reply, Exception), (path, reply)
        assert reply.status in ((429,) if outage == "429" else (500, 502, 503, 504, 520)), (path, reply)
        assert reply["X-Error-Code"] is None
    hub.clear_faults()
    hub.up("hub")
    wait_until(lambda: daemon.client.get("/acme/m/resolve/main/config.json").status == 200, "well again", 15)


def test_our_own_errors_say_why(hub, make_daemon, sha):
    """An error that we made is marked, in JSON, with a slug for machines and a sentence for people."""
    daemon = impatient(make_daemon)
    hub.down("hub")
    for method in ("GET", "HEAD"):
        reply = daemon.client.request(method, f"/acme/m/resolve/{sha}/config.json")
        assert reply.status in (502, 503, 504)
        assert reply["X-Hubcached-Error"] and reply["X-Error-Message"]
        assert method == "HEAD" or isinstance(reply.json()["error"], str)


def test_the_breaker_answers_at_once_and_closes_again(hub, make_daemon, sha):
    """After some failures nobody waits for the Hub any more, and the Hub is not hammered; a probe finds it back."""
    daemon = impatient(make_daemon)
    hub.down("hub")
    for n in range(8):
        daemon.client.get(f"/acme/m/resolve/main/x{n}")
    reply, seconds = timed(lambda: daemon.client.get("/acme/m/resolve/main/y"))
    assert (reply.status, seconds < 1) == (503, True)
    assert reply["Retry-After"]
    assert daemon.metric("upstream_breaker_open", host="hub") == 1
    hub.up("hub")
    wait_until(lambda: daemon.client.get(f"/acme/m/resolve/{sha}/config.json").status == 200, "closed again", 15)
    assert daemon.metric("upstream_breaker_open", host="hub") == 0


def test_a_short_trouble_is_not_noticed(hub, daemon, sha):
    """One 503 or one reset in between is tried again, without the client."""
    hub.fault(origin="hub", status=503)
    assert daemon.client.get(f"/acme/m/resolve/{sha}/config.json").status == 200
    hub.fault(origin="hub", reset="before_head")
    assert daemon.client.get(f"/acme/m/resolve/{sha}/other.json").status == 200
    hub.fault(origin="cdn", status=503)
    assert daemon.client.get(f"/acme/m/resolve/{sha}/s.safetensors").complete
    hub.fault(origin="cdn", reset="before_head")
    assert daemon.client.get(f"/acme/m/resolve/{sha}/w.safetensors").complete


def test_rate_limits_reach_the_client_with_their_numbers(hub, make_daemon, sha):
    """429 with what the library needs to wait well, and without that on cached answers."""
    daemon = impatient(make_daemon)
    assert daemon.client.get(f"/acme/m/resolve/{sha}/config.json").status == 200
    hub.fault(
        origin="hub",
        status=429,
        times=None,
        headers={
            "RateLimit": '"resolvers";r=0;t=55',
            "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
            "Retry-After": "55",
        },
    )
    reply = daemon.client.get(f"/acme/m/resolve/{sha}/other.json")
    assert (reply.status, reply["RateLimit"], reply["Retry-After"]) == (429, '"resolvers";r=0;t=55', "55")
    reply = daemon.client.get(f"/acme/m/resolve/{sha}/config.json")
    assert (reply.status, reply["RateLimit"]) == (200, None)


@pytest.mark.parametrize(
    "value,low,high", [("-1", 1, 300), ("1000000000", 1, 300), ("Tue, 14 Nov 2023 22:13:20 GMT", 1, 300)]
)
def test_absurd_waits_are_not_passed_on(hub, make_daemon, sha, value, low, high):
    """Retry-After is kept between a second and five minutes."""
    daemon = impatient(make_daemon)
    hub.fault(origin="hub", status=429, times=None, headers={"Retry-After": value})
    reply = daemon.client.get(f"/acme/m/resolve/{sha}/other.json")
    assert reply.status == 429
    assert reply["Retry-After"] is None or low <= int(reply["Retry-After"]) <= high


CDN = {
    "down": lambda hub: hub.down("cdn"),
    "hanging": lambda hub: hub.fault(origin="cdn", hang="before_head", times=None),
    "hanging in the body": lambda hub: hub.fault(origin="cdn", hang=2 * MIB, times=None),
    "404": lambda hub: hub.fault(origin="cdn", status=404, body="<Error/>", times=None),
    "403": lambda hub: hub.fault(origin="cdn", status=403, body="<Error/>", times=None),
    "500": lambda hub: hub.fault(origin="cdn", status=500, times=None),
    "redirect": lambda hub: hub.fault(origin="cdn", redirect=hub.evil_url + "/x", times=None),
}


@pytest.mark.parametrize("trouble", CDN)
def test_the_file_host_is_in_trouble(hub, make_daemon, sha, trouble):
    """The bytes do not come: an error or a short close within 10 s of silence, never a complete answer, never a 404."""
    daemon = impatient(make_daemon)
    CDN[trouble](hub)
    reply, seconds = timed(lambda: daemon.client.get(f"/acme/m/resolve/{sha}/w.safetensors", timeout=15))
    assert seconds < 14
    if not isinstance(reply, Exception):
        assert reply.status in (502, 503, 504) or not reply.complete, reply
        assert reply["X-Error-Code"] is None
    assert daemon.client.head(f"/acme/m/resolve/{sha}/w.safetensors").status == 200
    hub.clear_faults()
    hub.up("cdn")
    wait_until(lambda: daemon.client.get(f"/acme/m/resolve/{sha}/w.safetensors").complete, "well again", 15)


def test_a_stalled_transfer_is_taken_up_elsewhere(hub, make_daemon, sha):
    """Upstream stops sending: the transfer is broken off, resumed, and the client gets the whole file."""
    daemon = impatient(make_daemon)
    hub.fault(origin="cdn", hang=3 * MIB, times=1)
    reply, seconds = timed(lambda: daemon.client.get(f"/acme/m/resolve/{sha}/w.safetensors"))
    assert reply.status == 200 and reply.complete and reply.sha256() == reply["ETag"].strip('"')
    assert seconds < 10


def test_one_slow_file_does_not_slow_the_others(hub, make_daemon, sha):
    """While one answer of the Hub hangs, everything else goes on."""
    daemon = make_daemon()
    with hub.gate("before_head", origin="hub", path="other.json") as gate:
        result = []
        thread = threading.Thread(target=lambda: result.append(daemon.client.get(f"/acme/m/resolve/{sha}/other.json")))
        thread.start()
        gate.wait_reached()
        reply, seconds = timed(lambda: daemon.client.get(f"/acme/m/resolve/{sha}/w.safetensors"))
        assert reply.complete and seconds < 5
        assert daemon.client.get("/-/healthz").status == 200
        gate.release()
        thread.join()
    assert result[0].status == 200


def test_a_slow_document_is_an_error_in_time(hub, daemon, sha):
    """With the defaults too nobody waits longer than 10 s."""
    hub.fault(origin="hub", hang="before_head", times=None)
    reply, seconds = timed(lambda: daemon.client.get("/api/models/acme/m"))
    assert reply.status == 504 and seconds < 10


def test_refusals_of_the_hub_are_not_ours_to_change(hub, make_daemon, sha):
    """400 and 403 with a message arrive as they are."""
    daemon = impatient(make_daemon)
    for status, code, message in (
        (403, None, "Forbidden: not today"),
        (400, None, "Bad thing"),
        (403, "GatedRepo", "Access to model acme/m is restricted."),
        (403, None, "Access to this resource is disabled."),
    ):
        headers = {
            "X-Error-Message": message,
            "Content-Type": "application/json",
            **({"X-Error-Code": code} if code else {}),
        }
        hub.fault(
            origin="hub",
            path="other.json|models/acme/m",
            status=status,
            headers=headers,
            times=None,
            body='{"error": "%s"}' % message,
        )
        for path in (f"/acme/m/resolve/{sha}/other.json", "/api/models/acme/m"):
            reply = daemon.client.get(path, token=ANN)
            assert (reply.status, reply["X-Error-Code"], reply["X-Error-Message"]) == (status, code, message)
        hub.clear_faults()


def test_interim_answers_are_skipped(hub, daemon, sha):
    """103 Early Hints before the answer change nothing."""
    hub.fault(origin="hub", interim=3, times=None)
    assert daemon.client.get(f"/acme/m/resolve/{sha}/config.json").body == b'{"v": 1}'


def test_control_bytes_of_upstream_do_not_reach_clients(hub, daemon, sha):
    """Header injection from above is refused or cleaned."""
    hub.fault(origin="hub", path="config.json", raw_head="X-Error-Message: a\x1b[31mb\x01\r\nX-Evil: 1\r\n", times=None)
    reply = daemon.client.get(f"/acme/m/resolve/{sha}/config.json")
    assert reply.status in (200, 502)
    assert reply["X-Evil"] is None and "\x1b" not in str(reply.headers)


def test_bytes_of_a_range_during_an_outage(hub, make_daemon, sha):
    """What is here of a half-fetched file is served by range while the Hub is away."""
    daemon = make_daemon({"cache": {"permission_ttl": "5m"}})
    target = f"/acme/m/resolve/{sha}/w.safetensors"
    assert daemon.client.get(target, range="bytes=0-999999").status == 206
    hub.wait_idle()
    hub.down("hub")
    hub.down("cdn")
    reply = daemon.client.get(target, range="bytes=1000-1999")
    assert (reply.status, reply.body) == (206, generated_bytes(2, 1000, 1000))
    reply, seconds = timed(lambda: daemon.client.get(target, range=f"bytes={LARGE - 10}-"))
    assert reply.status in (502, 503, 504) and seconds < 10
