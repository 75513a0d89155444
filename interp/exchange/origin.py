"""Results of another tool, as a study takes them. Needs no torch."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from interp import cleaning, registry

MOST = 1_000_000
"""Explanations of one import, at most."""
BEYOND = "The study has no latent of this number."
CHANGED = "{} has changed since the import began: import it again."
NOT_UTF8 = "It is not UTF-8."
NAME = 200
"""Characters of the name of a model or a method, at most."""
TOO_LONG = f"It is longer than {cleaning.MAX_LENGTH:,} characters."


class StudyCoder(NamedTuple):
    """The coder that results must be of: that of a study."""

    model: str
    hookpoint: str
    latents: int


class Found(NamedTuple):
    """An explanation."""

    latent: int
    text: str
    author_kind: Literal["person", "model"]
    prompt_version: str | None
    """Version of the explainer's prompt or rules, if it is known."""
    details: dict[str, Any]
    """What the origin says of it: the explaining ``model``, and its own ``scores``."""


class Refused(NamedTuple):
    """What became no explanation."""

    why: str
    """A sentence. The number of different ones is small, so that they can be counted."""


class Results(Protocol):
    """The results of one run or export, checked to be of the coder."""

    says: Mapping[str, Any]
    """What they say of themselves, as JSON."""

    def survey(self) -> dict[str, Any]:
        """Look at all files once: ``total`` items, and what tells later whether they changed.

        Raises:
            InputError: A file is cut short, or there are too many explanations.
        """

    def items(self, survey: Mapping[str, Any], start: int) -> Iterator[Found | Refused]:
        """The items from a number on, in an order that is always the same.

        Raises:
            InputError: The files are not those of the survey any more.
        """


MayRead = Callable[[str], object]
"""Raises a ValueError for a path that people may not name."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A tool whose results can be read."""

    name: str
    label: str
    """As the tool writes it."""
    meaning: str
    loader: str = field(repr=False)
    """A function as :meth:`open`."""

    def open(self, path: Path, coder: StudyCoder, *, anyway: bool, may_read: MayRead) -> Results:
        """Look at results, and hold them against the coder.

        Args:
            anyway: Take them although they name another model or another number of latents.
            may_read: Asked for every file outside the folder that a link leads to.

        Raises:
            InputError: There are none, or they are of another coder.
        """
        load: Callable[..., Results] = registry.load(self.loader)
        return load(path, coder, anyway=anyway, may_read=may_read)


def cleaned(text: str) -> str | Refused:
    """A text as explanations are stored, or why it is none."""
    if len(text) > cleaning.MAX_LENGTH:
        return Refused(TOO_LONG)
    try:
        return cleaning.explanation(text)
    except ValueError as error:
        return Refused(f"Its text cannot be stored: {error}" if text.strip() else "It is empty.")


def named(value: Any) -> str | None:
    """The name of a model, a method or an author; None if there is none that can be stored."""
    try:
        return cleaning.name(value, NAME) or None if isinstance(value, str) else None
    except ValueError:
        return None


def storable(value: Any) -> Any:
    """JSON that somebody wrote, as PostgreSQL can store it: null for numbers that are none."""
    match value:
        case str():
            return cleaning.storable(value)
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {cleaning.storable(name): storable(one) for name, one in value.items()}
        case list():
            return [storable(one) for one in value]
    return value
