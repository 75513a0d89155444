"""The form of a study inspects the coder before the study is made."""

from pathlib import Path

from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.processes import Child
from interp.vocabulary import CoderFit
from models import Study
from tests.checkpoints import living_folders, stream_coder
from tests.studies import wait_for_jobs

LONG = 400_000
"""Milliseconds that an inspection may take: its process imports torch."""


def test_a_coder_is_inspected_and_its_site_used(
    web: str, worker: Child, browser_page: Page, db: Session, tmp_path: Path
) -> None:
    files = living_folders(tmp_path)
    page, panel = browser_page, browser_page.locator("#inspection")
    page.goto(f"{web}/studies/new")
    page.get_by_role("button", name="Create and start").click()
    wrong = page.locator("main .error:visible")
    expect(wrong).not_to_have_count(0)
    typed = {
        "Title": "Inspected",
        "Name in addresses": "inspected",
        "Model": files["model"],
        "Sparse coder": stream_coder(tmp_path / "stream"),
        "Corpus": files["corpus"],
        "Explain set": "200",
        "Calibrate set": "8",
        "Evaluate set": "16",
        "Rewritten contexts": "8",
    }
    for label, value in typed.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Last step").select_option("collect")

    # The files name no site: the form asks for it, and an inspection can be asked for again.
    page.get_by_role("button", name="Inspect").click()
    expect(panel.get_by_role("status")).to_contain_text("do not name the site")
    page.get_by_label("Hookpoint", exact=True).fill("layers.1.self_attn.o_proj.input")
    page.get_by_role("button", name="Inspect").click()
    expect(panel.get_by_role("button", name="Give up")).to_be_visible()
    expect(wrong).to_have_count(0)
    expect(panel.locator(".status")).to_have_text("running", timeout=LONG)
    page.get_by_label("Seed", exact=True).fill("7")
    expect(panel.get_by_role("status")).to_contain_text("layers.1", timeout=LONG)

    rows = panel.locator("tbody tr")
    expect(rows.first).to_contain_text("in the form")
    expect(rows.nth(1).get_by_role("rowheader")).to_have_text("layers.1")
    rows.nth(1).get_by_role("button", name="Use this").click()
    expect(rows.nth(1)).to_contain_text("in the form")
    expect(page.get_by_label("Hookpoint", exact=True)).to_have_value("layers.1")
    verdict = panel.get_by_role("status")
    expect(verdict).to_contain_text(CoderFit.HERE.meaning)
    for label, value in (typed | {"Seed": "7"}).items():
        expect(page.get_by_label(label, exact=True)).to_have_value(value)

    # The verdict follows each field of the form that is left.
    page.get_by_label("Context length", exact=True).fill("64")
    page.get_by_label("Title", exact=True).focus()
    expect(verdict).to_contain_text("The form has changed since it was inspected: Context length")
    page.get_by_label("Context length", exact=True).fill("34")
    page.get_by_label("Title", exact=True).focus()
    expect(verdict).to_contain_text(CoderFit.HERE.meaning)

    # Enter makes the study: it is no button of the panel that is pressed.
    page.get_by_label("Title", exact=True).press("Enter")
    page.wait_for_url(f"{web}/studies/inspected")
    study = db.scalars(select(Study).filter_by(slug="inspected")).one()
    assert (study.hookpoint, study.seed) == ("layers.1", 7)
    (job,) = wait_for_jobs(db, study.id)
    assert job.status == "finished", job.message
