"""Which part of the explanations a simulator goes by, with another worker after each unit."""

import json
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.simulate.prompted.json_reply import JSON_REPLY
from interp.vocabulary import Variant
from jobs.params import (
    LanguageParams,
    RewriteParams,
)
from models import (
    Explanation,
    LanguageTest,
    LanguageVariant,
    Latent,
    RewritePoint,
    Score,
    Simulation,
    Study,
)
from models.settings import get_settings
from tests.integration.workers.test_units import interrupted
from tests.working import add_job, work
from workers.tasks.language import task as testing


def _variants(db: Session) -> list[LanguageVariant]:
    test = db.scalars(select(LanguageTest).order_by(LanguageTest.id.desc()).limit(1)).one()
    query = select(LanguageVariant).filter_by(test_id=test.id).order_by(LanguageVariant.place)
    return list(db.scalars(query))


def test_every_variant_is_simulated_and_rewritten(
    db: Session, study: Study, simulated: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "CONTEXTS", 4)
    object.__setattr__(JSON_REPLY, "batch", 3)
    by_latent = db.execute(
        select(Latent.index.label("latent"), Explanation.text)
        .join(Explanation, Explanation.id == Latent.explanation_id)
        .where(Explanation.id.in_(simulated))
        .order_by(Explanation.id)
    ).all()
    lines = [
        *({"latent": row.latent, "text": row.text, "author": "the same"} for row in by_latent),
        {"latent": by_latent[0].latent, "text": "Other words.", "author": "one alone"},
    ]
    path = tmp_path / "variants.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        job = add_job(db, study, LanguageParams(path=str(path)))
        keys = interrupted(db, job)
    finally:
        object.__setattr__(JSON_REPLY, "batch", 1)
    places = len(Variant) + 2
    blocks = [f"explanations {5 * place + start}" for place in range(places) for start in (0, 3)]
    assert keys == [*blocks, *(f"contexts {i}" for i in range(0, study.contexts_rewrite, 4))]
    assert not (get_settings().study_files(study.id) / "language" / str(job.id)).exists()

    found = {one.name: one for one in _variants(db)}
    assert list(found) == [*map(str, Variant), "the same", "one alone"]
    # The same texts give the same figures, and these are those of the study itself.
    original, same = found["original"], found["the same"]
    assert same.given and not original.given
    # A name of a rule in a file is no rule.
    assert same.losses == original.losses and same.correlations == original.correlations
    assert same.figures["kept"]["value"] == pytest.approx(1)
    scores = {
        number: value
        for number, value in db.execute(
            select(Score.explanation_id, Score.value).where(
                Score.explanation_id.in_(simulated), Score.name == "correlation"
            )
        )
    }
    expected = [scores[number] for number in simulated]
    np.testing.assert_allclose(
        np.array(original.correlations, float), np.array(expected, float), rtol=1e-5
    )
    main = add_job(db, study, RewriteParams(main_point=True))
    work(db, main, study)
    points = {
        (point.condition, point.calibration): point
        for point in db.scalars(select(RewritePoint).filter_by(rewrite_id=main.state["rewrite_id"]))
    }
    rewritten = points["rewritten", "isotonic"]
    np.testing.assert_allclose(original.losses, rewritten.losses, atol=2e-5)
    test = db.get_one(LanguageTest, original.test_id)
    zeroed = test.baselines["set_zeroed"]["losses"]
    np.testing.assert_allclose(zeroed, points["set_zeroed", ""].losses, atol=2e-5)
    # A file that has one text alone leaves the others as they are.
    alone = found["one alone"]
    assert alone.explanations == 1 and alone.text == "Other words."
    assert np.isnan(np.array(alone.correlations, float)[1:]).all()
    assert found["generic"].text == "Fires on some tokens."
    assert found["capitals"].text == original.text.upper()


def test_a_part_is_drawn_by_the_seed(db: Session, study: Study, simulated: list[int]) -> None:
    jobs = [add_job(db, study, LanguageParams(latents=2)) for _ in range(2)]
    for job in jobs:
        testing.Language(LanguageParams(latents=2)).prepare(db, job, study)
    assert jobs[0].state["explanation_ids"] == jobs[1].state["explanation_ids"]
    assert len(jobs[0].state["explanation_ids"]) == 2
    assert set(jobs[0].state["explanation_ids"]) < set(simulated)


def test_what_cannot_be_tested_says_why(db: Session, study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has been simulated yet"):
        work(db, add_job(db, study, LanguageParams()), study)


def test_a_file_that_changes_meanwhile_is_refused(
    db: Session, study: Study, simulated: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "variants.jsonl"
    line = {"latent": 0, "text": "Words.", "author": "original"}
    for index in db.scalars(
        select(Latent.index)
        .join(Explanation, Explanation.id == Latent.explanation_id)
        .where(Explanation.id.in_(simulated))
    ):
        line["latent"] = index
    path.write_text(json.dumps(line) + "\n")
    job = add_job(db, study, LanguageParams(latents=5, path=str(path)))
    work(db, job, study, most=3)
    path.write_text(json.dumps(line | {"text": "Other words."}) + "\n")
    with pytest.raises(InputError, match="has changed since this test began"):
        work(db, job, study)
    path.write_text(json.dumps(line) + "\n")
    work(db, job, study)
    # A name in a file that is a rule's is a text all the same: it is simulated.
    original, *_, given = _variants(db)
    assert (original.name, given.name, given.given) == ("original", "original", True)
    assert given.text == "Words." and given.correlations != original.correlations


def test_what_is_gone_meanwhile_is_said(db: Session, study: Study, simulated: list[int]) -> None:
    job = add_job(db, study, LanguageParams())
    work(db, job, study, most=2)
    some = Simulation.explanation_id == simulated[-1]
    db.execute(delete(Simulation).where(some))
    db.commit()
    with pytest.raises(InputError, match="no longer simulated"):
        work(db, job, study)
    db.rollback()
    db.execute(update(Latent).filter_by(explanation_id=simulated[-1]).values(explanation_id=None))
    db.execute(delete(Explanation).filter_by(id=simulated[-1]))
    db.commit()
    with pytest.raises(InputError, match="An explanation of this test was removed"):
        work(db, job, study)
    db.rollback()
    # A new test removes what the one before left.
    folder = get_settings().study_files(study.id) / "language"
    assert [one.name for one in folder.glob("*")] == [str(job.id)]
    job.status = "failed"
    db.commit()
    newer = add_job(db, study, LanguageParams())
    work(db, newer, study, most=1)
    assert [one.name for one in folder.glob("*")] == [str(newer.id)]
