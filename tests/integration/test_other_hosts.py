"""Hosts beside the Hub: endpoints, catalog and dataset viewer by paths and names of ours, and streams of events."""

import json
from urllib.parse import urlsplit

import pytest
from conftest import ANN, BOB, UNKNOWN

from tests.hub import Hub
from tests.support.daemon import wait_until
from tests.support.http import Client, Stream
from tests.support.writes import asked, memory

ENDPOINT = {
    "name": "talk",
    "type": "protected",
    "provider": {"vendor": "aws", "region": "us-east-1"},
    "compute": {
        "accelerator": "cpu",
        "instanceSize": "x1",
        "instanceType": "intel-spr",
        "scaling": {"minReplica": 0, "maxReplica": 1},
    },
    "model": {"repository": "acme/m", "framework": "pytorch", "task": "text-generation", "secrets": {"S": "hidden"}},
}
SLEEPER = {"dockerImage": "python:3.12", "command": ["sleep", "inf"], "flavor": "cpu-basic"}


@pytest.fixture
def world(hub):
    """Publish what endpoints, catalog and viewer speak of."""
    hub.create_repo("models", "acme/m", catalog=True)
    hub.commit("models", "acme/m", {"config.json": "{}"})
    for id, private in (("acme/open", False), ("acme/closed", True)):
        hub.create_repo("datasets", id, private=private)
        hub.commit("datasets", id, {"train.csv": "a,b\n1,2\n3,4\n"})
    return hub


def where_tokens_went(hub):
    """Return the origins that heard a token."""
    return {r["origin"] for r in hub.log() if "CANARY" in str(r["raw_headers"]) + r["target"] + str(r["body"])}


def same(ours, direct, *names):
    """Two answers say the same to a client, times aside."""
    assert ours.status == direct.status, (ours, direct)
    names = names or ("content-type", "x-error-code", "x-revision", "cache-control")
    assert {n: ours[n] for n in names} == {n: direct[n] for n in names}
    if direct.body and "json" in (direct["content-type"] or ""):
        assert without_times(ours.json()) == without_times(direct.json())
    else:
        assert ours.body == direct.body


