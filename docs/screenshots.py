"""The pictures of docs/tour.md and the README, taken of a running server with the demo study.

    python docs/screenshots.py http://127.0.0.1:8000 [--study demo]

They are of true pages. The study needs a latent that a person has reworded and that was simulated
before and after: the tour is about what that did. A draft is typed and not saved. A sentence is
tried if it was not tried before; nothing else is changed. Needs Playwright with Chromium; Pillow,
where it is installed, makes the files smaller.
"""

import argparse
import io
import os
import shutil
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, sync_playwright

FOLDER = Path(__file__).parent / "tour"
WIDTH = 1280
MARGIN = 14
"""Pixels kept above and below what a picture is of."""
COLORS = 256
WORD = "dollar"
"""The tour looks for latents about money and numbers."""
SENTENCE = "The government spent 3,000,000 dollars in 1790, and Congress asked the people to pay."
WAIT = 300_000
"""Milliseconds that a sentence may take: a worker may be busy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="of the server, such as http://127.0.0.1:8000")
    parser.add_argument("--study", default="demo", help="name in addresses")
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        # The hint of a first visit is no part of a page.
        page.add_init_script("localStorage.setItem('palimpsest.guide', 'dismissed')")
        take_all(page, asked.address.rstrip("/"), f"/studies/{asked.study}")
        browser.close()


def take_all(page: Page, address: str, study: str) -> None:
    """One picture a step of the tour."""
    here = address + study
    reworded = _reworded(page, address, here)

    _open(page, here)
    _take(page, "overview", page.locator("header.site"), page.locator("#loss-chart"))
    _take(page, "next", page.locator("#edit-next"), page.locator("#edit-next"), narrow=True)

    _open(page, f"{here}/latents?{urlencode({'q': WORD, 'sort': 'correlation', 'order': 'desc'})}")
    rows = page.locator("#latents tbody tr")
    _take(page, "latents", page.locator("h1"), rows.nth(min(rows.count(), 8) - 1))

    _open(page, reworded)
    _take(page, "latent", page.locator("header.site"), height=1000)
    # Before saving: what another explanation would hand to the simulator.
    page.locator("#reads summary").click()
    page.locator(".reading mark").wait_for()
    _take(page, "reword", page.locator("h1"), page.locator("#edit"))
    page.locator("#reads summary").click()
    _draft(page)
    _take(
        page,
        "moved",
        page.locator("#loss-effect"),
        page.locator("#loss-effect .effects"),
        narrow=True,
    )

    _open(page, f"{reworded}/errors")
    _take(page, "fails", page.locator("h1"), page.locator(".wrongs").last)

    _open(page, f"{reworded}/compare")
    _take(page, "compare", page.locator("h1"), page.locator(".compared-figures"))

    _open(page, _sentence(page, here))
    _take(page, "sentence", page.locator("h1"), page.locator(".firing > li").nth(3))

    _open(page, f"{here}/export")
    _take(page, "export", page.locator("h1"), page.locator(".works"))


def _draft(page: Page) -> None:
    """What a draft would change, and which of its words do the work. Nothing is saved."""
    box, before = page.locator("#text"), page.locator("#text").input_value()
    box.fill(f"{before.rstrip('.')}, and other large sums of money.")
    page.locator("#draft thead th").nth(3).wait_for(timeout=WAIT)
    _take(page, "draft", page.locator("#edit"), page.locator("#draft"), narrow=True)
    panel = page.locator("#influence")
    panel.locator("summary").click()
    panel.locator(".influence-part:not([data-more]) .influence").wait_for(timeout=WAIT)
    _take(page, "influence", panel, panel, narrow=True)
    panel.locator("summary").click()
    box.fill(before)


def _reworded(page: Page, address: str, here: str) -> str:
    """The address of the latent that a person reworded last, with a known change of loss effect.

    Raises:
        SystemExit: There is none.
    """
    _open(page, here)
    links = page.locator("#activity li:has-text('reworded') a[href*='/latents/']")
    for href in dict.fromkeys(link.get_attribute("href") for link in links.all()):
        latent = address + str(href).split("?")[0]
        _open(page, latent)
        if page.locator("#loss-effect .verdict").count():
            return latent
    raise SystemExit(
        "No reworded latent has its loss effect measured before and after. Reword a simulated one, "
        "wait for its jobs, and run this again."
    )


def _sentence(page: Page, here: str) -> str:
    """The address of the tour's sentence; it is tried first if it was not."""
    _open(page, f"{here}/try")
    known = page.locator("#recent a", has_text=SENTENCE).first
    if known.count():
        known.click()
    else:
        page.get_by_label("Text").fill(SENTENCE)
        page.get_by_role("button", name="Try it").click()
    page.locator(".firing > li .t:not(.none):not(.bos)").first.wait_for(timeout=WAIT)
    page.locator(".job-line").wait_for(state="detached", timeout=WAIT)
    return page.url


def _open(page: Page, address: str) -> None:
    """Go to a page, and wait until it is still and its charts are drawn."""
    answer = page.goto(address)
    if answer is None or not answer.ok:
        raise SystemExit(f"{address} does not answer as it should.")
    page.wait_for_function(
        "[...document.querySelectorAll('[data-chart] .drawing')]"
        ".every((one) => one.querySelector('svg'))"
    )


def _take(
    page: Page,
    name: str,
    first: Locator,
    last: Locator | None = None,
    *,
    height: int = 0,
    narrow: bool = False,
) -> None:
    """A picture from the top of one element to the bottom of another, or of some height.

    Args:
        narrow: Only as wide as the first element, not as the page.
    """
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # what moves has come to rest
    begin = first.bounding_box()
    end = last.bounding_box() if last is not None else None
    assert begin is not None
    scrolled = page.evaluate("scrollY")
    y = max(0, begin["y"] + scrolled - MARGIN)
    bottom = end["y"] + end["height"] + scrolled + MARGIN if end else y + height
    x = max(0, begin["x"] - MARGIN) if narrow else 0
    width = begin["width"] + 2 * MARGIN if narrow else WIDTH
    clip = {"x": x, "y": y, "width": width, "height": bottom - y}
    path = FOLDER / f"{name}.png"
    path.write_bytes(_small(page.screenshot(full_page=True, clip=clip)))
    print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def _small(png: bytes) -> bytes:
    """The same picture with few colours, if Pillow is installed."""
    try:
        from PIL import Image
    except ImportError:
        return png
    out = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    # The means of the colours that fall together: without, thin lines of a chart change theirs.
    few = image.quantize(COLORS, kmeans=2, dither=Image.Dither.NONE)
    few.save(out, "png", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
