"""Explaining, simulating and scoring many latents: estimates, jobs, missing values."""

from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.work.queries import MEASURED_ALONE
from interp.explain.explainer import PROMPT
from interp.llm.usage import CHARACTERS_A_TOKEN
from interp.simulate.registry import SIMULATORS
from jobs import chain
from jobs.params import SimulateParams
from models import Explanation, Job, Score, Simulation, Simulator, Study
from tests.factories import CONTEXTS, LENGTH, little_study
from tests.reading import current_of, latent_of, problem_of, text_of

LLM = {"backend": "openai", "model": "a-model", "base_url": "http://localhost:1/v1"}
EXAMPLES = 3
"""Contexts that each latent of the little study is shown by."""


def new_simulator(db: Session, method: str, **options: Any) -> Simulator:
    """A simulator that has simulated nothing."""
    made = Simulator(method=method, model=uuid4().hex, prompt_version="1", options=options)
    db.add(made)
    db.commit()
    return made


def start(api: httpx.Client, study: Study, kind: str, **data: Any) -> dict[str, Any]:
    """Queue a job, check that its estimate was the one that is asked for alone, cancel it."""
    path = f"/studies/{study.slug}/{kind}"
    estimated = api.post(f"{path}/estimate", json=data)
    assert estimated.status_code == 200, estimated.text
    made = api.post(path, json=data)
    assert made.status_code == 201, made.text
    api.post(f"/jobs/{made.json()['id']}/cancel")
    job: dict[str, Any] = made.json()
    assert job["kind"] == kind
    expected = estimated.json()
    then = expected.pop("then_simulate")
    assert job["params"]["estimate"] == expected
    assert job["params"].get("then_simulate", {}).get("estimate") == then
    return job["params"]


def current(db: Session, study: Study, indices: range) -> list[int]:
    return [current_of(db, study, index).id for index in indices]


def test_simulate_all_some_and_those_of_a_filter(
    api: httpx.Client, db: Session, study: Study
) -> None:
    every = start(api, study, "simulate")
    assert every["explanation_ids"] == current(db, study, range(5)), "the dead one has none"
    assert (every["simulator_id"], every["individually"], every["then_rewrite"]) == (
        study.simulator_id,
        5,
        True,
    )
    some = start(api, study, "simulate", latents=[3, 1], individually=1, then_rewrite=False)
    assert some["explanation_ids"] == [current_of(db, study, i).id for i in (1, 3)]
    assert (some["individually"], some["then_rewrite"]) == (1, False)
    filtered = start(api, study, "simulate", q="NUMBER 4")
    assert filtered["explanation_ids"] == current(db, study, range(4, 5))
    simulated = start(api, study, "simulate", simulated=True)
    assert simulated["explanation_ids"] == current(db, study, range(2))
    assert simulated["estimate"]["done"] == 2 and simulated["estimate"]["tokens_read"] == 0


def test_simulate_the_newest_by_an_author(api: httpx.Client, db: Session, study: Study) -> None:
    latent = latent_of(db, study, 3)
    old, new = (
        Explanation(latent_id=latent.id, text=text, author_kind="person", author="ana")
        for text in ("old", "new")
    )
    db.add_all([old, new])
    db.commit()
    asked = SimulateParams.model_validate(start(api, study, "simulate", author="ana"))
    assert asked.explanation_ids == (new.id,)
    # What is rewritten then is hers too, of all latents that she explained.
    (rewriting,) = chain.rewrites(asked, {})
    assert (rewriting.author, rewriting.repeat) == ("ana", False)
    lexical = start(api, study, "simulate", author="lexical", latents=[3])
    assert lexical["explanation_ids"] == [latent.explanation_id]
    none = api.post(f"/studies/{study.slug}/simulate", json={"author": "bob"})
    assert "has an explanation by bob" in problem_of(none, 409)


def test_explain_all_some_and_then_simulate(api: httpx.Client, db: Session, study: Study) -> None:
    params = start(api, study, "explain")
    assert set(params) == {"method", "estimate"} and params["method"] == "lexical"
    assert params["estimate"]["latents"] == 5
    simulator = new_simulator(db, "last_token")
    params = start(
        api,
        study,
        "explain",
        method="prompted",
        llm=LLM,
        q="word number",
        then_simulate={"simulator_id": simulator.id, "individually": 2},
    )
    assert params["llm"] == LLM
    assert params["latents"] == [0, 1, 2, 3, 4]
    then = params["then_simulate"]
    assert (then["simulator_id"], then["individually"], then["then_rewrite"]) == (
        simulator.id,
        2,
        True,
    )
    assert params["estimate"]["tokens_read"] == 5 * PROMPT
    one = start(api, study, "explain", method="refine", llm=LLM, latents=[2])
    assert one["latents"] == [2]


