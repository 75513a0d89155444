"""Write explanations of latents."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Exists, exists, select
from sqlalchemy.orm import Session

from interp.corpus.contexts import ContextSet
from interp.errors import InputError
from interp.explain.explainer import Asking, Counting, Explainer
from interp.explain.registry import EXPLAINERS
from models import Explanation, Job, Latent, Study
from workers.jobs import Progress
from workers.queue import publish, submit
from workers.resources import store_of
from workers.tasks import explain_file, explain_llm
from workers.tasks.explanations import add
from workers.tasks.rows import context_strings, first_position

BLOCK = 256
"""Latents explained before the job is saved."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Explain latents by the job's method; then queue what the job says comes next."""
    method = job.params.get("method", EXPLAINERS.default)
    if method == "file":
        yield from explain_file.run(session, job, study)
    else:
        explainer = EXPLAINERS.named(method)
        if isinstance(explainer, Asking):
            yield from explain_llm.run(session, job, study, explainer)
        elif isinstance(explainer, Counting):
            yield from _count(session, job, study, explainer)
    _follow_up(session, job, study)


def _follow_up(session: Session, job: Job, study: Study) -> None:
    """The next explain job of the list, or the simulate job."""
    following: list[dict[str, Any]] = job.params.get("following", [])
    first = job.params.get("first_latents")
    kept: dict[str, Any] = {k: job.params[k] for k in ("first_latents", "costs") if k in job.params}
    if following:
        params = {**kept, **following[0], "following": following[1:]}
        submit(
            session,
            Job(study_id=study.id, kind="explain", params=params, created_by=job.created_by),
        )
    elif then := job.params.get("then_simulate"):
        params = {**then, "explanation_ids": job.params.get("explained", [])}
        if params["explanation_ids"]:
            _simulate(session, job, params)
    elif first:
        _simulate(session, job, {**kept, "then_rewrite": True})


def _simulate(session: Session, job: Job, params: dict[str, Any]) -> None:
    submit(
        session,
        Job(study_id=job.study_id, kind="simulate", params=params, created_by=job.created_by),
    )


def _count(session: Session, job: Job, study: Study, explainer: Counting) -> Iterator[Progress]:
    """Explain every latent that this version of an explainer has not explained."""
    _, strings = context_strings(session, study, ContextSet.EXPLAIN)
    if not strings:
        raise InputError("This study has no activations yet. Run its collect job first.")
    explain = explainer.prepare(strings, first_position=first_position(study))
    store = store_of(study, ContextSet.EXPLAIN)
    latents = session.execute(
        select(
            Latent.id,
            Latent.index.label("number"),
            Latent.explanation_id,
            (_explained(explainer) | (Latent.max_activation == 0)).label("done"),
        )
        .where(Latent.study_id == study.id)
        .order_by(Latent.index)
    ).all()
    for start in range(0, len(latents), BLOCK):
        block = latents[start : start + BLOCK]
        if all(latent.done for latent in block):
            continue
        activations = store.read(range(block[0].number, block[-1].number + 1))
        add(
            session,
            [
                {
                    "latent_id": latent.id,
                    "text": explanation.text,
                    "author_kind": "model",
                    "author": explainer.name,
                    "prompt_version": explainer.version,
                    "parent_id": latent.explanation_id,
                    "details": explanation.details,
                }
                for latent, active in zip(block, activations, strict=True)
                if not latent.done and (explanation := explain(active)) is not None
            ],
        )
        session.commit()
        publish(study.id, "latents")
        yield Progress(start + len(block), len(latents), "latents", "explaining")


def _explained(explainer: Explainer) -> Exists:
    """Whether an explainer has explained a latent."""
    return exists().where(
        Explanation.latent_id == Latent.id, Explanation.prompt_version == explainer.version
    )
