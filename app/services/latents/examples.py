"""Examples of a latent: which there are, and what a simulator makes of an explanation on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ARRAY, Text, and_, any_, bindparam, select
from sqlalchemy.orm import Session, aliased

from app.services.rows import read
from interp.vocabulary import ExampleKind
from models import Calibration, Context, Example, Explanation, Latent, Simulation, Study

KINDS = tuple(ExampleKind)
"""Kinds of examples, in the order in which they are shown."""
RAW_MAX = 9.0
"""Simulated values are expected digits from 0 to this."""
INTERVALS = 5
"""Equal parts of a latent's range of activations, by which examples are grouped."""


class Token(NamedTuple):
    """One token of an example, in the two lanes."""

    text: str
    real: float
    simulated: float | None
    """Raw value, 0 to 9."""
    calibrated: float | None
    """The raw value as an activation, by isotonic calibration."""
    state: str
    """``bos``, ``none`` (not simulated), ``missing`` or ``simulated``."""
    id: int
    """In the subject model's vocabulary."""

    @property
    def difference(self) -> float | None:
        """Calibrated minus real: above 0 where the simulator says too much."""
        return None if self.calibrated is None else self.calibrated - self.real


@dataclass(frozen=True)
class ShownExample:
    kind: str
    rank: int
    context_id: int
    document: str
    start: int
    tokens: list[Token]

    @property
    def peak(self) -> float:
        return max((token.real for token in self.tokens), default=0.0)


class Lane(NamedTuple):
    """The simulated values of one explanation on the contexts of one set, by the study's
    simulator."""

    rows: dict[int, NDArray[np.float32]]
    """Raw values by the context's id, NaN where missing; empty if it is not simulated."""
    calibration_map: tuple[list[float], list[float]] | None
    """Of the isotonic calibration, if it is fitted."""


class Interval(NamedTuple):
    """A part of a latent's range of activations."""

    low: float
    high: float
    share: float | None
    """Of the tokens on which it fires, those with an activation in it; None if not known."""


class Window(NamedTuple):
    """The part of an example that is shown, and the other examples that read the same there."""

    example: ShownExample
    start: int
    stop: int
    copies: list[ShownExample]


# Statements of every latent's page are put together once: that takes as long as running them.
_EXAMPLES = (
    select(
        Example.kind,
        Example.rank,
        Example.activations,
        Context.id,
        Context.document,
        Context.start,
        Context.tokens,
        Context.strings,
    )
    .join(Context, Context.id == Example.context_id)
    .where(
        Example.latent_id == bindparam("latent"),
        Example.kind == any_(bindparam("kinds", type_=ARRAY(Text))),
        Example.rank < bindparam("most"),
    )
)
_OF_EXPLANATION = (
    Simulation.explanation_id == bindparam("explanation"),
    Simulation.simulator_id == bindparam("simulator"),
)
_OF_SET = (*_OF_EXPLANATION, Simulation.set == bindparam("set"))
_SIMULATION = select(Simulation).where(*_OF_SET)
_MAP = (
    select(Calibration.x, Calibration.y)
    .join(Simulation, Simulation.id == Calibration.simulation_id)
    .where(
        *_OF_EXPLANATION,
        Simulation.set == "calibrate",
        Calibration.method == bindparam("method"),
    )
)
_calibrate = aliased(Simulation)
_LANE = (
    select(Simulation.context_ids, Simulation.values, Calibration.x, Calibration.y)
    .outerjoin(
        _calibrate,
        and_(
            _calibrate.explanation_id == Simulation.explanation_id,
            _calibrate.simulator_id == Simulation.simulator_id,
            _calibrate.set == "calibrate",
        ),
    )
    .outerjoin(
        Calibration,
        and_(Calibration.simulation_id == _calibrate.id, Calibration.method == "isotonic"),
    )
    .where(*_OF_SET)
)


def list_examples(
    session: Session,
    study: Study,
    latent: Latent,
    explanation: Explanation | None,
    kinds: Sequence[ExampleKind] = KINDS,
    most: int = 1000,
    lane: Lane | None = None,
) -> list[ShownExample]:
    """Examples of a latent with what the study's simulator makes of an explanation on them.

    Args:
        most: The largest number of each kind, by rank.
        lane: Of a text that is not saved, in place of the explanation's.
    """
    lane = lane or lane_of(session, study, explanation, "explain")
    found = read(session, _EXAMPLES, {"latent": latent.id, "kinds": list(kinds), "most": most})
    shown = [
        ShownExample(
            kind,
            rank,
            context_id,
            document,
            start,
            tokens_of(
                study, activations, ids, strings, lane.rows.get(context_id), lane.calibration_map
            ),
        )
        for kind, rank, activations, context_id, document, start, ids, strings in found
    ]
    return sorted(shown, key=lambda example: (KINDS.index(ExampleKind(example.kind)), example.rank))


def lane_of(session: Session, study: Study, explanation: Explanation | None, set_name: str) -> Lane:
    """The lane of an explanation under the study's simulator; empty where there is none."""
    if explanation is None or study.simulator_id is None:
        return Lane({}, None)
    values = {"explanation": explanation.id, "simulator": study.simulator_id, "set": set_name}
    found = read(session, _LANE, values).first()
    if found is None:
        return Lane({}, None)
    rows = dict(zip(found.context_ids, found.values, strict=True))
    return Lane(rows, (found.x, found.y) if found.x is not None else None)