def test_score(api: httpx.Client, db: Session, study: Study) -> None:
    params = start(api, study, "score", llm=LLM, latents=[0, 1])
    assert params["explanation_ids"] == current(db, study, range(2))
    assert params["llm"] == LLM
    assert not params["estimate"]["measured"]
    for name, read in (("detection", 100), ("fuzzing", 300)):
        details = {"model": "a-model", "tokens_read": read, "tokens_written": 1, "seconds": 0.5}
        explanation = current(db, study, range(1))[0]
        db.add(
            Score(
                explanation_id=explanation,
                simulator_id=None,
                name=name,
                value=0.5,
                n=50,
                details=details,
            )
        )
    db.commit()
    found = start(api, study, "score", llm=LLM, latents=[0, 1])["estimate"]
    assert (found["tokens_read"], found["tokens_written"]) == (2 * 400, 4)
    assert found["seconds"] == pytest.approx(2 * 1.0) and found["measured"]


@pytest.mark.parametrize(
    ("kind", "data", "status", "words"),
    [
        ("simulate", {"latents": [99]}, 404, "no latent 99"),
        ("simulate", {"latents": [0], "q": "number 2"}, 404, "that matches the filter"),
        ("simulate", {"latents": []}, 422, "latents"),
        ("simulate", {"latents": [5]}, 409, "nothing to simulate"),
        ("simulate", {"simulator_id": 10**9}, 404, "no simulator"),
        ("simulate", {"individually": -1}, 422, "0 or more"),
        ("explain", {"latents": [5]}, 409, "nothing to explain"),
        ("explain", {"method": "prompted"}, 422, "name one"),
        ("explain", {"method": "lexical", "llm": LLM}, 422, "leave it out"),
        ("explain", {"method": "guess"}, 422, "method"),
        ("explain", {"then_simulate": {"simulator_id": 10**9}}, 404, "no simulator"),
        ("score", {"latents": [0]}, 422, "llm"),
        ("score", {"llm": LLM, "q": "no such text"}, 409, "nothing to"),
    ],
)
def test_what_cannot_be_started(
    api: httpx.Client,
    db: Session,
    study: Study,
    kind: str,
    data: dict[str, Any],
    status: int,
    words: str,
) -> None:
    for path in (f"/studies/{study.slug}/{kind}", f"/studies/{study.slug}/{kind}/estimate"):
        assert words in problem_of(api.post(path, json=data), status)
    jobs = select(func.count()).select_from(Job).where(Job.study_id == study.id)
    assert db.scalar(jobs) == 0


def test_a_study_without_a_simulator(api: httpx.Client, db: Session) -> None:
    study = little_study(db, simulator=False)
    refused = api.post(f"/studies/{study.slug}/simulate", json={})
    assert "no simulator yet" in problem_of(refused, 409)
    with_one = {"simulator_id": new_simulator(db, "last_token").id}
    assert start(api, study, "simulate", **with_one)["simulator_id"] == with_one["simulator_id"]


@pytest.mark.parametrize("method", ["all_at_once", "last_token", "json_reply"])
def test_before_anything_has_run_the_formula_is_used(
    api: httpx.Client, db: Session, study: Study, method: str
) -> None:
    simulator = new_simulator(db, method, calibrate_contexts=4)
    found = start(api, study, "simulate", simulator_id=simulator.id, individually=0)["estimate"]
    text = current_of(db, study, 0).text  # all are of one length
    contexts = 4 + EXAMPLES + CONTEXTS
    usage = SIMULATORS[method].usage(5, length=len(text), contexts=contexts, seq=LENGTH - 1)
    assert found["tokens_read"] == pytest.approx(usage.read, rel=0.01)
    assert found["tokens_written"] == usage.written
    assert (found["seconds"], found["measured"], found["latents"]) == (None, False, 5)


def test_the_formulas_of_trained_methods(api: httpx.Client, db: Session, study: Study) -> None:
    contexts, seq = 2 * CONTEXTS + EXAMPLES, LENGTH - 1
    asked = round(len(current_of(db, study, 0).text) / CHARACTERS_A_TOKEN)
    for method, read in (
        ("two_tower", 5 * asked + contexts * seq),
        ("inline", 5 * (asked + contexts * (8 + seq))),
    ):
        simulator = new_simulator(db, method, folder="f")
        found = start(api, study, "simulate", simulator_id=simulator.id, individually=0)["estimate"]
        assert found["tokens_read"] == read, method


