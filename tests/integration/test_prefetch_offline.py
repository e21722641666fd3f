"""After a prefetch the Hub is gone, the daemon restarted: clients with empty caches find everything."""

import json
import struct

import pytest
from conftest import SECRETS, people

from tests.hub import Generated, Hub
from tests.support import clients
from tests.support.admin import Prefetch
from tests.support.daemon import Daemon

VERSIONS = ("0.36", "1.x", "2.x")


def safetensors(names, size=64):
    """Return a file in the format of safetensors, with these tensors."""
    header = {
        name: {"dtype": "F32", "shape": [size], "data_offsets": [i * size * 4, (i + 1) * size * 4]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(len(names) * size * 4)


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "hello": 1, "world": 2}, "unk_token": "[UNK]"},
}


def fill(hub):
    """Publish a sharded model and a dataset; return their commits."""
    people(hub)
    hub.create_repo("models", "acme/model")
    hub.commit("models", "acme/model", {"config.json": b"{}"}, message="First")
    hub.create_tag("models", "acme/model", "v1")
    head = hub.commit(
        "models",
        "acme/model",
        {
            "README.md": "---\nlicense: mit\npipeline_tag: text-generation\n---\n# Model\n",
            "config.json": json.dumps({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8}),
            "tokenizer.json": json.dumps(TOKENIZER),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}),
            "model-00001-of-00002.safetensors": safetensors(["a", "b"]),
            "model-00002-of-00002.safetensors": safetensors(["c"]),
            "model.safetensors.index.json": json.dumps(
                {
                    "metadata": {"total_size": 768},
                    "weight_map": {
                        "a": "model-00001-of-00002.safetensors",
                        "b": "model-00001-of-00002.safetensors",
                        "c": "model-00002-of-00002.safetensors",
                    },
                }
            ),
            "big.bin": Generated(11_000_003, seed=5),
            "empty.txt": b"",
            "runs/one/log.txt": "one\n",
            "runs/two/log.txt": "two\n",
            "runs/\u00e4 #1.txt": "odd\n",
        },
    )
    hub.create_pr_ref("models", "acme/model", 1)
    hub.create_branch("models", "acme/model", "dev/x", rev="v1")
    hub.create_repo("datasets", "acme/corpus")
    hub.commit(
        "datasets",
        "acme/corpus",
        {
            "README.md": "---\nlicense: mit\n---\n",
            "data/train.csv": "a,b\n" + "1,2\n" * 50,
            "data/test.csv": "a,b\n" + "3,4\n" * 5,
        },
    )
    return head


