"""The page and the API of a language test."""

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Job, LanguageTest, Latent, Study
from tests.factories import language_test, little_study
from tests.reading import text_of


@pytest.fixture
def tested(db: Session) -> Study:
    study = little_study(db)
    language_test(db, study)
    return study


def test_the_page_and_the_api_tell_the_same(
    pages: httpx.Client, api: httpx.Client, tested: Study
) -> None:
    found = api.get(f"/studies/{tested.slug}/language").json()
    assert [one["name"] for one in found["variants"]] == [
        "original",
        "quoted",
        "prose",
        "paraphrase 1",
    ]
    assert found["independence"] and found["baselines"]["set_zeroed"]["increase"]["value"] == 0.5
    page = text_of(pages.get(f"/studies/{tested.slug}/language"))
    assert found["in_words"] in page
    words = "“paraphrase 1” keeps 95% [94%, 96%] of the correlation and recovers 95% [94%, 96%]"
    assert words in page
    # What is not defined is no figure.
    assert "The prose alone keeps an unknown share" in page
    assert "<prose>" in page, "texts are text"
    assert "quoted words alone" in page and "same latents zeroed" in page


def test_what_is_not_tested_says_so(pages: httpx.Client, api: httpx.Client, db: Session) -> None:
    study = little_study(db)
    missing = api.get(f"/studies/{study.slug}/language")
    assert missing.status_code == 404 and "not been tested" in missing.json()["detail"]
    assert "Not tested yet." in text_of(pages.get(f"/studies/{study.slug}/language"))


def test_a_test_is_queued_once(pages: httpx.Client, api: httpx.Client, tested: Study) -> None:
    made = api.post(f"/studies/{tested.slug}/language", json={"latents": 2})
    assert made.status_code == 201
    assert (made.json()["kind"], made.json()["params"]) == ("language", {"latents": 2})
    again = api.post(f"/studies/{tested.slug}/language", json={})
    assert again.status_code == 409 and "on its way already" in again.json()["detail"]
    assert api.post(f"/jobs/{made.json()['id']}/cancel").is_success
    # With a simulator that takes one text at a time a few latents are enough.
    sent = pages.post(f"/studies/{tested.slug}/language", data={"latents": "", "path": ""})
    assert sent.status_code == 303
    newest = api.get(f"/studies/{tested.slug}/jobs").json()
    job = newest["items"][0]
    assert (job["kind"], job["params"]) == ("language", {"latents": 32})
    assert api.post(f"/jobs/{job['id']}/cancel").is_success


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([{"latent": 0, "text": "a"}], "author"),
        ([{"latent": 99_999, "text": "a", "author": "b"}], "latent 99999"),
        ([{"latent": 0, "text": "a", "author": f"a{i}"} for i in range(13)], "12 at most"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    pages: httpx.Client,
    api: httpx.Client,
    db: Session,
    tested: Study,
    tmp_path: Path,
    lines: list[dict[str, object]] | None,
    complaint: str,
) -> None:
    path = tmp_path / "variants.jsonl"
    if lines is not None:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = db.scalar(select(func.count()).select_from(Job))
    refused = api.post(f"/studies/{tested.slug}/language", json={"path": str(path)})
    assert refused.status_code == 422 and complaint in refused.text
    sent = pages.post(f"/studies/{tested.slug}/language", data={"latents": "3", "path": str(path)})
    assert sent.status_code == 422 and complaint in text_of(sent)
    assert 'value="3"' in sent.text, "what was typed stays"
    db.rollback()
    assert db.scalar(select(func.count()).select_from(Job)) == before


def test_numbers_of_latents_that_make_no_sense(api: httpx.Client, tested: Study) -> None:
    for number in (0, -1, "many", 2**40):
        assert (
            api.post(f"/studies/{tested.slug}/language", json={"latents": number}).status_code
            == 422
        )


def test_a_deleted_study_takes_its_tests_along(db: Session, tested: Study) -> None:
    query = select(func.count()).select_from(LanguageTest).where(LanguageTest.study_id == tested.id)
    assert db.scalar(query) == 1
    db.delete(tested)
    db.commit()
    assert db.scalar(query) == 0
    assert not db.scalar(select(func.count()).where(Latent.study_id == tested.id))
