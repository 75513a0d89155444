"""Write an explanation of every latent."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Exists, exists, insert, select, update
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
        select(
            Latent.id,
            Latent.index.label("number"),
            Latent.explanation_id,
            (_explained() | (Latent.max_activation == 0)).label("done"),
        )
        .where(Latent.study_id == study.id)
        .order_by(Latent.index)
    ).all()
    for start in range(0, len(latents), BLOCK):
        block = latents[start : start + BLOCK]
        if all(latent.done for latent in block):
            continue
        activations = store.read(range(block[0].number, block[-1].number + 1))
        _save(
            session,
            [
                {
                    "latent_id": latent.id,
                    "text": explanation.text,
                    "author_kind": "model",
                    "author": "lexical",
                    "prompt_version": lexical.VERSION,
                    "parent_id": latent.explanation_id,
                    "details": {
                        "coverage": explanation.coverage,
                        "precision": explanation.precision,
                    },
                }
                for latent, active in zip(block, activations, strict=True)
                if not latent.done
                and (explanation := lexical.explain(active, vocabulary)) is not None
            ],
        )
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


def _explained() -> Exists:
    """Whether this explainer has explained a latent."""
    return exists().where(
        Explanation.latent_id == Latent.id, Explanation.prompt_version == lexical.VERSION
    )


def _save(session: Session, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    ids = session.scalars(insert(Explanation).returning(Explanation.id), rows).all()
    # What somebody has written in the meantime stays the current wording.
    session.execute(
        update(Latent)
        .where(
            Latent.id == Explanation.latent_id,
            Explanation.id.in_(ids),
            Latent.explanation_id.is_(None),
        )
        .values(explanation_id=Explanation.id)
        .execution_options(synchronize_session=False)
    )
