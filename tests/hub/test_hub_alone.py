"""The Hub for tests judged by real clients, and its faults judged by plain sockets."""

import hashlib
import json
import os
import shutil
import subprocess

import pytest

from . import Hub, generated_bytes, git_blob_oid
from .world import CARD, CONFIG, ODD, WEIGHTS, populate

HERE = os.path.dirname(os.path.abspath(__file__))
VENVS = {
    "huggingface_hub 0.36": "HUBCACHED_VENV_036",
    "huggingface_hub 1.x": "HUBCACHED_VENV_1X",
    "huggingface_hub 2.x": "HUBCACHED_VENV_2X",
}


def sha256(data):
    """Return the sha256 of bytes in hex."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def hub():
    """Run one Hub for all tests of this file."""
    with Hub.start() as running:
        running.known = populate(running)
        yield running


@pytest.fixture(autouse=True)
def clean(hub):
    """Start every test with no faults, the default quirks and an empty journal."""
    hub.clear_faults()
    hub.up("hub")
    hub.quirks(xet=True, page_size=1000, list_page_size=100, rate_limit=None, cdn_ttl=3600,
               repo_not_found_code_on_401=False)
    hub.clear_log()


def environment(hub, home, **more):
    """Return the environment of a client that knows nothing of this machine's caches and tokens."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_ENDPOINT": hub.url,
           "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
           "NO_PROXY": "*", "LC_ALL": "C.UTF-8", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    return {**env, **more}


@pytest.fixture(params=list(VENVS))
def python(request):
    """Give the interpreter of each huggingface_hub in turn."""
    path = os.environ.get(VENVS[request.param])
    if not path:
        pytest.skip(f"{request.param}: {VENVS[request.param]} does not name a Python with it")
    return path


