"""What a Space is besides its files: its machine, its settings and its logs.

The state lives in `extra` of the repository, so that it goes where the repository goes.
"""

import time

from .access import HubError
from .events import Feed
from .store import iso

HARDWARE = {
    "cpu-basic": ("CPU Basic", "2 vCPU", "16 GB", 0), "cpu-upgrade": ("CPU Upgrade", "8 vCPU", "32 GB", 500),
    "t4-small": ("Nvidia T4 - small", "4 vCPU", "15 GB", 6667),
    "t4-medium": ("Nvidia T4 - medium", "8 vCPU", "30 GB", 10000),
    "l4x1": ("1x Nvidia L4", "8 vCPU", "30 GB", 13333),
    "a10g-small": ("Nvidia A10G - small", "4 vCPU", "14 GB", 16667),
    "a10g-large": ("Nvidia A10G - large", "12 vCPU", "46 GB", 25000),
    "a100-large": ("Nvidia A100 - large", "12 vCPU", "142 GB", 41667),
}
TIERS = ("small", "medium", "large")
SLEEP = 172800


def line(text):
    """Return one row of a log."""
    return {"data": text, "timestamp": iso(time.time())}


def state(repo):
    """Return the state of a Space, made when it is first wanted."""
    if "space" not in repo.extra:
        repo.extra["space"] = {
            "stage": "RUNNING", "hardware": "cpu-basic", "storage": None, "sleep": SLEEP, "dev_mode": False,
            "volumes": None, "secrets": {}, "variables": {}, "restarts": 0, "factory_restarts": 0,
            "build": Feed([line("===== Build queued ====="), line("Pushing image")], ended=True),
            "run": Feed([line("===== Application Startup ====="), line("Running on local URL:  http://0.0.0.0:7860")],
                        ended=True),
        }
    return repo.extra["space"]


def runtime(repo, **shown):
    """Return the runtime document; `shown` replaces what is still going on while the request is answered."""
    s = state(repo)
    stage = shown.get("stage", s["stage"])
    running = stage in ("RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING")
    current = shown.get("current", s["hardware"]) if running else None
    doc = {"stage": stage, "hardware": {"current": current, "requested": s["hardware"]},
           "storage": s["storage"], "gcTimeout": s["sleep"], "devMode": s["dev_mode"],
           "replicas": {"current": int(running), "requested": 1},
           "domains": [{"domain": repo.id.replace("/", "-").lower() + ".hf.space", "stage": "READY"}]}
    if s["volumes"] is not None:
        doc["volumes"] = s["volumes"]
    return doc


def configure(repo, hardware=None, storage=None, sleep=None, secrets=None, variables=None, volumes=None):
    """Apply the settings that creating or duplicating a Space may bring; refuse what does not exist."""
    s = state(repo)
    if hardware is not None:
        if hardware not in HARDWARE:
            raise HubError(400, f'"flavor" must be one of [{", ".join(HARDWARE)}]')
        s["hardware"] = hardware
    if storage is not None:
        if storage not in TIERS:
            raise HubError(400, f'"tier" must be one of [{", ".join(TIERS)}]')
        s["storage"] = storage
    if sleep is not None:
        if not isinstance(sleep, int) or sleep < -1:
            raise HubError(400, '"seconds" must be a number of seconds, or -1')
        s["sleep"] = sleep
    for kind, rows in (("secrets", secrets), ("variables", variables)):
        for row in rows or []:
            setting(s[kind], row["key"], row["value"], row.get("description"))
    if volumes is not None:
        s["volumes"] = volumes


def setting(table, key, value, description=None):
    """Set a secret or variable."""
    table[key] = {"value": value, "updatedAt": iso(time.time())}
    if description is not None:
        table[key]["description"] = description