def without_times(value):
    """Return a document without the moments that it names."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not k.endswith("At")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


# Endpoints and their catalog.


def test_the_life_of_an_endpoint(world, daemon):
    """An endpoint is made, looked at, changed, paused, resumed and deleted under a path of ours."""
    ann, prefix = daemon.as_user(ANN), "/-/endpoints/v2"
    made = ann.post(f"{prefix}/endpoint/acme", ENDPOINT)
    assert made.status == 202 and made.json()["status"]["state"] == "pending"
    one = f"{prefix}/endpoint/acme/talk"
    assert ann.get(one).json()["status"]["state"] == "running"
    changed = ann.request(
        "PUT", one, body=b'{"compute": {"scaling": {"maxReplica": 3}}}', content_type="application/json"
    )
    assert changed.status == 202 and ann.get(one).json()["compute"]["scaling"]["maxReplica"] == 3
    for verb, state in (("pause", "paused"), ("resume", "running"), ("scale-to-zero", "scaledToZero")):
        assert ann.post(f"{one}/{verb}", b"").status == 200
        assert ann.get(one).json()["status"]["state"] == state
    assert ann.post(f"{prefix}/endpoint/acme", ENDPOINT).status == 409
    assert len(ann.get(f"{prefix}/endpoint/acme").json()["items"]) == 1
    assert ann.request("DELETE", one).status == 200 and ann.get(one).status == 404
    assert where_tokens_went(world) == {"endpoints"}
    assert [r["method"] for r in world.log("endpoints")].count("POST") == 5


@pytest.mark.parametrize("token", [None, ANN, BOB, UNKNOWN])
def test_the_endpoints_answers_are_their_own(world, daemon, token):
    """Status, headers and body are those of the API, refusals too, for whoever asks."""
    assert Client(world.endpoints_url, ANN).post("/v2/endpoint/acme", ENDPOINT).status == 202
    for target in (
        "/v2/endpoint/acme",
        "/v2/endpoint/acme/talk",
        "/v2/endpoint/acme/none",
        "/v2/provider/acme",
        "/v2/nothing",
        "/v2/endpoint/bob",
        "/api/catalog/repo-list",
        "/api/v1/catalog/list?search=m&limit=1",
        "/api/v1/catalog/nothing",
    ):
        same(Client(daemon.url, token).get("/-/endpoints" + target), Client(world.endpoints_url, token).get(target))
    for target, body in (
        ("/v2/endpoint/acme", ENDPOINT),
        ("/v2/endpoint/acme", {}),
        ("/v2/endpoint/acme/talk/resume", {}),
        ("/api/catalog/deploy", {"namespace": "acme", "repoId": "acme/none"}),
    ):
        same(
            Client(daemon.url, token).post("/-/endpoints" + target, body),
            Client(world.endpoints_url, token).post(target, body),
        )


def test_nothing_of_an_endpoint_is_kept(world, daemon):
    """Who may see an endpoint looks at one poll with others; who may not is refused by the API each time; no disk sees it."""
    Client(world.endpoints_url, ANN).post("/v2/endpoint/acme", ENDPOINT)
    world.clear_log()
    for _ in range(3):
        assert daemon.as_user(ANN).get("/-/endpoints/v2/endpoint/acme/talk").status == 200
        assert daemon.as_user(BOB).get("/-/endpoints/v2/endpoint/acme/talk").status == 401
    assert len(world.log("endpoints")) == 1 + 3
    files = [daemon.data_dir / name for name in daemon.files()]
    assert not [f for f in files if b"intel-spr" in f.read_bytes()]


def test_the_catalog(world, daemon):
    """Both generations of the catalog are there, and a model is deployed from it."""
    ann = daemon.as_user(ANN)
    assert ann.get("/-/endpoints/api/catalog/repo-list").json() == {"models": ["acme/m"]}
    items = ann.get("/-/endpoints/api/v1/catalog/list?search=m").json()["items"]
    assert [i["repoId"] for i in items] == ["acme/m"]
    made = ann.post("/-/endpoints/api/catalog/deploy", {"namespace": "acme", "repoId": "acme/m", "endpointName": "one"})
    assert made.status == 200 and made.json()["endpoint"]["name"] == "one"
    assert ann.get("/-/endpoints/v2/endpoint/acme/one").status == 200


def test_endpoint_and_catalog_may_be_two_hosts(world, make_daemon):
    """The API and the catalog go where each is configured to be, and nowhere else."""
    daemon = make_daemon({"upstream": {"catalog_url": world.viewer_url}})
    daemon.as_user(ANN).get("/-/endpoints/v2/endpoint/acme")
    daemon.as_user(ANN).get("/-/endpoints/api/catalog/repo-list")
    rows = [(r["origin"], r["target"]) for r in world.log()]
    assert rows == [("endpoints", "/v2/endpoint/acme"), ("viewer", "/api/catalog/repo-list")]


def test_a_write_to_the_endpoints_goes_out_once(world, daemon):
    """A deployment whose answer was lost is not sent again, and the client is told to look."""
    ann = daemon.as_user(ANN)
    assert ann.get("/-/endpoints/v2/endpoint/acme").status == 200
    world.fault(origin="endpoints", method="POST", reset="after_head", times=None)
    reply = ann.post("/-/endpoints/v2/endpoint/acme", ENDPOINT)
    assert len([r for r in world.log("endpoints") if r["method"] == "POST"]) == 1
    assert reply.status == 504 and reply["X-Hubcached-Error"] == "uncertain" or not reply.complete, reply
    assert ann.get("/-/endpoints/v2/endpoint/acme/talk").status == 200


def test_hosts_that_are_down(world, daemon):
    """A host beside the Hub that is down is told as such; the Hub goes on, and so does the host when it is back."""
    daemon.as_user(ANN).get("/-/endpoints/v2/endpoint/acme")
    world.down("endpoints")
    world.down("viewer")
    for target in ("/-/endpoints/v2/endpoint/acme?new=1", "/-/viewer/splits?dataset=acme/open"):
        reply = daemon.as_user(ANN).get(target)
        assert reply.status in (502, 503, 504) and reply["X-Hubcached-Error"], reply
    assert daemon.client.get("/api/models/acme/m").status == 200
    world.up("endpoints")
    world.up("viewer")
    for target in ("/-/endpoints/v2/endpoint/acme", "/-/viewer/splits?dataset=acme/open"):
        wait_until(lambda: daemon.as_user(ANN).get(target).status == 200, "it is asked again")


# The dataset viewer.


@pytest.mark.parametrize("token", [None, ANN, BOB, UNKNOWN])
@pytest.mark.parametrize("id", ["acme/open", "acme/closed", "acme/none"])
def test_the_viewers_answers_are_its_own(world, daemon, token, id):
    """What the viewer says of a dataset, or does not say to this caller, is passed on with its headers."""
    for what in ("is-valid", "splits", "parquet", "info", "size", "first-rows", "rows", "nothing"):
        target = f"/{what}?dataset={id}&config=default&split=train" + ("&offset=1&length=1" if what == "rows" else "")
        same(Client(daemon.url, token).get("/-/viewer" + target), Client(world.viewer_url, token).get(target))
    same(
        Client(daemon.url, token).head(f"/-/viewer/splits?dataset={id}"),
        Client(world.viewer_url, token).head(f"/splits?dataset={id}"),
        "content-type",
        "x-revision",
    )


def test_rows_of_a_private_dataset_are_for_its_owner(world, daemon):
    """What the owner was shown nobody else is shown, and it is in no file of ours."""
    target = "/-/viewer/rows?dataset=acme/closed&config=default&split=train"
    for _ in range(2):
        assert daemon.as_user(ANN).get(target).json()["num_rows_total"] == 2
        assert daemon.as_user(BOB).get(target).status == 404
        assert daemon.client.get(target).status == 401
    assert where_tokens_went(world) == {"viewer"}


def test_the_viewer_takes_no_writes(world, daemon):
    """Nothing is written there: such requests do not leave, or are refused by it."""
    for method in ("POST", "PUT", "DELETE"):
        reply = daemon.as_user(ANN).request(method, "/-/viewer/rows?dataset=acme/open", body=b"{}")
        assert reply.status in (404, 405), reply


# By name.


@pytest.fixture
def named(tmp_path_factory):
    """Give a Hub whose endpoints can be reached by the name localhost."""
    with Hub.start(endpoints_host="127.0.0.1") as hub:
        hub.add_token(ANN, "ann", orgs=["acme"], role="write")
        hub.add_token(BOB, "bob")
        hub.create_repo("models", "acme/m", catalog=True)
        hub.create_repo("datasets", "acme/open")
        hub.commit("datasets", "acme/open", {"train.csv": "a,b\n1,2\n"})
        yield hub


@pytest.fixture
def site(named, make_daemon):
    """Give the daemon of a site whose DNS leads the names of these hosts to it."""
    port = urlsplit(named.endpoints_url).port
    url = f"http://localhost:{port}"
    return make_daemon(
        {"allowed_hosts": ["cache.lan"], "upstream": {"endpoints_url": url, "catalog_url": url}}, hub=named
    )


def test_endpoints_by_name(named, site):
    """A request with the name of the endpoints API goes there, with its path and token as they are."""
    port = urlsplit(site.url).port
    ann = site.as_user(ANN)
    for x, host in enumerate(("localhost", f"localhost:{port}", "LocalHost:443")):
        named.clear_log()
        assert ann.get(f"/v2/endpoint/acme?x={x}", host=host).json() == {"items": []}
        (row,) = named.log()
        assert (row["origin"], row["target"]) == ("endpoints", f"/v2/endpoint/acme?x={x}")
        assert row["headers"]["host"] == urlsplit(named.endpoints_url).netloc.replace("127.0.0.1", "localhost")
    assert ann.post("/v2/endpoint/acme", ENDPOINT, host="localhost").status == 202
    assert ann.get("/api/catalog/repo-list", host="localhost").json() == {"models": ["acme/m"]}
    assert ann.request("DELETE", "/v2/endpoint/acme/talk", host="localhost").status == 200
    # Our own name is still the Hub's.
    assert site.client.get("/api/models/acme/m").json()["id"] == "acme/m"
    assert site.client.get("/api/models/acme/m", host="cache.lan").json()["id"] == "acme/m"


def test_names_are_not_mixed_up(named, site):
    """What the Hub said under a path is not given for another host's, nor the other way round."""
    assert site.client.get("/api/models/acme/m").status == 200
    assert site.client.get("/api/models/acme/m").status == 200
    reply = site.client.get("/api/models/acme/m", host="localhost")
    assert reply.status == 404 and reply.json() == {"error": "Not Found"}
    assert site.client.get("/splits?dataset=acme/open", host="datasets-server.cache.lan").status == 200
    assert site.client.get("/splits?dataset=acme/open").status != 200


