"""`hubcached explain` says what would happen; that is then made to happen, and the Hub is asked what it saw."""

import json
import os
import subprocess
from urllib.parse import quote

import pytest
from conftest import ANN, BOB, SMALL_LFS, populate
from test_pool import BOT, CI, LOOKER, Access

from tests.hub import Generated
from tests.support.daemon import binary, wait_until

CONFIG = "/acme/tiny/resolve/main/config.json"
TREE = "/api/models/acme/tiny/tree/main?recursive=true"
NO_CALL = ("memory", "index", "local", "refused", "unavailable")


def explain(daemon, target, token=None, method="GET", client=None):
    """Return what the daemon says would become of a request."""
    query = f"explain?method={method}&target={quote(target, safe='')}" + (f"&client={client}" if client else "")
    reply = daemon.admin.get("/-/api/v1/" + query, token=token)
    assert reply.status == 200, reply
    return reply.json()


def asked(hub):
    """Return what the Hub itself was asked, in order."""
    return [(row["method"], row["target"]) for row in hub.log() if row["origin"] == "hub"]


def settled(daemon, target, token=None):
    """Wait until what was learnt is in the index, and what was fetched on the disk."""
    wait_until(lambda: explain(daemon, target, token)["answer"] in NO_CALL, f"{target} is known")


def quiet(hub):
    """Wait until nothing is on its way to the Hub, and forget what was."""
    hub.wait_idle()
    hub.clear_log()


def check(daemon, target, token=None, method="GET", answer=None, **options):
    """Compare what is predicted with what happens; return both."""
    quiet(daemon.hub)
    said = explain(daemon, target, token, method)
    assert asked(daemon.hub) == [], "explaining asked the Hub"
    assert answer is None or said["answer"] == answer, said
    reply = daemon.client.request(method, target, token=token, **options)
    rows = asked(daemon.hub)
    if said["answer"] in NO_CALL:
        assert rows == [], (said, rows)
    elif said["answer"] != "stale":
        assert rows[:1] == [(c["method"], c["target"]) for c in said["calls"]], (said, rows)
        assert daemon.hub.sent("cdn") > 0 or said["answer"] != "fetch"
    if said["answer"] == "stale":
        assert (reply.status, reply["X-Hubcached"]) == (200, "stale")
    elif said["answer"] == "unavailable":
        assert reply.status in (502, 503, 504), reply
    elif said["answer"] == "refused":
        assert reply.status == said["status"]
    return said, reply


@pytest.fixture
def world(hub, make_daemon):
    """Contents, and a daemon that knows nothing of them."""
    known = populate(hub)
    daemon = make_daemon()
    daemon.hub, daemon.known = hub, known
    return daemon


def warm(daemon, *targets, token=None):
    """Ask for each, until the next would be answered out of memory."""
    for target in targets:
        assert daemon.client.get(target, token=token).status in (200, 404), target
        settled(daemon, target, token)
        assert daemon.client.get(target, token=token).status in (200, 404), target


def test_cold_and_warm_file(world):
    """A file that nobody asked for costs a question, and nothing afterwards."""
    said, _ = check(world, CONFIG, answer="ask")
    assert not said["repository"]["known"] and said["revision"]["commit"] == ""
    assert said["route"] == {"op": "resolve", "class": "file", "query_known": True, "makes_untrue": "nothing"}
    settled(world, CONFIG)
    said, _ = check(world, CONFIG, answer="index")
    assert said["revision"]["commit"] == world.known["head"] and said["revision"]["fresh"]
    assert said["blob"]["here"] and said["index"]["row"] == "file" and said["permission"]["granted"]
    check(world, CONFIG, answer="memory")
    pinned = f"/acme/tiny/resolve/{world.known['head']}/config.json"
    check(world, pinned, answer="index")
    check(world, pinned, answer="memory")


def test_absent_file(world):
    """That a file does not exist is known, once the Hub has said so."""
    target = "/acme/tiny/resolve/main/nope.json"
    check(world, target, answer="ask")
    settled(world, target)
    said, reply = check(world, target)
    assert said["answer"] in NO_CALL and reply.status == 404
    world.restart()
    said, reply = check(world, target, answer="index")
    assert said["index"]["row"] == "absent" and reply.status == 404


def test_stale_branch(hub, world):
    """A branch whose time is over is asked again, by its name; without the Hub the old answer is given."""
    warm(world, CONFIG, TREE)
    world.restart({"cache": {"ref_ttl": "0s"}})
    said, _ = check(world, CONFIG, answer="ask")
    assert not said["revision"]["fresh"] and said["blob"]["here"] and "too long ago" in said["because"]
    said, _ = check(world, TREE, answer="ask")
    assert said["calls"][0]["target"] == "/api/models/acme/tiny/revision/main"
    assert world.admin.post("/-/api/v1/mode", {"mode": "offline"}).status == 200
    check(world, CONFIG, answer="stale")
    check(world, TREE, answer="stale")


