"""What browser tests do to a page."""

from playwright.sync_api import Page

UNANSWERED = "() => fetch(location.href, { method: 'HEAD' }).then(() => false, () => true)"


def go_offline(page: Page) -> None:
    """Cut a page off. The browser's network takes the word a little after it is given, and may
    answer a request in between."""
    page.context.set_offline(True)
    page.wait_for_function(UNANSWERED)
