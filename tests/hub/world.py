"""The small world of repositories that the tests of the Hub itself use."""

import json

from .client import Generated

CONFIG = json.dumps({"architectures": ["BertModel"], "model_type": "bert", "note": "x" * 400}).encode()
CARD = b"---\nlicense: mit\nlanguage:\n- en\ntags: [tiny, test]\npipeline_tag: fill-mask\n---\n# Tiny\n"
ODD = "sub dir/deep/\u00e4 #1.txt"
WEIGHTS = 3_000_001


def populate(hub):
    """Fill a Hub and return what the tests compare with."""
    first = hub.create_repo("models", "acme/tiny")
    hub.commit("models", "acme/tiny", {"config.json": b"{}"}, message="First\n\nWith a body.")
    hub.create_tag("models", "acme/tiny", "v1")
    detail = hub.commit_detail("models", "acme/tiny", {
        "config.json": CONFIG, "README.md": CARD, "empty.txt": b"", ODD: "odd name",
        "model.safetensors": Generated(WEIGHTS, seed=7), "sub dir/other.md": "# other\n" * 50,
    }, message="Add files")
    hub.create_pr_ref("models", "acme/tiny", 1)
    hub.commit("models", "acme/tiny", {"pr.txt": "from a pull request"}, branch="refs/pr/1")
    hub.create_branch("models", "acme/tiny", "dev/x")
    hub.update_repo("models", "acme/tiny", likes=5, likers=["ann"])
    hub.call("add_discussion", type="models", id="acme/tiny", title="Question", comment="why?")
    hub.create_repo("datasets", "acme/data")
    hub.commit("datasets", "acme/data", {"x/train.csv": "a,b\n1,2\n" * 100, "README.md": "---\nlicense: mit\n---\n"})
    hub.create_convert_ref("datasets", "acme/data")
    hub.create_repo("spaces", "acme/app")
    hub.commit("spaces", "acme/app", {"app.py": "print(1)\n"})
    hub.create_repo("models", "gpt2")
    hub.commit("models", "gpt2", {"config.json": CONFIG})
    hub.create_repo("models", "acme/old-name")
    hub.commit("models", "acme/old-name", {"config.json": CONFIG})
    hub.rename("models", "acme/old-name", "acme/new-name")
    hub.create_repo("models", "acme/many", init=False)
    hub.fill("models", "acme/many", 2500)
    for name, fields in (("secret", {"private": True}), ("gated", {"gated": "auto"}), ("disabled", {})):
        hub.create_repo("models", f"acme/{name}", **fields)
        hub.commit("models", f"acme/{name}", {"config.json": CONFIG, "model.safetensors": Generated(5000, seed=1)})
    hub.set_visibility("models", "acme/disabled", disabled=True)
    for n in range(7):
        hub.create_repo("models", f"listed/m{n}", init=False)
        hub.update_repo("models", f"listed/m{n}", likes=n)
    hub.add_token("hf_ann", "ann", orgs=["acme"], role="write")
    hub.add_token("hf_bob", "bob")
    hub.call("add_collection", owner="acme", title="Small things", items=[{"id": "acme/tiny", "type": "model"}])
    hub.call("add_paper", id="1706.03762", title="Attention is all you need")
    return {"first": first, "head": detail["sha"], "files": detail["files"]}
