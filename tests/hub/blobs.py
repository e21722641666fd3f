"""The object store of the Hub for tests.

Every file body lives once, either in memory (small) or as a file in the data directory (large).  A body knows
its size, its sha256 and its git blob sha1, so that the rest of the program never has to read it again except
to send it.
"""

import functools
import hashlib
import os
import random
import shutil
import threading
from dataclasses import dataclass

IN_MEMORY_LIMIT = 256 * 1024
BLOCK = 1 << 20


def git_blob_oid(data):
    """Return the git object id (sha1) of a blob with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@functools.lru_cache(8)
def random_base(seed):
    """Return 2 MiB of pseudo-random bytes, from which the blocks of a stream are cut."""
    return random.Random(f"hub-for-tests:{seed}").randbytes(2 * BLOCK)


def generated_block(seed, index):
    """Return block number `index` (1 MiB) of the endless pseudo-random stream named by `seed`."""
    start = index * 506_933 % BLOCK
    return index.to_bytes(8, "big") + random_base(seed)[start:start + BLOCK - 8]


def generated_bytes(seed, offset, length):
    """Return `length` bytes at `offset` of the stream that a Generated(size, seed) file is cut from."""
    out = bytearray()
    index, skip = divmod(offset, BLOCK)
    while len(out) < length:
        out += generated_block(seed, index)[skip:skip + length - len(out)]
        index, skip = index + 1, 0
    return bytes(out)


@dataclass(eq=False)
class Blob:
    """The immutable bytes of one file, held in memory (`data`) or on disk (`path`)."""

    size: int
    sha256: str
    data: bytes = None
    path: str = None

    @functools.cached_property
    def git_oid(self):
        """Return the git blob sha1, which is computed when it is first wanted."""
        digest = hashlib.sha1(b"blob %d\0" % self.size)
        for offset in range(0, self.size, BLOCK):
            digest.update(self.read(offset, min(BLOCK, self.size - offset)))
        return digest.hexdigest()

    @functools.cached_property
    def xet_hash(self):
        """Return a stable stand-in for the Xet file hash, which the standard library cannot compute."""
        return hashlib.sha256(b"xet:" + self.sha256.encode()).hexdigest()

    def read(self, offset=0, length=None):
        """Return a part of the bytes; meant for small files and small ranges."""
        if length is None:
            length = self.size - offset
        if self.data is not None:
            return self.data[offset:offset + length]
        with open(self.path, "rb") as f:
            f.seek(offset)
            return f.read(length)


class BlobStore:
    """A directory of bodies keyed by sha256."""

    def __init__(self, directory):
        """Use `directory`, which must exist, for large bodies."""
        self.directory = directory
        self.by_sha256 = {}
        self.by_xet_hash = {}
        self.lock = threading.Lock()
        self.counter = 0

    def add_bytes(self, data):
        """Store bytes and return their Blob."""
        sha256 = hashlib.sha256(data).hexdigest()
        known = self.by_sha256.get(sha256)
        if known:
            return known
        blob = Blob(len(data), sha256, data=data)
        if len(data) > IN_MEMORY_LIMIT:
            blob.path = self._new_path()
            with open(blob.path, "wb") as f:
                f.write(data)
            blob.data = None
        return self._keep(blob)

    def add_file(self, path, copy=True):
        """Store the content of a local file; without `copy` the file is used where it is and must not change."""
        size = os.path.getsize(path)
        if size <= IN_MEMORY_LIMIT:
            with open(path, "rb") as f:
                return self.add_bytes(f.read())
        if copy:
            target = self._new_path()
            shutil.copyfile(path, target)
            path = target
        return self._hash_and_keep(path)

    def adopt_file(self, path, sha256):
        """Store a file of ours, whose digest is known, by taking it over; return its Blob."""
        known = self.by_sha256.get(sha256)
        if known:
            os.unlink(path)
            return known
        return self._keep(Blob(os.path.getsize(path), sha256, path=path))

    def forget(self, blob):
        """Remove a body, so that nobody can ask for it by a storage key any more; readers under way go on."""
        with self.lock:
            self.by_sha256.pop(blob.sha256, None)
            self.by_xet_hash.pop(blob.xet_hash, None)

    def add_generated(self, size, seed):
        """Create a pseudo-random file that depends on `seed` only."""
        if size <= IN_MEMORY_LIMIT:
            return self.add_bytes(generated_bytes(seed, 0, size))
        path = self._new_path()
        with open(path, "wb") as f:
            left, index = size, 0
            while left:
                part = generated_block(seed, index)[:left]
                f.write(part)
                left, index = left - len(part), index + 1
        return self._hash_and_keep(path)

    def add_sparse(self, size, marks):
        """Create a file of zeros which takes no disk space, with small byte strings at the offsets in `marks`."""
        path = self._new_path()
        with open(path, "wb") as f:
            f.truncate(size)
            for offset, data in marks:
                f.seek(offset)
                f.write(data)
        return self._hash_and_keep(path)

    def _new_path(self):
        with self.lock:
            self.counter += 1
            return os.path.join(self.directory, f"body-{self.counter}")

    def _hash_and_keep(self, path):
        with open(path, "rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
        return self._keep(Blob(os.path.getsize(path), sha256, path=path))

    def _keep(self, blob):
        with self.lock:
            self.by_xet_hash.setdefault(blob.xet_hash, blob)
            return self.by_sha256.setdefault(blob.sha256, blob)
