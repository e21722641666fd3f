"""Scheduled commits happen exactly once, wherever the daemon dies and whatever becomes of the Hub's answers."""

import hashlib
import json
import os

import pytest

from tests.support.daemon import wait_until
from tests.support.folders import BOT, Folders, content, crash_binary, history, notes, pool_config, tree
from tests.support.http import Client

LARGE = 11_000_001
COMMIT = {"origin": "hub", "method": "POST", "path": "/commit/main"}

# Where a process with crash points can be told to die in the middle of a scheduled commit, and how often.
STEPS = [
    "commit-mid-upload",
    "commit-after-intent",
    "commit-before-send",
    "mid-folder-commit",
    "commit-after-answer",
    "commit-before-record",
    "commit-after-record",
    "mid-txn",
]


@pytest.fixture
def folders(hub, make_daemon, tmp_path):
    """A daemon with a token of the pool, and the folders that it watches."""
    hub.distinct_times()
    daemon = make_daemon(pool_config(hub, tmp_path / "access"))
    return Folders(hub, daemon, tmp_path / "folders")


def commits_with(hub, path, repo="acme/log"):
    """Return the ids that a path had, commit by commit; a commit that changed nothing of it is not there."""
    seen = []
    for row in history(hub, repo):
        now = tree(hub, repo, rev=row["id"]).get(path)
        if now and (not seen or seen[-1] != now):
            seen.append(now)
    return seen


def marks(hub, repo="acme/log"):
    """Return the marks of our commits."""
    return [row["message"].rpartition("Hubcached-Commit: ")[2] for row in history(hub, repo) if "Hubcached" in row["message"]]


