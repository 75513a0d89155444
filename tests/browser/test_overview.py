"""The views of the overview, in a browser."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Study
from tests.reading import headline_point


def test_the_chart_moves_without_a_reload(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}")
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    expect(page.locator("#results")).to_contain_text("2 of 6 latents rewritten")
    page.evaluate("window.loaded = 'once'")
    page.get_by_role("link", name="Ceilings").click()
    expect(page.locator(".view-note")).to_contain_text("Oracle gating")
    expect(page).to_have_url(re.compile("view=ceilings"))
    page.get_by_text("The figures as a table").click()
    expect(page.locator("#figures table")).to_be_visible()
    top = headline_point(db, study)
    top.increase, top.low, top.high = 0.377, 0.3, 0.4
    db.commit()
    publish(study.id, "chart")
    expect(page.locator("#results .story")).to_contain_text("+0.377 [+0.300, +0.400]")
    script = page.locator("#loss-chart script").text_content() or ""
    assert "0.377" in script and "oracle gating" in script, "the view stays"
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    expect(page.locator("#figures table")).to_be_visible()
    assert page.evaluate("window.loaded") == "once"
