"""Latents and their examples in the database."""

from typing import NamedTuple

from sqlalchemy import (
    bindparam,
    exists,
    func,
    select,
)
from sqlalchemy.orm import Session, joinedload

from app.services.errors import NotFound
from app.services.latents.filter_schemas import by_name
from app.services.rows import array_of, read
from app.services.studies.queries import get_study
from models import (
    Calibration,
    Example,
    Explanation,
    Latent,
    LatentList,
    LatentListItem,
    Score,
    Simulation,
    Study,
)

_BY_INDEX = select(Latent).where(
    Latent.study_id == bindparam("study"), Latent.index == bindparam("index")
)


# One statement instead of two: making one takes longer than answering it.
_STUDY_AND_LATENT = (
    select(Study, Latent)
    .options(joinedload(Study.simulator))
    .outerjoin(Latent, (Latent.study_id == Study.id) & (Latent.index == bindparam("index")))
    .where(Study.slug == bindparam("slug"))
)


def study_and_latent(session: Session, slug: str, index: int) -> tuple[Study, Latent]:
    """A study, and one latent of it.

    Raises:
        NotFound: There is no such study, or it has no latent of this index.
    """
    found = session.execute(_STUDY_AND_LATENT, {"slug": slug, "index": index}).first()
    if found is not None and found[1] is not None:
        return found[0], found[1]
    study = get_study(session, slug)
    return study, get_latent(session, study, index)


def get_latent(session: Session, study: Study, index: int) -> Latent:
    """One latent of a study.

    Raises:
        NotFound: The study has none of this index.
    """
    latent = session.scalar(_BY_INDEX, {"study": study.id, "index": index})
    if latent is not None:
        return latent
    count, last = session.execute(
        select(func.count(), func.max(Latent.index)).where(Latent.study_id == study.id)
    ).one()
    if not count:
        raise NotFound(
            f"There is no latent {index} in study {study.slug} yet: its activations are still to "
            "be collected. The study's page shows how far that is."
        )
    raise NotFound(
        f"There is no latent {index} in study {study.slug}: it has {count:,} (0 to {last:,})."
    )


class Around(NamedTuple):
    """The data around a latent's page."""

    before: int | None
    after: int | None
    """Indices of its neighbours in the list of all latents by index."""
    lists: list[str]
    """Names of the lists it is on; the starred ones first."""
    examples: dict[str, int]
    """How many it has of each kind."""


_THERE = Latent.study_id == bindparam("study")
_by_kind = (
    select(Example.kind, func.count().label("count"))
    .where(Example.latent_id == bindparam("latent"))
    .group_by(Example.kind)
    .subquery()
)
# One statement for all of it, as making a statement takes longer than answering this one.
_AROUND = select(
    select(func.max(Latent.index))
    .where(_THERE, Latent.index < bindparam("index"))
    .scalar_subquery(),
    select(func.min(Latent.index))
    .where(_THERE, Latent.index > bindparam("index"))
    .scalar_subquery(),
    array_of(
        select(LatentList.name)
        .join(LatentListItem, LatentListItem.list_id == LatentList.id)
        .where(LatentListItem.latent_id == bindparam("latent"))
    ),
    select(func.jsonb_object_agg(_by_kind.c.kind, _by_kind.c.count)).scalar_subquery(),
)


def around(session: Session, study: Study, latent: Latent) -> Around:
    """Read the data around a latent's page."""
    values = {"study": study.id, "latent": latent.id, "index": latent.index}
    before, after, lists, examples = read(session, _AROUND, values).one()
    return Around(before, after, by_name(lists), examples or {})


def simulated_explanations(session: Session, study: Study) -> list[int]:
    """Current explanations that can stand in for their latents, best correlation first.

    They have been simulated by the study's simulator, and calibrated on that.
    """
    calibrated = exists().where(
        Simulation.explanation_id == Explanation.id,
        Simulation.simulator_id == study.simulator_id,
        Simulation.set == "calibrate",
        Calibration.simulation_id == Simulation.id,
    )
    query = (
        select(Explanation.id)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .outerjoin(
            Score,
            (Score.explanation_id == Explanation.id)
            & (Score.simulator_id == study.simulator_id)
            & (Score.name == "correlation"),
        )
        .where(Latent.study_id == study.id, calibrated)
        .order_by(Score.value.desc().nulls_last(), Latent.index)
    )
    return list(session.scalars(query))
