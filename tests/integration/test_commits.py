"""Scheduled commits: what is in a watched folder comes to be in the repository, and what cannot is said."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import ANN

from tests.hub import Generated
from tests.support import clients
from tests.support.daemon import binary, wait_until
from tests.support.folders import BOT, Folders, admin, content, history, notes, pool_config, tree
from tests.support.http import Client

LARGE = 11_000_001  # bytes: more than git takes at the Hub

# The example of huggingface_hub's guide on uploads, "Scheduled uploads", with its feedback written by hand.
EXAMPLE = """
import json
from pathlib import Path
from huggingface_hub import CommitScheduler

feedback_folder = Path({folder!r})
feedback_file = feedback_folder / "data_0123.json"
feedback_folder.mkdir(parents=True, exist_ok=True)

scheduler = CommitScheduler(
    repo_id="acme/translation-feedback",
    repo_type="dataset",
    folder_path=feedback_folder,
    path_in_repo="data",
    every=10,
)
scheduler.trigger().result()  # behind the first push, which begins by itself

def save_feedback(input_text, output_text, feedback):
    with scheduler.lock:
        with feedback_file.open("a") as f:
            f.write(json.dumps({{"input": input_text, "output": output_text, "feedback": feedback}}))
            f.write("\\n")

for day in range(3):
    for n in range(20):
        save_feedback(f"text {{day}} {{n}}", "Text", n % 5)
    if day == 1:
        (feedback_folder / "model.bin").write_bytes(bytes(range(256)) * 100)
        (feedback_folder / ".git").mkdir()
        (feedback_folder / ".git" / "HEAD").write_text("ref: x")
    scheduler.trigger().result()
scheduler.stop()
result = feedback_file.read_text()
"""


@pytest.fixture
def folders(hub, make_daemon, tmp_path):
    """A daemon with a token of the pool, and the folders that it watches."""
    daemon = make_daemon(pool_config(hub, tmp_path / "access"))
    return Folders(hub, daemon, tmp_path / "folders")


# ---- as the Python class does it ----


@pytest.mark.parametrize("version", ["0.36", "1.x", "2.x"])
def test_documentation_example(hub, folders, tmp_path, version):
    """What CommitScheduler makes of its own example, the daemon makes of the same files: the same repository."""
    text = clients.python(
        version, EXAMPLE.format(folder=str(tmp_path / "python")), hub.url, tmp_path / "home", token=ANN
    )
    theirs = tree(hub, "acme/translation-feedback", "datasets")
    days = text.splitlines(keepends=True)

    ours = folders.add("feedback", "datasets/acme/ours", path_in_repo="data")
    for day in range(3):
        with (ours / "data_0123.json").open("a") as f:
            f.writelines(days[day * 20 : day * 20 + 20])
        if day == 1:
            (ours / "model.bin").write_bytes(bytes(range(256)) * 100)
            (ours / ".git").mkdir()
            (ours / ".git" / "HEAD").write_text("ref: x")
        folders.run("feedback")
    assert tree(hub, "acme/ours", "datasets") == theirs and "data/data_0123.json" in theirs
    titles = [[row["title"] for row in history(hub, id, "datasets")] for id in ("acme/ours", "acme/translation-feedback")]
    assert titles[0] == titles[1] == ["Scheduled Commit"] * 3


def test_nothing_new_is_no_commit(hub, folders):
    """A round without changes asks the Hub nothing; a file that was only touched is read and not sent."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("one")
    os.utime(folder / "a.txt", (1_700_000_000, 1_700_000_000))
    last = folders.run("log")
    assert (last["files"], len(last["commits"])) == (1, 1)
    hub.clear_log()
    assert folders.run("log")["unchanged"] == 1
    os.utime(folder / "a.txt")
    assert folders.run("log")["commits"] == []
    assert hub.log("hub") == [] and len(history(hub, "acme/log")) == 1


def test_empty_files(hub, folders):
    """Files without a byte are committed like others, also where large ones would go by LFS."""
    folder = folders.add("log")
    (folder / "a.txt").touch()
    (folder / "b.bin").touch()
    assert folders.run("log")["files"] == 2
    assert tree(hub, "acme/log")["a.txt"][0] == tree(hub, "acme/log")["b.bin"][0] == 0
    (folder / "b.bin").write_bytes(b"x")
    assert folders.run("log")["files"] == 1