def get_simulation(
    session: Session, study: Study, explanation: Explanation, set_name: str
) -> Simulation | None:
    """The values that the study's simulator gave an explanation on one set of contexts."""
    values = {"explanation": explanation.id, "simulator": study.simulator_id, "set": set_name}
    return session.scalar(_SIMULATION, values)


def get_calibration_map(
    session: Session, study: Study, explanation: Explanation, method: str = "isotonic"
) -> tuple[list[float], list[float]] | None:
    """The map from raw simulated values to activations, if it is fitted."""
    values = {"explanation": explanation.id, "simulator": study.simulator_id, "method": method}
    found = read(session, _MAP, values).first()
    return (found.x, found.y) if found is not None else None


def tokens_of(
    study: Study,
    activations: Sequence[float],
    ids: Sequence[int],
    strings: Sequence[str],
    values: NDArray[np.float32] | None,
    calibration_map: tuple[list[float], list[float]] | None,
) -> list[Token]:
    """Tokens of a text with a latent's real activations, and the simulated ones if there are any.

    Args:
        ids: Of the tokens, in the subject model's vocabulary.
        values: Raw simulated values; NaN where missing. None if it is not simulated.
        calibration_map: Of the calibration of the simulated values.
    """
    bos = study.first_position
    if values is None:
        return [
            Token(text, real, None, None, "bos" if position < bos else "none", token)
            for position, (text, real, token) in enumerate(
                zip(strings, activations, ids, strict=True)
            )
        ]
    calibrated = (
        np.interp(values, *calibration_map).tolist() if calibration_map else [None] * len(values)
    )
    tokens = []
    for position, (text, real, token, raw, value) in enumerate(
        zip(strings, activations, ids, values.tolist(), calibrated, strict=True)
    ):
        if position < bos:
            tokens.append(Token(text, real, None, None, "bos", token))
        elif raw != raw:  # NaN
            tokens.append(Token(text, real, None, None, "missing", token))
        else:
            tokens.append(Token(text, real, raw, value, "simulated", token))
    return tokens


def bins(latent: Latent, count: int) -> tuple[list[float], bool]:
    """The share of the tokens a latent fires on in equal parts of the range from 0 to its largest.

    Returns:
        The shares, which sum to 1, and whether they are counted. Without a stored histogram, they
        follow from the stored quantiles. Empty for a dead latent.
    """
    if latent.histogram and len(latent.histogram) % count == 0:
        counts = np.array(latent.histogram, float).reshape(count, -1).sum(1)
        return (counts / counts.sum()).tolist(), True
    if not latent.quantiles:
        return [], False
    edges = np.linspace(0, latent.max_activation, count + 1)
    below = np.interp(edges, latent.quantiles, np.linspace(0, 1, len(latent.quantiles)), left=0)
    below[-1] = 1.0
    return np.diff(below).tolist(), False


def intervals(latent: Latent) -> list[Interval]:
    """The parts of a latent's range by which its examples are grouped, strongest first."""
    shares: list[float] | list[None] = bins(latent, INTERVALS)[0] or [None] * INTERVALS
    edges = np.linspace(0, latent.max_activation, INTERVALS + 1).tolist()
    return [Interval(edges[i], edges[i + 1], shares[i]) for i in reversed(range(INTERVALS))]


def by_interval(latent: Latent, examples: list[ShownExample]) -> list[list[ShownExample]]:
    """Examples by the interval of their largest activation, in the order of the intervals.

    As in the histogram, the lower end of an interval belongs to it, and the top to the last.
    """
    groups: list[list[ShownExample]] = [[] for _ in range(INTERVALS)]
    for example in examples:
        part = int(example.peak / latent.max_activation * INTERVALS)
        groups[INTERVALS - 1 - min(part, INTERVALS - 1)].append(example)
    return groups


BEFORE, AFTER = 16, 8
"""Tokens of a snippet before and after its peak."""


def windows(examples: list[ShownExample], *, snippet: bool) -> list[Window]:
    """The shown parts of examples; those that read the same are folded into the first.

    Args:
        snippet: The tokens around the largest activation; the largest simulated one where the
            latent is silent. Otherwise the whole context.
    """
    folded: dict[tuple[str, ...], Window] = {}
    for example in examples:
        start, stop = _around(example) if snippet else (0, len(example.tokens))
        text = tuple(token.text for token in example.tokens[start:stop])
        if text in folded:
            folded[text].copies.append(example)
        else:
            folded[text] = Window(example, start, stop, [])
    return list(folded.values())


def _around(example: ShownExample) -> tuple[int, int]:
    tokens = example.tokens
    values = [token.real for token in tokens]
    if not any(values):
        values = [token.simulated or 0.0 for token in tokens]
    peak = values.index(max(values)) if values else 0
    # A beginning-of-sequence token says nothing where text follows.
    first = 1 if tokens and tokens[0].state == "bos" and peak > 0 else 0
    start = max(first, min(peak - BEFORE, len(tokens) - BEFORE - AFTER - 1))
    return start, min(start + BEFORE + AFTER + 1, len(tokens))