def test_one_latent_tells_not_what_many_take_where_texts_are_read_once(
    api: httpx.Client, db: Session, study: Study
) -> None:
    towers = new_simulator(db, "two_tower", folder="f")
    ask = {"simulator_id": towers.id, "individually": 0}
    before = start(api, study, "simulate", **ask)["estimate"]
    db.add(
        Simulation(
            explanation_id=current_of(db, study, 0).id,
            simulator_id=towers.id,
            set="calibrate",
            context_ids=[1],
            values=np.zeros((1, LENGTH), np.float32),
            missing=0,
            tokens_read=10**6,
            seconds=9.0,
            code_version="",
        )
    )
    db.commit()
    after = start(api, study, "simulate", **ask)["estimate"]
    assert after["tokens_read"] < before["tokens_read"]
    assert (after["latents"], after["seconds"]) == (4, None)


def test_afterwards_the_estimate_is_what_earlier_ones_took(
    api: httpx.Client, db: Session, study: Study
) -> None:
    past = db.scalars(select(Simulation).filter_by(simulator_id=study.simulator_id)).all()
    for number, simulation in enumerate(past):
        simulation.tokens_read, simulation.tokens_written = 100 * number, number
        simulation.seconds = 0.25 * number
    db.commit()
    contexts = sum(len(simulation.context_ids) for simulation in past)
    asked = 3 * (2 * CONTEXTS + EXAMPLES)  # latents 2, 3 and 4 are not simulated yet
    found = start(api, study, "simulate")["estimate"]
    assert (found["latents"], found["done"], found["measured"]) == (3, 2, True)
    for name in ("tokens_read", "tokens_written", "seconds"):
        total = sum(getattr(simulation, name) for simulation in past)
        assert found[name] == pytest.approx(total / contexts * asked, abs=0.51), name

    for number in range(3):
        details = {"model": "a-model", "tokens_read": 900 + number, "tokens_written": 30}
        explanation = Explanation(
            latent_id=latent_of(db, study, 0).id,
            text=f"t{number}",
            author_kind="model",
            author="prompted",
            details=details | {"seconds": 2.0},
        )
        db.add(explanation)
    db.commit()
    found = start(api, study, "explain", method="prompted", llm=LLM, latents=[0, 1])["estimate"]
    assert (found["tokens_read"], found["tokens_written"]) == (2 * 901, 60)
    assert found["seconds"] == pytest.approx(4.0)
    other = start(
        api, study, "explain", method="prompted", llm=LLM | {"model": "another"}, latents=[0]
    )
    assert not other["estimate"]["measured"], "another model took something else"


def test_some_of_many_are_measured_individually(db: Session, api: httpx.Client) -> None:
    study = little_study(db, latents=MEASURED_ALONE + 3, simulated=0)
    assert start(api, study, "simulate")["individually"] == MEASURED_ALONE