# Everything that lists or loads, each by itself, so that one failure does not hide the others.
EVERYTHING = """
import os, hashlib
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download, get_safetensors_metadata
from huggingface_hub import file_exists, repo_exists, revision_exists
try:
    from huggingface_hub import hf_hub_url, get_hf_file_metadata
except ImportError:
    pass
api, fs, repo, result = HfApi(), HfFileSystem(), "acme/model", {}

def told(name, fn):
    try:
        result[name] = fn()
    except Exception as e:
        result[name] = f"{type(e).__name__}: {e}"[:300]

def tree(**more):
    return sorted((type(x).__name__, x.path, getattr(x, "size", None), bool(getattr(x, "last_commit", None)))
                  for x in api.list_repo_tree(repo, **more))

def info(x):
    return [x.id, x.sha, sorted((s.rfilename, s.size) for s in x.siblings or [])]

def folder(path):
    out = []
    for where, _, names in os.walk(path):
        for n in names:
            p = os.path.join(where, n)
            out.append((os.path.relpath(p, path), hashlib.sha256(open(p, "rb").read()).hexdigest()))
    return sorted(out)

head = None
told("snapshot", lambda: folder(snapshot_download(repo)))
told("file", lambda: os.path.getsize(hf_hub_download(repo, "big.bin")))
told("missing", lambda: hf_hub_download(repo, "nothing.bin"))
told("files", lambda: sorted(api.list_repo_files(repo)))
told("tree", lambda: tree())
told("tree recursive", lambda: tree(recursive=True))
told("tree folder", lambda: tree(path_in_repo="runs"))
told("tree folder recursive", lambda: tree(path_in_repo="runs", recursive=True))
told("tree expanded", lambda: tree(expand=True))
told("tree recursive expanded", lambda: tree(recursive=True, expand=True))
told("info", lambda: info(api.model_info(repo)))
told("info files", lambda: info(api.model_info(repo, files_metadata=True)))
told("info security", lambda: info(api.model_info(repo, securityStatus=True)))
told("info revision", lambda: info(api.model_info(repo, revision="main", files_metadata=True)))
told("info commit", lambda: info(api.model_info(repo, revision=api.model_info(repo).sha)))
told("repo info", lambda: info(api.repo_info(repo)))
told("refs", lambda: [[b.name, b.target_commit] for b in api.list_repo_refs(repo).branches])
told("refs prs", lambda: [b.ref for b in api.list_repo_refs(repo, include_pull_requests=True).pull_requests])
told("commits", lambda: [c.commit_id for c in api.list_repo_commits(repo)])
told("commits formatted", lambda: [bool(c.formatted_title) for c in api.list_repo_commits(repo, formatted=True)])
told("paths", lambda: sorted((p.path, getattr(p, "size", 0)) for p in api.get_paths_info(repo, ["runs", "config.json", "no"])))
told("exists", lambda: [repo_exists(repo), revision_exists(repo, "main"), file_exists(repo, "config.json"),
                        file_exists(repo, "no.json")])
told("safetensors", lambda: sorted(get_safetensors_metadata(repo).files_metadata))
told("fs ls", lambda: sorted(x["name"] for x in fs.ls(repo)))
told("fs ls folder", lambda: sorted(fs.ls(repo + "/runs", detail=False)))
told("fs glob", lambda: sorted(fs.glob(repo + "/**/*.txt")))
told("fs find", lambda: sorted(fs.find(repo)))
told("fs info", lambda: fs.info(repo + "/config.json")["size"])
told("fs exists", lambda: [fs.exists(repo + "/runs/one"), fs.exists(repo + "/nope"), fs.isdir(repo + "/runs")])
told("fs read", lambda: len(fs.read_text(repo + "/runs/one/log.txt")))
told("fs range", lambda: fs.read_block(repo + "/big.bin", 5_000_000, 10).hex())
told("dataset files", lambda: sorted(api.list_repo_files("acme/corpus", repo_type="dataset")))
told("dataset info", lambda: api.dataset_info("acme/corpus", files_metadata=True).id)
told("dataset snapshot", lambda: folder(snapshot_download("acme/corpus", repo_type="dataset")))
"""

LIBRARIES = """
from transformers import AutoConfig, AutoTokenizer
from datasets import load_dataset, get_dataset_split_names
config = AutoConfig.from_pretrained("acme/model")
tokenizer = AutoTokenizer.from_pretrained("acme/model")
data = load_dataset("acme/corpus")
result = [config.hidden_size, tokenizer("hello world")["input_ids"], {k: len(v) for k, v in data.items()},
          sorted(get_dataset_split_names("acme/corpus"))]
"""


@pytest.fixture(scope="module")
def gone(tmp_path_factory):
    """A daemon that prefetched, restarted after the Hub was stopped; and what the Hub itself had answered."""
    folder = tmp_path_factory.mktemp("prefetched")
    hub = Hub.start()
    daemon = Daemon(hub, folder / "daemon", {"cache": {"ref_ttl": "1s"}}).start()
    daemon.head, daemon.direct = fill(hub), {}
    for version in VERSIONS:
        try:
            daemon.direct[version] = clients.python(version, EVERYTHING, hub.url, folder / f"direct{version}")
        except pytest.skip.Exception:
            pass
    asked = [Prefetch.add(daemon, repository="acme/model"), Prefetch.add(daemon, repository="acme/corpus", type="dataset")]
    for one in asked:
        one.wait("done")
    hub.stop()
    daemon.restart()
    yield daemon
    problems = daemon.finish(SECRETS)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_way_of_listing_and_loading(gone, version, tmp_path):
    """What a client of the cache sees is what it would have seen of the Hub."""
    clients.venv(version)
    result = clients.python(version, EVERYTHING, gone.url, tmp_path)
    direct = gone.direct[version]
    assert result["snapshot"] == direct["snapshot"] and len(result["snapshot"]) == 13
    assert "EntryNotFound" in result.pop("missing") and "EntryNotFound" in direct.pop("missing")
    assert {k: v for k, v in result.items() if v != direct[k]} == {}
    assert not [k for k, v in direct.items() if isinstance(v, str) and "Error" in v], "the Hub itself refused"


