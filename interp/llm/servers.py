"""Servers of language models: which the operator named, and which gets the operator's key."""

import os
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from interp.cleaning import shown
from interp.errors import InputError

OPENAI = "https://api.openai.com/v1"
"""The server if none is named."""
_PORTS = {"http": 80, "https": 443}


class Server(NamedTuple):
    """A server, whatever the path on it."""

    scheme: str
    host: str
    port: int


def server_of(address: str) -> Server:
    """The server that an address leads to.

    Raises:
        InputError: It is no address of HTTP, or has a name and a password in it.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    # Programs differ in what they make of such characters, and so in where they would send it.
    plain = address.isascii() and address.isprintable() and not set(address) & set(' \\<>"^`{|}')
    if not plain or not host or parts.scheme not in _PORTS:
        raise InputError("Use an address such as http://localhost:8080/v1.")
    if "@" in parts.netloc:
        raise InputError("Leave the name and the password out of the address.")
    return Server(parts.scheme, host, port or _PORTS[parts.scheme])


def default_address() -> str:
    """The operator's server: ``OPENAI_BASE_URL``, or OpenAI's."""
    return os.environ.get("OPENAI_BASE_URL") or OPENAI


def gets_key(address: str) -> bool:
    """True if the operator's key and account are for a server: for the operator's own, no other.

    Raises:
        InputError: As :func:`server_of`.
    """
    return server_of(address) == server_of(default_address())


def check_named(address: str, named: Iterable[str]) -> None:
    """Refuse a server that is neither the operator's own nor among those named.

    Raises:
        InputError: It is none of them, or no address.
    """
    allowed = [default_address(), *named]
    if server_of(address) not in map(server_of, allowed):
        raise InputError(
            f"{shown(address)} is none of the servers that may be called: {', '.join(allowed)}. "
            "Whoever runs Palimpsest names others in PALIMPSEST_SERVERS."
        )
