"""What the Hub finds wrong with the metadata block of a card, as far as a few rules of its own can tell."""

import re

LICENSES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 "
    "gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl mpl-2.0 odc-by "
    "odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license "
    "fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown other"
).split()
LISTS = ("tags", "datasets", "metrics", "model-index")


def check(text, type="model"):
    """Return (errors, warnings), each a list of messages, for the text of a README.md."""
    text = text.replace("\r\n", "\n").lstrip("\ufeff")
    match = re.match(r"\s*---[ \t]*\n(.*?)(\n?)---[ \t]*(\n|$)", text, re.S)
    if match is None:
        if re.match(r"\s*---[ \t]*\n", text):
            return ["YAML metadata block is not closed"], []
        return [], ["empty or missing yaml metadata in repo card (https://huggingface.co/docs/hub/model-cards)"]
    block = match.group(1)
    if not block.strip():
        return [], ["empty or missing yaml metadata in repo card (https://huggingface.co/docs/hub/model-cards)"]
    if fault := unreadable(block):
        return [f"YAML Metadata Error: {fault}"], []
    errors, fields = [], dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", block, re.M))
    below = {name: bool(re.search(rf"^{re.escape(name)}:[ \t]*\n[ \t]*-", block, re.M)) for name in fields}
    licenses = re.findall(r"^license:[ \t]*\n((?:[ \t]*- .*\n?)+)", block, re.M)
    given = re.findall(r"- (\S+)", licenses[0]) if licenses else [plain(fields.get("license", ""))]
    if any(name and name not in LICENSES for name in given):
        errors.append(f'"license" must be one of [{", ".join(LICENSES)}]')
    for name in LISTS:
        value = plain(fields.get(name, ""))
        if value and not below[name] and not value.startswith("[") and name in ("tags", "model-index"):
            errors.append(f'"{name}" must be an array')
    if type == "space" and plain(fields.get("sdk", "static")) not in ("gradio", "docker", "static", "streamlit"):
        errors.append('"sdk" must be one of [gradio, docker, static]')
    return errors, []


def plain(value):
    """Return a scalar without its quotes."""
    return value.strip().strip("\"'")


def unreadable(block):
    """Return why a block is not a YAML mapping, or None."""
    if block.strip().startswith(("[", "- ")):
        return "the metadata must be an object"
    for number, line in enumerate(block.split("\n"), 1):
        if line.startswith("\t") or re.match(r" *\t", line):
            return f"tabs cannot indent (line {number})"
        bare = re.sub(r"\"(\\.|[^\"\\])*\"|'[^']*'", "", line)
        if line[:1] not in ("", " ", "#", "-") and ":" not in line:
            return f"a key is expected (line {number})"
        value = re.sub(r"^\s*(- )?([\w-]+:)?\s*", "", bare)
        if value.startswith(("[", "{")) and value.count("[") + value.count("{") != value.count("]") + value.count("}"):
            return f"unexpected end of a flow collection (line {number})"
        if value.startswith(("\"", "'")):
            return f"missing closing quote (line {number})"
    return None
