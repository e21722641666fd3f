"""What the Hub checks before it takes a push; git runs this as the hook `pre-receive` of a mirror.

usage: git_pre_receive.py LIMIT FILE

LIMIT is the size in bytes above which a file must be an LFS object.  FILE names the sha256 of every LFS body that
the Hub holds, one on a line.
"""

import re
import subprocess
import sys

NONE = "0" * 40
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize [0-9]+\n")
POINTER_LIMIT = 1024
RULE = "-" * 73
TOO_LARGE = (
    "Your push was rejected because it contains files larger than 10 MiB.",
    "Please use https://git-lfs.github.com/ to store large files.",
    "See also: https://hf.co/docs/hub/repositories-getting-started#terminal",
)
NOT_UPLOADED = (
    "Your push was rejected because an LFS pointer pointed to a file that does not exist. For instance, this can",
    "happen if you used git push --no-verify to push your changes. Please use git push without --no-verify.",
)
NO_SUBMODULES = ("Your push was rejected because it contains submodules.",)
NO_SUCH_REF = ("Your push was rejected because only branches, tags and pull requests that exist can be pushed to.",)


def git(*arguments, text=b""):
    """Return what a git command prints."""
    return subprocess.run(["git", *arguments], input=text, stdout=subprocess.PIPE, check=True).stdout


def new_objects(commit):
    """Return [(id, type, size, path)] of all objects that a commit brings along."""
    listed = git("rev-list", "--objects", commit, "--not", "--all")
    rows = git("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize) %(rest)", text=listed)
    out = []
    for line in rows.decode("utf-8", "replace").splitlines():
        oid, kind, size, path = line.split(" ", 3)
        out.append((oid, kind, int(size), path))
    return out


def contents(oids):
    """Return {id: bytes} of blobs."""
    data, out, position = git("cat-file", "--batch", text="".join(f"{o}\n" for o in oids).encode()), {}, 0
    for oid in oids:
        end = data.index(b"\n", position)
        size = int(data[position:end].split(b" ")[2])
        out[oid] = data[end + 1:end + 1 + size]
        position = end + 1 + size + 1
    return out


def refuse(reason, rows):
    """Say why in the Hub's words, and with which files, and end."""
    lines = [RULE, *reason, "", "Offending files:", *(f"  - {path} (ref: {ref})" for path, ref in rows), RULE]
    print("\n".join(lines), file=sys.stderr)
    sys.exit(1)


def main(limit, known_file):
    """Judge the refs that git names on standard input."""
    with open(known_file, encoding="ascii") as f:
        known = set(f.read().split())
    for line in sys.stdin:
        old, new, ref = line.split()
        if not ref.startswith(("refs/heads/", "refs/tags/")) and (old == NONE or not ref.startswith("refs/pr/")):
            refuse(NO_SUCH_REF, [("(all)", ref)])
        if new == NONE:
            continue
        objects = new_objects(new)
        if large := [(path, ref) for _, kind, size, path in objects if kind == "blob" and size > limit]:
            refuse(TOO_LARGE, large)
        for tree in [oid for oid, kind, _, _ in objects if kind == "tree"]:
            rows = git("ls-tree", "-z", tree).decode("utf-8", "replace").split("\0")
            if links := [(row.partition("\t")[2], ref) for row in rows if row.startswith("160000 ")]:
                refuse(NO_SUBMODULES, links)
        small = {oid: path for oid, kind, size, path in objects if kind == "blob" and size <= POINTER_LIMIT}
        named = {oid: POINTER.fullmatch(text) for oid, text in contents(small).items()}
        if lost := [(small[oid], ref) for oid, m in named.items() if m and m.group(1).decode() not in known]:
            refuse(NOT_UPLOADED, lost)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
