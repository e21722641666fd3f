"""The people, organizations and repositories that huggingface_hub's tests expect to find at the staging Hub."""

import runpy
import struct
import zlib


def constants(checkout):
    """Return the constants of a checkout's tests: users, their tokens, and the names that go with them."""
    return runpy.run_path(str(checkout / "tests/testing_constants.py"))


def tokens(names):
    """Return every token among the constants."""
    return [value for name, value in names.items() if name.endswith("TOKEN")]


def picture():
    """Return a small grey PNG."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * 8) * 8)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def publish(hub):
    """Publish stand-ins for the repositories of production which some tests use only to have files at all."""
    hub.create_repo("kernels", "kernels-community/relu")
    hub.commit("kernels", "kernels-community/relu", {"benchmarks/benchmark.py": "print(1)\n"})
    hub.create_branch("kernels", "kernels-community/relu", "v1")
    hub.commit("kernels", "kernels-community/relu", {"README.md": "relu\n"})
    hub.create_repo("datasets", "Narsil/image_dummy")
    hub.commit("datasets", "Narsil/image_dummy", {"sample1.flac": b"fLaC", "lena.png": picture()})
    hub.create_repo("spaces", "impira/docquery")
    hub.commit("spaces", "impira/docquery", {"contract.jpeg": b"\xff\xd8\xff\xd9"})
    for n in range(7):
        hub.create_repo("models", f"listed/m{n}", init=n == 0)
    hub.update_repo("models", "listed/m0", extra={"catalog": True})


def populate(hub, names):
    """Give the Hub what the tests' constants name, and what else they take for granted."""
    hub.add_token(names["TOKEN"], names["USER"], orgs=["valid_org", "valid_org_hub"], role="write")
    hub.add_token(names["OTHER_TOKEN"], names["OTHER_USER"], role="write")
    hub.call("set_fullname", name=names["USER"], fullname=names["FULL_NAME"])
    for org, fullname in (("valid_org", "Dummy Org"), ("valid_org_hub", "Dummy Hub Org")):
        hub.call("set_fullname", name=org, fullname=fullname)
    if org := names.get("ENTERPRISE_ORG"):
        hub.add_token(names["ENTERPRISE_TOKEN"], names["ENTERPRISE_USER"], orgs=[org], role="write")
        hub.call("add_org", name=org, private=True)
    hub.quirks(lfs_batch_xet=True)
    publish(hub)
