"""The files of the server that people may name while accounts are on.

A person who makes a study reads its corpus through Palimpsest, and learns whether a path exists.
Without accounts that is the person at the machine. With accounts it is everybody who may sign in.
"""

import os
import re
from pathlib import Path

from models.settings import Settings, get_settings
from models.shipped import DEMO

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)


_HUB_FOLDER = re.compile(_HUB_NAME.pattern.rstrip("?") + r"(/[A-Za-z0-9_][\w.-]{0,95})+", re.ASCII)
"""A folder or a file in a repository on a hub."""


class NotNamed(ValueError):
    """The operator named no folder that this is in."""


def resolved(source: str) -> Path:
    """A path as people write it, with ``~``, links and ``..`` followed.

    Raises:
        ValueError: It leads nowhere.
    """
    try:
        return Path(source).expanduser().resolve()
    except (OSError, RuntimeError):  # nobody's home, or links that lead in a circle
        raise ValueError(f"The path {source} leads nowhere.") from None


def check_model(source: str) -> str:
    """Let a model through that people may name: also one of a hub, or a fetched one."""
    return _check_hub_or_path(source, get_settings().model_source(source))


def check_coder(source: str) -> str:
    """Let a sparse coder through that people may name: also one of a hub, or in a folder there."""
    if _HUB_FOLDER.fullmatch(source) and ".." not in source and not os.path.exists(source):
        return source
    return _check_hub_or_path(source, source)


def check_path(source: str) -> str:
    """Let a path through that people may name.

    Raises:
        NotNamed: Accounts are on, and it is not below a folder that the operator named. It says the
            same whether there is such a file or not.
    """
    return _check(source, source)


def _check_hub_or_path(source: str, path: str) -> str:
    named = _HUB_NAME.fullmatch(source) and not source.endswith(".gguf")
    # A folder here goes before a name on the hub.
    if named and not os.path.exists(path):
        return source
    return _check(source, path)


def _check(source: str, path: str) -> str:
    settings = get_settings()
    if settings.accounts and not _is_below(path, settings):
        raise NotNamed(
            f"{source} is in none of the folders that people may name. Whoever runs Palimpsest "
            "names folders in PALIMPSEST_FOLDERS."
        )
    return source


def _is_below(path: str, settings: Settings) -> bool:
    own = [DEMO, settings.data / "models", settings.data / "coders"]
    try:
        named = [resolved(folder) for folder in [*map(str, own), *settings.folders]]
        return any(resolved(path).is_relative_to(folder) for folder in named)
    except ValueError:
        return False
