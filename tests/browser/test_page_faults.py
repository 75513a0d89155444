"""What newcomers stumbled over, each as a test, in a browser."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session

from interp.vocabulary import Concept
from models import Study
from tests.text_study import text_study


def test_a_term_opens_by_keyboard_and_by_touch(web: str, study: Study, browser: Browser) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(f"{web}/studies/{study.slug}")
    term = page.get_by_role("button", name="nats", exact=True).first
    meaning = page.locator("#term-nats")
    expect(meaning).to_be_hidden()
    term.focus()
    page.keyboard.press("Enter")
    expect(meaning).to_have_text(Concept.NATS.meaning)
    expect(meaning).to_be_visible()
    box = meaning.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()
    term.tap()
    expect(meaning).to_be_visible()
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_chart_begins_high_on_the_page(
    web: str, study: Study, browser_page: Page, width: int
) -> None:
    page = browser_page
    page.add_init_script("localStorage.setItem('palimpsest.guide', 'dismissed')")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{web}/studies/{study.slug}")
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    box = page.locator("#loss-chart").bounding_box()
    assert box is not None and box["y"] < (400 if width > 500 else 720)


def test_the_tooltip_of_a_chart_is_not_a_table_of_the_page(
    web: str, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}")
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    point = page.locator("#loss-chart svg .mark-symbol.role-mark path").last.bounding_box()
    assert point is not None
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_be_visible()
    style = "e => [getComputedStyle(e).borderBottomWidth, e.closest('table').offsetWidth]"
    border, width = tooltip.locator("td").first.evaluate(style)
    assert border == "0px" and width < 420


def test_the_address_is_copied(web: str, study: Study, browser: Browser) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    for path in ("", "/latents?q=numb", "/latents/0"):
        page.goto(f"{web}/studies/{study.slug}{path}")
        page.locator("[data-copy-link]").click()
        expect(page.locator("[data-copy-link]")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.url
    context.close()


def test_the_guide_opens_a_latent_and_is_small(web: str, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{web}/studies/{study.slug}")
    box = page.locator("#guide").bounding_box()
    assert box is not None and box["height"] < 200
    page.get_by_role("link", name="Open one").click()
    expect(page).to_have_url(re.compile(r"/latents/\d+"))
    expect(page.locator("#guide")).to_have_count(0)


@pytest.mark.parametrize("path", ["", "/latents", "/latents/0", "/jobs"])
def test_head_and_page_align_on_a_wide_screen(
    web: str, study: Study, browser_page: Page, path: str
) -> None:
    page = browser_page
    page.set_viewport_size({"width": 1920, "height": 900})
    page.goto(f"{web}/studies/{study.slug}{path}")
    lefts = [page.locator(name).first.bounding_box() for name in (".wordmark", "h1", ".foot span")]
    assert all(box and abs(box["x"] - lefts[0]["x"]) < 1 for box in lefts if lefts[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_strongest_token_stands_out(
    web: str, db: Session, browser_page: Page, scheme: str
) -> None:
    study, page = text_study(db), browser_page
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{web}/studies/{study.slug}/latents/0")
    colours = page.evaluate(
        """() => {
          const paint = document.createElement("canvas").getContext("2d");
          const strongest = [...document.querySelectorAll("#examples .t")].sort(
            (a, b) => b.style.getPropertyValue("--r") - a.style.getPropertyValue("--r"))[0];
          const css = getComputedStyle(strongest);
          const fill = css.backgroundImage.match(/\\((.*?\\)),/)[1];
          const paper = getComputedStyle(document.body).backgroundColor;
          return [paper, fill, css.color].map((colour, at) => {
            if (at === 0) paint.clearRect(0, 0, 1, 1);
            paint.fillStyle = colour;
            paint.fillRect(0, 0, 1, 1);
            if (at === 2) { paint.clearRect(0, 0, 1, 1); paint.fillRect(0, 0, 1, 1); }
            return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
          });
        }"""
    )
    paper, fill, ink = (_luminance(colour) for colour in colours)
    assert _contrast(fill, paper) >= 3
    assert _contrast(fill, ink) >= 4.5


def _luminance(colour: list[int]) -> float:
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_a_text_is_tried_from_the_list(web: str, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents")
    page.get_by_label("Fires on a text of yours").fill("The war ended in 1918.")
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(re.compile(r"/sentences/\d+"))