def test_first_round_comes_at_once_and_then_by_schedule(hub, folders):
    """Nobody has to run anything: a new folder is committed at once, and again when its time has come."""
    (folders.root / "own").mkdir(parents=True)
    (folders.root / "own" / "a.txt").write_text("one")
    folder = folders.add("own", every="1s", first=False)
    wait_until(lambda: len(history(hub, "acme/log")) == 1 if hub_has(hub, "acme/log") else False, "the first commit")
    (folder / "a.txt").write_text("two")
    wait_until(lambda: len(history(hub, "acme/log")) == 2, "the second commit")
    assert content(hub, "acme/log", "a.txt") == b"two"


def hub_has(hub, repo, type="models"):
    """Tell whether a repository exists."""
    return Client(hub.url, BOT).get(f"/api/{type}/{repo}").status == 200


def test_repository_is_made_private(hub, folders):
    """A missing repository is made at the first round, as private as it was asked to be; others see nothing."""
    folders.add("secret", "datasets/acme/hidden", private=True)
    assert Client(hub.url, ANN).get("/api/datasets/acme/hidden").json()["private"] is True
    assert Client(hub.url).get("/api/datasets/acme/hidden").status == 401
    folders.add("open", "acme/shown", private=False)
    assert Client(hub.url).get("/api/models/acme/shown").json()["private"] is False
    assert len([r for r in hub.log("hub") if r["path"] == "/api/repos/create"]) == 2


def test_repository_that_is_there_is_not_made(hub, folders):
    """A repository that exists is used as it is, and nobody asks for it to be made."""
    hub.create_repo("models", "acme/log", private=True)
    folder = folders.add("log", private=False)
    (folder / "a.txt").write_text("one")
    folders.run("log")
    assert content(hub, "acme/log", "a.txt") == b"one"
    assert [r for r in hub.log("hub") if r["path"] == "/api/repos/create"] == []


def test_busy_namespace_is_waited_for(hub, folders):
    """The Hub makes one repository at a time for an account: "another conflicting operation" is tried again."""
    hub.quirks(create_conflicts=2)
    folders.add("log")
    assert hub_has(hub, "acme/log")


# ---- what is committed ----


