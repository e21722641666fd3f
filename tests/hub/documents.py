"""The JSON documents that describe repositories, files, commits and users."""

import json
import re

from . import spaces
from .store import iso, object_id

PIPELINES = {"text-generation": "transformers", "fill-mask": "transformers"}


def front_matter(commit):
    """Return the metadata block of README.md as a dictionary; only scalars and lists are understood."""
    entry = commit.files.get("README.md") if commit else None
    if entry is None or entry.blob.size > 1 << 20:
        return {}
    text = entry.blob.read().decode("utf-8", "replace").replace("\r\n", "\n")
    match = re.match(r"---\n(.*?)\n---(\n|$)", text, re.S)
    data, key = {}, None
    for line in match.group(1).split("\n") if match else []:
        item = re.match(r"\s*- (.*)$", line)
        pair = re.match(r"([\w-]+):\s*(.*)$", line)
        if item and key and isinstance(data.get(key), list):
            data[key].append(scalar(item.group(1)))
        elif pair:
            key, value = pair.groups()
            if value.startswith("[") and value.endswith("]"):
                data[key] = [scalar(v) for v in value[1:-1].split(",") if v.strip()]
            else:
                data[key] = scalar(value) if value else []
    return data


def scalar(text):
    """Return a YAML scalar as text, truth value or number."""
    text = text.strip().strip("\"'")
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?\d{1,15}", text) else text


def listed(value):
    """Return a metadata value as a list."""
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


def tags(repo, card, commit):
    """Return the tags that the Hub derives from the card and the files."""
    found = []
    files = commit.files if commit else {}
    if repo.type == "models":
        found += [t for t in (library(repo, card, files), pipeline(repo, card)) if t]
        if any(p.endswith(".safetensors") for p in files):
            found.append("safetensors")
    if repo.type == "datasets":
        found += [f"task_categories:{t}" for t in listed(card.get("task_categories"))]
        found += [f"size_categories:{t}" for t in listed(card.get("size_categories"))]
        found += [f"language:{t}" for t in listed(card.get("language"))]
    else:
        found += [str(t) for t in listed(card.get("language"))]
    found += [str(t) for t in listed(card.get("tags"))]
    found += [f"dataset:{t}" for t in listed(card.get("datasets"))]
    found += [f"base_model:{t}" for t in listed(card.get("base_model"))]
    found += [f"license:{t}" for t in listed(card.get("license"))]
    found += repo.extra.get("tags", []) + ["region:us"]
    return list(dict.fromkeys(found))


def library(repo, card, files):
    """Return the library name of a model, guessed from its files if the card does not say."""
    name = repo.extra.get("library_name") or card.get("library_name")
    return name or ("transformers" if "config.json" in files else None)


def pipeline(repo, card):
    """Return the task of a model."""
    return repo.extra.get("pipeline_tag") or card.get("pipeline_tag")


def siblings(commit, blobs=False):
    """Return the file list of an info document."""
    rows = []
    for path in sorted(commit.files):
        row = {"rfilename": path}
        if blobs:
            entry = commit.files[path]
            row.update(blobId=entry.oid, size=entry.blob.size)
            if entry.lfs:
                row["lfs"] = {"sha256": entry.blob.sha256, "size": entry.blob.size, "pointerSize": len(entry.pointer)}
        rows.append(row)
    return rows


