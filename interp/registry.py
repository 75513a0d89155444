"""Registries of named alternatives, such as simulators and back ends.

A file declares an entry, and one line of a registry lists it. The command line, the API, the forms,
the estimates and the workers read the registries. An entry names its code as ``module:name``. The
code is imported when it is used, so registries need no torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, Protocol, TypeVar

from interp.errors import InputError


class Entry(Protocol):
    """The fields that every entry has."""

    @property
    def name(self) -> str:
        """Its name in tables, in the API and on the command line."""

    @property
    def meaning(self) -> str:
        """Its effect, in a few words without a full stop."""


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E]):
    """Entries by name, in the order in which they are shown. The first is the default."""

    def __init__(self, what: str, *entries: E) -> None:
        """
        Args:
            what: The noun for an entry in errors.
        """
        self.what = what
        self._entries: dict[str, E] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: E) -> None:
        """List another entry.

        Raises:
            ValueError: There is one of this name.
        """
        if entry.name in self._entries:
            raise ValueError(f"There are two of the {self.what} {entry.name!r}.")
        self._entries[entry.name] = entry

    @property
    def default(self) -> str:
        """Name of the first entry, which is used where none is named."""
        return next(iter(self._entries))

    def named(self, name: str) -> E:
        """Get an entry that a person named.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self._entries:
            raise InputError(f"There is no {self.what} {name!r}. There are {listed(self, 'and')}.")
        return self._entries[name]

    def in_words(self) -> str:
        """All entries with their meanings, for the help of an option."""
        return " ".join(f"{name}: {entry.meaning}." for name, entry in self.items())

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def listed(names: Iterable[str], word: str) -> str:
    """Names in a sentence, such as “a, b and c”."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def load(code: str) -> Any:
    """Import the object that an entry names as ``module:name``."""
    return resolve_name(code)
