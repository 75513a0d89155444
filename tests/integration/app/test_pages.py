"""The pages: as text over HTTP, and as people see them in Chromium."""

import re
import subprocess
import sys
import uuid
from html import unescape

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.rewrites.views import VIEWS
from models import (
    Job,
    Simulation,
    Study,
)
from tests.factories import little_study
from tests.reading import current_of
from tests.studies import queue_job

EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"


def test_the_app_imports_no_torch() -> None:
    code = "import sys, app.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_page_answers(pages: httpx.Client, study: Study) -> None:
    for path in (
        "/studies",
        "/studies/new",
        "/jobs",
        f"/studies/{study.slug}",
        f"/studies/{study.slug}/latents",
        f"/studies/{study.slug}/latents/0",
        f"/studies/{study.slug}/latents/3",
        f"/studies/{study.slug}/latents/5",
        f"/studies/{study.slug}/jobs",
        f"/studies/{study.slug}/generate",
        f"/studies/{study.slug}/checks",
        f"/studies/{study.slug}/work",
        "/simulators",
        *(f"/studies/{study.slug}?protocol=whole&view={view}" for view in VIEWS),
    ):
        response = pages.get(path)
        assert response.status_code == 200, path
        assert "script-src" not in response.headers["content-security-policy"]
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert not re.search(r'(?:src|href)="(?:https?:)?//', response.text), (
            "nothing from elsewhere"
        )


def test_pages_of_a_study_with_nothing_collected(pages: httpx.Client, db: Session) -> None:
    study = little_study(db, latents=0, simulator=False)
    steps = re.findall(r'<li data-state="(\w+)">', pages.get(f"/studies/{study.slug}").text)
    assert steps == ["later"] * 4
    assert "when the activations are collected" in pages.get(f"/studies/{study.slug}/latents").text
    assert "There is nothing to rewrite yet" in pages.get(f"/studies/{study.slug}/generate").text
    assert "There is nothing to check yet" in pages.get(f"/studies/{study.slug}/checks").text
    missing = pages.get(f"/studies/{study.slug}/latents/0")
    assert missing.status_code == 404
    assert "still to be collected" in missing.text


def test_unknown_pages_show_a_way_back(pages: httpx.Client, study: Study) -> None:
    for path, words in {
        "/nothing": "There is no page at /nothing",
        "/studies/none": "There is no study named none",
        f"/studies/{study.slug}/latents/5000": "it has 6 (0 to 5)",
        f"/studies/{study.slug}/latents/x": "There is nothing at",
        f"/studies/{study.slug}/latents/0?version=999999999": "There is no explanation 999999999",
        f"/studies/{study.slug}/generations/999999999": "There is no generation 999999999",
    }.items():
        response = pages.get(path)
        assert response.status_code == 404, path
        assert words in response.text
        assert 'href="/studies"' in response.text
        assert "Traceback" not in response.text


def test_the_lists_work_without_scripts(pages: httpx.Client, study: Study) -> None:
    def indices(query: str) -> list[int]:
        text = pages.get(f"/studies/{study.slug}/latents?{query}").text
        return [int(i) for i in re.findall(r'<th scope="row"><a href="[^"?]+/(\d+)[?"]', text)]

    assert indices("q=NUMBER+3") == [3]
    assert indices("q=100%25_sure&sort=max_activation&order=asc") == [4, 3, 2, 1, 0]
    assert indices("simulated=true") == [0, 1]
    assert indices("after=~3") == [4, 5]
    jump = pages.get(f"/studies/{study.slug}/latents?go=3")
    assert jump.headers["location"].endswith("/latents/3")
    assert "is no index" in pages.get(f"/studies/{study.slug}/latents?go=many").text
    assert pages.get(f"/studies/{study.slug}/latents?go=77").status_code == 404


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the text is empty"),
        ("y" * 10_000, "Use at most 2,000 characters; this has 10,000."),
        ("bell\x07", "Take out the control characters"),
        ("fires on word number 0, 100%_sure", "This is the current text already"),
    ],
)
def test_a_refused_explanation_is_kept_in_the_box(
    pages: httpx.Client, db: Session, study: Study, text: str, words: str
) -> None:
    before = current_of(db, study, 0).id
    response = pages.post(f"/studies/{study.slug}/latents/0/explanations", data={"text": text})
    assert response.status_code in (409, 422)
    assert words in response.text
    box = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", response.text, re.DOTALL)
    assert box is not None
    assert unescape(box[1]) == text
    assert current_of(db, study, 0).id == before


