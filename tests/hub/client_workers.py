"""Parts of a client that look at what there is at the Hub, and commit to it.

usage: client_workers.py PART [ARGUMENT]...   with HF_ENDPOINT and HF_TOKEN; prints RESULT and a JSON value
"""

import json
import os
import sys
import tempfile

from huggingface_hub import CommitScheduler, HfApi

api = HfApi()


def raised(call):
    """Return the status with which a call failed, 0 for none, or the name of another error."""
    try:
        call()
    except Exception as e:
        response = getattr(e, "response", None)
        return response.status_code if response is not None else type(e).__name__
    return 0


def listings(author):
    """Return what an author has, what a search finds, and what the author's collection holds."""
    slug = next(iter(api.list_collections(owner=author))).slug
    return {
        "models": sorted(m.id for m in api.list_models(author=author)),
        "datasets": sorted(d.id for d in api.list_datasets(author=author)),
        "spaces": sorted(s.id for s in api.list_spaces(author=author)),
        "search": sorted(m.id for m in api.list_models(search="tiny", limit=3)),
        "collection": [f"{i.item_type}:{i.item_id}" for i in api.get_collection(slug).items],
    }


def commit(path, parent=None):
    """Commit a file, perhaps on a parent; return how that ended."""
    return raised(lambda: api.upload_file(path_or_fileobj=b"text\n", path_in_repo=path, repo_id="acme/logs",
                                          repo_type="dataset", parent_commit=parent))


def scheduler(repo):
    """Let a CommitScheduler commit a folder twice, while a file grows; return the titles of the commits."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log.jsonl")
        one = CommitScheduler(repo_id=repo, repo_type="dataset", folder_path=folder, path_in_repo="data", every=60)
        for n in (1, 2):
            with open(path, "a") as f:
                f.write(json.dumps({"n": n}) + "\n")
            one.trigger().result()
        one.stop()
    return [c.title for c in api.list_repo_commits(repo, repo_type="dataset")]


if __name__ == "__main__":
    value = globals()[sys.argv[1]](*sys.argv[2:])
    print("RESULT", json.dumps(value), flush=True)
    os._exit(0)
