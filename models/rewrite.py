"""Evaluations of the layer with some of its latents simulated."""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Floats, Id, Ids


class Rewrite(Base):
    """One evaluation on the evaluate set: which explanations, in which order, where spliced."""

    __tablename__ = "rewrite"
    __table_args__ = (CheckConstraint("positions IN ('all', 'last')", name="positions"),)

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"))
    positions: Mapped[str]
    """``all``: every token of a context is spliced; ``last``: only its last input token."""
    explanation_ids: Mapped[Ids]
    """One explanation a latent, in the order in which latents are rewritten."""
    counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """Numbers of latents rewritten, one for each point of a line."""
    context_ids: Mapped[Ids]
    seed: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("rewrite.id"))
    """The rewrite that this one repeats with one explanation changed."""
    finished: Mapped[bool] = mapped_column(default=False)
    code_version: Mapped[str]
    created_at: Mapped[Created]


class RewritePoint(Base):
    """The loss of one condition at one number of latents rewritten."""

    __tablename__ = "rewrite_point"
    __table_args__ = (UniqueConstraint("rewrite_id", "condition", "calibration", "count"),)

    id: Mapped[Id]
    rewrite_id: Mapped[int] = mapped_column(ForeignKey("rewrite.id", ondelete="CASCADE"))
    condition: Mapped[str]
    """``untouched``, ``real_latents``, ``zero``, ``mean``, ``no_latents``, ``set_zeroed`` or
    ``rewritten``."""
    calibration: Mapped[str]
    """The calibration of ``rewritten``: linear, quantile or isotonic. Empty for the others."""
    count: Mapped[int]
    """Latents in the set; 0 for conditions that do not depend on it."""
    fraction: Mapped[float]
    """Share of all the coder's latents that was really rewritten (or zeroed): those of the set for
    which there is any simulated value."""
    missing: Mapped[int] = mapped_column(default=0)
    """Values in the set that were missing, and so stayed real."""
    losses: Mapped[Floats]
    """Mean cross-entropy of each context, in nats, in the order of ``Rewrite.context_ids``."""
    increase: Mapped[float]
    """Mean of the paired differences from ``untouched``, in nats."""
    low: Mapped[float]
    high: Mapped[float]
    """Bounds of the bootstrap 95% interval of ``increase``."""
    copied_from: Mapped[int | None] = mapped_column(ForeignKey("rewrite_point.id"))
    """The point of an earlier rewrite this was taken from, as nothing it depends on changed."""
    created_at: Mapped[Created]


class LatentCost(Base):
    """What it costs to rewrite, or to zero, this latent alone while all others stay real.

    Losses are measured on the evaluate-set contexts where the latent fires or is said to fire;
    on all other contexts the difference is zero by construction.
    """

    __tablename__ = "latent_cost"
    __table_args__ = (
        UniqueConstraint("explanation_id", "simulator_id", "condition", "calibration"),
    )

    id: Mapped[Id]
    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanation.id", ondelete="CASCADE"))
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"))
    condition: Mapped[str]
    """``rewritten`` or ``zeroed``."""
    calibration: Mapped[str]
    """The calibration of ``rewritten``; empty for ``zeroed``."""
    contexts_run: Mapped[int]
    """Contexts where the latent fires or is said to fire: the ones that were really run."""
    differences: Mapped[Floats]
    """Loss minus the loss with all latents real, for every context of the evaluate set, in nats."""
    mean: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    """Mean of the differences over the evaluate set, with its bootstrap 95% interval."""
    created_at: Mapped[Created]
