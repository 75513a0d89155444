"""What the page of a latent does with an earlier version of its text."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Job
from tests.factories import new_explanation
from tests.reading import current_of, latent_of
from tests.text_study import text_study


def test_an_earlier_version_is_simulated_from_its_page(
    web: str, db: Session, browser_page: Page
) -> None:
    study = text_study(db)
    latent = latent_of(db, study, 4)
    first = current_of(db, study, 4)
    new_explanation(db, latent, "money")
    db.commit()

    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/4?version={first.id}")
    expect(page.locator("#scores")).to_contain_text("This version was never simulated.")
    page.get_by_role("button", name="Simulate it").click()
    expect(page.locator("#scores")).to_contain_text("Being simulated")
    expect(page.locator("#explanation")).to_contain_text(first.text)
    expect(page).to_have_url(re.compile(f"version={first.id}$"))
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="simulate")).one()
    assert job.params["explanation_ids"] == [first.id]