@pytest.mark.parametrize("grown", [False, True], ids=["as-it-was", "grown-since"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step(hub, make_daemon, tmp_path, step, grown):
    """Killed at any step, the commit is there exactly once after the restart, and what was written since in one more."""
    program = crash_binary()
    if not program:
        pytest.skip("no program with crash points was built")
    hub.distinct_times()
    daemon = make_daemon(pool_config(hub, tmp_path / "access"), program=program)
    folders = Folders(hub, daemon, tmp_path / "folders")
    folder = folders.add("log")
    (folder / "old.txt").write_text("old\n")
    folders.run("log")
    daemon.stop()

    daemon.environment["HUBCACHED_CRASH_AT"] = step
    (folder / "small.jsonl").write_text("one\n")
    (folder / "large.bin").write_bytes(b"0123456789abcdef" * (LARGE // 16))
    daemon.start(wait=False)
    daemon.process.wait(30)
    daemon.expect_death = True
    daemon.kill()
    if grown:
        with (folder / "small.jsonl").open("a") as f:
            f.write("two\n")
        with (folder / "large.bin").open("ab") as f:
            f.write(b"more")
    del daemon.environment["HUBCACHED_CRASH_AT"]
    daemon.start()
    folders.run("log")

    for name in ("small.jsonl", "large.bin"):
        assert content(hub, "acme/log", name) == (folder / name).read_bytes()
    rows = history(hub, "acme/log")
    landed = len([r for r in hub.log("hub") if "/commit/main" in r["path"] and r["status"] == 200])
    assert len(rows) == landed and len(set(marks(hub))) == len(rows)
    # The commit of the killed round may have landed before the file grew, and then there is one more.
    assert len(rows) == 2 or (grown and len(rows) == 3)
    assert len(commits_with(hub, "small.jsonl")) == len(rows) - 1
    last = folders.show("log")["last"]
    assert last["conflict"] == last["waiting"] == 0
    assert [c["state"] for c in folders.show("log")["history"] if c["state"] == "open"] == []


ANSWERS = {
    "lost-after-it-happened": {"reset": "after_work"},
    "cut-after-it-happened": {"truncate": 5},
    "lost-before-it-happened": {"reset": "before_head"},
    "cut-before-it-happened": {"upload_reset": 40},
    "500-before-it-happened": {"status": 500, "body": "{}"},
    "502": {"status": 502, "body": "<html>"},
    "409": {"status": 409, "body": '{"error":"A commit has happened since. Please refresh and try again."}'},
    "412": {"status": 412, "body": '{"error":"The branch was updated."}'},
    "429": {"status": 429, "headers": {"Retry-After": "1"}, "body": '{"error":"Too many requests"}'},
    "503": {"status": 503, "headers": {"Retry-After": "1"}, "body": "{}"},
    "garbage": {"set_headers": {"X-Odd": "1"}, "json_garbage": "html"},
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_the_answer(hub, folders, answer, times):
    """An answer that is lost, wrong or a refusal for now: the round goes on until the commit is there, once."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("one")
    (folder / "b.bin").write_bytes(b"x" * LARGE)
    id = hub.fault(**COMMIT, times=times, **ANSWERS[answer])
    last = folders.run("log", seconds=60)
    hub.wait_fault(id, 1)
    assert len(last["commits"]) == 1 and last["files"] == 2
    rows = history(hub, "acme/log")
    assert len(rows) == 1 and last["commits"][0]["commit"] == rows[0]["id"]
    assert content(hub, "acme/log", "a.txt") == b"one"
    assert folders.run("log")["commits"] == []


def test_an_answer_of_which_nobody_hears(hub, folders):
    """The commit landed and the Hub is gone: the round fails, and the next one finds out and commits the rest."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("one\n")
    hub.fault(**COMMIT, reset="after_work")
    gone = hub.fault(origin="hub", path="/revision/", skip=1, times=None, status=403, body='{"error":"no"}')
    assert "no" in folders.run("log", "failed")["error"]
    with (folder / "a.txt").open("a") as f:
        f.write("two\n")
    hub.clear_faults(gone)
    last = folders.run("log")
    assert [c["commit"] for c in last["commits"]] == [row["id"] for row in history(hub, "acme/log")]
    assert len(last["commits"]) == 2 and content(hub, "acme/log", "a.txt") == b"one\ntwo\n"


def test_somebody_else_commits_in_between(hub, folders):
    """The branch moves while our commit is on its way: it is refused, made again on the new head, and both are there."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("ours")
    with hub.upload_gate(after_bytes=20, times=1, **COMMIT) as gate:
        number = folders.begin("log")
        gate.wait_reached()
        hub.commit("models", "acme/log", {"b.txt": b"theirs"})
    assert folders.wait("log", number)["files"] == 1
    statuses = [r["status"] for r in hub.log("hub") if "/commit/main" in r["path"]]
    assert statuses == [412, 200] and len(history(hub, "acme/log")) == 2
    assert content(hub, "acme/log", "a.txt") == b"ours" and content(hub, "acme/log", "b.txt") == b"theirs"


def test_somebody_else_commits_the_same_file_in_between(hub, folders):
    """The file itself is changed by somebody else while our commit is on its way: theirs stays."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("ours")
    (folder / "c.txt").write_text("c")
    with hub.upload_gate(after_bytes=20, times=1, **COMMIT) as gate:
        number = folders.begin("log")
        gate.wait_reached()
        hub.commit("models", "acme/log", {"a.txt": b"theirs"})
    last = folders.wait("log", number)
    assert last["state"] == "conflict" and list(notes(last, "conflict")) == ["a.txt"]
    assert content(hub, "acme/log", "a.txt") == b"theirs" and content(hub, "acme/log", "c.txt") == b"c"


def test_somebody_else_commits_all_the_time(hub, folders):
    """A branch that never stands still does not keep the round for ever; it fails and says why, and the next one works."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("ours")
    id = hub.fault(**COMMIT, times=None, status=412, body='{"error":"The branch was updated."}')
    last = folders.run("log", "failed", seconds=60)
    assert "others change the branch" in last["error"]
    hub.clear_faults(id)
    folders.run("log")
    assert len(history(hub, "acme/log")) == 1


def test_history_was_squashed_meanwhile(hub, folders):
    """The answer was lost and the history is gone too: the contents say that it happened, and it is not done again."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("one\n")
    hub.fault(**COMMIT, reset="after_work")
    with hub.gate(after_bytes="before_head", path="/revision/", times=1, skip=1) as gate:
        number = folders.begin("log")
        gate.wait_reached()
        squash(hub)
        (folder / "a.txt").write_text("one\ntwo\n")
    assert folders.wait("log", number)["state"] == "done"
    assert len([r for r in hub.log("hub") if "/commit/main" in r["path"]]) == 1
    folders.run("log")
    assert content(hub, "acme/log", "a.txt") == b"one\ntwo\n" and len(history(hub, "acme/log")) == 2


def squash(hub):
    """Squash the history of the branch, as its owner."""
    assert Client(hub.url, BOT).post("/api/models/acme/log/super-squash/main", {"message": "Squashed"}).status == 200


@pytest.mark.parametrize("parts", [False, True], ids=["whole", "parts"])
@pytest.mark.parametrize("fault", [{"upload_reset": 3_000_000}, {"status": 500, "body": ""}, {"reset": "after_work"}], ids=str)
def test_upload_breaks(hub, folders, parts, fault):
    """The connection to the storage breaks: the piece is sent again, the object is right, and there is one commit."""
    if parts:
        hub.quirks(lfs_multipart_threshold=1_000_000, lfs_chunk_size=4_000_000)
    folder = folders.add("log")
    data = os.urandom(LARGE)
    (folder / "big.bin").write_bytes(data)
    hub.fault(origin="s3", method="PUT", times=2, skip=1 if parts else 0, **fault)
    folders.run("log", seconds=60)
    assert content(hub, "acme/log", "big.bin") == data and len(history(hub, "acme/log")) == 1


def test_changed_between_two_tries_of_an_upload(hub, folders):
    """What is sent again is compared with what was sent first: a file that changed in between is broken off."""
    hub.quirks(lfs_multipart_threshold=1_000_000, lfs_chunk_size=4_000_000)
    folder = folders.add("log")
    data = bytearray(os.urandom(LARGE))
    (folder / "big.bin").write_bytes(data)
    with hub.gate(after_bytes="before_head", origin="s3", method="PUT", times=1) as gate:
        hub.fault(origin="s3", method="PUT", times=1, reset="after_work")
        number = folders.begin("log")
        gate.wait_reached()
        with (folder / "big.bin").open("r+b") as f:
            f.write(b"0123456789")
    last = folders.wait("log", number)
    assert list(notes(last, "waiting")) == ["big.bin"] and last["commits"] == []
    data[:10] = b"0123456789"
    folders.run("log")
    assert content(hub, "acme/log", "big.bin") == bytes(data)


def test_storage_refuses(hub, folders):
    """The storage refuses for good: the round fails with what it said, nothing is committed, and the next one works."""
    folder = folders.add("log")
    (folder / "big.bin").write_bytes(b"x" * LARGE)
    (folder / "a.txt").write_text("a")
    hub.fault(origin="s3", method="PUT", status=403, body="<Error/>")
    last = folders.run("log", "failed")
    assert "403" in last["error"] and history(hub, "acme/log") == []
    assert folders.run("log")["files"] == 2


def test_foreign_storage_is_refused(hub, folders):
    """Addresses to upload to on hosts that the configuration does not allow get not one byte."""
    folder = folders.add("log")
    (folder / "big.bin").write_bytes(b"x" * LARGE)
    oid = hashlib.sha256(b"x" * LARGE).hexdigest()
    upload = {"actions": {"upload": {"href": f"{hub.evil_url}/put"}}}
    answer = {"transfer": "basic", "objects": [{"oid": oid, "size": LARGE, **upload}]}
    hub.fault(path="objects/batch", status=200, body=json.dumps(answer))
    assert "upload_hosts" in folders.run("log", "failed")["error"]
    assert hub.log("evil") == []


def test_too_large_for_the_hub(hub, folders):
    """A file that the Hub does not take is left out with its words, and the others are committed."""
    hub.quirks(lfs_max_size=LARGE + 10)
    folder = folders.add("log")
    (folder / "big.bin").write_bytes(b"x" * (LARGE + 100))
    (folder / "fits.bin").write_bytes(b"y" * LARGE)
    last = folders.run("log")
    assert "too large" in notes(last, "skipped")["big.bin"]
    assert set(tree(hub, "acme/log")) == {".gitattributes", "fits.bin"}


def test_killed_again_and_again(hub, folders):
    """kill -9 at any moment, again and again: every line that was written is there once, and no commit twice."""
    folder = folders.add("log")
    for n in range(6):
        hub.clear_log()
        with (folder / "a.jsonl").open("a") as f:
            f.write(f"{n}\n")
        folders.begin("log")
        hub.wait_requests(1, path=["/revision/", "/preupload/", "/commit/main"][n % 3])
        folders.daemon.kill()
        folders.daemon.start()
    wait_until(lambda: content(hub, "acme/log", "a.jsonl") == (folder / "a.jsonl").read_bytes(), "all lines")
    folders.run("log")
    assert len(set(marks(hub))) == len(history(hub, "acme/log")) == len(commits_with(hub, "a.jsonl"))
