"""A study that leaves out the first positions of its contexts, through all that is measured."""

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import ContextSet, Outcome
from jobs.params import CheckParams, CollectParams, ExplainParams, GenerateParams, SentenceParams
from models import (
    Check,
    Context,
    Example,
    Generation,
    Job,
    Latent,
    Rewrite,
    Sentence,
    Simulation,
    Study,
)
from tests.llm_server import Failing
from tests.working import add_job, following, work
from workers.resources import store_of

LEFT_OUT = 5


def chain(db: Session, study: Study, job: Job) -> None:
    """Do a job and all that follow it."""
    work(db, job, study)
    for after in following(db, job)[:1]:
        chain(db, study, after)


def test_first_positions_are_left_out_everywhere(db: Session, study: Study, llm: Failing) -> None:
    study.leave_out, study.contexts_explain = LEFT_OUT, 100
    db.commit()
    explain = (ExplainParams(method="lexical"),)
    chain(db, study, add_job(db, study, CollectParams(explain=explain, first_latents=3)))
    kept = study.context_length - LEFT_OUT
    for context_set in ContextSet:
        store = store_of(study, context_set)
        assert store.summary()[0] == store.contexts * kept
        latents = store.read(range(study.coder_info["num_latents"]))
        assert np.concatenate([one.positions for one in latents]).min() == LEFT_OUT
    for example in db.scalars(select(Example).join(Context).filter_by(study_id=study.id)):
        assert not any(example.activations[:LEFT_OUT])
    of_study = Latent.explanation_id == Simulation.explanation_id
    simulations = select(Simulation).join(Latent, of_study).where(Latent.study_id == study.id)
    for simulation in (found := db.scalars(simulations).all()):
        assert np.isnan(simulation.values[:, :LEFT_OUT]).all()
        assert not np.isnan(simulation.values[:, LEFT_OUT:]).any()
    assert found
    assert db.scalars(select(Rewrite).filter_by(study_id=study.id)).all()
    # Each check compares two ways to one figure.
    work(db, add_job(db, study, CheckParams()), study)
    checks = db.scalars(select(Check).filter_by(study_id=study.id)).all()
    assert {one.outcome for one in checks} >= {Outcome.PASSED}
    # Made-up answers may well ignore the explanations.
    failed = [one.name for one in checks if one.outcome == Outcome.FAILED]
    assert not {*failed} - {"the simulator reads the explanations"}
    explained = sorted({one.explanation_id for one in found})[:2]
    for words in (2, 9):
        text = " ".join(f"w{i}" for i in range(words))
        _is_read(db, study, text, tokens=words + 1)
        _is_written_on(db, study, text, explained, tokens=words)


def _is_read(db: Session, study: Study, text: str, *, tokens: int) -> None:
    """A text of any length is read, shorter ones than the positions that are left out too."""
    sentence = Sentence(
        study_id=study.id, text=text, simulator_id=study.simulator_id, created_by="tests"
    )
    db.add(sentence)
    db.commit()
    work(db, add_job(db, study, SentenceParams(sentence_id=sentence.id)), study)
    assert len(sentence.active) == len(sentence.tokens) == tokens
    assert not any(sentence.active[:LEFT_OUT])
    assert any(sentence.active) == (tokens > LEFT_OUT)


def _is_written_on(
    db: Session, study: Study, text: str, explanation_ids: list[int], *, tokens: int
) -> None:
    """A prompt of any length is written on from, by each model."""
    generation = Generation(
        study_id=study.id,
        simulator_id=study.simulator_id,
        prompt=text,
        explanation_ids=explanation_ids,
        calibration="isotonic",
        new_tokens=6,
        temperature=0.0,
        seed=0,
        code_version="",
        created_by="tests",
    )
    db.add(generation)
    db.commit()
    work(db, add_job(db, study, GenerateParams(generation_id=generation.id)), study)
    assert generation.prompt_tokens == tokens
    assert [len(one["tokens"]) for one in generation.continuations.values()] == [6, 6, 6]
