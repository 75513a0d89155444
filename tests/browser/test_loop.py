"""The loop that everything serves, in a real browser: browse, edit, re-simulate, see it move."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Explanation, Latent, Rewrite, Study
from tests.studies import wait_for_jobs

JOB = 120_000
"""Milliseconds that a job may take before a test gives up."""


@pytest.fixture
def simulated(db: Session, living_study: Study) -> Latent:
    """The latent that was rewritten first."""
    wait_for_jobs(db, living_study.id)
    rewrite = db.scalars(select(Rewrite).where(Rewrite.study_id == living_study.id)).first()
    assert rewrite is not None
    explanation = db.get_one(Explanation, rewrite.explanation_ids[0])
    return db.get_one(Latent, explanation.latent_id)


def _mark(page: Page) -> None:
    """Leave a mark that a reload would wipe out."""
    page.evaluate("window.notReloaded = true")


def _not_reloaded(page: Page) -> bool:
    return bool(page.evaluate("window.notReloaded === true"))


def test_browse_to_a_latent(web: str, browser_page: Page, simulated: Latent) -> None:
    page = browser_page
    page.goto(f"{web}/studies/living")
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    expect(page.locator("#results")).to_contain_text("of 4,096 latents rewritten")
    page.get_by_role("link", name="4,096").click()
    expect(page).to_have_url(re.compile("/studies/living/latents"))
    page.goto(f"{web}/studies/living/latents?sort=correlation&order=desc")
    first = page.locator("tbody tr").first
    expect(first).to_contain_text(re.compile(r"[−\d]\.\d\d \["))  # its correlation and interval
    first.get_by_role("link").first.click()
    expect(page.locator("#scores")).to_contain_text("correlation")
    expect(page.locator("#examples .tokens").first).to_be_visible()


def test_an_edit_moves_lanes_scores_and_chart_without_a_reload(
    web: str, browser: Browser, browser_page: Page, simulated: Latent, db: Session
) -> None:
    latent_page = browser_page
    latent_page.goto(f"{web}/studies/living/latents/{simulated.index}")
    overview = browser.new_page()
    overview.goto(f"{web}/studies/living")
    expect(overview.locator("#loss-chart svg.marks")).to_be_visible()
    for page in (latent_page, overview):
        _mark(page)
    before = {
        "scores": latent_page.locator("#scores").inner_html(),
        "loss_effects": latent_page.locator("#loss-effect").inner_html(),
        "lanes": latent_page.locator("#examples").inner_html(),
        "figures": overview.locator("#figures tbody").inner_text(),
    }

    explanation = "Words that <b>end</b> a sentence <script>alert(1)</script>"
    latent_page.locator("#text").fill(explanation)
    latent_page.get_by_role("button", name="Save and re-simulate").click()
    expect(latent_page.locator("#explanation")).to_contain_text(explanation)
    expect(latent_page.locator("#jobs")).to_contain_text("simulate", ignore_case=True)

    # The lanes are empty at once, as the new explanation has no simulation, and then filled.
    expect(latent_page.locator("#scores .score-value")).to_have_count(6, timeout=JOB)
    expect(latent_page.locator("#loss-effect tbody tr")).to_have_count(6, timeout=JOB)
    after = {
        "scores": latent_page.locator("#scores").inner_html(),
        "loss_effects": latent_page.locator("#loss-effect").inner_html(),
        "lanes": latent_page.locator("#examples").inner_html(),
    }
    for part, html in after.items():
        assert html != before[part], f"the {part} did not change"
    expect(latent_page.locator("#explanation")).to_contain_text(explanation)

    expect(overview.locator("#results")).to_contain_text("before the last edit", timeout=JOB)
    expect(overview.locator("#figures tbody")).not_to_have_text(before["figures"], timeout=JOB)
    assert _not_reloaded(latent_page) and _not_reloaded(overview)
    wait_for_jobs(db, simulated.study_id)

    # What was seen live is what a reload shows.
    live = latent_page.locator("#scores .score-value").all_inner_texts()
    latent_page.reload()
    assert latent_page.locator("#scores .score-value").all_inner_texts() == live
    overview.close()


@pytest.mark.parametrize("text", ["   ", "x" * 10_000, "a \x07 bell"])
def test_a_bad_explanation_is_refused_at_the_field_and_kept(
    web: str, browser_page: Page, simulated: Latent, text: str
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/living/latents/{simulated.index}")
    versions = page.locator("#history > ol > li").count()
    page.locator("#text").fill(text)
    with page.expect_response(re.compile("/explanations$")) as response:
        page.get_by_role("button", name="Save and re-simulate").click()
    assert response.value.status == 422
    expect(page.locator("#edit-feedback [role=alert]")).to_be_visible()
    assert page.locator("#text").input_value() == text
    page.reload()
    expect(page.locator("#history > ol > li")).to_have_count(versions)


def test_everything_on_the_pages_is_in_the_api(web: str, simulated: Latent, db: Session) -> None:
    api = f"{web}/api/v1/studies/living"
    study = httpx.get(api).raise_for_status().json()
    assert study["coder_info"]["fvu"] < 0.2
    latent = httpx.get(f"{api}/latents/{simulated.index}").raise_for_status().json()
    assert latent["index"] == simulated.index
    rewrites = httpx.get(f"{api}/rewrites").raise_for_status().json()
    assert {rewrite["protocol"] for rewrite in rewrites} == {"whole", "paper"}
    dearest = httpx.get(f"{api}/edit-next").raise_for_status().json()["items"]
    assert simulated.index in {item["index"] for item in dearest}
    unknown = httpx.get(f"{api}/latents/5000")
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == "application/problem+json"
    assert "4,096" in unknown.json()["detail"]
