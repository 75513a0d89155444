"""Every kind of job, with another worker after each unit: nothing is planned or done twice."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, literal_column, select
from sqlalchemy.orm import Session

from app.services.budget.queries import get_budget
from app.services.latents.edit_next import edit_next
from app.services.rewrites.queries import latest_results, statistics_of
from interp.simulate.prompted.json_reply import JSON_REPLY
from interp.vocabulary import BudgetSplit, Linearisation, Protocol
from jobs.kinds import BACKGROUND, params_of, priority_of
from jobs.params import (
    AttributeParams,
    CheckParams,
    CollectParams,
    ExplainParams,
    GenerateParams,
    LanguageModel,
    RewriteParams,
    ScoreParams,
    SentenceParams,
    SimulateParams,
)
from models import (
    Attribution,
    AttributionPart,
    Calibration,
    Check,
    Context,
    EstimatedEffect,
    Example,
    Explanation,
    Generation,
    Job,
    Latent,
    LossEffect,
    Rewrite,
    RewritePoint,
    Score,
    Sentence,
    Simulation,
    Study,
)
from models.database import new_session
from models.settings import get_settings
from tests.llm_server import Failing
from tests.working import Step, add_job, following, plan, work
from workers.registry import task_of
from workers.resources import coder_of, subject_of
from workers.tasks import attribute, generate
from workers.tasks.collect import task as collecting
from workers.tasks.collect.contexts import settle_sites
from workers.tasks.explain import counting
from workers.tasks.explain import file as importing
from workers.tasks.rewrite import task as rewriting
from workers.tasks.simulate import task as simulating

NEVER_CHANGED = (
    Context,
    Example,
    Explanation,
    Simulation,
    Calibration,
    Score,
    LossEffect,
    RewritePoint,
    Check,
)
"""Tables whose rows are written once."""


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several units of each kind, though the study is small."""
    monkeypatch.setattr(collecting, "SHARD", 256)
    monkeypatch.setattr(collecting, "BLOCK", 12)
    monkeypatch.setattr(counting, "BLOCK", 12)
    monkeypatch.setattr(importing, "BLOCK", 20)
    monkeypatch.setattr(generate, "SECONDS", 0.0)
    monkeypatch.setattr(attribute, "LATENTS", 6)
    monkeypatch.setattr(rewriting, "AT_ONCE", dict.fromkeys(Protocol, 16))


def written(db: Session, since: dict[str, int]) -> dict[str, dict[int, str]]:
    """Rows that came after some ids, each with the transaction that wrote it."""
    return {
        table.__tablename__: {
            number: transaction
            for number, transaction in db.execute(
                select(table.id, literal_column("xmin::text")).where(  # type: ignore[attr-defined]
                    table.id > since[table.__tablename__]  # type: ignore[attr-defined]
                )
            )
        }
        for table in NEVER_CHANGED
    }


def newest(db: Session) -> dict[str, int]:
    """The largest id of each table."""
    return {
        table.__tablename__: db.scalar(select(func.max(table.id))) or 0  # type: ignore[attr-defined]
        for table in NEVER_CHANGED
    }


def interrupted(db: Session, job: Job) -> list[str]:
    """Do a job with another worker after each unit, and see that each goes on where the last one
    stopped.

    Returns:
        The keys of its units.
    """
    db.commit()
    since = newest(db)
    keys: list[str] = []
    done = 0
    while True:
        # As another worker would: with nothing but what is stored.
        with new_session() as session:
            here, study = session.get_one(Job, job.id), session.get_one(Study, job.study_id)
            before = written(session, since)
            units = plan(session, here, study)
            keys = keys or [unit.key for unit in units]
            assert [unit.key for unit in units] == keys, "the plan is the same each time"
            assert sum(unit.done for unit in units) >= done, "what is done stays done"
            steps = work(session, here, study, most=1)
            for table, rows in before.items():
                assert rows.items() <= written(session, since)[table].items(), table
        if not steps:
            break
        done = steps[0].done
    after, jobs = written(db, since), _jobs(db, job.study_id)
    with new_session() as session:
        study = session.get_one(Study, job.study_id)
        assert work(session, session.get_one(Job, job.id), study) == []
        assert written(session, since) == after, "a job that is done changes nothing"
    assert _jobs(db, job.study_id) == jobs, "what follows is queued once"
    assert len(set(keys)) == len(keys)
    db.rollback()
    db.expire_all()
    return keys


