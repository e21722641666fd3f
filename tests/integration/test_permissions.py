"""Private and gated contents are for those to whom the Hub gave them lately; to others they look unknown."""

import pytest
from conftest import ANN, BOB, EVE, UNKNOWN

from tests.hub import Generated
from tests.support.daemon import wait_until

SIZE = 300_000
VOLATILE = {"date", "ratelimit", "ratelimit-policy", "x-request-id"}


@pytest.fixture
def repos(hub):
    """Publish a private, a gated and a public repository; the private and the public one share a file."""
    out = {}
    for name, fields in (("hidden", {"private": True}), ("gated", {"gated": "auto"}), ("open", {})):
        hub.create_repo("models", f"acme/{name}", **fields)
        out[name] = hub.commit(
            "models",
            f"acme/{name}",
            {
                "config.json": b'{"secret of": "%s"}' % name.encode(),
                "README.md": b"the card\n",
                "w.safetensors": Generated(SIZE, seed=9 if name != "gated" else 10),
                "own.safetensors": Generated(SIZE, seed=len(name)),
            },
        )
    return out


def paths(name, sha):
    """Return every way to see something of a repository."""
    return [
        f"/acme/{name}/resolve/main/config.json",
        f"/acme/{name}/resolve/{sha}/w.safetensors",
        f"/acme/{name}/resolve/{sha}/nope.json",
        f"/acme/{name}/raw/{sha}/config.json",
        f"/api/resolve-cache/models/acme/{name}/{sha}/config.json",
        f"/api/models/acme/{name}",
        f"/api/models/acme/{name}/tree/{sha}?recursive=true",
        f"/api/models/acme/{name}/revision/main",
        f"/api/models/acme/{name}/refs",
        f"/api/models/acme/{name}/commits/{sha}",
        f"/api/models/acme/{name}/tree/main",
    ]


def warm(daemon, name, sha, token=ANN):
    """Have someone who may see everything see it."""
    for path in paths(name, sha):
        assert daemon.client.get(path, token=token).status in (200, 404), path
    body = {"paths": ["config.json"]}
    assert daemon.client.post(f"/api/models/acme/{name}/paths-info/{sha}", body, token=token).status == 200


def face(reply, *names):
    """Return all that a client sees of a reply, with the names of repositories taken out."""
    text = reply.body.decode("latin-1")
    headers = sorted((k.lower(), v) for k, v in reply.headers if k.lower() not in VOLATILE)
    for name in names:
        text = text.replace(name, "NAME")
    return reply.status, reply.reason, headers, text


@pytest.mark.parametrize("token", [None, EVE, UNKNOWN])
def test_a_warm_private_repository_looks_unknown(hub, daemon, repos, token):
    """Status, reason, headers and body are those for a name that does not exist: nothing tells that it is here."""
    warm(daemon, "hidden", repos["hidden"])
    for hidden, unknown in zip(paths("hidden", repos["hidden"]), paths("absent", repos["hidden"])):
        for method, options in (
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"range": "bytes=0-9"}),
            ("GET", {"if_none_match": "*"}),
            ("GET", {"if_none_match": '"' + hub.file("models", "acme/hidden", "config.json")["oid"] + '"'}),
        ):
            got = daemon.client.request(method, hidden, token=token, **options)
            ref = daemon.client.request(method, unknown, token=token, **options)
            assert got.status in (401, 404), (hidden, got)
            assert face(got, "hidden") == face(ref, "absent"), (method, hidden)
            assert b"secret of" not in got.body
    body = {"paths": ["config.json"]}
    got = daemon.client.post(f"/api/models/acme/hidden/paths-info/{repos['hidden']}", body, token=token)
    ref = daemon.client.post(f"/api/models/acme/absent/paths-info/{repos['hidden']}", body, token=token)
    assert face(got, "hidden") == face(ref, "absent")


def test_asking_for_the_hidden_costs_upstream_the_same_as_asking_for_the_unknown(hub, daemon, repos):
    """The Hub is asked the same questions, but for the revision's spelling, which is known of what someone else saw."""
    warm(daemon, "hidden", repos["hidden"])
    hub.wait_idle()
    asked = []
    for name in ("hidden", "absent"):
        hub.clear_log()
        for path in paths(name, repos["hidden"]):
            if "revision/main" not in path:
                daemon.client.get(path, token=EVE)
        targets = {r["target"].replace(name, "NAME").replace(repos["hidden"], "main") for r in hub.log("hub")}
        asked.append({t.replace("/revision/main", "/tree/main") for t in targets})
    assert asked[0] == asked[1]


