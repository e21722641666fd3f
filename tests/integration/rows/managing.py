"""Section 4.5: creating and managing repositories."""

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Repositories that exist already."""
    for type, id, fields in (
        ("models", "other/there", {}), ("models", "ann/doomed", {}), ("models", "ann/hidden", {"private": True}),
        ("models", "ann/set", {}), ("models", "ann/gate", {}), ("models", "ann/mover", {}),
        ("datasets", "ann/moving", {"private": True}), ("models", "ann/squash", {}), ("models", "ann/away", {}),
    ):
        hub.create_repo(type, id, **fields)
        hub.commit(type, id, {"config.json": f'"{id}"', "w.bin": id})
    hub.commit("models", "ann/squash", {"two.txt": "2"}, message="Second")
    hub.create_branch("models", "ann/squash", "side")
    hub.commit("models", "ann/squash", {"three.txt": "3"}, branch="side", message="Third")
    hub.create_repo("spaces", "acme/app", sdk="gradio")
    hub.commit("spaces", "acme/app", {"app.py": "print()", "README.md": "---\nsdk: gradio\n---\n"})
    hub.create_repo("models", "acme/model")
    hub.commit("models", "acme/model", {"config.json": "{}", "w.bin": b"weights"})


@SECTION.row()
def create_repo(c):
    """A repository exists as soon as it has been made, with the name that was asked for or completed."""
    made = c.seen(lambda a: [a.repo_exists("ann/one"), c.try_to(a.list_repo_files, "ann/one")],
                  lambda: c.api.create_repo("one"))
    return [
        made, str(made["done"]), c.fails(c.api.create_repo, "ann/one"), c.api.create_repo("ann/one", exist_ok=True),
        c.seen(lambda a: a.repo_exists("acme/two", repo_type="dataset"),
               lambda: c.api.create_repo("acme/two", repo_type="dataset", private=True)),
        c.fails(c.api.create_repo, "other/x"), c.api.create_repo("other/there", exist_ok=True),
        c.fails(c.reader.create_repo, "ann/three"), c.fails(c.nobody.create_repo, "ann/three"),
        c.bob.create_repo("mine"), c.fails(c.api.create_repo, "ann/x", repo_type="space"),
    ]


@SECTION.row("create_repo")
def create_space(c):
    """A Space is made with everything that it needs."""
    done = c.seen(
        lambda a: [a.space_info("acme/new").sdk, c.files(a, "acme/new", repo_type="space")],
        lambda: c.api.create_repo(
            "acme/new", repo_type="space", space_sdk="docker", space_hardware="t4-small", space_sleep_time=600,
            space_secrets=[{"key": "S", "value": "hush"}], space_variables=[{"key": "V", "value": "1"}]))
    return [done, c.api.get_space_runtime("acme/new"), c.api.get_space_variables("acme/new")]


@SECTION.row()
def delete_repo(c):
    """What is deleted is gone for everybody at once, with its files."""
    return [
        c.seen(lambda a: [c.files(a, "ann/doomed"), c.download(a, "ann/doomed", "config.json"),
                          c.download(a, "ann/doomed", "w.bin")], lambda: c.api.delete_repo("ann/doomed")),
        c.fails(c.api.delete_repo, "ann/doomed"), c.api.delete_repo("ann/doomed", missing_ok=True),
        c.fails(c.bob.delete_repo, "ann/hidden"), c.fails(c.bob.delete_repo, "acme/model"),
        c.fails(c.reader.delete_repo, "ann/hidden"),
        c.seen(lambda a: c.download(a, "ann/doomed", "config.json"), lambda: [
            c.api.create_repo("ann/doomed"),
            c.api.upload_file(path_or_fileobj=b"again", path_in_repo="config.json", repo_id="ann/doomed")]),
    ]


@SECTION.row()
def move_repo(c):
    """What is moved is found under both names, and the old one can be taken again."""
    both = ("ann/mover", "acme/moved")
    return [
        c.seen(lambda a: [[c.try_to(c.files, a, r), c.try_to(c.download, a, r, "w.bin"), a.repo_exists(r)]
                          for r in both], lambda: c.api.move_repo(*both)),
        c.api.model_info("ann/mover").id, c.fails(c.api.move_repo, "ann/set", "acme/model"),
        c.fails(c.bob.move_repo, "acme/moved", "bob/mine"),
        c.seen(lambda a: a.dataset_info("acme/moving").id,
               lambda: c.api.move_repo("ann/moving", "acme/moving", repo_type="dataset")),
        c.seen(lambda a: [a.model_info("ann/mover").id, c.files(a, "ann/mover")],
               lambda: c.api.create_repo("ann/mover")),
    ]


@SECTION.row()
def update_repo_settings(c):
    """Who may read follows the settings at once: private, public, gated."""
    def reads(a):
        return [c.try_to(a.repo_exists, "ann/set"), c.try_to(c.files, a, "ann/set"),
                c.try_to(c.download, a, "ann/set", "config.json"),
                c.try_to(c.download, a, "ann/set", "w.bin")]

    out = [c.seen(reads, lambda: c.api.update_repo_settings("ann/set", private=True))]
    assert out[0]["after"]["bob"][0] is False and "raised" in out[0]["after"]["nobody"][2]
    out.append(c.seen(reads, lambda: c.api.update_repo_settings("ann/set", private=False)))
    assert out[1]["after"] == out[0]["before"]
    out.append(c.seen(reads, lambda: c.api.update_repo_settings("ann/set", gated="manual")))
    assert "raised" in out[2]["after"]["bob"][3]
    out.append(c.seen(lambda a: a.model_info("ann/set").gated,
                      lambda: c.api.update_repo_settings("ann/set", gated=False)))
    return out + [c.look(reads), c.fails(c.bob.update_repo_settings, "ann/set", private=True),
                  c.fails(c.reader.update_repo_settings, "ann/set", private=True)]


@SECTION.row(until=0)
def update_repo_visibility(c):
    """The older name of the same."""
    shown = c.seen(lambda a: a.model_info("ann/away").private,
                   lambda: c.api.update_repo_visibility("ann/away", private=True))
    return [shown, c.bob.repo_exists("ann/away")]


@SECTION.row(until=1)
def duplicate_space(c):
    """A Space is copied with its files."""
    return [
        c.seen(lambda a: c.files(a, "ann/app2", repo_type="space"),
               lambda: c.api.duplicate_space("acme/app", "ann/app2", hardware="cpu-basic",
                                             variables=[{"key": "V", "value": "1"}])),
        c.api.duplicate_space("acme/app", exist_ok=True), c.api.duplicate_space("acme/app", "ann/app2", exist_ok=True),
        c.fails(c.api.duplicate_space, "acme/app", "ann/app2"), c.fails(c.api.duplicate_space, "acme/nothing"),
    ]


@SECTION.row(since=1)
def duplicate_repo(c):
    """A repository of any type is copied with its files."""
    return [
        c.seen(lambda a: c.files(a, "ann/model2"), lambda: c.api.duplicate_repo("acme/model", "ann/model2")),
        c.seen(lambda a: c.files(a, "ann/app3", repo_type="space"),
               lambda: c.api.duplicate_repo("acme/app", "ann/app3", repo_type="space", private=True)),
        c.fails(c.api.duplicate_repo, "acme/model", "ann/model2"),
        c.fails(c.api.duplicate_repo, "acme/nothing", "ann/nothing"), c.download(c.bob, "ann/model2", "w.bin"),
    ]


@SECTION.row()
def super_squash_history(c):
    """A branch has one commit afterwards, with the same files; other branches stay."""
    def reads(a):
        return [[x.title for x in a.list_repo_commits("ann/squash", revision=r)] for r in ("main", "side")] + [
            c.files(a, "ann/squash"), c.download(a, "ann/squash", "w.bin"), a.model_info("ann/squash").sha]

    return [
        c.seen(reads, lambda: c.api.super_squash_history("ann/squash")),
        c.seen(reads, lambda: c.api.super_squash_history("ann/squash", branch="side", commit_message="Flat")),
        c.fails(c.api.super_squash_history, "ann/squash", branch="nope"),
        c.fails(c.bob.super_squash_history, "ann/squash"),
    ]
