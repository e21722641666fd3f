"""Buckets of the Hub for tests, as a real client with hf_xet sees them."""

import os
import subprocess

import pytest

from .client import Hub

CLIENT = os.environ.get("HUBCACHED_VENV_1X")
PROGRAM = """
import sys
from huggingface_hub import HfApi
from huggingface_hub.errors import BucketNotFoundError, HfHubHTTPError

url, folder = sys.argv[1:]
api, other = HfApi(endpoint=url, token="hf_ann"), HfApi(endpoint=url, token="hf_bob")
api.create_bucket("ann/box", private=True)
api.batch_bucket_files("ann/box", add=[(b"one", "a/1.txt"), (b"two", "b.txt")])
api.copy_files("hf://buckets/ann/box/b.txt", "hf://buckets/ann/box/c.txt")
api.batch_bucket_files("ann/box", delete=["b.txt"])
print(sorted((f.path, f.size) for f in api.list_bucket_tree("ann/box")))
api.download_bucket_files("ann/box", [("c.txt", folder + "/c.txt")])
print(open(folder + "/c.txt").read(), api.bucket_info("ann/box").total_files)
for who, status in ((other, 404), (HfApi(endpoint=url, token=False), 401)):
    try:
        who.bucket_info("ann/box")
    except HfHubHTTPError as e:
        print(type(e) is BucketNotFoundError, e.response.status_code == status)
try:
    other.batch_bucket_files("ann/box", delete=["c.txt"])
except HfHubHTTPError as e:
    print(e.response.status_code)
api.move_bucket("ann/box", "ann/chest")
print([b.id for b in api.list_buckets()])
api.delete_bucket("ann/chest")
print(list(api.list_buckets()))
"""


@pytest.mark.skipif(not CLIENT, reason="HUBCACHED_VENV_1X names no client")
def test_a_bucket_is_filled_read_moved_and_deleted(tmp_path):
    """What its owner put there comes back, and a private bucket is unknown to others."""
    with Hub.start() as hub:
        hub.add_token("hf_ann", "ann", role="write")
        hub.add_token("hf_bob", "bob", role="write")
        hub.quirks(repo_not_found_code_on_401=True)
        done = subprocess.run([CLIENT, "-c", PROGRAM, hub.url, str(tmp_path)], capture_output=True, text=True, env={
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"],
            "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "[('a/1.txt', 3), ('c.txt', 3)]", "two 2", "True True", "True True", "404", "['ann/chest']", "[]"]
        assert hub.call("state")["buckets"] == {}
