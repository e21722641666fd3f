"""Section 4.17: what is built on HfApi: the file system, the scheduler, cards, mixins, login."""

import os

from . import ANN, Section

SECTION = Section()
REPO = "ann/fs"
CARD = "---\nlicense: mit\ntags:\n- tiny\n---\n# Card\n"


@SECTION.world
def world(hub):
    """Files to work at."""
    for repo in (REPO, "ann/fs-write", "ann/fs-remove", "ann/fs-copy", "ann/card"):
        hub.create_repo("models", repo)
        hub.commit("models", repo, {
            "a.txt": f"{repo} a", "d/b.txt": "b" * 1000, "d/e/c.csv": "x,y\n1,2\n", "w.bin": bytes(range(256)) * 4000,
            "README.md": "---\nlicense: apache-2.0\n---\n# Old\n", "empty": b""})
    hub.create_branch("models", REPO, "dev/x")
    hub.create_repo("datasets", "acme/data")
    hub.commit("datasets", "acme/data", {"x/train.csv": "a,b\n1,2\n"})
    hub.create_repo("models", "acme/secret", private=True)
    hub.commit("models", "acme/secret", {"config.json": "{}"})
    for name in ("squashed", "plain"):
        hub.create_repo("datasets", f"ann/{name}-before")


def system(c, api):
    """Return a file system that has nothing in mind yet."""
    return c.hf.HfFileSystem(token=api.token, skip_instance_cache=True)


def files(c, repo, *paths):
    """Return a look at a repository as a file system."""
    def look(api):
        fs = system(c, api)
        return [sorted(fs.find(repo)), [[fs.exists(f"{repo}/{p}"), c.try_to(system(c, api).cat_file, f"{repo}/{p}")]
                                        for p in paths]]
    return look


@SECTION.row("HfFileSystem")
def file_system_reads(c):
    """Listings, patterns, whole files and parts of them, as everybody."""
    def part(fs, **more):
        with fs.open(f"{REPO}/w.bin", **more) as f:
            return f.read(100_000)

    reads = [
        lambda fs: fs.ls(REPO, detail=False), lambda fs: fs.ls(REPO, detail=True),
        lambda fs: fs.ls("ann", detail=False), lambda fs: fs.find(REPO), lambda fs: fs.glob(f"{REPO}/**/*.txt"),
        lambda fs: fs.info(f"{REPO}/w.bin"),
        lambda fs: fs.info(f"{REPO}/d"), lambda fs: fs.info(f"{REPO}@dev/x/a.txt"),
        lambda fs: fs.exists(f"{REPO}/nope"), lambda fs: fs.isdir(f"{REPO}/d"), lambda fs: fs.isfile(f"{REPO}/d"),
        lambda fs: fs.cat_file(f"{REPO}/a.txt"), lambda fs: fs.cat_file(f"{REPO}/w.bin", start=1000, end=1300),
        lambda fs: fs.cat_file(f"{REPO}/empty"), lambda fs: fs.cat_file(f"{REPO}/nope"),
        lambda fs: part(fs, block_size=65536), lambda fs: part(fs, block_size=0), lambda fs: fs.du(REPO),
        lambda fs: [list(map(sorted, (d, f))) for _, d, f in fs.walk(REPO)],
        lambda fs: fs.ls("datasets/acme/data/x", detail=False), lambda fs: fs.ls("acme/secret", detail=False),
        lambda fs: fs.cat_file("hf://datasets/acme/data/x/train.csv"), lambda fs: fs.ls("ann/nothing"),
        lambda fs: fs.ls(f"{REPO}/nope"), lambda fs: fs.ls(f"{REPO}@nope"),
    ]
    return [[c.look(lambda a: read(system(c, a))) for _ in range(2)] for read in reads]


@SECTION.row("HfFileSystem")
def file_system_writes(c):
    """Files that are written are read at once."""
    repo, fs = "ann/fs-write", system(c, c.api)

    def write(path, data, **more):
        with fs.open(f"{repo}/{path}", "wb", **more) as f:
            f.write(data)

    return [
        c.seen(files(c, repo, "new.txt"), lambda: write("new.txt", b"new")),
        c.seen(files(c, repo, "a.txt"), lambda: write("a.txt", b"newer")),
        c.seen(files(c, repo, "big.bin"), lambda: write("big.bin", bytes(range(255)) * 30_000)),
        c.seen(files(c, repo, "put.txt"), lambda: fs.put_file(c.file("put.txt", "put"), f"{repo}/put.txt")),
        c.fails(lambda: system(c, c.bob).pipe_file(f"{repo}/x", b"x")),
    ]


@SECTION.row("HfFileSystem")
def file_system_removes(c):
    """Files and folders that are removed are gone at once."""
    repo, fs = "ann/fs-remove", system(c, c.api)
    return [c.seen(files(c, repo, "a.txt"), lambda: fs.rm(f"{repo}/a.txt")),
            c.seen(files(c, repo, "d/b.txt", "d/e/c.csv"), lambda: fs.rm(f"{repo}/d", recursive=True)),
            c.fails(system(c, c.bob).rm, f"{repo}/w.bin"), c.fails(system(c, c.api).rm, f"{repo}/nope")]


