"""Evaluations of the layer with some of its latents simulated."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    exists,
    func,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Floats, Id, Ids, Json, Matrix


class Rewrite(Base):
    """One evaluation on the evaluate set: which explanations, in which orders, where spliced."""

    __tablename__ = "rewrite"
    __table_args__ = (
        CheckConstraint("protocol IN ('paper', 'whole')", name="protocol"),
        Index(None, "edited_ids", postgresql_using="gin"),
    )

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"), index=True)
    protocol: Mapped[str]
    """``whole``: every token of a context is spliced; ``paper``: only its last input token."""
    author: Mapped[str] = mapped_column(default="")
    """Whose explanations were taken, the newest of each latent; empty for the current ones."""
    explanation_ids: Mapped[Ids]
    """One explanation a latent, best score first; after an edit in the order of the rewrite before
    it."""
    orderings: Mapped[Json]
    """The same explanations in every order in which latents are rewritten, by its name: ``score``
    (best correlation first), ``effect`` (largest loss effect of zeroing first), ``random 1`` to
    ``random 3``."""
    counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """Numbers of latents rewritten, one for each point of a line."""
    context_ids: Mapped[Ids]
    """The panel: the first contexts of the evaluate set."""
    seed: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("rewrite.id", ondelete="SET NULL"), index=True
    )
    """The rewrite that this one repeats with some explanations changed."""
    edited_ids: Mapped[Ids] = mapped_column(server_default=sql("'{}'"))
    """The explanations that it has and its parent has not. Empty without a parent."""
    finished: Mapped[bool] = mapped_column(default=False)
    """True if all its points on the panel are measured. A rewrite that a newer one supersedes may
    have its main point only."""
    code_version: Mapped[str]
    created_at: Mapped[Created]


class RewritePoint(Base):
    """The effect of one condition on the model at one number of rewritten latents."""

    __tablename__ = "rewrite_point"
    __table_args__ = (
        UniqueConstraint(
            *("rewrite_id", "condition", "calibration", "ordering", "count", "breadth"),
            name="uq_rewrite_point_key",  # the names of all columns would be too long
        ),
        CheckConstraint("breadth IN ('all', 'panel')", name="breadth"),
    )

    id: Mapped[Id]
    rewrite_id: Mapped[int] = mapped_column(ForeignKey("rewrite.id", ondelete="CASCADE"))
    breadth: Mapped[str] = mapped_column(default="panel", server_default=sql("'panel'"))
    """``panel``, or ``all`` contexts of the evaluate set: the main point with its baselines once
    more. A study whose panel is the whole evaluate set has no such points."""
    condition: Mapped[str]
    """``untouched``, ``real_latents``, ``zero``, ``mean``, ``resample``, ``no_latents``; of a set:
    ``set_zeroed``, ``random_latents``, ``rewritten``, ``oracle_gating``, ``oracle_values``; of the
    whole set alone: ``noise``, ``set_zeroed_error_kept``, ``rewritten_error_kept``."""
    calibration: Mapped[str]
    """Of ``rewritten``: none, linear, quantile or isotonic; of ``oracle_gating``, ``noise`` and
    ``rewritten_error_kept``: isotonic; of ``oracle_values``: quantile. Empty for the others."""
    ordering: Mapped[str]
    """The order that its set is the beginning of. Empty for conditions without a set."""
    count: Mapped[int]
    """Latents in the set; 0 for conditions without one."""
    fraction: Mapped[float]
    """Share of all the coder's latents that was really rewritten (or zeroed): those of the set for
    which there is any simulated value."""
    missing: Mapped[int] = mapped_column(default=0)
    """Values in the set that were missing, and so stayed real."""
    losses: Mapped[Floats]
    """Mean cross-entropy of each context, in nats, in the order of ``Rewrite.context_ids``. On all
    contexts the others of the evaluate set follow, in its order."""
    increase: Mapped[float]
    """Mean of the paired differences from ``untouched``, in nats."""
    low: Mapped[float]
    high: Mapped[float]
    """Bounds of its bootstrap 95% interval, over documents."""
    kls: Mapped[Floats | None]
    """KL(untouched ‖ this) of each context, in nats; None in rewrites older than this column."""
    kl: Mapped[float | None]
    kl_low: Mapped[float | None]
    kl_high: Mapped[float | None]
    """Mean of ``kls`` with its interval."""
    statistics: Mapped[Json] = mapped_column(default=dict)
    """How it compares, see ``PointStatistics`` in the API: ``effective_contexts``; ``against``
    (``real_latents``, ``zero``, ``no_latents``, ``mean``, ``set_zeroed``, ``before``, and the main
    point as ``rewritten``: mean, low, high, p, detectable, contexts_needed); ``recovered``
    (``no_latents``, ``zero``: value, low, high). What cannot be said is None."""
    copied_from: Mapped[int | None] = mapped_column(
        ForeignKey("rewrite_point.id", ondelete="SET NULL"), index=True
    )
    """The point of an earlier rewrite this was taken from, as nothing it depends on changed."""
    created_at: Mapped[Created]


def has_main_point(breadth: str = "panel") -> ColumnElement[bool]:
    """True of a rewrite if its main point is measured: the whole set, isotonic."""
    return exists().where(
        RewritePoint.rewrite_id == Rewrite.id,
        RewritePoint.breadth == breadth,
        RewritePoint.condition == "rewritten",
        RewritePoint.calibration == "isotonic",
        RewritePoint.ordering == "score",
        RewritePoint.count == func.cardinality(Rewrite.explanation_ids),
    )


class LossEffect(Base):
    """The loss effect of rewriting, or of zeroing, this latent alone while all others stay real.

    Measured at every position of evaluate-set contexts where the latent fires, where it is only
    predicted active, and of others drawn at random.
    """

    __tablename__ = "loss_effect"
    __table_args__ = (
        UniqueConstraint("explanation_id", "simulator_id", "condition", "calibration"),
        Index(
            None,
            "simulator_id",
            "mean",
            "explanation_id",
            postgresql_where=sql("condition = 'rewritten' AND calibration = 'isotonic'"),
        ),
    )

    id: Mapped[Id]
    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanation.id", ondelete="CASCADE"))
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"), index=True)
    condition: Mapped[str]
    """``rewritten`` or ``zeroed``."""
    calibration: Mapped[str]
    """The calibration of ``rewritten``; empty for ``zeroed``."""
    context_ids: Mapped[Ids]
    """The contexts that were run."""
    strata: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """For each of them ``fires``, ``predicted`` or ``silent``."""
    weights: Mapped[Json]
    """Share of the evaluate set's contexts that each of these strata stands for."""
    differences: Mapped[Floats]
    """Loss minus the loss with all latents real, for each context that was run, in nats."""
    mean: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    """Mean over the whole evaluate set, estimated from the strata, with its bootstrap 95% interval.
    None where it cannot be estimated, as for zeroing a latent that fires in none of its contexts.
    """
    fires_mean: Mapped[float | None]
    fires_low: Mapped[float | None]
    fires_high: Mapped[float | None]
    """The same, over the contexts where the latent fires."""
    before: Mapped[Json | None]
    """Paired difference from the parent explanation's loss effect where the latent fires, on the
    contexts of both: mean, low, high, p, detectable, contexts_needed. None without a parent."""
    created_at: Mapped[Created]


