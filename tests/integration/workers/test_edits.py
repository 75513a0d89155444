"""What follows edits: a main point for each, and the rest once for all."""

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.vocabulary import Protocol
from jobs.kinds import BACKGROUND, WAITED_FOR
from jobs.params import CollectParams, RewriteParams, SimulateParams
from models import Explanation, Job, Latent, Rewrite, RewritePoint, Study
from models.database import new_session
from tests.factories import new_explanation
from tests.working import add_job, following, work
from workers.tasks.rewrite import measurement
from workers.tasks.rewrite import task as rewriting

LATENTS = 10
Key = tuple[str, str, str, int]


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "AT_ONCE", dict.fromkeys(Protocol, 16))


@pytest.fixture
def rewritten(db: Session, study: Study) -> Rewrite:
    """A finished rewrite of the study's first latents, under the protocol ``whole``."""
    do(db, add_job(db, study, CollectParams(first_latents=LATENTS, individually=0)))
    jobs = db.scalars(select(Job).filter_by(study_id=study.id).order_by(Job.id))
    while job := next((job for job in jobs if job.status == "queued"), None):
        do(db, job)
        jobs = db.scalars(select(Job).filter_by(study_id=study.id).order_by(Job.id))
    return newest(db, study)


def do(db: Session, job: Job, most: int | None = None) -> None:
    """Do a job, or so many of its units, as a process would that has done none before."""
    db.commit()
    with new_session() as session:
        here, study = session.get_one(Job, job.id), session.get_one(Study, job.study_id)
        work(session, here, study, most=most)
        if most is None:
            here.status = "finished"
        session.commit()
    db.rollback()
    db.expire_all()


def newest(db: Session, study: Study, protocol: str = "whole") -> Rewrite:
    query = select(Rewrite).filter_by(study_id=study.id, protocol=protocol)
    return db.scalars(query.order_by(Rewrite.id.desc())).first() or pytest.fail("no rewrite")


def points(db: Session, of: Rewrite) -> dict[Key, RewritePoint]:
    rows = db.scalars(select(RewritePoint).filter_by(rewrite_id=of.id))
    return {(p.condition, p.calibration, p.ordering, p.count): p for p in rows}


def edit(db: Session, study: Study, explanation_id: int, text: str) -> tuple[Explanation, Job]:
    """Save an explanation, and do its simulation. The second is the job of its main point."""
    latent = db.get_one(Latent, db.get_one(Explanation, explanation_id).latent_id)
    edited = new_explanation(db, latent, text)
    asked = SimulateParams(explanation_ids=(edited.id,), individually=0, then_rewrite=True)
    job = add_job(db, study, asked.model_copy(update={"simulator_id": study.simulator_id}))
    do(db, job)
    (main,) = following(db, job)
    return edited, main


def scratch(db: Session, study: Study, protocol: str) -> dict[Key, RewritePoint]:
    """The points of a rewrite from scratch, in the orders of the newest one."""
    last = newest(db, study, protocol)
    same_as = "study_id simulator_id protocol author explanation_ids orderings counts context_ids"
    names = [*same_as.split(), "seed", "code_version"]
    again = Rewrite(**{name: getattr(last, name) for name in names})
    db.add(again)
    db.flush()
    measurement._shared = None
    job = add_job(db, study, RewriteParams(protocol=Protocol(protocol), rewrite_id=again.id))
    do(db, job)
    assert all(point.copied_from is None for point in points(db, again).values())
    return points(db, again)


def same(found: dict[Key, RewritePoint], expected: dict[Key, RewritePoint]) -> None:
    assert found.keys() == expected.keys()
    for key, point in found.items():
        for name in ("losses", "kls"):
            one, other = (np.array(getattr(p, name)) for p in (point, expected[key]))
            assert np.abs(one - other).max() <= 1e-6, (key, name)


def test_five_edits_have_five_main_points_and_one_rest(
    db: Session, study: Study, rewritten: Rewrite
) -> None:
    five = list(rewritten.explanation_ids[:5])
    # All are simulated before the first main point is measured, as jobs of one priority may be.
    edits = [edit(db, study, old, f"edit {n}") for n, old in enumerate(five)]
    for _, main in edits:
        assert main.priority == WAITED_FOR
        do(db, main)
    rows = [db.get_one(Rewrite, main.state["rewrite_id"]) for _, main in edits]
    parents = [rewritten, *rows]
    for (edited, _), row, parent in zip(edits, rows, parents[:-1], strict=True):
        assert (row.parent_id, row.edited_ids) == (parent.id, [edited.id])
        assert not row.finished
        measured = points(db, row)
        main = measured["rewritten", "isotonic", "score", LATENTS]
        assert main.statistics["against"]["before"]["mean"] is not None
        assert len(measured) == 7, "the main point with its baselines, and nothing else"
        taken_over = {key[0] for key, point in measured.items() if point.copied_from}
        assert taken_over == {p[0] for p in measured} - {"rewritten"}

    rests = [job for _, main in edits for job in following(db, main) if "rewrite_id" in job.params]
    waiting = {job.id: job for job in rests if job.status == "queued"}.values()
    assert sorted(job.params["protocol"] for job in waiting) == ["paper", "whole"]
    assert {job.params["rewrite_id"] for job in waiting} == {rows[-1].id}
    assert {job.priority for job in waiting} == {BACKGROUND}
    for job in waiting:
        do(db, job)
    assert rows[-1].finished
    paper = newest(db, study, "paper")
    assert paper.finished and paper.orderings == rows[-1].orderings
    assert paper.edited_ids == sorted(edited.id for edited, _ in edits)
    for protocol in ("whole", "paper"):
        last = newest(db, study, protocol)
        assert len(points(db, last)) > 20
        same(points(db, last), scratch(db, study, protocol))