def test_private(world):
    """Whose token is known is asked nothing more; others are, and so is everybody after a restart."""
    target = "/acme/secret/resolve/main/config.json"
    check(world, target, token=ANN, answer="ask")
    settled(world, target, ANN)
    said, reply = check(world, target, token=ANN)
    assert said["caller"] == "a token of its own" and reply.status == 200 and not said["permission"]["anonymous"]
    said, reply = check(world, target, token=BOB, answer="ask")
    assert reply.status in (401, 403, 404) and "has not said lately" in said["because"]
    said, reply = check(world, target, answer="ask")
    assert reply.status == 401
    world.restart()
    said, reply = check(world, target, token=ANN, answer="ask")
    assert said["blob"]["here"] and not said["permission"]["granted"] and reply.status == 200


def test_remembered_visibility(world):
    """What was public a moment ago still is after a restart."""
    warm(world, CONFIG)
    wait_until(lambda: explain(world, CONFIG)["repository"]["visibility"] == "public", "it is known to be public")
    world.restart()
    said, _ = check(world, CONFIG, answer="index")
    assert said["permission"] == {"granted": True, "anonymous": False, "remembered_public": True}


def test_alias(world):
    """An old name leads to the new one, which is named."""
    target = "/acme/old-name/resolve/main/config.json"
    check(world, target, answer="ask")
    settled(world, target)
    said, reply = check(world, target)
    assert said["repository"]["name"] == "acme/new-name" and said["repository"]["alias_age"] is not None
    assert said["answer"] in ("index", "memory") and reply.status == 200


def test_what_is_passed_on(world):
    """Who somebody is, and what is not known here, is asked each time."""
    for _ in range(2):
        said, _ = check(world, "/api/whoami-v2", token=ANN, answer="forward")
    assert said["route"]["class"] == "user"
    check(world, "/some/new/thing/of/the/hub", answer="forward")


def test_write(world):
    """A write says what its success drops, and is not carried out by explaining it."""
    target = "/api/models/acme/tiny/branch/new"
    body = {"body": b"{}", "headers": {"Content-Type": "application/json"}}
    said, reply = check(world, target, token=ANN, method="POST", answer="forward", **body)
    assert said["route"]["class"] == "write" and "refs" in said["route"]["makes_untrue"]
    assert reply.status == 201 or reply.status == 200


def test_unknown_query(world):
    """A parameter that may mean anything is the Hub's affair."""
    warm(world, "/api/models/acme/tiny")
    said, _ = check(world, "/api/models/acme/tiny?novel=1", answer="ask")
    assert not said["route"]["query_known"] and "parameter" in said["because"]
    check(world, "/api/models/acme/tiny?novel=1", answer="ask")


def test_trees(world):
    """A listing that is whole answers in other forms; one that is not is asked for."""
    warm(world, CONFIG)
    folder = f"/api/models/acme/tiny/tree/{world.known['head']}/sub%20dir"
    said, _ = check(world, folder, answer="ask")
    assert said["revision"]["listing"] == "partial"
    warm(world, TREE)
    said, reply = check(world, f"/api/models/acme/tiny/tree/{world.known['head']}/sub%20dir/deep", answer="index")
    assert said["revision"]["listing"] == "full" and len(reply.json()) == 1
    said, reply = check(world, "/acme/tiny/resolve/main/not/here.txt", answer="index")
    assert reply.status == 404
    said, _ = check(world, "/acme/tiny/resolve/main/small.safetensors", answer="fetch")
    assert not said["blob"]["here"] and said["blob"]["size"] == SMALL_LFS
    check(world, "/acme/tiny/resolve/main/small.safetensors", method="HEAD")


def test_offline(hub, world):
    """What is here is given, what is not is unavailable."""
    warm(world, CONFIG, TREE)
    world.restart({"mode": "offline"})
    check(world, CONFIG)
    check(world, "/acme/tiny/resolve/main/small.safetensors", answer="unavailable")
    check(world, "/datasets/acme/data/resolve/main/x/train.csv", answer="unavailable")
    said, _ = check(world, "/api/whoami-v2", token=ANN, answer="unavailable")
    assert (said["mode"], said["upstream"], said["calls"]) == ("offline", "not asked", [])


def test_evicted(hub, make_daemon):
    """A file that went is known, and only its bytes are fetched."""
    hub.create_repo("models", "acme/many")
    sha = hub.commit("models", "acme/many", {f"w{n}.safetensors": Generated(1 << 20, seed=n) for n in range(12)})
    daemon = make_daemon({"cache": {"max_size": "8MiB"}})
    daemon.hub = hub
    for n in range(12):
        warm(daemon, f"/acme/many/resolve/{sha}/w{n}.safetensors")
    gone = f"/acme/many/resolve/{sha}/w0.safetensors"
    wait_until(lambda: not explain(daemon, gone)["blob"]["here"], "the first one is evicted")
    said, reply = check(daemon, gone, answer="fetch")
    assert reply.status == 200 and said["index"]["row"] == "file"


