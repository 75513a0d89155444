"""Generations as jobs."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.rewriting.generate import Written, encode_prompt, write
from interp.rewriting.splice import untouched
from jobs.events import channel, get_redis
from jobs.queue import retry
from models import Calibration, Explanation, Generation, Job, Latent, Simulation, Simulator, Study
from models.database import new_session
from tests.engine import DEMO_CODER, random_coder, smollm2
from tests.studies import wait_for_jobs
from tests.working import Step, work
from workers.tasks import generate

NEW = 12


def tokens(written: list[Written]) -> list[int]:
    return [one.token for one in written]


def test_the_real_model_writes_what_transformers_does(model_cache: Path) -> None:
    subject = smollm2(model_cache)
    prompt = encode_prompt(subject, "My fellow citizens", prepend_bos=True, new_tokens=NEW)
    whole = subject.model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False)
    options = {"first_position": 1, "new_tokens": NEW, "temperature": 0, "seed": 0}
    written = list(write(subject, random_coder(), prompt, untouched, **options))
    assert tokens(written) == whole[0, len(prompt) :].tolist()


WORDING = "Active on “citizens” (52%), mostly after “fellow”."


@pytest.fixture
def study(db: Session, model_cache: Path) -> Study:
    """A study of the real model with two explained latents, of which the first is calibrated."""
    folder, name = str(model_cache / "smollm2-135m-instruct"), uuid.uuid4().hex[:8]
    simulator = Simulator(
        method="all_at_once", model=folder, prompt_version="all_at_once-1", options={"test": name}
    )
    made = Study(
        slug=f"generate-{name}",
        title="Generate",
        model=folder,
        coder=str(DEMO_CODER),
        hookpoint="layers.10.mlp",
        corpus="sotu",
        context_length=64,
        prepend_bos=True,
        contexts_explain=1,
        contexts_calibrate=1,
        contexts_evaluate=1,
        contexts_rewrite=1,
        seed=0,
    )
    db.add_all([simulator, made])
    db.flush()
    made.simulator_id = simulator.id
    for index in (11, 222):
        latent = Latent(
            study_id=made.id,
            index=index,
            firing_rate=0.1,
            max_activation=9,
            mean_activation=4,
            quantiles=[],
            promoted=[],
            suppressed=[],
        )
        db.add(latent)
        db.flush()
        explanation = Explanation(
            latent_id=latent.id, text=WORDING, author_kind="person", author="tests"
        )
        db.add(explanation)
        db.flush()
        latent.explanation_id = explanation.id
        if index == 11:
            simulation = Simulation(
                explanation_id=explanation.id,
                simulator_id=simulator.id,
                set="calibrate",
                context_ids=[],
                values=np.empty((0, 34), np.float32),
                missing=0,
                tokens_read=0,
                seconds=0,
                code_version="tests",
            )
            db.add(simulation)
            db.flush()
            # Steep, so that the simulated values drive others out of the top k.
            db.add(
                Calibration(
                    simulation_id=simulation.id, method="linear", x=[0, 9], y=[0, 900], tokens=1
                )
            )
    db.commit()
    return made


def explanations(db: Session, study: Study) -> list[int]:
    ids = (
        select(Latent.explanation_id)
        .where(Latent.study_id == study.id, Latent.explanation_id.is_not(None))
        .order_by(Latent.index)
    )
    return [i for i in db.scalars(ids) if i is not None]


def make_job(db: Session, study: Study, **changes: object) -> Job:
    values = {
        "study_id": study.id,
        "simulator_id": study.simulator_id,
        "prompt": "My fellow citizens,",
        "explanation_ids": explanations(db, study),
        "calibration": "linear",
        "new_tokens": 5,
        "temperature": 0.0,
        "seed": 0,
        "code_version": "",
        "created_by": "tests",
    }
    generation = Generation(**values | changes)
    db.add(generation)
    db.flush()
    job = Job(
        study_id=study.id,
        kind="generate",
        params={"generation_id": generation.id},
        status="running",
        created_by="tests",
    )
    db.add(job)
    db.commit()
    return job


def generation_of(db: Session, job: Job) -> Generation:
    return db.get_one(Generation, job.params["generation_id"], populate_existing=True)


def test_a_job_writes_the_three_continuations_and_says_when_each_is_done(
    db: Session, study: Study, model_cache: Path
) -> None:
    job = make_job(db, study)
    with get_redis().pubsub() as events:
        events.subscribe(channel(study.id))
        progress = work(db, job, study)
        published = []
        while message := events.get_message(timeout=1):
            if message["type"] == "message":
                published.append(json.loads(message["data"]))
    generation = generation_of(db, job)
    assert published == [{"event": "generation", "data": generation.id}] * 3
    assert progress[-1].done == progress[-1].total == 15
    assert generation.prompt_tokens == 4
    assert set(generation.continuations) == {"untouched", "zero", "rewritten"}
    subject = smollm2(model_cache)
    prompt = encode_prompt(subject, generation.prompt, prepend_bos=True, new_tokens=5)
    whole = subject.model.generate(torch.tensor([prompt]), max_new_tokens=5, do_sample=False)
    untouched_one, zeroed, rewritten_one = (
        generation.continuations[name] for name in ("untouched", "zero", "rewritten")
    )
    assert "".join(untouched_one["tokens"]) == subject.tokenizer.decode(whole[0, len(prompt) :])
    for one in (untouched_one, zeroed):
        assert (one["simulations"], one["missing"]) == (0, 0)
    # One of the two latents is simulated, once a new token. The other one is missing at the four
    # tokens of the prompt and at all new ones but the last.
    assert (rewritten_one["simulations"], rewritten_one["missing"]) == (5, 4 + 4)
    assert sum(one.missing for one in progress) == 8
    assert all(one["seconds"] > 0 for one in generation.continuations.values())
    assert len({tuple(one["tokens"]) for one in generation.continuations.values()}) == 3
    assert "writing" not in job.state


def test_a_finished_job_done_again_writes_nothing(db: Session, study: Study) -> None:
    job = make_job(db, study, new_tokens=2)
    work(db, job, study)
    before = generation_of(db, job).continuations
    assert work(db, job, study) == []
    assert generation_of(db, job).continuations == before


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_job_that_is_cut_short_at_every_token_writes_the_same(
    db: Session, study: Study, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(db, study, temperature=temperature)
    work(db, job, study)
    expected = generation_of(db, job).continuations
    monkeypatch.setattr(generate, "SECONDS", 0.0)
    cut = make_job(db, study, temperature=temperature)
    progress: list[Step] = []
    while True:
        # As another worker would: with nothing but what is in the database.
        with new_session() as session:
            here = session.get_one(Study, study.id)
            steps = work(session, session.get_one(Job, cut.id), here, most=1)
            if not steps:
                break
            progress += steps
    for condition, continuation in generation_of(db, cut).continuations.items():
        for name in ("tokens", "simulations", "missing"):
            assert continuation[name] == expected[condition][name], (condition, name)
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    assert sum(one.missing for one in progress) == expected["rewritten"]["missing"]


def test_a_job_refuses_what_it_cannot_do(db: Session, study: Study) -> None:
    first, second = explanations(db, study)
    reworded = Explanation(
        latent_id=db.get_one(Explanation, first).latent_id,
        text="Another explanation",
        author_kind="person",
        author="tests",
    )
    db.add(reworded)
    db.commit()
    for changes, complaint in (
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "no " * 9000}, "reads at most 8192"),
        ({"explanation_ids": [second, 10**9]}, "no explanation 1000000000"),
        ({"explanation_ids": [first, second, reworded.id]}, "Two explanations are of latent 11"),
    ):
        job = make_job(db, study, new_tokens=1, **changes)
        with pytest.raises(InputError, match=complaint):
            work(db, job, study)
        assert "rewritten" not in generation_of(db, job).continuations


def test_the_worker_writes_with_the_studys_simulator(db: Session, living_study: Study) -> None:
    wait_for_jobs(db, living_study.id)
    simulated = select(Explanation.id).join(Simulation).where(Simulation.set == "calibrate")
    latents = simulated.join(Latent, Latent.id == Explanation.latent_id).where(
        Latent.study_id == living_study.id
    )
    chosen = list(db.scalars(latents.order_by(Explanation.id).limit(2)))
    job = make_job(db, living_study, explanation_ids=chosen, calibration="isotonic", new_tokens=3)
    retry(db, job)
    wait_for_jobs(db, living_study.id)
    db.refresh(job)
    assert (job.status, job.message) == ("finished", "")
    written = generation_of(db, job).continuations
    assert {name: (len(c["tokens"]), c["missing"]) for name, c in written.items()} == {
        "untouched": (3, 0),
        "zero": (3, 0),
        "rewritten": (3, 0),
    }
    assert written["rewritten"]["simulations"] == 6
