"""The page of a sentence, in a browser."""

import re

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Job, Study
from tests.sentences import read


@pytest.mark.parametrize("width", [1280, 390])
def test_a_sentence_comes_in_before_ones_eyes(
    web: str, db: Session, study: Study, browser_page: Page, width: int
) -> None:
    page = browser_page
    page.set_viewport_size({"width": width, "height": 800})
    sentence = read(db, study, tokens=[], strings=[], active=[], simulated={})
    job = db.get_one(Job, sentence.job_id)
    job.status = "running"
    db.commit()
    page.goto(f"{web}/studies/{study.slug}/sentences/{sentence.id}")
    expect(page.locator("#by-token")).to_contain_text("The subject model reads it")
    done = read(db, study)
    sentence.tokens, sentence.strings, sentence.active = done.tokens, done.strings, done.active
    db.commit()
    publish(study.id, "sentence", sentence.id)
    expect(page.locator(".firing li")).to_have_count(3)
    expect(page.locator(".firing .t.none")).to_have_count(9)
    sentence.simulated = done.simulated
    db.commit()
    publish(study.id, "sentence", sentence.id)
    expect(page.locator(".firing .t.missing")).to_have_count(1)
    page.locator(".token-strip a").nth(2).click()
    expect(page.locator("#by-token h3")).to_contain_text("citizens")
    expect(page).to_have_url(re.compile(r"token=3"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".firing .t").nth(2).hover()
    expect(page.locator(".tip")).to_contain_text("calibrated 5.00")
