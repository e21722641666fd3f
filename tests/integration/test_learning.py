"""What the Hub once said about a commit answers every later question about it."""

from urllib.parse import quote

import pytest
from conftest import ANN, CONFIG_JSON, EVE

from tests.hub import Generated
from tests.support.daemon import wait_until
from tests.support.http import Client


@pytest.fixture
def sha(hub):
    """Publish a repository with files in folders."""
    hub.create_repo("models", "acme/m")
    return hub.commit(
        "models",
        "acme/m",
        {
            "config.json": CONFIG_JSON,
            "README.md": b"# m\n",
            "a/b/c.txt": b"c",
            "a/d.txt": b"d",
            "e.txt": b"",
            "w.safetensors": Generated(300_000, seed=1),
        },
    )


TREE = "/api/models/acme/m/tree/"


def by_path(rows):
    """Return rows whose order does not matter."""
    return {r["path"]: r for r in rows}


def learn(daemon, sha, revision=None):
    """Have the daemon see the complete tree of the commit, and that anybody may read the files."""
    assert daemon.client.get(f"/acme/m/resolve/{sha}/e.txt").status == 200
    reply = daemon.client.get(f"{TREE}{revision or sha}?recursive=true&expand=false")
    assert reply.status == 200
    return reply.json()


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_complete_tree_answers_heads(hub, daemon, sha, revision):
    """HEAD of every file in the tree, and of files that are not in it, costs nothing more."""
    rows = learn(daemon, sha, revision)
    direct = {
        r["path"]: Client(hub.url).follow("HEAD", f"/acme/m/resolve/{sha}/{quote(r['path'])}")
        for r in rows
        if r["type"] == "file"
    }
    hub.clear_log()
    for path, chain in direct.items():
        for rev in (sha, "main") if revision else (sha,):
            reply = daemon.client.head(f"/acme/m/resolve/{rev}/{quote(path)}")
            assert reply.status == 200
            assert reply["Content-Length"] == chain[-1]["Content-Length"]
            etag = next((r["X-Linked-Etag"] for r in chain if r["X-Linked-Etag"]), chain[-1]["ETag"])
            assert reply["ETag"] == etag
            assert reply["X-Repo-Commit"] == sha
    for path in ("nope.json", "a/nope", "a", "config.json/x", "chat_template.jinja"):
        reply = daemon.client.head(f"/acme/m/resolve/{sha}/{path}")
        assert (reply.status, reply["X-Error-Code"], reply["X-Repo-Commit"]) == (404, "EntryNotFound", sha)
        assert daemon.client.get(f"/acme/m/resolve/{sha}/{path}").status == 404
    assert [r["target"] for r in hub.log()] == []


def test_a_complete_tree_answers_trees_and_paths(hub, daemon, sha):
    """Folders, the flat listing and paths-info come from what is known, in the Hub's form."""
    learn(daemon, sha)
    targets = [
        f"{TREE}{sha}",
        f"{TREE}{sha}?recursive=false&expand=false",
        f"{TREE}{sha}/a",
        f"{TREE}{sha}/a%2Fb",
        f"{TREE}{sha}/a?recursive=True",
        f"{TREE}{sha}/nope",
    ]
    direct = [Client(hub.url).get(t) for t in targets]
    wanted = {"paths": ["config.json", "a", "a/b/c.txt", "nope", "w.safetensors"]}
    info = Client(hub.url).post(f"/api/models/acme/m/paths-info/{sha}", wanted).json()
    hub.clear_log()
    for target, said in zip(targets, direct):
        reply = daemon.client.get(target)
        assert reply.status == said.status, target
        assert reply["X-Error-Code"] == said["X-Error-Code"]
        if said.status == 200:
            expected = [{k: v for k, v in r.items() if k != "xetHash"} for r in said.json()]
            assert by_path(reply.json()) == by_path(expected), target
    known = daemon.client.post(f"/api/models/acme/m/paths-info/{sha}", wanted).json()
    assert {r["path"]: r for r in known} == {r["path"]: r for r in info}
    assert [r["target"] for r in hub.log()] == []


def test_learning_survives_a_restart(hub, daemon, sha):
    """After a restart nothing has to be learned again."""
    learn(daemon, sha)
    daemon.restart()
    hub.clear_log()
    assert daemon.client.head(f"/acme/m/resolve/{sha}/config.json").status == 200
    assert daemon.client.head(f"/acme/m/resolve/{sha}/nope").status == 404
    assert len(daemon.client.get(f"{TREE}{sha}?recursive=true").json()) == 9
    assert [r["target"] for r in hub.log()] == []


