"""Section 4.15: papers."""

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Two papers."""
    hub.call("add_paper", id="1706.03762", title="Attention is all you need")
    hub.call("add_paper", id="1810.04805", title="Deep bidirectional transformers", summary="Pay attention.")


@SECTION.row()
def list_papers(c):
    """A search finds papers, or none."""
    return [c.look(lambda a: list(a.list_papers(query=q))) for q in ("attention", "nothing like that", "")]


@SECTION.row()
def paper_info(c):
    """One paper, twice, and one that does not exist."""
    return [c.look(lambda a: a.paper_info("1706.03762")) for _ in range(2)] + [
        c.fails(c.api.paper_info, "0000.00000")
    ]


@SECTION.row(since=1)
def list_daily_papers(c):
    """The papers of a day."""
    return c.look(lambda a: list(a.list_daily_papers(limit=5)))


@SECTION.row(since=1)
def read_paper(c):
    """The text of a paper."""
    return [c.look(lambda a: a.read_paper("1706.03762")), c.fails(c.api.read_paper, "0000.00000")]
