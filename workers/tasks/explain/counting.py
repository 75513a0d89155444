"""Explain latents by an explainer that asks no language model."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Exists, Row, exists, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.explain.explainer import Counted, Counting, CountLatent
from interp.explain.registry import counting
from interp.vocabulary import ContextSet
from jobs.events import publish
from models import Context, Explanation, Job, Latent, Study
from workers.resources import store_of
from workers.task import Done, Unit
from workers.tasks.explain.add import add
from workers.tasks.explain.explainer import Explainer
from workers.tasks.rows import context_strings

BLOCK = 256
"""Latents explained before the job is saved."""


class Count(Explainer):
    """Explains every latent that this version of the explainer has not explained."""

    counts = "latents"
    _explain: CountLatent | None = None

    @property
    def _entry(self) -> Counting:
        return counting()[self.asked.method]

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """See that there is text to count words in."""
        if not session.scalar(select(Context.id).where(Context.study_id == study.id).limit(1)):
            raise InputError("This study has no activations yet. Run its collect job first.")

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Blocks of latents. One that never fires counts as done: it has no explanation."""
        done = [row.done for row in _latents(session, study, self._entry)]
        return [
            Unit("latents", start, min(start + BLOCK, len(done)), sum(done[start : start + BLOCK]))
            for start in range(0, len(done), BLOCK)
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Explain the latents of a block that are not explained."""
        if self._explain is None:
            _, strings = context_strings(session, study, ContextSet.EXPLAIN)
            self._explain = self._entry.prepare(strings, first_position=study.first_position)
        block = _latents(session, study, self._entry, unit)
        store = store_of(study, ContextSet.EXPLAIN)
        activations = store.read(range(block[0].number, block[-1].number + 1))
        add(
            session,
            [
                _row(latent, explanation, self._entry)
                for latent, active in zip(block, activations, strict=True)
                if not latent.done and (explanation := self._explain(active)) is not None
            ],
        )
        session.commit()
        publish(study.id, "latents")
        return Done("explaining")


def _latents(
    session: Session, study: Study, explainer: Counting, unit: Unit | None = None
) -> Sequence[Row[int, int, int | None, bool]]:
    """The latents of a study in their order, or those of a unit, and which are done."""
    query = (
        select(
            Latent.id,
            Latent.index.label("number"),
            Latent.explanation_id,
            (_explained(explainer) | (Latent.max_activation == 0)).label("done"),
        )
        .where(Latent.study_id == study.id)
        .order_by(Latent.index)
    )
    if unit is not None:
        query = query.offset(unit.start).limit(unit.size)
    return session.execute(query).all()


def _row(
    latent: Row[int, int, int | None, bool], explanation: Counted, explainer: Counting
) -> dict[str, Any]:
    return {
        "latent_id": latent.id,
        "text": explanation.text,
        "author_kind": "model",
        "author": explainer.name,
        "prompt_version": explainer.version,
        "parent_id": latent.explanation_id,
        "details": explanation.details,
    }


def _explained(explainer: Counting) -> Exists:
    """True if an explainer has explained a latent."""
    return exists().where(
        Explanation.latent_id == Latent.id, Explanation.prompt_version == explainer.version
    )