def test_half_a_tree_proves_nothing(hub, daemon, sha):
    """From one page, one folder or a cut answer nobody concludes that a file does not exist."""
    daemon.client.get(f"{TREE}{sha}/a")
    daemon.client.get(f"{TREE}{sha}?recursive=true&limit=3")
    hub.fault(path="/tree/", truncate=300)
    daemon.client.get(f"{TREE}{sha}?recursive=true")
    for path in ("config.json", "README.md", "a/b/c.txt", "e.txt", "w.safetensors"):
        assert daemon.client.head(f"/acme/m/resolve/{sha}/{path}").status == 200, path
    assert daemon.client.head(f"/acme/m/resolve/{sha}/nope").status == 404


def test_an_answer_about_another_commit_teaches_nothing_about_this_one(hub, daemon, sha):
    """The branch moves between two pages or two questions: the commits are kept apart."""
    learn(daemon, sha, "main")
    new = hub.commit("models", "acme/m", {"added.txt": b"new"}, delete=["README.md"])
    assert daemon.client.head(f"/acme/m/resolve/{new}/added.txt").status == 200
    assert daemon.client.head(f"/acme/m/resolve/{sha}/added.txt").status == 404
    assert daemon.client.head(f"/acme/m/resolve/{new}/README.md").status == 404
    assert daemon.client.get(f"/acme/m/resolve/{sha}/README.md").body == b"# m\n"


def test_missing_files_are_remembered_per_commit(hub, daemon, sha):
    """The probes of a library for optional files: asked once, answered at once ever after, on every machine."""
    probes = [
        "adapter_config.json",
        "processor_config.json",
        "custom_generate/generate.py",
        "chat_template.jinja",
        "model.safetensors.index.json",
        "special_tokens_map.json",
    ]
    first = [daemon.client.head(f"/acme/m/resolve/main/{p}") for p in probes]
    hub.clear_log()
    for _ in range(2):
        again = [daemon.client.head(f"/acme/m/resolve/main/{p}") for p in probes]
        assert (
            [(r.status, r["X-Error-Code"], r["X-Repo-Commit"]) for r in again]
            == [(r.status, r["X-Error-Code"], r["X-Repo-Commit"]) for r in first]
            == [(404, "EntryNotFound", sha)] * 6
        )
    assert hub.log() == []


def test_unknown_repositories_are_remembered_shortly(hub, make_daemon):
    """A 404 of a repository is no fact for ever: when it is created it is found after the negative TTL."""
    daemon = make_daemon({"cache": {"negative_ttl": "1s", "denial_ttl": "1s"}})
    path = "/acme/later/resolve/main/config.json"
    assert daemon.client.head(path, token=ANN).status == 404
    hub.create_repo("models", "acme/later")
    sha = hub.commit("models", "acme/later", {"config.json": b"{}"})
    wait_until(lambda: daemon.client.get(path, token=ANN).status == 200, "the new repository", 5)
    assert daemon.client.get(f"/acme/later/resolve/{sha}/config.json", token=EVE).status == 200


def test_info_with_files_teaches_too(hub, daemon, sha):
    """The info document of a commit lists all files: missing ones are known to be missing."""
    assert daemon.client.get(f"/api/models/acme/m/revision/{sha}?blobs=true").status == 200
    hub.clear_log()
    reply = daemon.client.head(f"/acme/m/resolve/{sha}/nope")
    assert (reply.status, reply["X-Error-Code"], reply["X-Repo-Commit"]) == (404, "EntryNotFound", sha)
    assert daemon.client.head(f"/acme/m/resolve/{sha}/w.safetensors").status == 200
    assert len(hub.log()) == 0


def test_renamed_repositories_are_one(hub, daemon, sha):
    """The old name leads to the same files, and a new repository under the old name is another one."""
    hub.rename("models", "acme/m", "acme/new")
    a = daemon.client.get("/acme/m/resolve/main/config.json")
    b = daemon.client.get("/acme/new/resolve/main/config.json")
    assert (a.status, a.body, a["X-Repo-Commit"]) == (b.status, b.body, b["X-Repo-Commit"]) == (200, CONFIG_JSON, sha)
    assert daemon.client.get("/api/models/acme/m").status in (200, 307)


def test_a_deleted_repository_goes_away(hub, make_daemon, sha):
    """Once the Hub no longer has it, the cache does not show it for longer than its TTLs."""
    daemon = make_daemon({"cache": {"ref_ttl": "0s", "permission_ttl": "0s", "denial_ttl": "0s", "negative_ttl": "0s"}})
    assert daemon.client.get("/acme/m/resolve/main/config.json").status == 200
    hub.delete_repo("models", "acme/m")
    wait_until(lambda: daemon.client.get("/acme/m/resolve/main/config.json").status == 401, "it is gone", 2)
    assert daemon.client.get(f"/acme/m/resolve/{sha}/config.json").status == 401
    assert daemon.client.get("/api/models/acme/m").status == 401
