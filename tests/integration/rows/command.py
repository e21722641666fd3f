"""The `hf` command, as each version has it."""

import re

from . import Section

SECTION = Section()
PLACE = ("--framework", "pytorch", "--accelerator", "cpu", "--instance-size", "x1", "--instance-type", "intel-spr",
         "--region", "us-east-1", "--vendor", "aws")


@SECTION.world
def world(hub):
    """What the command works at."""
    for repo in ("ann/tiny", "ann/tags", "ann/less", "ann/talk", "ann/moving", "ann/set", "ann/one-more"):
        hub.create_repo("models", repo)
        hub.commit("models", repo, {"config.json": f'"{repo}"', "w.bin": repo * 9, "d/x.txt": "x",
                                    "README.md": "---\nlicense: mit\n---\n# Tiny\n"})
    hub.update_repo("models", "ann/talk", extra={"catalog": True})
    hub.create_repo("spaces", "acme/app", sdk="gradio")
    hub.create_repo("datasets", "acme/data")
    hub.commit("datasets", "acme/data", {"x/train.csv": "a,b\n1,2\n"})
    hub.call("add_paper", id="1706.03762", title="Attention is all you need")


def last_word(lines, pattern):
    """Return what a pattern finds in what was printed."""
    return re.search(pattern, "\n".join(lines)).group()


@SECTION.row("hf auth")
def whoami(c):
    """Who the caller is, and where."""
    return c.hf_ok("auth", "whoami")


@SECTION.row("hf download")
def download(c):
    """A repository and a file."""
    c.hf_ok("download", "ann/tiny", "--local-dir", "all")
    c.hf_ok("download", "acme/data", "x/train.csv", "--repo-type", "dataset", "--local-dir", "one")
    failed = c.hf_command("download", "ann/nothing")
    assert failed["status"]
    return [c.digest(f"{c.folder}/{p}") for p in ("all/config.json", "all/w.bin", "one/x/train.csv")]


@SECTION.row("hf upload")
def upload(c):
    """A file and a folder, into repositories that are made on the way."""
    c.file("folder/a.txt", "a")
    c.file("folder/big.bin", bytes(range(256)) * 20_000)
    one = c.file("one.txt", "one")
    read = lambda a: [c.try_to(c.files, a, "ann/up"), c.try_to(c.download, a, "ann/up", "sub/big.bin")]  # noqa: E731
    return [
        c.seen(read, lambda: c.hf_ok("upload", "ann/up", "folder", "sub", "--commit-message", "Folder")),
        c.seen(read, lambda: c.hf_ok("upload", "ann/up", one, "one.txt")),
        c.seen(read, lambda: c.hf_ok("upload", "ann/up", "folder", "sub", "--delete", "*.bin", "--include", "*.txt")),
        c.hf_ok("upload", "ann/up", one, "two.txt", "--create-pr"),
        c.hf_ok("upload", "up-data", "folder", ".", "--repo-type", "dataset", "--private"),
        c.look(lambda a: c.files(a, "ann/up-data", repo_type="dataset")),
    ]


@SECTION.row("hf upload-large-folder", until=1)
def upload_large_folder(c):
    """A folder in as many commits as it takes."""
    for n in range(8):
        c.file(f"folder/f{n}.{'bin' if n % 2 else 'txt'}", f"{n}" * 50)
    return c.seen(lambda a: c.files(a, "ann/large"), lambda: c.hf_ok(
        "upload-large-folder", "ann/large", "folder", "--repo-type", "model", "--num-workers", "2", "--no-report",
        "--no-bars") and None)


@SECTION.row("hf repo create")
def repo_create(c):
    """Repositories are made."""
    word = "repos" if c.major else "repo"
    return [
        c.seen(lambda a: a.repo_exists("ann/cli"), lambda: c.hf_ok(word, "create", "cli")),
        c.hf_ok(word, "create", "acme/cli", "--repo-type", "dataset", "--private", "--exist-ok"),
        c.hf_command(word, "create", "ann/cli")["status"], c.hf_ok(word, "create", "ann/cli", "--exist-ok"),
        c.hf_ok(word, "create", "cli-space", "--repo-type", "space", "--space-sdk" if c.major else "--space_sdk",
                "docker"),
    ]


@SECTION.row("hf repo tag")
def repo_tag(c):
    """Tags are made, listed and removed."""
    word = "repos" if c.major else "repo"
    read = lambda a: sorted(t.name for t in a.list_repo_refs("ann/tags").tags)  # noqa: E731
    return [
        c.seen(read, lambda: c.hf_ok(word, "tag", "create", "ann/tags", "v1", "-m", "First")),
        c.hf_ok(word, "tag", "list", "ann/tags"),
        c.seen(read, lambda: c.hf_ok(word, "tag", "delete", "ann/tags", "v1", "-y")),
    ]


@SECTION.row("hf repos branch", since=1)
def repo_branch(c):
    """Branches are made and removed."""
    read = lambda a: sorted(b.name for b in a.list_repo_refs("ann/tags").branches)  # noqa: E731
    return [c.seen(read, lambda: c.hf_ok("repos", "branch", "create", "ann/tags", "dev")),
            c.seen(read, lambda: c.hf_ok("repos", "branch", "delete", "ann/tags", "dev"))]


