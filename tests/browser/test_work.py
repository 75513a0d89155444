"""Choosing work and its estimate, in a browser."""

import re

import httpx
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Job, Study

LLM = {"backend": "openai", "model": "a-model", "base_url": "http://localhost:1/v1"}


def test_estimate_and_start_on_a_latents_page(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    page.get_by_text("Explain, simulate or score it").click()
    form = page.locator("form.work").filter(has_text="Explainer")
    expect(form.locator(".estimate")).to_contain_text("1 latent to explain")
    expect(form.get_by_label("Language model")).to_be_hidden()
    form.get_by_label("Explainer").select_option("contrastive")
    # The last language model that was used is filled in, whoever used it.
    form.get_by_label("Back end").select_option("transformers")
    expect(form.get_by_label("Address")).to_be_hidden()
    form.get_by_label("Back end").select_option("openai")
    form.get_by_label("Address").fill("http://localhost:1/v1")
    form.get_by_label("Language model").fill("a-model")
    form.get_by_label("Language model").blur()
    expect(form.locator(".estimate")).to_contain_text("900 tokens to read and 60 to write")
    form.get_by_label("Then simulate with").select_option(str(study.simulator_id))
    expect(form.locator(".estimate")).to_contain_text("Then 1 latent to simulate")
    form.get_by_role("button", name="Explain latent 3").click()
    expect(page).to_have_url(re.compile("/latents/3$"))
    job = db.scalars(select(Job).filter_by(study_id=study.id)).one()
    assert (job.kind, job.params["latents"], job.params["llm"]) == ("explain", [3], LLM)
    assert job.params["then_simulate"]["simulator_id"] == study.simulator_id
    expect(page.locator("#jobs")).to_contain_text("Explain")
    httpx.post(f"{web}/jobs/{job.id}/cancel")
