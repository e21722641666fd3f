"""Runs the rows of one section with the huggingface_hub of this interpreter and prints what each came to.

`HF_ENDPOINT`, `HF_TOKEN` and the addresses of the hosts beside the Hub come from the environment.
"""

import contextlib
import dataclasses
import datetime
import enum
import hashlib
import inspect
import io
import json
import os
import re
import sys
import tempfile
import warnings
from concurrent.futures import Future
from pathlib import Path
from urllib.request import Request, urlopen

import huggingface_hub
from huggingface_hub import HfApi, constants, repocard
from huggingface_hub.utils import _http

import rows

REAL_HUB = "https://huggingface.co"
HUB_CLASSES = (
    "EntryNotFoundError",
    "GatedRepoError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
    "DisabledRepoError",
    "BadRequestError",
    "HfHubHTTPError",
)


def plain(value):
    """Return what a client gave back as JSON can hold it: classes as dictionaries, times as a word, bytes by digest."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (datetime.datetime, datetime.date)):
        return "TIME"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes {hashlib.sha256(value).hexdigest()}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Future):
        return plain(value.result())
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__") and not isinstance(value, (str, dict, list, type)):
        fields = {k: v for k, v in vars(value).items() if not k.startswith("_")}
        return {"class": type(value).__name__, **{k: plain(v) for k, v in fields.items()}}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    return [plain(v) for v in value]


def failed(error):
    """Return what a program can learn from an exception."""
    response = getattr(error, "response", None)
    out = {
        "raised": type(error).__name__,
        "also": [c.__name__ for c in type(error).__mro__ if c.__name__ in HUB_CLASSES],
    }
    if response is None:
        return {**out, "text": str(error)}
    # To a 401 the daemon adds the code that clients need over plain http; the class of the error says the same.
    code = response.headers.get("X-Error-Code") if response.status_code != 401 else None
    # What is missing the daemon knows by itself, and says it in its own words.
    text = getattr(error, "server_message", None) if code != "EntryNotFound" else None
    return {**out, "status": response.status_code, "code": code, "text": text}


class Context:
    """What rows use: the callers, a folder of their own, and ways of looking at what happens."""

    def __init__(self):
        """Make the callers."""
        self.major = int(huggingface_hub.__version__.split(".")[0])
        self.hf, self.endpoint = huggingface_hub, constants.ENDPOINT
        self.api, self.bob = HfApi(), HfApi(token=rows.BOB)
        self.reader, self.nobody = HfApi(token=rows.READER), HfApi(token=False)
        self.folder = None

    @property
    def callers(self):
        """Return everybody who looks."""
        return {"ann": self.api, "bob": self.bob, "nobody": self.nobody}

    plain = staticmethod(plain)

    def try_to(self, call, *args, **more):
        """Return what a call gives back, or how it fails."""
        try:
            return plain(call(*args, **more))
        except Exception as e:
            return failed(e)

    def fails(self, call, *args, **more):
        """Return how a call fails that must."""
        out = self.try_to(call, *args, **more)
        assert isinstance(out, dict) and "raised" in out, f"it must fail, and gave {out}"
        return out

    def look(self, read):
        """Return what everybody sees."""
        return {name: self.try_to(read, api) for name, api in self.callers.items()}

    def seen(self, read, write):
        """Write between two looks of everybody: who looks after it sees it, and what was looked up before is gone.

        The look before is taken twice, so that whatever can be kept in between is kept.
        """
        self.look(read)
        before = self.look(read)
        done = plain(write())
        after = self.look(read)
        assert after != before, f"nobody sees what was written: {json.dumps(after)[:2000]}"
        return {"before": before, "done": done, "after": after}

    def control(self, command, **arguments):
        """Let the world outside do something to the Hub for tests."""
        request = Request(f"{os.environ['ROWS_CONTROL']}/{command}", json.dumps(arguments).encode())
        with urlopen(request) as answer:
            return json.load(answer)["result"]

    def file(self, name, content):
        """Write a local file and return its path."""
        path = Path(self.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def digest(self, path):
        """Return size and digest of a local file."""
        return plain(Path(path).read_bytes())

    def download(self, api, repo, path, **more):
        """Return size and digest of a file of a repository as a machine sees it that has nothing yet."""
        with tempfile.TemporaryDirectory(dir=self.folder) as empty:
            return self.digest(api.hf_hub_download(repo, path, cache_dir=empty, **more))

    def files(self, api, repo, **more):
        """Return the names of the files of a repository."""
        return sorted(api.list_repo_files(repo, **more))

    @contextlib.contextmanager
    def patched(self, where, name, value):
        """Replace an attribute for a while."""
        before = getattr(where, name)
        setattr(where, name, value)
        try:
            yield
        finally:
            setattr(where, name, before)

    def hf_command(self, *arguments):
        """Run the `hf` command; return its status and the lines that it printed."""
        from huggingface_hub.cli import hf

        out, err, status = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with self.patched(sys, "argv", ["hf", *map(str, arguments)]), contextlib.chdir(self.folder):
                try:
                    hf.main()
                except SystemExit as e:
                    status = e.code or 0
                except Exception as e:
                    status = failed(e)
        return {"status": status, "out": [line.rstrip() for line in out.getvalue().splitlines() if line.strip()],
                "err": err.getvalue()[-3000:] if status else ""}

    def hf_ok(self, *arguments):
        """Run the `hf` command, which must succeed, and return the lines that it printed."""
        done = self.hf_command(*arguments)
        assert done["status"] == 0, f"hf {' '.join(map(str, arguments))}: {done}"
        return done["out"]


def move(function, where):
    """Change the address of the real Hub where it stands as a constant in the middle of a function."""
    function = inspect.unwrap(function)
    code = function.__code__
    constants_moved = tuple(c.replace(REAL_HUB, where) if isinstance(c, str) else c for c in code.co_consts)
    function.__code__ = code.replace(co_consts=constants_moved)


def as_over_https():
    """Let the client know a missing repository by a 401 as it does over https; it looks at the scheme for that."""
    pattern = _http.REPO_API_REGEX
    _http.REPO_API_REGEX = re.compile(pattern.pattern.replace("https://", "https?://"), pattern.flags)


def point():
    """Point the client at the places that `HF_ENDPOINT` does not move: as users are told to do, by constants."""
    constants.INFERENCE_ENDPOINTS_ENDPOINT = os.environ["ROWS_ENDPOINTS"] + "/v2"
    catalog = constants.INFERENCE_CATALOG_ENDPOINT.partition("/api/")[2]
    constants.INFERENCE_CATALOG_ENDPOINT = f"{os.environ['ROWS_ENDPOINTS']}/api/{catalog}"
    if hasattr(constants, "DATASETS_SERVER_ENDPOINT"):
        constants.DATASETS_SERVER_ENDPOINT = os.environ["ROWS_VIEWER"]
    for function in (repocard.RepoCard.validate, HfApi.run_job, HfApi.fetch_job_logs, HfApi.create_scheduled_job):
        move(function, constants.ENDPOINT)


def main():
    """Run the rows; each line of the output is one row."""
    warnings.simplefilter("ignore")
    point()
    if os.environ.get("ROWS_AS_OVER_HTTPS"):
        as_over_https()
    context = Context()
    for row in rows.section(sys.argv[1]).rows:
        if not row.fits(context.major):
            continue
        with tempfile.TemporaryDirectory(prefix="rows-") as context.folder:
            print("BEGIN " + row.name, flush=True)
            try:
                outcome = {"result": plain(row.function(context))}
            except (Exception, SystemExit) as e:
                outcome = {**failed(e), "failed": f"{type(e).__name__}: {e}", "where": where(e)}
        print("ROW " + json.dumps([row.name, outcome]), flush=True)
    print("METHODS " + json.dumps([n for n in dir(HfApi) if not n.startswith("_")]), flush=True)


def where(error):
    """Return the lines at which an exception passed."""
    out, trace = [], error.__traceback__
    while trace:
        out.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    return out


if __name__ == "__main__":
    main()
