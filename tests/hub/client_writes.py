"""Run by test_hub_writes.py under each huggingface_hub: writes as users do and prints the results as JSON.

The arguments are a directory for files and the part that is done.  `HF_ENDPOINT` and `HF_TOKEN` are set.
"""

import hashlib
import io
import json
import os
import sys
import warnings

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    CommitScheduler,
    HfApi,
    hf_hub_download,
)

api = HfApi()
BIG = bytes(range(256)) * 43008  # 11 MB


def failure(function, *args, **kwargs):
    """Return (class, status, message) of what a call raises."""
    try:
        function(*args, **kwargs)
    except Exception as e:
        response = getattr(e, "response", None)
        return [type(e).__name__, response.status_code if response is not None else None, str(e)]
    return ["nothing raised", None, ""]


def files(id, **more):
    """Return the names of the files of a repository."""
    return sorted(api.list_repo_files(id, **more))


def digest(id, path, target, **more):
    """Return the sha256 of a downloaded file."""
    with open(hf_hub_download(id, path, cache_dir=target, **more), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def repos(out, target):
    """Create, move, change and delete repositories."""
    out["bare"] = str(api.create_repo("one"))
    out["org"] = api.create_repo("acme/two", repo_type="dataset", private=True).repo_id
    out["space"] = api.create_repo("acme/app", repo_type="space", space_sdk="gradio").repo_id
    out["space_files"] = files("acme/app", repo_type="space")
    out["exists"] = failure(api.create_repo, "ann/one")
    out["exist_ok"] = api.create_repo("ann/ONE", exist_ok=True).repo_id
    out["foreign"] = failure(api.create_repo, "other/x")
    out["foreign_exist_ok"] = api.create_repo("other/there", exist_ok=True).repo_id
    out["bad_name"] = failure(api.create_repo, "ann/x.git")[0]
    out["private"] = api.dataset_info("acme/two").private
    out["hidden"] = failure(HfApi(token="hf_bob").dataset_info, "acme/two")[0]
    api.update_repo_settings("acme/two", repo_type="dataset", private=False, gated="auto")
    info = HfApi(token="hf_bob").dataset_info("acme/two")
    out["opened"] = [info.private, info.gated]
    out["settings_bob"] = failure(HfApi(token="hf_bob").update_repo_settings, "ann/one", private=True)[:2]
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id="ann/one")
    api.move_repo("ann/one", "acme/uno")
    out["moved"] = files("acme/uno")
    out["old_name"] = api.model_info("ann/one").id
    out["delete_old_name"] = failure(api.delete_repo, "ann/one")[0]
    api.create_repo("ann/three")
    out["move_taken"] = failure(api.move_repo, "ann/three", "acme/uno")
    copied = api.duplicate_repo if hasattr(api, "duplicate_repo") else api.duplicate_space
    more = {"repo_type": "space"} if hasattr(api, "duplicate_repo") else {}
    out["copy"] = copied("acme/app", "ann/app2", **more).repo_id
    out["copy_files"] = files("ann/app2", repo_type="space")
    out["copy_taken"] = failure(copied, "acme/app", "ann/app2", **more)[:2]
    out["copy_exist_ok"] = copied("acme/app", "ann/app2", exist_ok=True, **more).repo_id
    out["delete_bob"] = failure(HfApi(token="hf_bob").delete_repo, "ann/three")[:2]
    api.delete_repo("ann/three")
    out["deleted"] = failure(api.model_info, "ann/three")[0]
    out["delete_again"] = failure(api.delete_repo, "ann/three")[0]
    api.delete_repo("ann/three", missing_ok=True)
    out["likes"] = [r for r in api.list_liked_repos("ann").models]
    api.unlike("acme/liked")
    out["unliked"] = [r for r in api.list_liked_repos("ann").models] + [api.model_info("acme/liked").likes]
    who = api.whoami()
    out["whoami"] = [who["name"], [o["name"] for o in who["orgs"]], who["auth"]["accessToken"]["role"]]
    out["whoami_bad"] = failure(HfApi(token="hf_unknown").whoami)[1]