@SECTION.row("HfFileSystem")
def file_system_copies(c):
    """Files are copied and moved, small and large."""
    repo, fs = "ann/fs-copy", system(c, c.api)
    return [c.seen(files(c, repo, "copy.bin"), lambda: fs.cp_file(f"{repo}/w.bin", f"{repo}/copy.bin")),
            c.seen(files(c, repo, "copy.txt"), lambda: fs.cp_file(f"{repo}/a.txt", f"{repo}/copy.txt")),
            c.seen(files(c, repo, "d/b.txt", "moved.txt"), lambda: fs.mv(f"{repo}/d/b.txt", f"{repo}/moved.txt"))]


@SECTION.row("CommitScheduler")
def commit_scheduler(c):
    """A folder goes up by itself, now and when something has changed."""
    folder = os.path.dirname(c.file("folder/one.txt", "1"))
    scheduler = c.hf.CommitScheduler(repo_id="plain", repo_type="dataset", folder_path=folder, every=60, token=ANN)
    read = lambda a: [c.files(a, "ann/plain", repo_type="dataset"),  # noqa: E731
                      [x.title for x in a.list_repo_commits("ann/plain", repo_type="dataset")]]
    try:
        scheduler.trigger().result()
        first = c.look(read)
        c.file("folder/two.bin", b"2" * 100)
        return [first, c.seen(read, lambda: scheduler.trigger().result() and None)]
    finally:
        scheduler.stop()


@SECTION.row("CommitScheduler")
def squashing_scheduler(c):
    """A folder that goes up without leaving a history."""
    folder = os.path.dirname(c.file("folder/one.txt", "1"))
    scheduler = c.hf.CommitScheduler(repo_id="squashed", repo_type="dataset", folder_path=folder, every=60,
                                     squash_history=True, token=ANN)
    try:
        scheduler.trigger().result()
        c.file("folder/two.txt", "2")
        scheduler.trigger().result()
    finally:
        scheduler.stop()
    return c.look(lambda a: [c.files(a, "ann/squashed", repo_type="dataset"),
                             [x.title for x in a.list_repo_commits("ann/squashed", repo_type="dataset")]])


@SECTION.row("RepoCard")
def repo_card(c):
    """A card is checked, pushed and loaded."""
    read = lambda a: c.hf.RepoCard.load("ann/card", token=a.token).content  # noqa: E731
    return [
        c.hf.RepoCard(CARD).validate(), c.fails(c.hf.RepoCard(CARD.replace("mit", "asdf")).validate),
        c.seen(read, lambda: c.hf.RepoCard(CARD).push_to_hub("ann/card")),
        c.fails(c.hf.RepoCard(CARD.replace("mit", "asdf")).push_to_hub, "ann/card"),
        c.hf.RepoCard(CARD + "More.\n").push_to_hub("ann/card", create_pr=True), c.look(read),
    ]


@SECTION.row("metadata_update")
def metadata_update(c):
    """The metadata of a card is changed."""
    read = lambda a: [c.hf.metadata_load(a.hf_hub_download(REPO, "README.md", cache_dir=c.folder)),  # noqa: E731
                      a.model_info(REPO).tags]
    return [c.seen(read, lambda: c.hf.metadata_update(REPO, {"tags": ["new"]})),
            c.fails(c.hf.metadata_update, REPO, {"license": "mit"}),
            c.seen(read, lambda: c.hf.metadata_update(REPO, {"license": "mit"}, overwrite=True))]


@SECTION.row("ModelHubMixin")
def model_hub_mixin(c):
    """A model of one's own class is pushed and loaded again."""
    class Model(c.hf.ModelHubMixin):
        """A model with one number."""

        def __init__(self, size: int = 3):
            """Take the number."""
            self.size = size

        def generate_model_card(self, *args, **more):
            """Return a card without a template, which would need another package."""
            return c.hf.ModelCard(CARD)

        def _save_pretrained(self, directory):
            """Write it."""
            (directory / "weights.bin").write_bytes(b"w" * self.size)

        @classmethod
        def _from_pretrained(cls, *, model_id, token, cache_dir, force_download=False, revision=None,
                             local_files_only=False, size=0, **_):
            """Read it again."""
            path = c.hf.hf_hub_download(model_id, "weights.bin", token=token, cache_dir=cache_dir, revision=revision)
            return cls(os.path.getsize(path))

    def read(a):
        return Model.from_pretrained("ann/mixin", token=a.token, cache_dir=c.folder).size

    return [c.seen(read, lambda: Model(5).push_to_hub("ann/mixin")),
            c.seen(lambda a: c.download(a, "ann/mixin", "weights.bin"), lambda: Model(7).push_to_hub("ann/mixin")),
            c.look(lambda a: c.download(a, "ann/mixin", "config.json"))]


@SECTION.row("login")
def login(c):
    """A token is looked at before it is kept."""
    out = [c.hf.login(token=ANN)]
    out.append(c.fails(c.hf.login, token="hf_nobody0000000000000000000000000000000"))
    return [*out, c.try_to(c.hf.logout)]


@SECTION.row("send_telemetry")
def send_telemetry(c):
    """What is sent about the library is answered."""
    from huggingface_hub.utils import _telemetry

    return _telemetry._send_telemetry_in_thread("examples/rows", library_name="rows", library_version="1")