def test_what_we_say_of_ourselves_is_there_by_every_name(named, site):
    """Health and paths of ours answer by every name that leads here."""
    for host in ("localhost", "cache.lan", "datasets-server.cache.lan"):
        assert site.client.get("/-/healthz", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "datasets-server.cache.lan",
        "datasets-server.cache.lan:8090",
        "Datasets-Server.Cache.LAN",
        "datasets-server.localhost",
    ],
)
def test_the_viewer_by_the_name_that_clients_derive(named, site, host):
    """`datasets-server.` in front of a name of ours is the viewer, as `datasets` derives it from HF_ENDPOINT."""
    reply = site.as_user(ANN).get("/splits?dataset=acme/open", host=host)
    assert reply.status == 200 and reply.json()["splits"], reply
    (row,) = named.log()
    assert (row["origin"], row["target"]) == ("viewer", "/splits?dataset=acme/open")
    assert row["headers"]["authorization"] == f"Bearer {ANN}"


@pytest.mark.parametrize(
    "host",
    [
        "datasets-server.evil.example",
        "evil.example",
        "api.endpoints.evil.example",
        "localhost.evil.example",
        "xdatasets-server.cache.lan",
        "datasets-server.",
    ],
)
def test_names_of_others(named, site, host):
    """A name that is neither ours nor one of these hosts is turned away, and nobody is asked."""
    reply = site.as_user(ANN).get("/splits?dataset=acme/open", host=host)
    assert reply.status in (400, 421), reply
    assert not named.log()