def test_libraries(gone, tmp_path):
    """Transformers loads configuration and tokenizer, datasets loads every split."""
    result = clients.python("datasets", LIBRARIES, gone.url, tmp_path)
    assert result == [8, [1, 2], {"train": 50, "test": 5}, ["test", "train"]]

JAVASCRIPT = """
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const require = createRequire(process.cwd() + "/");
const hub = await import(pathToFileURL(require.resolve("@huggingface/hub")));
const [hubUrl] = process.argv.slice(2);
const repo = "acme/model", out = {};
async function all(pages) { const rows = []; for await (const row of pages) rows.push(row); return rows; }
const paths = (rows) => rows.map((r) => r.path).sort();
out.root = paths(await all(hub.listFiles({ hubUrl, repo })));
out.recursive = paths(await all(hub.listFiles({ hubUrl, repo, recursive: true })));
out.expanded = (await all(hub.listFiles({ hubUrl, repo, recursive: true, expand: true }))).every((r) => r.lastCommit);
out.info = (await hub.modelInfo({ hubUrl, name: repo })).name;
out.more = (await hub.modelInfo({ hubUrl, name: repo, additionalFields: ["sha"] })).sha.length;
out.commits = (await all(hub.listCommits({ hubUrl, repo }))).length;
out.exists = [await hub.fileExists({ hubUrl, repo, path: "config.json" }), await hub.fileExists({ hubUrl, repo, path: "no" })];
out.bytes = (await (await hub.downloadFile({ hubUrl, repo, path: "big.bin" })).arrayBuffer()).byteLength;
out.safetensors = Object.keys((await hub.parseSafetensorsMetadata({ hubUrl, repo })).headers).length;
out.dataset = (await all(hub.listFiles({ hubUrl, repo: "datasets/acme/corpus", recursive: true }))).length;
console.log(JSON.stringify(out));
"""


def test_javascript(gone, tmp_path):
    """huggingface.js lists, looks and downloads."""
    folder, node = clients.needs("HUBCACHED_NODE_HUB", "@huggingface/hub"), clients.tool("node")
    program = tmp_path / "offline.mjs"
    program.write_text(JAVASCRIPT)
    done = clients.run([node, program, gone.url], clients.environment(gone.url, tmp_path / "home"), cwd=folder)
    out = json.loads(done.stdout)
    assert len(out["recursive"]) == 16 and "runs" in out["root"] and out["expanded"] is True
    assert (out["info"], out["commits"], out["exists"]) == ("acme/model", 3, [True, False])
    assert (out["bytes"], out["safetensors"], out["dataset"]) == (11_000_003, 2, 5)
    assert out["more"] == 40


def test_rust_and_curl(gone, tmp_path):
    """hf-hub and curl."""
    env = clients.environment(gone.url, tmp_path / "home")
    target = f"{gone.url}/acme/model/resolve/main/big.bin"
    done = clients.run([clients.tool("curl"), "-sSf", "-o", tmp_path / "w", "-w", "%{size_download}", target], env)
    assert done.stdout == "11000003"
    program = clients.needs("HUBCACHED_RUST", "the Rust client")
    done = clients.run([program, "models", "acme/model", "main", "config.json", "big.bin"], env)
    assert b"bert" in open(done.stdout.split()[0], "rb").read()


@pytest.mark.parametrize("version", ["1.x", "2.x"])
def test_command_line(gone, version, tmp_path):
    """The command hf downloads, and lists."""
    hf = clients.venv(version).replace("/python", "/hf")
    env = clients.environment(gone.url, tmp_path)
    done = clients.run([hf, "download", "acme/model", "config.json", "--quiet"], env)
    assert b"bert" in open(done.stdout.split()[-1], "rb").read()
    done = clients.run([hf, "models", "info", "acme/model"], env)
    assert gone.head in done.stdout
