"""huggingface_hub 0.36, 1.x and 2.x, datasets and transformers behind the daemon, as people use them."""

import hashlib
import os
from pathlib import Path

import pytest
from conftest import ANN, BOB, CARD, CONFIG_JSON, EVE, LARGE_LFS, ODD_PATH, SMALL_LFS

from tests.hub import Generated, generated_bytes
from tests.support import clients

VERSIONS = ["0.36", "1.x", "2.x"]


@pytest.fixture(params=VERSIONS)
def version(request):
    """Give each pinned version in turn."""
    clients.venv(request.param)
    return request.param


def went_past_us(hub):
    """Return what was asked of the hub's chunk storage or token routes."""
    return [r["target"] for r in hub.log() if "xet-read-token" in r["target"] or "/v1/" in r["path"]]


def test_hf_hub_download(world, version, tmp_path):
    """Every kind of file at every kind of revision arrives whole; the second machine costs the Hub nothing."""
    code = f"""
import hashlib, os
from huggingface_hub import hf_hub_download
out = []
for repo, kind, rev, name in {[
    ("acme/tiny", None, None, "config.json"), ("acme/tiny", None, None, "model.safetensors"),
    ("acme/tiny", None, "v1", "config.json"), ("acme/tiny", None, "refs/pr/1", "pr.txt"),
    ("acme/tiny", None, world.known["head"], "small.safetensors"), ("acme/tiny", None, None, "empty.txt"),
    ("acme/tiny", None, None, ODD_PATH), ("acme/data", "dataset", None, "x/train.csv"),
    ("acme/data", "dataset", "refs/convert/parquet", "x/big.parquet"), ("acme/app", "space", None, "app.py"),
    ("gpt2", None, None, "config.json"), ("acme/old-name", None, None, "config.json")]!r}:
    path = hf_hub_download(repo, name, repo_type=kind, revision=rev)
    out.append([name, os.path.getsize(path), hashlib.sha256(open(path, "rb").read()).hexdigest(), path])
result = out
"""
    first = clients.python(version, code, world.daemon.url, tmp_path / "a")
    direct = clients.python(version, code, world.hub.url, tmp_path / "direct", HF_HUB_DISABLE_XET="1")
    assert [r[:3] for r in first] == [r[:3] for r in direct]
    assert [r[3].removeprefix(str(tmp_path / "a")) for r in first] == [
        r[3].removeprefix(str(tmp_path / "direct")) for r in direct
    ], "the same layout in the local cache"
    world.hub.clear_log()
    again = clients.python(version, code, world.daemon.url, tmp_path / "b")
    assert [r[:3] for r in again] == [r[:3] for r in first]
    assert world.hub.sent("cdn") == 0
    assert went_past_us(world.hub) == []


def test_snapshot_download(world, version, tmp_path):
    """A whole repository, twice; no byte twice, and none past us though hf_xet is installed."""
    code = """
import os
from huggingface_hub import snapshot_download
folder = snapshot_download("acme/tiny")
result = sorted([os.path.relpath(os.path.join(w, n), folder), os.path.getsize(os.path.join(w, n))]
                for w, _, names in os.walk(folder) for n in names)
"""
    world.hub.clear_log()
    rows = dict(map(tuple, clients.python(version, code, world.daemon.url, tmp_path / "a")))
    assert rows["model.safetensors"] == LARGE_LFS and rows["small.safetensors"] == SMALL_LFS
    assert rows["config.json"] == len(CONFIG_JSON) and rows["empty.txt"] == 0 and rows[ODD_PATH] == 8
    assert len(rows) == 10
    world.hub.clear_log()
    assert dict(map(tuple, clients.python(version, code, world.daemon.url, tmp_path / "b"))) == rows
    assert world.hub.sent("cdn") == 0
    assert went_past_us(world.hub) == []