# Events.


class Events:
    """A stream of events that is read line by line while it comes."""

    def __init__(self, url, target, token=ANN, **headers):
        """Ask and read the head."""
        self.stream = Client(url, token).stream(target, accept="text/event-stream", **headers)
        self.reply, self.raw, self.text, self.over = self.stream.head(), self.stream.buffer, b"", False
        self.stream.buffer = b""

    def _unframe(self):
        """Take the framing off what came; without chunks it is the text itself."""
        if not self.stream.chunked:
            self.text, self.raw = self.text + self.raw, b""
            return
        while b"\r\n" in self.raw and not self.over:
            size, _, rest = self.raw.partition(b"\r\n")
            n = int(size, 16)
            if len(rest) < n + 2:
                return
            self.text, self.raw, self.over = self.text + rest[:n], rest[n + 2 :], n == 0

    def line(self):
        """Return the next line that is not empty; None at the end of a stream that ended as it should."""
        while True:
            self._unframe()
            line, mark, rest = self.text.partition(b"\n")
            if mark:
                self.text = rest
                if line:
                    return line.decode()
                continue
            if self.over:
                return None
            data = self.stream.sock.recv(65536)
            if not data:
                assert not self.stream.chunked, "the stream was cut off"
                return None
            self.raw += data

    def event(self):
        """Return the data of the next event; comments are skipped."""
        while (line := self.line()) is not None:
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
        return None

    def silent(self, seconds):
        """Tell whether nothing comes for some time."""
        self.stream.sock.settimeout(seconds)
        try:
            data = self.stream.sock.recv(65536)
            self.raw += data
            return False
        except TimeoutError:
            return True
        finally:
            self.stream.sock.settimeout(12)

    def __enter__(self):
        """Return the stream."""
        return self

    def __exit__(self, *_):
        """Leave."""
        self.stream.close()


