"""Rows that are inserted by COPY."""

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Context, Example, Study
from tests.factories import little_study
from tests.reading import latent_of
from workers.copying import array_text, copy_rows
from workers.tasks.collect.latents import EXAMPLES


@pytest.fixture
def study(db: Session) -> Study:
    """Made up of a few rows."""
    return little_study(db)


def test_examples_are_copied_to_the_last_bit(db: Session, study: Study) -> None:
    latent = latent_of(db, study, 4)
    context = db.scalars(select(Context.id).filter_by(study_id=study.id)).first()
    values = np.array([0, 1 / 3, 1e-30, 12345.678, 16777217, np.nextafter(1, 2)], np.float32)
    copy_rows(
        db,
        Example,
        ("latent_id", "context_id", "kind", "rank", "activations"),
        [(latent.id, context, "top", 90 + rank, array_text(values)) for rank in range(2)],
    )
    found = db.scalars(select(Example).filter_by(latent_id=latent.id).where(Example.rank >= 90))
    rows = list(found)
    assert [row.rank for row in rows] == [90, 91]
    for row in rows:
        assert np.array_equal(np.array(row.activations, np.float32), values)
    db.rollback()


def test_as_many_examples_as_the_field_shows() -> None:
    assert EXAMPLES["top"] >= 20
