"""The rows of the method table: one function for each thing that a client of the Hub can do.

Both sides import these modules: the test reads from them which rows there are and lets them prepare a Hub; the
client's interpreter runs the rows (`python -m rows.client SECTION`). So none of them imports huggingface_hub when it
is imported.
"""

import importlib

VERSIONS = {"0.36": 0, "1.x": 1, "2.x": 2}
SECTIONS = (
    "identity",
    "listings",
    "reading",
    "downloading",
    "managing",
    "refs",
    "commits",
    "copies",
    "lfs_files",
    "discussions",
    "spaces",
    "endpoints",
    "collections",
    "access_requests",
    "webhooks",
    "papers",
    "jobs",
    "buckets",
    "others",
    "command",
)

# Who calls: ann owns her namespace and belongs to acme, bob is somebody else, READER may read all that ann may.
ANN = "hf_CANARYann00000000000000000000000000000"
BOB = "hf_CANARYbob00000000000000000000000000000"
READER = "hf_CANARYreader00000000000000000000000000"


class Row:
    """One thing that a client does, and which methods of HfApi it covers."""

    def __init__(self, function, covers, since, until):
        """Keep the parts; the versions are major ones and both included."""
        self.name, self.function, self.covers = function.__name__, function, covers or (function.__name__,)
        self.since, self.until = since, until

    def fits(self, major):
        """Tell whether a version of the client can do it."""
        return self.since <= major <= self.until


class Section:
    """The rows of one section of the table and the world in which they run, in the order of the file."""

    def __init__(self):
        """Start empty."""
        self.rows, self.prepare = [], lambda hub: None

    def world(self, function):
        """Take the function that fills the Hub before the rows run."""
        self.prepare = function
        return function

    def row(self, *covers, since=0, until=2):
        """Take a row; `covers` names methods of HfApi if they are not called like the row."""

        def add(function):
            self.rows.append(Row(function, covers, since, until))
            return function

        return add


def section(name):
    """Return a section by its name."""
    return importlib.import_module("rows." + name).SECTION


def people(hub):
    """Give the Hub the callers."""
    hub.add_token(ANN, "ann", orgs=["acme"], role="write")
    hub.add_token(BOB, "bob", role="write")
    hub.add_token(READER, "ann", orgs=["acme"])
