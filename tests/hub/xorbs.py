"""The binary forms of Xet: xorbs with their compressed chunks, and the shards that say how files are made of them.

Reading is all that a server has to do; the two functions that write are for tests.  BLAKE3 is not in the standard
library, so hashes are taken as names and never computed; whether the bytes are right is judged by the SHA-256 that a
shard carries for every file.
"""

import functools
import hashlib
import itertools
import struct
from dataclasses import dataclass

CHUNK_HEADER = 8
MAX_CHUNK = 131072
MAX_XORB = 64 << 20
MAX_CHUNKS = 8192
RECORD = 48
SHARD_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
BOOKEND = b"\xff" * 32
VERIFIED, WITH_METADATA = 1 << 31, 1 << 30
LZ4_MAGIC = 0x184D2204


class Malformed(Exception):
    """An uploaded object does not have the form that it must have."""


def hash_string(raw):
    """Return the printed form of 32 raw bytes: every group of eight reversed."""
    return b"".join(raw[i:i + 8][::-1] for i in range(0, 32, 8)).hex()


def raw_hash(text):
    """Return the raw bytes of a printed hash."""
    return bytes.fromhex(hash_string(bytes.fromhex(text)))


def chunk_header(stored, scheme, decoded):
    """Return the eight bytes in front of a chunk."""
    return b"\0" + stored.to_bytes(3, "little") + bytes([scheme]) + decoded.to_bytes(3, "little")


def walk(data):
    """Return (end of each record, sum of the decoded lengths up to each) of a xorb, without decoding it.

    Old clients append a footer, which begins where a record would.
    """
    if len(data) > MAX_XORB:
        raise Malformed("the xorb is larger than 64 MiB")
    ends, decoded, at = [], [], 0
    while at < len(data) and data[at:at + 7] != b"XETBLOB":
        head = data[at:at + CHUNK_HEADER]
        stored, scheme, length = int.from_bytes(head[1:4], "little"), head[4:5], int.from_bytes(head[5:8], "little")
        if len(head) < CHUNK_HEADER or head[0] != 0 or scheme not in (b"\0", b"\1", b"\2") or length > MAX_CHUNK:
            raise Malformed(f"bad chunk header at {at}")
        at += CHUNK_HEADER + stored
        if at > len(data) or scheme == b"\0" and stored != length:
            raise Malformed(f"bad chunk length before {at}")
        ends.append(at)
        decoded.append(length + (decoded[-1] if decoded else 0))
    if not 0 < len(ends) <= MAX_CHUNKS:
        raise Malformed(f"{len(ends)} chunks in a xorb")
    return ends, decoded


def decode_records(data):
    """Return the bytes that a run of chunk records stands for."""
    out, at = [], 0
    while at < len(data):
        stored, scheme = int.from_bytes(data[at + 1:at + 4], "little"), data[at + 4]
        length = int.from_bytes(data[at + 5:at + 8], "little")
        payload = data[at + CHUNK_HEADER:at + CHUNK_HEADER + stored]
        if scheme:
            payload = lz4_frame(payload)
        if scheme == 2:
            payload = ungroup(payload)
        if len(payload) != length:
            raise Malformed(f"a chunk has {len(payload)} bytes, not {length}")
        out.append(payload)
        at += CHUNK_HEADER + stored
    return b"".join(out)


def ungroup(data):
    """Undo the byte grouping: bring the four planes of every fourth byte together again."""
    out, at = bytearray(len(data)), 0
    for plane in range(4):
        length = len(out[plane::4])
        out[plane::4] = data[at:at + length]
        at += length
    return bytes(out)


def lz4_frame(data):
    """Decode one LZ4 frame; its own checksums are passed over, since the whole file is checked."""
    try:
        magic, flags = struct.unpack_from("<IB", data)
        if magic != LZ4_MAGIC or flags >> 6 != 1:
            raise Malformed("not an LZ4 frame")
        at = 7 + 8 * bool(flags & 8) + 4 * bool(flags & 1)
        out = bytearray()
        while size := struct.unpack_from("<I", data, at)[0]:
            at, plain, size = at + 4, size >> 31, size & 0x7FFFFFFF
            block = data[at:at + size]
            if len(block) != size:
                raise Malformed("an LZ4 block is cut")
            if plain:
                out += block
            else:
                lz4_block(block, out)
            at += size + 4 * bool(flags & 16)
        return bytes(out)
    except (struct.error, IndexError):
        raise Malformed("an LZ4 frame is cut") from None


