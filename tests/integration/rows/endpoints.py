"""Section 4.11: inference endpoints and their catalog, which live on hosts beside the Hub."""

from . import Section

SECTION = Section()
PLACE = {"framework": "pytorch", "accelerator": "cpu", "instance_size": "x1", "instance_type": "intel-spr",
         "region": "us-east-1", "vendor": "aws", "task": "text-generation"}


@SECTION.world
def world(hub):
    """Models that can be deployed, one of them from the catalog."""
    hub.create_repo("models", "acme/talk")
    hub.commit("models", "acme/talk", {"config.json": "{}"})
    hub.update_repo("models", "acme/talk", extra={"catalog": True})
    hub.create_repo("models", "acme/plain")


def make(c, name, **more):
    """Deploy a model."""
    return c.api.create_inference_endpoint(name, repository="acme/talk", namespace="acme", **PLACE, **more)


def shown(c, name):
    """Return a look at an endpoint, which only ann has."""
    return lambda a: a.get_inference_endpoint(name, namespace="acme")


@SECTION.row("create_inference_endpoint", "get_inference_endpoint")
def create_inference_endpoint(c):
    """An endpoint is made and found; secrets are not told back."""
    out = [c.seen(shown(c, "one"), lambda: make(c, "one", secrets={"S": "CANARYhush"}, env={"A": "1"}, max_replica=2))]
    return out + [
        c.fails(make, c, "one"), c.fails(c.api.get_inference_endpoint, "nothing", namespace="acme"),
        c.fails(c.bob.create_inference_endpoint, "x", repository="acme/talk", namespace="acme", **PLACE),
        c.fails(c.api.create_inference_endpoint, "x", repository="acme/nothing", namespace="acme", **PLACE),
    ]


@SECTION.row()
def list_inference_endpoints(c):
    """The endpoints of one namespace and of all of them."""
    make(c, "listed")
    return [c.look(lambda a: sorted(e.name for e in a.list_inference_endpoints(namespace=n)))
            for n in ("acme", None, "*", "other")]


@SECTION.row()
def update_inference_endpoint(c):
    """Another size and another model."""
    make(c, "changed")
    return c.seen(shown(c, "changed"), lambda: c.api.update_inference_endpoint(
        "changed", namespace="acme", min_replica=0, max_replica=3, repository="acme/plain"))


@SECTION.row()
def delete_inference_endpoint(c):
    """An endpoint is gone."""
    make(c, "gone")
    return [c.seen(shown(c, "gone"), lambda: c.api.delete_inference_endpoint("gone", namespace="acme")),
            c.fails(c.api.delete_inference_endpoint, "gone", namespace="acme")]


@SECTION.row("pause_inference_endpoint", "resume_inference_endpoint", "scale_to_zero_inference_endpoint")
def pause(c):
    """An endpoint is paused, resumed and put to sleep."""
    make(c, "paused")
    return [
        c.seen(shown(c, "paused"), lambda: c.api.pause_inference_endpoint("paused", namespace="acme")),
        c.seen(shown(c, "paused"), lambda: c.api.resume_inference_endpoint("paused", namespace="acme")),
        c.api.resume_inference_endpoint("paused", namespace="acme"),
        c.fails(c.api.resume_inference_endpoint, "paused", namespace="acme", running_ok=False),
        c.seen(shown(c, "paused"), lambda: c.api.scale_to_zero_inference_endpoint("paused", namespace="acme")),
    ]


@SECTION.row("get_inference_endpoint")
def wait_and_fetch(c):
    """Waiting until an endpoint answers, and looking again."""
    made = make(c, "waited")
    ready = made.wait(timeout=20, refresh_every=1)
    return [ready.status, ready.raw, made.fetch().status, made.pause().status, made.resume().status,
            made.scale_to_zero().status, made.update(max_replica=4).raw, made.delete()]


@SECTION.row("create_inference_endpoint_from_catalog", "list_inference_catalog")
def catalog(c):
    """What the catalog offers is deployed."""
    out = [c.api.list_inference_catalog(), c.api.create_inference_endpoint_from_catalog("acme/talk", name="chosen"),
           c.api.get_inference_endpoint("chosen", namespace="ann"),
           c.fails(c.api.create_inference_endpoint_from_catalog, "acme/plain")]
    if c.major > 1:
        recipe = c.api.list_inference_catalog()[0].recipes[0].id
        out.append(c.api.create_inference_endpoint_from_catalog(recipe_id=recipe, name="recipe"))
    return out


@SECTION.row(since=1)
def list_inference_endpoints_hardware(c):
    """Which machines there are."""
    return c.api.list_inference_endpoints_hardware()