@pytest.mark.parametrize("token,status", [(None, 401), (EVE, 403)])
def test_a_warm_gated_repository(hub, daemon, repos, token, status):
    """Its documents are open, its bytes are not, whoever has them here already."""
    sha = repos["gated"]
    warm(daemon, "gated", sha)
    for method in ("HEAD", "GET"):
        for name in ("config.json", "w.safetensors"):
            for rev in ("main", sha):
                reply = daemon.client.request(method, f"/acme/gated/resolve/{rev}/{name}", token=token)
                assert (reply.status, reply["X-Error-Code"]) == (status, "GatedRepo")
                assert b"secret of" not in reply.body and reply["ETag"] is None
                assert (
                    daemon.client.get(f"/acme/gated/resolve/{rev}/{name}", token=token, range="bytes=0-3").status
                    == status
                )
                assert (
                    daemon.client.get(f"/acme/gated/resolve/{rev}/{name}", token=token, if_none_match="*").status
                    == status
                )
    assert daemon.client.get("/api/models/acme/gated", token=token).status == 200
    assert daemon.client.get(f"/api/models/acme/gated/tree/{sha}", token=token).status == 200
    assert daemon.client.get(f"/acme/gated/resolve/{sha}/config.json", token=ANN).status == 200


@pytest.mark.parametrize("token,status", [(None, 401), (EVE, 403)])
def test_the_card_of_a_gated_repository_opens_nothing_else(hub, daemon, repos, token, status):
    """The Hub shows README.md of a gated repository to everybody: having got it proves no right to the weights."""
    sha = repos["gated"]
    warm(daemon, "gated", sha)
    assert daemon.client.get(f"/acme/gated/resolve/{sha}/w.safetensors", token=ANN).complete
    for rev in ("main", sha):
        assert daemon.client.get(f"/acme/gated/resolve/{rev}/README.md", token=token).body == b"the card\n"
        assert daemon.client.get(f"/acme/gated/resolve/{rev}/w.safetensors", token=token).status == status


def test_those_who_may_have_it_get_it_from_the_cache(hub, daemon, repos):
    """A second reader with a right of his own costs a question, not a transfer."""
    hub.grant("bob", "models", "acme/hidden")
    target = f"/acme/hidden/resolve/{repos['hidden']}/w.safetensors"
    assert daemon.client.get(target, token=ANN).complete
    hub.clear_log()
    reply = daemon.client.get(target, token=BOB)
    assert reply.complete and reply.sha256() == reply["ETag"].strip('"')
    assert hub.sent("cdn") == 0
    assert len(hub.log("hub")) >= 1, "his right was asked for"
    assert {r["headers"].get("authorization") for r in hub.log("hub")} == {f"Bearer {BOB}"}
    hub.clear_log()
    assert daemon.client.get(target, token=BOB).complete
    assert hub.log() == [], "and is remembered for a while"


def test_the_same_bytes_in_a_public_and_a_private_repository(hub, daemon, repos):
    """Whoever finds the digest in a public repository has no right in the private one."""
    public = daemon.client.get(f"/acme/open/resolve/{repos['open']}/w.safetensors")
    assert public.status == 200
    digest = public.sha256()
    for path in (f"/acme/hidden/resolve/{repos['hidden']}/w.safetensors", "/acme/hidden/resolve/main/w.safetensors"):
        assert daemon.client.get(path).status == 401
        assert daemon.client.get(path, token=EVE).status == 404
        assert daemon.client.get(path, token=EVE, if_none_match=f'"{digest}"').status == 404
    for guess in (
        f"/{digest}",
        f"/-/blobs/{digest}",
        f"/blobs/{digest}",
        f"/acme/open/resolve/main/{digest}",
        f"/api/blobs/{digest}",
        f"/xet-bridge-us/x/{digest}",
    ):
        reply = daemon.client.get(guess)
        assert reply.status >= 400 and len(reply.body) < 1000


def test_private_bytes_then_the_public_copy(hub, daemon, repos):
    """A file that came through a private repository is served in a public one that holds it too."""
    assert daemon.client.get("/acme/hidden/resolve/main/w.safetensors", token=ANN).status == 200
    hub.clear_log()
    reply = daemon.client.get("/acme/open/resolve/main/w.safetensors")
    assert reply.status == 200 and reply.sha256() == reply["ETag"].strip('"')
    assert hub.sent("cdn") == 0


def short(make_daemon):
    """A daemon that believes rights for a second only."""
    return make_daemon(
        {
            "cache": {
                "permission_ttl": "1s",
                "denial_ttl": "1s",
                "ref_ttl": "1s",
                "repo_doc_ttl": "1s",
                "negative_ttl": "1s",
            }
        }
    )


