"""What the chunk storage holds: xorbs, how files are made of them, tokens, and grants of uploads.

Files that clients brought as xorbs are served from these xorbs.  All other files of the Hub are served from made-up
xorbs, which exist only while they are sent: their chunks are slices of the file, uncompressed.
"""

import bisect
import hashlib
import os
import secrets
import tempfile
import threading
import time
from dataclasses import dataclass

from .blobs import BlobStore
from .xorbs import CHUNK_HEADER, Malformed, Term, chunk_header, decode_records, stand_in, walk

SLICE = 65536
SLICES = 128


@dataclass(eq=False)
class Access:
    """What one token of the chunk storage is good for."""

    repo: object
    ref: str
    write: bool
    expires: int


@dataclass(eq=False)
class Xorb:
    """A xorb that a client uploaded: its bytes, and the ends of its records, stored and decoded."""

    blob: object
    ends: list
    decoded: list

    def read(self, first, length):
        """Return stored bytes."""
        return self.blob.read(first, length)


class SlicedXorb:
    """A made-up xorb: some slices of a file with a header in front of each."""

    def __init__(self, blob, index):
        """Describe the xorb number `index` of a file."""
        self.blob, self.start = blob, index * SLICE * SLICES
        size = min(SLICE * SLICES, blob.size - self.start)
        self.decoded = [min(n + SLICE, size) for n in range(0, size, SLICE)]
        self.ends = [end + CHUNK_HEADER * (n + 1) for n, end in enumerate(self.decoded)]

    def read(self, first, length):
        """Return stored bytes, which begin and end anywhere."""
        a, b = bisect.bisect_right(self.ends, first), bisect.bisect_left(self.ends, first + length) + 1
        out = bytearray()
        for n in range(a, b):
            start = self.decoded[n - 1] if n else 0
            size = self.decoded[n] - start
            out += chunk_header(size, 0, size) + self.blob.read(self.start + start, size)
        skip = first - (self.ends[a - 1] if a else 0)
        return bytes(out[skip:skip + length])


@dataclass(eq=False)
class Recipe:
    """How one file is made."""

    blob: object
    terms: list


@dataclass(eq=False)
class Grant:
    """The permission to put one xorb into the object storage."""

    xorb: str
    length: int
    checksum: str
    body: bytes = None


