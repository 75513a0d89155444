"""Named alternatives, such as the simulators or the back ends.

Each is declared in a file of its own, and listed on one line of its registry. Command line, API,
forms, estimates and workers read the registries, so that nothing else need name it. An entry says
where its code is as ``module:name``, which is imported when it is used: registries need no torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, Protocol, TypeVar

from interp.errors import InputError


class Entry(Protocol):
    """What every alternative says of itself."""

    @property
    def name(self) -> str:
        """How it is named in tables, in the API and on the command line."""

    @property
    def meaning(self) -> str:
        """What it does, in a few words without a full stop."""


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E]):
    """Entries by name, in the order in which they are shown. The first is the default."""

    def __init__(self, what: str, *entries: E) -> None:
        """
        Args:
            what: What an entry is, as errors call it.
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
        """Name of the entry that is used where none is named."""
        return next(iter(self._entries))

    def named(self, name: str) -> E:
        """An entry that somebody named.

        Raises:
            InputError: There is none of this name.
        """
        if name not in self._entries:
            raise InputError(f"There is no {self.what} {name!r}. There are {listed(self, 'and')}.")
        return self._entries[name]

    def in_words(self) -> str:
        """All entries with their meanings, as the help of an option lists them."""
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
    """Import what an entry names as ``module:name``."""
    return resolve_name(code)
