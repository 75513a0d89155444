"""A real OpenID provider, in a process of its own, and somebody's way through it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from cli.processes import start, stop
from cli.servers import free_port
from tests import REPOSITORY
from tests.conftest import wait_for


@contextmanager
def providing(data: Path, *options: str, port: int = 0) -> Iterator[str]:
    """The address of a provider. Whoever types a subject in its form is that person."""
    port = port or free_port()
    address = f"http://localhost:{port}"
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *options]
    child = start(f"provider-{port}", command, data, cwd=REPOSITORY)
    try:
        wait_for(f"{address}/.well-known/openid-configuration", child)
        yield address
    finally:
        stop([child])


def describe(provider: str, subject: str, **claims: object) -> None:
    """Have a provider say this of somebody."""
    httpx.put(f"{provider}/users/{subject}", json=claims).raise_for_status()


def set_out(browser: httpx.Client, back: str = "/jobs") -> str:
    """Press the button. Returns the provider's page to which the browser goes."""
    away = browser.get("/sign-in/provider", params={"next": back})
    assert away.status_code == 303, away.text
    return away.headers["location"]


def allow(address: str, subject: str) -> str:
    """Sign in at the provider. Returns our page to which it sends the browser, with its query."""
    sent = httpx.post(address, data={"sub": subject})
    assert sent.status_code == 302, sent.text
    callback = urlsplit(sent.headers["location"])
    return f"{callback.path}?{callback.query}"


def deny(address: str) -> str:
    """Refuse at the provider. Returns as :func:`allow`, with the state, which this provider forgets
    where it refuses (RFC 6749, 4.1.2.1)."""
    callback = urlsplit(httpx.post(address, data={"action": "deny"}).headers["location"])
    state = urlencode({"state": parse_qs(urlsplit(address).query)["state"][0]})
    return f"{callback.path}?{callback.query}&{state}"


def arrive(browser: httpx.Client, subject: str, back: str = "/jobs") -> httpx.Response:
    """All of a sign-in at the provider; the browser keeps the cookie."""
    return browser.get(allow(set_out(browser, back), subject))


def error_of(page: httpx.Response) -> str:
    """What the sign-in page says went wrong."""
    found = re.search(r'id="sign-in-error">([^<]+)', page.text)
    assert found, page.text
    return found[1]
