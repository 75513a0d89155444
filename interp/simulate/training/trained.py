"""The record of a trained simulator's training, so that no figure rests on text or latents that it
has seen.

A trained simulator is a folder: ``simulator.json`` (:class:`Trained`) and one file of weights for
each *fold*. A fold was trained on some latents only. A fold that never saw a latent simulates it
(cross-fitting). A simulator trained on other coders needs one fold.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from interp.corpus.seen import SeenText
from interp.errors import InputError

FILE = "simulator.json"


class Fold(BaseModel):
    """One file of weights, and the latents it was trained on or chosen by."""

    file: str
    latents: dict[str, list[int]]
    """By the SHA-256 of their coder's weights."""


class Trained(BaseModel):
    """A trained simulator's record."""

    method: str
    """Name of a trained method of the registry."""
    version: str
    base: str
    """The language model under it: a hub name, or the name of a fetched model or folder."""
    base_sha256: str
    """Of some of the base's weights (``training.reader.fingerprint``): on another base the trained
    weights would answer nonsense."""
    folds: list[Fold]
    corpus: str
    documents: list[str]
    """Names of the documents whose text it was trained on."""
    seen: SeenText | None = None
    """The same documents by their text; None in a record made before this was kept."""
    shape: dict[str, Any]
    """Sizes that the method needs to rebuild its networks."""
    training: dict[str, Any]
    """The command, its seed, the hardware and how long it took."""
    figures: dict[str, Any]
    """How well it did on latents and text that it never saw."""

    def fold_for(self, coder: str, latent: int | None) -> int | None:
        """The first fold that never saw a latent; None if all of them did.

        Args:
            coder: SHA-256 of the weights of the latent's coder.
            latent: Its index; None stands for a latent of no known coder, which any fold may
                simulate.
        """
        for number, fold in enumerate(self.folds):
            if latent is None or latent not in fold.latents.get(coder, ()):
                return number
        return None

    def write(self, folder: Path) -> None:
        """Write ``simulator.json``. A reader finds the old one or the new one, never half of it."""
        partial = folder / f"{FILE}.partial"
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> "Trained":
        """Read a simulator's record.

        Raises:
            InputError: There is none, or it is damaged.
        """
        try:
            return cls.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
        except OSError:
            raise InputError(
                f"{folder} holds no trained simulator: it has no {FILE}. Give the folder that "
                "`palimpsest train-simulator` wrote."
            ) from None
        except ValidationError as error:
            raise InputError(f"{folder / FILE} is damaged: {error.errors()[0]['msg']}.") from None
