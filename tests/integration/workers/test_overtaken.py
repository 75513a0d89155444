"""Jobs that come too early, or are overtaken."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from jobs.params import AttributeParams, CheckParams, CollectParams
from models import Attribution, Job, Study
from models.database import new_session
from tests.working import add_job, plan, work
from workers.tasks import attribute


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_an_attribution_gives_way_to_a_newer_one_that_is_finished(
    db: Session,
    study: Study,
    simulated: list[int],
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    """Bulk work takes turns, so a later job may end first."""
    monkeypatch.setattr(attribute, "CONTEXTS", 2)
    older, newer = (add_job(db, study, AttributeParams()) for _ in range(2))
    task = attribute.Attribute(AttributeParams())
    with new_session() as session:
        job, here = session.get_one(Job, older.id), session.get_one(Study, study.id)
        task.prepare(session, job, here)
        units = task.plan(session, job, here)
        session.commit()
        for unit in units[:steps]:
            task.do(session, job, here, unit)
        with new_session() as other:
            work(other, other.get_one(Job, newer.id), other.get_one(Study, study.id))
        # It is in the middle of a turn, and in another worker's next one.
        task.do(session, job, here, units[steps])
        session.commit()
        assert plan(session, job, here) == []
        task.finish(session, job, here)
    db.expire_all()
    (left,) = db.scalars(select(Attribution).filter_by(study_id=study.id)).all()
    assert left.id == newer.state["attribution_id"] and left.finished


def test_a_study_without_latents_is_not_checked(db: Session, study: Study) -> None:
    collect = add_job(db, study, CollectParams())
    work(db, collect, study, most=1)
    with pytest.raises(InputError, match="no latents yet"):
        plan(db, add_job(db, study, CheckParams()), study)