def test_information(world, version, tmp_path):
    """What programs ask about repositories, compared with the Hub's own answers."""
    code = """
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.utils import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
api = HfApi()
def fails(do):
    try:
        do()
        return "nothing"
    except Exception as e:
        return [c.__name__ for c in type(e).__mro__ if c.__name__ in ("EntryNotFoundError", "GatedRepoError",
                "RepositoryNotFoundError", "RevisionNotFoundError", "DisabledRepoError")]
info = api.model_info("acme/tiny", files_metadata=True)
result = [
    info.sha, sorted((s.rfilename, s.size, s.blob_id, s.lfs and s.lfs.sha256) for s in info.siblings),
    sorted(api.list_repo_files("acme/tiny")),
    sorted((f.path, getattr(f, "size", None)) for f in api.list_repo_tree("acme/tiny", recursive=True, expand=True)),
    [c.commit_id for c in api.list_repo_commits("acme/tiny")],
    sorted(b.name for b in api.list_repo_refs("acme/tiny", include_pull_requests=True).pull_requests),
    sorted(f.path for f in api.get_paths_info("acme/tiny", ["config.json", "nope", "sub dir"])),
    [api.repo_exists("acme/tiny"), api.repo_exists("acme/nope"), api.repo_exists("acme/gated"),
     api.revision_exists("acme/tiny", "v1"), api.revision_exists("acme/tiny", "nope"),
     api.file_exists("acme/tiny", "config.json"), api.file_exists("acme/tiny", "nope")],
    sorted(m.id for m in api.list_models(author="listed")),
    [m.id for m in api.list_models(author="listed", limit=3)],
    sorted(d.id for d in api.list_datasets()), api.dataset_info("acme/data").sha, api.space_info("acme/app").sha,
    sorted(d.title for d in api.get_repo_discussions("acme/tiny")),
    sorted(HfFileSystem().ls("acme/tiny", detail=False)),
    HfFileSystem().open("acme/tiny/small.safetensors", block_size=65536).read(100).hex(),
    fails(lambda: api.model_info("acme/nope")), fails(lambda: api.model_info("acme/tiny", revision="nope")),
    fails(lambda: api.hf_hub_download("acme/tiny", "nope")),
    fails(lambda: api.hf_hub_download("acme/gated", "config.json")),
    fails(lambda: api.hf_hub_download("acme/disabled", "config.json")),
]
"""
    world.hub.quirks(repo_not_found_code_on_401=True)  # so that the library also works without us, over plain http
    try:
        direct = clients.python(version, code, world.hub.url, tmp_path / "direct")
    finally:
        world.hub.quirks(repo_not_found_code_on_401=False)
    for home in ("a", "b"):
        assert clients.python(version, code, world.daemon.url, tmp_path / home) == direct


def test_tokens(world, version, tmp_path):
    """Private and gated repositories open for those whom the Hub lets in, and for nobody else."""
    code = """
from huggingface_hub import HfApi, hf_hub_download
out = {"me": None}
try:
    out["me"] = HfApi().whoami()["name"]
except Exception as e:
    out["me"] = type(e).__name__
for repo in ("acme/secret", "acme/gated"):
    try:
        out[repo] = len(open(hf_hub_download(repo, "model.safetensors"), "rb").read())
    except Exception as e:
        out[repo] = type(e).__name__
result = out
"""
    url = world.daemon.url
    assert clients.python(version, code, url, tmp_path / "a", ANN) == {
        "me": "ann",
        "acme/secret": SMALL_LFS,
        "acme/gated": SMALL_LFS,
    }
    assert clients.python(version, code, url, tmp_path / "b", BOB) == {
        "me": "bob",
        "acme/secret": "RepositoryNotFoundError",
        "acme/gated": "GatedRepoError",
    }
    anonymous = clients.python(version, code, url, tmp_path / "c")
    assert (anonymous["acme/secret"], anonymous["acme/gated"]) == ("RepositoryNotFoundError", "GatedRepoError")
    assert clients.python(version, code, url, tmp_path / "d", EVE)["acme/secret"] == "RepositoryNotFoundError"


def test_a_download_that_breaks_is_resumed(hub, daemon, version, tmp_path):
    """Upstream cuts the transfer twice; the user sees a whole file."""
    hub.create_repo("models", "acme/m")
    hub.commit("models", "acme/m", {"w.safetensors": Generated(LARGE_LFS, seed=3)})
    hub.fault(origin="cdn", reset=2_000_000)
    hub.fault(origin="cdn", skip=1, truncate=3_000_000)
    code = """
import hashlib
from huggingface_hub import hf_hub_download
result = hashlib.sha256(open(hf_hub_download("acme/m", "w.safetensors"), "rb").read()).hexdigest()
"""
    digest = hashlib.sha256(generated_bytes(3, 0, LARGE_LFS)).hexdigest()
    assert clients.python(version, code, daemon.url, tmp_path / "a") == digest
    assert hub.sent("cdn") <= LARGE_LFS + (1 << 20)


