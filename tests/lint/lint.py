#!/usr/bin/env python3
"""Checks what the compiler does not: who includes whom, banned calls, complete tables, layout.

usage: lint.py ROOT

Prints one line per finding, "file:line: what", and exits 1 if there are any.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import operations

FOLDERS = ("proto", "config", "storage", "daemon")

# Each library has one door; tests may look behind it.
DOORS = {
    "microhttpd.h": {"daemon/server_impl.h"},
    "gnutls/abstract.h": {"daemon/tls.c"},
    "gnutls/gnutls.h": {"daemon/tls.c"},
    "gnutls/x509.h": {"daemon/tls.c"},
    "curl/curl.h": {"daemon/upstream.c"},
    "uv.h": {"daemon/loop.c", "daemon/upstream.c"},
    "sqlite3.h": {"storage/index_impl.h"},
    "jansson.h": {"proto/json.h"},
    "yaml.h": {"config/yaml_file.c"},
}

# Unbounded, locale-dependent or not thread-safe; and fork, which a process with an open database
# must not do (I-19).
BANNED = ("strcpy strcat sprintf vsprintf gets strtok strncat stpcpy atoi atol atoll atof "
          "localtime gmtime ctime asctime alloca tmpnam mktemp rand srand strerror_l "
          "system popen fork vfork mmap").split()

# The one place where time may be read otherwise is clock.c; file mappings would raise SIGBUS (I-19).
BANNED_RE = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(BANNED))
INCLUDE_RE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
LINE_MAX = 100

findings = []


def report(path, line, what):
    """Note a finding."""
    findings.append(f"{path}:{line}: {what}")


def strip_comments(text):
    """Blank out comments and string contents, keeping the lines."""
    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] + token[-1]
        return re.sub(r"[^\n]", " ", token)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def sources(root, *folders):
    """Yield the C files below folders, as paths relative to root."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".c", ".h", ".def"):
                yield path.relative_to(root)


def may_include(root, folder):
    """Read a folder's .may_include: names of folders, '#' begins a comment."""
    lines = (root / folder / ".may_include").read_text().splitlines()
    return {word for line in lines for word in line.split("#")[0].split()}


def headers_by_name(root):
    """Map each header's include name to its folder; base is apart from proto."""
    owner = {}
    for path in sources(root, *FOLDERS):
        if path.suffix in (".h", ".def"):
            if path.parts[:2] == ("proto", "base"):
                owner["base/" + path.name] = "base"
            else:
                owner.setdefault(path.name, path.parts[0])
    return owner


def check_includes(root):
    """Refuse includes that go upwards, and libraries used beside their door."""
    owner = headers_by_name(root)
    for path in sources(root, *FOLDERS):
        in_base = path.parts[:2] == ("proto", "base")
        folder = "base" if in_base else path.parts[0]
        allowed = may_include(root, "proto/base" if in_base else folder) | {folder}
        for number, line in enumerate((root / path).read_text().splitlines(), 1):
            match = INCLUDE_RE.match(line)
            if not match:
                continue
            ours, theirs = match.groups()
            if theirs in DOORS and str(path) not in DOORS[theirs]:
                report(path, number, f"<{theirs}> belongs to {', '.join(sorted(DOORS[theirs]))}")
            if ours in owner and owner[ours] not in allowed:
                # A name that exists in the file's own folder means that one.
                if not (root / path.parent / ours).exists():
                    report(path, number, f"{folder} may not include {owner[ours]}'s {ours}")


def check_own_header_first(root):
    """Every file includes its own header before all others, which proves it self-contained.

    A folder's private header that stands for several of its files may take that place.
    """
    for path in sources(root, *FOLDERS):
        own = path.with_suffix(".h")
        if path.suffix != ".c" or not (root / own).exists():
            continue
        name = "base/" + own.name if path.parts[:2] == ("proto", "base") else own.name
        for number, line in enumerate((root / path).read_text().splitlines(), 1):
            match = INCLUDE_RE.match(line)
            if match:
                if match.group(1) != name and not (match.group(1) or "").endswith("impl.h"):
                    report(path, number, f"its own header {name} comes first")
                break


