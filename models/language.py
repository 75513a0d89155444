"""Explanations reworded by rule: which part of them a simulator goes by."""

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Floats, Id, Ids, Json


class LanguageTest(Base):
    """One test of a study's explanations: each variant simulated, and rewritten together."""

    __tablename__ = "language_test"

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"), index=True)
    explanation_ids: Mapped[Ids]
    """The current explanations when it began, or a part of them, drawn at random."""
    context_ids: Mapped[Ids]
    """Of the evaluate set."""
    seed: Mapped[int]
    baselines: Mapped[Json]
    """By condition (``untouched``, ``real_latents``, ``set_zeroed``, of the same set): ``losses``
    and ``kls`` of each context, and the mean ``increase`` and ``kl``, see ``LanguageVariant``."""
    code_version: Mapped[str]
    created_at: Mapped[Created]


class LanguageVariant(Base):
    """The explanations of a test under one variant."""

    __tablename__ = "language_variant"
    __table_args__ = (UniqueConstraint("test_id", "place"),)

    id: Mapped[Id]
    test_id: Mapped[int] = mapped_column(ForeignKey("language_test.id", ondelete="CASCADE"))
    place: Mapped[int]
    """Its place in the order of the test. The original comes first."""
    name: Mapped[str]
    """One of ``Variant``, or the author of texts from a file."""
    given: Mapped[bool]
    """True of texts from a file."""
    latent: Mapped[int]
    text: Mapped[str]
    """An example: a latent's index and its text."""
    explanations: Mapped[int]
    """The number of texts: a file may have none for some latents. These keep the original."""
    nothing_left: Mapped[int]
    """The number of texts of which the rule left nothing, so that the generic sentence stands."""
    missing: Mapped[int]
    """Simulated values on the evaluate set that are missing. There the latent stays real."""
    correlations: Mapped[Floats]
    """Of each explanation of the test, on the calibrate set; NaN where it is not defined, or where
    the file has no text."""
    losses: Mapped[Floats]
    kls: Mapped[Floats]
    """Of each context with all explanations of the test rewritten, isotonic; in nats."""
    figures: Mapped[Json]
    """Each with ``value``, ``low`` and ``high``: the mean ``correlation`` over explanations, the
    share ``kept`` of the original's on the same latents, the ``increase`` of the loss and the
    ``kl`` over contexts, and the share ``recovered`` of the increase by zeroing the same latents.
    What is not defined is None."""
