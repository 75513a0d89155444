"""Explanations in the database: every version, and saving a new one."""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from fastapi import HTTPException
from sqlalchemy import ARRAY, Select, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, defer

from app.errors import Conflict, NotFound
from app.jobs.queries import ACTIVE, submit, tell
from app.latents.filters import cost_of
from app.latents.meaning import embedding_of
from models import Comment, Explanation, Job, Latent, LatentCost, Score, Study

NAMES = (
    "correlation",
    "explained_variance",
    "sensitivity",
    "specificity",
    "f1",
    "auroc",
    "detection",
    "fuzzing",
)
"""Scores in the order in which they are shown."""


class Version(NamedTuple):
    """One version of a latent's text, with what it reached."""

    explanation: Explanation
    scores: list[Score]
    """As :func:`list_scores` gives them."""
    cost: LatentCost | None
    """Rewritten alone, isotonic."""

    @property
    def correlation(self) -> Score | None:
        return next((score for score in self.scores if score.name == "correlation"), None)


class Saved(NamedTuple):
    """What saving a wording did."""

    explanation: Explanation
    job: Job
    conflict: bool
    """Somebody saved another version between the parent and this one."""


# Statements of every latent's page are put together once: that takes as long as running them.
_IDS: Any = bindparam("explanations", expanding=True)
_SIMULATOR: Any = SimpleNamespace(simulator_id=bindparam("simulator"))
_VERSIONS = (
    select(Explanation)
    .where(Explanation.latent_id == bindparam("latent"))
    .order_by(Explanation.id.desc())
)
_COSTS = select(LatentCost).where(LatentCost.explanation_id.in_(_IDS), *cost_of(_SIMULATOR))
_SCORES = (
    select(Score)
    .where(
        Score.explanation_id.in_(_IDS),
        or_(Score.simulator_id == _SIMULATOR.simulator_id, Score.simulator_id.is_(None)),
    )
    .order_by(Score.id)
)
# A job may be about thousands: what it was asked for is read of those that are looked into.
_SIMULATE_JOBS = (
    select(Job)
    .options(defer(Job.params))
    .where(
        Job.study_id == bindparam("study"),
        Job.kind == "simulate",
        Job.params.contains(any_(bindparam("about", type_=ARRAY(JSONB)))),
    )
    .order_by(Job.id.desc())
)
_COMMENTS = select(Comment).where(Comment.explanation_id.in_(_IDS)).order_by(Comment.id)


def list_versions(session: Session, study: Study, latent: Latent) -> list[Version]:
    """All versions of a latent's text, newest first."""
    found = list(session.scalars(_VERSIONS, {"latent": latent.id}))
    ids = [explanation.id for explanation in found]
    scores = scores_by_explanation(session, study, ids)
    costs = session.scalars(_COSTS, {"explanations": ids, "simulator": study.simulator_id})
    cost_by = {cost.explanation_id: cost for cost in costs}
    return [Version(one, scores[one.id], cost_by.get(one.id)) for one in found]


def get_explanation(session: Session, explanation_id: int) -> Explanation:
    """One explanation.

    Raises:
        NotFound: There is none of this number.
    """
    explanation = session.get(Explanation, explanation_id)
    if explanation is None:
        raise NotFound(f"There is no explanation {explanation_id}.")
    return explanation


def list_scores(session: Session, study: Study, explanation: Explanation) -> list[Score]:
    """Scores of an explanation under the study's simulator, and the newest judgements of language
    models, in their usual order."""
    return scores_by_explanation(session, study, [explanation.id])[explanation.id]


def get_version(session: Session, latent: Latent, explanation_id: int) -> Explanation:
    """One version of a latent's text.

    Raises:
        NotFound: There is no such explanation, or it is another latent's.
    """
    explanation = get_explanation(session, explanation_id)
    if explanation.latent_id != latent.id:
        raise NotFound(f"Explanation {explanation_id} is no version of latent {latent.index}.")
    return explanation


def scores_by_explanation(
    session: Session, study: Study, explanation_ids: Sequence[int]
) -> dict[int, list[Score]]:
    """The same for several explanations, by explanation."""
    values = {"explanations": explanation_ids, "simulator": study.simulator_id}
    found = session.scalars(_SCORES, values)
    newest: dict[int, dict[str, Score]] = {number: {} for number in explanation_ids}
    for score in found:
        newest[score.explanation_id][score.name] = score
    return {
        number: [scores[name] for name in NAMES if name in scores]
        for number, scores in newest.items()
    }