def check_text(root):
    """Refuse banned calls, tabs, trailing blanks, long lines, unfinished notes."""
    for path in sources(root, *FOLDERS, "tests"):
        text = (root / path).read_text()
        shipped = path.parts[0] != "tests"
        for number, line in enumerate(strip_comments(text).splitlines(), 1):
            match = BANNED_RE.search(line)
            if match and shipped:
                report(path, number, f"{match.group(1)} is banned")
        for number, line in enumerate(text.splitlines(), 1):
            if "\t" in line or line != line.rstrip():
                report(path, number, "a tab or a trailing blank")
            if len(line) > LINE_MAX and path.suffix != ".def" and path.name != "route_table.c":
                report(path, number, f"longer than {LINE_MAX} columns")
            if re.search(r"\b(TODO|FIXME|XXX)\b", line):
                report(path, number, "an unfinished note")
        if text and not text.endswith("\n"):
            report(path, text.count("\n") + 1, "no newline at the end")
        if path.suffix == ".h" and "#pragma once" not in text:
            report(path, 1, "a header without #pragma once")


def table_rows(text, names):
    """Yield (line, macro, arguments) of the rows of an X-macro table."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    for match in re.finditer(r"^(%s)\(" % "|".join(names), text, flags=re.M):
        depth, end = 1, match.end()
        while depth:
            end += 1
            if text[end] == '"':
                end = text.index('"', end + 1)
                while text[end - 1] == "\\":
                    end = text.index('"', end + 1)
            elif text[end] in "()":
                depth += 1 if text[end] == "(" else -1
        yield text.count("\n", 0, match.start()) + 1, match.group(1), text[match.end():end]


def sentence_of(arguments):
    """Return the string literals at the end of a row, joined."""
    tail = re.search(r'((?:"(?:\\.|[^"\\])*"\s*)+)$', arguments)
    return "".join(re.findall(r'"((?:\\.|[^"\\])*)"', tail.group(1))) if tail else ""


def check_tables(root):
    """Every option and every metric ends in a sentence, and has a name of its own."""
    tables = (("config/options.def", ("OPTION",)),
              ("daemon/metrics.def", ("COUNTER", "GAUGE", "HISTOGRAM")))
    for path, macros in tables:
        seen = set()
        for number, macro, arguments in table_rows((root / path).read_text(), macros):
            name = arguments.split(",")[1].strip()
            sentence = sentence_of(arguments)
            if len(sentence) < 10 or not sentence.endswith("."):
                report(path, number, f"{name} has no sentence of explanation")
            if name in seen:
                report(path, number, f"{name} is there twice")
            seen.add(name)
            if macro == "COUNTER" and not re.search(r'_total"$', name):
                report(path, number, f"{name}: the name of a counter ends in _total")
        if not seen:
            report(path, 1, "no rows")


def check_readmes(root):
    """Every file that a README names by its path exists."""
    for readme in (root / "README.md", *sorted(root.glob("*/README.md"))):
        text = readme.read_text()
        for name in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
            if not (readme.parent / name).exists():
                report(readme.relative_to(root), 1, f"links to {name}, which is not there")


def check_layout(root):
    """Ask clang-format, where the version is there whose layout this tree has."""
    tool = next((t for t in ("clang-format-14", "clang-format") if shutil.which(t)), None)
    if not tool or "version 14." not in subprocess.run(
            [tool, "--version"], capture_output=True, text=True, check=True).stdout:
        print("lint: clang-format 14 is not here; layout is not checked")
        return
    files = [str(p) for p in sources(root, *FOLDERS, "tests") if p.suffix != ".def"]
    done = subprocess.run([tool, "--dry-run", *files], cwd=root, capture_output=True, text=True,
                          check=False)
    bad = set(re.findall(r"^([^\s:]+):\d+:\d+: warning: code should be clang-formatted",
                         done.stderr, flags=re.M))
    for path in sorted(bad):
        report(path, 1, "not laid out by clang-format; make format does it")


def main():
    """Run every check."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    os.chdir(root)
    if operations.main(["", str(root)]):
        findings.append("proto/README.md: see above")
    for check in (check_includes, check_own_header_first, check_text, check_tables, check_readmes,
                  check_layout):
        check(root)
    for finding in findings:
        print(finding)
    print(f"lint: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