class ChunkStore:
    """Everything behind the chunk storage."""

    def __init__(self, store):
        """Serve the bodies of `store`, and keep uploaded xorbs beside them."""
        self.blobs = store.blobs
        self.directory = os.path.join(self.blobs.directory, "xorbs")
        self.bodies = None
        self.lock = threading.Lock()
        self.tokens, self.xorbs, self.recipes, self.grants, self.sliced = {}, {}, {}, {}, {}

    def issue(self, repo, ref, write, seconds):
        """Return a new token and the time at which it ends."""
        token, expires = "xet_" + secrets.token_hex(20), int(time.time()) + int(seconds)
        self.tokens[token] = Access(repo, ref, write, expires)
        return token, expires

    def access(self, token):
        """Return what a token allows, or None if it is unknown or over."""
        found = self.tokens.get(token)
        return found if found and found.expires > time.time() else None

    def add_xorb(self, name, data):
        """Keep an uploaded xorb and tell whether it is new."""
        ends, decoded = walk(data)
        with self.lock:
            if name in self.xorbs:
                return False
            if self.bodies is None:
                os.makedirs(self.directory, exist_ok=True)
                self.bodies = BlobStore(self.directory)
            self.xorbs[name] = Xorb(self.bodies.add_bytes(data), ends, decoded)
            return True

    def xorb(self, name):
        """Return an uploaded or made-up xorb, or None."""
        if name in self.xorbs:
            return self.xorbs[name]
        known = self.sliced.get(name)
        return SlicedXorb(*known) if known else None

    def recipe(self, file):
        """Return how the file of this Xet hash is made, or None."""
        if file in self.recipes:
            return self.recipes[file]
        blob = self.blobs.by_xet_hash.get(file)
        if blob is None:
            return None
        terms = []
        for index in range(-(-blob.size // (SLICE * SLICES))):
            name = stand_in(f"xorb:{blob.sha256}:{index}")
            self.sliced[name] = (blob, index)
            decoded = SlicedXorb(blob, index).decoded
            terms.append(Term(name, decoded[-1], 0, len(decoded)))
        return Recipe(blob, terms)

    def check(self, shard, repo):
        """Raise Malformed unless everything that a shard refers to is stored as it says.

        Only the files of repositories must come with their SHA-256; buckets do without.
        """
        for name, (chunks, decoded) in shard.xorbs.items():
            xorb = self.xorbs.get(name)
            if xorb is None or (len(xorb.ends), xorb.decoded[-1]) != (chunks, decoded):
                raise Malformed(f"xorb {name} is not stored as described")
        for file in shard.files:
            if not file.verified or (file.sha256 is None and repo.type != "buckets"):
                raise Malformed(f"file {file.hash} has no verification or no metadata record")
            for term in file.terms:
                xorb = self.xorb(term.xorb)
                if xorb is None or not term.first < term.end <= len(xorb.ends):
                    raise Malformed(f"file {file.hash} refers to chunks that are not stored")
                if decoded_length(xorb, term.first, term.end) != term.length:
                    raise Malformed(f"file {file.hash} has a term of a wrong length")

    def register(self, file, repo):
        """Put a file together, check it against its SHA-256 if given, and make it a body; tell whether it is new."""
        digest = hashlib.sha256()
        handle, path = tempfile.mkstemp(dir=self.blobs.directory, prefix="from-xorbs-")
        try:
            with os.fdopen(handle, "wb") as f:
                for term in file.terms:
                    xorb = self.xorb(term.xorb)
                    start = xorb.ends[term.first - 1] if term.first else 0
                    data = decode_records(xorb.read(start, xorb.ends[term.end - 1] - start))
                    digest.update(data)
                    f.write(data)
            if file.sha256 not in (None, digest.hexdigest()):
                raise Malformed(f"file {file.hash} does not have the SHA-256 {file.sha256}")
            known = digest.hexdigest() in self.blobs.by_sha256
            blob = self.blobs.add_file(path, copy=False)
            path = None if blob.path == path else path
        finally:
            if path:
                os.unlink(path)
        with self.lock:
            new = file.hash not in self.recipes
            if not known:
                blob.xet_hash = file.hash
            self.blobs.by_xet_hash[file.hash] = blob
            self.recipes.setdefault(file.hash, Recipe(blob, file.terms))
            repo.stored.add(blob.sha256)
            return new

    def readable(self, recipe, repo):
        """Tell whether a file belongs to a repository: it is in a commit, or was brought with a token for it."""
        if recipe.blob.sha256 in repo.stored:
            return True
        return any(e.blob is recipe.blob for c in list(repo.commits.values()) for e in c.files.values())

    def grant(self, name, length, checksum):
        """Return the id of a new grant."""
        id = secrets.token_urlsafe(12)
        self.grants[id] = Grant(name, length, checksum)
        return id

    def reconstruction(self, recipe, first=0, last=None):
        """Return (offset into the first chunk, terms, {xorb: chunk ranges}) for bytes of a file; None past its end."""
        size = recipe.blob.size
        last = size - 1 if last is None else min(last, size - 1)
        if first > last:
            return (0, [], {}) if size == 0 and first == 0 else None
        terms, wanted, at, offset = [], {}, 0, None
        for term in recipe.terms:
            if at + term.length > first and at <= last:
                xorb = self.xorb(term.xorb)
                base = at - (xorb.decoded[term.first - 1] if term.first else 0)
                a = max(term.first, bisect.bisect_right(xorb.decoded, first - base))
                b = min(term.end, bisect.bisect_right(xorb.decoded, last - base) + 1)
                if offset is None:
                    offset = first - base - (xorb.decoded[a - 1] if a else 0)
                terms.append(Term(term.xorb, decoded_length(xorb, a, b), a, b))
                wanted.setdefault(term.xorb, []).append((a, b))
            at += term.length
        return offset, terms, {name: merge(ranges) for name, ranges in wanted.items()}


def decoded_length(xorb, first, end):
    """Return the decoded size of a run of chunks."""
    return xorb.decoded[end - 1] - (xorb.decoded[first - 1] if first else 0)


def merge(ranges):
    """Return sorted chunk ranges in which none overlap or touch."""
    out = []
    for a, b in sorted(ranges):
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    return out
