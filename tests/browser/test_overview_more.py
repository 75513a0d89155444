"""The lines of the overview to choose from, in a browser."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from models import Study


def test_lines_are_chosen(web: str, db: Session, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}")

    drawn = page.locator("#loss-chart svg.marks")
    bare = page.locator(".lines a")
    none, zero = (
        page.get_by_role("checkbox", name=name) for name in ("rewritten, none", "zero ablation")
    )
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    expect(drawn).to_contain_text("rewritten, none")
    expect(drawn).to_contain_text("zero ablation +")
    expect(bare).to_have_count(0)
    page.locator("#choose-lines summary").click()
    none.uncheck()
    expect(page).to_have_url(re.compile("chosen=true"))
    expect(drawn).not_to_contain_text("rewritten, none")
    expect(drawn).to_contain_text("rewritten, linear")
    zero.uncheck()
    expect(drawn).not_to_contain_text("zero ablation +")
    expect(none).not_to_be_checked()
    page.reload()
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    expect(none).not_to_be_checked()
    bare.click()
    expect(none).to_be_checked()
    nothing = page.goto(f"{web}/studies/{study.slug}?chosen=true")
    assert nothing and nothing.status == 200
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
