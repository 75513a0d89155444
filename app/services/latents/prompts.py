"""The prompts of the explainers for a latent, exactly as the language model gets them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.explain.prompts import CONTRASTIVE, PROMPTED, Shown, contrastive, prompted
from interp.llm.llm import Message
from models import Context, Example, Latent, Study


class Prompt(NamedTuple):
    """The prompt of an explainer for a latent."""

    version: str
    chat: list[Message]
    problem: str
    """Why there is nothing to ask; empty if there is."""


def prompts(session: Session, study: Study, latent: Latent) -> list[Prompt]:
    """The prompts of the prompted and the contrastive explainer for a latent, word by word."""
    found = session.execute(
        select(Example.kind, Example.activations, Context.strings)
        .join(Context, Context.id == Example.context_id)
        .where(Example.latent_id == latent.id)
        .order_by(Example.rank)
    ).all()
    shown = [
        Shown(row.strings, row.activations)
        for kind in ("top", "quantile")
        for row in found
        if row.kind == kind
    ]
    silent = [row.strings for row in found if row.kind == "near_miss"]
    asks: dict[str, Callable[..., list[Message]]] = {
        PROMPTED: prompted,
        CONTRASTIVE: partial(contrastive, near_misses=silent),
    }
    asked = []
    for version, ask in asks.items():
        try:
            chat = ask(
                shown, maximum=latent.max_activation, first_position=1 if study.prepend_bos else 0
            )
            asked.append(Prompt(version, chat, ""))
        except InputError as error:
            asked.append(Prompt(version, [], str(error)))
    return asked
