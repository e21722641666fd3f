"""Repositories, commits, refs, tokens and users of the Hub for tests.

The content model is git's: file ids are git blob sha1, folder ids are git tree sha1 and commits are git commit
sha1, all computed from real git objects.  Large files are LFS pointers, as on the Hub.
"""

import fnmatch
import hashlib
import os
import threading
import time
from dataclasses import dataclass, field

from .blobs import Blob, BlobStore, git_blob_oid

TYPES = ("models", "datasets", "spaces", "kernels")
LFS_LIMIT = 10 * 1024 * 1024
LFS_PATTERNS = (
    "7z arrow bin bin.* bz2 ckpt ftz gguf gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet pb "
    "pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst"
).split()
GITATTRIBUTES = "".join(f"*.{p} filter=lfs diff=lfs merge=lfs -text\n" for p in LFS_PATTERNS)


def iso(ts):
    """Return a time stamp in the Hub's form, with milliseconds and a Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ts)) + ".%03dZ" % (int(ts * 1000) % 1000)


def object_id(text):
    """Return a stable 24-hex database id for a thing named by `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(eq=False, slots=True)
class Entry:
    """One file at one path: its body, its git id and the commit that last changed it."""

    blob: Blob
    lfs: bool
    oid: str = ""
    pointer: bytes = b""
    commit: object = None
    mode: str = "100644"

    def __post_init__(self):
        """Compute the pointer text and the git id."""
        if self.lfs:
            self.pointer = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.blob.sha256}\nsize {self.blob.size}\n"
            ).encode()
            self.oid = git_blob_oid(self.pointer)
        else:
            self.oid = self.blob.git_oid

    @property
    def etag(self):
        """Return the id that the Hub announces in ETag headers, without quotes."""
        return self.blob.sha256 if self.lfs else self.oid


@dataclass(eq=False)
class Commit:
    """One commit: the complete table of files, the tree ids of all folders, and git's object text (`raw`)."""

    sha: str
    files: dict
    dirs: dict
    parents: list
    title: str
    message: str
    author: str
    date: float
    index: int = 0
    memory: dict = field(default_factory=dict)
    raw: bytes = b""

    def remembered(self, key, make):
        """Return what `make()` returned the first time; commits never change, so derived tables are kept."""
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def last_changes(self):
        """Return {folder: the newest commit that changed a file below it}."""
        newest = {}
        for path, entry in self.files.items():
            folder = path
            while folder:
                folder = folder.rpartition("/")[0]
                if folder not in newest or newest[folder].index < entry.commit.index:
                    newest[folder] = entry.commit
        return newest


@dataclass(eq=False)
class Repo:
    """One repository of any type."""

    type: str
    id: str
    private: bool = False
    gated: object = False
    disabled: bool = False
    refs: dict = field(default_factory=dict)
    commits: dict = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    grants: set = field(default_factory=set)
    stored: set = field(default_factory=set)
    likes: int = 0
    likers: list = field(default_factory=list)
    downloads: int = 0
    extra: dict = field(default_factory=dict)
    discussions: list = field(default_factory=list)
    serial: int = 0
    storage: tuple = (0, 0)
    mirror: object = None

    @property
    def object_id(self):
        """Return the immutable id of this repository; a re-created repository of the same name has another."""
        return object_id(f"{self.type}:{self.serial}")

    @property
    def author(self):
        """Return the namespace, or None for a one-segment id."""
        return self.id.split("/")[0] if "/" in self.id else None

    @property
    def prefix(self):
        """Return the part in front of the id in web paths."""
        return "" if self.type == "models" else self.type + "/"

    def head(self):
        """Return the commit of the default branch, or None."""
        return self.commits.get(self.refs.get("refs/heads/main"))

    def resolve(self, rev):
        """Return the commit which a revision names, or None."""
        rev = "refs/heads/main" if rev == "HEAD" else rev
        for name in (rev, "refs/heads/" + rev, "refs/tags/" + rev):
            if name in self.refs:
                return self.commits[self.refs[name]]
        if rev in self.commits:
            return self.commits[rev]
        if 7 <= len(rev) < 40 and all(c in "0123456789abcdef" for c in rev):
            found = [c for sha, c in self.commits.items() if sha.startswith(rev)]
            if len(found) == 1:
                return found[0]
        return None

    def used_storage(self):
        """Return the total size of all different bodies in all commits."""
        if self.storage[0] != len(self.commits):
            bodies = {e.etag: e.blob.size for c in self.commits.values() for e in c.files.values()}
            self.storage = (len(self.commits), sum(bodies.values()))
        return self.storage[1]

    def history(self, commit):
        """Return the chain of first parents, newest first."""
        chain = []
        while commit:
            chain.append(commit)
            commit = self.commits.get(commit.parents[0]) if commit.parents else None
        return chain


def tree_objects(files):
    """Return {folder: (tree sha1, text of git's tree object)} for a table of files; the root is the empty string."""
    children = {"": {}}
    for path, entry in files.items():
        parts = path.split("/")
        for depth in range(len(parts) - 1):
            parent, name = "/".join(parts[:depth]), parts[depth]
            children[parent].setdefault(name, None)
            children.setdefault("/".join(parts[:depth + 1]), {})
        children["/".join(parts[:-1])][parts[-1]] = entry
    trees = {}
    for folder in sorted(children, key=lambda d: d.count("/") + bool(d), reverse=True):
        rows = []
        for name, entry in children[folder].items():
            if entry is None:
                oid = trees[f"{folder}/{name}" if folder else name][0]
                rows.append((name + "/", b"40000 %s\0" % name.encode() + bytes.fromhex(oid)))
            else:
                rows.append((name, b"%s %s\0" % (entry.mode.encode(), name.encode()) + bytes.fromhex(entry.oid)))
        rows.sort(key=lambda row: row[0].encode())
        body = b"".join(row[1] for row in rows)
        trees[folder] = hashlib.sha1(b"tree %d\0" % len(body) + body).hexdigest(), body
    return trees


def build_trees(files):
    """Return {folder: tree sha1} for a table of files; the root folder is the empty string."""
    return {folder: oid for folder, (oid, _) in tree_objects(files).items()}


@dataclass(eq=False)
class Token:
    """One access token and what it may see."""

    value: str
    user: str
    orgs: list
    role: str = "read"
    repos: list = None
    revoked: bool = False


class Store:
    """Everything the Hub knows; all changes are made under one lock."""

    def __init__(self, directory):
        """Keep large bodies in `directory`."""
        self.blobs = BlobStore(directory)
        self.repos = {}
        self.aliases = {}
        self.tokens = {}
        self.orgs = {}
        self.fullnames = {}
        self.private_orgs = set()
        self.buckets = {}
        self.collections = []
        self.papers = []
        self.notifications = {}
        self.attachments = {}
        self.follows = set()
        self.preferences = {}
        self.webhooks = {}
        self.webhook_count = 0
        self.jobs = {}
        self.scheduled_jobs = {}
        self.scheduled_count = 0
        self.endpoints = {}
        self.lock = threading.RLock()
        self.latest = None  # a number: no commit has the second of another one
        self.serial = 0

    def create_repo(self, type, id, private=False, gated=False, init=True, **extra):
        """Create a repository, with the Hub's own first commit unless `init` is false."""
        with self.lock:
            if type not in TYPES:
                raise ValueError(f"unknown repository type {type}")
            if (type, id) in self.repos:
                raise ValueError(f"{type}/{id} exists")
            self.serial += 1
            repo = Repo(type, id, private, gated, extra=extra, serial=self.serial)
            self.repos[type, id] = repo
            self.aliases.pop((type, id.lower()), None)
            if init:
                blob = self.blobs.add_bytes(GITATTRIBUTES.encode())
                self.commit(repo, "main", {".gitattributes": Entry(blob, False)}, [], "initial commit")
            return repo

    def get(self, type, id):
        """Return the repository of exactly this id; raise KeyError if there is none."""
        return self.repos[type, id]

    def lookup(self, type, id):
        """Return the repository that an id, an old name or another spelling of it means, or None."""
        if (type, id) in self.repos:
            return self.repos[type, id]
        lower = id.lower()
        for (t, name), repo in list(self.repos.items()):
            if t == type and name.lower() == lower:
                return repo
        target = self.aliases.get((type, lower))
        return self.lookup(type, target) if target else None

    def rename(self, type, old, new):
        """Rename a repository; the old name redirects to the new one."""
        with self.lock:
            repo = self.repos.pop((type, old))
            repo.id = new
            self.repos[type, new] = repo
            self.aliases[type, old.lower()] = new
            self.aliases.pop((type, new.lower()), None)

    def delete_repo(self, type, id):
        """Remove a repository and every old name of it."""
        with self.lock:
            del self.repos[type, id]
            self.aliases = {k: v for k, v in self.aliases.items() if v != id or k[0] != type}

    def entry(self, path, blob, lfs=None):
        """Return an Entry, choosing LFS by size and name as the Hub's .gitattributes do unless told."""
        if lfs is None:
            name = os.path.basename(path)
            lfs = blob.size > LFS_LIMIT or any(fnmatch.fnmatch(name, "*." + p) for p in LFS_PATTERNS)
        return Entry(blob, lfs)

    def now(self):
        """Return the time of a new commit."""
        if self.latest is None:
            return time.time()
        self.latest = max(self.latest + 1, time.time())
        return self.latest

    def commit(self, repo, branch, files, delete, message, author=None, date=None, parent=None, root=False):
        """Add a commit to a ref and return it; `delete` takes paths and folders, `root` gives it no parent."""
        with self.lock:
            ref = branch if branch.startswith("refs/") else "refs/heads/" + branch
            base = None if root else repo.commits.get(parent or repo.refs.get(ref))
            if base is None and not root and ref != "refs/heads/main" and repo.head():
                base = repo.head()
            table = dict(base.files) if base else {}
            for gone in delete:
                folder = gone.rstrip("/") + "/"
                for path in [p for p in table if p == gone or p.startswith(folder)]:
                    del table[path]
            changed = []
            for path, entry in files.items():
                if path in table and table[path].oid == entry.oid:
                    continue
                table[path] = entry
                changed.append(entry)
            dirs = build_trees(table)
            author = author or repo.author or "hub"
            date = self.now() if date is None else date
            who = f"{author} <{author}@users.noreply.huggingface.co> {int(date)} +0000"
            parents = [base.sha] if base else []
            text = f"tree {dirs['']}\n" + "".join(f"parent {p}\n" for p in parents)
            raw = (text + f"author {who}\ncommitter {who}\n\n{message}\n").encode()
            sha = hashlib.sha1(b"commit %d\0" % len(raw) + raw).hexdigest()
            title, _, rest = message.partition("\n")
            commit = Commit(sha, table, dirs, parents, title, rest.strip(), author, date, len(repo.commits), raw=raw)
            for entry in changed:
                entry.commit = commit
            repo.commits[sha] = commit
            repo.refs[ref] = sha
            return commit

    def set_ref(self, repo, name, rev):
        """Point a full ref name at a revision."""
        with self.lock:
            commit = repo.resolve(rev)
            if commit is None:
                raise KeyError(f"no revision {rev}")
            repo.refs[name] = commit.sha
            return commit

    def blob_of_key(self, key):
        """Return the body that a storage key (Xet hash or sha256) names, or None."""
        return self.blobs.by_xet_hash.get(key) or self.blobs.by_sha256.get(key)
