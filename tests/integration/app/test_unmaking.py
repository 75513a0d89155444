"""What people make on a study's pages can be unmade: imports, rewrites, generations, sentences."""

import json
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Explanation, Generation, Job, Rewrite, RewritePoint, Sentence, Study
from tests.factories import generation, new_explanation
from tests.reading import current_of, latent_of, problem_of, text_of
from tests.rewrites import rewrite
from tests.working import work


def imported(
    api: httpx.Client, db: Session, study: Study, *lines: dict[str, Any]
) -> tuple[Job, Path]:
    """The finished job of an import, and its file."""
    content = "\n".join(json.dumps(line) for line in lines)
    made = api.post(f"/studies/{study.slug}/import", files={"file": ("words.jsonl", content)})
    assert made.status_code == 201, made.text
    job = db.get_one(Job, made.json()["id"])
    work(db, job, study)
    job.status = "finished"
    db.commit()
    return job, Path(job.params["path"])


def test_an_import_is_taken_back(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    before = [current_of(db, study, index).id for index in range(3)]
    lines = [{"latent": i, "text": f"mistaken {i}", "author": "ana"} for i in (0, 1, 2, 2)]
    job, path = imported(api, db, study, *[line | {"author_kind": "person"} for line in lines])
    assert path.exists()
    # Somebody rewords one of them; that one stays, for the new one was made from it.
    latent = latent_of(db, study, 1)
    db.refresh(latent)
    reworded = new_explanation(db, latent, "made from the imported one")
    db.commit()
    here = f"/jobs/{job.id}"
    assert f'href="{here}/takeback"' in pages.get(here).text
    hanging = api.get(f"{here}/import").json()
    assert (hanging["explanations"], hanging["removable"]) == (4, 3)
    assert "3 of these explanations" in text_of(pages.get(f"{here}/takeback"))
    assert "1 stay: a later explanation" in text_of(pages.get(f"{here}/takeback"))

    taken = pages.post(f"{here}/takeback")
    assert (taken.status_code, taken.headers["location"]) == (303, here)
    db.expire_all()
    now = [current_of(db, study, index).id for index in range(3)]
    assert now == [before[0], reworded.id, before[2]]
    left = select(Explanation.text).where(Explanation.text.startswith("mistaken"))
    assert list(db.scalars(left)) == ["mistaken 1"]
    assert not path.parent.exists()
    assert "Taken back: 3 of 4" in text_of(pages.get(here))
    assert api.delete(f"{here}/import").json()["removable"] == 0, "a second time does nothing"


def test_what_was_measured_with_an_imported_explanation_keeps_it(
    api: httpx.Client, db: Session, study: Study
) -> None:
    job, _ = imported(
        api, db, study, *({"latent": i, "text": "said", "author": "a-model"} for i in (0, 1))
    )
    db.refresh(latent_of(db, study, 0))
    rewrite(db, study, [latent_of(db, study, 0)])
    db.commit()
    assert api.get(f"/jobs/{job.id}/import").json()["removable"] == 1
    assert api.delete(f"/jobs/{job.id}/import").status_code == 200
    db.expire_all()
    assert current_of(db, study, 0).text == "said"
    assert current_of(db, study, 1).text != "said"


def test_only_imports_are_taken_back(api: httpx.Client, db: Session, study: Study) -> None:
    other = Job(study_id=study.id, kind="explain", status="finished", created_by="tests")
    params = {"method": "file", "path": "/nowhere/a.jsonl"}
    running = Job(
        study_id=study.id, kind="explain", params=params, status="running", created_by="tests"
    )
    db.add_all([other, running])
    db.commit()
    assert "is no import" in problem_of(api.delete(f"/jobs/{other.id}/import"), 409)
    assert "still at it" in problem_of(api.delete(f"/jobs/{running.id}/import"), 409)


def test_a_rewrite_is_deleted_and_the_one_before_shows(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    first = db.scalars(select(Rewrite).filter_by(study_id=study.id)).one()
    second = rewrite(db, study, [latent_of(db, study, 0)], parent=first)
    copied = db.scalars(select(RewritePoint).filter_by(rewrite_id=second.id)).first()
    assert copied is not None
    copied.copied_from = db.scalars(select(RewritePoint.id).filter_by(rewrite_id=first.id)).first()
    db.commit()
    here = f"/studies/{study.slug}"
    assert f'href="{here}/rewrites/{second.id}/delete"' in pages.get(here).text
    # The earlier one goes first: what refers to it stays.
    assert api.delete(f"{here}/rewrites/{first.id}").status_code == 204
    db.expire_all()
    assert (second.parent_id, copied.copied_from) == (None, None)
    assert "measured point" in text_of(pages.get(f"{here}/rewrites/{second.id}/delete"))
    job = Job(
        study_id=study.id,
        kind="rewrite",
        state={"rewrite_id": second.id},
        status="running",
        created_by="tests",
    )
    db.add(job)
    db.commit()
    assert "still at it" in problem_of(api.delete(f"{here}/rewrites/{second.id}"), 409)
    job.status = "finished"
    db.commit()
    gone = pages.post(f"{here}/rewrites/{second.id}/delete")
    assert gone.status_code == 303
    assert not db.scalar(select(func.count()).where(RewritePoint.rewrite_id == second.id))
    assert pages.get(here).is_success


def test_generations_and_sentences_are_deleted_by_who_made_them(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    made = generation(db, study, [latent_of(db, study, 0)])
    sentence = Sentence(study_id=study.id, text="x", created_by="test")
    db.add(sentence)
    db.commit()
    here = f"/studies/{study.slug}"
    for path, row, table in (
        (f"{here}/generations/{made.id}", made, Generation),
        (f"{here}/sentences/{sentence.id}", sentence, Sentence),
    ):
        assert "Only test, who made it" in problem_of(api.delete(path), 403)
        row.created_by = "local"
        db.commit()
        if row is made:
            assert "still at it" in problem_of(api.delete(path), 409)
            db.get_one(Job, made.job_id).status = "finished"
            db.commit()
        assert f'action="{path}/delete"' in pages.get(path).text
        assert pages.post(f"{path}/delete").status_code == 303
        db.expire_all()
        assert db.scalar(select(table.id).where(table.study_id == study.id)) is None
        assert problem_of(api.delete(path), 404)
