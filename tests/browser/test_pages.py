"""The pages as people see them in Chromium."""

import httpx
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.events import publish
from models import (
    Context,
    Explanation,
    Job,
    Study,
)
from tests.factories import check, generation, simulate
from tests.reading import current_of, latent_of

EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"


def test_script_in_data_stays_text(web: str, db: Session, study: Study, browser_page: Page) -> None:
    latent = latent_of(db, study, 0)
    explanation = Explanation(latent_id=latent.id, text=EVIL, author_kind="person", author=EVIL)
    db.add(explanation)
    db.flush()
    latent.explanation_id = explanation.id
    latent.promoted = [[EVIL, 1.0]]
    study.title = EVIL
    for context in db.scalars(select(Context).filter_by(study_id=study.id)):
        context.strings = [EVIL, *context.strings[1:4], "</script>", *context.strings[5:]]
        context.document = EVIL
    job = Job(study_id=study.id, kind="explain", status="failed", message=EVIL, created_by=EVIL)
    db.add(job)
    db.commit()
    made = generation(db, study, [latent])
    made.prompt = EVIL
    made.continuations = {"untouched": made.continuations["untouched"] | {"tokens": [EVIL]}}
    check(db, study, **{EVIL: "passed"})
    written = ("/generate", f"/generations/{made.id}", "/checks")
    for path in ("", "/latents", "/latents/0", "/jobs", *written):
        browser_page.goto(f"{web}/studies/{study.slug}{path}")
        browser_page.wait_for_load_state("load")
        expect(browser_page.locator("body")).to_contain_text("window.evil")
        assert browser_page.evaluate("window.evil") is None, path


def test_an_edit_moves_the_page_without_a_reload(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    latent = latent_of(db, study, 3)
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    expect(page.locator("#examples .t.none").first).to_be_visible()
    page.evaluate("window.loaded = 'once'")
    page.locator("#text").fill("the word state")
    expect(page.locator("#count")).to_have_text("14")
    page.get_by_role("button", name="Save and re-simulate").click()
    expect(page.locator("#edit-feedback")).to_contain_text("Saved.")
    expect(page.locator("#explanation blockquote")).to_have_text("the word state")
    expect(page.locator("#jobs")).to_contain_text("queued")
    expect(page.locator("#history li")).to_have_count(2)

    page.locator("#text").fill("still being typed")
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="simulate")).one()
    job.status, job.done, job.total, job.unit = "running", 1, 2, "steps"
    db.commit()
    publish(study.id, "job", job.id)
    expect(page.locator("#jobs")).to_contain_text("1 of 2 steps")

    db.refresh(latent)
    contexts = list(db.scalars(select(Context).filter_by(study_id=study.id)))
    simulate(db, study, latent, contexts)
    job.status = "finished"
    db.commit()
    publish(study.id, "latent", latent.id)
    expect(page.locator("#scores .score-value").first).to_have_text("0.20")
    expect(page.locator("#effect-chart svg.marks")).to_be_visible()
    expect(page.locator("#examples .t.none")).to_have_count(0)
    expect(page.locator("#text")).to_have_value("still being typed")
    assert page.evaluate("window.loaded") == "once"

    page.locator("#examples .t").nth(1).hover()
    expect(page.locator(".tip")).to_contain_text("of 9")
    page.reload()
    expect(page.locator("#scores .score-value").first).to_have_text("0.20")
    page.get_by_role("link", name="show its simulation").click()
    expect(page.locator("#explanation")).to_contain_text("An earlier explanation")
    page.get_by_role("link", name="restore").click()
    expect(page.locator("#text")).to_have_value("fires on word number 3, 100%_sure")


def test_two_editors(web: str, db: Session, study: Study, browser_page: Page) -> None:
    path = f"{web}/studies/{study.slug}/latents/2"
    browser_page.goto(path)
    browser_page.locator("#text").fill("mine")
    start = current_of(db, study, 2).id
    other = httpx.post(f"{path}/explanations", data={"text": "theirs", "parent_id": str(start)})
    assert other.status_code == 303
    expect(browser_page.locator("#history li")).to_have_count(2)
    expect(browser_page.locator("#text")).to_have_value("mine")
    browser_page.get_by_role("button", name="Save and re-simulate").click()
    expect(browser_page.locator("#edit-feedback")).to_contain_text(
        "saved another version: “theirs”"
    )
    assert current_of(db, study, 2).text == "mine"
