"""A bare git repository for each repository of the store, by which git itself serves clones and takes pushes.

The store is the truth.  Before each use the mirror is given the commits and refs that it lacks; since all ids in the
store are git's own, they are written as they are.  After a push what came is read back into the store.
"""

import hashlib
import itertools
import os
import shlex
import subprocess
import sys
import zlib

from .blobs import BLOCK, Blob
from .git_pre_receive import POINTER, POINTER_LIMIT
from .store import LFS_LIMIT, Commit, Entry, build_trees, tree_objects

CONFIG = (
    ("core.bare", "true"), ("gc.auto", "0"), ("receive.autogc", "false"), ("maintenance.auto", "false"),
    ("uploadpack.allowFilter", "true"), ("uploadpack.allowAnySHA1InWant", "true"),
)
KINDS = {"commit": 1, "tree": 2, "blob": 3}
HERE = os.path.dirname(os.path.abspath(__file__))


def pack_object(kind, body):
    """Yield the parts of one object in a pack; `body` is bytes or a Blob."""
    size = body.size if isinstance(body, Blob) else len(body)
    byte, left = KINDS[kind] << 4 | size & 15, size >> 4
    head = bytearray()
    while left:
        head.append(byte | 0x80)
        byte, left = left & 0x7F, left >> 7
    head.append(byte)
    yield bytes(head)
    deflate = zlib.compressobj(1)
    if isinstance(body, Blob):
        for offset in range(0, size, BLOCK):
            yield deflate.compress(body.read(offset, min(BLOCK, size - offset)))
    else:
        yield deflate.compress(body)
    yield deflate.flush()


def parse_commit(raw):
    """Return (tree, parents, author's name, committer's time, message) of git's commit object."""
    head, _, message = raw.decode("utf-8", "replace").partition("\n\n")
    tree, parents, author, date = None, [], "", 0
    for line in head.split("\n"):
        name, _, value = line.partition(" ")
        if name == "tree":
            tree = value
        elif name == "parent":
            parents.append(value)
        elif name == "author":
            author = value.partition(" <")[0]
        elif name == "committer":
            date = int(value.split(" ")[-2])
    return tree, parents, author, float(date), message


