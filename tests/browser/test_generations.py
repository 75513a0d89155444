"""The page of a generation, in a browser."""

from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Job, Study
from tests.factories import check, generation
from tests.reading import latent_of


def test_a_generation_is_written_before_ones_eyes(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/generate")
    page.locator("#new_tokens").fill("32")
    expect(page.locator("#estimate")).to_contain_text("for 32 simulations")
    made = generation(db, study, [latent_of(db, study, 0)])
    page.goto(f"{web}/studies/{study.slug}/generations/{made.id}")
    expect(page.locator(".continuation mark")).to_have_text([" of"])
    expect(page.locator("#continuations")).to_contain_text("Being written.")
    rewritten = {"tokens": [",", " the"], "simulations": 1234, "missing": 3, "seconds": 61.0}
    made.continuations = made.continuations | {"rewritten": rewritten}
    db.get_one(Job, made.job_id).status = "finished"
    db.commit()
    publish(study.id, "generation", made.id)
    last = page.locator(".continuation").last
    expect(last).to_contain_text("1,234")
    expect(last).to_contain_text("3, there the latent stayed real")
    expect(last).to_contain_text("1 min 01 s")
    expect(last.locator("mark")).to_have_count(0)
    expect(page.locator("#jobs")).not_to_contain_text("running")
    page.get_by_role("link", name="0", exact=True).click()
    expect(page.get_by_role("heading", name="Latent 0")).to_be_visible()


def test_checks_come_in_one_by_one(web: str, db: Session, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/checks")
    expect(page.locator("#checks")).to_contain_text("Not checked yet.")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#jobs")).to_contain_text("queued")
    expect(page.get_by_role("button", name="Check")).to_be_disabled()
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="check")).one()
    job.status = "cancelled"
    db.commit()
    check(db, study, equal="passed", permuted="cannot tell", wrong="failed")
    publish(study.id, "checks")
    expect(page.locator("#checks .status")).to_have_text(["passed", "cannot tell", "failed"])
    expect(page.locator("#checks")).to_contain_text("what permuted compares")
    expect(page.get_by_role("button", name="Check again")).to_be_enabled()