def test_upstream_away(hub, world):
    """The breaker is open: nothing is asked."""
    warm(world, CONFIG)
    world.restart({"cache": {"ref_ttl": "0s"}})
    hub.call("down")
    for _ in range(8):
        world.client.get("/acme/other/resolve/main/config.json")
    said = explain(world, CONFIG)
    assert (said["answer"], said["upstream"]) in {("stale", "away"), ("ask", "away")}
    assert world.client.get(CONFIG)["X-Hubcached"] == "stale"


def test_local_clients(hub, make_daemon, tmp_path):
    """A client by name is explained as it would fare: what it may not, and what it was allowed."""
    populate(hub)
    hub.add_token(BOT, "bot", orgs=["acme"], role="write")
    access = Access(tmp_path / "access")
    access.token("main", "bot-1", BOT)
    access.client("ci", CI, ["acme/*"], ["read"])
    access.client("looker", LOOKER, ["gpt2"], ["read"])
    access.write()
    daemon = make_daemon(access.config)
    daemon.hub = hub
    target = "/acme/secret/resolve/main/config.json"
    assert explain(daemon, target, client="ci")["answer"] == "ask"
    assert explain(daemon, target, client="looker")["answer"] == "refused"
    assert explain(daemon, target, token=LOOKER)["caller"] == "client looker"
    warm(daemon, target, token=CI)
    said = explain(daemon, target, client="ci")
    assert (said["answer"], said["caller"]) == ("memory", "client ci")
    check(daemon, target, token=CI, answer="memory")
    check(daemon, target, token=LOOKER, answer="refused")
    assert explain(daemon, "/api/settings/mcp", client="ci")["answer"] == "refused"
    assert daemon.admin.get(f"/-/api/v1/explain?target={target}&client=nobody").status == 404


def test_command(world):
    """For people and for scripts; the token comes from the environment, and wrong use says so."""
    url = world.url + CONFIG
    text = world.command("explain", url)
    assert "answer      ask: nothing is known of the repository" in text and f"asks        HEAD {CONFIG}" in text
    warm(world, CONFIG)
    said = json.loads(world.command("explain", "https://huggingface.co" + CONFIG, "--json", "--anonymous"))
    assert (said["answer"], said["target"], said["caller"]) == ("memory", CONFIG, "anonymous")
    assert "for anonymous" in world.command("explain", CONFIG)
    assert "refused" in world.command("explain", "/a/../b")
    assert "\x1b" not in world.command("explain", "/acme/\x1b[31mred", code=2)
    assert "no local client" in world.command("explain", CONFIG, "--as", "nobody", code=2)
    world.command("explain", code=2)
    env = {"PATH": os.environ["PATH"], "HOME": str(world.directory), "HF_TOKEN": ANN}
    command = [binary(), "explain", CONFIG, "--config", str(world.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=30)
    assert "for a token of its own" in done.stdout and ANN not in done.stdout + done.stderr
    assert world.client.get("/-/api/v1/explain?target=" + CONFIG).status == 404
    assert world.admin.get("/-/api/v1/explain").status == 400
    world.stop()
    world.command("explain", CONFIG, code=75)


def test_paths_info(world):
    """What a body asks for is answered here once the whole listing is."""
    target = f"/api/models/acme/tiny/paths-info/{world.known['head']}"
    form = {"body": b'{"paths": ["config.json"]}', "headers": {"Content-Type": "application/json"}}
    check(world, target, method="POST", answer="ask", **form)
    warm(world, TREE)
    said, reply = check(world, target.replace(world.known["head"], "main"), method="POST", answer="index", **form)
    assert reply.json()[0]["path"] == "config.json" and said["revision"]["listing"] == "full"


def test_lists(world):
    """Listings are kept for those without a token, and for nobody else."""
    target = "/api/models?author=listed"
    check(world, target, answer="ask")
    wait_until(lambda: explain(world, target)["answer"] in NO_CALL, "it is kept")
    check(world, target)
    check(world, target, token=ANN, answer="ask")


def test_documents_that_age(world):
    """A document whose time is over is asked for again, and its age is told."""
    warm(world, CONFIG, "/api/models/acme/tiny/refs")
    world.restart({"cache": {"ref_ttl": "0s"}})
    said, _ = check(world, "/api/models/acme/tiny/refs", answer="ask")
    assert said["index"]["row"] == "document" and said["index"]["document_age"] >= 0
    assert said["because"] == "what is here of it is too old"


def test_raw_pointer(world):
    """The pointer of a large file is made of what is known: its bytes need not be here."""
    warm(world, TREE)
    target = f"/acme/tiny/raw/{world.known['head']}/small.safetensors"
    said, reply = check(world, target, answer="index")
    assert not said["blob"]["here"] and reply.body.startswith(b"version https://git-lfs")
