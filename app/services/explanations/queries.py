"""Explanations in the database: finding one, saving a new one, and having it simulated."""

from functools import cache
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Select,
    any_,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.services.errors import Conflict, NotFound
from app.services.explanations.scores import is_simulated, list_scores
from app.services.jobs.queries import EXPLANATION_IDS, LINE
from app.services.latents.meaning import embedding_of
from app.services.rows import array_of, read
from jobs.events import publish as tell
from jobs.params import SimulateParams
from jobs.progress import JobLine
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Explanation, Job, Latent, Study


class Saved(NamedTuple):
    """The result of saving an explanation."""

    explanation: Explanation
    job: Job
    conflict: bool
    """Somebody saved another version between the parent and this one."""


# Put together once: that takes as long as running it.
_version = func.unnest(bindparam("ids", type_=ARRAY(BigInteger))).column_valued("version")
_about = bindparam("about", type_=ARRAY(JSONB))
_SIMULATE_JOBS = (
    select(
        *LINE,
        array_of(select(_version).where(EXPLANATION_IDS.contains(func.to_jsonb(_version)))),
    )
    .where(
        Job.study_id == bindparam("study"),
        Job.kind == "simulate",
        or_(*(column.contains(any_(_about)) for column in (Job.params, Job.state))),
    )
    .order_by(Job.id.desc())
)


def get_explanation(session: Session, explanation_id: int) -> Explanation:
    """One explanation.

    Raises:
        NotFound: There is none of this number.
    """
    explanation = session.get(Explanation, explanation_id)
    if explanation is None:
        raise NotFound(f"There is no explanation {explanation_id}.")
    return explanation


def get_version(session: Session, latent: Latent, explanation_id: int) -> Explanation:
    """One version of a latent's text.

    Raises:
        NotFound: There is no such explanation, or it is another latent's.
    """
    explanation = get_explanation(session, explanation_id)
    if explanation.latent_id != latent.id:
        raise NotFound(f"Explanation {explanation_id} is no version of latent {latent.index}.")
    return explanation


def newer_versions(session: Session, latent: Latent, parent_id: int | None) -> list[Explanation]:
    """Versions that were saved after the one somebody is writing from, newest first."""
    query = select(Explanation).where(
        Explanation.latent_id == latent.id, Explanation.id > (parent_id or 0)
    )
    return list(session.scalars(query.order_by(Explanation.id.desc())))


def authors(session: Session, study: Study) -> list[str]:
    """Everybody, and every model, that wrote an explanation of a latent of the study."""
    return sorted(session.scalars(authors_query(), {"study": study.id}))


@cache
def authors_query() -> Select[str]:
    """The same for a study that is named when it is asked."""
    # Author by author along the index: reading all explanations takes a while where they are many.
    author = select(func.min(Explanation.author).label("name")).cte("author", recursive=True)
    following = select(func.min(Explanation.author)).where(Explanation.author > author.c.name)
    author = author.union_all(select(following.scalar_subquery()).where(author.c.name.is_not(None)))
    # One explanation each will do; in this order the first is at hand in the index. Not a join, of
    # which PostgreSQL may read a whole side before it finds the first.
    study = select(Latent.study_id).where(Latent.id == Explanation.latent_id).scalar_subquery()
    here = (
        select(Explanation.id)
        .where(Explanation.author == author.c.name, study == bindparam("study"))
        .order_by(Explanation.latent_id)
        .limit(1)
        .scalar_subquery()
    )
    return select(author.c.name).where(here.is_not(None))


def save_explanation(
    session: Session, study: Study, latent: Latent, text: str, parent_id: int | None, user: str
) -> Saved:
    """Make a new explanation the current one and queue its simulation. Commits the session.

    The explanation is kept even when the queue cannot be reached; the job then says so.

    Args:
        text: Already cleaned.
        parent_id: The version it was written from; None for the current one.

    Raises:
        Conflict: The study has no simulator yet, or the text is the current one; nothing is saved.
        NotFound: There is no such parent among the versions of this latent.
    """
    _need_simulator(study)
    session.refresh(latent, with_for_update=True)
    current = latent.explanation_id
    if parent_id is not None:
        parent = session.get(Explanation, parent_id)
        if parent is None or parent.latent_id != latent.id:
            session.rollback()
            raise NotFound(f"Explanation {parent_id} is no version of latent {latent.index}.")
    if current is not None and session.get_one(Explanation, current).text == text:
        session.rollback()
        raise Conflict("This is the current text already, so no new version was saved.")
    explanation = Explanation(
        latent_id=latent.id,
        text=text,
        author_kind="person",
        author=user,
        parent_id=current if parent_id is None else parent_id,
    )
    session.add(explanation)
    session.flush()
    latent.explanation_id = explanation.id
    latent.embedding = embedding_of(text)
    conflict = parent_id is not None and parent_id != current
    job = enqueue(session, study, _simulation(study, explanation), by=user)
    tell(study.id, "latent", latent.id)
    return Saved(explanation, job, conflict)


def simulate(session: Session, study: Study, explanation: Explanation, user: str) -> Job:
    """Queue the simulation of an explanation that has none. Commits the session.

    The layer is measured again if it is the current one: that is rewritten with current ones.

    Raises:
        Conflict: The study has no simulator yet, or it is simulated or on its way already.
    """
    _need_simulator(study)
    if is_simulated(list_scores(session, study, explanation)):
        raise Conflict("This explanation is simulated already.")
    if any(job.status in ACTIVE for job, _ in simulate_jobs(session, study, [explanation.id])):
        raise Conflict("The simulation of this explanation is on its way already.")
    latent = session.get_one(Latent, explanation.latent_id)
    is_current = latent.explanation_id == explanation.id
    order = _simulation(study, explanation, then_rewrite=is_current)
    return enqueue(session, study, order, by=user)


def simulate_jobs(
    session: Session, study: Study, explanation_ids: list[int]
) -> list[tuple[JobLine, list[int]]]:
    """Simulate jobs about any of some explanations, newest first, each with those it is about."""
    about = [{"explanation_ids": [number]} for number in explanation_ids]
    values = {"study": study.id, "about": about, "ids": explanation_ids}
    found = read(session, _SIMULATE_JOBS, values)
    return [(JobLine(*line), ids) for *line, ids in found]


def _simulation(
    study: Study, explanation: Explanation, then_rewrite: bool = True
) -> SimulateParams:
    return SimulateParams(
        explanation_ids=(explanation.id,),
        simulator_id=study.simulator_id,
        then_rewrite=then_rewrite,
    )


def _need_simulator(study: Study) -> None:
    if study.simulator_id is None:
        raise Conflict(
            f"Study {study.slug} has no simulator yet: its activations are still being collected. "
            "Save again when that job has finished; nothing was saved now."
        )
