"""Which code made a result."""

from functools import cache
from importlib.metadata import version


@cache
def code_version() -> str:
    """Version of this program and of the libraries that figures depend on."""
    return " ".join(f"{name}-{version(name)}" for name in ("palimpsest", "torch", "transformers"))
