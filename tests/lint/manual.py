#!/usr/bin/env python3
"""Checks the manual pages and the completions that the build has made, with what this machine has for it.

usage: manual.py FILE...

Prints one line per finding and exits 1 if there are any; exits 77 if there is no tool at all.
"""

import shutil
import subprocess
import sys
from pathlib import Path

# A page of a version has no date, or a build would not give the same twice.
ALLOWED = ("missing date",)

BASH = r"""
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_hubcached
echo "${COMPREPLY[@]}"
"""
# What a person has typed, and what must be among what is offered.
TYPED = (
    (["hubcached", "stat"], {"status"}),
    (["hubcached", "client", ""], {"add", "list", "remove", "rotate"}),
    (["hubcached", "client", "add", "x", "--p"], {"--pool"}),
    (["hubcached", "explain", "u", "--an"], {"--anonymous"}),
    (["hubcached", "serve", "--cache-ref"], {"--cache-ref-ttl"}),
    (["hubcached", "--mode", "o"], {"online", "offline"}),
)


def run(*command):
    """Run a command and return its status and what it wrote."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def commands(path):
    """Yield the checks for a file, by its kind."""
    if path.suffix in (".1", ".5"):
        yield "groff", "-ww", "-man", "-Tutf8", "-z", str(path)
        yield "mandoc", "-T", "lint", str(path)
    elif path.suffix == ".fish":
        yield "fish", "-n", str(path)
    elif path.name.startswith("_"):
        yield "zsh", "-n", str(path)
    else:
        yield "bash", "-n", str(path)


def check_bash(path):
    """Complete what was typed, in bash."""
    for typed, expected in TYPED:
        offered = set(run("bash", "-c", BASH, "bash", str(path), *typed)[1].split())
        if not expected <= offered:
            yield f"{path}: {' '.join(typed)}: {' '.join(sorted(expected - offered))} is not offered"
        if not all(word.startswith(typed[-1]) for word in offered):
            yield f"{path}: {' '.join(typed)}: something else is offered: {' '.join(sorted(offered))}"


def main(arguments):
    """Check all files."""
    findings, checked = [], 0
    for path in map(Path, arguments):
        for command in commands(path):
            if not shutil.which(command[0]):
                continue
            checked += 1
            status, out, err = run(*command)
            lines = [line for line in (out + err).splitlines() if not any(a in line for a in ALLOWED)]
            findings += [f"{path}: {line}" for line in lines]
            if command[0] != "mandoc" and status:
                findings.append(f"{path}: {command[0]} ends with {status}")
            if command[0] == "bash":
                findings += check_bash(path)
    print("\n".join(findings) or f"{checked} checks, no findings")
    return 1 if findings else 0 if checked else 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
