"""Run by test_hub_alone.py under each huggingface_hub: does what users do and prints the results as JSON.

The arguments are the directory for downloads and a mark that selects what is done.  `HF_ENDPOINT` is set.
"""

import hashlib
import json
import os
import sys

import huggingface_hub
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download


def digest(path):
    """Return the sha256 of a file."""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def failure(function, *args, **kwargs):
    """Return the names of the exception classes that a call raises, most special first."""
    try:
        function(*args, **kwargs)
    except Exception as e:
        return [c.__name__ for c in type(e).__mro__]
    return ["nothing raised"]


def reads(out, target):
    """Do every read of a public repository."""
    api = HfApi()
    out["version"] = huggingface_hub.__version__
    path = hf_hub_download("acme/tiny", "config.json", cache_dir=target)
    out["config"] = [digest(path), os.path.basename(os.path.realpath(path))]
    path = hf_hub_download("acme/tiny", "model.safetensors", cache_dir=target)
    out["weights"] = [digest(path), os.path.basename(os.path.realpath(path))]
    out["empty"] = os.path.getsize(hf_hub_download("acme/tiny", "empty.txt", cache_dir=target))
    folder = snapshot_download("acme/tiny", cache_dir=target + "/snap")
    out["snapshot"] = {
        os.path.relpath(os.path.join(w, n), folder): digest(os.path.join(w, n))
        for w, _, names in os.walk(folder) for n in names}
    out["commit"] = os.path.basename(folder)
    out["at_pr"] = digest(hf_hub_download("acme/tiny", "pr.txt", revision="refs/pr/1", cache_dir=target))
    out["dataset"] = digest(hf_hub_download("acme/data", "x/train.csv", repo_type="dataset", cache_dir=target))
    out["space"] = digest(hf_hub_download("acme/app", "app.py", repo_type="space", cache_dir=target))
    out["legacy"] = digest(hf_hub_download("gpt2", "config.json", cache_dir=target))
    out["wrong_case"] = digest(hf_hub_download("ACME/Tiny", "config.json", cache_dir=target))
    out["renamed"] = digest(hf_hub_download("acme/old-name", "config.json", cache_dir=target))
    out["tree"] = [
        [t.path, type(t).__name__, getattr(t, "blob_id", None) or t.tree_id,
         t.lfs.sha256 if getattr(t, "lfs", None) else None]
        for t in api.list_repo_tree("acme/tiny", recursive=True)]
    expanded = list(api.list_repo_tree("acme/tiny", expand=True))
    out["last_commits"] = {t.path: t.last_commit.oid if t.last_commit else None for t in expanded}
    out["subfolder"] = [t.path for t in api.list_repo_tree("acme/tiny", "sub dir/deep")]
    out["files"] = sorted(api.list_repo_files("acme/tiny"))
    out["many"] = len(api.list_repo_files("acme/many"))
    out["paths"] = [[p.path, type(p).__name__] for p in
                    api.get_paths_info("acme/tiny", ["config.json", "sub dir", "missing"], expand=True)]
    info = api.model_info("acme/tiny", files_metadata=True)
    out["info"] = {
        "sha": info.sha, "private": info.private, "tags": info.tags, "library": info.library_name,
        "siblings": {s.rfilename: [s.size, s.blob_id, s.lfs.sha256 if s.lfs else None] for s in info.siblings},
        "license": info.card_data.license}
    out["expand"] = api.model_info("acme/tiny", expand=["likes", "sha"]).likes
    refs = api.list_repo_refs("acme/tiny", include_pull_requests=True)
    out["refs"] = {k: [r.name for r in getattr(refs, k)] for k in ("branches", "tags", "converts", "pull_requests")}
    out["commits"] = [[c.commit_id, c.title] for c in api.list_repo_commits("acme/tiny", formatted=True)]
    out["exists"] = [
        api.file_exists("acme/tiny", "config.json"), api.file_exists("acme/tiny", "nope.json"),
        api.repo_exists("acme/tiny"), api.repo_exists("acme/nope"),
        api.revision_exists("acme/tiny", "v1"), api.revision_exists("acme/tiny", "v9")]
    fs = HfFileSystem()
    out["fs_ls"] = sorted(fs.ls("acme/tiny", detail=False))
    with fs.open("acme/tiny/model.safetensors", "rb") as f:
        f.seek(1_000_000)
        out["fs_part"] = hashlib.sha256(f.read(1000)).hexdigest()
    out["fs_text"] = fs.read_text("acme/tiny/sub dir/deep/ä #1.txt")
    out["models"] = [m.id for m in api.list_models(author="listed")]
    out["models_sorted"] = [m.id for m in api.list_models(author="listed", sort="likes", limit=3)]
    out["datasets"] = [d.id for d in api.list_datasets(search="data")]
    out["spaces"] = [s.id for s in api.list_spaces()]
    out["discussions"] = [d.title for d in api.get_repo_discussions("acme/tiny")]
    out["details"] = api.get_discussion_details("acme/tiny", 1).title
    out["collections"] = [c.title for c in api.list_collections(owner="acme")]
    out["user"] = api.get_user_overview("ann").fullname
    out["members"] = [u.username for u in api.list_organization_members("acme")]
    out["likers"] = [u.username for u in api.list_repo_likers("acme/tiny")]
    out["papers"] = [p.title for p in api.list_papers(query="attention")]


