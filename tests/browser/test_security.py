"""What a browser lets other sites do."""

import httpx
from playwright.sync_api import Browser

from tests.conftest import CHROMIUM, CHROMIUM_FLAGS


def test_a_browser_whose_name_was_pointed_here_reads_nothing(web: str, browser: Browser) -> None:
    """DNS rebinding as it happens: the name leads to this machine, for the browser all is well."""
    rebound = "--host-resolver-rules=MAP attacker.example 127.0.0.1"
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS, rebound])
    try:
        page = other.new_page()
        port = httpx.URL(web).port
        answer = page.goto(f"http://attacker.example:{port}/static/htmx.txt")
        assert answer is not None
        assert answer.status == 421
        asked = "fetch('/api/v1/studies').then(answer => answer.status)"
        assert page.evaluate(asked) == 421
    finally:
        other.close()