def test_saving_without_scripts(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/3"
    response = pages.post(f"{path}/explanations", data={"text": "tabs\tand\r\nlines"})
    assert response.status_code == 303
    saved = current_of(db, study, 3)
    assert saved.text == "tabs and lines"
    assert "It is now the current explanation" in pages.get(response.headers["location"]).text
    assert db.scalar(select(Job).filter_by(study_id=study.id, kind="simulate")) is not None


def test_a_study_without_a_simulator_says_so(pages: httpx.Client, db: Session) -> None:
    study = little_study(db, simulator=False)
    path = f"/studies/{study.slug}/latents/0/explanations"
    response = pages.post(path, data={"text": "better"})
    assert response.status_code == 409
    assert "has no simulator yet" in response.text
    assert "better</textarea>" in response.text


def test_the_form_for_a_new_study(pages: httpx.Client, db: Session) -> None:
    refused = pages.post("/studies/new", data={"slug": "Not Good", "title": EVIL, "seed": "x"})
    assert refused.status_code == 422
    assert "begin with a letter or digit" in refused.text
    assert "Use a whole number." in refused.text
    assert refused.text.count("Fill in this field.") == 3
    assert EVIL not in refused.text
    slug = f"form-{uuid.uuid4().hex[:8]}"
    data = {"slug": slug, "title": "By form", "model": "m", "coder": "c", "hookpoint": "h"}
    data |= {"corpus": "sotu", "seed": "7", "contexts_evaluate": "40", "contexts_rewrite": "64"}
    too_many = pages.post("/studies/new", data=data)
    assert too_many.status_code == 422
    assert re.search(r'id="contexts_rewrite-error">Use 40 or less', too_many.text)
    data["contexts_rewrite"] = "40"
    made = pages.post("/studies/new", data=data)
    assert (made.status_code, made.headers["location"]) == (303, f"/studies/{slug}")
    study = db.scalars(select(Study).filter_by(slug=slug)).one()
    assert (study.seed, study.prepend_bos, study.model_revision) == (7, False, None)
    assert pages.post("/studies/new", data=data).status_code == 409


def test_job_buttons(pages: httpx.Client, db: Session, study: Study) -> None:
    job = queue_job(db, study, "explain")
    back = f"/studies/{study.slug}/jobs"
    cancelled = pages.post(f"/jobs/{job.id}/cancel", data={"next": back})
    assert (cancelled.status_code, cancelled.headers["location"]) == (303, back)
    assert "Retry" in pages.get(back).text
    assert pages.post(f"/jobs/{job.id}/cancel").status_code == 409
    assert pages.post(f"/jobs/{job.id}/retry", data={"next": "//elsewhere"}).status_code == 422
    pages.post(f"/jobs/{job.id}/retry", data={"next": back})
    db.refresh(job)
    assert job.status == "queued"
    pages.post(f"/jobs/{job.id}/cancel")


def test_many_missing_values_warn(pages: httpx.Client, db: Session, study: Study) -> None:
    explanation = current_of(db, study, 0)
    job = Job(study_id=study.id, kind="simulate", status="finished", missing=1, created_by="test")
    job.params = {"explanation_ids": [explanation.id]}
    db.add(job)
    db.commit()
    assert "More than 5%" not in pages.get(f"/studies/{study.slug}/jobs").text
    for simulation in db.scalars(select(Simulation).filter_by(explanation_id=explanation.id)):
        simulation.missing = 20
    db.commit()
    assert "More than 5%" in pages.get(f"/studies/{study.slug}/jobs").text
