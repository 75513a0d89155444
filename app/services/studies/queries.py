"""Studies in the database."""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.services.errors import Conflict, NoStudy
from app.services.simulators.queries import get_simulator
from app.services.simulators.shipped import shipped_for, shipped_simulator
from app.services.studies.checked import checked
from app.services.studies.schemas import (
    ALL_LATENTS,
    FIRST_LATENTS,
    StudyCreate,
    StudyUpdate,
)
from jobs.events import publish as tell
from jobs.params import CollectParams
from jobs.queue import enqueue, retry
from jobs.status import STOPPED
from models import Job, Latent, Study

# Statements that many pages make are put together once: that takes as long as running them. Most
# pages that show a study show its simulator's figures, and say whose they are.
_BY_SLUG = select(Study).options(joinedload(Study.simulator)).where(Study.slug == bindparam("slug"))

MEASURED_ALONE = 32
"""Latents that a new study measures individually, of those that it simulates at once."""
_ORDER = {"first_latents", "until"}
"""What a new study says of its jobs, and not of itself."""


class SlugTaken(Conflict):
    """There is a study of this name already."""


def list_studies(session: Session) -> list[Study]:
    """All studies, newest first."""
    query = select(Study).where(Study.deleted_at.is_(None))
    return list(session.scalars(query.order_by(Study.created_at.desc(), Study.id.desc())))


def get_study(session: Session, slug: str) -> Study:
    """One study.

    Raises:
        NoStudy: There is none of this name.
    """
    study = session.scalar(_BY_SLUG, {"slug": slug})
    if study is None:
        raise NoStudy(f"There is no study named {slug}. The first page lists all studies.")
    return study


def create_study(session: Session, data: StudyCreate, user: str) -> Study:
    """Insert a study and submit the job that collects its activations. The other steps follow it.
    Commits the session.

    Its simulator is the shipped one that is independent of its model, if the base of that is here.
    Else the worker takes a prompted one.

    Raises:
        FieldErrors: Its model, coder, hookpoint or corpus cannot work; nothing is changed.
        SlugTaken: There is a study of this name already; nothing is changed.
    """
    data = checked(data)
    quick = shipped_for(data.model).has_base()
    simulator = shipped_simulator(session, data.model).id if quick else None
    study = Study(**data.model_dump(exclude=_ORDER), simulator_id=simulator)
    session.add(study)
    _flush(session, data.slug)
    enqueue(session, study, _order(study, data), by=user)
    return study


def _order(study: Study, data: StudyCreate) -> CollectParams:
    """The collect job of a study, with the steps that follow it."""
    quick = study.simulator_id is not None
    first = data.first_latents
    if first is None:
        first = ALL_LATENTS if quick else FIRST_LATENTS
    steps: dict[str, Any] = {"first_latents": first}
    if quick:
        steps["individually"] = MEASURED_ALONE
    if data.until != "rewrite":
        steps["until"] = data.until
    return CollectParams(**steps)


def _derived_anew(study: Study, correction: Mapping[str, Any]) -> dict[str, Any]:
    """A correction that also empties what the study had derived from a coder or a site that it
    changes. A form sends all fields as they were: such a value counts as derived."""

    def kept(name: str) -> bool:
        own = getattr(study, name)
        return bool(correction.get(name, own) == own)

    stale = set() if all(map(kept, ("coder", "hookpoint", "reading"))) else {"reads"}
    if not kept("coder"):
        stale.add("reading")
    return {**correction, **{name: "" for name in stale if kept(name)}}


def _flush(session: Session, slug: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        session.rollback()
        raise SlugTaken(f"There is a study named {slug} already; choose another name.") from error


def definition(session: Session, study: Study) -> dict[str, Any]:
    """The fields of the form that made a study."""
    job = collect_jobs(session, [study]).get(study.id)
    first = job.params.get("first_latents") if job else None
    values = {name: getattr(study, name, None) for name in StudyCreate.model_fields}
    until = job.params.get("until", "rewrite") if job else "rewrite"
    return values | {"first_latents": None if first == ALL_LATENTS else first, "until": until}


def collect_jobs(session: Session, studies: Sequence[Study]) -> dict[int, Job]:
    """The newest collect job of each study, by the number of the study."""
    query = (
        select(Job)
        .distinct(Job.study_id)
        .where(Job.kind == "collect", Job.study_id.in_([study.id for study in studies]))
        .order_by(Job.study_id, Job.id.desc())
    )
    return {job.study_id: job for job in session.scalars(query)}


def uncollected(session: Session, studies: Sequence[Study]) -> dict[int, Job]:
    """The collect jobs of those studies that have not finished one yet."""
    found = collect_jobs(session, [s for s in studies if "tokens" not in s.coder_info])
    return {number: job for number, job in found.items() if job.status != "finished"}


def can_correct(session: Session, study: Study) -> Job | None:
    """The collect job that a correction queues again; None if the study cannot be corrected.

    It can while it has no latents and its collect job has failed or was cancelled.
    """
    job = collect_jobs(session, [study]).get(study.id)
    if job is None or job.status not in STOPPED or count_latents(session, study):
        return None
    return job


def update_study(session: Session, study: Study, data: StudyUpdate) -> Study:
    """Change a study. Commits the session.

    A correction forgets what the collect job has made so far, and queues it again.

    Raises:
        Conflict: It cannot be corrected any more, as latents are collected or being collected.
        ValidationError, FieldErrors: The corrected study is not well-formed, or cannot work.
        SlugTaken: There is another study of this name.
        NotFound: There is no such simulator.
    """
    session.execute(select(Study.id).where(Study.id == study.id).with_for_update())
    session.refresh(study)
    correction = data.correction()
    if data.simulator_id is not None:
        simulator = get_simulator(session, data.simulator_id)
        # It is not deleted before the study has it.
        session.refresh(simulator, with_for_update={"read": True})
        study.simulator_id = get_simulator(session, simulator.id).id
    if data.title is not None:
        study.title = data.title
    if correction:
        job = can_correct(session, study)
        if job is None:
            session.rollback()
            raise Conflict(
                f"Study {study.slug} cannot be corrected: its collection has not failed. Make a "
                "new study with other settings, and delete this one if you like."
            )
        values = definition(session, study) | _derived_anew(study, correction)
        corrected = checked(StudyCreate.model_validate(values))
        for name, value in corrected.model_dump(exclude=_ORDER).items():
            setattr(study, name, value)
        study.coder_info = {}
        _flush(session, corrected.slug)
        job.params = _order(study, corrected).stored()
        job.state = {"anew": True}
        retry(session, job)
        return study
    session.commit()
    if data.simulator_id is not None:
        tell(study.id, "latents", 0)
    return study


def free_slug(session: Session, slug: str) -> str:
    """A name like another one that no study has: with a number behind it."""
    stem = re.sub(r"-\d+$", "", slug)[:70]
    taken = set(session.scalars(select(Study.slug).where(Study.slug.startswith(stem))))
    return next(name for n in count(2) if (name := f"{stem}-{n}") not in taken)


def use_simulator(session: Session, study: Study, simulator_id: int) -> Study:
    """Have the pages of a study show the figures of another simulator. Commits the session.

    Raises:
        NotFound: There is no such simulator.
    """
    return update_study(session, study, StudyUpdate(simulator_id=simulator_id))


def count_latents(session: Session, study: Study) -> int:
    """The number of latents of the study; 0 until its activations are collected."""
    query = select(func.count()).select_from(Latent).where(Latent.study_id == study.id)
    return session.scalar(query) or 0