def test_a_rest_that_has_begun_gives_way_to_that_of_a_later_edit(
    db: Session, study: Study, rewritten: Rewrite
) -> None:
    first, second = rewritten.explanation_ids[:2]
    _, main = edit(db, study, first, "one")
    do(db, main, most=1)  # as a worker that is killed after a unit
    do(db, main)
    whole = next(job for job in following(db, main) if job.params.get("protocol") == "whole")
    do(db, whole, most=1)
    whole.status = "running"
    db.commit()
    edited, again = edit(db, study, second, "two")
    do(db, again)
    db.refresh(whole)
    assert whole.status == "cancelled" and "superseded_by" in whole.state
    row = newest(db, study)
    assert row.edited_ids == [edited.id]
    (rest,) = (job for job in following(db, again) if job.params.get("protocol") == "whole")
    do(db, rest, most=2)
    do(db, rest)
    assert row.finished
    same(points(db, row), scratch(db, study, "whole"))


def test_an_older_explanation_does_not_come_back(
    db: Session, study: Study, rewritten: Rewrite
) -> None:
    old = rewritten.explanation_ids[0]
    first, main_of_first = edit(db, study, old, "one")
    second, main_of_second = edit(db, study, first.id, "two")
    do(db, main_of_second)
    row = newest(db, study)
    assert row.edited_ids == [second.id]
    do(db, main_of_first)
    assert newest(db, study).id == row.id and "rewrite_id" not in main_of_first.state


@pytest.mark.parametrize("status", ["failed", "running"])
def test_an_edit_whose_job_goes_on_later_joins_the_newest_rewrite(
    db: Session, study: Study, rewritten: Rewrite, status: str
) -> None:
    first, second = rewritten.explanation_ids[:2]
    one, late = edit(db, study, first, "one")
    do(db, late, most=1)
    late.status = status
    two, main = edit(db, study, second, "two")
    do(db, main)
    assert newest(db, study).edited_ids == [two.id]
    do(db, late)
    row = newest(db, study)
    assert row.edited_ids == [one.id] and {one.id, two.id} < set(row.explanation_ids)
    for one_row in (row, db.get_one(Rewrite, row.parent_id)):
        main_point = points(db, one_row)["rewritten", "isotonic", "score", LATENTS]
        assert main_point.statistics["against"]["before"]["mean"] is not None


def test_a_bulk_job_measures_no_baseline_again(
    db: Session, study: Study, rewritten: Rewrite
) -> None:
    do(db, add_job(db, study, RewriteParams(protocol=Protocol.WHOLE, main_point=True)))
    row = newest(db, study)
    assert row.id != rewritten.id and row.parent_id is None
    found, before = points(db, row), points(db, rewritten)
    baselines = [key for key, point in found.items() if point.ordering == ""]
    assert len(baselines) == 5
    for key in baselines:
        assert found[key].copied_from is not None and found[key].losses == before[key].losses


def test_two_workers_at_once_lose_no_edit(db: Session, study: Study, rewritten: Rewrite) -> None:
    first, second = rewritten.explanation_ids[:2]
    one, slow = edit(db, study, first, "one")
    two, fast = edit(db, study, second, "two")
    do(db, slow, most=7)  # measured, and not ended
    overtaken = db.get_one(Rewrite, slow.state["rewrite_id"])
    do(db, fast)
    row = newest(db, study)
    row.parent_id = rewritten.id
    changed = {one.id: first}
    row.explanation_ids = [changed.get(i, i) for i in row.explanation_ids]
    row.orderings = {
        name: [changed.get(i, i) for i in order] for name, order in row.orderings.items()
    }
    db.commit()
    do(db, slow)
    assert overtaken.edited_ids == [one.id]
    (again,) = (job for job in following(db, fast) if job.params == slow.params)
    do(db, again)
    row = newest(db, study)
    assert row.edited_ids == [one.id] and {one.id, two.id} < set(row.explanation_ids)
