"""The exact text that the study's simulator reads of an explanation, word by word."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from interp.simulate.protocol import Ask
from interp.simulate.reads import Reading
from interp.simulate.registry import SIMULATORS
from models import Context, Example, Latent, Simulator, Study


def preview(session: Session, study: Study, latent: Latent, text: str) -> Reading:
    """The text that the simulator reads to predict the latent on its first example.

    Args:
        text: The explanation, cleaned as it is when it is saved.

    Raises:
        Conflict: The study has no simulator yet, or its prompt is of another version.
    """
    simulator = session.get(Simulator, study.simulator_id) if study.simulator_id else None
    if simulator is None:
        raise Conflict(
            f"Study {study.slug} has no simulator yet, so what it will read is not known."
        )
    strings = session.scalar(
        select(Context.strings)
        .join(Example, Example.context_id == Context.id)
        .where(Example.latent_id == latent.id, Example.kind == "top")
        .order_by(Example.rank)
        .limit(1)
    )
    tokens = (strings or [])[study.first_position :] or ["…"]
    try:
        # A simulator that is told an explanation's score so far is told that a new one has none.
        method = SIMULATORS.named(simulator.method)
        return method.reads(simulator.prompt_version, Ask(text), tokens)
    except (OSError, ValueError):
        raise Conflict(
            f"The prompt {simulator.prompt_version} of {simulator.method} is not in this version "
            "of Palimpsest, so it cannot be shown."
        ) from None