def refs(out, target):
    """Create and delete branches and tags, and squash."""
    api.create_repo("ann/r")
    first = api.model_info("ann/r").sha
    second = api.upload_file(path_or_fileobj=b"2", path_in_repo="f.txt", repo_id="ann/r").oid
    api.create_branch("ann/r", branch="head")
    api.create_branch("ann/r", branch="dev/old", revision=first)
    out["branch_twice"] = failure(api.create_branch, "ann/r", branch="head")
    api.create_branch("ann/r", branch="head", exist_ok=True)
    out["branch_nowhere"] = failure(api.create_branch, "ann/r", branch="n", revision="nope")[0]
    out["branch_refs"] = failure(api.create_branch, "ann/r", branch="refs/pr/5")[:2]
    api.create_tag("ann/r", tag="v1", revision=second[:7], tag_message="one")
    out["tag_twice"] = failure(api.create_tag, "ann/r", tag="v1")[1]
    api.create_tag("ann/r", tag="v1", exist_ok=True)
    out["tag_bad"] = failure(api.create_tag, "ann/r", tag="a b")[1]
    api.create_tag("ann/r", tag="gone")
    api.delete_tag("ann/r", tag="gone")
    out["tag_missing"] = failure(api.delete_tag, "ann/r", tag="gone")[0]
    listed = api.list_repo_refs("ann/r")
    out["branches"] = {b.name: [first, second].index(b.target_commit) for b in listed.branches}
    out["tags"] = {b.name: [first, second].index(b.target_commit) for b in listed.tags}
    api.delete_branch("ann/r", branch="head")
    out["delete_missing"] = failure(api.delete_branch, "ann/r", branch="head")[0]
    out["delete_main"] = failure(api.delete_branch, "ann/r", branch="main")[2]
    out["bob"] = failure(HfApi(token="hf_bob").create_branch, "ann/r", branch="b")[:2]
    api.upload_file(path_or_fileobj=b"3", path_in_repo="g.txt", repo_id="ann/r", revision="dev/old")
    api.super_squash_history("ann/r")
    out["squashed"] = [c.title for c in api.list_repo_commits("ann/r")]
    out["squashed_files"] = files("ann/r")
    out["other_branch"] = len(api.list_repo_commits("ann/r", revision="dev/old"))


