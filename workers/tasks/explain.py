"""Write explanations of latents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Exists, exists, select
from sqlalchemy.orm import Session

from interp.contexts import ContextSet
from interp.errors import InputError
from interp.explain import lexical
from models import Explanation, Job, Latent, Study
from workers.jobs import Progress
from workers.queue import publish, submit
from workers.resources import store_of
from workers.tasks import explain_llm
from workers.tasks.explanations import add
from workers.tasks.rows import context_strings, first_position

BLOCK = 256
"""Latents explained before the job is saved."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Explain latents by the job's method; then queue what the job says comes next."""
    method = job.params.get("method", "lexical")
    match method:
        case "lexical":
            yield from _lexical(session, job, study)
        case "file":
            yield from _from_file(session, job, study)
        case "prompted" | "contrastive" | "refine":
            yield from explain_llm.run(session, job, study, method)
        case _:
            raise InputError(f"There is no explainer {method!r}.")
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


def _lexical(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Explain every latent that this version of the lexical explainer has not explained."""
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
        add(
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
                        name: value
                        for name, value in (
                            ("coverage", explanation.coverage),
                            ("precision", explanation.precision),
                        )
                        if value is not None
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


def _from_file(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Add explanations that were written elsewhere: JSON lines with ``latent``, ``text``,
    ``author`` and, if they have one, ``prompt_version``.

    Raises:
        InputError: A line is not like that, or is of a latent that the study does not have.
    """
    path = Path(job.params["path"])
    rows = _read(path)
    latents = {
        latent.index: latent
        for latent in session.scalars(select(Latent).where(Latent.study_id == study.id))
    }
    if unknown := [row["latent"] for row in rows if row["latent"] not in latents]:
        raise InputError(f"{path.name} explains latent {unknown[0]}, which the study has not.")
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        there = set(
            session.execute(
                select(Explanation.latent_id, Explanation.text, Explanation.author).where(
                    Explanation.latent_id.in_([latents[row["latent"]].id for row in block])
                )
            ).tuples()
        )
        add(
            session,
            [
                {
                    "latent_id": latents[row["latent"]].id,
                    "text": row["text"],
                    "author_kind": "model",
                    "author": row["author"],
                    "prompt_version": row["prompt_version"],
                    "parent_id": latents[row["latent"]].explanation_id,
                    "details": {},
                }
                for row in block
                if (latents[row["latent"]].id, row["text"], row["author"]) not in there
            ],
        )
        session.commit()
        publish(study.id, "latents")
        yield Progress(start + len(block), len(rows), "explanations", f"reading {path.name}")


class Written(BaseModel):
    """A line of a file of explanations."""

    latent: int = Field(ge=0)
    text: str = Field(pattern=r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$", max_length=2000)
    author: str = Field(min_length=1, max_length=200)
    prompt_version: str | None = None


def _read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        try:
            rows.append(Written.model_validate_json(line).model_dump())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{path.name}, line {number}, is no explanation: {where}: {first['msg']}."
            ) from None
    return rows


def _explained() -> Exists:
    """Whether this explainer has explained a latent."""
    return exists().where(
        Explanation.latent_id == Latent.id, Explanation.prompt_version == lexical.VERSION
    )