def lz4_block(data, out):
    """Decode one LZ4 block to the end of `out`, to which its matches refer."""
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        literals, length = token >> 4, (token & 15) + 4
        if literals == 15:
            at, literals = lz4_length(data, at, literals)
        out += data[at:at + literals]
        at += literals
        if at >= end:
            return
        offset = data[at] | data[at + 1] << 8
        at += 2
        if token & 15 == 15:
            at, length = lz4_length(data, at, length)
        start = len(out) - offset
        if offset == 0 or start < 0 or len(out) + length > 2 * MAX_CHUNK:
            raise Malformed("an LZ4 match leaves its chunk")
        pattern = out[start:start + length]
        out += (pattern * (length // len(pattern) + 1))[:length]


def lz4_length(data, at, length):
    """Return (position after it, length) of a length that continues in further bytes."""
    while True:
        more = data[at]
        at, length = at + 1, length + more
        if more != 255:
            return at, length


@dataclass
class Term:
    """A run of chunks of one xorb."""

    xorb: str
    length: int
    first: int
    end: int


@dataclass
class ShardFile:
    """What a shard says about one file."""

    hash: str
    terms: list
    verified: bool
    sha256: str = None


@dataclass
class Shard:
    """The two sections of a shard: files, and {xorb hash: (chunks, decoded bytes)}."""

    files: list
    xorbs: dict


def parse_shard(data):
    """Return the Shard in an uploaded body, with or without its footer."""
    if len(data) > MAX_XORB or data[:32] != SHARD_TAG or data[32:40] != (2).to_bytes(8, "little"):
        raise Malformed("not a shard of version 2")
    records = (data[at:at + RECORD] for at in itertools.count(RECORD, RECORD))
    shard = Shard([], {})

    def take():
        record = next(records)
        if len(record) != RECORD:
            raise Malformed("the shard is cut")
        return record

    while (head := take())[:32] != BOOKEND:
        flags, count = struct.unpack_from("<II", head, 32)
        terms = []
        for _ in range(count):
            record = take()
            _, length, first, end = struct.unpack_from("<IIII", record, 32)
            terms.append(Term(hash_string(record[:32]), length, first, end))
        for _ in range(count if flags & VERIFIED else 0):
            take()
        sha256 = hash_string(take()[:32]) if flags & WITH_METADATA else None
        shard.files.append(ShardFile(hash_string(head[:32]), terms, bool(flags & VERIFIED), sha256))
    while (head := take())[:32] != BOOKEND:
        _, count, decoded, _ = struct.unpack_from("<IIII", head, 32)
        for _ in range(count):
            take()
        shard.xorbs[hash_string(head[:32])] = (count, decoded)
    return shard


def build_xorb(chunks):
    """Return the body of a xorb whose chunks are not compressed."""
    return b"".join(chunk_header(len(c), 0, len(c)) + c for c in chunks)


def build_shard(files, stored):
    """Return the body of a shard for [(hash, [Term], SHA-256)] and {xorb: [decoded lengths of its chunks]}."""
    out = [SHARD_TAG + struct.pack("<QQ", 2, 0)]
    for name, terms, digest in files:
        out.append(raw_hash(name) + struct.pack("<IIQ", VERIFIED | WITH_METADATA, len(terms), 0))
        out += [raw_hash(t.xorb) + struct.pack("<IIII", 0, t.length, t.first, t.end) for t in terms]
        out += [bytes(RECORD)] * len(terms) + [raw_hash(digest) + bytes(16)]
    out.append(BOOKEND + bytes(16))
    for name, lengths in stored.items():
        total = sum(lengths)
        out.append(raw_hash(name) + struct.pack("<IIII", 0, len(lengths), total, total + CHUNK_HEADER * len(lengths)))
        out += [bytes(32) + struct.pack("<IIII", 0, length, 0, 0) for length in lengths]
    return b"".join([*out, BOOKEND + bytes(16)])


@functools.cache
def crc64_table():
    """Return the table of CRC-64/NVME."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
        table.append(value)
    return table


def crc64nvme(data):
    """Return the checksum that grants and the object storage use."""
    table, value = crc64_table(), 0xFFFFFFFFFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFFFFFFFFFF


def stand_in(text):
    """Return a stable name in the form of a hash for a thing whose hash cannot be computed here."""
    return hashlib.sha256(text.encode()).hexdigest()
