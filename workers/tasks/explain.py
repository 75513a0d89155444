"""Write an explanation of every latent."""

from collections.abc import Iterator

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from interp.contexts import ContextSet
from interp.errors import InputError
from interp.explain import lexical
from models import Explanation, Job, Latent, Study
from workers.jobs import Progress
from workers.queue import publish, submit
from workers.resources import store_of
from workers.tasks.rows import context_strings, first_position

BLOCK = 256
"""Latents explained before the job is saved."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Explain the latents that this explainer has not explained; then queue the simulate job."""
    method = job.params.get("method", "lexical")
    if method != "lexical":
        raise InputError(f"There is no explainer {method!r}; there is 'lexical'.")
    _, strings = context_strings(session, study, ContextSet.EXPLAIN)
    if not strings:
        raise InputError("This study has no activations yet. Run its collect job first.")
    vocabulary = lexical.Vocabulary.of(strings, first_position=first_position(study))
    store = store_of(study, ContextSet.EXPLAIN)
    latents = session.execute(
        select(Latent.id, Latent.index).where(Latent.study_id == study.id).order_by(Latent.index)
    ).all()
    explained = set(
        session.scalars(
            select(Explanation.latent_id)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(Latent.study_id == study.id, Explanation.prompt_version == lexical.VERSION)
        )
    )
    for start in range(0, len(latents), BLOCK):
        block = latents[start : start + BLOCK]
        if all(latent.id in explained for latent in block):
            continue
        activations = store.read(range(block[0].index, block[-1].index + 1))
        for latent, active in zip(block, activations, strict=True):
            explanation = lexical.explain(active, vocabulary)
            if latent.id not in explained and explanation is not None:
                _save(session, latent.id, explanation)
        session.commit()
        publish(study.id, "latents")
        yield Progress(start + len(block), len(latents), "latents", "explaining")
    if first := job.params.get("first_latents"):
        submit(
            session,
            Job(
                study_id=study.id,
                kind="simulate",
                params={"first_latents": first, "then_rewrite": True},
                created_by=job.created_by,
            ),
        )


def _save(session: Session, latent_id: int, explanation: lexical.LexicalExplanation) -> None:
    current = session.scalar(select(Latent.explanation_id).where(Latent.id == latent_id))
    row = Explanation(
        latent_id=latent_id,
        text=explanation.text,
        author_kind="model",
        author="lexical",
        prompt_version=lexical.VERSION,
        parent_id=current,
        details={"coverage": explanation.coverage, "precision": explanation.precision},
    )
    session.add(row)
    session.flush()
    # What somebody has written in the meantime stays the current wording.
    session.execute(
        update(Latent)
        .where(Latent.id == latent_id, Latent.explanation_id.is_(None))
        .values(explanation_id=row.id)
    )