def test_the_forms_work_without_scripts(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/work"
    listed = pages.get(f"/studies/{study.slug}/latents?q=number+3").text
    assert f'href="{path}?q=number+3"' in listed
    simulator = str(study.simulator_id)
    fields = {"task": "simulate", "q": "number 3", "simulator_id": simulator, "then_rewrite": "on"}
    seen = pages.get(path, params=fields)
    assert "1 latent to simulate: about" in text_of(seen)
    assert "Simulate the latents with “number 3” in the explanation" in text_of(seen)
    jobs = select(Job).filter_by(study_id=study.id).order_by(Job.id.desc())
    assert db.scalars(jobs).all() == [], "an estimate starts nothing"
    queued = pages.post(path, data=fields)
    assert queued.headers["location"] == f"/studies/{study.slug}/jobs"
    job = db.scalars(jobs).first()
    assert job is not None and job.params["explanation_ids"] == [current_of(db, study, 3).id]
    pages.post(f"/jobs/{job.id}/cancel")
    estimate = job.params["estimate"]
    assert f"estimate {estimate['tokens_read']:,} tokens read" in text_of(
        pages.get(f"/studies/{study.slug}/jobs")
    )

    fields = {"task": "explain", "latent": "2", "method": "prompted", "backend": "vllm"}
    refused = pages.get(path, params=fields)
    assert refused.status_code == 422 and "Language model: Fill in this field." in text_of(refused)
    fields |= {"model": "a-model", "base_url": "left from before"}
    queued = pages.post(path, data=fields)
    assert queued.headers["location"] == f"/studies/{study.slug}/latents/2"
    job = db.scalars(jobs).first()
    assert job is not None and job.kind == "explain"
    assert job.params["llm"] == {"backend": "vllm", "model": "a-model", "base_url": None}
    assert job.params["latents"] == [2] and "then_simulate" not in job.params
    pages.post(f"/jobs/{job.id}/cancel")
    assert 'value="a-model"' in pages.get(path).text, "the next time it is filled in"
    wrong = pages.post(path, data={"task": "simulate", "latent": "77"})
    assert wrong.status_code == 404 and "no latent 77" in text_of(wrong)


@pytest.fixture
def missing(db: Session, study: Study) -> Job:
    """A simulate job of two latents; of the first one 31 values are missing."""
    ids = current(db, study, range(2))
    evaluated = select(Simulation).filter_by(explanation_id=ids[0], set="evaluate")
    simulation = db.scalars(evaluated).one()
    simulation.missing = 30
    simulation.failures = {"The reply is no JSON list.": 10, "No answer came.": 20}
    usage = {"tokens_read": 2501, "tokens_written": 7, "seconds": 13.2}
    job = Job(study_id=study.id, kind="simulate", status="finished", created_by="ana", usage=usage)
    job.params = {"explanation_ids": ids, "simulator_id": study.simulator_id}
    job.params |= {"estimate": {"tokens_read": 2400, "tokens_written": 0, "seconds": None}}
    job.missing = 31
    db.add(job)
    db.commit()
    return job


def test_much_missing_warns_with_reasons(
    pages: httpx.Client, api: httpx.Client, study: Study, missing: Job
) -> None:
    text = text_of(pages.get(f"/studies/{study.slug}/jobs"))
    values = 6 * CONTEXTS * (LENGTH - 1)
    assert "finished, much missing" in text
    assert f"31 ({31 / values:.1%}) More than 5% of the values are missing" in text
    assert "20: No answer came." in text and "11: The reply is no JSON list." in text
    assert "estimate 2,400 tokens read, time not known" in text
    assert "actual 2,501 tokens read, 7 written, 13 s" in text
    report = api.get(f"/jobs/{missing.id}").json()
    assert report["missing_share"] == pytest.approx(31 / values)
    assert report["failures"] == {"No answer came.": 20, "The reply is no JSON list.": 11}
    assert report["usage"] == missing.usage


def test_a_little_missing_does_not_warn(
    pages: httpx.Client, db: Session, study: Study, missing: Job
) -> None:
    evaluated = select(Simulation).where(Simulation.missing == 30)
    db.scalars(evaluated.filter_by(simulator_id=study.simulator_id)).one().missing = 2
    db.commit()
    text = text_of(pages.get(f"/studies/{study.slug}/jobs"))
    assert "much missing" not in text and "3 (0.57%)" in text


def test_the_missing_are_simulated_again(
    pages: httpx.Client, api: httpx.Client, db: Session, study: Study, missing: Job
) -> None:
    back = f"/studies/{study.slug}/jobs"
    assert "Simulate the missing again" in text_of(pages.get(back))
    queued = pages.post(f"/jobs/{missing.id}/again", data={"next": back})
    assert (queued.status_code, queued.headers["location"]) == (303, back)
    newest = select(Job).filter_by(study_id=study.id).order_by(Job.id.desc()).limit(1)
    job = db.scalars(newest).one()
    assert job.params["explanation_ids"] == missing.params["explanation_ids"][:1]
    assert (job.params["again"], job.params["simulator_id"]) == (True, study.simulator_id)
    assert job.params["estimate"]["latents"] == 1, "what is there is made anew"
    assert "no simulate job that has ended" in problem_of(api.post(f"/jobs/{job.id}/again"), 409)
    pages.post(f"/jobs/{job.id}/cancel")
    for simulation in db.scalars(select(Simulation).filter_by(simulator_id=study.simulator_id)):
        simulation.missing, simulation.failures = 0, {}
    db.commit()
    assert "missing any more" in problem_of(api.post(f"/jobs/{missing.id}/again"), 409)
    assert "Simulate the missing again" not in text_of(pages.get(back))


def test_explanations_that_failed_are_counted(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    job = Job(study_id=study.id, kind="explain", status="finished", created_by="ana", missing=2)
    job.params, job.done, job.total, job.unit = {"method": "prompted"}, 10, 10, "latents"
    db.add(job)
    db.commit()
    text = text_of(pages.get(f"/studies/{study.slug}/jobs"))
    assert "2 (20%) More than 5% could not be explained." in text
    assert "Simulate the missing again" not in text
