"""Names and paths of models, coders and corpora, and the small files beside them."""

import json
import os
import re
from pathlib import Path
from typing import Any

from interp.errors import InputError, reason

SEEN = "The web server and the workers must both see it there."
SHOWN = 8
"""Names that an error lists at most."""
_HUB_NAME = re.compile(r"([A-Za-z0-9_][\w.-]{0,95}/)?[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def located(source: str) -> str:
    """A path as an absolute one, because a worker may run in another folder. A name as it is."""
    path = Path(source).expanduser()
    try:
        # Links are not followed: the names of folders and files say what is in them.
        return os.path.abspath(path) if path.exists() else source
    except (OSError, RuntimeError):
        return source


def full(source: str) -> Path:
    """The path that is meant, from the root on: an error that names it can be acted on."""
    try:
        return Path(source).expanduser().absolute()
    except RuntimeError:  # of a user who is not there
        return Path(source).absolute()


def is_path(source: str) -> bool:
    """True if a path is meant, in a folder here."""
    path = Path(source)
    return (
        source.startswith((".", "/", "~"))
        or path.suffix == ".gguf"
        or source.count("/") > 1
        or exists(path)
    )


def hub_folder(source: str) -> tuple[str, str] | None:
    """The repository on a hub and the folder in it, such as ``owner/name`` and ``layer_9``, if that
    is how a source is written and there is no such path here."""
    owner, _, rest = source.partition("/")
    name, _, folder = rest.partition("/")
    repository = f"{owner}/{name}"
    if not folder or ".." in source.split("/") or not _HUB_NAME.fullmatch(repository):
        return None
    return None if exists(Path(source)) else (repository, folder.strip("/"))


def hub_place(source: str, hookpoint: str) -> tuple[str, str]:
    """The repository on a hub and the folder in it where a coder is: the one named, or else that of
    the hookpoint.

    Raises:
        InputError: There is neither.
    """
    name, folder = hub_folder(source) or (source, hookpoint)
    if not folder:
        raise InputError(
            f"The coder {source!r} is on the hub: name the folder of one coder, such as "
            f"{source}/FOLDER, or a hookpoint."
        )
    return name, folder


def exists(path: Path) -> bool:
    try:
        return path.expanduser().exists()
    except (OSError, RuntimeError):  # a name too long, or of a user who is not there
        return False


def check_there(path: Path) -> None:
    if not exists(path):
        raise InputError(f"There is nothing at {path}. {SEEN}")


def check_hub_name(source: str, instead: str) -> None:
    if not _HUB_NAME.fullmatch(source) or ".." in source or "--" in source:
        raise InputError(f"{source!r} is neither {instead}, nor a name on a hub.")


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object.")
    return found


def some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