def errors(out, target):
    """Provoke every error that users tell apart."""
    api, anonymous = HfApi(token=False), {"cache_dir": target, "token": False}
    out["missing_repo"] = failure(hf_hub_download, "acme/nope", "config.json", **anonymous)
    out["missing_repo_info"] = failure(api.model_info, "acme/nope")
    out["missing_repo_token"] = failure(hf_hub_download, "acme/nope", "x", cache_dir=target, token="hf_bob")
    out["private"] = failure(hf_hub_download, "acme/secret", "config.json", **anonymous)
    out["private_bob"] = failure(hf_hub_download, "acme/secret", "config.json", cache_dir=target, token="hf_bob")
    out["private_ann"] = failure(hf_hub_download, "acme/secret", "config.json", cache_dir=target, token="hf_ann")
    out["gated"] = failure(hf_hub_download, "acme/gated", "model.safetensors", **anonymous)
    out["gated_bob"] = failure(hf_hub_download, "acme/gated", "model.safetensors", cache_dir=target, token="hf_bob")
    out["gated_info"] = api.model_info("acme/gated").gated
    out["gated_auth_check"] = failure(HfApi(token="hf_bob").auth_check, "acme/gated")
    out["entry"] = failure(hf_hub_download, "acme/tiny", "nope.json", **anonymous)
    out["no_exist"] = [
        n for w, _, names in os.walk(os.path.join(target, "models--acme--tiny", ".no_exist")) for n in names]
    out["revision"] = failure(hf_hub_download, "acme/tiny", "config.json", revision="v9", **anonymous)
    out["revision_info"] = failure(api.model_info, "acme/tiny", revision="v9")
    out["tree_entry"] = failure(lambda: list(api.list_repo_tree("acme/tiny", "nope")))
    out["disabled"] = failure(hf_hub_download, "acme/disabled", "config.json", **anonymous)
    out["bad_token"] = failure(HfApi(token="hf_wrong").model_info, "acme/tiny")
    out["whoami_bad"] = failure(HfApi(token="hf_wrong").whoami)
    who = HfApi(token="hf_ann").whoami()
    out["whoami"] = [who["name"], who["orgs"][0]["name"], who["auth"]["accessToken"]["role"]]
    out["private_listed"] = [
        sorted(m.id for m in HfApi(token=t).list_models(author="acme")) for t in (False, "hf_ann")]


def main():
    """Do the part that is asked for."""
    out = {}
    {"reads": reads, "errors": errors}[sys.argv[2]](out, sys.argv[1])
    print(json.dumps(out))


main()
