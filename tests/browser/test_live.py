"""An answer while somebody types, in a real browser, with real workers."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Explanation, Latent, Simulator, Study
from tests.browsing import go_offline
from tests.factories import little_study

SLOW = 60_000
"""Milliseconds for the first answer, which loads models."""


def test_figures_and_lanes_move_while_somebody_types(
    web: str, db: Session, instant_study: Study, bulk: object, browser_page: Page
) -> None:
    often = select(Latent).where(Latent.study_id == instant_study.id, Latent.firing_rate > 0.02)
    latent = db.scalars(often.order_by(Latent.index.desc()).limit(1)).one()
    versions = select(func.count()).where(Explanation.latent_id == latent.id)
    before = db.scalar(versions)
    page = browser_page
    page.goto(f"{web}/studies/{instant_study.slug}/latents/{latent.index}")
    box, draft, examples = page.locator("#text"), page.locator("#draft"), page.locator("#examples")
    box.focus()
    expect(draft.locator("tbody th").first).to_have_text("correlation", timeout=SLOW)
    expect(draft.locator("thead th")).to_have_count(2)
    stored = examples.locator(".tokens").first.inner_html()

    box.fill("")
    box.press_sequentially("The word “Congress” at the end of a sentence", delay=30)
    expect(draft.locator("thead th")).to_have_text(
        ["calibrate set", "current", "this text", "change"], timeout=SLOW
    )
    expect(examples).to_have_attribute("data-draft", "")
    expect(examples).to_contain_text("not saved")
    assert examples.locator(".tokens").first.inner_html() != stored, "the lanes have moved"
    expect(page.locator("#draft-said")).to_have_text(re.compile("Correlation of this text"))
    expect(box).to_be_focused()
    expect(box).to_have_value("The word “Congress” at the end of a sentence")

    # Another tab of the examples keeps the draft's lane.
    page.locator("#examples-hard_negative, #examples-random").first.click()
    expect(page.locator('#examples [aria-current="true"]').first).to_have_text(
        re.compile("Random|Hard")
    )
    expect(page.locator("#examples[data-draft]")).to_be_visible(timeout=SLOW)
    expect(box).to_have_value("The word “Congress” at the end of a sentence")
    db.rollback()
    assert db.scalar(versions) == before

    # The current text again: its own lanes.
    page.reload()
    expect(page.locator("#examples[data-draft]")).to_have_count(0)
    expect(page.locator("#unsaved blockquote")).to_contain_text("Congress")


def test_the_words_that_do_the_work(
    web: str, db: Session, instant_study: Study, browser_page: Page
) -> None:
    often = select(Latent).where(Latent.study_id == instant_study.id, Latent.firing_rate > 0.02)
    latent = db.scalars(often.order_by(Latent.index.desc()).limit(1)).one()
    page = browser_page
    page.goto(f"{web}/studies/{instant_study.slug}/latents/{latent.index}")
    box, panel = page.locator("#text"), page.locator("#influence")
    mine = "banana of the moon"
    box.fill(mine)
    panel.locator("summary").click()
    expect(panel.locator(".influence-word")).to_have_count(4, timeout=SLOW)
    expect(panel.locator(".influence-part[data-more]")).to_have_count(0, timeout=SLOW)
    expect(panel).to_contain_text("other texts were simulated")
    suggestion = panel.locator(".suggestions li").first
    words = suggestion.locator("[data-change]").inner_text()
    added = suggestion.locator("[data-change]").get_attribute("data-change") == "add"
    suggestion.get_by_role("button", name=re.compile("^Take over")).click()
    # It is in the box, not saved, and what was typed is still offered.
    assert (words in box.input_value()) == added and box.input_value() != mine
    expect(page.locator("#unsaved blockquote")).to_contain_text(mine)
    expect(panel.locator(".influence")).not_to_contain_text(mine, timeout=SLOW)


def test_a_server_that_is_away_is_said_and_nothing_is_lost(
    web: str, db: Session, browser: Browser
) -> None:
    study = little_study(db)
    db.get_one(Simulator, study.simulator_id).method = "two_tower"
    db.commit()
    page = browser.new_page()  # its console tells of every request that fails
    page.goto(f"{web}/studies/{study.slug}/latents/1")
    go_offline(page)
    page.locator("#text").fill("words that nobody answers")
    expect(page.locator("#draft .draft-part")).to_contain_text("The server does not answer")
    expect(page.locator("#notice")).to_be_empty()
    expect(page.locator("#text")).to_have_value("words that nobody answers")
    page.locator("#examples-random").click()
    expect(page.locator("#notice")).to_contain_text("The server does not answer")
    page.context.close()
    db.get_one(Simulator, study.simulator_id).method = "all_at_once"
    db.commit()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_slow_simulator_has_a_button(
    web: str, db: Session, browser_page: Page, width: int
) -> None:
    study = little_study(db)
    page = browser_page
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{web}/studies/{study.slug}/latents/1")
    page.locator("#text").fill("the word state")
    expect(page.locator("#draft")).to_contain_text("nothing moves while you type")
    page.get_by_role("button", name="Try it on these examples").click()
    expect(page.locator("#draft .draft-part")).to_contain_text("No interactive worker is running")
    expect(page.locator("#draft-said")).to_contain_text("No interactive worker is running")
    expect(page.locator("#text")).to_have_value("the word state")
    assert page.locator("html").evaluate("e => e.scrollWidth") <= width