@pytest.fixture
def job(world):
    """Run a job that goes on, and return (its id, where its log is)."""
    id = Client(world.url, ANN).post("/api/jobs/acme", SLEEPER).json()["id"]
    world.clear_log()
    return id, f"/api/jobs/acme/{id}/logs"


@pytest.fixture
def space(world):
    """Publish a Space whose logs go on, and return where they are."""
    world.create_repo("spaces", "acme/s")
    for which in ("run", "build"):
        world.space_log("acme/s", which=which, ended=False)
    return "/api/spaces/acme/s/logs"


def test_a_jobs_log_comes_line_by_line(world, daemon, job):
    """Each line is here before the next is written, and the stream ends with the job."""
    id, target = job
    with Events(daemon.url, target) as log:
        assert (log.reply.status, log.reply["Content-Type"]) == (200, "text/event-stream")
        assert log.reply["Content-Length"] is None and log.reply["Content-Encoding"] is None
        assert [log.event()["data"][:10], log.event()["data"]] == ["===== Job ", "sleep inf"]
        for n in range(20):
            world.job_log(id, f"line {n} \u00e4")
            assert log.event()["data"] == f"line {n} \u00e4"
        world.job_log(id, "last", end="COMPLETED")
        assert log.event()["data"] == "last"
        assert log.event() is None
    (row,) = asked(world, target)
    assert row["done"] and not row["peer_closed"]


@pytest.mark.parametrize("which", ["run", "build"])
def test_a_spaces_log_comes_line_by_line(world, daemon, space, which):
    """The same for both logs of a Space."""
    with Events(daemon.url, f"{space}/{which}") as log:
        assert log.event() and log.event()
        for n in range(5):
            world.space_log("acme/s", f"line {n}", which=which)
            assert log.event()["data"] == f"line {n}"
        world.space_log("acme/s", which=which, ended=True)
        assert log.event() is None


def test_comments_pass(world, daemon, job):
    """Comments that keep a silent stream alive come when they are sent."""
    world.quirks(keep_alive=0.1)
    with Events(daemon.url, job[1]) as log:
        assert log.event() and log.event()
        assert [log.line() for _ in range(3)] == [": keep-alive"] * 3
        world.job_log(job[0], "after them")
        assert log.event()["data"] == "after them"


def test_a_silent_stream_stays_open(world, make_daemon, job):
    """Silence is no failure: a stream may be silent for longer than any answer may."""
    limits = {"first_byte_timeout": "1s", "stall_timeout": "1s", "write_timeout": "1s"}
    daemon = make_daemon({"upstream": limits, "limits": {"idle_timeout": "1s", "request_head_timeout": "1s"}})
    with Events(daemon.url, job[1]) as log:
        assert log.event() and log.event()
        assert log.silent(4)
        world.job_log(job[0], "still here", end="COMPLETED")
        assert log.event()["data"] == "still here" and log.event() is None
    assert len(asked(world, job[1])) == 1


def test_a_stream_that_begins_with_silence(world, make_daemon, space):
    """The head is here before the first event."""
    daemon = make_daemon()
    with world.gate("after_head", path="/logs/run") as gate:
        with Events(daemon.url, f"{space}/run") as log:
            gate.wait_reached()
            assert log.reply.status == 200
            gate.release()
            assert log.event()


def test_the_date_is_the_hubs(world, daemon, job):
    """Clients tell old events from new ones by the Date of the answer: it is the Hub's, and there is one."""
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    world.fault(path=job[1], set_headers={"Date": date})
    with Events(daemon.url, job[1]) as log:
        assert log.reply.all("Date") == [date]
        assert log.event()