def newer_versions(session: Session, latent: Latent, parent_id: int | None) -> list[Explanation]:
    """Versions that were saved after the one somebody is writing from, newest first."""
    query = select(Explanation).where(
        Explanation.latent_id == latent.id, Explanation.id > (parent_id or 0)
    )
    return list(session.scalars(query.order_by(Explanation.id.desc())))


def list_comments(session: Session, explanation_ids: Sequence[int]) -> list[Comment]:
    """Comments on some explanations, oldest first."""
    return list(session.scalars(_COMMENTS, {"explanations": explanation_ids}))


def add_comment(
    session: Session, study: Study, explanation: Explanation, text: str, user: str
) -> Comment:
    """Say something of an explanation. Commits the session.

    Args:
        text: Already cleaned.
    """
    comment = Comment(explanation_id=explanation.id, author=user, text=text)
    session.add(comment)
    session.commit()
    tell(study.id, "latent", explanation.latent_id)
    return comment


def delete_comment(session: Session, comment_id: int, user: str) -> tuple[Study, Latent]:
    """Take a comment back. Commits the session.

    Returns:
        What it was about.

    Raises:
        NotFound: There is no such comment.
        HTTPException: 403, it is somebody else's.
    """
    comment = session.get(Comment, comment_id)
    if comment is None:
        raise NotFound(f"There is no comment {comment_id}; it may have been deleted.")
    if comment.author != user:
        raise HTTPException(403, f"Only {comment.author}, who wrote it, can delete this comment.")
    explanation = session.get_one(Explanation, comment.explanation_id)
    latent = session.get_one(Latent, explanation.latent_id)
    study = session.get_one(Study, latent.study_id)
    session.delete(comment)
    session.commit()
    tell(study.id, "latent", latent.id)
    return study, latent


def is_simulated(scores: list[Score]) -> bool:
    """Whether an explanation with these scores is simulated: some are of a simulation."""
    return any(score.simulator_id is not None for score in scores)


def authors(session: Session, study: Study) -> list[str]:
    """Everybody, and every model, that wrote an explanation of a latent of the study."""
    return sorted(session.scalars(_authors(), {"study": study.id}))


@cache
def _authors() -> Select[str]:
    # Author by author along the index: reading all explanations takes a while where they are many.
    author = select(func.min(Explanation.author).label("name")).cte("author", recursive=True)
    following = select(func.min(Explanation.author)).where(Explanation.author > author.c.name)
    author = author.union_all(select(following.scalar_subquery()).where(author.c.name.is_not(None)))
    # One explanation each will do; in this order the first is at hand in the index.
    here = (
        select(Explanation.id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Explanation.author == author.c.name, Latent.study_id == bindparam("study"))
        .order_by(Explanation.latent_id)
        .limit(1)
        .scalar_subquery()
    )
    return select(author.c.name).where(here.is_not(None))


def save_explanation(
    session: Session, study: Study, latent: Latent, text: str, parent_id: int | None, user: str
) -> Saved:
    """Make a new wording the current one and queue its simulation. Commits the session.

    The wording is kept even when the queue cannot be reached; the job then says so.

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
        embedding=embedding_of(text),
    )
    session.add(explanation)
    session.flush()
    latent.explanation_id = explanation.id
    conflict = parent_id is not None and parent_id != current
    job = submit(session, _job(study, explanation, user))
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
    if any(job.status in ACTIVE for job in simulate_jobs(session, study, [explanation.id])):
        raise Conflict("The simulation of this explanation is on its way already.")
    latent = session.get_one(Latent, explanation.latent_id)
    is_current = latent.explanation_id == explanation.id
    return submit(session, _job(study, explanation, user, then_rewrite=is_current))


def simulate_jobs(session: Session, study: Study, explanation_ids: list[int]) -> list[Job]:
    """Simulate jobs about any of some explanations, newest first."""
    about = [{"explanation_ids": [number]} for number in explanation_ids]
    return list(session.scalars(_SIMULATE_JOBS, {"study": study.id, "about": about}))


def _job(study: Study, explanation: Explanation, user: str, then_rewrite: bool = True) -> Job:
    return Job(
        study_id=study.id,
        kind="simulate",
        params={
            "explanation_ids": [explanation.id],
            "simulator_id": study.simulator_id,
            "then_rewrite": then_rewrite,
        },
        created_by=user,
    )


def _need_simulator(study: Study) -> None:
    if study.simulator_id is None:
        raise Conflict(
            f"Study {study.slug} has no simulator yet: its activations are still being collected. "
            "Save again when that job has finished; nothing was saved now."
        )
