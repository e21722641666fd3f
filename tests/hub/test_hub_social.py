"""The social and operational side of the Hub for tests, judged by real clients that ask it directly."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from . import Hub
from .test_hub_alone import environment, python  # noqa: F401
from .test_hub_faults import connect, fetch

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = {"HUBCACHED_VENV_036": 0, "HUBCACHED_VENV_1X": 1, "HUBCACHED_VENV_2X": 2}


@pytest.fixture
def hub():
    """Run a Hub of its own for each test, with the repositories that the client's parts work at."""
    with Hub.start() as running:
        running.create_repo("models", "acme/talk")
        running.commit("models", "acme/talk", {"config.json": "{}", "old.txt": "old\n"})
        running.update_repo("models", "acme/talk", extra={"catalog": True})
        running.create_repo("datasets", "acme/data")
        running.commit("datasets", "acme/data", {"train.csv": "a,b\n1,2\n3,4\n"})
        running.set_ref("datasets", "acme/data", "refs/convert/parquet")
        running.commit("datasets", "acme/data", {"default/train/0000.parquet": b"PAR1"}, branch="refs/convert/parquet")
        running.create_repo("spaces", "acme/app")
        running.create_repo("models", "acme/closed", gated="manual")
        running.commit("models", "acme/closed", {"config.json": "{}"})
        running.create_repo("models", "acme/secret", private=True)
        running.create_repo("models", "ann/own")
        running.add_token("hf_ann", "ann", orgs=["acme"], role="write")
        running.add_token("hf_read", "ann", orgs=["acme"])
        for name in ("bob", "eve"):
            running.add_token(f"hf_{name}", name, role="write")
        running.follow("bob", "ann")
        running.follow("ann", "eve")
        running.follow("eve", "acme")
        running.call("add_paper", id="1706.03762", title="Attention is all you need")
        yield running


@pytest.fixture
def major(python):  # noqa: F811
    """Give the major version of the client under test."""
    return next(v for name, v in VERSIONS.items() if os.environ.get(name) == python)


