"""Many tabs on one server: each loads, and the one in front is live."""

from datetime import UTC, datetime

from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy.orm import Session

from models import Job
from tests.factories import little_study
from workers import queue

TABS = 8
"""A browser opens six connections to a server at most."""


def _tab(context: BrowserContext) -> Page:
    """A tab that is hidden while another one is in front; Playwright's own always count as seen."""
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    return page


def test_the_eighth_tab_loads_and_the_one_in_front_is_live(
    web: str, db: Session, browser: Browser
) -> None:
    study = little_study(db)
    context = browser.new_context()
    tabs = []
    for _ in range(TABS):
        page = _tab(context)
        page.bring_to_front()
        page.goto(f"{web}/studies/{study.slug}/latents/0", wait_until="load")
        tabs.append(page)
    first, last = tabs[0], tabs[-1]
    assert first.evaluate("document.hidden") and not last.evaluate("document.hidden")

    with last.expect_response(lambda answer: answer.url.endswith("/events")) as stream:
        last.reload()
    assert stream.value.ok
    expect(last.locator("#jobs-now")).to_be_hidden()
    job = Job(study_id=study.id, kind="simulate", created_by="ana", status="running")
    job.started_at, job.done, job.total, job.attempts = datetime.now(UTC), 1, 4, 1
    db.add(job)
    db.commit()
    queue.publish(study.id, "job", job.id)
    expect(last.locator("#jobs-now")).to_have_text("1 job, 25%")
    expect(first.locator("#jobs-now")).to_be_hidden()

    first.bring_to_front()
    expect(first.locator("#jobs-now")).to_have_text("1 job, 25%")
    job.done = 2
    db.commit()
    queue.publish(study.id, "job", job.id)
    expect(first).to_have_title("50% · Latent 0 of A little study · Palimpsest")
    job.status = "cancelled"
    db.commit()
    context.close()
