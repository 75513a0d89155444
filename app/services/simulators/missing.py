"""Simulated values that could not be had."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Integer, any_, bindparam, cast, func, select, true
from sqlalchemy.orm import Session

from models import Simulation, Study


class Missing(NamedTuple):
    """Simulated values that could not be had."""

    missing: int
    values: int
    """Of how many; beginning-of-sequence tokens do not count."""
    reasons: dict[str, int]
    """Why, with how many for each reason; the most frequent first."""

    @property
    def share(self) -> float | None:
        """None where nothing is simulated."""
        return self.missing / self.values if self.values else None


# As an array: a job may be about thousands of explanations.
_SIMULATIONS = (
    Simulation.explanation_id == any_(bindparam("explanations", type_=ARRAY(BigInteger))),
    Simulation.simulator_id == bindparam("simulator"),
)
_MISSING = select(
    func.coalesce(func.sum(Simulation.missing), 0),
    func.coalesce(func.sum(func.cardinality(Simulation.context_ids)), 0),
).where(*_SIMULATIONS)


def missing_values(
    session: Session, study: Study, explanation_ids: Sequence[int], simulator_id: int | None
) -> Missing:
    """What a simulator gave no value for in its simulations of some explanations."""
    values = {"explanations": list(explanation_ids), "simulator": simulator_id}
    missing, contexts = session.execute(_MISSING, values).one()
    reasons = _reasons(session, values) if missing else {}
    return Missing(missing, contexts * simulated_tokens(study), reasons)


def _reasons(session: Session, values: dict[str, Any]) -> dict[str, int]:
    each = func.jsonb_each_text(Simulation.failures).table_valued("key", "value").lateral()
    count = func.sum(cast(each.c.value, Integer))
    query = (
        select(each.c.key, count)
        .select_from(Simulation)
        .join(each, true())
        .where(*_SIMULATIONS)
        .group_by(each.c.key)
        .order_by(count.desc(), each.c.key)
    )
    return {reason: int(number) for reason, number in session.execute(query, values)}


def simulated_tokens(study: Study) -> int:
    """Tokens of a context that are simulated: all but the first ones that are left out."""
    return study.context_length - study.first_position
