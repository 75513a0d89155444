"""One vocabulary: every term says what it means, and tables hold no other words."""

import re

import pytest
from sqlalchemy import CheckConstraint

from interp.scoring.scorer import Scorer
from interp.vocabulary import (
    VOCABULARY,
    AuthorKind,
    Breadth,
    CalibrationMethod,
    ContextSet,
    Dtype,
    ExampleKind,
    Protocol,
    Role,
    ScoreName,
    Term,
    TokenScope,
)
from jobs.status import ACTIVE, ENDED, Status
from models import Base

CHECKED: dict[str, type[Term]] = {
    "explanation.author_kind": AuthorKind,
    "study.dtype": Dtype,
    "simulation.set": ContextSet,
    "context.set": ContextSet,
    "calibration.method": CalibrationMethod,
    "rewrite.protocol": Protocol,
    "rewrite_point.breadth": Breadth,
    "example.kind": ExampleKind,
    "job.status": Status,
    "user.role": Role,
    "api_token.scope": TokenScope,
}


@pytest.mark.parametrize("terms", [*VOCABULARY, Status])
def test_every_term_has_a_label_and_a_meaning(terms: type[Term]) -> None:
    assert terms.__doc__
    labels = [term.label for term in terms]
    assert all(labels) and len(set(labels)) == len(labels)
    assert all(term.meaning for term in terms)


def test_tables_take_the_terms_and_nothing_else() -> None:
    found = {
        str(constraint.name).replace(f"ck_{table.name}_", f"{table.name}."): set(
            re.findall(r"'([^']*)'", str(constraint.sqltext))
        )
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert found == {column: set(map(str, terms)) for column, terms in CHECKED.items()}


def test_scorers_make_scores() -> None:
    assert set(map(str, Scorer)) < set(map(str, ScoreName))


def test_a_job_is_active_or_has_ended() -> None:
    assert {*ACTIVE, *ENDED} == set(Status) and not {*ACTIVE} & {*ENDED}
