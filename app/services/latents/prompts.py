"""The prompts of the explainers for a latent, exactly as the language model gets them."""

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.explain.explainer import LatentRecord
from interp.explain.prompts import READ, Shown
from interp.explain.registry import asking
from interp.llm.llm import Message
from models import Context, Example, Latent, Study


class Prompt(NamedTuple):
    """The prompt of an explainer for a latent."""

    version: str
    chat: list[Message]
    problem: str
    """Why there is nothing to ask; empty if there is."""


def prompts(session: Session, study: Study, latent: Latent) -> list[Prompt]:
    """The prompts of the explainers that ask a language model, for a latent, word by word."""
    found = session.execute(
        select(Example.kind, Example.activations, Context.strings)
        .join(Context, Context.id == Example.context_id)
        .where(Example.latent_id == latent.id, Example.kind.in_(READ))
        .where(Example.rank < max(READ.values()))
        .order_by(Example.rank)
    ).all()
    examples: dict[str, list[Shown]] = {}
    for row in found:
        shown = examples.setdefault(row.kind, [])
        if len(shown) < READ[row.kind]:
            shown.append(Shown(row.strings, row.activations))
    record = LatentRecord(
        index=latent.index,
        maximum=latent.max_activation,
        first_position=study.first_position,
        examples=examples,
    )
    asked = []
    for explainer in asking().values():
        if explainer.prompt is None:
            continue
        try:
            asked.append(Prompt(explainer.version, explainer.prompt(record), ""))
        except InputError as error:
            asked.append(Prompt(explainer.version, [], str(error)))
    return asked