def test_it_ends_upstream_when_the_client_goes(world, daemon, job, space):
    """The Hub sees the connection close when the reader leaves, whether the stream is silent or not."""
    for target, more in ((job[1], lambda: None), (f"{space}/run", lambda: world.space_log("acme/s", "more"))):
        with Events(daemon.url, target) as log:
            assert log.event()
            more()
        wait_until(lambda: [r["peer_closed"] for r in asked(world, target)] == [True], f"{target} is closed upstream")


def test_every_reader_has_a_stream(world, daemon, job):
    """Streams are not shared: each reader's own right is asked, and who leaves ends only his."""
    with Events(daemon.url, job[1]) as one, Events(daemon.url, job[1] + "?tail=1") as two:
        assert one.event()["data"].startswith("=====") and two.event()["data"] == "sleep inf"
        two.stream.close()
        wait_until(lambda: sum(r["peer_closed"] for r in asked(world, job[1])) == 1, "one of them is closed")
        assert one.event()["data"] == "sleep inf"
        world.job_log(job[0], "for the other")
        assert one.event()["data"] == "for the other"
    for token, status in ((BOB, 403), (None, 401), (UNKNOWN, 401)):
        with Client(daemon.url, token).stream(job[1]) as stream:
            assert stream.head().status == status


def test_a_stream_that_breaks(world, daemon, job):
    """A stream that upstream breaks off is broken off for the client, too, so that it does not look ended."""
    world.fault(path=job[1], reset=1000)
    with Events(daemon.url, job[1]) as log:
        assert log.event() and log.event()
        world.job_log(job[0], *["more"] * 50)
        with pytest.raises((AssertionError, ConnectionError)):
            while log.line() is not None:
                pass
            raise ValueError("the stream looked as if it had ended")


def test_a_reader_that_does_not_read(world, daemon, job):
    """A reader that takes nothing stops the stream: nothing is gathered for it, and others are served."""
    before = memory(daemon, "VmRSS")
    text = "x" * 60_000
    stream = Stream(daemon.url, "GET", job[1], [("Authorization", f"Bearer {ANN}")], receive_buffer=4096)
    with stream:
        assert stream.head().status == 200
        for _ in range(10):
            world.job_log(job[0], *[text] * 50)
        assert daemon.client.get("/api/models/acme/m").status == 200
        wait_until(lambda: settled(world, job[1]), "nothing moves any more")
        (row,) = asked(world, job[1])
        assert row["sent"] < 25_000_000 and not row["done"], "it was read although nobody takes it"
        after = memory(daemon, "VmRSS")
        assert after - before < 32 << 20


def settled(world, target):
    """Tell whether the number of bytes that the Hub has sent stays the same over some questions."""
    return (
        len({asked(world, target)[0]["sent"] for _ in range(50)}) == 1 and asked(world, target)[0]["sent"] > 1_000_000
    )


def test_measurements_and_events(world, daemon, job, space):
    """The other streams come as they are and end."""
    assert Client(world.url, ANN).post(f"/api/jobs/acme/{job[0]}/cancel", {}).status == 200
    for target in (
        f"/api/jobs/acme/{job[0]}/metrics",
        f"/api/jobs/acme/{job[0]}/events",
        "/api/spaces/acme/s/metrics",
        "/api/spaces/acme/s/events",
    ):
        ours, direct = (Client(url, ANN).get(target) for url in (daemon.url, world.url))
        assert ours.status == direct.status == 200 and ours["Content-Type"] == "text/event-stream"
        assert ours.complete and ours.body.count(b"data: ") == direct.body.count(b"data: ") >= 1


def test_stopping_ends_streams(world, make_daemon, job):
    """A daemon that stops does not wait for a stream that never ends."""
    daemon = make_daemon({"limits": {"drain": "1s"}})
    with Events(daemon.url, job[1]) as log:
        assert log.event()
        daemon.stop()
    wait_until(lambda: [r["peer_closed"] for r in asked(world, job[1])] == [True], "it is closed upstream")