def test_appending_meanwhile(hub, folders):
    """A file is committed at the length that it had when the round began; what came since is in the next one."""
    folder = folders.add("log")
    (folder / "a.jsonl").write_text("1\n")
    big = bytes(range(256)) * (LARGE // 256)
    (folder / "big.bin").write_bytes(big)
    with hub.gate(after_bytes="before_head", method="POST", path="/preupload/", times=1) as gate:
        number = folders.begin("log")
        gate.wait_reached()
        with (folder / "a.jsonl").open("a") as f, (folder / "big.bin").open("ab") as g:
            f.write("2\n")
            g.write(b"tail")
    assert folders.wait("log", number)["state"] == "done"
    assert content(hub, "acme/log", "a.jsonl") == b"1\n"
    assert content(hub, "acme/log", "big.bin") == big
    folders.run("log")
    assert content(hub, "acme/log", "a.jsonl") == b"1\n2\n"
    assert content(hub, "acme/log", "big.bin") == big + b"tail"


@pytest.mark.parametrize("how", ["rewritten", "replaced", "truncated", "gone"])
def test_changed_small_file_waits(hub, folders, how):
    """A file that is not the one that was hashed any more is not committed; the others are, and it is next time."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("first contents")
    (folder / "b.txt").write_text("b")
    with hub.gate(after_bytes="before_head", method="POST", path="/preupload/", times=1) as gate:
        number = folders.begin("log")
        gate.wait_reached()
        if how == "rewritten":
            (folder / "a.txt").write_text("other contents")
        elif how == "replaced":
            (folder / "new").write_text("first contents")
            (folder / "new").replace(folder / "a.txt")
        elif how == "truncated":
            os.truncate(folder / "a.txt", 3)
        else:
            (folder / "a.txt").unlink()
    last = folders.wait("log", number)
    assert last["state"] == "done" and list(notes(last, "waiting")) == ["a.txt"]
    assert set(tree(hub, "acme/log")) == {".gitattributes", "b.txt"}
    if how != "gone":
        folders.run("log")
        assert content(hub, "acme/log", "a.txt") == (folder / "a.txt").read_bytes()


def test_changed_large_file_is_broken_off(hub, folders):
    """A large file that changes while it is uploaded never arrives, not under its old digest and not under another."""
    folder = folders.add("log")
    data = bytearray(os.urandom(LARGE))
    (folder / "big.bin").write_bytes(data)
    with hub.upload_gate(after_bytes=1_000_000, origin="s3", method="PUT", times=1) as gate:
        number = folders.begin("log")
        gate.wait_reached()
        with (folder / "big.bin").open("r+b") as f:
            f.seek(LARGE - 10)
            f.write(b"0123456789")
    last = folders.wait("log", number)
    assert notes(last, "waiting") and last["commits"] == []
    assert [r["status"] for r in hub.log("s3") if r["status"] == 200] == []
    folders.run("log")
    data[-10:] = b"0123456789"
    assert content(hub, "acme/log", "big.bin") == bytes(data)


def test_large_files_in_parts(hub, folders):
    """The Hub asks for parts: they are sent one by one, the last is shorter, and the whole is right."""
    hub.quirks(lfs_multipart_threshold=1_000_000, lfs_chunk_size=4_000_000)
    folder = folders.add("log")
    data = os.urandom(LARGE)
    (folder / "big.bin").write_bytes(data)
    (folder / "same.bin").write_bytes(data)
    (folder / "small.bin").write_bytes(b"x" * 1000)
    assert folders.run("log")["files"] == 3
    assert content(hub, "acme/log", "big.bin") == content(hub, "acme/log", "same.bin") == data
    parts = [r for r in hub.log("s3") if "partNumber" in r["target"]]
    assert [r["body_length"] for r in parts] == [4_000_000, 4_000_000, LARGE - 8_000_000]


def test_thousands_of_files(hub, folders):
    """More files than one commit may hold become several commits of one round, with nothing twice and nothing lost."""
    folder = folders.add("many")
    for n in range(1000):
        path = folder / f"{n % 10}" / f"{n:04d}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{n}\n")
    last = folders.run("many")
    assert last["files"] == 1000 and sum(c["files"] for c in last["commits"]) == 1000
    assert len(last["commits"]) == len(history(hub, "acme/log")) == 4
    assert len(tree(hub, "acme/log")) == 1001
    (folder / "0" / "0000.txt").write_text("changed")
    assert folders.run("many")["files"] == 1


def test_contents_in_the_lines_are_bounded(hub, folders):
    """Small files go in the commit itself: when they are more than 16 MiB together there are two commits."""
    folder = folders.add("log")
    for n in range(5):
        (folder / f"{n}.txt").write_bytes(b"%d\n" % n * 2_500_000)
    last = folders.run("log")
    assert [c["files"] for c in last["commits"]] == [3, 2]
    assert max(r["body_length"] for r in hub.log("hub")) < 24 << 20


def test_patterns(hub, folders):
    """Patterns are the ones of huggingface_hub: a star goes over slashes, ignoring wins."""
    folder = folders.add("log", allow=["*.jsonl", "keep/"], ignore=["*.tmp.jsonl", "keep/not/*"])
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "keep" / "not").mkdir(parents=True)
    for name in ("a.jsonl", "a.txt", "b.tmp.jsonl", "deep/er/c.jsonl", "keep/d", "keep/not/e", ".cache/f.jsonl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder / "x.pipe").symlink_to("/etc/passwd")
    last = folders.run("log")
    assert set(tree(hub, "acme/log")) == {".gitattributes", "a.jsonl", "deep/er/c.jsonl", "keep/d"}
    # What no pattern wants needs no excuse.
    assert list(notes(last, "skipped")) == [".cache/f.jsonl"]


def test_repository_ignores(hub, folders):
    """What the repository's .gitignore names stays here, also if that file comes with the same round."""
    folder = folders.add("log")
    (folder / ".gitignore").write_text("*.secret\n")
    (folder / "a.secret").write_text("x")
    (folder / "b.txt").write_text("x")
    assert list(notes(folders.run("log"), "skipped")) == ["a.secret"]
    assert set(tree(hub, "acme/log")) == {".gitattributes", ".gitignore", "b.txt"}


def test_one_file_that_the_hub_refuses(hub, folders):
    """The Hub refuses a commit for the sake of one file: that one is left out with its words, the others are committed."""
    hub.create_repo("models", "acme/log")
    hub.commit("models", "acme/log", {"07.txt/there": b"a folder of that name"})
    folder = folders.add("log")
    for n in range(20):
        (folder / f"{n:02d}.txt").write_text(f"{n}")
    last = folders.run("log")
    assert list(notes(last, "skipped")) == ["07.txt"] and "07.txt" in notes(last, "skipped")["07.txt"]
    assert last["files"] == 19 and len(tree(hub, "acme/log")) == 21
    assert len(history(hub, "acme/log")) == 1 + len(last["commits"])


def test_every_file_is_refused(hub, folders):
    """When the Hub refuses whatever comes, the round fails with its words, after a few requests."""
    folder = folders.add("log")
    for n in range(200):
        (folder / f"{n:03d}.txt").write_text(f"{n}")
    hub.fault(method="POST", path="/commit/main", times=None, status=400, body='{"error":"not today"}')
    assert "not today" in folders.run("log", "failed")["error"]
    assert len([r for r in hub.log("hub") if "/commit/main" in r["path"]]) < 30


def test_invalid_card_stays(hub, folders):
    """A README.md whose metadata the Hub refuses is left out with the Hub's words; the rest is committed."""
    folder = folders.add("log")
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    (folder / "a.txt").write_text("x")
    last = folders.run("log")
    assert "metadata" in notes(last, "skipped")["README.md"]
    assert set(tree(hub, "acme/log")) == {".gitattributes", "a.txt"}
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Fine\n")
    folders.run("log")
    assert content(hub, "acme/log", "README.md").endswith(b"# Fine\n")


# ---- what cannot be committed ----


def test_left_out_and_said(hub, folders):
    """Links out, fifos, sockets and names that nobody takes are left out, and `commits show` says so."""
    folder = folders.add("odd")
    (folder / "sub").mkdir()
    (folder / "sub" / "real.txt").write_text("real")
    (folder / "inside").symlink_to("sub/real.txt")
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("../../access/bot.token")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "folder").symlink_to("sub")
    os.mkfifo(folder / "fifo")
    (folder / "to-fifo").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(folder)
        s.bind("socket")
        os.chdir(here)
    (folder / "line\nbreak").write_text("x")
    with open(os.fsencode(folder) + b"/latin-\xe9", "wb") as f:
        f.write(b"x")
    last = folders.run("odd")
    left = notes(last, "skipped")
    assert set(tree(hub, "acme/log")) == {".gitattributes", "sub/real.txt", "inside"}
    assert content(hub, "acme/log", "inside") == b"real"
    assert "leads out" in left["out"] and "leads out" in left["up"] and "nothing" in left["dangling"]
    assert "fifo" in left["fifo"] and "socket" in left["socket"] and "to-fifo" in left and "folder" in left
    assert last["skipped"] == len(left) == 9
    shown = folders.command("show", "odd", check=0).stdout
    assert "left out:" in shown and "fifo: a fifo" in shown and "\n  line\nbreak" not in shown


