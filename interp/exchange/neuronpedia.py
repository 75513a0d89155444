"""The explanations in an export of Neuronpedia, read as a stream.

An export of a source has one folder, ``v1/MODEL/SOURCE``. In it, ``explanations/batch-N.jsonl.gz``
has explanations, one a line. There may be several such folders, as ``explanations-MODEL``. A source
is called LAYER-SET, such as ``6-gemmascope-res-16k``.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any

from interp.errors import InputError, reason
from interp.exchange import fit
from interp.exchange.origin import (
    BEYOND,
    CHANGED,
    MOST,
    Found,
    MayRead,
    Refused,
    StudyCoder,
    cleaned,
    named,
)
from interp.exchange.reading import SEEN, Folder, parsed

BATCH = re.compile(r"batch-(?P<number>[0-9]{1,9})\.jsonl(\.gz)?")
FOLDER = re.compile(r"explanations[\w.-]*", re.ASCII)
ENDINGS = (".jsonl", ".jsonl.gz")
LINE = 2**20
"""Bytes of a line, at most."""
UNPACKED = 50 * 10**9
"""Bytes of all files when unpacked, at most."""
FILES = 10_000
"""Files, at most."""
LOOKED_AT = 100
"""Lines that are looked at to find what the export is of."""
BROKEN = (OSError, EOFError, zlib.error)


class Export:
    """The explanations of one source."""

    def __init__(self, path: Path, files: list[Path], coder: StudyCoder) -> None:
        self._path, self._files, self._coder = path, files, coder
        self.model, self.source = self._names()
        self.says = {"model": self.model, "source": self.source}

    def survey(self) -> dict[str, Any]:
        """Read all files once, to count their lines.

        Raises:
            InputError: One is cut short or no such file, or there is too much.
        """
        counts: list[int] = []
        unpacked = 0
        for path in self._files:
            counts.append(0)
            for line in _lines(path):
                counts[-1] += 1
                unpacked += len(line)
                if unpacked > UNPACKED:
                    raise InputError(
                        f"{self._path} unpacks to more than {UNPACKED // 10**9} GB: import it in "
                        "parts."
                    )
        if sum(counts) > MOST:
            raise InputError(f"{self._path} has more than {MOST:,} explanations: use parts of it.")
        return {"total": sum(counts), "lines": counts, "files": self._digest()}

    def items(self, survey: Mapping[str, Any], start: int) -> Iterator[Found | Refused]:
        """The lines in the order of the files.

        Raises:
            InputError: There are other files or lines than the survey found.
        """
        if self._digest() != survey["files"]:
            raise InputError(CHANGED.format(self._path))
        for path, count in zip(self._files, survey["lines"], strict=True):
            if start < count:
                number = 0
                for number, line in enumerate(_lines(path), 1):
                    if number > start:
                        yield self._explanation(line)
                if number != count:
                    raise InputError(CHANGED.format(path))
            start = max(start - count, 0)

    def _digest(self) -> str:
        """Tells whether the files are the same ones."""
        return blake2b("\n".join(map(str, self._files)).encode(), digest_size=8).hexdigest()

    def _names(self) -> tuple[str, str]:
        """Model and source, as the first row says that names both."""
        lines = chain.from_iterable(map(_lines, self._files))
        for row in map(parsed, islice(lines, LOOKED_AT)):
            if isinstance(row, dict):
                model, source = named(row.get("modelId")), named(row.get("layer"))
                if model and source:
                    return model, source
        raise InputError(
            f"{self._path} holds no explanations of Neuronpedia: its lines name no modelId and no "
            "layer."
        )

    def _explanation(self, line: bytes) -> Found | Refused:
        row = parsed(line)
        if isinstance(row, Refused):
            return row
        if not isinstance(row, dict):
            return Refused("It is no JSON object.")
        if (named(row.get("modelId")), named(row.get("layer"))) != (self.model, self.source):
            return Refused("It is of another model or source.")
        latent = _index(row.get("index"))
        if latent is None:
            return Refused("Its index is no number.")
        if latent >= self._coder.latents:
            return Refused(BEYOND)
        description = row.get("description")
        if not isinstance(description, str):
            return Refused("It has no description.")
        text = cleaned(description)
        if isinstance(text, Refused):
            return text
        model, method = named(row.get("explanationModelName")), named(row.get("typeName"))
        details = {"model": model, "author_id": named(row.get("authorId"))}
        return Found(
            latent,
            text,
            "model" if model or method else "person",
            method,
            {name: value for name, value in details.items() if value},
        )


def open_export(path: Path, coder: StudyCoder, *, anyway: bool, may_read: MayRead) -> Export:
    """Look at an export, and hold it against a coder. See
    :meth:`interp.exchange.origin.Origin.open`.

    Raises:
        InputError: It is no export of Neuronpedia, or of another coder.
    """
    export = Export(path, _files(path, may_read), coder)
    layer = fit.layer_of(coder.hookpoint)
    if export.source.partition("-")[0] != layer:
        raise InputError(
            f"{path} is of the source {export.source}. The study’s hookpoint is "
            f"{coder.hookpoint}, so its sources begin with {layer}-."
        )
    fit.check_model(export.model, coder, str(path), anyway=anyway)
    return export


def _files(path: Path, may_read: MayRead) -> list[Path]:
    """The files with explanations, in the order of their folders and numbers."""
    # Those of Path raise where a name is too long for the disk.
    if os.path.isfile(path):
        if not path.name.endswith(ENDINGS):
            raise InputError(f"{path} is none of {', '.join(ENDINGS)}: its name ends otherwise.")
        return [path]
    if not os.path.isdir(path):
        raise InputError(f"There is no file or folder {path}. {SEEN}")
    try:
        inside = [one for one in path.iterdir() if FOLDER.fullmatch(one.name) and one.is_dir()]
        folders = [path, *sorted(inside)]
        found = [
            (at, int(match["number"]), file)
            for at, folder in enumerate(folders)
            for file in folder.iterdir()
            if (match := BATCH.fullmatch(file.name))
        ]
        links = Folder(path, may_read)
        for file in (file for _, _, file in found):
            if not links.resolved(file).is_file():
                raise InputError(f"{file} is no file. Fetch the export again.")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.") from None
    except RuntimeError:
        raise InputError(f"{path} has links that lead in a circle.") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    if not found:
        raise InputError(
            f"{path} is no export of Neuronpedia: there is no file explanations/batch-N.jsonl.gz "
            "in it. Name the folder v1/MODEL/SOURCE, its folder explanations, or one file."
        )
    if len(found) > FILES:
        raise InputError(f"{path} has more than {FILES:,} files: import it in parts.")
    return [file for _, _, file in sorted(found)]


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not blank.

    Raises:
        InputError: The file is cut short, not packed by gzip, or has an endless line.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(LINE + 1):
                if len(line) > LINE:
                    raise InputError(f"{path} has a line of more than {LINE:,} bytes.")
                if line.strip():
                    yield line
    except BROKEN as error:
        raise InputError(
            f"{path} is cut short or damaged ({reason(error)}). Fetch it again."
        ) from None


def _index(index: Any) -> int | None:
    """A latent's number, which Neuronpedia writes as a string."""
    if isinstance(index, str) and re.fullmatch(r"[0-9]{1,18}", index):
        return int(index)
    return index if type(index) is int and index >= 0 else None
