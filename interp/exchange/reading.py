"""Small files of a folder that somebody else has made, read in bounded memory."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interp.errors import InputError, reason
from interp.exchange.origin import NOT_UTF8, MayRead, Refused

CONFIG = 2**16
"""Bytes of a file that describes a folder, at most."""
SEEN = "The web server and the workers must both see it there."


class Folder:
    """A folder with files. Links out of it are followed only where people may name the target."""

    def __init__(self, path: Path, may_read: MayRead) -> None:
        self.path = path
        self._may_read = may_read
        self._real = path.resolve()

    def resolved(self, path: Path) -> Path:
        """Where a path below the folder leads.

        Raises:
            ValueError: People may not name that.
            OSError, RuntimeError: It leads nowhere.
        """
        real = path.resolve()
        if not real.is_relative_to(self._real):
            self._may_read(str(real))
        return real

    def read(self, path: Path, most: int) -> bytes | Refused | None:
        """The bytes of a file below the folder, or why there are none; None if it is not there."""
        try:
            real = self.resolved(path)
            if not real.is_file():
                return Refused("It is no file.") if real.exists() else None
            with real.open("rb") as file:
                content = file.read(most + 1)
        except (OSError, RuntimeError):  # links that lead in a circle
            return Refused("It cannot be read.")
        except ValueError:
            return Refused("It is a link to a file that people may not name.")
        return (
            content if len(content) <= most else Refused(f"It is larger than {most // 1000:,} kB.")
        )

    def names(self, name: str) -> Iterator[str] | None:
        """The names in a folder below the folder, in no order; None if it is not there.

        Raises:
            InputError: It cannot be read, or is a link to a folder that people may not name.
        """
        path = self.path / name
        try:
            return self._names(path) if self.resolved(path).is_dir() else None
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {reason(error)}.") from None

    @staticmethod
    def _names(path: Path) -> Iterator[str]:
        try:
            with os.scandir(path) as entries:
                yield from (entry.name for entry in entries)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {reason(error)}.") from None

    def read_json(self, path: Path, most: int) -> Any | Refused | None:
        """The JSON of a file, or why there is none; None if the file is not there."""
        content = self.read(path, most)
        return parsed(content) if isinstance(content, bytes) else content

    def read_object(self, path: Path, most: int = CONFIG) -> dict[str, Any] | None:
        """An object that describes the folder; None if the file is not there.

        Raises:
            InputError: It cannot be read, or holds none.
        """
        found = self.read_json(path, most)
        if isinstance(found, Refused):
            raise InputError(f"{path} cannot be read. {found.why} Fetch the folder again.")
        if found is not None and not isinstance(found, dict):
            raise InputError(f"{path} holds no JSON object. Fetch the folder again.")
        return found


def parsed(content: bytes) -> Any | Refused:
    """The JSON in some bytes, or why there is none."""
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        return Refused(NOT_UTF8)
    except (ValueError, RecursionError):  # no JSON, or a number of thousands of digits
        return Refused("It is no JSON.")