@SECTION.row("hf repos", since=1)
def repos(c):
    """Repositories are listed, moved, set, copied and deleted."""
    found = lambda *names: lambda a: [a.repo_exists(n) for n in names]  # noqa: E731
    return [
        c.seen(lambda a: c.try_to(a.model_info, "ann/set"),
               lambda: c.hf_ok("repos", "settings", "ann/set", "--private")),
        c.seen(found("ann/copied"), lambda: c.hf_ok("repos", "duplicate", "ann/tiny", "ann/copied")),
        c.seen(found("acme/moved"), lambda: c.hf_ok("repos", "move", "ann/moving", "acme/moved")),
        c.seen(found("ann/one-more"), lambda: c.hf_ok("repos", "delete", "ann/one-more", "--yes")),
    ]


@SECTION.row("hf repos delete-files")
def delete_files(c):
    """Files are deleted."""
    words = ("repos", "delete-files") if c.major else ("repo-files", "delete")
    return c.seen(lambda a: c.files(a, "ann/less"), lambda: c.hf_ok(*words, "ann/less", "*.bin", "d/*"))


@SECTION.row("hf jobs")
def jobs(c):
    """Jobs run, are looked at, listed and stopped, and are planned."""
    out = [c.hf_ok("jobs", "run", "--detach", "busybox", "sleep", "9")]
    job = c.api.list_jobs(namespace="ann")
    job = next(iter(job)).id
    out.append(c.hf_ok("jobs", "inspect", job)[:2])
    c.hf_ok("jobs", "ps")
    out.append(c.seen(lambda a: a.inspect_job(job_id=job, namespace="ann").status.stage,
                      lambda: c.hf_ok("jobs", "cancel", job) and None))
    c.hf_ok("jobs", "scheduled", "run", "@hourly", "busybox", "echo", "hi")
    plan = next(iter(c.api.list_scheduled_jobs())).id
    read = lambda a: c.try_to(a.inspect_scheduled_job, scheduled_job_id=plan, namespace="ann")  # noqa: E731
    c.hf_ok("jobs", "scheduled", "ps")
    return out + [c.seen(read, lambda: c.hf_ok("jobs", "scheduled", verb, plan) and None)
                  for verb in ("suspend", "resume", "delete")]


@SECTION.row("hf jobs run")
def job_with_logs(c):
    """A job whose lines are printed as they come."""
    return c.hf_ok("jobs", "run", "busybox", "echo", "hello")


@SECTION.row("hf collections", since=1)
def collections(c):
    """A collection is made, filled, changed and deleted."""
    c.hf_ok("collections", "create", "By command", "--description", "All")
    slug = next(x.slug for x in c.api.list_collections(owner="ann"))
    read = lambda a: c.try_to(a.get_collection, slug)  # noqa: E731
    return [
        c.seen(read, lambda: c.hf_ok("collections", "add-item", slug, "ann/tiny", "model", "--note", "small") and None),
        c.hf_ok("collections", "info", slug)[:1],
        c.seen(read, lambda: c.hf_ok("collections", "update", slug, "--title", "Renamed") and None),
        c.seen(read, lambda: c.hf_ok("collections", "delete", slug) and None),
    ]


@SECTION.row("hf webhooks", since=1)
def webhooks(c):
    """A webhook is made, switched, changed and deleted."""
    c.hf_ok("webhooks", "create", "--url", "https://example.org/hook", "--watch", "model:ann/tiny", "--domain", "repo")
    hook = c.api.list_webhooks()[0].id
    read = lambda a: c.try_to(a.get_webhook, hook)  # noqa: E731
    return [c.seen(read, lambda: c.hf_ok("webhooks", *words) and None) for words in (
        ("disable", hook), ("enable", hook), ("update", hook, "--url", "https://example.org/2"),
        ("delete", hook, "--yes"))]


@SECTION.row("hf endpoints", since=1)
def endpoints(c):
    """An endpoint is deployed, looked at, paused, resumed, changed and deleted."""
    c.hf_ok("endpoints", "deploy", "cli", "--repo", "ann/talk", *PLACE)
    read = lambda a: c.try_to(a.get_inference_endpoint, "cli", namespace="ann")  # noqa: E731
    c.look(read)
    c.hf_ok("endpoints", "ls")
    c.hf_ok("endpoints", "describe", "cli")
    c.hf_ok("endpoints", "catalog", "ls")
    return [c.seen(read, lambda: c.hf_ok("endpoints", *words) and None) for words in (
        ("pause", "cli"), ("resume", "cli"), ("scale-to-zero", "cli"), ("update", "cli", "--max-replica", "3"),
        ("delete", "cli", "--yes"))]


@SECTION.row("hf discussions", since=1)
def discussions(c):
    """A discussion is opened, answered, renamed, closed and opened again."""
    c.hf_ok("discussions", "create", "ann/talk", "--title", "Question", "--body", "Why?")
    read = lambda a: c.try_to(a.get_discussion_details, "ann/talk", 1)  # noqa: E731
    return [c.seen(read, lambda: c.hf_ok("discussions", words[0], "ann/talk", "1", *words[1:]) and None) for words in (
        ("comment", "--body", "Because."), ("rename", "Answered"), ("close", "--yes"), ("reopen", "--yes"))] + [
            c.hf_ok("discussions", "list", "ann/talk")]


@SECTION.row("hf models, datasets, spaces, papers", since=1)
def reading(c):
    """What is printed of models, data sets, Spaces and papers."""
    return [c.hf_ok(*words) for words in (
        ("models", "ls", "--author", "ann", "--json"), ("datasets", "info", "acme/data", "--json"),
        ("spaces", "info", "acme/app", "--json"), ("papers", "info", "1706.03762", "--json"))]
