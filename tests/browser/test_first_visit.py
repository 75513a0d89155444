"""Somebody's first visit, on the real study: find, doubt, reword, and see whether that helped."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from models import Study
from tests.studies import wait_for_jobs

JOB = 240_000
"""Milliseconds that a job may take before the test gives up."""


def _search(page: Page, *words: str) -> str:
    """Try words until one is in an explanation, as a person would; return that one."""
    for word in words:
        page.get_by_label("Words in the explanation").fill(word)
        expect(page.locator("#latents")).to_contain_text(f"with “{word}” in the explanation")
        if page.locator("#latents tbody tr").count():
            return word
    raise AssertionError(f"No explanation has any of these words: {words}")


def test_a_first_visit(web: str, browser_page: Page, living_study: Study, db: Session) -> None:
    wait_for_jobs(db, living_study.id)
    page, keyboard = browser_page, browser_page.keyboard
    page.goto(f"{web}/studies")
    page.get_by_role("link", name=living_study.title).click()
    expect(page.get_by_role("heading", name="The loop, in three steps")).to_be_visible()

    # Find one about numbers, by its words; the one that fires most is easiest to judge.
    page.get_by_role("link", name="Latents", exact=True).click()
    word = _search(page, "million", "hundred", "dollar", "two", "one", "year")
    page.locator("#latents thead").get_by_role("link", name="fires on").click()
    expect(page.locator("#latents th[aria-sort]")).to_contain_text("fires on")
    first = page.locator("#latents tbody tr").first
    expect(first).to_contain_text(word, ignore_case=True)
    first.locator("td.text a").click()
    expect(page.locator("#explanation")).to_contain_text(word, ignore_case=True)

    # See where the explanation fails.
    simulate = page.get_by_role("button", name="Simulate it")
    if simulate.count():
        simulate.click()
    expect(page.locator("#scores .score-value").first).to_be_visible(timeout=JOB)
    wait_for_jobs(db, living_study.id)
    page.get_by_text("Which examples does this explanation get wrong?").click()
    expect(page.locator("#errors")).to_contain_text("The worst of")
    expect(page.locator("#errors .wrongs li").first).to_contain_text(
        re.compile(r"is .*, predicted ")
    )

    # Reword it, by keys alone.
    explanation = "amounts and large numbers, such as a million"
    keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    keyboard.press("Control+a")
    keyboard.type(explanation)
    keyboard.press("Control+Enter")
    expect(page.locator("#edit-feedback")).to_contain_text("Saved.")
    expect(page.locator("#explanation")).to_contain_text(explanation)

    # The page says whether it helped, with an interval, or that this cannot be told.
    verdict = page.locator("#loss-effect .verdict")
    expect(verdict).to_contain_text(
        re.compile(
            "this explanation (has a (smaller|larger) loss effect than|cannot be told from)"
        ),
        timeout=JOB,
    )
    expect(verdict).to_contain_text("nats, p")
    page.get_by_role("link", name="Compare any two").click()
    expect(page.locator("main")).to_contain_text(explanation)
    wait_for_jobs(db, living_study.id)