def test_unreadable(hub, make_daemon, tmp_path):
    """Files and folders that the daemon may not read are left out with the system's reason."""
    setpriv = clients.tool("setpriv")
    prefix = [setpriv, "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    daemon = make_daemon(pool_config(hub, tmp_path / "access"), prefix=prefix)
    folders = Folders(hub, daemon, tmp_path / "folders")
    folder = folders.add("closed")
    (folder / "a.txt").write_text("x")
    (folder / "shut").mkdir()
    (folder / "shut" / "b.txt").write_text("x")
    (folder / "c.txt").write_text("x")
    (folder / "c.txt").chmod(0)
    (folder / "shut").chmod(0)
    left = notes(folders.run("closed"), "skipped")
    assert set(tree(hub, "acme/log")) == {".gitattributes", "a.txt"}
    assert "Permission denied" in left["c.txt"] and "Permission denied" in left["shut"]
    (folder / "c.txt").chmod(0o600)
    (folder / "shut").chmod(0o700)
    folders.run("closed")
    assert set(tree(hub, "acme/log")) == {".gitattributes", "a.txt", "c.txt", "shut/b.txt"}


def test_own_data_is_never_committed(hub, make_daemon, tmp_path):
    """A folder around the daemon's own data: its index and its keys stay here."""
    around = tmp_path / "around"
    daemon = make_daemon(pool_config(hub, tmp_path / "access"), data_dir=around / "data")
    folders = Folders(hub, daemon, tmp_path)
    (around / "a.txt").write_text("x")
    folders.add("around")
    assert set(tree(hub, "acme/log")) == {".gitattributes", "a.txt"}
    assert "own data" in notes(folders.show("around")["last"], "skipped")["data"]


def test_missing_folder(hub, folders):
    """A folder that is not there fails its rounds with its name, until it is there."""
    folder = folders.add("late")
    shutil.rmtree(folder)
    last = folders.run("late", "failed")
    assert str(folder) in last["error"]
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    folders.run("late")
    assert content(hub, "acme/log", "a.txt") == b"x"


# ---- others ----


def test_conflict_is_reported_and_not_overwritten(hub, folders):
    """Somebody else changed a file since we committed it: theirs stays, ours is named, and other files go on."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("ours")
    (folder / "b.txt").write_text("b")
    folders.run("log")
    hub.commit("models", "acme/log", {"a.txt": b"theirs"})
    (folder / "a.txt").write_text("ours again")
    (folder / "b.txt").write_text("bb")
    done = folders.command("run", "log", check=1)
    assert "somebody else" in done.stdout and "a.txt" in done.stdout and "committed 1 files" in done.stdout
    assert content(hub, "acme/log", "a.txt") == b"theirs" and content(hub, "acme/log", "b.txt") == b"bb"
    assert "a.txt" in notes(folders.show("log")["last"], "conflict")
    # Deleting theirs is how the operator decides.
    hub.commit("models", "acme/log", {}, delete=["a.txt"])
    folders.run("log")
    assert content(hub, "acme/log", "a.txt") == b"ours again"


def test_conflict_with_what_was_there_before(hub, folders):
    """A path that we never committed and that holds something else is not ours to overwrite, large or small."""
    hub.create_repo("models", "acme/log")
    hub.commit("models", "acme/log", {"a.txt": b"theirs", "b.bin": Generated(LARGE, seed=3)})
    folder = folders.add("log")
    (folder / "a.txt").write_text("ours")
    (folder / "b.bin").write_bytes(b"ours" * LARGE)
    last = folders.run("log", "conflict")
    assert set(notes(last, "conflict")) == {"a.txt", "b.bin"} and last["commits"] == []
    assert content(hub, "acme/log", "a.txt") == b"theirs"


def test_continues_what_another_program_began(hub, folders):
    """A log that something else has committed so far is the beginning of ours: it goes on, and what is equal is known."""
    begun = b"".join(b"%d\n" % n for n in range(3_000_000))
    hub.create_repo("models", "acme/log")
    hub.commit("models", "acme/log", {"a.jsonl": b"1\n2\n", "big.bin": begun, "same.txt": b"same"})
    folder = folders.add("log")
    (folder / "a.jsonl").write_text("1\n2\n3\n")
    (folder / "big.bin").write_bytes(begun + b"more\n")
    (folder / "same.txt").write_text("same")
    last = folders.run("log")
    assert (last["files"], last["unchanged"]) == (2, 1)
    assert content(hub, "acme/log", "a.jsonl") == b"1\n2\n3\n"
    assert content(hub, "acme/log", "big.bin") == begun + b"more\n"


def test_two_folders_of_one_repository(hub, folders):
    """Folders of one repository take turns: each commits all of its files, and nobody is in anybody's way."""
    one, two = folders.add("one", path_in_repo="one"), folders.add("two", path_in_repo="two")
    for n in range(5):
        (one / f"{n}.txt").write_text(f"one {n}")
        (two / f"{n}.txt").write_text(f"two {n}")
        numbers = [folders.begin("one"), folders.begin("two")]
        assert [folders.wait(name, number)["state"] for name, number in zip(("one", "two"), numbers)] == ["done"] * 2
    assert set(tree(hub, "acme/log")) == {".gitattributes", *(f"{w}/{n}.txt" for w in ("one", "two") for n in range(5))}
    assert [r["status"] for r in hub.log("hub") if "/commit/" in r["path"]] == [200] * 10


def test_what_we_commit_is_read_at_once(hub, folders):
    """A client of the cache gets the new file right after the round, whatever was cached before it."""
    folder = folders.add("log", private=False)
    (folder / "a.txt").write_text("one")
    folders.run("log")
    reader = folders.daemon.client
    assert reader.get("/acme/log/resolve/main/a.txt").body == b"one"
    (folder / "a.txt").write_text("two")
    folders.run("log")
    assert reader.get("/acme/log/resolve/main/a.txt").body == b"two"
    head = history(hub, "acme/log")[-1]["id"]
    assert reader.get("/api/models/acme/log/revision/main").json()["sha"] == head


@pytest.mark.parametrize("parts", [False, True], ids=["whole", "parts"])
def test_large_files_are_here_at_once(hub, folders, parts):
    """A large file that the daemon committed is in its cache: the next download costs the Hub's storage nothing."""
    if parts:
        hub.quirks(lfs_multipart_threshold=1_000_000, lfs_chunk_size=4_000_000)
    folder = folders.add("log", private=False)
    data = os.urandom(LARGE)
    (folder / "big.bin").write_bytes(data)
    folders.run("log")
    hub.clear_log()
    assert folders.daemon.client.get("/acme/log/resolve/main/big.bin").body == data
    assert hub.log("cdn") == []


def test_squash_history(hub, folders):
    """With squash_history the branch is one commit after each round that committed, and the files are all there."""
    folder = folders.add("log", squash_history=True)
    for n in range(3):
        (folder / f"{n}.txt").write_text(f"{n}")
        folders.run("log")
        assert len(Client(hub.url, BOT).get("/api/models/acme/log/commits/main").json()) == 1
    folders.run("log")
    assert set(tree(hub, "acme/log")) == {".gitattributes", "0.txt", "1.txt", "2.txt"}
    assert len([r for r in hub.log("hub") if "super-squash" in r["path"]]) == 3


# ---- commands ----


def test_commands(hub, folders):
    """add, list, show, run and remove; run says what came of it, with the address of the commit."""
    folder = folders.root / "logs"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("x")
    folders.command(
        "add", "logs", "--folder", folder, "--repo", "datasets/acme/logged", "--every", "1d", "--private",
        "--ignore", "*.tmp", "--message", "From the machine", check=0,
    )
    folders.wait("logs", 1)
    (folder / "b.txt").write_text("y")
    done = folders.command("run", "logs", check=0)
    head = history(hub, "acme/logged", "datasets")[-1]
    assert f"{hub.url}/datasets/acme/logged/commit/{head['id']}" in done.stdout and "committed 1 files" in done.stdout
    assert head["title"] == "From the machine"
    assert "nothing to commit" in folders.command("run", "logs", check=0).stdout
    listed = folders.command("list", check=0).stdout
    assert "logs" in listed and "datasets/acme/logged" in listed and "done" in listed
    assert json.loads(folders.command("list", "--json", check=0).stdout)[0]["wants"]["ignore"] == ["*.tmp"]
    assert "*.tmp" in folders.command("show", "logs", check=0).stdout
    folders.command("remove", "logs", check=0)
    assert "there is no folder" in folders.command("show", "logs", check=1).stderr
    assert hub_has(hub, "acme/logged", "datasets") and (folder / "a.txt").exists()


def test_what_was_added_survives(hub, folders):
    """A folder that was added, paused or removed is so after a restart; what was committed is not sent again."""
    kept, _ = folders.add("kept"), folders.add("gone", "acme/gone")
    (kept / "a.txt").write_text("x")
    folders.run("kept")
    assert admin(folders.daemon, "POST", "commits/kept/pause")[0] == 200
    assert admin(folders.daemon, "DELETE", "commits/gone")[0] == 200
    folders.daemon.kill()
    folders.daemon.start()
    assert [f["name"] for f in admin(folders.daemon, "GET", "commits")[1]["folders"]] == ["kept"]
    shown = folders.show("kept")
    assert shown["state"] == "paused" and shown["last"]["files"] == 1 and len(shown["history"]) == 1
    (kept / "b.txt").write_text("y")
    assert folders.run("kept")["files"] == 1
    assert [row["title"] for row in history(hub, "acme/log")] == ["Scheduled Commit"] * 2


def test_paused_folder_rests(hub, folders):
    """A paused folder is committed by nobody but whoever runs it, until it is resumed."""
    folder = folders.add("log", every="1s")
    assert admin(folders.daemon, "POST", "commits/log/pause")[0] == 200
    rounds = folders.show("log")["rounds"]
    (folder / "a.txt").write_text("x")
    other = folders.add("clock", "acme/clock", every="1s")
    (other / "tick").write_text("x")
    folders.wait("clock", 3)
    assert folders.show("log")["rounds"] - rounds <= 1 and history(hub, "acme/log") == []
    assert admin(folders.daemon, "POST", "commits/log/resume")[0] == 200
    wait_until(lambda: history(hub, "acme/log"), "the commit")


@pytest.mark.parametrize(
    "wrong",
    [
        {"folder": "relative"},
        {"repository": "no/such/name/at all"},
        {"schedule": "sometimes"},
        {"colour": "blue"},
        {"path_in_repo": "../up"},
        {"allow": "*", "private": 3},
    ],
    ids=str,
)
def test_wrong_folders_are_refused(folders, wrong):
    """What is no folder, repository, schedule or member is refused with a sentence, and nothing is watched."""
    body = {"name": "x", "folder": "/tmp", "repository": "acme/log", **wrong}
    status, document = admin(folders.daemon, "POST", "commits", body)
    assert status == 400 and document["error"]
    assert admin(folders.daemon, "GET", "commits")[1]["folders"] == []


def test_api_is_for_operators(folders):
    """Names are unique, unknown ones are 404, and the addresses of clients know nothing of it."""
    folders.add("log")
    body = {"name": "log", "folder": "/tmp", "repository": "acme/log"}
    assert admin(folders.daemon, "POST", "commits", body)[0] == 409
    for method, target in (("GET", "commits/x"), ("DELETE", "commits/x"), ("POST", "commits/x/run")):
        assert admin(folders.daemon, method, target)[0] == 404
    assert folders.daemon.client.get("/-/api/v1/commits").status == 404


def test_without_a_token(hub, make_daemon, tmp_path):
    """Without a token of the pool that may write there, the round fails and says what is missing."""
    daemon = make_daemon(pool_config(hub, tmp_path / "access", namespaces=["elsewhere"]))
    folders = Folders(hub, daemon, tmp_path / "folders")
    folder = folders.add("log", first=False)
    (folder / "a.txt").write_text("x")
    assert "token" in folders.run("log", "failed")["error"]


# ---- the end of the process ----


def test_last_round(hub, folders):
    """SIGTERM: what was written since the last round is committed before the process ends."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("x")
    folders.run("log")
    (folder / "b.txt").write_text("late")
    folders.daemon.stop()
    assert content(hub, "acme/log", "b.txt") == b"late" and len(history(hub, "acme/log")) == 2


def test_last_round_has_its_time(hub, folders):
    """A last round that does not fit into limits.drain is given up, and done at the next start."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("late")
    with hub.gate(after_bytes="before_head", method="POST", path="/preupload/", times=1) as gate:
        folders.daemon.signal(signal.SIGTERM)
        gate.wait_reached()
        begun = time.monotonic()
        assert folders.daemon.wait() == 0
        assert time.monotonic() - begun < 10
    assert history(hub, "acme/log") == []
    folders.daemon.start()
    wait_until(lambda: history(hub, "acme/log"), "the commit")
    assert content(hub, "acme/log", "a.txt") == b"late"


def test_no_last_round_without_changes(hub, folders):
    """A folder in which nothing happened costs the Hub nothing at the end; one without the Hub does not hold it up."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("x")
    folders.run("log")
    hub.clear_log()
    folders.daemon.stop()
    assert hub.log("hub") == []


def test_hub_away(hub, folders):
    """The Hub is gone: the round fails and says so, is tried again by itself, and nothing is lost."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("x")
    hub.down()
    number = folders.begin("log")
    wait_until(lambda: folders.show("log")["state"] == "running", "the round")
    hub.up()
    assert folders.wait("log", number, 60)["state"] == "done"
    assert content(hub, "acme/log", "a.txt") == b"x"


def test_watching_says_that_something_changed(hub, folders):
    """A change is heard of at once, in subfolders too, and shown until the next round."""
    folder = folders.add("log")
    (folder / "sub").mkdir()
    folders.run("log")
    assert folders.show("log")["watched"] is True
    before = folders.show("log")["changed_at"]
    (folder / "sub" / "a.txt").write_text("x")
    wait_until(lambda: folders.show("log")["changed_at"] not in (None, before), "the change")
    folders.run("log")
    assert folders.show("log")["changed_at"] is None


def test_metrics_and_log(hub, folders):
    """Rounds, commits and files are counted, and each commit has a line in the log."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("x")
    folders.run("log")
    assert folders.daemon.metric("folder_commits_total") == 1 and folders.daemon.metric("folder_files_total") == 1
    assert folders.daemon.metric("folder_rounds_total", result="done") == 2 and folders.daemon.metric("folders") == 1
    log = folders.daemon.log_text()
    assert f"commit={history(hub, 'acme/log')[0]['id']}" in log
    assert "audit.write folder=log op=commit target=acme/log token=bot status=200" in log
    assert "audit.write folder=log op=repo-create target=acme/log token=bot status=200" in log


def test_folders_of_the_configuration(hub, make_daemon, tmp_path):
    """Folders stand in the configuration file: they come, change and go with a reload, and cannot be removed by command."""
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "a.jsonl").write_text("1\n")
    (folder / "b.tmp").write_text("x")
    rule = {
        "folder": str(folder),
        "repository": "datasets/acme/trained",
        "private": True,
        "path_in_repo": "runs",
        "ignore": ["*.tmp"],
        "schedule": "1d",
        "message": "From the file",
    }
    daemon = make_daemon({**pool_config(hub, tmp_path / "access"), "commits": {"train": rule}})
    folders = Folders(hub, daemon, tmp_path)
    folders.wait("train", 1)
    assert set(tree(hub, "acme/trained", "datasets")) == {".gitattributes", "runs/a.jsonl"}
    assert [row["title"] for row in history(hub, "acme/trained", "datasets")] == ["From the file"]
    assert "configuration" in folders.command("remove", "train", check=1).stderr

    # The same folder to another place: all of it goes there.
    daemon.write_config({"commits": {"train": {"repository": "datasets/acme/other"}}})
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: hub_has(hub, "acme/other", "datasets"), "the other repository")
    wait_until(lambda: "runs/a.jsonl" in tree(hub, "acme/other", "datasets"), "the file")

    # A bad rule changes nothing; without the section nothing is watched.
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(text.replace("1d", "sometimes"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("config.refused")
    assert folders.show("train")["wants"]["schedule"] == "1d"
    daemon.config_file.write_text(text[: text.index("commits:")])
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: admin(daemon, "GET", "commits")[1]["folders"] == [], "nothing watched")

    # It comes back, and what was committed is known.
    hub.clear_log()
    daemon.config_file.write_text(text)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: (admin(daemon, "GET", "commits/train")[1].get("last") or {}).get("unchanged") == 1, "the round")
    assert [r for r in hub.log("hub") if "/commit/" in r["path"]] == []


def test_reloads_while_rounds_go_on(hub, make_daemon, tmp_path):
    """The configuration changes again and again in the middle of rounds: in the end it is as the last one says."""
    hub.create_repo("models", "acme/log")
    folder = tmp_path / "train"
    for n in range(400):
        path = folder / f"{n % 20}" / f"{n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{n}" * 100)
    rule = {"folder": str(folder), "repository": "acme/log", "path_in_repo": "p0", "schedule": "1s"}
    daemon = make_daemon({**pool_config(hub, tmp_path / "access"), "commits": {"train": rule}})
    for n in range(1, 13):
        daemon.write_config({"commits": {"train": {"path_in_repo": f"p{n}", "message": f"Round {n}"}}})
        daemon.signal(signal.SIGHUP)
        daemon.wait_metric("reloads_total", n)
    wait_until(lambda: len([p for p in tree(hub, "acme/log") if p.startswith("p12/")]) == 400, "all files", 60)
    assert len({row["message"] for row in history(hub, "acme/log")}) == len(history(hub, "acme/log"))


def test_events(hub, folders):
    """Whoever watches hears of each round that committed something, and of those that end otherwise than the last."""
    folder = folders.add("log")
    (folder / "a.txt").write_text("one")
    folders.run("log")
    folders.run("log")
    hub.commit("models", "acme/log", {"a.txt": b"theirs"})
    (folder / "a.txt").write_text("ours")
    folders.run("log", "conflict")
    folders.run("log", "conflict")
    done = subprocess.run(
        [binary(), "watch", "commit", "--since", "0", "--until", "conflict", "--config", str(folders.daemon.config_file)],
        capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
    )
    lines = [line for line in done.stdout.splitlines() if "log" in line]
    assert len(lines) == 3 and "done" in lines[1] and "conflict" in lines[2], done.stdout + done.stderr


def test_offline_mode(hub, folders):
    """Offline nobody is asked: folders rest, `run` says why it failed, and online everything is committed."""
    folder = folders.add("log", every="1s")
    assert admin(folders.daemon, "POST", "mode", {"mode": "offline"})[0] == 200
    wait_until(lambda: folders.show("log")["state"] == "waiting", "the folder rests")
    hub.clear_log()
    (folder / "a.txt").write_text("x")
    assert "offline" in folders.run("log", "failed")["error"]
    assert hub.log("hub") == []
    assert admin(folders.daemon, "POST", "mode", {"mode": None})[0] == 200
    wait_until(lambda: history(hub, "acme/log"), "the commit")
