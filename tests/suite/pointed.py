"""A pytest plugin that points huggingface_hub's tests at another endpoint without changing them.

It runs inside the tests' own interpreter, before any of their modules is imported: the tests and the client have the
address of the staging Hub as constants, which are exchanged here.  Where an address stands in the code itself, the
request is led there, as the name service of a site would do it.  It also keeps every connection on this machine and
leaves out the tests that by_design.txt names.
"""

import contextlib
import fnmatch
import ipaddress
import json
import os
import socket
import sys
from urllib.parse import urlsplit

import pytest

ENDPOINT = os.environ["SUITE_ENDPOINT"]
STAGING = "https://hub-ci.huggingface.co"
CONDITIONS = {"With Xet hidden:": "SUITE_XET_HIDDEN", "In 0.x:": "SUITE_OLD"}
NAMES = ("hub-ci.huggingface.co", "huggingface.co")

os.environ["HUGGINGFACE_CO_STAGING"] = "1"
sys.path.insert(0, os.getcwd())


def exchange():
    """Exchange the address in the client's constants and in those of the tests."""
    from huggingface_hub import constants
    from tests import testing_constants

    for module in (constants, testing_constants):
        for name, value in list(vars(module).items()):
            if isinstance(value, str) and value.startswith(STAGING):
                setattr(module, name, ENDPOINT + value.removeprefix(STAGING))
    constants.INFERENCE_ENDPOINTS_ENDPOINT = os.environ["SUITE_ENDPOINTS"] + "/v2"
    constants.INFERENCE_CATALOG_ENDPOINT = os.environ["SUITE_ENDPOINTS"] + "/api/catalog"
    if hasattr(constants, "HF_URL_HOSTS"):
        constants.HF_URL_HOSTS |= {urlsplit(ENDPOINT).hostname}


def mark_production():
    """Give the tests of 0.x that talk to production the marker which later versions have."""
    from tests import testing_utils

    if decorate := getattr(testing_utils, "with_production_testing", None):
        testing_utils.with_production_testing = lambda test: pytest.mark.production(decorate(test))


def lead_names_here():
    """Send the requests of httpx for the Hub's names to the endpoint, whoever wrote the name."""
    import httpx

    target = httpx.URL(ENDPOINT)

    def led(request):
        if request.url.host in NAMES:
            request.url = request.url.copy_with(scheme=target.scheme, host=target.host, port=target.port)
            request.headers["Host"] = target.netloc.decode()
        return request

    sync, awaited = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request
    httpx.HTTPTransport.handle_request = lambda self, request: sync(self, led(request))
    httpx.AsyncHTTPTransport.handle_async_request = lambda self, request: awaited(self, led(request))


def lead_requests_here():
    """Do the same for requests, with which 0.x speaks."""
    from requests.adapters import HTTPAdapter

    send, here = HTTPAdapter.send, urlsplit(ENDPOINT)

    def led(self, request, *rest, **more):
        if urlsplit(request.url).hostname in NAMES:
            request.url = urlsplit(request.url)._replace(scheme=here.scheme, netloc=here.netloc).geturl()
        return send(self, request, *rest, **more)

    HTTPAdapter.send = led


def stay_here():
    """Refuse connections that leave this machine, so that a test which needs the Internet fails at once."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded(self, address):
        far = self.family in (socket.AF_INET, socket.AF_INET6) and address[0] != "localhost"
        if far and not ipaddress.ip_address(address[0]).is_loopback:
            raise TimeoutError(f"the tests stay on this machine: {address}")
        return connect(self, address)

    def local_only(host, *rest, **more):
        name = host.decode() if isinstance(host, bytes) else host
        if name and name != "localhost":
            try:
                ipaddress.ip_address(name)
            except ValueError:
                raise socket.gaierror(socket.EAI_NONAME, f"the tests stay on this machine: {name}") from None
        return look_up(host, *rest, **more)

    socket.socket.connect, socket.getaddrinfo = guarded, local_only


def blocks(path):
    """Return [(reason, patterns)] of by_design.txt."""
    out, reason, patterns = [], [], []
    for line in [*open(path, encoding="utf-8").read().splitlines(), ""]:
        if line.startswith("#"):
            reason.append(line.lstrip("# "))
        elif line.strip():
            patterns.append(line.strip())
        elif patterns:
            out.append((" ".join(reason), patterns))
            reason, patterns = [], []
        else:
            reason = []
    return out


def matches(item, pattern):
    """Tell whether a pattern, `@marker` or a shell pattern of an id below tests/, means a test."""
    if pattern.startswith("@"):
        return item.get_closest_marker(pattern[1:]) is not None
    name = item.nodeid.removeprefix("tests/")
    return name.startswith((pattern + "::", pattern + "[")) or fnmatch.fnmatchcase(name, pattern) or name == pattern


def pytest_configure(config):
    """Make the marker known to versions that do not have it."""
    config.addinivalue_line("markers", "production: talks to the production Hub")


def pytest_collection_modifyitems(config, items):
    """Leave out what fails by design and write down what that was."""
    path = os.environ.get("SUITE_BY_DESIGN")
    if not path:
        return
    kept, left = [], []
    table = [row for row in blocks(path)
             if all(os.environ[name] or condition not in row[0] for condition, name in CONDITIONS.items())]
    for item in items:
        for reason, patterns in table:
            if any(matches(item, p) for p in patterns):
                left.append([item.nodeid, reason])
                break
        else:
            kept.append(item)
    if left:
        config.hook.pytest_deselected(items=[i for i in items if i not in set(kept)])
        items[:] = kept
    with open(os.environ["SUITE_LEFT_OUT"], "w", encoding="utf-8") as f:
        json.dump(left, f)


for prepare in (lead_names_here, lead_requests_here):
    with contextlib.suppress(ImportError):
        prepare()
exchange()
mark_production()
stay_here()
