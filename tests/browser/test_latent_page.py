"""The examples of a latent and the latents like it, in a browser."""

import re

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Simulation, Study
from tests.reading import current_of, latent_of
from tests.text_study import text_study


@pytest.fixture
def study(db: Session) -> Study:
    return text_study(db)


def _here(study: Study, index: int = 0) -> str:
    return f"/studies/{study.slug}/latents/{index}"


def test_the_view_changes_in_place_and_by_keyboard(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}{_here(study)}")
    page.evaluate("window.loaded = 'once'")
    page.get_by_role("link", name="By interval").click()
    expect(page.locator(".interval-head").first).to_be_visible()
    page.locator("#lanes-difference").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".lanes-difference").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"examples=interval&lanes=difference$"))
    expect(page.locator("#lanes-difference")).to_be_focused()
    assert page.evaluate("window.loaded") == "once"

    # An event brings the parts again, in the view that is shown.
    explanation = current_of(db, study, 0)
    simulation = db.scalars(
        select(Simulation).filter_by(explanation_id=explanation.id, set="explain")
    ).one()
    simulation.values = np.full_like(simulation.values, np.nan)
    db.commit()
    publish(study.id, "latent", latent_of(db, study, 0).id)
    tokens = page.locator("#examples .t:not(.bos):not(.missing)")
    expect(tokens).to_have_count(0)
    expect(page.locator(".lanes-difference").first).to_be_visible()
    assert page.evaluate("window.loaded") == "once"

    page.locator(".tokens").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".t.pointed")).to_have_count(1)
    expect(page.locator(".tip")).to_contain_text("simulated value missing")
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_be_hidden()


def test_agreement_and_similar_latents_come_when_they_are_wanted(
    web: str, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}{_here(study)}")
    assert page.locator("#agreement").count() == 0
    page.get_by_text("Simulated against real, token by token").click()
    expect(page.locator("#agreement-chart svg.marks")).to_be_visible()
    expect(page.locator("#confusion-chart svg.marks")).to_be_visible()
    expect(page.locator(".confusion tbody tr")).to_have_count(10)
    page.locator("#like-it").scroll_into_view_if_needed()
    expect(page.locator("#similar-latents")).to_contain_text("words about money")


def test_everything_is_there_without_scripts(web: str, study: Study, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{web}{_here(study)}")
    expect(page.locator(".histogram")).to_be_visible()
    page.get_by_role("link", name="Hard negatives").click()
    expect(page.locator("#examples")).to_contain_text("Contexts on which it is silent")
    page.get_by_role("link", name="Real", exact=True).click()
    expect(page.locator(".lanes-real")).to_be_visible()
    expect(page.locator("#examples")).to_contain_text("Contexts on which it is silent")
    page.get_by_text("Simulated against real, token by token").click()
    page.get_by_role("link", name="Scatter, calibration").click()
    expect(page.locator(".confusion")).to_be_visible()
    context.close()
