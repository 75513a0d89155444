"""Tokens in lanes: read in one place, written in one place, the same on every page."""

from playwright.sync_api import Page
from sqlalchemy.orm import Session

from tests.factories import little_study
from tests.reading import current_of


def test_compared_tokens_run_on_in_lines(web: str, db: Session, browser_page: Page) -> None:
    study = little_study(db)
    first = current_of(db, study, 0).id
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/0")
    page.locator("#text").fill("another explanation of it")
    page.get_by_role("button", name="Save and re-simulate").click()
    page.locator("[data-saved]").wait_for()
    second = current_of(db, study, 0).id
    page.goto(f"{web}/studies/{study.slug}/latents/0/compare?a={first}&b={second}")
    line = page.locator("#compared .tokens").first
    tops = line.locator(".t").evaluate_all("all => all.map(t => t.getBoundingClientRect().top)")
    assert len(tops) > 3 and len(set(tops)) == 1
    bars = line.locator(".t > i").evaluate_all("all => all.map(i => i.offsetHeight)")
    assert set(bars) == {7}
