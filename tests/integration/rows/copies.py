"""Copies between repositories, for which the client needs what the Hub says of the chunk storage."""

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Files to copy, at a Hub with chunk storage."""
    hub.quirks(xet=True)
    hub.create_repo("models", "ann/from")
    hub.commit("models", "ann/from", {"old.txt": "text", "old.bin": "binary"})
    hub.create_repo("datasets", "acme/to")


@SECTION.row(since=1)
def copy_files(c):
    """A file is copied from one repository to another."""
    return [
        c.seen(lambda a: [c.files(a, "acme/to", repo_type="dataset"),
                          c.try_to(c.download, a, "acme/to", "w.bin", repo_type="dataset")],
               lambda: c.api.copy_files("hf://ann/from/old.bin", "hf://datasets/acme/to/w.bin")),
        c.seen(lambda a: c.files(a, "acme/to", repo_type="dataset"),
               lambda: c.api.copy_files("hf://ann/from/old.txt", "hf://datasets/acme/to/t.txt")),
        c.fails(c.bob.copy_files, "hf://ann/from/old.txt", "hf://datasets/acme/to/x.txt"),
    ]
