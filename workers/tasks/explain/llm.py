"""Have a language model explain latents, one after another."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from interp.errors import InputError, ItemError
from interp.explain.answers import Explained
from interp.explain.explainer import Asking, LatentRecord, Trial
from interp.explain.prompts import READ, Shown
from interp.explain.refine import Step
from interp.explain.registry import asking
from interp.llm.llm import LLM
from interp.scoring.scores import Scores
from interp.simulate.protocol import Ask, Simulated
from interp.vocabulary import ContextSet
from jobs.events import publish
from jobs.params import ExplainParams
from models import Context, Example, Explanation, Job, Latent, Simulator, Study
from models.base import among
from workers.resources import llm_of, real_activations, simulator_of
from workers.task import Done, Unit, remember
from workers.tasks.explain.add import add
from workers.tasks.explain.explainer import Explainer
from workers.tasks.rows import (
    context_strings,
    documents_of,
    fields,
)

"""Kinds of examples that explainers may be shown."""


class AskModel(Explainer):
    """Explains the job's latents, or all that ever fire. One latent is a unit.

    An answer that is no explanation adds none. A latent from which no prompt can be made has none.
    The job counts each as missing, with its reason in its message and log.
    """

    counts = "latents"

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """See that there is a language model to ask."""
        self._llm()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """One latent after another."""
        done = set(job.state.get("explained_latents", []))
        indices = session.scalars(_firing(study, self.asked).with_only_columns(Latent.index)).all()
        if not indices:
            raise InputError("None of these latents ever fires, so there is nothing to explain.")
        return [Unit("latent", index, index + 1, int(index in done)) for index in indices]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Explain one latent, or note why there is no explanation."""
        if unit.start in job.state.get("explained_latents", []):
            return Done()
        llm, explainer = self._llm(), asking()[self.asked.method]
        latent = session.scalars(_firing(study, self.asked).filter_by(index=unit.start)).one()
        ids: list[int] = []
        failures: list[str] = []
        read = written = 0
        for one in _until_it_fails(
            explainer.explain(_record(session, study, latent), llm), failures
        ):
            explained = one.explained if isinstance(one, Step) else one
            if explained is None:
                continue
            read += explained.tokens_read
            written += explained.tokens_written
            if explained.text is None:
                failures.append(explained.failure)
            elif not isinstance(one, Step) or one.kept:
                row = _row(
                    latent, explained, explainer, llm, one if isinstance(one, Step) else None
                )
                ids = add(session, [row])
                session.refresh(latent)
        remember(
            session,
            job,
            explained_latents=[*job.state.get("explained_latents", []), latent.index],
            explained=[*job.state.get("explained", []), *ids],
        )
        session.commit()
        publish(study.id, "latent", latent.id)
        why = f": no explanation ({failures[0]})" if failures and not ids else ""
        return Done(f"latent {latent.index}{why}", int(bool(why)), read, written)

    def _llm(self) -> LLM:
        llm = self.asked.llm
        if llm is None or not llm.model:
            raise InputError(
                f"The explainer {self.asked.method!r} needs a language model: say which."
            )
        return llm_of(llm.model_dump(), llm.model)


def _until_it_fails(
    found: Iterator[Explained | Step], failures: list[str]
) -> Iterator[Explained | Step]:
    """The explanations that an explainer finds of one latent. Notes an error among the failures."""
    try:
        yield from found
    except ItemError as error:
        failures.append(str(error))


def _firing(study: Study, asked: ExplainParams) -> Select[Latent]:
    """The latents to explain, in their order."""
    wanted = select(Latent).where(Latent.study_id == study.id, Latent.max_activation > 0)
    if asked.latents is not None:
        wanted = wanted.where(among(Latent.index, asked.latents))
    return wanted.order_by(Latent.index)


def _row(
    latent: Latent, explained: Explained, explainer: Asking, llm: LLM, step: Step | None
) -> dict[str, Any]:
    details: dict[str, Any] = {
        "model": llm.name,
        "answer": explained.answer,
        "tokens_read": explained.tokens_read,
        "tokens_written": explained.tokens_written,
        "seconds": explained.seconds,
    }
    if step is not None:
        details |= {"selection": _scores(step.selection), "held_out": _scores(step.held_out)}
    return {
        "latent_id": latent.id,
        "text": explained.text,
        "author_kind": "model",
        "author": explainer.name,
        "prompt_version": explainer.version,
        "parent_id": latent.explanation_id,
        "details": details,
    }


def _scores(scores: Scores | None) -> dict[str, Any] | None:
    return fields(scores.correlation) if scores is not None else None


def _record(session: Session, study: Study, latent: Latent) -> LatentRecord:
    """The facts of a latent that explainers read."""
    return LatentRecord(
        index=latent.index,
        maximum=latent.max_activation,
        first_position=study.first_position,
        examples=_examples(session, latent),
        explanation=session.get_one(Explanation, latent.explanation_id).text
        if latent.explanation_id is not None
        else None,
        trial=lambda: _trial(session, study, latent),
    )


def _examples(session: Session, latent: Latent) -> dict[str, list[Shown]]:
    """A latent's examples by kind, in the order of their ranks."""
    rows = session.execute(
        select(Context.strings, Example.activations, Example.kind)
        .join(Example, Example.context_id == Context.id)
        .where(
            Example.latent_id == latent.id,
            Example.kind.in_(READ),
            Example.rank < max(READ.values()),
        )
        .order_by(Example.rank)
    )
    found: dict[str, list[Shown]] = {kind: [] for kind in READ}
    for row in rows:
        if len(found[row.kind]) < READ[row.kind]:
            found[row.kind].append(Shown(row.strings, row.activations))
    return found


def _trial(session: Session, study: Study, latent: Latent) -> Trial:
    """The calibrate contexts, and the study's simulator."""
    row = session.get(Simulator, study.simulator_id) if study.simulator_id else None
    if row is None:
        raise InputError("This study has no simulator to refine with. Add one first.")
    simulator, first = simulator_of(row, study), study.first_position
    ids, strings = context_strings(session, study, ContextSet.CALIBRATE)
    few = row.options.get("calibrate_contexts") or len(ids)
    ids, strings = ids[:few], strings[:few]

    def simulate(text: str) -> Simulated:
        (found,) = simulator.simulate(
            [Ask(text, latent=latent.index)], strings, first_position=first
        )
        return found

    return Trial(
        simulate,
        strings,
        documents_of(session, ids),
        np.asarray(real_activations(study, latent.index, ContextSet.CALIBRATE, len(ids))),
        study.seed,
    )