def info(ctx, repo, commit, blobs=False, security=False):
    """Return the complete info document of a repository at a commit; a field that has no value is left out."""
    head = repo.head() or commit
    card = front_matter(commit)
    files = commit.files if commit else {}
    doc = {
        "_id": repo.object_id, "id": repo.id, "author": repo.author, "sha": commit.sha if commit else None,
        "lastModified": iso(head.date if head else repo.created), "private": repo.private, "gated": repo.gated,
        "disabled": repo.disabled, "downloads": repo.downloads, "downloadsAllTime": repo.downloads * 3,
        "likes": repo.likes, "tags": tags(repo, card, commit), "createdAt": iso(repo.created),
        "siblings": siblings(commit, blobs) if commit else [], "usedStorage": repo.used_storage(),
        "trendingScore": repo.extra.get("trendingScore", 0), "resourceGroup": None, "xetEnabled": ctx.quirks["xet"],
    }
    if card:
        doc["cardData"] = card
    if repo.type in ("models", "kernels"):
        doc.update(modelId=repo.id, config=repo.extra.get("config", model_config(files)),
                   spaces=repo.extra.get("spaces", []))
        doc["model-index"] = None
        doc["library_name"] = library(repo, card, files)
        if pipeline(repo, card):
            doc["pipeline_tag"] = pipeline(repo, card)
        if doc["library_name"] == "transformers":
            doc["transformersInfo"] = {"auto_model": "AutoModel"}
        if "safetensors" in repo.extra:
            doc["safetensors"] = repo.extra["safetensors"]
        if "gguf" in repo.extra:
            doc["gguf"] = repo.extra["gguf"]
        doc.update(inference=None, inferenceProviderMapping=[], widgetData=[],
                   childrenModelCount={"adapter": 0, "merge": 0, "quantized": 0, "finetune": 0})
    if repo.type == "datasets":
        doc.update(description=repo.extra.get("description", ""), citation=None, paperswithcode_id=None)
    if repo.type == "spaces":
        name = repo.id.replace("/", "-").lower()
        sdk = card.get("sdk") or repo.extra.get("sdk", "gradio")
        doc.update(sdk=sdk, host=f"https://{name}.hf.space", subdomain=name, models=[], datasets=[],
                   runtime=spaces.runtime(repo))
    if security:
        doc["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    doc.update(repo.extra.get("info", {}))
    return doc


def model_config(files):
    """Return the excerpt of config.json that the Hub shows."""
    entry = files.get("config.json")
    if entry is None or entry.blob.size > 1 << 20:
        return {}
    try:
        config = json.loads(entry.blob.read())
    except ValueError:
        return {}
    if not isinstance(config, dict):
        return {}
    return {k: config[k] for k in ("architectures", "model_type", "tokenizer_config") if k in config}


MODEL_FIELDS = (
    "author baseModels cardData config createdAt disabled downloads downloadsAllTime evalResults gated inference "
    "inferenceProviderMapping lastModified library_name likes mask_token model-index pipeline_tag private safetensors "
    "sha siblings spaces tags transformersInfo trendingScore widgetData gguf resourceGroup xetEnabled "
    "childrenModelCount usedStorage"
).split()
HIDDEN = {"downloadsAllTime", "trendingScore", "resourceGroup", "xetEnabled", "inferenceProviderMapping",
          "baseModels", "childrenModelCount", "inference"}
BRIEF = {
    "models": ["_id", "id", "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag", "library_name",
               "createdAt", "modelId"],
    "datasets": ["_id", "id", "author", "cardData", "disabled", "gated", "lastModified", "likes", "trendingScore",
                 "private", "sha", "description", "downloads", "tags", "createdAt"],
    "spaces": ["_id", "id", "likes", "trendingScore", "private", "sdk", "tags", "createdAt"],
}
BRIEF["kernels"] = BRIEF["models"]
FULL = ["author", "gated", "disabled", "lastModified", "sha", "siblings"]


def shown(doc, expand, fixed=("_id", "id")):
    """Return the document cut to what an `expand` asks for, or to the ordinary fields."""
    if expand:
        return {k: v for k, v in doc.items() if k in fixed or k in expand}
    return {k: v for k, v in doc.items() if k not in HIDDEN}


def commit_document(commit, formatted=False):
    """Return one row of a commit listing."""
    row = {"id": commit.sha, "title": commit.title, "message": commit.message,
           "authors": [{"user": commit.author, "avatar": f"/avatars/{object_id(commit.author)}.svg"}],
           "date": iso(commit.date)}
    if formatted:
        row["formatted"] = {"title": f"<p>{commit.title}</p>", "message": f"<p>{commit.message}</p>"}
    return row


def last_commit(commit):
    """Return the short form of a commit used in listings."""
    return {"id": commit.sha, "title": commit.title, "date": iso(commit.date)}


def file_row(ctx, path, entry, expand):
    """Return a file of a tree listing."""
    row = {"type": "file", "oid": entry.oid, "size": entry.blob.size}
    if entry.lfs:
        row["lfs"] = {"oid": entry.blob.sha256, "size": entry.blob.size, "pointerSize": len(entry.pointer)}
        if ctx.quirks["xet"]:
            row["xetHash"] = entry.blob.xet_hash
    row["path"] = path
    if expand:
        row["lastCommit"] = last_commit(entry.commit)
        row["securityFileStatus"] = {"status": "safe", "avScan": {"status": "safe"}, "jFrogScan": None,
                                     "pickleImportScan": None, "protectAiScan": None, "virusTotalScan": None}
    return row


def folder_row(commit, path, expand):
    """Return a folder of a tree listing."""
    row = {"type": "directory", "oid": commit.dirs[path], "size": 0, "path": path}
    if expand:
        row["lastCommit"] = last_commit(commit.remembered("last", commit.last_changes)[path])
    return row


def user_document(name, following=False):
    """Return a user of a listing."""
    return {"_id": object_id("user:" + name), "user": name, "fullname": name.title(), "type": "user",
            "avatarUrl": f"/avatars/{object_id(name)}.svg", "isPro": False, "isHf": False, "isHfAdmin": False,
            "isMod": False, "isFollowing": following}
