"""The main point of a rewrite on all contexts of the evaluate set, in the background."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.services.rewrites.queries import all_context_ids, latest_results, results_of
from interp.errors import InputError
from interp.simulate.prompted.json_reply import JSON_REPLY
from interp.vocabulary import Breadth, ContextSet, Protocol
from jobs.kinds import BACKGROUND, params_of, priority_of
from jobs.params import CollectParams, RewriteParams, SimulateParams
from models import Context, Job, Rewrite, RewritePoint, Simulation, Study
from models.settings import get_settings
from tests.integration.workers.test_edits import do, edit, newest
from tests.integration.workers.test_units import interrupted
from tests.working import add_job, following, plan, work
from workers.task import runs
from workers.tasks.parts import Parts
from workers.tasks.rewrite import all_contexts
from workers.tasks.rewrite import task as rewriting
from workers.tasks.rewrite.values import SimulatedValues
from workers.tasks.rows import documents_of

MAIN = ("rewritten", "isotonic")
LATENTS = 5
BATCH = 3
POINTS = 7
"""The main point, the same latents zeroed, and five baselines."""


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "AT_ONCE", dict.fromkeys(Protocol, 16))
    monkeypatch.setattr(all_contexts, "CONTEXTS", 3)


@pytest.fixture
def instant() -> Iterator[None]:
    """The simulator of the study counts as quick."""
    before = JSON_REPLY.instant, JSON_REPLY.batch
    object.__setattr__(JSON_REPLY, "instant", True)
    object.__setattr__(JSON_REPLY, "batch", BATCH)
    yield
    for name, value in zip(("instant", "batch"), before, strict=True):
        object.__setattr__(JSON_REPLY, name, value)


@pytest.fixture
def measured(db: Session, study: Study) -> Job:
    """The job that has measured the rest of a rewrite of the first latents under ``whole``."""
    do(db, add_job(db, study, CollectParams(first_latents=LATENTS, individually=0)))
    while job := _waiting(db, study, "explain", "simulate", "rewrite", "embed"):
        do(db, job)
        if job.params.get("rewrite_id") and job.params["protocol"] == "whole":
            return job
    pytest.fail("nothing measured the rest")


def _waiting(db: Session, study: Study, *kinds: str) -> Job | None:
    query = select(Job).filter_by(study_id=study.id, status="queued").where(Job.kind.in_(kinds))
    return db.scalars(query.order_by(Job.id).limit(1)).first()


def _wide(db: Session, job: Job) -> list[Job]:
    """The jobs after one that measure all contexts."""
    return [one for one in following(db, job) if one.params.get("breadth") == "all"]


def _points(db: Session, rewrite: Rewrite, breadth: Breadth) -> dict[str, RewritePoint]:
    """The main point with its baselines, by condition."""
    query = select(RewritePoint).filter_by(rewrite_id=rewrite.id, breadth=breadth)
    main = (0, len(rewrite.explanation_ids))
    found = db.scalars(query.where(RewritePoint.count.in_(main)))
    kept = ("untouched", "real_latents", "zero", "no_latents", "mean", "set_zeroed")
    return {
        point.condition: point
        for point in found
        if point.condition in kept or (point.condition, point.calibration) == MAIN
    }


def test_all_contexts_are_measured_by_one_worker_after_another(
    db: Session, study: Study, instant: None, measured: Job
) -> None:
    (job,) = _wide(db, measured)
    assert priority_of(params_of(job)) == BACKGROUND
    rewrite = newest(db, study)
    assert job.params["rewrite_id"] == rewrite.id and rewrite.finished
    results = latest_results(db, study, Protocol.WHOLE)
    assert results is not None and results.widest is results, "they follow"
    keys = interrupted(db, job)
    assert keys == ["explanations 0", "explanations 3", "contexts 0", "contexts 3"]
    assert not (get_settings().study_files(study.id) / "rewrite" / str(job.id)).exists()
    assert not _wide(db, job)

    panel, wide = (_points(db, rewrite, breadth) for breadth in Breadth)
    assert len(panel) == len(wide) == POINTS
    ids = all_context_ids(db, study, rewrite)
    assert ids[: study.contexts_rewrite] == rewrite.context_ids
    assert len(ids) == len(set(ids)) == study.contexts_evaluate > study.contexts_rewrite
    for name, point in wide.items():
        assert point.losses[: study.contexts_rewrite] == panel[name].losses, name
        assert len(point.losses) == len(point.kls or []) == study.contexts_evaluate
    losses = {name: np.array(point.losses) for name, point in wide.items()}
    difference = losses["rewritten"] - losses["untouched"]
    assert wide["rewritten"].increase == pytest.approx(difference.mean(), abs=1e-6)
    against = wide["rewritten"].statistics["against"]
    difference = losses["rewritten"] - losses["set_zeroed"]
    assert against["set_zeroed"]["mean"] == pytest.approx(difference.mean(), abs=1e-6)
    assert wide["rewritten"].fraction == panel["rewritten"].fraction > 0

    db.expire_all()
    results = latest_results(db, study, Protocol.WHOLE)
    assert results is not None and results.top is not None
    assert results.top.id == wide["rewritten"].id
    assert results.zeroed is not None and results.zeroed.id == wide["set_zeroed"].id
    assert results.main is not None and results.main.id == panel["rewritten"].id

    _compare_with_a_panel_of_all(db, study, rewrite, wide)


def _compare_with_a_panel_of_all(
    db: Session, study: Study, rewrite: Rewrite, wide: dict[str, RewritePoint]
) -> None:
    """What is simulated for a while gives the losses of what is stored."""
    ids = tuple(rewrite.explanation_ids)
    evaluated = Simulation.explanation_id.in_(ids) & (Simulation.set == str(ContextSet.EVALUATE))
    db.execute(delete(Simulation).where(evaluated))
    study.contexts_rewrite = study.contexts_evaluate
    db.commit()
    do(db, add_job(db, study, SimulateParams(explanation_ids=ids, individually=0)))
    again = add_job(db, study, RewriteParams(main_point=True))
    do(db, again)
    stored = db.get_one(Rewrite, again.state["rewrite_id"])
    assert stored.context_ids == all_context_ids(db, study, rewrite)
    for name, point in _points(db, stored, Breadth.PANEL).items():
        np.testing.assert_allclose(wide[name].losses, point.losses, atol=1e-4)
        np.testing.assert_allclose(wide[name].kls, point.kls, atol=1e-4)
        assert (wide[name].fraction, wide[name].missing) == (point.fraction, point.missing)
        assert wide[name].increase == pytest.approx(point.increase, abs=1e-4)
        for bound in ("low", "high"):
            assert getattr(wide[name], bound) == pytest.approx(getattr(point, bound), abs=1e-3)


def test_on_the_panel_the_values_are_the_stored_ones(
    db: Session, study: Study, instant: None, measured: Job
) -> None:
    (job,) = _wide(db, measured)
    rewrite = newest(db, study)
    work(db, job, study, most=2)
    parts = Parts.of(job, study, "rewrite")
    found = np.concatenate([parts.values(run.start) for run in runs(LATENTS, BATCH)], axis=2)
    where = Protocol.WHOLE.spliced(study.context_length, study.first_position)
    stored = SimulatedValues(rewrite.simulator_id, rewrite.context_ids, where)
    stored.load(db, rewrite.explanation_ids)
    every = torch.arange(len(rewrite.context_ids))
    expected = stored.values("isotonic", rewrite.explanation_ids).at(every).numpy()
    np.testing.assert_array_equal(found[: study.contexts_rewrite], expected)


def test_a_later_edit_takes_its_place_and_takes_over_what_it_shares(
    db: Session, study: Study, instant: None, measured: Job
) -> None:
    (first,) = _wide(db, measured)
    do(db, first)
    before = newest(db, study)
    edited, main = edit(db, study, before.explanation_ids[0], "other words")
    do(db, main)
    rest = next(job for job in following(db, main) if job.params.get("protocol") == "whole")
    assert not _wide(db, main), "the rest comes first"
    do(db, rest)
    (second,) = _wide(db, rest)
    do(db, second, most=1)
    folder = get_settings().study_files(study.id) / "rewrite"
    assert [one.name for one in folder.glob("*")] == [str(second.id)]
    results = latest_results(db, study, Protocol.WHOLE)
    assert results is not None and results.widest is results.headline, "not of this explanation yet"
    assert results.headline.rewrite.edited_ids == [edited.id]

    # The next edit's rest ends what is measured of this one.
    newer, main = edit(db, study, before.explanation_ids[1], "yet other words")
    do(db, main)
    db.refresh(second)
    assert second.status == "cancelled" and "superseded_by" in second.state
    rest = next(job for job in following(db, main) if job.params.get("protocol") == "whole")
    assert rest.status == "queued" and second.state["superseded_by"] == rest.id
    do(db, rest)
    (third,) = _wide(db, rest)
    do(db, third)
    assert not [*folder.glob("*")], "the parts of the one that was superseded are gone too"
    row = newest(db, study)
    assert row.edited_ids == [newer.id]
    wide, shared = _points(db, row, Breadth.ALL), _points(db, before, Breadth.ALL)
    taken = {name for name, point in wide.items() if point.copied_from == shared[name].id}
    assert taken == wide.keys() - {"rewritten", "set_zeroed"}
    assert wide["set_zeroed"].losses == pytest.approx(shared["set_zeroed"].losses, abs=1e-5)
    assert "before" not in wide["rewritten"].statistics["against"], "its parent was superseded"

    # One of the same explanations has nothing to measure.
    again = add_job(db, study, RewriteParams())
    do(db, again)
    (fourth,) = _wide(db, again)
    assert all(unit.done == unit.size for unit in plan(db, fourth, study))
    do(db, fourth)
    copied = _points(db, newest(db, study), Breadth.ALL)
    assert all(copied[name].copied_from == wide[name].id for name in wide)


def test_a_slow_simulator_has_the_panel_alone(db: Session, study: Study, measured: Job) -> None:
    assert measured.state["beyond"] is False and not _wide(db, measured)


def test_a_panel_of_all_contexts_is_all(
    db: Session, study: Study, instant: None, measured: Job
) -> None:
    for job in _wide(db, measured):
        job.status = "cancelled"
    study.contexts_evaluate = study.contexts_rewrite
    db.commit()
    again = add_job(db, study, RewriteParams())
    do(db, again)
    assert again.state["beyond"] is False and not _wide(db, again)


def test_what_is_gone_meanwhile_is_said(
    db: Session, study: Study, instant: None, measured: Job
) -> None:
    (job,) = _wide(db, measured)
    rewrite = newest(db, study)
    last = Simulation.explanation_id == rewrite.explanation_ids[-1]
    db.execute(delete(Simulation).where(last, Simulation.set == str(ContextSet.CALIBRATE)))
    db.commit()
    with pytest.raises(InputError, match="is being simulated again"):
        work(db, job, study)
    db.rollback()
    other = add_job(db, study, params_of(job))
    db.delete(rewrite)
    db.commit()
    assert plan(db, other, study) == [] and work(db, other, study) == []
    assert work(db, job, study) == []


def test_documents_are_those_of_all_contexts(
    db: Session, study: Study, instant: None, measured: Job
) -> None:
    """Intervals rest on documents: each loss has the document of its own context."""
    (job,) = _wide(db, measured)
    do(db, job)
    rewrite = newest(db, study)
    ids = all_context_ids(db, study, rewrite)
    record = all_contexts._record(db, study, rewrite)
    assert record.documents == documents_of(db, ids)
    order = select(Context.id).filter_by(study_id=study.id, set="evaluate").order_by(Context.index)
    assert ids == db.scalars(order).all()
    wide = results_of(db, rewrite).all_contexts
    assert wide is not None and wide.contexts == study.contexts_evaluate
