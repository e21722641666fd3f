"""Section 4.18: buckets, storage without history, of 1.x and later."""

import os

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """Buckets keep their files in the chunk storage."""
    hub.quirks(xet=True)


def fresh(c, name, **more):
    """Make a bucket with two files and return its id."""
    bucket = c.api.create_bucket(f"ann/{name}", **more).bucket_id
    c.api.batch_bucket_files(bucket, add=[(b"one", "one.txt"), (b"two" * 100, "d/two.bin")])
    return bucket


def files(bucket):
    """Return a look at what is in a bucket."""
    return lambda a: sorted(f.path for f in a.list_bucket_tree(bucket, recursive=True))


@SECTION.row("create_bucket", "list_buckets", since=1)
def create_bucket(c):
    """A bucket is there as soon as it was made; a private one is nobody else's."""
    listed = lambda a: sorted(b.id for b in a.list_buckets("ann"))  # noqa: E731
    out = [c.seen(listed, lambda: c.api.create_bucket("ann/public")),
           c.seen(listed, lambda: c.api.create_bucket("ann/private", private=True))]
    return out + [c.fails(c.api.create_bucket, "ann/public"), c.api.create_bucket("ann/public", exist_ok=True),
                  c.fails(c.bob.create_bucket, "ann/mine"), len(list(c.api.list_buckets()))]


@SECTION.row("bucket_info", "update_bucket_settings", since=1)
def update_bucket_settings(c):
    """Who may read a bucket follows its settings at once."""
    bucket = fresh(c, "settings-of")
    read = lambda a: [a.bucket_info(bucket), files(bucket)(a)]  # noqa: E731
    return [c.seen(read, lambda: c.api.update_bucket_settings(bucket, private=True)),
            c.fails(c.bob.update_bucket_settings, bucket, private=False), c.fails(c.api.bucket_info, "ann/nothing")]


@SECTION.row(since=1)
def delete_bucket(c):
    """A bucket is gone."""
    bucket = fresh(c, "doomed")
    return [c.fails(c.bob.delete_bucket, bucket),
            c.seen(lambda a: a.bucket_info(bucket), lambda: c.api.delete_bucket(bucket)),
            c.fails(c.api.delete_bucket, bucket), c.api.delete_bucket(bucket, missing_ok=True)]


@SECTION.row(since=1)
def move_bucket(c):
    """A bucket has another name."""
    bucket = fresh(c, "mover")
    return c.seen(lambda a: a.bucket_info("acme/moved").id, lambda: c.api.move_bucket(bucket, "acme/moved"))


@SECTION.row("batch_bucket_files", "list_bucket_tree", "get_bucket_paths_info", "get_bucket_file_metadata", since=1)
def batch_bucket_files(c):
    """Files come, change and go, and are seen as they are."""
    bucket = fresh(c, "files")
    read = lambda a: [files(bucket)(a), sorted(  # noqa: E731
        [f.path, f.size] for f in a.get_bucket_paths_info(bucket, ["one.txt", "d/two.bin", "three.txt"])),
        c.try_to(lambda: a.get_bucket_file_metadata(bucket, "one.txt").size)]
    return [c.seen(read, lambda: c.api.batch_bucket_files(bucket, add=[(b"three", "three.txt"), (b"1", "one.txt")])),
            c.seen(read, lambda: c.api.batch_bucket_files(bucket, delete=["d/two.bin"])),
            c.fails(c.bob.batch_bucket_files, bucket, delete=["one.txt"])]


@SECTION.row(since=1)
def download_bucket_files(c):
    """Files come down as they went up, also after they have changed: a bucket has no versions."""
    bucket = fresh(c, "down")

    def read(a):
        target = os.path.join(c.folder, "target")
        a.download_bucket_files(bucket, [("d/two.bin", target)], raise_on_missing_files=True)
        return c.digest(target)

    return [c.seen(read, lambda: c.api.batch_bucket_files(bucket, add=[(b"other" * 50, "d/two.bin")])),
            c.seen(read, lambda: c.api.batch_bucket_files(bucket, delete=["d/two.bin"]))]


@SECTION.row(since=1)
def sync_bucket(c):
    """A folder goes up and comes down again."""
    bucket = c.api.create_bucket("ann/synced").bucket_id
    c.file("up/a.txt", "a")
    c.file("up/d/b.bin", "b" * 1000)
    out = c.seen(files(bucket), lambda: c.api.sync_bucket(
        f"{c.folder}/up", f"hf://buckets/{bucket}", quiet=True) and None)
    c.api.sync_bucket(f"hf://buckets/{bucket}", f"{c.folder}/down", quiet=True)
    return [out, c.digest(f"{c.folder}/down/a.txt"), c.digest(f"{c.folder}/down/d/b.bin")]
