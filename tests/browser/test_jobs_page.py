"""The page of a job and the head of every page follow a job, in a browser."""

import re

from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Study
from tests.factories import page_job


def test_the_head_of_every_page_says_what_runs(
    web: str, db: Session, study: Study, browser_page: Page, served: None
) -> None:
    page, head = browser_page, browser_page.locator("#jobs-now")
    page.goto(f"{web}/studies/{study.slug}")
    expect(head).to_be_hidden()
    expect(page).to_have_title("A little study · Palimpsest")
    job = page_job(db, study, status="running", done=1, total=4, unit="steps")
    publish(study.id, "job", job.id)
    expect(head).to_have_text("1 job, 25%")
    expect(page).to_have_title("25% · A little study · Palimpsest")
    other = page_job(db, study, status="queued")
    job.done = 2
    db.commit()
    publish(study.id, "job", job.id)
    expect(head).to_have_text("2 jobs, 50%")
    head.click()
    expect(page).to_have_url(re.compile(f"/studies/{study.slug}/jobs"))
    expect(page).to_have_title("50% · Jobs · Palimpsest")
    page.get_by_role("link", name=f"#{job.id}").click()
    expect(page.get_by_role("heading", name="Simulate")).to_be_visible()
    job.done = 3
    db.commit()
    publish(study.id, "job", job.id)
    expect(page).to_have_title(re.compile(r"75% · Simulate"))
    job.status = other.status = "cancelled"
    db.commit()
    publish(study.id, "job", job.id)
    expect(head).to_be_hidden()
    expect(page).to_have_title(re.compile(r"^Simulate"))
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_an_error_page_asks_once_what_runs(
    web: str, db: Session, study: Study, browser: Browser
) -> None:
    job = page_job(db, study, status="running", done=1, total=4, unit="steps")
    page = browser.new_page()
    page.goto(f"{web}/studies/{study.slug}/latents/5000")
    expect(page.locator("#jobs-now")).to_have_text(re.compile(r"\d+ jobs?"))
    page.close()
    job.status = "cancelled"
    db.commit()
