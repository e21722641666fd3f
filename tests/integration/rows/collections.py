"""Section 4.12: collections."""

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Things to collect, and more collections than fit on a page."""
    hub.quirks(list_page_size=3)
    hub.create_repo("models", "acme/talk")
    hub.create_repo("datasets", "acme/data")
    hub.create_repo("models", "acme/secret", private=True)
    hub.call("add_paper", id="1706.03762", title="Attention is all you need")
    for n in range(7):
        hub.call("add_collection", owner="acme", title=f"Old {n}", items=[{"id": "acme/talk", "type": "model"}])


def shown(slug):
    """Return a look at a collection."""
    return lambda a: a.get_collection(slug)


def fresh(c, title, *items, **more):
    """Make a collection with items and return its slug."""
    made = c.api.create_collection(title, namespace="acme", **more)
    for item, kind in items:
        c.api.add_collection_item(made.slug, item, kind)
    return made.slug


@SECTION.row("list_collections")
def list_collections(c):
    """All collections and those of somebody or with something, over several pages."""
    return [c.look(lambda a: list(a.list_collections(**more))) for more in (
        {"owner": "acme"}, {"owner": "ann"}, {"item": "models/acme/talk", "limit": 5}, {"sort": "upvotes", "limit": 2},
        {"owner": "acme", "item": "datasets/acme/data"})]


@SECTION.row()
def get_collection(c):
    """One collection."""
    slug = next(iter(c.api.list_collections(owner="acme", limit=1))).slug
    return [c.look(shown(slug)), c.fails(c.api.get_collection, "acme/nothing-" + "0" * 24)]


@SECTION.row()
def create_collection(c):
    """A public collection is in everybody's list, a private one in its owner's."""
    listed = lambda a: [x.title for x in a.list_collections(owner="ann")]  # noqa: E731
    out = [c.seen(listed, lambda: c.api.create_collection("Public", description="All of it")),
           c.seen(listed, lambda: c.api.create_collection("Private", private=True))]
    private = c.api.create_collection("Private", exists_ok=True)
    return out + [c.look(shown(private.slug)), c.fails(c.api.create_collection, "Private"),
                  c.fails(c.bob.create_collection, "x", namespace="acme"), c.fails(c.reader.create_collection, "x")]


@SECTION.row()
def update_collection_metadata(c):
    """Title, theme and who may see it."""
    slug = fresh(c, "Plain", private=True)
    return [c.seen(shown(slug), lambda: c.api.update_collection_metadata(slug, title="Better", theme="green",
                                                                         description="New", position=1)),
            c.seen(shown(slug), lambda: c.api.update_collection_metadata(slug, private=False)),
            c.fails(c.bob.update_collection_metadata, slug, title="Mine")]


@SECTION.row()
def delete_collection(c):
    """A collection is gone."""
    slug = fresh(c, "Doomed")
    return [c.fails(c.bob.delete_collection, slug),
            c.seen(lambda a: [c.try_to(shown(slug), a), len(list(a.list_collections(owner="acme")))],
                   lambda: c.api.delete_collection(slug)),
            c.fails(c.api.delete_collection, slug), c.api.delete_collection(slug, missing_ok=True)]


@SECTION.row()
def add_collection_item(c):
    """Items of every kind."""
    slug = fresh(c, "Items")
    out = [c.seen(shown(slug), lambda: c.api.add_collection_item(slug, item, kind, note=note)) for item, kind, note in (
        ("acme/talk", "model", "talkative"), ("acme/data", "dataset", None), ("1706.03762", "paper", None))]
    return out + [c.fails(c.api.add_collection_item, slug, "acme/talk", "model"),
                  c.api.add_collection_item(slug, "acme/talk", "model", exists_ok=True),
                  c.fails(c.api.add_collection_item, slug, "acme/nothing", "model"),
                  c.fails(c.bob.add_collection_item, slug, "acme/data", "dataset")]


@SECTION.row()
def update_collection_item(c):
    """Notes and order."""
    slug = fresh(c, "Order", ("acme/talk", "model"), ("acme/data", "dataset"), ("1706.03762", "paper"))
    item = c.api.get_collection(slug).items[0].item_object_id
    return c.seen(shown(slug), lambda: c.api.update_collection_item(slug, item, note="last", position=2))


@SECTION.row()
def delete_collection_item(c):
    """One item less."""
    slug = fresh(c, "Fewer", ("acme/talk", "model"), ("acme/data", "dataset"))
    item = c.api.get_collection(slug).items[0].item_object_id
    return [c.seen(shown(slug), lambda: c.api.delete_collection_item(slug, item)),
            c.fails(c.api.delete_collection_item, slug, item),
            c.api.delete_collection_item(slug, item, missing_ok=True)]


@SECTION.row("get_collection")
def items_that_go(c):
    """An item whose repository was deleted or hidden is in nobody else's collection."""
    c.api.create_repo("ann/item")
    slug = fresh(c, "Goes", ("ann/item", "model"), ("acme/talk", "model"))
    return [c.seen(shown(slug), lambda: c.api.update_repo_settings("ann/item", private=True)),
            c.seen(shown(slug), lambda: c.api.delete_repo("ann/item"))]


@SECTION.row(since=1)
def update_collection_resource_group(c):
    """The group of an organization to which a collection belongs."""
    slug = fresh(c, "Grouped")
    return [c.try_to(c.api.update_collection_resource_group, slug, None),
            c.fails(c.bob.update_collection_resource_group, slug, None)]