class Client:
    """A running part of client_social.py; what it says on the way can be waited for."""

    def __init__(self, hub, python, home, part):  # noqa: F811
        """Start the part."""
        env = environment(hub, home, HF_TOKEN="hf_ann", HUB_ENDPOINTS=hub.endpoints_url, HUB_VIEWER=hub.viewer_url)
        self.process = subprocess.Popen(
            [python, os.path.join(HERE, "client_social.py"), part], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_for(self, word):
        """Return the rest of the next line that begins with a word; fail with the client's words if it ends."""
        for line in self.process.stdout:
            if line.startswith(word + " ") or line.strip() == word:
                return line.removeprefix(word).strip()
        raise AssertionError(self.process.stderr.read()[-6000:])

    def say(self):
        """Let a client that waits go on."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self):
        """Return what the part found."""
        value = json.loads(self.wait_for("RESULT"))
        self.stop()
        return value

    def stop(self):
        """End the process."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def client(hub, python, tmp_path):  # noqa: F811
    """Return a function that starts a part of the client."""
    started = []

    def start(part):
        started.append(Client(hub, python, tmp_path, part))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def statuses(fails):
    """Return the statuses of calls that failed."""
    return [row[1] for row in fails]


def test_discussions(hub, client, major):
    """People open, answer, edit, hide, rename and close discussions, and merge pull requests into main."""
    running = client("discussions")
    running.wait_for("COMMIT")
    hub.commit("models", "acme/talk", {"new.txt": "from the pull request\n"}, branch="refs/pr/2", delete=["old.txt"],
               message="Add new.txt")
    running.say()
    out = running.result()
    assert out["one"] == [1, "open", False, "ann"] and out["url"] == "/acme/talk/discussions/1"
    assert out["pull"] == [2, "draft", "refs/pr/2", "refs/heads/main", "bob"]
    assert out["answer"] == ["Therefore.", "ann", False] and out["edited"] == ["Therefore!", True]
    assert out["edits"] == [1, "ann"]
    assert out["hidden"][0] and "rude" not in out["hidden"][1]
    assert out["renamed"] == ["A question", "A good question"]
    assert (out["closed"], out["opened"]) == ("closed", "open")
    assert out["before"] == ["open", [], True]
    status, merged_as, events = out["after"]
    assert status == "merged" and merged_as == hub.refs("models", "acme/talk")["refs/heads/main"]
    assert sorted(events) == ["comment", "comment", "commit", "status-change", "status-change"]
    assert out["details"] == ["A good question", "closed", ["comment", "comment", "comment", "title-change", "comment",
                                                           "status-change"]]
    assert out["listed"] == {"null": [2, 1], "open": [], "closed": [2, 1]}
    assert (out["pulls"], out["by_bob"], out["dataset"]) == ([2], [2], 1)
    assert out["main"] == "A change (#2)"
    assert hub.file("models", "acme/talk", "new.txt")["size"] == 22
    assert fetch(f"{hub.url}/acme/talk/resolve/main/old.txt")[0] == 404
    assert statuses(out["fails"]) == [403, 403, 400, 404, 401, 403, 404]
    if major == 2:
        assert fetch(hub.url + out["attachment"])[2] == b"\x89PNG\r\n"


def test_pull_request_conflict(hub):
    """A pull request that main has overtaken names the files in conflict and cannot be merged."""
    headers = {"Authorization": "Bearer hf_ann", "Content-Type": "application/json"}
    api = f"{hub.url}/api/models/acme/talk/discussions"
    body = json.dumps({"title": "T", "description": "D", "pullRequest": True}).encode()
    num = json.loads(fetch(api, "POST", body, **headers)[2])["num"]
    hub.commit("models", "acme/talk", {"config.json": '{"a": 1}'}, branch=f"refs/pr/{num}")
    hub.commit("models", "acme/talk", {"config.json": '{"a": 2}'})
    doc = json.loads(fetch(f"{api}/{num}?diff=1", **headers)[2])
    assert doc["filesWithConflicts"] == ["config.json"] and '+{"a": 1}' in doc["diff"]
    status, _, answer, _ = fetch(f"{api}/{num}/merge", "POST", b"{}", **headers)
    assert status == 409 and "config.json" in json.loads(answer)["error"]


def test_collections(client):
    """Collections are made, filled, ordered, published and removed; a private one is nobody else's business."""
    out = client("collections").result()
    assert out["made"] == ["Best of", True, "Our best", "acme", 0] and out["same"]
    assert out["added"] == [["acme/talk", "model", "talkative"]] and out["twice"] == 2
    assert out["moved"] == [["acme/data", None, 0], ["1706.03762", None, 1], ["acme/talk", "very talkative", 2]]
    assert out["hidden"] == [] and out["found"] == ["Better"]
    assert out["changed"] == ["Better", False, "green"]
    assert out["left"] == ["acme/data", "acme/talk"]
    assert statuses(out["fails"]) == [409, 403, 404, 409, 403, 404] and out["gone"][1] == 404


def test_webhooks(client, major):
    """Webhooks are made, changed, switched and removed, and belong to one user."""
    out = client("webhooks").result()
    watched = [["org", "acme"], ["model", "acme/talk"]]
    assert out["made"] == ["https://example.org/hook", ["repo"], "s3", False, watched] and out["listed"]
    assert out["changed"] == ["https://example.org/other", ["repo", "discussion"], "s4", 1]
    assert out["switched"] == [True, False] and out["got"] == "https://example.org/other"
    assert out["job"] == [None, "busybox", ["true"]]
    assert statuses(out["fails"])[:2] == [404, 400] and out["fails"][2][0] != "nothing raised"
    assert out["gone"][1] == 404 and out["empty"] == []


def test_access_requests(hub, client, major):
    """Who is accepted can read at once, and who is rejected can no longer."""
    assert hub.ask_access("models", "acme/closed", "bob", {"why": "research"}) == "pending"
    out = client("access").result()
    bob = "bob@example.org"
    assert out["steps"][:4] == [
        ["GatedRepoError", [["bob", "pending", bob]]], ["nothing raised", [["bob", "accepted", bob]]],
        ["GatedRepoError", [["bob", "pending", bob]]], ["GatedRepoError", [["bob", "rejected", bob]]]]
    assert out["steps"][4:] == ([["nothing raised", [["bob", "accepted", bob]]]] if major == 2 else [])
    assert out["granted"] == "eve" and out["eve"] == "nothing raised"
    assert out["fields"] == ({"why": "research"} if major == 2 else None)
    assert statuses(out["fails"]) == [400, 404, 404, 403, 400, 403]


def test_asking_for_access(hub):
    """A user asks on the page of a repository; one that is gated automatically says yes at once."""
    headers = {"Authorization": "Bearer hf_bob", "Content-Type": "application/x-www-form-urlencoded"}
    status, _, body, _ = fetch(f"{hub.url}/acme/closed/ask-access", "POST", b"name=Bob", **headers)
    assert (status, json.loads(body)) == (200, {"status": "pending"})
    hub.set_visibility("models", "acme/closed", gated="auto")
    fetch(f"{hub.url}/acme/closed/ask-access", "POST", b"name=Bob", **headers)
    assert fetch(f"{hub.url}/acme/closed/resolve/main/config.json", Authorization="Bearer hf_bob")[0] == 200
    assert fetch(f"{hub.url}/acme/closed/ask-access", "POST", b"name=x")[0] == 401


def test_spaces(client, major):
    """A Space's settings, machine and life change, and its runtime shows it."""
    out = client("spaces").result()
    assert out["variables"] == [["MODEL", "acme/talk", "which"]] * 2
    assert out["hardware"] == [["RUNNING", "cpu-basic", "t4-small"], ["RUNNING", "t4-small", "t4-small"]]
    assert out["sleep"] == 900
    assert out.get("storage") == (["small", "small", None] if major < 2 else None)
    assert out["paused"] == [["PAUSED", None, "t4-small"], "PAUSED"]
    assert out["restarted"] == ["RUNNING_BUILDING", "RUNNING"] and out["factory"] == ["BUILDING", "RUNNING"]
    assert out["info"] == "t4-small" and out["emptied"] == {}
    assert statuses(out["fails"]) == [403, 400, 400, 403, 401, 404]
    if major:
        assert out["secrets"] == [["KEY", "a key"]] and out["dev"] == [True, False]
        assert out["volumes"] == ["acme/talk"] and out["unmounted"] is None
        assert out["logs"] == ["===== Build queued =====", "===== Application Startup ====="]
        assert out["waited"] == "RUNNING" and out["machines"] == "cpu-basic"
        assert out["templates"] == "Streamlit" and out["search"] == ["acme/app"]
    if major > 1:
        assert out["quota"] == 240


def test_jobs(client, major):
    """Jobs run, are listed, labelled, cancelled and planned."""
    out = client("jobs").result()
    assert out["job"] == ["RUNNING", "COMPLETED", "python:3.12", ["python", "-c", "print(1)"], {"A": "1"}, "ann", True]
    assert out["logs"] == ["python -c print(1)"]
    assert out["space"] == ["acme/app", "acme", "org"] and out["canceled"] == "CANCELED" and out["listed"] == [True]
    assert out["uv"] == ["uv", "run"]
    assert out["planned"] == ["@hourly", False, True, False, ["echo", "hi"]] and out["planned_listed"]
    assert out["planned_uv"] == "0 9 * * 1"
    assert statuses(out["fails"]) == [403, 404, 400, 400, 403] and out["gone"][1] == 404
    if major:
        assert out["labels"] == [{"team": "blue"}, [True], [True]] and out["metrics"] == ["cpu_millicores"]
        assert out["waited"] == "CANCELED" and out["tail"] == ["python -c print(1)"]
        assert out["machines"] == "cpu-basic" and out["triggered"] == [["echo", "hi"], True]
        assert out["planned_labels"] == {"a": "b"}
    if major > 1:
        assert out["again"] == ["python", "-c", "print(1)"] and out["rescheduled"] == "@daily"
        assert out["exposed"] == [8000]


def test_job_logs_are_live(hub, client):
    """A line of a running job reaches its reader while the job runs, and the stream ends with the job."""
    running = client("stream")
    job = running.wait_for("JOB")
    assert running.wait_for("LINE") == "sleep 9"
    for line in ("one", "two \u00e4"):
        hub.job_log(job, line)
        assert running.wait_for("LINE") == line
    hub.job_log(job, end="COMPLETED")
    assert running.result() == {"lines": ["sleep 9", "one", "two \u00e4"], "stage": "COMPLETED"}


def start_sleeper(hub):
    """Start a job that runs until it is ended and return its address."""
    body = json.dumps({"dockerImage": "x", "command": ["sleep", "9"], "flavor": "cpu-basic"}).encode()
    job = json.loads(fetch(f"{hub.url}/api/jobs/ann", "POST", body, Authorization="Bearer hf_ann")[2])
    return job["id"], f"{hub.url}/api/jobs/ann/{job['id']}"


def test_streams_keep_alive_and_end(hub):
    """A silent stream sends comments, a gate can hold it anywhere, and it ends with the job."""
    hub.quirks(keep_alive=0.05)
    id, url = start_sleeper(hub)
    with ThreadPoolExecutor() as pool:
        with hub.gate(after_bytes=10, path="/logs") as gate:
            reader = pool.submit(fetch, url + "/logs", Authorization="Bearer hf_ann")
            gate.wait_reached()
            assert [r["sent"] for r in hub.log(settle=0) if "/logs" in r["target"]] == [10]
        metrics = pool.submit(fetch, url + "/metrics", Authorization="Bearer hf_ann")
        with hub.gate(after_bytes=300, path="/logs") as gate:
            silent = pool.submit(fetch, url + "/logs", Authorization="Bearer hf_ann")
            gate.wait_reached()
        hub.job_log(id, "last", end="ERROR")
        for found in (reader.result(20), silent.result(20)):
            status, headers, body, _ = found
            assert (status, headers["content-type"]) == (200, "text/event-stream")
            assert b"last" in body and body.endswith(b"0\r\n\r\n")
        assert b": keep-alive\n\n" in silent.result()[2]
        assert b"cpu_millicores" in metrics.result(20)[2]


def test_stream_ends_with_its_reader(hub):
    """The Hub notices that the reader of an open stream has left."""
    _, url = start_sleeper(hub)
    with connect(url) as sock:
        sock.sendall(f"GET {urlsplit(url).path}/logs HTTP/1.1\r\nAuthorization: Bearer hf_ann\r\n\r\n".encode())
        assert sock.recv(1)
        assert not [r for r in hub.log(settle=0) if "/logs" in r["target"] and r["done"]]
    hub.wait_requests(path="/logs", done=True)
    assert [r["peer_closed"] for r in hub.log() if "/logs" in r["target"]] == [True]


def test_endpoints(client, major):
    """An endpoint is deployed, waited for, changed, paused, resumed, scaled and deleted."""
    out = client("endpoints").result()
    assert out["made"] == ["talker", "acme/talk", "pytorch", "text-generation"] and out["ready"] == ["running", True]
    assert out["got"] == ["running", {"S": ""}, {"A": "1"}] and out["scaling"] == [3, "cpu"]
    assert out["still"] == "running" and out["strict"][1] == 400
    assert out["paused"] == ["paused", None] and out["resumed"] == "initializing" and out["asleep"] == "scaledToZero"
    assert out["deployed"] == "chosen" and out["catalog"] == ["acme/talk"]
    assert out["everything"] == ["chosen", "talker"] and out["left"] == []
    assert statuses(out["fails"]) == [401, 404, 404]
    assert out.get("machines") == ("intel-spr" if major else None)
    assert out.get("recipe") == ("r" if major > 1 else None)


def test_people_and_papers(client, major):
    """Users, organizations, papers and the sizes of repositories can be looked at."""
    out = client("people").result()
    assert out["user"] == ["ann", 1, 1, ["acme"]]
    assert out["followers"] == ["bob"] and out["following"] == ["eve"] and out["members"] == ["ann"]
    assert out["org"] == ["acme", 1]
    assert out["paper"] == ["Attention is all you need", ["1706.03762"]]
    assert statuses(out["fails"]) == [404, 404, 404] and out.get("card") is None
    if major:
        assert out["org_followers"] == ["eve"] and out["text"]
        assert out["daily"] == ["Attention is all you need"]
        assert out["repos"] == ["acme/app", "acme/closed", "acme/data", "acme/secret", "acme/talk"]
        assert out["mine"] == ["ann/own"]
        where = "/datasets/acme/data/resolve/refs%2Fconvert%2Fparquet/default/train/0000.parquet"
        assert out["parquet"] == [["default", "train", 4, where]]


def test_viewer(hub):
    """The viewer tells of which commit it speaks, and nothing about what the asker cannot read."""
    status, headers, body, _ = fetch(f"{hub.viewer_url}/info?dataset=acme/data")
    assert status == 200 and headers["x-revision"] == hub.refs("datasets", "acme/data")["refs/heads/main"]
    info = json.loads(body)
    assert info["dataset_info"]["default"]["splits"]["train"]["num_examples"] == 2 and not info["partial"]
    rows = json.loads(fetch(f"{hub.viewer_url}/rows?dataset=acme/data&config=default&split=train&offset=1&length=5")[2])
    assert [r["row"] for r in rows["rows"]] == [{"a": "3", "b": "4"}] and rows["num_rows_total"] == 2
    splits = json.loads(fetch(f"{hub.viewer_url}/splits?dataset=acme/data")[2])
    assert splits["splits"] == [{"dataset": "acme/data", "config": "default", "split": "train"}]
    hub.set_visibility("datasets", "acme/data", private=True)
    assert fetch(f"{hub.viewer_url}/info?dataset=acme/data")[0] == 401
    assert fetch(f"{hub.viewer_url}/info?dataset=acme/data", Authorization="Bearer hf_bob")[0] == 404
    assert fetch(f"{hub.viewer_url}/info?dataset=acme/data", Authorization="Bearer hf_ann")[0] == 200
    assert fetch(f"{hub.viewer_url}/info")[0] == 422


def test_notifications(hub):
    """A comment in a repository of one's organization is notified, and stays so until it is read or removed."""
    url, ann = f"{hub.url}/api/notifications", {"Authorization": "Bearer hf_ann"}
    body = json.dumps({"title": "T", "description": "D"}).encode()
    fetch(f"{hub.url}/api/models/acme/talk/discussions", "POST", body, Authorization="Bearer hf_bob")
    seen = json.loads(fetch(url, **ann)[2])
    assert seen["count"] == {"all": 1, "unread": 1, "view": 1} and not seen["notifications"][0]["read"]
    chosen = json.dumps({"discussionIds": [seen["notifications"][0]["discussion"]["id"]]}).encode()
    assert fetch(url + "/mark-as-read", "POST", chosen, **ann)[0] == 200
    assert json.loads(fetch(url, **ann)[2])["count"]["unread"] == 0
    assert fetch(url, "DELETE", chosen, **ann)[0] == 200
    assert json.loads(fetch(url, **ann)[2])["notifications"] == []
    assert json.loads(fetch(url, Authorization="Bearer hf_bob")[2])["notifications"] == []
    assert fetch(url)[0] == 401


def test_state(hub):
    """The state says what was done and not when, so that two Hubs which did the same are equal."""
    before = hub.state()
    body = json.dumps({"title": "T", "description": "D"}).encode()
    fetch(f"{hub.url}/api/models/acme/talk/discussions", "POST", body, Authorization="Bearer hf_bob")
    after = hub.state()
    assert before["discussions"] == {}
    assert after["discussions"] == {"models/acme/talk": [{
        "num": 1, "title": "T", "status": "open", "author": "bob", "pullRequest": False, "pinned": False,
        "merged": False, "events": [{"type": "comment", "author": "bob", "text": "D", "edited": False,
                                     "hidden": False}]}]}
    assert after["notifications"] == {"ann": [["models", "acme/talk", 1, False]]}