def _jobs(db: Session, study_id: int) -> list[tuple[int, str]]:
    rows = db.execute(select(Job.id, Job.kind).filter_by(study_id=study_id).order_by(Job.id))
    return [(number, kind) for number, kind in rows]


def test_a_study_is_made_unit_by_unit(db: Session, study: Study, llm: Failing) -> None:
    described = LanguageModel(backend="openai", model="m", base_url=llm.url)
    methods = (
        ExplainParams(method="lexical"),
        ExplainParams(method="prompted", llm=described, latents=(0, 1, 2)),
    )
    collect = add_job(db, study, CollectParams(explain=methods, first_latents=10, individually=2))
    keys = interrupted(db, collect)
    assert keys[:3] == ["explain 0", "explain 256", "explain 512"]
    assert keys[-3:] == ["similar 0", "similar 12", "similar 24"]
    count = db.scalar(select(func.count(Latent.index.distinct())).filter_by(study_id=study.id))
    assert count == db.scalar(select(func.count()).select_from(Latent).filter_by(study_id=study.id))

    (explain,) = following(db, collect)
    assert interrupted(db, explain) == ["latents 0", "latents 12", "latents 24"]
    (prompted,) = following(db, explain)
    assert prompted.params["llm"] == described.model_dump()
    assert interrupted(db, prompted) == ["latent 0", "latent 1", "latent 2"]
    (simulate,) = following(db, prompted)
    assert simulate.params == {"first_latents": 10, "individually": 2, "then_rewrite": True}

    keys = interrupted(db, simulate)
    assert keys[:3] == ["calibrate 0", "evaluate 0", "calibrate 1"]
    assert len(keys) == 2 * 10
    early, main, rest = following(db, simulate)
    assert early.params == main.params
    assert interrupted(db, main) == [f"points {i}" for i in range(7)]
    rewrite = db.get_one(Rewrite, main.state["rewrite_id"])
    assert not rewrite.finished and not rewrite.edited_ids
    after = following(db, main)
    (estimating,) = (job for job in after if job.kind == "attribute")
    others = [job for job in after if job.kind == "rewrite"]
    assert [one.params["protocol"] for one in others] == ["whole", "paper"]
    for job in others:
        assert len(interrupted(db, job)) > 2
        assert db.get_one(Rewrite, job.state["rewrite_id"]).finished
    assert rewrite.finished
    assert interrupted(db, rest) == ["loss_effects 0", "loss_effects 1"]
    assert priority_of(params_of(rest)) == BACKGROUND
    _single(db, study, simulate, llm)
    # Later, because a rewrite orders latents by the exact loss effects if all have one.
    _estimated(db, study, estimating)
    _edited(db, study, simulate.state["explanation_ids"][0])


