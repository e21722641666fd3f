"""Start-up of the Hub for tests: binds the origins, announces them and runs until told to end."""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading

from . import routes, routes_cas, routes_endpoints, routes_files, routes_s3, routes_viewer
from .context import World
from .control import Control
from .faults import Faults
from .journal import Journal
from .server import Origin
from .store import Store


HOSTS = {
    "hub": "127.0.0.1", "cdn": "127.0.0.2", "evil": "127.0.0.3", "s3": "127.0.0.4", "cas": "127.0.0.5",
    "endpoints": "127.0.0.6", "viewer": "127.0.0.7", "control": "127.0.0.1",
}


def build(directory, hosts=None, ports=None, certificate=None, key=None):
    """Create all origins, bound but not yet listening, and return them by name.

    The CDN has another address, not only another port, because huggingface_hub 1.x compares host names alone.
    """
    hosts, ports = {**HOSTS, **(hosts or {})}, ports or {}
    world, journal, faults = World(Store(directory)), Journal(), Faults()
    handlers = {
        "hub": lambda request: routes.hub(world, request),
        "cdn": lambda request: routes_cas.xorb_bytes(world, request) or routes_files.cdn(world, request),
        "evil": routes.evil,
        "s3": lambda request: routes_cas.granted(world, request) or routes_s3.s3(world, request),
        "cas": lambda request: routes_cas.cas(world, request),
        "endpoints": lambda request: routes_endpoints.endpoints(world, request),
        "viewer": lambda request: routes_viewer.viewer(world, request),
    }
    origins = {name: Origin(name, handler, journal, faults, hosts[name], ports.get(name, 0))
               for name, handler in handlers.items()}
    for origin in origins.values():
        origin.directory = directory
        if certificate:
            origin.use_certificate(certificate, key)
    origins["s3"].digests = True
    for name, origin in origins.items():
        setattr(world, name + "_url", origin.url)
    control = Control(world, journal, faults, origins)
    everything = dict(origins)
    everything["control"] = Origin("control", control.handle, None, None, hosts["control"], ports.get("control", 0))
    return everything


def main(argv=None):
    """Run the Hub; print one JSON line with the addresses when it is ready."""
    parser = argparse.ArgumentParser(prog="hub", description="A Hugging Face Hub for tests.")
    for name, host in HOSTS.items():
        parser.add_argument(f"--{name}-host", default=host, help=f"address of the {name} origin ({host})")
        parser.add_argument(f"--{name}-port", type=int, default=0, help="0 lets the kernel choose")
    parser.add_argument("--tls-certificate", help="PEM file; all origins but control speak TLS with it")
    parser.add_argument("--tls-key", help="PEM file of its private key")
    parser.add_argument("--state-file", help="also write the addresses into this file")
    parser.add_argument("--data-dir", help="where large bodies are kept; the default is a temporary folder")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args(argv)
    directory = options.data_dir or tempfile.mkdtemp(prefix="hub-for-tests-")
    os.makedirs(directory, exist_ok=True)
    ports = {n: getattr(options, f"{n}_port") for n in HOSTS}
    hosts = {n: getattr(options, f"{n}_host") for n in HOSTS}
    threading.stack_size(512 * 1024)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65536)), hard))
    origins = build(directory, hosts, ports, options.tls_certificate, options.tls_key)
    for origin in origins.values():
        origin.start()
    line = json.dumps({**{name: o.url for name, o in origins.items()}, "pid": os.getpid(), "data": directory})
    if options.state_file:
        with open(options.state_file + ".new", "w") as f:
            f.write(line + "\n")
        os.replace(options.state_file + ".new", options.state_file)
    print(line, flush=True)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    if options.exit_with_stdin:
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), end.set()), daemon=True).start()
    end.wait()
    if not options.data_dir:
        shutil.rmtree(directory, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)