class Attribution(Base):
    """Estimates of the loss effects of all simulated latents, made together.

    First-order, see ``interp.rewriting.attribution``: with isotonic values, at every position. The
    newest finished one of a study and a simulator counts, and earlier ones are removed.
    """

    __tablename__ = "attribution"
    __table_args__ = (Index(None, "study_id", "simulator_id", "id"),)

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"), index=True)
    explanation_ids: Mapped[Ids]
    """The current explanations when it began. All of them are rewritten in the layer rewritten."""
    context_ids: Mapped[Ids]
    seed: Mapped[int]
    increases: Mapped[Floats | None]
    """Loss with the layer rewritten minus loss with all latents real, on each context, in nats:
    what the error budget splits. None until that is made, and in attributions older than it."""
    finished: Mapped[bool] = mapped_column(default=False)
    code_version: Mapped[str]
    created_at: Mapped[Created]


class AttributionPart(Base):
    """The estimates on some contexts of an attribution that is not finished."""

    __tablename__ = "attribution_part"

    attribution_id: Mapped[int] = mapped_column(
        ForeignKey("attribution.id", ondelete="CASCADE"), primary_key=True
    )
    start: Mapped[int] = mapped_column(primary_key=True)
    """Its first context."""
    effects: Mapped[NDArray[np.float32]] = mapped_column(Matrix)
    """A row for each context, of each point of linearisation in turn; a column for each
    explanation."""
    errors: Mapped[NDArray[np.float32]] = mapped_column(Matrix)
    """The same of each prediction error in turn: the effects along the path, split."""
    increases: Mapped[Floats]
    """As in the attribution, of these contexts."""


