"""The table of what passed and what did not, by file and class."""

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict

COLUMNS = ("passed", "failed", "skipped", "by design")


def outcome(case):
    """Return how a test case of a JUnit report ended."""
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def place(nodeid):
    """Return `file Class` of a test's id."""
    file, *rest = nodeid.removeprefix("tests/").split("::")
    return f"{file.removesuffix('.py')} {rest[0] if len(rest) > 1 else ''}".strip()


def place_of_case(case):
    """Return `file Class` of a test case of a JUnit report."""
    parts = case.get("classname").removeprefix("tests.").split(".")
    return " ".join(parts[:2])


def table(junit, left_out):
    """Return the whole table as text, then the tests that failed."""
    counts, failed = defaultdict(Counter), []
    seen = {}
    if junit.exists():
        for case in ElementTree.parse(junit).getroot().iterfind(".//testcase[@classname]"):
            name = f"{place_of_case(case)}::{case.get('name')}"
            # An error in the clean-up is a second entry for the same test.
            if seen.get(name) != "failed":
                seen[name] = outcome(case)
            if outcome(case) == "failed":
                fault = next(c for c in case if c.tag in ("failure", "error"))
                failed.append((name, (fault.get("message") or "").splitlines()[:1]))
    for name, how in seen.items():
        counts[name.partition("::")[0]][how] += 1
    if left_out.exists():
        for nodeid, _ in json.loads(left_out.read_text()):
            counts[place(nodeid)]["by design"] += 1
    width = max([len(p) for p in counts], default=5)
    lines = [" ".join([" " * width, *(f"{c:>9}" for c in COLUMNS)])]
    for where in sorted(counts):
        lines.append(" ".join([f"{where:{width}}", *(f"{counts[where][c] or '':>9}" for c in COLUMNS)]))
    total = sum(counts.values(), Counter())
    lines.append(" ".join([f"{'all':{width}}", *(f"{total[c]:>9}" for c in COLUMNS)]))
    lines += ["", *(f"FAILED {name}  {' '.join(why)[:160]}" for name, why in sorted(failed))]
    return "\n".join(lines) + "\n"


def requests_that_failed(rows):
    """Return the requests which the Hub answered with an error, for the search for a cause."""
    return [{k: r[k] for k in ("origin", "method", "target", "status")} | {"body": r["body"][:2000].decode("latin-1")}
            for r in rows if r["status"] and r["status"] >= 400]
