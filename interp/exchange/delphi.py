"""The results of a run of Delphi (``eai-delphi``), read file by file.

A run has one folder::

    run_config.json
    latents/HOOKPOINT/config.json, START_END.safetensors
    explanations/HOOKPOINT_latentNUMBER.txt        a JSON string
    scores/SCORER/HOOKPOINT_latentNUMBER.txt       see :mod:`interp.exchange.delphi_scores`
"""

import os
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.cleaning import shown
from interp.errors import InputError
from interp.exchange import fit
from interp.exchange.delphi_scores import scores_of
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
    storable,
)
from interp.exchange.reading import SEEN, Folder
from interp.sources.paths import some

FAILED = "Explanation could not be parsed."
"""What Delphi writes in place of an explanation."""
EXPLAINED = re.compile(r"(?P<hookpoint>.+)_latent(?P<latent>0|[1-9][0-9]{0,17})\.txt", re.DOTALL)
SPLIT = re.compile(r"[0-9]{1,12}_(?P<last>[0-9]{1,12})\.safetensors")
LARGEST = 2**20
"""Bytes of an explanation's file, at most."""
HOOKPOINTS = 1000
"""Hookpoints that a run has, at most."""
NO_NAME = "Its name is not HOOKPOINT_latentNUMBER.txt."


class Run:
    """A run with explanations of a coder."""

    def __init__(self, folder: Folder, coder: StudyCoder, hookpoint: str) -> None:
        self._folder, self._coder, self._hookpoint = folder, coder, hookpoint
        self._config = folder.read_object(folder.path / "run_config.json") or {}
        self._cache = folder.read_object(folder.path / "latents" / hookpoint / "config.json") or {}
        self.says = storable({"run_config": self._config}) if self._config else {}

    @property
    def model(self) -> str | None:
        """The subject model."""
        return named(self._config.get("model")) or named(self._cache.get("model_name"))

    @property
    def latents(self) -> int | None:
        """The number of latents of the coder, by the names of the files with activations."""
        names = self._folder.names(f"latents/{self._hookpoint}")
        found = map(SPLIT.fullmatch, names or ())
        return max((int(one["last"]) + 1 for one in found if one), default=None)

    def survey(self) -> dict[str, Any]:
        """List the files. No file is opened.

        Raises:
            InputError: There are too many.
        """
        return self._surveyed(*self._listing())

    def items(self, survey: Mapping[str, Any], start: int) -> Iterator[Found | Refused]:
        """The explanations by latent, then the files that are none.

        Raises:
            InputError: There are other files than the survey found.
        """
        there, beyond, strange = self._listing()
        if self._surveyed(there, beyond, strange) != survey:
            raise InputError(CHANGED.format(self._folder.path))
        numbers = np.flatnonzero(there)
        for number in numbers[start:].tolist():
            yield self._explanation(number)
        rest = [Refused(BEYOND)] * beyond + [Refused(NO_NAME)] * strange
        yield from rest[max(start - len(numbers), 0) :]

    def _surveyed(self, there: NDArray[np.bool_], beyond: int, strange: int) -> dict[str, Any]:
        total = int(there.sum()) + beyond + strange
        if total > MOST:
            raise InputError(
                f"{self._folder.path} has more than {MOST:,} explanations: import it in parts."
            )
        digest = blake2b(there.tobytes(), digest_size=8).hexdigest()
        return {"total": total, "beyond": beyond, "strange": strange, "latents": digest}

    def _listing(self) -> tuple[NDArray[np.bool_], int, int]:
        """Which latents have a file; how many files are of latents beyond; how many are none."""
        there = np.zeros(self._coder.latents, bool)
        beyond = strange = 0
        for name in _names(self._folder):
            match = EXPLAINED.fullmatch(name)
            if match is None:
                strange += 1
            elif match["hookpoint"] == self._hookpoint:
                if (number := int(match["latent"])) < len(there):
                    there[number] = True
                else:
                    beyond += 1
        return there, beyond, strange

    def _explanation(self, number: int) -> Found | Refused:
        name = f"{self._hookpoint}_latent{number}"
        said = self._folder.read_json(self._folder.path / "explanations" / f"{name}.txt", LARGEST)
        if isinstance(said, Refused):
            return said
        if not isinstance(said, str):
            return Refused("It holds no JSON string.")
        if said.strip() == FAILED:
            return Refused(f"Delphi wrote: {FAILED}")
        text = cleaned(said)
        if isinstance(text, Refused):
            return text
        details = {
            "model": named(self._config.get("explainer_model")),
            "scores": scores_of(self._folder, name),
        }
        return Found(number, text, "model", None, {k: v for k, v in details.items() if v})


def open_run(path: Path, coder: StudyCoder, *, anyway: bool, may_read: MayRead) -> Run:
    """Look at a run, and hold it against a coder. See :meth:`interp.exchange.origin.Origin.open`.

    Raises:
        InputError: It is no run of Delphi, or of another coder.
    """
    if not os.path.isdir(path):  # Path.is_dir raises where a name is too long for the disk
        raise InputError(f"There is no folder {path}. {SEEN}")
    folder = Folder(path, may_read)
    if folder.names("explanations") is None:
        raise InputError(
            f"{path} is no run of Delphi: there is no folder explanations in it. Name the folder "
            "of one run, such as results/NAME."
        )
    run = Run(folder, coder, _hookpoint(folder, coder))
    if run.model is not None:
        fit.check_model(run.model, coder, str(path), anyway=anyway)
    if (latents := run.latents) is not None:
        fit.check_width(latents, coder, str(path), anyway=anyway)
    return run


def _hookpoint(folder: Folder, coder: StudyCoder) -> str:
    """The study's hookpoint, as the run names it.

    Raises:
        InputError: The run explains none that is the study's, or more than one.
    """
    found: set[str] = set()
    for name in _names(folder):
        match = EXPLAINED.fullmatch(name)
        if match is not None and len(found) < HOOKPOINTS:
            found.add(match["hookpoint"])
    if not found:
        raise InputError(
            f"{folder.path / 'explanations'} has no explanation in it: no file is called "
            "HOOKPOINT_latentNUMBER.txt."
        )
    if coder.hookpoint in found:
        return coder.hookpoint
    same = sorted(name for name in found if fit.same_hookpoint(name, coder.hookpoint))
    if len(same) == 1:
        return same[0]
    what = "more than one name" if same else "no explanations"
    raise InputError(
        f"{folder.path} has {what} for the study’s hookpoint {coder.hookpoint}. It explains "
        f"{some([shown(name) for name in same or sorted(found)])}."
    )


def _names(folder: Folder) -> Iterator[str]:
    """The names of the files with explanations, in no order."""
    return (name for name in folder.names("explanations") or () if name.endswith(".txt"))
