"""Section 4.2: listings and tags."""

from . import Section

SECTION = Section()
CARD = "---\nlicense: mit\nlanguage:\n- en\ntags: [tiny, number-%d]\npipeline_tag: fill-mask\n---\n# Tiny\n"

TASKS = "---\ntask_categories:\n- text-generation\nlanguage: fr\n---\n"


@SECTION.world
def world(hub):
    """More repositories than fit on a page, some of which not everybody sees."""
    hub.quirks(list_page_size=4)
    for n in range(11):
        hub.create_repo("models", f"acme/m{n:02}", private=n == 3, gated="auto" if n == 5 else False)
        hub.commit("models", f"acme/m{n:02}", {"README.md": CARD % (n % 2), "config.json": '{"model_type": "bert"}'})
        hub.update_repo("models", f"acme/m{n:02}", likes=n * 7 % 11, downloads=n * 5 % 11,
                        extra={"trendingScore": n * 3 % 11})
    for n in range(6):
        hub.create_repo("datasets", f"ann/d{n}", private=n == 2)
        hub.commit("datasets", f"ann/d{n}", {"README.md": TASKS})
        hub.update_repo("datasets", f"ann/d{n}", likes=n * 5 % 6, downloads=n)
    for n in range(5):
        hub.create_repo("spaces", f"acme/s{n}", private=n == 1)
        hub.commit("spaces", f"acme/s{n}", {"README.md": "---\nsdk: gradio\n---\n", "app.py": f"print({n})"})
        hub.update_repo("spaces", f"acme/s{n}", likes=n)


def searches(c, call, *questions):
    """Ask each question twice, as everybody."""
    return [[c.look(lambda a: list(getattr(a, call)(**q))) for _ in range(2)] for q in questions]


@SECTION.row()
def list_models(c):
    """Searches over several pages; a private model is in nobody else's."""
    found = searches(
        c, "list_models", {}, {"author": "acme", "limit": 6}, {"search": "m0"}, {"filter": "fill-mask", "limit": 3},
        {"filter": ["tiny", "number-1"]}, {"sort": "likes", "limit": 5}, {"sort": "downloads", "full": True},
        {"sort": "last_modified", "author": "nobody"}, {"gated": True}, {"gated": False, "limit": 9},
        {"cardData": True, "fetch_config": True, "limit": 2}, {"expand": ["downloads", "likes", "gated"], "limit": 7},
        {"pipeline_tag": "fill-mask", "limit": 1}, {"sort": "nonsense"}, {"limit": 0},
    )
    counts = {name: len(models) for name, models in found[0][0].items()}
    assert counts == {"ann": 11, "bob": 10, "nobody": 10}
    return found


@SECTION.row()
def list_datasets(c):
    """The same for data sets, with their own filters."""
    return searches(
        c, "list_datasets", {}, {"author": "ann", "limit": 5}, {"search": "d1"}, {"filter": "language:fr"},
        {"task_categories": "text-generation", "language": "fr"}, {"sort": "likes", "limit": 3, "full": True},
        {"expand": ["downloads", "private"]}, {"gated": True},
    )


@SECTION.row()
def list_spaces(c):
    """The same for Spaces."""
    return searches(
        c, "list_spaces", {}, {"author": "acme", "limit": 3}, {"search": "s2"}, {"sort": "likes", "full": True},
        {"linked": True}, {"expand": ["sdk", "likes"]}, {"models": "acme/m00"}, {"datasets": ["ann/d0", "ann/d1"]},
    )


@SECTION.row()
def get_model_tags(c):
    """All tags of models."""
    return [c.look(lambda a: a.get_model_tags()) for _ in range(2)]


@SECTION.row()
def get_dataset_tags(c):
    """All tags of data sets."""
    return c.look(lambda a: a.get_dataset_tags())


@SECTION.row("list_models")
def listing_after_creation(c):
    """A repository that was just made is in the listings, one that was made private in nobody else's."""
    made = c.seen(lambda a: sorted(m.id for m in a.list_models(author="ann")), lambda: c.api.create_repo("ann/new"))
    hidden = c.seen(lambda a: sorted(m.id for m in a.list_models(author="ann")),
                    lambda: c.api.update_repo_settings("ann/new", private=True))
    assert hidden["after"] == {"ann": ["ann/new"], "bob": [], "nobody": []}
    return [made, hidden]


@SECTION.row("list_models")
def listing_in_parts(c):
    """A reader who stops in the middle of a listing and one who goes on."""
    rows = iter(c.api.list_models())
    first = [next(rows).id for _ in range(5)]
    return [first, [m.id for m in rows], [m.id for m in c.api.list_models(limit=5)]]
