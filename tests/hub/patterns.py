"""Which paths a `.gitattributes` or a `.gitignore` means, by git's rules for patterns."""

import functools
import re


@functools.lru_cache(4096)
def compiled(pattern):
    """Return a regular expression for a pattern; one without a slash in it is tried at every depth."""
    anchored = "/" in pattern.rstrip("/")
    text = pattern.strip("/").replace("[[:space:]]", "\\ ")
    out, i = [] if anchored else ["(?:.*/)?"], 0
    while i < len(text):
        c = text[i]
        if text.startswith("**/", i):
            out.append("(?:.*/)?")
            i += 3
            continue
        if text[i:] == "**":
            out.append(".*")
            break
        if c == "*":
            out.append("[^/]*")
        elif c == "?":
            out.append("[^/]")
        elif c == "[" and (end := text.find("]", i + 2)) > 0:
            inner = text[i + 1:end].replace("\\", "\\\\")
            out.append("[" + ("^" + inner[1:] if inner[0] in "!^" else inner) + "]")
            i = end
        elif c == "\\" and i + 1 < len(text):
            i += 1
            out.append(re.escape(text[i]))
        else:
            out.append(re.escape(c))
        i += 1
    return re.compile("".join(out), re.S)


@functools.lru_cache(64)
def lfs_rules(attributes):
    """Return [(pattern, whether it means LFS)] of the lines of a `.gitattributes` that speak of filters."""
    rules = []
    for line in attributes.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        for word in words[1:]:
            if word.startswith("filter=") or word in ("-filter", "!filter"):
                rules.append((words[0], word == "filter=lfs"))
    return rules


def is_lfs(attributes, path):
    """Tell whether a `.gitattributes` gives a path to LFS; the last line that matches decides."""
    return next((lfs for pattern, lfs in reversed(lfs_rules(attributes)) if compiled(pattern).fullmatch(path)), False)


def lfs_line(path):
    """Return the line of a `.gitattributes` that gives one path to LFS."""
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", path).replace(" ", "[[:space:]]")
    return f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"


@functools.lru_cache(64)
def ignore_rules(text):
    """Return [(pattern, whether it ignores)] of a `.gitignore`."""
    rules = []
    for line in text.splitlines():
        line = line.rstrip()
        if line and not line.startswith("#"):
            rules.append((line.removeprefix("!"), not line.startswith("!")))
    return rules


def is_ignored(text, path):
    """Tell whether a `.gitignore` leaves out a file, itself or by a folder above it."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        name, found = "/".join(parts[:depth]), False
        for pattern, ignores in ignore_rules(text):
            if pattern.endswith("/") and depth == len(parts):
                continue
            if compiled(pattern).fullmatch(name):
                found = ignores
        if found:
            return True
    return False
