#!/usr/bin/env python3
"""Makes sql.h and sql.c of schema.sql and queries.sql.

usage: embed_sql.py SCHEMA QUERIES OUT_H OUT_C
"""
import json
import re
import sys


def blocks(path, pattern):
    """The blocks that begin with a line matching pattern, as (group 1, text without comments)."""
    found = []
    for line in open(path, encoding="utf-8"):
        begin = re.match(pattern, line)
        if begin:
            found.append((begin.group(1), []))
        elif found:
            text = re.sub(r"\s*--.*", "", line).rstrip()
            if text:
                found[-1][1].append(text)
    return [(name, "\n".join(text)) for name, text in found]


def literal(text):
    return "\n                ".join(json.dumps(line + "\n") for line in text.split("\n"))


def main():
    schema, queries, out_h, out_c = sys.argv[1:]
    migrations = blocks(schema, r"-- @version (\d+)$")
    statements = blocks(queries, r"-- @(\w+)$")
    if [int(n) for n, _ in migrations] != list(range(1, len(migrations) + 1)):
        sys.exit(f"{schema}: versions must count up from 1")
    names = [name for name, _ in statements]
    if len(set(names)) != len(names) or not all(text for _, text in statements):
        sys.exit(f"{queries}: a name is there twice, or without a statement")

    with open(out_h, "w", encoding="utf-8") as out:
        out.write("/* Made by embed_sql.py of schema.sql and queries.sql. */\n#pragma once\n\n")
        out.write("enum sql {\n")
        out.writelines(f"        SQL_{name.upper()},\n" for name in names)
        out.write("        SQL_COUNT\n};\n\n")
        out.write(f"enum {{ SQL_VERSION = {len(migrations)} }};\n\n")
        out.write("extern const char *const sql_names[SQL_COUNT];\n")
        out.write("extern const char *const sql_texts[SQL_COUNT];\n")
        out.write("/* [v] brings a database of version v to v + 1. */\n")
        out.write("extern const char *const sql_migrations[SQL_VERSION];\n")

    with open(out_c, "w", encoding="utf-8") as out:
        out.write('/* Made by embed_sql.py of schema.sql and queries.sql. */\n#include "sql.h"\n\n')
        out.write("const char *const sql_names[SQL_COUNT] = {\n")
        out.writelines(f'        [SQL_{name.upper()}] = "{name}",\n' for name in names)
        out.write("};\n\nconst char *const sql_texts[SQL_COUNT] = {\n")
        out.writelines(f"        [SQL_{name.upper()}] =\n                {literal(text)},\n"
                       for name, text in statements)
        out.write("};\n\nconst char *const sql_migrations[SQL_VERSION] = {\n")
        out.writelines(f"        [{int(n) - 1}] =\n                {literal(text)},\n"
                       for n, text in migrations)
        out.write("};\n")


main()