def run_python(hub, python, tmp_path, part, **env):
    """Run the client script and return what it printed."""
    done = subprocess.run(
        [python, os.path.join(HERE, "client_huggingface_hub.py"), str(tmp_path / "cache"), part],
        env=environment(hub, tmp_path, **env), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_reads(hub, python, tmp_path):
    """Every read of a public repository gives the truth."""
    hub.quirks(list_page_size=3, repo_not_found_code_on_401=True)
    out = run_python(hub, python, tmp_path, "reads")
    weights = generated_bytes(7, 0, WEIGHTS)
    assert out["config"] == [sha256(CONFIG), git_blob_oid(CONFIG)]
    assert out["weights"] == [sha256(weights), sha256(weights)]
    assert out["empty"] == 0
    assert out["commit"] == hub.known["head"]
    assert out["snapshot"] == {**{p: f["sha256"] for p, f in hub.known["files"].items()},
                               ".gitattributes": hub.file("models", "acme/tiny", ".gitattributes")["sha256"]}
    assert out["at_pr"] == sha256(b"from a pull request")
    assert out["dataset"] == sha256(b"a,b\n1,2\n" * 100)
    assert out["space"] == sha256(b"print(1)\n")
    assert out["legacy"] == out["wrong_case"] == out["renamed"] == sha256(CONFIG)
    rows = {row[0]: row for row in out["tree"]}
    assert set(rows) == set(out["files"]) | {"sub dir", "sub dir/deep"}
    assert rows["README.md"][1:] == ["RepoFile", git_blob_oid(CARD), None]
    assert rows["model.safetensors"][3] == sha256(weights)
    assert rows["sub dir"][1] == "RepoFolder"
    assert out["last_commits"]["config.json"] == hub.known["head"]
    assert out["last_commits"][".gitattributes"] == hub.known["first"]
    assert out["subfolder"] == [ODD]
    assert out["many"] == 2500
    assert out["paths"] == [["config.json", "RepoFile"], ["sub dir", "RepoFolder"]]
    assert out["info"]["sha"] == hub.known["head"]
    assert out["info"]["siblings"]["config.json"] == [len(CONFIG), git_blob_oid(CONFIG), None]
    assert out["info"]["siblings"]["model.safetensors"][2] == sha256(weights)
    assert out["info"]["license"] == "mit" and out["info"]["library"] == "transformers"
    assert {"tiny", "test", "en", "license:mit", "fill-mask"} <= set(out["info"]["tags"])
    assert out["expand"] == 5
    assert out["refs"] == {
        "branches": ["main", "dev/x"], "tags": ["v1"], "converts": [], "pull_requests": ["1"]}
    assert [c[1] for c in out["commits"]] == ["Add files", "First", "initial commit"]
    assert out["exists"] == [True, False, True, False, True, False]
    assert "acme/tiny/config.json" in out["fs_ls"]
    assert out["fs_part"] == sha256(weights[1_000_000:1_001_000])
    assert out["fs_text"] == "odd name"
    assert sorted(out["models"]) == [f"listed/m{n}" for n in range(7)]
    assert out["models_sorted"] == ["listed/m6", "listed/m5", "listed/m4"]
    assert out["datasets"] == ["acme/data"] and out["spaces"] == ["acme/app"]
    assert out["discussions"] == ["Question"] and out["details"] == "Question"
    assert out["collections"] == ["Small things"] and out["papers"] == ["Attention is all you need"]
    assert out["user"] == "Ann" and out["members"] == ["ann"] and out["likers"] == ["ann"]
    assert not [r for r in hub.log() if "xet-read-token" in r["target"] or r["status"] in (None, 500)]


def test_errors(hub, python, tmp_path):
    """Every error class that users tell apart is raised for the right reason.

    The real Hub sends no code with the 401 of a missing repository, and the clients then look at the URL, but only at
    https URLs; so here the code is sent.
    """
    hub.quirks(repo_not_found_code_on_401=True)
    out = run_python(hub, python, tmp_path, "errors")
    for name in ("missing_repo", "missing_repo_info", "missing_repo_token", "private", "private_bob"):
        assert "RepositoryNotFoundError" in out[name] and "GatedRepoError" not in out[name], name
    assert out["private_ann"] == ["nothing raised"]
    for name in ("gated", "gated_bob", "gated_auth_check"):
        assert "GatedRepoError" in out[name], name
    assert out["gated_info"] == "auto"
    assert "EntryNotFoundError" in out["entry"] and "LocalEntryNotFoundError" not in out["entry"]
    assert out["no_exist"] == ["nope.json"]
    assert "RevisionNotFoundError" in out["revision"] and "RevisionNotFoundError" in out["revision_info"]
    assert "EntryNotFoundError" in out["tree_entry"]
    assert "DisabledRepoError" in out["disabled"] or "LocalEntryNotFoundError" in out["disabled"]
    assert "RepositoryNotFoundError" not in out["bad_token"]
    assert out["whoami_bad"] != ["nothing raised"]
    assert out["whoami"] == ["ann", "acme", "write"]
    assert "acme/secret" not in out["private_listed"][0] and "acme/secret" in out["private_listed"][1]


def test_401_without_code(hub, python, tmp_path):
    """Over plain http a client cannot tell a missing repository by a 401 without code, as the real Hub sends it."""
    code = ("from huggingface_hub import HfApi\nfrom huggingface_hub.errors import *\n"
            "try: HfApi().model_info('acme/nope')\n"
            "except RepositoryNotFoundError: print('missing')\nexcept HfHubHTTPError: print('other')")
    done = subprocess.run([python, "-c", code], env=environment(hub, tmp_path), capture_output=True, text=True)
    assert done.stdout == "other\n", done.stderr


def test_cli(hub, python, tmp_path):
    """`hf download` brings a whole repository into a folder."""
    done = subprocess.run(
        [os.path.join(os.path.dirname(python), "hf"), "download", "acme/tiny", "--local-dir", str(tmp_path / "out")],
        env=environment(hub, tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for path, facts in hub.known["files"].items():
        assert sha256((tmp_path / "out" / path).read_bytes()) == facts["sha256"]


def test_xet_announcement_is_believed(hub, tmp_path):
    """A client with hf_xet downloads through the chunk storage, and as ever when nothing announces it."""
    python = os.environ.get("HUBCACHED_VENV_2X")
    if not python:
        pytest.skip("huggingface_hub 2.x: HUBCACHED_VENV_2X does not name a Python with it")
    code = ("import importlib.util as u, sys; from huggingface_hub import hf_hub_download as d;"
            "sys.exit(9) if not u.find_spec('hf_xet') else d('acme/tiny', 'model.safetensors')")
    for home, announced in (("with", True), ("without", False)):
        hub.quirks(xet=announced)
        hub.clear_log()
        env = environment(hub, tmp_path / home, HF_HUB_DISABLE_XET="0")
        assert subprocess.run([python, "-c", code], env=env, timeout=60).returncode == 0
        if announced:
            assert [r for r in hub.log("hub") if "/xet-read-token/" in r["target"]] and hub.log("cas")
            assert not hub.sent("cdn", "/xet-bridge-us/")
    assert hub.sent("cdn") == WEIGHTS
    assert not [r for r in hub.log() if "xet-read-token" in r["target"] or r["origin"] == "cas"]


def test_datasets_and_transformers(hub, tmp_path):
    """A dataset loads whole and as a stream, and a model's configuration loads."""
    python = os.environ.get("HUBCACHED_VENV_DATASETS")
    if not python:
        pytest.skip("datasets, transformers: HUBCACHED_VENV_DATASETS does not name a Python with them")
    done = subprocess.run([python, os.path.join(HERE, "client_datasets.py"), str(tmp_path)],
                          env=environment(hub, tmp_path), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    out = json.loads(done.stdout.strip().splitlines()[-1])
    assert out.get("datasets", [199, ["a", "b"], 199]) == [199, ["a", "b"], 199]
    assert out.get("transformers", "bert") == "bert"


@pytest.mark.parametrize("xet", [True, False])
def test_javascript(hub, tmp_path, xet):
    """The JavaScript client reads what the Python clients read.

    Without Xet it follows the redirect blindly and reports the etag of the CDN, which is not the digest.
    """
    where = os.environ.get("HUBCACHED_NODE_HUB")
    if not where or not shutil.which("node"):
        pytest.skip("@huggingface/hub: HUBCACHED_NODE_HUB does not name a folder with its node_modules")
    hub.quirks(xet=xet, list_page_size=3)
    done = subprocess.run(["node", os.path.join(HERE, "client_huggingface_js.mjs"), where, hub.url, str(tmp_path)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.strip().splitlines()[-1])
    weights = generated_bytes(7, 0, WEIGHTS)
    facts = hub.file("models", "acme/tiny", "model.safetensors")
    assert set(hub.known["files"]) | {".gitattributes"} <= set(out["files"])
    assert out["many"] == 2501 and "pr.txt" in out["pr"]
    etag = sha256(weights) if xet else facts["xet_hash"]
    assert out["info"] == {"size": WEIGHTS, "etag": f'"{etag}"', "xet": facts["xet_hash"] if xet else None}
    assert out["missing"] is None
    assert out["config"] == out["cached"] == sha256(CONFIG) and out["weights"] == sha256(weights)
    assert out["raw"].startswith("version https://git-lfs.github.com/spec/v1\noid sha256:" + sha256(weights))
    assert out["paths"] == [["config.json", hub.known["head"]]]
    assert sorted(out["models"]) == [f"listed/m{n}" for n in range(7)]
    assert out["exists"] == [True, False] and out["commits"][0] == "Add files"
    assert out["model"] == 5 and out["whoami"] == "ann" and out["gated"] == 401


@pytest.mark.parametrize("tool", ["curl", "wget", "aria2c"])
def test_download_tools(hub, tmp_path, tool):
    """Plain download tools follow the redirects, keep the token at home, and get the right bytes."""
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    url = hub.url + "/acme/secret/resolve/main/model.safetensors"
    token = "Authorization: Bearer hf_ann"
    target = str(tmp_path / "file")
    command = {
        "curl": ["curl", "-fsSL", "-H", token, "-o", target, url],
        "wget": ["wget", "-q", "-O", target, hub.url + "/acme/tiny/resolve/main/model.safetensors"],
        "aria2c": ["aria2c", "-q", "-x4", "-s4", "--min-split-size=1M", "-d", str(tmp_path), "-o", "file",
                   hub.url + "/acme/tiny/resolve/main/model.safetensors"],
    }[tool]
    subprocess.run(command, check=True, timeout=60)
    size, seed = (5000, 1) if tool == "curl" else (WEIGHTS, 7)
    with open(target, "rb") as f:
        assert f.read() == generated_bytes(seed, 0, size)
    assert all("authorization" not in r["headers"] for r in hub.log("cdn"))
    if tool != "aria2c":
        assert hub.sent("cdn") == size
