"""Explanations, and what simulators make of them."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Computed,
    ForeignKey,
    Index,
    UniqueConstraint,
    and_,
    case,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Floats, Id, Ids, Json, Matrix

MARKS = "“”‘’…–—"
PLAIN = f"translate(text, '{MARKS}', '{' ' * len(MARKS)}')"
"""An explanation's text for search by words. In a database whose locale is C, as the embedded one's
is, PostgreSQL takes whatever is not ASCII for letters: “state” with its marks would be one word."""


class Explanation(Base):
    """One version of a latent's text. Never changed: a new text is a new row."""

    __tablename__ = "explanation"
    __table_args__ = (
        CheckConstraint("author_kind IN ('person', 'model')", name="author_kind"),
        Index(None, "words", postgresql_using="gin"),
        Index(None, "author", "latent_id"),
        Index(
            "ix_explanation_by_person",
            "latent_id",
            postgresql_where=sql("author_kind = 'person'"),
        ),
    )

    id: Mapped[Id]
    latent_id: Mapped[int] = mapped_column(ForeignKey("latent.id", ondelete="CASCADE"), index=True)
    text: Mapped[str]
    author_kind: Mapped[str]
    author: Mapped[str]
    """A person's name, or the explainer that wrote it, such as ``lexical``."""
    prompt_version: Mapped[str | None]
    """Version of the explainer's prompt or rules; None for a person."""
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("explanation.id", ondelete="SET NULL"), index=True
    )
    """The version that was current when this one was written."""
    details: Mapped[Json] = mapped_column(default=dict)
    """What its author says of it. A lexical one gives ``coverage``, the share of the latent's
    activation that falls on the words it names, and ``precision``, the share of these words'
    tokens on which the latent is active. A language model's gives ``model``, ``tokens_read``,
    ``tokens_written`` and ``seconds``. One of a file gives ``imported_by``: who brought it in; the
    author is then as the file says. One of another tool's results gives ``origin``, its ``model``
    and the ``scores`` that the tool measured (:mod:`interp.exchange`)."""
    created_at: Mapped[Created]
    words: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            f"to_tsvector('english', {PLAIN}) || to_tsvector('simple', {PLAIN})", persisted=True
        ),
        deferred=True,
    )
    """For search by words: their stems, and how they are written, for those that are only begun."""

    @hybrid_property
    def imported_by(self) -> str | None:
        """The importer of an explanation whose file names another person. None for others."""
        by: str | None = self.details.get("imported_by")
        return by if self.author_kind == "person" and by != self.author else None

    @imported_by.inplace.expression
    @classmethod
    def _imported_by(cls) -> ColumnElement[str | None]:
        by = cls.details["imported_by"].astext
        return case((and_(cls.author_kind == "person", by != cls.author), by))


class Comment(Base):
    """A person's comment on one version of a latent's text."""

    __tablename__ = "comment"

    id: Mapped[Id]
    explanation_id: Mapped[int] = mapped_column(
        ForeignKey("explanation.id", ondelete="CASCADE"), index=True
    )
    author: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[Created]


class Simulator(Base):
    """A way to turn an explanation and a text into activations."""

    __tablename__ = "simulator"
    __table_args__ = (UniqueConstraint("method", "model", "prompt_version", "options"),)

    id: Mapped[Id]
    method: Mapped[str]
    model: Mapped[str]
    """The language model it runs on: a folder, a .gguf file, a hub name, or a server's name for
    it."""
    prompt_version: Mapped[str]
    options: Mapped[Json] = mapped_column(default=dict)
    """``backend`` (transformers, vllm, openai) and ``base_url`` of a prompted one; ``folder`` of a
    trained one; ``show_score``; ``calibrate_contexts``, if it is calibrated on fewer than all."""
    training: Mapped[Json] = mapped_column(default=dict, deferred=True)
    """What a trained one was trained on, as its ``simulator.json`` says; empty for a prompted one.
    It names thousands of latents, so it is loaded where it is read."""
    deleted_at: Mapped[datetime | None]
    """Set once a person deleted it: no page shows it any more, and a worker removes what it made.
    """
    created_at: Mapped[Created]


class Simulation(Base):
    """A simulator's values for one explanation on the contexts of one set.

    Values are raw: expected digits between 0 and 9, before calibration.
    """

    __tablename__ = "simulation"
    __table_args__ = (
        UniqueConstraint("explanation_id", "simulator_id", "set"),
        Index(
            "ix_simulation_missing",
            "simulator_id",
            "explanation_id",
            postgresql_where=sql("missing > 0"),
        ),
        CheckConstraint("set IN ('explain', 'calibrate', 'evaluate')", name="set"),
    )

    id: Mapped[Id]
    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanation.id", ondelete="CASCADE"))
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"), index=True)
    set: Mapped[str]
    """``explain`` holds the contexts of the latent's examples; the others hold the whole set."""
    context_ids: Mapped[Ids]
    values: Mapped[NDArray[np.float32]] = mapped_column(Matrix)
    """One row a context, one value a token; NaN where the simulation is missing."""
    missing: Mapped[int]
    """How many values are missing, not counting the beginning-of-sequence tokens."""
    failures: Mapped[Json] = mapped_column(default=dict)
    """Why they are missing, with how many for each reason."""
    tokens_read: Mapped[int]
    """Tokens the simulator's language model read for this."""
    tokens_written: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float]
    code_version: Mapped[str]
    created_at: Mapped[Created]


class Calibration(Base):
    """A map from raw simulated values to activations, fitted on a calibrate-set simulation."""

    __tablename__ = "calibration"
    __table_args__ = (
        UniqueConstraint("simulation_id", "method"),
        CheckConstraint("method IN ('none', 'linear', 'quantile', 'isotonic')", name="method"),
    )

    id: Mapped[Id]
    simulation_id: Mapped[int] = mapped_column(ForeignKey("simulation.id", ondelete="CASCADE"))
    method: Mapped[str]
    x: Mapped[Floats]
    """Raw simulated values of the map's knots, ascending."""
    y: Mapped[Floats]
    """Activation at each knot; the map is linear between knots and constant beyond them."""
    tokens: Mapped[int]
    """How many tokens it was fitted on."""
    created_at: Mapped[Created]


class Score(Base):
    """A score of one explanation on the calibrate set: how well it predicts its latent."""

    __tablename__ = "score"
    __table_args__ = (
        UniqueConstraint("explanation_id", "simulator_id", "name"),
        Index(None, "simulator_id", "name", "value", "explanation_id"),
    )

    id: Mapped[Id]
    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanation.id", ondelete="CASCADE"))
    simulator_id: Mapped[int | None] = mapped_column(ForeignKey("simulator.id"))
    """None for a language model's scores, whose details name the model; the newest counts."""
    name: Mapped[str]
    """``correlation``, ``explained_variance``, ``sensitivity``, ``specificity``, ``f1``, ``auroc``;
    ``detection`` or ``fuzzing`` (balanced accuracy of a language model's answers)."""
    value: Mapped[float | None]
    """None where it is not defined, as for a latent that never fires in the calibrate set."""
    low: Mapped[float | None]
    high: Mapped[float | None]
    """Bounds of the bootstrap 95% interval."""
    n: Mapped[int]
    """Tokens it was computed on."""
    details: Mapped[Json] = mapped_column(default=dict)
    """``active``: tokens that the latent is active on; ``random_baseline``: the mean of the same
    score over ``random_baseline_of`` explanations of other latents."""
    created_at: Mapped[Created]
