"""What axe-core finds wrong with each page, light and dark, wide and narrow: nothing serious.

No page scrolls sideways either. A page that is not looked at here fails a test.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, TimeoutError
from starlette.routing import compile_path

from app.web.guard.people import COOKIE
from cli.servers import Servers
from interp.vocabulary import Role, TokenScope
from models.database import new_session
from tests import REPOSITORY
from tests.everything import LONG_NAME, everything
from tests.people import add_person, bearer, sign_in
from tests.routes import page_routes
from tests.serving import serving

AXE = (REPOSITORY / "tests" / "vendor" / "axe.min.js").read_text()
GRAVE = ("serious", "critical")
COLOURS = ["color-contrast", "link-in-text-block"]
"""Rules that look at colours. All others see no difference between light and dark."""
LOOKS: tuple[tuple[int, Any, list[str]], ...] = (
    (1280, "light", []),
    (1280, "dark", COLOURS),
    (390, "dark", []),
    (390, "light", COLOURS),
)
"""Each width and colour scheme, and the rules to run; all of them where none is named."""
NO_PAGES = {
    "/": "goes on to /studies",
    "/events": "a stream",
    "/studies/{slug}/events": "a stream",
    "/studies/{slug}/figures.csv": "a file",
    "/studies/{slug}/budget.csv": "a file",
    "/studies/{slug}/latents/random": "goes on to a latent",
    "/studies/{slug}/latents/{index}/others": "a part of a latent's page",
    "/studies/{slug}/latents/{index}/examples": "a part of a latent's page",
    "/jobs/now": "a part of every page",
    "/sign-in/provider": "goes on to the OpenID provider",
    "/sign-in/provider/callback": "goes on to a page, or back to the sign-in",
}
"""What a browser fetches, and is no page."""


@pytest.fixture(scope="module")
def accounts(servers: Servers, data_folder: Path) -> Iterator[str]:
    """The address of a web server with accounts."""
    provider = {
        "PALIMPSEST_OIDC_ISSUER": "https://login.lab.example",
        "PALIMPSEST_OIDC_CLIENT_ID": "palimpsest",
    }
    with serving(data_folder, PALIMPSEST_ACCOUNTS="true", **provider) as url:
        yield url


@pytest.fixture(scope="module")
def addresses(web: str, accounts: str) -> dict[str, str]:
    with new_session() as session:
        found = {name: web + path for name, path in everything(session).items()}
    return found | {"sign in": f"{accounts}/sign-in", "account": f"{accounts}/account"}


@pytest.fixture(scope="module")
def session_cookie(accounts: str) -> dict[str, str]:
    """The cookie of somebody who has signed in, and has API tokens."""
    with new_session() as session:
        user = add_person(session, LONG_NAME, Role.EDITOR)
        for scope in TokenScope:
            bearer(session, user, scope)
    with httpx.Client(base_url=accounts) as client:
        sign_in(client, LONG_NAME)
        return {"name": COOKIE, "value": client.cookies[COOKIE], "url": accounts}


def _unfold(page: Page) -> None:
    """Open whatever is folded, and wait for what is fetched then and for the charts."""
    page.evaluate(
        """async () => {
          for (const one of document.querySelectorAll("details")) one.open = true;
          for (const one of document.querySelectorAll("[hx-trigger*=intersect]")) {
            one.scrollIntoView();
          }
          await new Promise((then) => setTimeout(then, 50)); // htmx is told a moment later
          scrollTo(0, 0);
        }"""
    )
    page.wait_for_function(
        "() => !document.querySelector('.htmx-request') &&"
        "[...document.querySelectorAll('[data-chart] .drawing')]"
        ".every((one) => one.querySelector('details'))"
    )


def wrongs(page: Page, rules: list[str]) -> list[str]:
    """What axe-core finds serious or critical on a page, as it is now.

    Args:
        rules: Those to run; all that are on by default where none is named.
    """
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(
        "(options) => axe.run(document, options).then((found) => found.violations)", options
    )
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:160]}"
        f" {node['failureSummary']}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


def _fits(page: Page) -> bool:
    """Whether nothing is wider than the window, once charts have followed it."""
    try:
        page.wait_for_function(
            "() => document.documentElement.scrollWidth <= innerWidth", timeout=3000
        )
    except TimeoutError:
        return False
    return True


def test_no_page_shuts_anybody_out(
    browser: Browser, addresses: dict[str, str], session_cookie: dict[str, str]
) -> None:
    page = browser.new_page()
    page.context.add_cookies([session_cookie])  # type: ignore[list-item]
    found = []
    for name, address in addresses.items():
        page.set_viewport_size({"width": 1920, "height": 900})
        page.emulate_media(color_scheme="light")
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == (404 if name == "an error" else 200), name
        _unfold(page)
        if not _fits(page):
            found.append(f"{name}, 1920: it scrolls sideways")
        for width, scheme, rules in LOOKS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            if not _fits(page):
                found.append(f"{name}, {width}: it scrolls sideways")
            found += [f"{name}, {width}, {scheme}: {one}" for one in wrongs(page, rules)]
    page.close()
    assert not found, "\n".join(found)


def test_every_page_is_looked_at(addresses: dict[str, str]) -> None:
    pages = {path: compile_path(path)[0] for path, ways in page_routes().items() if "GET" in ways}
    assert pages.keys() >= NO_PAGES.keys(), "one of these is gone"
    seen = set()
    for address in addresses.values():
        found = [path for path, form in pages.items() if form.match(urlsplit(address).path)]
        seen.add(min(found, key=lambda path: path.count("{")))
    assert pages.keys() - NO_PAGES.keys() - seen == set(), "add these to everything()"


def test_what_is_wrong_is_found(browser_page: Page) -> None:
    browser_page.set_content(
        "<html lang=en><title>t</title>"
        "<main><h1>t</h1><input><p style='color: #bbb'>pale</p></main>"
    )
    assert [one.split()[0] for one in wrongs(browser_page, [])] == ["color-contrast", "label"]
    assert [one.split()[0] for one in wrongs(browser_page, COLOURS)] == ["color-contrast"]
    browser_page.set_content("<p style='width: 3000px'>wide</p>")
    assert not _fits(browser_page)
