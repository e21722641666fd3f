"""Section 4.14: webhooks."""

import inspect

from . import Section

SECTION = Section()
WATCHED = [{"type": "org", "name": "acme"}, {"type": "model", "name": "acme/talk"}]
URL = "https://example.org/hook"


@SECTION.world
def world(hub):
    """Something to watch."""
    hub.create_repo("models", "acme/talk")


def make(c, **more):
    """Make a webhook."""
    return c.api.create_webhook(url=URL, watched=WATCHED, domains=["repo"], secret="CANARYhook", **more)


def shown(hook):
    """Return a look at a webhook."""
    return lambda a: a.get_webhook(hook)


@SECTION.row("create_webhook", "list_webhooks")
def create_webhook(c):
    """A webhook belongs to who made it."""
    out = [c.seen(lambda a: sorted(w.url for w in a.list_webhooks()), lambda: make(c)), c.api.list_webhooks(),
           c.fails(c.api.create_webhook, url="nowhere", watched=WATCHED), c.try_to(c.nobody.list_webhooks)]
    if "job_id" in inspect.signature(c.api.create_webhook).parameters:
        job = c.api.run_job(image="busybox", command=["true"])
        out.append(c.api.create_webhook(job_id=job.id, watched=WATCHED))
    return out


@SECTION.row()
def get_webhook(c):
    """One webhook, for its owner."""
    hook = make(c).id
    return [c.look(shown(hook)), c.fails(c.api.get_webhook, "0" * 24)]


@SECTION.row()
def update_webhook(c):
    """Another address, other events."""
    hook = make(c).id
    return [c.seen(shown(hook), lambda: c.api.update_webhook(
        hook, url=URL + "/2", watched=WATCHED[:1], domains=["repo", "discussion"], secret="CANARYother")),
            c.fails(c.bob.update_webhook, hook, url=URL)]


@SECTION.row("enable_webhook", "disable_webhook")
def switch(c):
    """Off and on."""
    hook = make(c).id
    return [c.seen(shown(hook), lambda: c.api.disable_webhook(hook)),
            c.seen(shown(hook), lambda: c.api.enable_webhook(hook))]


@SECTION.row()
def delete_webhook(c):
    """A webhook is gone."""
    hook = make(c).id
    return [c.seen(shown(hook), lambda: c.api.delete_webhook(hook)), c.fails(c.api.delete_webhook, hook)]
