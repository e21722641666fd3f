"""Real client libraries, run as their users run them: in processes of their own, with fresh caches."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

VENVS = {
    "0.36": "HUBCACHED_VENV_036",
    "1.x": "HUBCACHED_VENV_1X",
    "2.x": "HUBCACHED_VENV_2X",
    "datasets": "HUBCACHED_VENV_DATASETS",
}
SECONDS = 120


def venv(version):
    """Return the interpreter of a client version; skip the test if it is not installed."""
    path = os.environ.get(VENVS[version])
    if not path or not os.access(path, os.X_OK):
        pytest.skip(f"client {version} is not installed ({VENVS[version]})")
    return path


def needs(variable, what):
    """Return the path that a variable names; skip the test without it."""
    path = os.environ.get(variable)
    if not path or not Path(path).exists():
        pytest.skip(f"{what} is not installed ({variable})")
    return path


def tool(name):
    """Return the path of a program; skip the test without it."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def environment(endpoint, home, token=None, **more):
    """Return the environment of a client that knows nothing of this machine's caches, proxies and tokens."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(Path(home) / "hf"),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "NO_PROXY": "*",
        "no_proxy": "*",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if token:
        env["HF_TOKEN"] = token
    return {**env, **more}


def run(command, env, cwd=None, check=True):
    """Run a command and return its result; a failure shows what it printed."""
    Path(env["HOME"]).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(c) for c in command],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if check:
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done


def python(version, code, endpoint, home, token=None, **more):
    """Run Python code with a client; it assigns `result`, which is returned."""
    program = f"import json\n{code}\nprint('RESULT ' + json.dumps(result))\n"
    done = run([venv(version), "-c", program], environment(endpoint, home, token, **more))
    line = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    assert line, done.stdout + done.stderr
    return json.loads(line[-1].removeprefix("RESULT "))
