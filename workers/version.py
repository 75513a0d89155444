"""The version of the code that made a result."""

from functools import cache
from importlib.metadata import version

MEASUREMENT = 2
"""Raise it with every change that changes a figure: figures of different measurements are never
taken over from one rewrite into the next."""


@cache
def code_version() -> str:
    """Version of this program's measurements and of the libraries that figures depend on."""
    names = " ".join(f"{name}-{version(name)}" for name in ("palimpsest", "torch", "transformers"))
    return f"{names} measurement-{MEASUREMENT}"
