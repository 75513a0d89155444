"""Embed explanations, so that they can be found by their meaning."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from sqlalchemy.orm import Session

from interp.embedding.embed import MODEL
from interp.errors import InputError
from jobs.events import publish
from jobs.params import EmbedParams
from models import Explanation, Job, Study
from workers.task import Done, Task, Unit, remember
from workers.tasks.vectors import lacking, save, vectors_of

BLOCK = 512
"""Explanations embedded before the job is saved."""


class Embed(Task):
    """Embeds the current explanations of a study that have no vector, in the order of writing.

    A unit is the explanations between two ids. The job looks the ids up when it begins, because
    later explanations get their vectors at once, or by a later job.
    """

    counts = "explanations"

    def __init__(self, asked: EmbedParams) -> None:
        self.asked = asked

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Cut what lacks a vector into blocks, once: first id, last id and number of each."""
        if "blocks" in job.state:
            return
        ids = session.scalars(lacking(study).with_only_columns(Explanation.id)).all()
        parts = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
        blocks = [[part[0], part[-1], len(part)] for part in parts]
        remember(session, job, blocks=blocks)
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """One block after another."""
        ids = session.scalars(lacking(study).with_only_columns(Explanation.id)).all()
        blocks: list[list[int]] = job.state["blocks"]
        units = []
        for (first, last, size), stop in zip(
            blocks, accumulate(size for *_, size in blocks), strict=True
        ):
            left = bisect_right(ids, last) - bisect_left(ids, first)
            units.append(Unit("explanations", stop - size, stop, max(0, size - left)))
        return units

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Embed what of a block has no vector yet."""
        first, last, _ = job.state["blocks"][unit.start // BLOCK]
        rows = session.execute(lacking(study).where(Explanation.id.between(first, last))).all()
        vectors = vectors_of([row.text for row in rows])
        if vectors is None:
            raise InputError(f"The model is not here: run `palimpsest fetch {MODEL}` once.")
        if rows:
            save(session, [row.id for row in rows], vectors)
        session.commit()
        return Done("embedding")

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Tell the pages."""
        publish(study.id, "latents")
