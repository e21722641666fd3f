"""Section 4.3: reading a repository."""

import json

from . import Section

SECTION = Section()
REPO = "acme/tiny"
ODD = "sub dir/deep/\u00e4 #1.txt"
REPOS = (REPO, "acme/secret", "acme/gated", "acme/disabled", "acme/nothing", "acme/old", "ACME/Tiny", "gpt2")


def safetensors(names):
    """Return the bytes of a file of tensors, which begins with what it holds."""
    rows = {n: {"dtype": "F32", "shape": [2, 2], "data_offsets": [16 * i, 16 * i + 16]} for i, n in enumerate(names)}
    head = json.dumps({"__metadata__": {"format": "pt"}, **rows}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(16 * len(names))


@SECTION.world
def world(hub):
    """Repositories of every kind."""
    hub.quirks(page_size=10, commits_page_size=5)
    hub.create_repo("models", REPO)
    hub.commit("models", REPO, {"config.json": "{}"}, message="First\n\nWith a body.")
    hub.create_tag("models", REPO, "v1")
    hub.commit("models", REPO, {
        "config.json": '{"model_type": "bert"}', "README.md": "---\nlicense: mit\n---\n", ODD: "odd", "empty": b"",
        "model.safetensors": safetensors("ab"), "w.bin": b"w" * 3000,
        **{f"many/f{n:02}.txt": f"{n}" for n in range(25)},
    })
    for n in range(12):
        hub.commit("models", REPO, {"counter.txt": f"{n}"}, message=f"Count to {n}")
    hub.create_branch("models", REPO, "dev/x", rev="v1")
    hub.create_pr_ref("models", REPO, 1)
    hub.commit("models", REPO, {"pr.txt": "pr"}, branch="refs/pr/1")
    hub.create_repo("models", "acme/sharded")
    index = {"metadata": {"total_size": 64}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    hub.commit("models", "acme/sharded", {
        "model.safetensors.index.json": json.dumps(index), "one.safetensors": safetensors("a"),
        "two.safetensors": safetensors("b")})
    hub.create_repo("datasets", "acme/data")
    hub.commit("datasets", "acme/data", {"x/train.csv": "a,b\n1,2\n"})
    hub.create_convert_ref("datasets", "acme/data")
    hub.commit("datasets", "acme/data", {"default/train/0000.parquet": b"PAR1"}, branch="refs/convert/parquet")
    hub.create_repo("kernels", "acme/kern")
    hub.commit("kernels", "acme/kern", {"build.toml": "x"})
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": "print()", "README.md": "---\nsdk: gradio\n---\n"})
    hub.create_repo("models", "gpt2")
    hub.commit("models", "gpt2", {"config.json": "{}"})
    hub.create_repo("models", "acme/old")
    hub.commit("models", "acme/old", {"config.json": "{}"})
    hub.rename("models", "acme/old", "acme/new")
    hub.create_repo("models", "acme/bare", init=False)
    for name, fields in (("secret", {"private": True}), ("gated", {"gated": "manual"}), ("disabled", {})):
        hub.create_repo("models", f"acme/{name}", **fields)
        hub.commit("models", f"acme/{name}", {"config.json": "{}", "w.safetensors": safetensors("a")})
    hub.set_visibility("models", "acme/disabled", disabled=True)


def twice(c, *reads):
    """Let everybody read everything twice."""
    return [[c.look(read) for _ in range(2)] for read in reads]


@SECTION.row()
def model_info(c):
    """A model, at revisions of every kind, with more and with less."""
    fields = ["downloads", "likes", "tags", "siblings", "sha"]
    return twice(
        c, *(lambda a, r=r: a.model_info(r) for r in REPOS), lambda a: a.model_info(REPO, revision="v1"),
        lambda a: a.model_info(REPO, revision="refs/pr/1"), lambda a: a.model_info(REPO, revision="dev/x"),
        lambda a: a.model_info(REPO, revision="nope"), lambda a: a.model_info(REPO, files_metadata=True),
        lambda a: a.model_info(REPO, securityStatus=True), lambda a: a.model_info(REPO, expand=fields),
        lambda a: a.model_info(REPO, expand=["nonsense"]), lambda a: a.model_info("acme/bare"),
    )


@SECTION.row()
def dataset_info(c):
    """A data set."""
    return twice(
        c, lambda a: a.dataset_info("acme/data"), lambda a: a.dataset_info("acme/data", files_metadata=True),
        lambda a: a.dataset_info("acme/data", revision="refs/convert/parquet"), lambda a: a.dataset_info(REPO),
        lambda a: a.dataset_info("acme/data", expand=["downloads"]),
    )


@SECTION.row()
def space_info(c):
    """A Space, with its runtime."""
    return twice(c, lambda a: a.space_info("acme/app"), lambda a: a.space_info("acme/app", expand=["runtime", "sdk"]))


@SECTION.row()
def repo_info(c):
    """Anything by its type."""
    return twice(c, *(lambda a, t=t, r=r: a.repo_info(r, repo_type=t) for t, r in (
        (None, REPO), ("dataset", "acme/data"), ("space", "acme/app"), ("dataset", REPO))))


@SECTION.row()
def repo_exists(c):
    """Whether a repository exists for those who ask."""
    found = twice(c, *(lambda a, r=r: a.repo_exists(r) for r in REPOS))
    assert found[1][0] == {"ann": True, "bob": False, "nobody": False}
    return found


@SECTION.row()
def revision_exists(c):
    """Whether a revision exists."""
    return twice(c, *(lambda a, v=v: a.revision_exists(REPO, v) for v in ("main", "v1", "refs/pr/1", "nope", "dev/x")),
                 lambda a: a.revision_exists("acme/nothing", "main"))


@SECTION.row(since=1)
def resolve_revision(c):
    """Which commit a name means."""
    sha = c.api.model_info(REPO, revision="v1").sha
    return [c.api.resolve_revision(REPO, revision=v, cache_dir=c.folder) for v in ("main", "v1", "refs/pr/1", sha)] + [
        c.fails(c.api.resolve_revision, REPO, revision="nope", cache_dir=c.folder)]


@SECTION.row()
def list_repo_tree(c):
    """Trees over several pages, below folders, with and without the last commits, and of what is not there.

    In which order the files come is not promised.
    """
    def tree(api, repo, path=None, **more):
        return sorted(map(c.plain, api.list_repo_tree(repo, path, **more)), key=lambda f: f["path"])

    return twice(
        c, lambda a: tree(a, REPO), lambda a: tree(a, REPO, recursive=True),
        lambda a: tree(a, REPO, recursive=True, expand=True), lambda a: tree(a, REPO, "sub dir/deep"),
        lambda a: tree(a, REPO, "many"), lambda a: tree(a, REPO, "nope"), lambda a: tree(a, REPO, revision="v1"),
        lambda a: tree(a, REPO, revision="refs/pr/1", recursive=True),
        lambda a: tree(a, "acme/data", repo_type="dataset", recursive=True), lambda a: tree(a, "acme/gated"),
        lambda a: tree(a, "acme/secret"),
        lambda a: tree(a, "acme/bare"),
    )


@SECTION.row()
def list_repo_files(c):
    """The names of all files."""
    return twice(c, *(lambda a, r=r: c.files(a, r) for r in REPOS),
                 lambda a: c.files(a, "acme/app", repo_type="space"))


@SECTION.row()
def get_paths_info(c):
    """What is known of some paths, folders and missing ones among them."""
    paths = ["config.json", ODD, "many", "sub dir", "nope", "w.bin", "empty"]
    return twice(
        c, lambda a: a.get_paths_info(REPO, paths), lambda a: a.get_paths_info(REPO, paths, expand=True),
        lambda a: a.get_paths_info(REPO, "config.json", revision="v1"), lambda a: a.get_paths_info(REPO, []),
        lambda a: a.get_paths_info(REPO, ["x"]), lambda a: a.get_paths_info("acme/secret", ["config.json"]),
        lambda a: a.get_paths_info(REPO, ["pr.txt"], revision="refs/pr/1"),
    )


@SECTION.row()
def list_repo_refs(c):
    """Branches, tags, conversions and pull requests."""
    return twice(
        c, lambda a: a.list_repo_refs(REPO), lambda a: a.list_repo_refs(REPO, include_pull_requests=True),
        lambda a: a.list_repo_refs("acme/data", repo_type="dataset"), lambda a: a.list_repo_refs("acme/nothing"),
    )


@SECTION.row()
def list_repo_commits(c):
    """The history, over several pages."""
    found = twice(
        c, lambda a: a.list_repo_commits(REPO), lambda a: a.list_repo_commits(REPO, formatted=True),
        lambda a: a.list_repo_commits(REPO, revision="v1"), lambda a: a.list_repo_commits(REPO, revision="refs/pr/1"),
        lambda a: a.list_repo_commits(REPO, revision="nope"), lambda a: a.list_repo_commits("acme/gated"),
    )
    assert len(found[0][0]["nobody"]) == 15
    return found


@SECTION.row()
def file_exists(c):
    """Whether a file exists."""
    return twice(
        c, *(lambda a, p=p: a.file_exists(REPO, p) for p in ("config.json", "nope", ODD, "many", "empty", "w.bin")),
        lambda a: a.file_exists(REPO, "pr.txt", revision="refs/pr/1"), lambda a: a.file_exists("acme/secret", "x"),
        lambda a: a.file_exists("acme/gated", "config.json"), lambda a: a.file_exists(REPO, "x", revision="nope"),
    )


@SECTION.row()
def get_hf_file_metadata(c):
    """What a file is without its bytes."""
    def shown(api, path, repo=REPO, **more):
        found = api.get_hf_file_metadata(url=c.hf.hf_hub_url(repo, path, **more))
        return [found.commit_hash, found.etag, found.size]

    return twice(c, *(lambda a, p=p: shown(a, p) for p in ("config.json", "w.bin", ODD, "empty", "nope")),
                 lambda a: shown(a, "x/train.csv", "acme/data", repo_type="dataset"),
                 lambda a: shown(a, "config.json", "acme/old"), lambda a: shown(a, "config.json", "acme/gated"))


@SECTION.row("get_safetensors_metadata", "get_sharded_safetensors_metadata")
def get_safetensors_metadata(c):
    """Which tensors a model has, in one file and in several, or in none."""
    reads = [lambda a: a.get_safetensors_metadata(REPO), lambda a: a.get_safetensors_metadata("acme/sharded"),
             lambda a: a.get_safetensors_metadata("gpt2"), lambda a: a.get_safetensors_metadata("acme/gated")]
    if hasattr(c.api, "get_sharded_safetensors_metadata"):
        reads.append(lambda a: a.get_sharded_safetensors_metadata("acme/sharded"))
    return twice(c, *reads)


@SECTION.row()
def parse_safetensors_file_metadata(c):
    """Which tensors one file has."""
    return twice(c, lambda a: a.parse_safetensors_file_metadata(REPO, "model.safetensors"),
                 lambda a: a.parse_safetensors_file_metadata(REPO, "config.json"),
                 lambda a: a.parse_safetensors_file_metadata("acme/secret", "w.safetensors"),
                 lambda a: a.parse_safetensors_file_metadata(REPO, "nope.safetensors"))


@SECTION.row(since=1)
def list_dataset_parquet_files(c):
    """Where the viewer keeps a data set; the client asks it only if the endpoint is the real Hub's."""
    from huggingface_hub import constants

    with c.patched(constants, "_HF_DEFAULT_ENDPOINT", c.endpoint):
        return [c.look(lambda a: a.list_dataset_parquet_files("acme/data")),
                c.fails(c.api.list_dataset_parquet_files, "acme/nothing")]


@SECTION.row(since=1)
def kernel_info(c):
    """A kernel."""
    return [twice(c, lambda a: a.kernel_info("acme/kern")), c.fails(c.api.kernel_info, "acme/nothing")]


@SECTION.row(since=1)
def get_dataset_leaderboard(c):
    """Which models did best at a data set."""
    return twice(c, lambda a: a.get_dataset_leaderboard("acme/data"), lambda a: a.get_dataset_leaderboard("acme/nope"))