class Mirror:
    """The bare repository of one Repo; every method but `serve` is called under the store's lock."""

    def __init__(self, store, repo):
        """Create the bare repository, with the Hub's checks as its hook."""
        self.store, self.repo = store, repo
        self.home = os.path.join(store.blobs.directory, "git")
        self.path = os.path.join(self.home, f"{repo.serial}.git")
        self.written = set()
        os.makedirs(self.home, exist_ok=True)
        subprocess.run(["git", "init", "--quiet", "--bare", "--template=", "--initial-branch=main", self.path],
                       env=self.environment(), check=True)
        with open(os.path.join(self.path, "config"), "a") as f:
            for name, value in CONFIG:
                section, _, key = name.partition(".")
                f.write(f"[{section}]\n\t{key} = {value}\n")
        self.known_lfs = os.path.join(self.path, "known-lfs")
        hook = os.path.join(self.path, "hooks", "pre-receive")
        os.makedirs(os.path.dirname(hook))
        command = [sys.executable, os.path.join(HERE, "git_pre_receive.py"), str(LFS_LIMIT), self.known_lfs]
        with open(hook, "w") as f:
            f.write(f"#!/bin/sh\nexec {shlex.join(command)}\n")
        os.chmod(hook, 0o755)

    def environment(self, protocol=None):
        """Return the environment of git: no configuration but the mirror's own."""
        env = {"PATH": os.environ["PATH"], "HOME": self.home, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_CONFIG_GLOBAL": os.devnull}
        return {**env, "GIT_PROTOCOL": protocol} if protocol else env

    def git(self, *arguments, text=b""):
        """Return what a git command prints; raise an error with its complaint if it fails."""
        done = subprocess.run(["git", "--git-dir", self.path, *arguments], input=text, capture_output=True,
                              env=self.environment())
        if done.returncode:
            raise RuntimeError(f"git {arguments[0]}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def refs(self):
        """Return {full ref name: commit}; tags with an object of their own stand for its commit."""
        rows = self.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").decode().splitlines()
        return {name: (peeled or oid) for name, oid, peeled in (row.split(" ") for row in rows)}

    def sync(self):
        """Write the commits and refs of the store that the mirror lacks, and drop refs that the store dropped."""
        self._write_commits([c for c in self.repo.commits.values() if c.sha not in self.written])
        here, there = self.refs(), self.repo.refs
        gone = "".join(f"delete {name}\n" for name in here if name not in there)
        moved = "".join(f"update {name} {sha}\n" for name, sha in there.items() if here.get(name) != sha)
        for text in (gone, moved):
            if text:
                self.git("update-ref", "--stdin", text=text.encode())

    def _write_commits(self, commits):
        objects = {}
        for commit in commits:
            if hashlib.sha1(b"commit %d\0" % len(commit.raw) + commit.raw).hexdigest() != commit.sha:
                raise ValueError(f"commit {commit.sha} does not carry the text that its id is made from")
            objects[commit.sha] = "commit", commit.raw
            for oid, body in tree_objects(commit.files).values():
                objects[oid] = "tree", body
            for entry in commit.files.values():
                objects[entry.oid] = "blob", entry.pointer if entry.lfs else entry.blob
        new = {oid: what for oid, what in objects.items() if oid not in self.written}
        if not new:
            return
        process = subprocess.Popen(["git", "--git-dir", self.path, "index-pack", "--stdin"], stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, env=self.environment())
        with process.stdin as pipe:
            digest = hashlib.sha1()
            head = b"PACK" + (2).to_bytes(4) + len(new).to_bytes(4)
            for part in itertools.chain([head], *(pack_object(*what) for what in new.values())):
                digest.update(part)
                pipe.write(part)
            pipe.write(digest.digest())
        if process.wait():
            raise RuntimeError("git index-pack refused the store's objects")
        self.written.update(new)

    def serve(self, service, body, protocol=None, advertise=False):
        """Return what git answers to a client that has sent `body`."""
        command = ["git", service, "--stateless-rpc", *(["--advertise-refs"] if advertise else []), self.path]
        return subprocess.run(command, input=body, stdout=subprocess.PIPE, env=self.environment(protocol)).stdout

    def receive(self, body, protocol=None):
        """Let git take a push, read what came into the store, and return git's answer."""
        with open(self.known_lfs, "w") as f:
            f.writelines(f"{sha256}\n" for sha256 in list(self.store.blobs.by_sha256))
        answer = self.serve("receive-pack", body, protocol)
        here, there = self.refs(), self.repo.refs
        for sha in self._missing(set(here.values())):
            self._import(sha)
        for name in [name for name in there if name not in here]:
            del there[name]
        there.update(here)
        return answer

    def _missing(self, heads):
        new = [sha for sha in heads if sha not in self.repo.commits]
        if not new:
            return []
        # Whatever the store knows is left out here and not by git: it may have been dropped from all refs.
        listed = self.git("rev-list", "--topo-order", "--reverse", *new).decode().split()
        return [sha for sha in listed if sha not in self.repo.commits]

    def _import(self, sha):
        raw = self.git("cat-file", "commit", sha)
        tree, parents, author, date, message = parse_commit(raw)
        title, _, rest = message.partition("\n")
        commit = Commit(sha, {}, {}, parents, title, rest.strip(), author, date, len(self.repo.commits), raw=raw)
        bases = [self.repo.commits[p].files for p in parents]
        rows = self.git("ls-tree", "-r", "-z", "--full-tree", sha).decode().split("\0")[:-1]
        listed = {path: head.split(" ") for head, _, path in (row.partition("\t") for row in rows)}
        unchanged = {(path, e.mode, e.oid): e for files in reversed(bases) for path, e in files.items()}
        rows = {path: unchanged.get((path, mode, oid)) for path, (mode, _, oid) in listed.items()}
        bodies = self._contents(sorted({listed[path][2] for path, entry in rows.items() if entry is None}))
        for path, entry in rows.items():
            mode, _, oid = listed[path]
            commit.files[path] = entry or Entry(*bodies[oid], commit=commit, mode=mode)
        commit.dirs = build_trees(commit.files)
        if commit.dirs[""] != tree:
            raise ValueError(f"the tree of commit {sha} is not what its files make")
        self.repo.commits[sha] = commit
        self.written.update([sha, *commit.dirs.values(), *(e.oid for e in commit.files.values())])

    def _contents(self, oids):
        """Return {id: (body, whether it is an LFS object)} of blobs."""
        data, out, position = self.git("cat-file", "--batch", text="".join(f"{o}\n" for o in oids).encode()), {}, 0
        for oid in oids:
            end = data.index(b"\n", position)
            size = int(data[position:end].split(b" ")[2])
            text, position = data[end + 1:end + 1 + size], end + 1 + size + 1
            pointer = size <= POINTER_LIMIT and POINTER.fullmatch(text)
            large = self.store.blobs.by_sha256.get(pointer.group(1).decode()) if pointer else None
            if large and Entry(large, True).oid == oid:
                out[oid] = large, True
            else:
                out[oid] = self.store.blobs.add_bytes(text), False
        return out


def mirror_of(store, repo):
    """Return the mirror of a repository, made when it is first wanted, in the state of the store."""
    if repo.mirror is None:
        repo.mirror = Mirror(store, repo)
    repo.mirror.sync()
    return repo.mirror