@pytest.mark.parametrize("version", ["2.x"])
def test_hf_command(world, version, tmp_path):
    """`hf download` of a repository and of one file."""
    hf = Path(clients.venv(version)).parent / "hf"
    env = clients.environment(world.daemon.url, tmp_path / "home")
    clients.run([hf, "download", "acme/tiny", "--local-dir", tmp_path / "out"], env)
    assert (tmp_path / "out" / "config.json").read_bytes() == CONFIG_JSON
    assert (tmp_path / "out" / "README.md").read_bytes() == CARD
    assert (tmp_path / "out" / "model.safetensors").stat().st_size == LARGE_LFS
    done = clients.run([hf, "download", "acme/data", "x/train.csv", "--repo-type", "dataset"], env)
    assert "train.csv" in done.stdout
    done = clients.run([hf, "download", "acme/nope"], env, check=False)
    assert done.returncode != 0


@pytest.fixture
def data():
    """Give the folder of the real model and data sets."""
    return Path(clients.needs("HUBCACHED_DATA", "the package with a real model"))


def test_transformers_loads_a_real_tokenizer(hub, daemon, data, tmp_path):
    """AutoTokenizer of a real model; on the second machine its probes for optional files cost the Hub nothing."""
    hub.create_repo("models", "acme/minilm")
    hub.publish_folder("models", "acme/minilm", data / "model")
    code = """
from transformers import AutoConfig, AutoTokenizer
tokens = AutoTokenizer.from_pretrained("acme/minilm")
ids = tokens("A cache between the Hub and the lab.")["input_ids"]
result = [ids, AutoConfig.from_pretrained("acme/minilm").hidden_size]
"""
    first = clients.python("datasets", code, daemon.url, tmp_path / "a")
    assert first[1] == 384 and first[0][0] == 101 and first[0][-1] == 102
    hub.clear_log()
    assert clients.python("datasets", code, daemon.url, tmp_path / "b") == first
    asked = [r["target"] for r in hub.log()]
    assert [t for t in asked if "/resolve/" in t and "/resolve/main/" not in t] == [], "at a commit nothing is asked"
    assert len(asked) <= 3, asked
    daemon.restart()
    hub.clear_log()
    assert clients.python("datasets", code, daemon.url, tmp_path / "c") == first
    assert hub.sent("cdn") == 0


def test_a_real_model_arrives_whole(hub, daemon, data, tmp_path):
    """90 MB of real weights by snapshot_download, on two machines: one transfer, and each file as it was published."""
    hub.create_repo("models", "acme/minilm")
    hub.publish_folder("models", "acme/minilm", data / "model")
    code = """
import hashlib, os
from huggingface_hub import snapshot_download
folder = snapshot_download("acme/minilm")
result = {os.path.relpath(os.path.join(w, n), folder): hashlib.sha256(open(os.path.join(w, n), "rb").read()).hexdigest()
          for w, _, names in os.walk(folder) for n in names}
"""
    source = {}
    for where, _, names in os.walk(data / "model"):
        for name in names:
            path = Path(where) / name
            source[str(path.relative_to(data / "model"))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for version in ("1.x", "2.x"):
        assert clients.python(version, code, daemon.url, tmp_path / version) == source
    assert hub.sent("cdn") == sum(f.stat().st_size for f in (data / "model").iterdir() if f.suffix == ".safetensors")


def test_datasets_loads_real_data(hub, daemon, data, tmp_path):
    """load_dataset of real CSV files, whole and streaming; the second machine takes no byte from the Hub."""
    hub.create_repo("datasets", "acme/weather")
    hub.commit(
        "datasets",
        "acme/weather",
        {
            "data/train.csv": (data / "dataset" / "seattle-weather.csv").read_bytes(),
            "README.md": "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files: data/train.csv\n---\n",
        },
    )
    lines = (data / "dataset" / "seattle-weather.csv").read_text().strip().splitlines()
    code = """
from datasets import load_dataset
whole = load_dataset("acme/weather", split="train")
stream = load_dataset("acme/weather", split="train", streaming=True)
result = [whole.num_rows, whole.column_names, sum(1 for _ in stream)]
"""
    expected = [len(lines) - 1, lines[0].split(","), len(lines) - 1]
    assert clients.python("datasets", code, daemon.url, tmp_path / "a") == expected
    hub.clear_log()
    assert clients.python("datasets", code, daemon.url, tmp_path / "b") == expected
    assert [r["target"] for r in hub.log("hub") if "resolve-cache" in r["target"] and r["method"] == "GET"] == []
