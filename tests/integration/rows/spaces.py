"""Section 4.10: Spaces."""

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """A Space for each row."""
    for name in ("secret", "variable", "machine", "sleep", "life", "store", "volume", "dev", "wait", "quiet"):
        hub.create_repo("spaces", f"acme/{name}", sdk="gradio")
        hub.commit("spaces", f"acme/{name}", {"app.py": "print()", "README.md": "---\nsdk: gradio\n---\n",
                                              "name": name})
    hub.create_repo("models", "acme/model")


def runtime(repo):
    """Return a look at what a Space does."""
    return lambda a: a.get_space_runtime(repo)


@SECTION.row("add_space_secret", "delete_space_secret")
def secrets(c):
    """Secrets are set and removed; nobody reads them back."""
    repo = "acme/secret"
    shown = getattr(c.api, "get_space_secrets", lambda repo: None)
    out = [shown(repo), c.api.add_space_secret(repo, "KEY", "CANARYhush", description="a key"), shown(repo),
           c.api.add_space_secret(repo, "KEY", "CANARYother"), c.fails(c.bob.add_space_secret, repo, "K", "v"),
           c.fails(c.nobody.add_space_secret, repo, "K", "v")]
    return out + [c.api.delete_space_secret(repo, "KEY"), shown(repo)]


@SECTION.row(since=1)
def get_space_secrets(c):
    """The names of secrets, for those who may know them."""
    c.api.add_space_secret("acme/quiet", "NAME", "CANARYhush")
    return [c.api.get_space_secrets("acme/quiet"), c.fails(c.bob.get_space_secrets, "acme/quiet")]


@SECTION.row("get_space_variables", "add_space_variable", "delete_space_variable")
def variables(c):
    """Variables are set, changed and removed."""
    repo = "acme/variable"
    read = lambda a: a.get_space_variables(repo)  # noqa: E731
    return [c.seen(read, lambda: c.api.add_space_variable(repo, "MODEL", "acme/model", description="which")),
            c.seen(read, lambda: c.api.add_space_variable(repo, "MODEL", "acme/other")),
            c.seen(read, lambda: c.api.delete_space_variable(repo, "MODEL")),
            c.fails(c.bob.add_space_variable, repo, "K", "v"), c.fails(c.api.get_space_variables, "acme/nothing")]


@SECTION.row("get_space_runtime", "request_space_hardware")
def hardware(c):
    """A Space gets another machine; its runtime and its page say so."""
    repo = "acme/machine"
    return [c.look(runtime(repo)),
            c.seen(lambda a: [a.get_space_runtime(repo), a.space_info(repo).runtime],
                   lambda: c.api.request_space_hardware(repo, "t4-small", sleep_time=600)),
            c.fails(c.api.request_space_hardware, repo, "abacus"),
            c.fails(c.bob.request_space_hardware, repo, "t4-small"), c.fails(c.api.get_space_runtime, "acme/nothing")]


@SECTION.row()
def set_space_sleep_time(c):
    """When a Space goes to sleep."""
    repo = "acme/sleep"
    c.api.request_space_hardware(repo, "t4-small")
    return c.seen(runtime(repo), lambda: c.api.set_space_sleep_time(repo, 900))


@SECTION.row("pause_space", "restart_space")
def pause(c):
    """A Space is stopped and started again, also from scratch."""
    repo = "acme/life"
    return [c.seen(runtime(repo), lambda: c.api.pause_space(repo)), c.fails(c.bob.restart_space, repo),
            c.seen(runtime(repo), lambda: c.api.restart_space(repo)), c.api.restart_space(repo, factory_reboot=True),
            c.look(runtime(repo)), c.fails(c.nobody.pause_space, repo)]


@SECTION.row("request_space_storage", "delete_space_storage", until=1)
def storage(c):
    """A Space gets a disk and loses it."""
    repo = "acme/store"
    return [c.seen(runtime(repo), lambda: c.api.request_space_storage(repo, "small")),
            c.seen(runtime(repo), lambda: c.api.delete_space_storage(repo)),
            c.fails(c.api.request_space_storage, repo, "endless")]


@SECTION.row("set_space_volumes", "delete_space_volumes", since=1)
def volumes(c):
    """A repository is mounted in a Space and removed again."""
    repo, volume = "acme/volume", c.hf.Volume(type="model", source="acme/model", mount_path="/m")
    return [c.seen(runtime(repo), lambda: c.api.set_space_volumes(repo, [volume])),
            c.seen(runtime(repo), lambda: c.api.delete_space_volumes(repo))]


@SECTION.row("enable_space_dev_mode", "disable_space_dev_mode", since=1)
def dev_mode(c):
    """A Space that can be logged in to."""
    repo = "acme/dev"
    return [c.seen(runtime(repo), lambda: c.api.enable_space_dev_mode(repo)),
            c.seen(runtime(repo), lambda: c.api.disable_space_dev_mode(repo))]


@SECTION.row(since=1)
def fetch_space_logs(c):
    """What a Space has printed, and while it was built."""
    return [list(c.api.fetch_space_logs("acme/quiet")), list(c.api.fetch_space_logs("acme/quiet", build=True)),
            c.fails(lambda: list(c.bob.fetch_space_logs("acme/quiet")))]


@SECTION.row("fetch_space_logs", since=1)
def followed_space_logs(c):
    """Lines arrive while the Space prints them."""
    c.control("space_log", id="acme/wait", lines=["first"], ended=False)
    lines = iter(c.api.fetch_space_logs("acme/wait", follow=True))
    seen = [next(lines)]
    while seen[-1] != "first":
        seen.append(next(lines))
    c.control("space_log", id="acme/wait", lines=["second"])
    seen.append(next(lines))
    c.control("space_log", id="acme/wait", lines=["third"], ended=True)
    return seen + [next(lines)]


@SECTION.row(since=1)
def wait_for_space(c):
    """Waiting until a Space runs."""
    c.api.restart_space("acme/wait")
    return c.api.wait_for_space("acme/wait", poll_interval=0.1, timeout=20)


@SECTION.row(since=1)
def list_spaces_hardware(c):
    """Which machines there are."""
    return c.look(lambda a: a.list_spaces_hardware())


@SECTION.row(since=1)
def list_space_templates(c):
    """Which templates there are."""
    return c.look(lambda a: a.list_space_templates())


@SECTION.row(since=1)
def search_spaces(c):
    """A search by meaning."""
    return c.look(lambda a: list(a.search_spaces("quiet")))


@SECTION.row(since=2)
def get_zero_gpu_quota(c):
    """How much of a shared machine is left for the caller."""
    return [c.api.get_zero_gpu_quota(), c.try_to(c.nobody.get_zero_gpu_quota)]
