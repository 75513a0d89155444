"""Explainers, scorers and trained simulators on a real worker, a real study and a real model."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.exports.imports import import_explanations
from app.services.sentences.queries import create_sentence, firing
from app.services.sentences.schemas import SentenceCreate
from app.services.simulators.adding import add_simulator
from app.services.simulators.independence import assess
from app.services.simulators.schemas import SimulatorCreate
from cli.errors import CommandError
from cli.train import read_corpus
from interp.vocabulary import ContextSet
from models import (
    Calibration,
    Explanation,
    Job,
    Latent,
    LossEffect,
    Rewrite,
    Score,
    Simulation,
    Simulator,
    Study,
)
from tests.studies import queue_job, wait_for_jobs
from workers.resources import real_activations

SMOLLM2 = "smollm2-135m-instruct"


def run(db: Session, study: Study, kind: str, **params: Any) -> Job:
    """Queue a job and wait for it and those that follow; return it."""
    wait_for_jobs(db, study.id)
    job = queue_job(db, study, kind, **params)
    wait_for_jobs(db, study.id)
    db.refresh(job)
    return job


def latents_that_fire(db: Session, study: Study, number: int) -> list[Latent]:
    """Some that nobody else has a use for: not those that are simulated first."""
    query = select(Latent).where(
        Latent.study_id == study.id, Latent.firing_rate.between(0.002, 0.008)
    )
    return list(db.scalars(query.order_by(Latent.index).limit(number)))


def versions(db: Session, latent: Latent) -> list[Explanation]:
    query = select(Explanation).where(Explanation.latent_id == latent.id)
    return list(db.scalars(query.order_by(Explanation.id)))


# --- Explanations from a file ---------------------------------------------------------------------


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_explanations_of_a_file_become_versions(
    db: Session, living_study: Study, tmp_path: Path
) -> None:
    machine, person = latents_that_fire(db, living_study, 2)
    mine = Explanation(latent_id=person.id, text="Mine.", author_kind="person", author="tests")
    db.add(mine)
    db.flush()
    person.explanation_id = mine.id
    db.commit()
    rows = [
        {"latent": latent.index, "text": f"About {latent.index}.", "author": "a model"}
        for latent in (machine, person)
    ]
    path = written(tmp_path / "explanations.jsonl", rows)
    for _ in range(2):  # the second time adds nothing
        job = run(db, living_study, "explain", method="file", path=path)
        assert job.status == "finished", job.message
    db.expire_all()
    assert [v.author for v in versions(db, machine)] == ["lexical", "a model"]
    assert machine.explanation_id == versions(db, machine)[-1].id
    assert [v.author for v in versions(db, person)] == ["lexical", "tests", "a model"]
    assert person.explanation_id == mine.id, "what a person wrote stays the current explanation"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"latent": 1, "text": "x"}, "line 2, is no explanation: author"),
        ({"latent": -1, "text": "x", "author": "a"}, "line 2, is no explanation: latent"),
        ({"latent": 1, "text": " ", "author": "a"}, "line 2, is no explanation: text"),
        ({"latent": 999_999, "text": "x", "author": "a"}, "latent 999999, which the study has not"),
    ],
)
def test_a_file_with_a_bad_line_adds_nothing(
    db: Session, living_study: Study, tmp_path: Path, line: dict[str, Any], reason: str
) -> None:
    (latent,) = latents_that_fire(db, living_study, 3)[2:]
    good = {"latent": latent.index, "text": "Good.", "author": "a model"}
    path = written(tmp_path / "explanations.jsonl", [good, line])
    job = run(db, living_study, "explain", method="file", path=path)
    assert job.status == "failed"
    assert reason in job.message
    assert [v.author for v in versions(db, latent)] == ["lexical"]


def test_an_import_goes_through_a_worker(db: Session, living_study: Study) -> None:
    (latent,) = latents_that_fire(db, living_study, 7)[6:]
    line = json.dumps({"latent": latent.index, "text": "Of a file.", "author": "a model"})
    file = io.BytesIO(line.encode())
    job = import_explanations(db, living_study, "theirs.jsonl", file, "bob")
    wait_for_jobs(db, living_study.id)
    db.refresh(job)
    assert (job.status, job.done, job.total) == ("finished", 1, 1), job.message
    found = versions(db, latent)[-1]
    assert (found.text, found.author) == ("Of a file.", "a model")
    assert found.details["imported_by"] == "bob"
    db.refresh(latent)
    assert latent.explanation_id == found.id


def test_a_sentence_goes_through_a_worker(db: Session, living_study: Study) -> None:
    text = "My fellow citizens, the state of the Union is strong."
    sentence = create_sentence(db, living_study, SentenceCreate(text=text), "tests")
    wait_for_jobs(db, living_study.id)
    job = db.get_one(Job, sentence.job_id)
    db.refresh(job)
    assert job.status == "finished", job.message
    db.refresh(sentence)
    assert "".join(sentence.strings[1:]) == text
    assert sentence.active[0] == [] and all(sentence.active[1:])
    strongest, total = firing(db, living_study, sentence, limit=3)
    assert total > 3
    assert {token.state for token in strongest[0].tokens} <= {"bos", "simulated", "missing"}
    assert strongest[0].simulated is not None, "with the explanation that it has now"


# --- Explainers and scorers that are language models ----------------------------------------------


def test_a_model_explains_or_says_why_not(
    db: Session, living_study: Study, model_cache: Path
) -> None:
    latents = latents_that_fire(db, living_study, 6)[3:]
    job = run(
        db,
        living_study,
        "explain",
        method="prompted",
        llm={"model": str(model_cache / SMOLLM2)},
        latents=[latent.index for latent in latents],
    )
    assert job.status == "finished", job.message
    assert (job.done, job.total) == (3, 3)
    assert job.usage["tokens_read"] > 1000
    new = [v for latent in latents for v in versions(db, latent) if v.author == "prompted"]
    assert len(new) + job.missing == 3, "every latent has an explanation, or is counted as missing"
    for explanation in new:
        assert explanation.prompt_version == "prompted-1"
        assert explanation.details["tokens_read"] > 300
        assert explanation.details["tokens_written"] > 0
        assert explanation.details["model"].endswith(SMOLLM2)


def test_an_explainer_without_a_model_is_refused(db: Session, living_study: Study) -> None:
    job = run(db, living_study, "explain", method="contrastive")
    assert (job.status, job.message) == (
        "failed",
        "The explainer 'contrastive' needs a language model: say which.",
    )
    job = run(db, living_study, "explain", method="guess")
    assert "no explainer 'guess'" in job.message


def test_a_model_scores_an_explanation(db: Session, living_study: Study, model_cache: Path) -> None:
    latent = db.scalars(
        select(Latent)
        .where(Latent.study_id == living_study.id)
        .order_by(Latent.firing_rate.desc())
        .offset(10)
        .limit(1)
    ).one()
    job = run(
        db,
        living_study,
        "score",
        llm={"model": str(model_cache / SMOLLM2)},
        explanation_ids=[latent.explanation_id],
    )
    assert job.status == "finished", job.message
    scores = db.scalars(
        select(Score).where(
            Score.explanation_id == latent.explanation_id, Score.simulator_id.is_(None)
        )
    ).all()
    assert {score.name for score in scores} == {"detection", "fuzzing"}
    for score in scores:
        assert score.n > 0
        assert score.value is not None and 0 <= score.value <= 1
        assert score.details["prompt_version"] == f"{score.name}-1"
        assert score.details["tokens_read"] > 0
    assert run(db, living_study, "score", llm={"model": "x"}).status == "failed"


# --- A trained simulator --------------------------------------------------------------------------


def test_training_reads_what_the_study_has(db: Session, living_study: Study) -> None:
    corpus, text = read_corpus(living_study.slug, [])
    latents = db.scalars(
        select(Latent).where(Latent.study_id == living_study.id, Latent.max_activation > 0)
    ).all()
    assert set(corpus.explanations) == {latent.index for latent in latents}
    rates = np.diff(corpus.activations.tocsc().indptr) / corpus.activations.shape[0]
    maxima = corpus.activations.max(axis=0).toarray().ravel()
    for latent in latents[:50]:
        assert rates[latent.index] == pytest.approx(latent.firing_rate, rel=1e-5)
        assert maxima[latent.index] == pytest.approx(latent.max_activation, rel=1e-5)
    assert {len(tokens) for tokens in corpus.contexts} == {living_study.context_length - 1}
    assert text.corpus == "sotu" and len(text.documents) > 100
    assert text.seen is not None and len(text.seen.hashes) == len(text.documents)


def test_training_rewords_explanations(living_study: Study, tmp_path: Path) -> None:
    plain, _ = read_corpus(living_study.slug, [])
    latent, texts = next((i, t) for i, t in plain.explanations.items() if "“" in t[0])
    file = tmp_path / "others.jsonl"
    rows = [{"latent": latent, "text": one} for one in ("In other words", texts[0])]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus, _ = read_corpus(living_study.slug, [], rewordings=[file], by_rule=True)
    assert corpus.explanations == plain.explanations
    found = corpus.rewordings[latent]
    assert found[0] == "In other words"
    assert {text.upper() for text in texts} & set(found)
    assert texts[0] not in found, "an explanation is no rewording"
    assert any("“" not in one and not one.isupper() for one in found[1:])


def test_training_says_what_is_wrong_with_a_file_of_explanations(
    living_study: Study, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=r"nothing\.jsonl cannot be read"):
        read_corpus(living_study.slug, [tmp_path / "nothing.jsonl"])
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"latent": 1, "text": "x"}\n{"latent": 1}\n')
    with pytest.raises(CommandError, match="line 2, has no latent and text"):
        read_corpus(living_study.slug, [bad])


def test_a_trained_simulator_serves_the_whole_way(
    db: Session, living_study: Study, model_cache: Path, trained: Path, tmp_path: Path
) -> None:
    base, own = str(model_cache / SMOLLM2), tmp_path / "own"
    shutil.copytree(trained, own)  # a simulator that no other test uses
    simulator = add_simulator(db, SimulatorCreate(method="two_tower", model=base, folder=str(own)))
    assert assess(db, living_study, simulator).independence == "same model"
    query = select(Latent).where(Latent.study_id == living_study.id, Latent.max_activation > 0)
    # Enough for several points on a line; each costs a spliced forward at every position.
    latents = list(db.scalars(query.order_by(Latent.index).limit(4)))
    ids = [latent.explanation_id for latent in latents]
    job = run(
        db,
        living_study,
        "simulate",
        explanation_ids=ids,
        simulator_id=simulator.id,
        individually=1,
        then_rewrite=True,
    )
    assert job.status == "finished", job.message
    assert job.missing == 0
    assert job.usage["tokens_read"] > 8 * 33
    wait_for_jobs(db, living_study.id)  # single latents are measured after the layer
    made = db.scalars(select(Simulation).filter_by(simulator_id=simulator.id)).all()
    for name, contexts in (("calibrate", 8), ("evaluate", 8)):
        of_set = [one for one in made if one.set == name]
        assert {one.explanation_id for one in of_set} == set(ids)
        assert all(len(one.values) >= contexts for one in of_set)
    measured = db.scalars(select(LossEffect.explanation_id).filter_by(simulator_id=simulator.id))
    assert {ids[0]} <= set(measured) <= set(ids), "others are measured to test the estimates"
    fitted = db.scalars(
        select(Calibration)
        .join(Simulation, Simulation.id == Calibration.simulation_id)
        .where(Simulation.simulator_id == simulator.id)
    ).all()
    assert len(fitted) == 4 * len(ids)
    rewrite = db.scalars(
        select(Rewrite).filter_by(simulator_id=simulator.id, protocol="whole")
    ).one()
    assert rewrite.finished and set(rewrite.explanation_ids) == set(ids)
    assert "effect" not in rewrite.orderings, (
        "the loss effect of zeroing is known for one latent only"
    )

    before = {one.id for one in made}
    again = run(
        db,
        living_study,
        "simulate",
        explanation_ids=ids[:2],
        simulator_id=simulator.id,
        again=True,
    )
    assert again.status == "finished", again.message
    remade = db.scalars(
        select(Simulation.id).where(
            Simulation.simulator_id == simulator.id, Simulation.explanation_id.in_(ids[:2])
        )
    )
    assert not set(remade) & before


def test_scores_come_with_their_floor(db: Session, living_study: Study) -> None:
    """The second latent that a simulator simulates has the first one's explanation to compare."""
    first = db.scalars(
        select(Score)
        .where(Score.simulator_id == living_study.simulator_id, Score.name == "correlation")
        .order_by(Score.id)
    ).all()
    assert (
        first[0].details["random_baseline"] is None and first[0].details["random_baseline_of"] == 0
    )
    assert first[1].details["random_baseline_of"] == 1
    other, own = (
        db.scalars(
            select(Simulation).filter_by(
                explanation_id=score.explanation_id,
                simulator_id=living_study.simulator_id,
                set="calibrate",
            )
        ).one()
        for score in first[:2]
    )
    explanation = db.get_one(Explanation, own.explanation_id)
    latent = db.get_one(Latent, explanation.latent_id)
    real = real_activations(living_study, latent.index, ContextSet.CALIBRATE, len(own.context_ids))
    expected = np.corrcoef(other.values[:, 1:].ravel(), real[:, 1:].ravel())[0, 1]
    assert first[1].details["random_baseline"] == pytest.approx(expected, abs=1e-5)


def test_a_simulator_whose_folder_is_gone_says_so(
    db: Session, living_study: Study, model_cache: Path
) -> None:
    gone = Simulator(
        method="two_tower",
        model=str(model_cache / SMOLLM2),
        prompt_version="two_tower-1",
        options={"folder": "no such folder"},
    )
    db.add(gone)
    db.commit()
    (latent,) = latents_that_fire(db, living_study, 1)
    job = run(
        db,
        living_study,
        "simulate",
        explanation_ids=[latent.explanation_id],
        simulator_id=gone.id,
    )
    assert job.status == "failed"
    assert "holds no trained simulator" in job.message