def test_many_are_scored_in_blocks(
    db: Session, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a simulator that takes many at once: what a rewrite needs of all of them comes first."""
    collect = add_job(db, study, CollectParams(explain=(ExplainParams(method="lexical"),)))
    interrupted(db, collect)
    interrupted(db, following(db, collect)[0])
    ids = db.scalars(select(Latent.explanation_id).filter_by(study_id=study.id)).all()
    some = tuple(sorted(number for number in ids if number is not None)[:8])
    object.__setattr__(JSON_REPLY, "batch", 5)
    monkeypatch.setattr(simulating, "FIRST", 2)
    monkeypatch.setattr(simulating, "SECONDS", 0.0)
    simulating._seconds.clear()
    try:
        order = SimulateParams(explanation_ids=some, individually=2, then_rewrite=True)
        job = add_job(db, study, order)
        # The layer is measured when all are simulated, before the first is scored.
        assert interrupted(db, job) == ["values 0", "values 5", "scores 0", "scores 5"]
        assert job.state["queued"] == ["values", "last"]
        for table, each in ((Simulation, 2), (Score, 6)):
            count = select(func.count()).where(table.explanation_id.in_(some))  # type: ignore[attr-defined]
            assert db.scalar(count) == each * len(some), table
        main, again, rest = following(db, job)
        assert main.params == again.params and main.params["main_point"]
        assert rest.params == {
            "explanation_ids": list(some),
            "simulator_id": study.simulator_id,
            "individually": 2,
            "rest": True,
        }
        assert priority_of(params_of(rest)) == BACKGROUND
        keys = ["examples 0", "examples 5", "loss_effects 0", "loss_effects 1"]
        assert interrupted(db, rest) == keys
    finally:
        object.__setattr__(JSON_REPLY, "batch", 1)
    sets = select(Simulation.set, func.count()).where(Simulation.explanation_id.in_(some))
    found = {name: count for name, count in db.execute(sets.group_by(Simulation.set))}
    assert found == dict.fromkeys(("calibrate", "evaluate", "explain"), len(some))
    measured = select(LossEffect.explanation_id).where(LossEffect.explanation_id.in_(some))
    assert set(db.scalars(measured)) == set(some[:2])
    # One whose job was cancelled before it was scored is scored alone, and not simulated again.
    wanted = _scores_of(db, some[1])
    db.execute(delete(Score).filter_by(explanation_id=some[1]))
    interrupted(db, add_job(db, study, SimulateParams(explanation_ids=some[1:2])))
    assert wanted and _scores_of(db, some[1]) == wanted
    # Alone it is simulated to the same values and calibrated by the same maps.
    before = _made(db, some[0])
    interrupted(db, add_job(db, study, SimulateParams(explanation_ids=some[:1], again=True)))
    assert _made(db, some[0]) == before
    _by_two_workers(study, add_job(db, study, SimulateParams(explanation_ids=some[:1], again=True)))
    assert _made(db, some[0]) == before


def _by_two_workers(study: Study, job: Job) -> None:
    """Two workers come to the same explanation: the second waits, and finds it simulated."""
    steps: list[Step] = []

    def second() -> None:
        with new_session() as own:
            steps.extend(work(own, own.get_one(Job, job.id), own.get_one(Study, study.id)))

    with new_session() as first:
        mine, here = first.get_one(Job, job.id), first.get_one(Study, study.id)
        calibrate, *_ = plan(first, mine, here)
        assert mine.params["explanation_ids"]
        simulating._block(first, mine.params["explanation_ids"])
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(second)
            assert not wait([other], timeout=1).done
            task_of(mine).do(first, mine, here, calibrate)
            other.result()
    assert [step.done for step in steps] == [1, 2, 3]


def _made(db: Session, explanation_id: int) -> dict[str, Any]:
    """An explanation's values on the calibrate set, with their calibrations."""
    one = db.scalars(
        select(Simulation).filter_by(explanation_id=explanation_id, set="calibrate")
    ).one()
    maps = db.scalars(select(Calibration).filter_by(simulation_id=one.id)).all()
    return {row.method: (row.x, row.y) for row in maps} | {"": one.values.tolist().__repr__()}


def _scores_of(db: Session, explanation_id: int) -> list[tuple[str, float | None, float | None]]:
    scores = db.scalars(select(Score).filter_by(explanation_id=explanation_id))
    return [(score.name, score.value, score.low) for score in scores]


def _estimated(db: Session, study: Study, job: Job) -> None:
    """Estimates of the loss effects of all latents, and exact ones of some."""
    assert job.params == {"simulator_id": study.simulator_id, "renew": True}
    contexts = study.contexts_rewrite
    keys = interrupted(db, job)
    blocks = [f"contexts {i}" for i in range(0, contexts, attribute.CONTEXTS)]
    assert keys == [*blocks, "latents 0", "latents 6", "budget 0"]
    row = db.scalars(select(Attribution).filter_by(study_id=study.id)).one()
    assert row.finished and len(row.explanation_ids) == 10
    assert db.scalar(select(func.count()).select_from(AttributionPart)) == 0
    estimates = db.scalars(select(EstimatedEffect).filter_by(attribution_id=row.id)).all()
    assert len(estimates) == 10 * len(Linearisation)
    for one in estimates:
        assert len(one.effects) == contexts
        assert one.mean == pytest.approx(sum(one.effects) / contexts, abs=1e-6)
        assert one.low is not None and one.low <= one.mean <= one.high
    _budgeted(db, study, row, estimates)
    # Two were measured individually before, so the others are now.
    (exact,) = [one for one in following(db, job) if one.kind == "simulate"]
    assert len(exact.params["explanation_ids"]) == 8 and exact.priority == BACKGROUND
    assert interrupted(db, exact) == [f"loss_effects {i}" for i in range(8)]
    found = edit_next(db, study, limit=20)
    assert found.estimated and found.total == 10
    assert found.agreement is not None and found.on_same_contexts is not None
    assert 0 < found.agreement.latents <= found.on_same_contexts.latents <= 10
    assert interrupted(db, add_job(db, study, AttributeParams(renew=True))) == []
    again = add_job(db, study, AttributeParams())
    folder = get_settings().activations(study.id, "explain")
    lost = folder.rename(folder.with_name("lost"))
    assert len(interrupted(db, again)) == len(keys)
    lost.rename(folder)
    found = get_budget(db, study)
    assert found is not None and found.split(BudgetSplit.FIRING_RATE)
    assert found.split(BudgetSplit.KIND) == [], "the activations that tell kinds were lost"
    assert db.scalars(select(Attribution.id).filter_by(study_id=study.id)).all() == [
        again.state["attribution_id"]
    ]


def _budgeted(
    db: Session, study: Study, row: Attribution, estimates: Sequence[EstimatedEffect]
) -> None:
    """Each split of the error budget adds up to the effects along the path."""
    path = [one.effects for one in estimates if one.point == Linearisation.PATH]
    found = get_budget(db, study)
    assert found is not None and found.attribution is row
    for split in BudgetSplit:
        groups = found.split(split)
        assert sum(group.whole.latents for group in groups) == 10
        whole = np.sum([group.whole.effects for group in groups], axis=0)
        parts = np.sum([one.effects for group in groups for one in group.errors], axis=0)
        np.testing.assert_allclose(whole, np.sum(path, axis=0), atol=1e-5)
        np.testing.assert_allclose(parts, whole, atol=1e-5)
    exact, *oracles = found.compared
    assert [one.errors for one in oracles] == [
        ["false_positive", "background"],
        ["missed", "wrong_size"],
        ["missed"],
    ]
    results = latest_results(db, study, Protocol.WHOLE)
    assert results is not None and results.main is not None
    real = statistics_of(results.main).against.real_latents
    assert real is not None and exact.exact.value == pytest.approx(real.mean, abs=1e-5)
    both = oracles[0].exact.value + oracles[1].exact.value
    assert both == pytest.approx(exact.exact.value, abs=1e-6)


def _single(db: Session, study: Study, simulate: Job, llm: Failing) -> None:
    """The kinds that need a study with simulations."""
    ids = simulate.state["explanation_ids"]
    described = LanguageModel(backend="openai", model="m", base_url=llm.url)
    score = add_job(db, study, ScoreParams(llm=described, explanation_ids=tuple(ids[:2])))
    assert interrupted(db, score) == ["detection 0", "fuzzing 0", "detection 1", "fuzzing 1"]

    assert len(interrupted(db, add_job(db, study, CheckParams()))) == 9

    sentence = Sentence(
        study_id=study.id, simulator_id=study.simulator_id, text="w1 w2 w3", created_by="tests"
    )
    generation = Generation(
        study_id=study.id,
        simulator_id=study.simulator_id,
        prompt="w1 w2",
        explanation_ids=ids[:2],
        calibration="isotonic",
        new_tokens=3,
        temperature=0.0,
        seed=0,
        code_version="",
        created_by="tests",
    )
    db.add_all([sentence, generation])
    db.flush()
    keys = interrupted(db, add_job(db, study, SentenceParams(sentence_id=sentence.id)))
    assert keys[0] == "read 0" and len(keys) == 1 + len(sentence.simulated) > 1
    keys = interrupted(db, add_job(db, study, GenerateParams(generation_id=generation.id)))
    assert keys == ["untouched 0", "zero 0", "rewritten 0"]
    assert [len(one["tokens"]) for one in generation.continuations.values()] == [3, 3, 3]

    nothing = add_job(db, study, RewriteParams(protocol="whole", repeat=True))
    assert interrupted(db, nothing) == [], "nothing has changed"


def _edited(db: Session, study: Study, number: int) -> None:
    """An edit's loss effect is first measured with what is known, and is the same."""

    def effects(number: int) -> dict[tuple[str, str], Any]:
        rows = db.scalars(select(LossEffect).filter_by(explanation_id=number))
        return {
            (row.condition, row.calibration): (row.context_ids, row.differences) for row in rows
        }

    old = db.get_one(Explanation, number)
    same = Explanation(
        latent_id=old.latent_id,
        text=old.text,
        author_kind="person",
        author="ana",
        parent_id=old.id,
        details={},
    )
    db.add(same)
    db.commit()
    edit = add_job(db, study, SimulateParams(explanation_ids=(same.id,)))
    assert interrupted(db, edit) == ["calibrate 0", "evaluate 0", "first_effects 0"]
    assert ("rewritten", "isotonic") in effects(same.id) and len(effects(same.id)) < 5
    (rest,) = following(db, edit)
    assert priority_of(params_of(rest)) == BACKGROUND
    assert interrupted(db, rest) == ["loss_effects 0"]
    before, after = effects(old.id), effects(same.id)
    assert set(after) == set(before) and len(after) == 5
    for line, (contexts, differences) in after.items():
        assert contexts == before[line][0], line
        assert differences == pytest.approx(before[line][1], abs=1e-6), line


def test_a_file_is_read_unit_by_unit(db: Session, study: Study, tmp_path: Path) -> None:
    interrupted(db, add_job(db, study, CollectParams()))
    lines = [{"latent": i % 30, "text": f"{i // 60}", "author": "ana"} for i in range(70)]
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    order = ExplainParams(method="file", path=str(path))
    assert interrupted(db, add_job(db, study, order)) == [f"lines {n}" for n in (0, 20, 40, 60)]
    texts = (
        select(Latent.index, Explanation.text, func.count())
        .join(Explanation, Explanation.latent_id == Latent.id)
        .where(Latent.study_id == study.id, Explanation.author == "ana")
        .group_by(Latent.index, Explanation.text)
    )
    found = {(index, text): count for index, text, count in db.execute(texts)}
    assert found == {(i, "0"): 2 for i in range(30)} | {(i, "1"): 1 for i in range(10)}
    # Another import of the same adds nothing.
    since = newest(db)
    assert len(interrupted(db, add_job(db, study, order))) == 4
    assert newest(db) == since


def test_a_coder_is_found_again_by_the_name_of_its_folder(
    db: Session, study: Study, folders: dict[str, str], tmp_path: Path
) -> None:
    """Though the name is no canonical one, and the folder holds coders of other sites."""
    for name in ("blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out"):
        shutil.copytree(folders["coder"], tmp_path / name)
    study.coder, study.hookpoint = str(tmp_path), "blocks.1.hook_mlp_out"
    settle_sites(db, study)
    assert study.hookpoint == "blocks.1.hook_mlp_out" and coder_of(study).num_latents == 32
    assert subject_of(study).hookpoint == "layers.1.mlp"
    # The name is made canonical where that changes nothing.
    study.coder, study.reads = folders["coder"], ""
    settle_sites(db, study)
    assert study.hookpoint == study.reads == "layers.1.mlp"
