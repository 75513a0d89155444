"""Drafts: what the study's simulator makes of a text that is not saved."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.latents.examples import KINDS, Lane
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import ExampleKind
from jobs.drafts import DraftAnswer, DraftRequest
from jobs.influence import InfluenceRequest
from models import Latent, Simulator, Study


def is_instant(simulator: Simulator) -> bool:
    """True if the simulator is quick enough to simulate a text while somebody types it."""
    method = SIMULATORS.get(simulator.method)
    return method is not None and method.instant


def draft_request(
    session: Session,
    study: Study,
    latent: Latent,
    text: str,
    kinds: Sequence[ExampleKind] = KINDS,
    *,
    examples_only: bool = False,
) -> DraftRequest:
    """The request to the interactive worker.

    Args:
        text: The draft, cleaned.
        kinds: The examples to simulate.
        examples_only: True to simulate nothing else, for a simulator that is slow.

    Raises:
        Conflict: The study has no simulator, or one that is too slow for the calibrate set.
    """
    _check(session, study, instant=not examples_only)
    return DraftRequest(
        latent=latent.index,
        text=text,
        current_id=latent.explanation_id,
        kinds=tuple(kinds),
        examples_only=examples_only,
    )


def influence_request(
    session: Session, study: Study, latent: Latent, text: str
) -> InfluenceRequest:
    """The request to the interactive worker for the influence of each word.

    Args:
        text: The draft, cleaned.

    Raises:
        Conflict: The study has no simulator, or one that is too slow for it.
    """
    _check(session, study, instant=True)
    return InfluenceRequest(latent=latent.index, text=text)


def _check(session: Session, study: Study, *, instant: bool) -> None:
    simulator = session.get(Simulator, study.simulator_id) if study.simulator_id else None
    if simulator is None:
        raise Conflict(f"Study {study.slug} has no simulator yet, so no draft can be simulated.")
    if instant and not is_instant(simulator):
        raise Conflict(
            f"The study's simulator ({simulator.method}) takes seconds for each text. Simulate the "
            "draft on the examples only, or save it."
        )


def lane_of_draft(answer: DraftAnswer) -> Lane:
    """The lane of a draft on the examples."""
    values = np.array(answer.values, np.float32).reshape(len(answer.values), -1)
    return Lane(dict(zip(answer.context_ids, values, strict=True)), answer.calibration_map)
