"""Keys, and the hint of the first visit, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Job, Study
from tests.reading import current_of


def test_keys_lead_through_the_pages(web: str, study: Study, browser_page: Page) -> None:
    page, keyboard = browser_page, browser_page.keyboard
    here = f"{web}/studies/{study.slug}"
    page.goto(here)
    keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next, previous latent")
    keyboard.press("j")
    keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    keyboard.press("/")
    expect(page).to_have_url(f"{here}/latents#q")
    expect(page.locator("#q")).to_be_focused()
    keyboard.type("j?")
    expect(page.locator("#q")).to_have_value("j?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    keyboard.press("Escape")
    expect(page.locator("#q")).not_to_be_focused()
    page.goto(f"{here}/latents/1")
    keyboard.press("j")
    expect(page).to_have_url(f"{here}/latents/2")
    keyboard.press("k")
    expect(page).to_have_url(f"{here}/latents/1")
    keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    keyboard.type("kje")
    expect(page.locator("#text")).to_have_value("kje")
    keyboard.press("Escape")
    keyboard.press("Control+k")
    expect(page).to_have_url(f"{here}/latents/1")
    for key, path in {"o": "", "l": "/latents", "t": "/try", "j": "/jobs"}.items():
        keyboard.press("g")
        keyboard.press(key)
        expect(page).to_have_url(here + path)


def test_s_simulates_and_never_saves(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    page.keyboard.press("e")
    page.keyboard.type("the word state")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.locator("#scores")).to_contain_text("Being simulated")
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="simulate")).one()
    assert job.params["explanation_ids"] == [current_of(db, study, 3).id]
    assert current_of(db, study, 3).text != "the word state"
    expect(page.locator("#text")).to_have_value("the word state")


def test_the_first_visit_is_led_through_the_loop_once(
    web: str, study: Study, browser_page: Page
) -> None:
    page, guide = browser_page, browser_page.locator("#guide")
    page.goto(f"{web}/studies/{study.slug}")
    expect(guide.locator("li")).to_have_count(3)
    expect(guide).to_be_visible()
    page.goto(f"{web}/studies/{study.slug}/latents/0")
    expect(guide).to_have_count(0)
    page.goto(f"{web}/studies/{study.slug}")
    guide.get_by_role("button", name="Got it").click()
    expect(guide).to_be_hidden()
    page.reload()
    expect(guide).to_be_hidden()
    page.goto(f"{web}/studies/{study.slug}/latents/0")
    page.get_by_role("button", name=re.compile("Keys")).click()
    page.get_by_role("button", name="Show the first steps again").click()
    expect(guide).to_be_visible()
    page.goto(f"{web}/studies/{study.slug}")
    expect(guide).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_hint_and_the_keys_fit_the_screen(
    web: str, study: Study, browser_page: Page, width: int
) -> None:
    page = browser_page
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{web}/studies/{study.slug}")
    expect(page.locator("#guide")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