class EstimatedEffect(Base):
    """The first-order estimate of an explanation's loss effect, at one point of linearisation."""

    __tablename__ = "estimated_effect"
    __table_args__ = (
        Index(None, "explanation_id", "attribution_id"),
        Index(None, "attribution_id", "point", "mean", "explanation_id"),
    )

    attribution_id: Mapped[int] = mapped_column(
        ForeignKey("attribution.id", ondelete="CASCADE"), primary_key=True
    )
    point: Mapped[str] = mapped_column(primary_key=True)
    """``real_latents``, ``rewritten``, ``path`` or ``untouched``."""
    explanation_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("explanation.id", ondelete="CASCADE"), primary_key=True
    )
    effects: Mapped[Floats]
    """On each context, in nats, in the order of ``Attribution.context_ids``."""
    mean: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    """Mean over these contexts, with its bootstrap 95% interval over documents. None where the loss
    is no finite number."""


class BudgetEntry(Base):
    """The part of one error and one group of latents in an attribution's loss increase.

    See ``interp.rewriting.budget``.
    """

    __tablename__ = "budget_entry"

    attribution_id: Mapped[int] = mapped_column(
        ForeignKey("attribution.id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(primary_key=True)
    """The order in which entries are shown."""
    split: Mapped[str]
    """``layer``, ``firing_rate``, ``calibrate_tokens`` or ``kind``."""
    group: Mapped[str]
    """The band or the kind of latents; empty for the whole layer."""
    error: Mapped[str]
    """``missed``, ``false_positive``, ``wrong_size`` or ``background``; empty for all together."""
    latents: Mapped[int]
    effects: Mapped[Floats]
    """On each context, in nats, in the order of ``Attribution.context_ids``."""
    mean: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    """Their mean with its bootstrap 95% interval over documents."""
    share: Mapped[float | None]
    share_low: Mapped[float | None]
    share_high: Mapped[float | None]
    """Of the whole layer's, with its interval. None where that is not clearly above zero."""


class Generation(Base):
    """The continuations of a prompt by the untouched, the zero-ablated and the rewritten model."""

    __tablename__ = "generation"

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[int | None] = mapped_column(
        ForeignKey("job.id", ondelete="SET NULL"), index=True
    )
    simulator_id: Mapped[int] = mapped_column(ForeignKey("simulator.id"), index=True)
    prompt: Mapped[str]
    explanation_ids: Mapped[Ids]
    """The explanations that stand in for their latents."""
    calibration: Mapped[str]
    new_tokens: Mapped[int]
    """The most tokens to write."""
    temperature: Mapped[float]
    """0 takes the likeliest token each time; above 0, tokens are sampled."""
    seed: Mapped[int]
    prompt_tokens: Mapped[int | None]
    """Tokens of the prompt, once they are counted."""
    continuations: Mapped[Json] = mapped_column(default=dict)
    """By condition (``untouched``, ``zero``, ``rewritten``), as far as they are written: ``tokens``
    (their texts), ``simulations`` (how often an explanation was simulated), ``missing`` (values
    that could not be had, so that the latent stayed real), ``seconds``."""
    code_version: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[Created]


class Check(Base):
    """The outcome of one sanity check of a study's measurements."""

    __tablename__ = "check"

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    outcome: Mapped[str]
    """``passed``, ``failed``, or ``cannot tell`` where the data do not decide."""
    detail: Mapped[str]
    """What was compared, with figures, in one sentence."""
    code_version: Mapped[str]
    created_at: Mapped[Created]