def commits(out, target):
    """Commit small files in every way."""
    api.create_repo("ann/c")
    info = api.upload_file(path_or_fileobj=b"hello", path_in_repo="sub dir/ä #1.txt", repo_id="ann/c",
                           commit_message="Say\nhello", commit_description="Or not.")
    out["url"] = info.commit_url.replace(info.oid, "")
    out["title"] = [[c.title, c.message, c.authors] for c in api.list_repo_commits("ann/c")][0]
    out["back"] = digest("ann/c", "sub dir/ä #1.txt", target)
    head = api.model_info("ann/c").sha
    out["no_op"] = api.upload_file(path_or_fileobj=b"hello", path_in_repo="sub dir/ä #1.txt",
                                   repo_id="ann/c").oid == head
    api.create_commit("ann/c", [
        CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("empty", b""), CommitOperationAdd("d/e/f.txt", b"f"),
        CommitOperationAdd("w.bin", io.BytesIO(b"weights")), CommitOperationAdd("d/w.safetensors", b"more weights"),
    ], commit_message="Several")
    out["conflict"] = failure(api.create_commit, "ann/c", [CommitOperationAdd("x", b"x")], commit_message="Late",
                              parent_commit=head)
    now = api.model_info("ann/c").sha
    api.create_commit("ann/c", [
        CommitOperationCopy("w.bin", "copy of w.bin"), CommitOperationCopy("a.txt", "b.txt"),
        CommitOperationDelete("a.txt"), CommitOperationDelete("d/e/", is_folder=True),
    ], commit_message="Copy and delete", parent_commit=now)
    out["files"] = files("ann/c")
    out["copied"] = [digest("ann/c", p, target) for p in ("w.bin", "copy of w.bin", "b.txt")]
    out["delete_missing"] = failure(api.delete_file, "nope.txt", "ann/c")
    out["delete_as_file"] = failure(api.create_commit, "ann/c", [CommitOperationDelete("nope", is_folder=False)],
                                    commit_message="No")[0]
    out["no_branch"] = failure(api.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/c",
                               revision="nope")[0]
    out["no_repo"] = failure(api.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/nope")[0]
    out["bad_path"] = failure(api.upload_file, path_or_fileobj=b"x", path_in_repo="..\\x", repo_id="ann/c")[1]
    pull = api.create_commit("ann/c", [CommitOperationAdd("pr.txt", b"pr"), CommitOperationAdd("pr.bin", b"pr lfs")],
                             commit_message="Please", create_pr=True)
    out["pr"] = [pull.pr_url, pull.pr_num, pull.pr_revision]
    api.upload_file(path_or_fileobj=b"again", path_in_repo="pr2.txt", repo_id="ann/c", revision="refs/pr/1")
    out["pr_files"] = sorted(set(files("ann/c", revision="refs/pr/1")) - set(files("ann/c")))
    bob = HfApi(token="hf_bob")
    out["bob"] = failure(bob.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/c")[:2]
    out["bob_pr"] = bob.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="ann/c", create_pr=True).pr_num
    out["reader"] = failure(HfApi(token="hf_reader").upload_file, path_or_fileobj=b"x", path_in_repo="x",
                            repo_id="ann/c")[:2]
    out["discussions"] = [d.title for d in api.get_repo_discussions("ann/c")]
    api.delete_files("ann/c", ["*.bin"])
    out["deleted_files"] = files("ann/c")
    api.create_branch("ann/c", branch="other")
    api.create_branch("ann/c", branch="another")
    api.delete_folder("d", "ann/c", revision="other")
    api.create_commit("ann/c", [CommitOperationDelete("d", is_folder=False)], commit_message="No type",
                      revision="another")
    out["deleted_folder"] = [f for rev in ("other", "another") for f in files("ann/c", revision=rev)
                             if f.startswith("d/")]


def cards(out, target):
    """Commit cards, good and bad."""
    api.create_repo("ann/card")
    good = b"---\nlicense: mit\ntags:\n- a\n- b\n---\n# Card\n"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        api.upload_file(path_or_fileobj=good, path_in_repo="README.md", repo_id="ann/card")
        out["good"] = [str(w.message) for w in seen if "metadata" in str(w.message)]
        api.upload_file(path_or_fileobj=b"# Card\n", path_in_repo="README.md", repo_id="ann/card", revision="main")
        out["empty"] = [str(w.message) for w in seen if "metadata" in str(w.message)]
    for name, card in (("license", "license: asdf"), ("index", "model-index: foo"), ("yaml", "tags: [a\nb: c"),
                       ("list", "[]")):
        out[name] = failure(api.upload_file, path_or_fileobj=f"---\n{card}\n---\n".encode(),
                            path_in_repo="README.md", repo_id="ann/card")[::2]


def large(out, target):
    """Upload LFS files, small and large, whole and in parts."""
    api.create_repo("ann/l")
    path = os.path.join(target, "big.dat")
    with open(path, "wb") as f:
        f.write(BIG)
    for place, source in (("path.dat", path), ("bytes.dat", BIG[::-1]), ("file.dat", io.BytesIO(BIG + b"!"))):
        api.upload_file(path_or_fileobj=source, path_in_repo=place, repo_id="ann/l")
    out["digests"] = [digest("ann/l", p, target) for p in ("path.dat", "bytes.dat", "file.dat")]
    out["lfs"] = sorted(s.rfilename for s in api.model_info("ann/l", files_metadata=True).siblings if s.lfs)
    with open(hf_hub_download("ann/l", ".gitattributes", cache_dir=target)) as f:
        out["attributes"] = [line.split()[0] for line in f if line.startswith(("path", "bytes", "file"))]
    api.upload_file(path_or_fileobj=path, path_in_repo="same.dat", repo_id="ann/l")
    operation = CommitOperationAdd("pre.dat", BIG + b"pre")
    api.preupload_lfs_files("ann/l", [operation])
    out["not_yet"] = api.file_exists("ann/l", "pre.dat")
    api.create_commit("ann/l", [operation], commit_message="After")
    out["pre"] = digest("ann/l", "pre.dat", target)


def folders(out, target):
    """Upload folders, in one commit, in many and on a timer."""
    where = os.path.join(target, "folder")
    for n in range(60):
        os.makedirs(os.path.join(where, f"d{n % 7}"), exist_ok=True)
        with open(os.path.join(where, f"d{n % 7}", f"f{n}.{'bin' if n % 3 == 0 else 'txt'}"), "w") as f:
            f.write("x" * n)
    with open(os.path.join(where, "skip.log"), "w") as f:
        f.write("skip")
    api.create_repo("ann/f", repo_type="dataset")
    api.upload_file(path_or_fileobj=b"*.log\nd6/\n!d6/keep.txt\n", path_in_repo=".gitignore", repo_id="ann/f",
                    repo_type="dataset")
    api.upload_folder(folder_path=where, repo_id="ann/f", repo_type="dataset", path_in_repo="in",
                      ignore_patterns="*.md")
    out["folder"] = len([f for f in files("ann/f", repo_type="dataset") if f.startswith("in/")])
    out["ignored"] = [f for f in files("ann/f", repo_type="dataset") if "d6" in f or f.endswith(".log")]
    os.remove(os.path.join(where, "d1", "f1.txt"))
    api.upload_folder(folder_path=where, repo_id="ann/f", repo_type="dataset", path_in_repo="in",
                      delete_patterns="*.txt")
    out["replaced"] = api.file_exists("ann/f", "in/d1/f1.txt", repo_type="dataset")
    api.create_repo("ann/many")
    many = getattr(api, "upload_large_folder", None)
    if many:
        many(repo_id="ann/many", folder_path=where, repo_type="model", num_workers=4, print_report=False)
    else:
        api.upload_folder(repo_id="ann/many", folder_path=where)
    out["many"] = len(files("ann/many"))
    scheduler = CommitScheduler(repo_id="ann/scheduled", folder_path=where, path_in_repo="s", every=60,
                                squash_history=True)
    scheduler.trigger().result()
    scheduler.stop()
    out["scheduled"] = [len(files("ann/scheduled")), [c.title for c in api.list_repo_commits("ann/scheduled")]]


def storage(out, target):
    """List LFS files and delete some for good."""
    api.create_repo("ann/s")
    for name in ("one", "two"):
        api.upload_file(path_or_fileobj=name.encode(), path_in_repo=f"{name}.bin", repo_id="ann/s")
    api.create_branch("ann/s", branch="side")
    api.upload_file(path_or_fileobj=b"side", path_in_repo="side.bin", repo_id="ann/s", revision="side")
    api.upload_file(path_or_fileobj=b"text", path_in_repo="text.txt", repo_id="ann/s")
    listed = list(api.list_lfs_files("ann/s"))
    out["listed"] = {f.filename: [f.oid, f.size, f.ref] for f in listed}
    api.permanently_delete_lfs_files("ann/s", [f for f in listed if f.filename == "one.bin"])
    out["left"] = sorted(f.filename for f in api.list_lfs_files("ann/s"))
    out["files"] = [files("ann/s"), files("ann/s", revision="side")]
    out["titles"] = [c.title for c in api.list_repo_commits("ann/s")]
    out["gone"] = failure(hf_hub_download, "ann/s", "one.bin", cache_dir=target)[0]
    api.permanently_delete_lfs_files("ann/s", [f for f in listed if f.filename == "two.bin"], rewrite_history=False)
    out["pointer_stays"] = files("ann/s")
    out["bytes_gone"] = failure(hf_hub_download, "ann/s", "two.bin", cache_dir=target)[1]
    api.upload_file(path_or_fileobj=b"one", path_in_repo="again.bin", repo_id="ann/s")
    out["again"] = digest("ann/s", "again.bin", target)


def across(out, target):
    """Copy files from one repository to another."""
    api.create_repo("ann/from")
    api.create_commit("ann/from", [CommitOperationAdd("w.bin", b"weights"), CommitOperationAdd("t.txt", b"text")],
                      commit_message="Both")
    api.create_repo("acme/to", repo_type="dataset")
    api.copy_files("hf://ann/from/w.bin", "hf://datasets/acme/to/w.bin")
    api.copy_files("hf://ann/from/t.txt", "hf://datasets/acme/to/t.txt")
    out["files"] = files("acme/to", repo_type="dataset")
    out["weights"] = digest("acme/to", "w.bin", target, repo_type="dataset")


def main():
    """Do the part that is asked for."""
    out = {}
    parts = {f.__name__: f for f in (repos, refs, commits, cards, large, folders, storage, across)}
    parts[sys.argv[2]](out, sys.argv[1])
    print(json.dumps(out))


main()
