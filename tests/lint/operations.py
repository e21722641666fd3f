#!/usr/bin/env python3
"""Writes the fate of each published operation of the Hub into proto/README.md, or checks that it stands there.

usage: operations.py ROOT [--write]

The facts are the rows of tests/unit/proto/operations.tsv, which a unit test compares with the route table.
"""

import sys
from pathlib import Path

BEGIN, END = "<!-- operations: begin -->", "<!-- operations: end -->"
FATES = {
    "file": "answered from the store; upstream is asked for commit, digest and right by one HEAD",
    "commit-doc": "kept for ever per commit; a branch is resolved once per `cache.ref_ttl`",
    "repo-doc": "kept for `cache.repo_doc_ttl` (refs: `cache.ref_ttl`)",
    "list": "kept for `cache.list_ttl`, for each caller by itself",
    "public": "kept for `cache.public_ttl`, for everybody",
    "user": "passed on, never kept",
    "stream": "streamed, never kept or held",
    "forward": "passed on, never kept",
    "write": "passed on once",
}
UNTRUE = {
    "refs": "refs", "docs": "documents of the repository", "rights": "rights", "all": "everything of the repository",
    "lists": "listings", "public": "public documents", "named": "of the repositories named in the body",
    "bytes": "the bytes of its large files",
}
POOL = {
    "none": "sent without a token", "never": "refused (403)", "whoami": "answered for the client itself",
}


def fate(klass, untrue):
    """Say how an operation is answered and what it makes untrue."""
    text = FATES[klass]
    if klass == "write":
        gone = [UNTRUE[word] for word in untrue.split(",") if word != "nothing"]
        text += "; then gone: " + ", ".join(gone) if gone else "; nothing of it is kept"
    return text


def table(root):
    """Return the lines of the table, one row for each operation."""
    lines = ["| operation | fate | local clients |", "|---|---|---|"]
    for line in (root / "tests/unit/proto/operations.tsv").read_text().splitlines():
        if line.startswith("#"):
            continue
        method, path, _, klass, right, untrue = line.split("\t")
        lines.append(f"| {method} `{path}` | {fate(klass, untrue)} | {POOL.get(right, f'need `{right}`')} |")
    return lines


def main(argv):
    """Write or check; 1 if what stands there is something else."""
    root = Path(argv[1])
    readme = root / "proto/README.md"
    text = readme.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    new = head + BEGIN + "\n" + "\n".join(table(root)) + "\n" + END + tail
    if "--write" in argv:
        readme.write_text(new)
        return 0
    if new != text:
        print("proto/README.md:1: the table of operations is not that of operations.tsv; tests/lint/operations.py"
              " . --write makes it anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
