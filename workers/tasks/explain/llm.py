"""Have a language model explain latents, one after another."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from interp.corpus.contexts import ContextSet
from interp.errors import InputError, ItemError
from interp.explain import answers, prompts
from interp.explain.answers import Explained
from interp.explain.prompts import Shown
from interp.explain.refine import Step, refine
from interp.llm.llm import LLM
from interp.scoring.scores import Scores
from interp.simulate.protocol import Ask, Simulated
from jobs.events import publish
from jobs.params import ExplainParams
from models import Context, Example, Explanation, Job, Latent, Simulator, Study
from models.base import among
from workers.resources import llm_of, real_activations, simulator_of
from workers.task import Done, Unit
from workers.tasks.explain.add import add
from workers.tasks.explain.explainer import Explainer
from workers.tasks.rows import (
    context_strings,
    documents_of,
    fields,
    first_position,
)

SHOWN = ("top", "quantile")
"""Kinds of examples that explainers are shown."""
ROUNDS = 3
"""The most wordings that are tried to refine one."""


class AskModel(Explainer):
    """Explains the job's latents, or all that ever fire; one latent is a unit.

    An answer that is no explanation adds none, and a latent that no prompt can be made of has none:
    each is counted as missing, with its reason in the job's message and log.
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
        llm, method = self._llm(), self.asked.method
        latent = session.scalars(_firing(study, self.asked).filter_by(index=unit.start)).one()
        ids: list[int] = []
        failures: list[str] = []
        read = written = 0
        for one in _until_it_fails(METHODS[method](session, study, llm, latent), failures):
            explained = one.explained if isinstance(one, Step) else one
            if explained is None:
                continue
            read += explained.tokens_read
            written += explained.tokens_written
            if explained.text is None:
                failures.append(explained.failure)
            elif not isinstance(one, Step) or one.kept:
                row = _row(latent, explained, method, llm, one if isinstance(one, Step) else None)
                ids = add(session, [row])
                session.refresh(latent)
        job.state = {
            **job.state,
            "explained_latents": [*job.state.get("explained_latents", []), latent.index],
            "explained": [*job.state.get("explained", []), *ids],
        }
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
    """What an explainer finds of one latent; why it finds no more is added to the failures."""
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
    latent: Latent, explained: Explained, method: str, llm: LLM, step: Step | None
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
        "author": method,
        "prompt_version": {
            "prompted": prompts.PROMPTED,
            "contrastive": prompts.CONTRASTIVE,
            "refine": prompts.REFINE,
        }[method],
        "parent_id": latent.explanation_id,
        "details": details,
    }


def _scores(scores: Scores | None) -> dict[str, Any] | None:
    return fields(scores.correlation) if scores is not None else None


def _examples(session: Session, latent: Latent, *kinds: str) -> list[Shown]:
    """A latent's examples of some kinds, by kind and rank."""
    rows = session.execute(
        select(Context.strings, Example.activations, Example.kind)
        .join(Example, Example.context_id == Context.id)
        .where(Example.latent_id == latent.id, Example.kind.in_(kinds))
        .order_by(Example.rank)
    ).all()
    return [
        Shown(row.strings, row.activations) for kind in kinds for row in rows if row.kind == kind
    ]


def _ask(session: Session, study: Study, llm: LLM, latent: Latent) -> Iterator[Explained | Step]:
    chat = prompts.prompted(
        _examples(session, latent, *SHOWN),
        maximum=latent.max_activation,
        first_position=first_position(study),
    )
    yield from answers.ask(llm, [chat])


def _contrast(
    session: Session, study: Study, llm: LLM, latent: Latent
) -> Iterator[Explained | Step]:
    chat = prompts.contrastive(
        _examples(session, latent, *SHOWN),
        [example.tokens for example in _examples(session, latent, "near_miss")],
        maximum=latent.max_activation,
        first_position=first_position(study),
    )
    yield from answers.ask(llm, [chat])


def _refine(session: Session, study: Study, llm: LLM, latent: Latent) -> Iterator[Explained | Step]:
    """Every wording that is better than the one before becomes a version."""
    simulator_row = session.get(Simulator, study.simulator_id) if study.simulator_id else None
    if simulator_row is None:
        raise InputError("This study has no simulator to refine with. Add one first.")
    if latent.explanation_id is None:
        raise ItemError("it has no explanation to refine")
    simulator, first = simulator_of(simulator_row, study), first_position(study)
    ids, strings = context_strings(session, study, ContextSet.CALIBRATE)
    few = simulator_row.options.get("calibrate_contexts") or len(ids)
    ids, strings = ids[:few], strings[:few]

    def simulate(text: str) -> Simulated:
        (found,) = simulator.simulate(
            [Ask(text, latent=latent.index)], strings, first_position=first
        )
        return found

    yield from refine(
        session.get_one(Explanation, latent.explanation_id).text,
        propose=lambda chat: answers.ask(llm, [chat])[0],
        simulate=simulate,
        strings=strings,
        real=np.asarray(real_activations(study, latent.index, ContextSet.CALIBRATE, len(ids))),
        documents=documents_of(session, ids),
        examples=_examples(session, latent, *SHOWN),
        maximum=latent.max_activation,
        first_position=first,
        rounds=ROUNDS,
        seed=study.seed,
    )


METHODS: dict[str, Callable[[Session, Study, LLM, Latent], Iterator[Explained | Step]]] = {
    "prompted": _ask,
    "contrastive": _contrast,
    "refine": _refine,
}