def test_a_right_that_is_taken_away_ends(hub, make_daemon, repos):
    """After the TTL the one who lost his right is refused, though the bytes are here."""
    daemon = short(make_daemon)
    hub.grant("bob", "models", "acme/hidden")
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(target, token=BOB).status == 200
    hub.revoke("bob", "models", "acme/hidden")
    wait_until(lambda: daemon.client.get(target, token=BOB).status == 404, "refused", 5)
    assert daemon.client.head(target, token=BOB).status == 404
    assert daemon.client.get(f"/api/models/acme/hidden/tree/{repos['hidden']}", token=BOB).status == 404
    hub.grant("bob", "models", "acme/hidden")
    wait_until(lambda: daemon.client.get(target, token=BOB).status == 200, "allowed again", 5)


def test_a_repository_that_turns_private_is_closed(hub, make_daemon, repos):
    """What was public is refused to strangers within the TTL, warm or not, files and documents."""
    daemon = short(make_daemon)
    every = [p for p in paths("open", repos["open"])]
    for path in every:
        daemon.client.get(path)
    hub.set_visibility("models", "acme/open", private=True)
    for path in every:
        wait_until(lambda: daemon.client.get(path).status == 401, f"{path} is closed", 5)
    assert daemon.client.get(every[0], token=ANN).status == 200


def test_a_token_that_is_revoked(hub, make_daemon, repos):
    """A dead token opens nothing after the TTL, and at once wherever the Hub has said so."""
    daemon = short(make_daemon)
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(target, token=ANN).status == 200
    hub.revoke_token(ANN)
    wait_until(lambda: daemon.client.get(target, token=ANN).status == 401, "refused", 5)
    assert daemon.client.get("/acme/hidden/resolve/main/w.safetensors", token=ANN).status == 401


def test_private_contents_are_not_served_while_the_hub_is_away(hub, make_daemon, repos):
    """Nobody can vouch for a right when the Hub cannot be asked: an error, not the bytes, and not a 404."""
    daemon = short(make_daemon)
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(target, token=ANN).status == 200
    assert daemon.client.get(f"/acme/open/resolve/{repos['open']}/config.json").status == 200
    hub.down("hub")
    wait_until(lambda: daemon.client.get(target, token=ANN).status in (502, 503, 504), "no more", 8)
    assert daemon.client.get(target, token=EVE).status in (502, 503, 504)
    assert daemon.client.get(target).status in (502, 503, 504)
    assert daemon.client.get(f"/acme/open/resolve/{repos['open']}/config.json").status == 200
    hub.up("hub")
    wait_until(lambda: daemon.client.get(target, token=ANN).status == 200, "again", 15)


def test_rights_are_not_kept_on_disk(hub, daemon, repos):
    """After a restart every right to private contents is asked for anew."""
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(target, token=ANN).status == 200
    hub.revoke_token(ANN)
    daemon.restart()
    assert daemon.client.get(target, token=ANN).status == 401


def test_a_moved_private_repository(hub, daemon, repos):
    """The old name of a private repository tells strangers nothing."""
    hub.rename("models", "acme/hidden", "acme/moved")
    assert daemon.client.get("/acme/hidden/resolve/main/config.json", token=ANN).status == 200
    assert daemon.client.get("/acme/moved/resolve/main/config.json", token=ANN).status == 200
    for name in ("hidden", "moved"):
        assert daemon.client.get(f"/acme/{name}/resolve/main/config.json").status == 401
        assert daemon.client.get(f"/acme/{name}/resolve/main/config.json", token=EVE).status == 404
        assert daemon.client.get(f"/api/models/acme/{name}", token=EVE).status == 404


@pytest.mark.parametrize(
    "value", ["Basic YW5uOmhmX0NBTkFSWWFubjAwMDA=", "bearer x", "Bearer", "Bearer  ", "Bearer a b", "x" * 3000]
)
def test_odd_credentials_are_nobodys(hub, daemon, repos, value):
    """Whatever is sent as Authorization, it opens nothing that the Hub did not open for it."""
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(target, token=ANN).status == 200
    assert daemon.client.get(target, headers={"Authorization": value}).status in (400, 401, 404, 431)


def test_a_token_in_the_url_counts_for_nothing(hub, daemon, repos):
    """Tokens in queries are neither used nor kept."""
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(f"{target}?token={ANN[3:9]}&access_token=x").status == 401


def test_many_bad_tokens(hub, daemon, repos):
    """A flood of invented tokens neither opens anything nor throws out those who may."""
    target = f"/acme/hidden/resolve/{repos['hidden']}/config.json"
    assert daemon.client.get(target, token=ANN).status == 200
    for n in range(300):
        assert daemon.client.head(target, token=f"hf_CANARYbad{n:05}").status == 401
    assert daemon.client.get(target, token=ANN).status == 200
