"""A person with git and git-lfs on a machine of their own, for the tests of the Hub and those of the daemon."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 120


def has_lfs():
    """Tell whether git-lfs is installed."""
    return shutil.which("git-lfs") is not None


def offers_lfs_upload(url, id, token):
    """Tell whether the server at `url` takes LFS bodies for a repository."""
    body = {"operation": "upload", "transfers": ["basic"], "hash_algo": "sha256",
            "objects": [{"oid": "0" * 64, "size": 1}]}
    request = urllib.request.Request(
        f"{url}/{id}.git/info/lfs/objects/batch", json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/vnd.git-lfs+json",
         "Accept": "application/vnd.git-lfs+json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def with_token(url, token, user="user"):
    """Return a URL that carries a token as its password."""
    return url.replace("://", f"://{user}:{token}@", 1)


class GitUser:
    """One home folder and the commands run in it; nothing of this machine's git configuration is seen."""

    def __init__(self, home):
        """Make the home; `git-lfs` is not set up until `install_lfs`."""
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0", "NO_PROXY": "*", "no_proxy": "*",
            "GIT_AUTHOR_NAME": "ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_COMMITTER_NAME": "ann",
            "GIT_COMMITTER_EMAIL": "ann@example.org"}

    def install_lfs(self):
        """Set git-lfs up for every repository of this person."""
        self.run("lfs", "install", "--skip-repo")

    def answer_with(self, token):
        """Answer git's questions for a user name and a password with a token."""
        script = self.home / "askpass"
        script.write_text(f"#!/bin/sh\ncase \"$1\" in Username*) echo user ;; *) echo {token} ;; esac\n")
        script.chmod(0o700)
        self.env["GIT_ASKPASS"] = str(script)

    def attempt(self, *command, at=None, **env):
        """Run git and return the finished process, whatever its status."""
        return subprocess.run(["git", *map(str, command)], cwd=at or self.home, env={**self.env, **env},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)

    def run(self, *command, at=None, **env):
        """Run git, which must succeed, and return what it printed."""
        done = self.attempt(*command, at=at, **env)
        assert done.returncode == 0, f"git {' '.join(map(str, command))}: {done.returncode}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def refused(self, *command, at=None, **env):
        """Run git, which must fail, and return its complaint."""
        done = self.attempt(*command, at=at, **env)
        assert done.returncode != 0, f"git {' '.join(map(str, command))} succeeded\n{done.stderr[-4000:]}"
        return done.stderr

    def clone(self, url, name, *options, **env):
        """Clone into a folder of this person's home and return it."""
        self.run("clone", *options, url, name, **env)
        return self.home / name

    def commit(self, at, files, message="Change", delete=()):
        """Write files ({path: bytes or str}), commit them and return the sha."""
        for path, content in files.items():
            target = Path(at) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        for path in delete:
            (Path(at) / path).unlink()
        self.run("add", "--all", at=at)
        self.run("commit", "-m", message, at=at)
        return self.run("rev-parse", "HEAD", at=at)

    def tree(self, at, rev="HEAD"):
        """Return {path: object id} of a commit."""
        rows = self.run("ls-tree", "-r", "-z", rev, at=at).split("\0")
        return {row.partition("\t")[2]: row.split("\t")[0].split(" ")[2] for row in rows if row}
