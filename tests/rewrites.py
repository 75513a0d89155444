"""Rewrites in the database, with every condition, calibration and ordering."""

from math import ceil, erfc, sqrt

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Context, Latent, Rewrite, RewritePoint, Study

BASELINES = {
    "untouched": 0.0,
    "real_latents": 0.035,
    "zero": 0.2,
    "no_latents": 0.15,
    "mean": 0.17,
    "resample": 0.26,
}
"""Loss increase of each condition without a set."""
OF_SET = {
    ("rewritten", "isotonic"): 0.3,
    ("rewritten", "quantile"): 0.55,
    ("rewritten", "linear"): 0.9,
    ("rewritten", "none"): 1.6,
    ("oracle_gating", "isotonic"): 0.12,
    ("oracle_values", "quantile"): 0.4,
    ("random_latents", ""): 1.1,
    ("set_zeroed", ""): 0.8,
}
"""Of each condition with a set, the share of the loss between real and no latents that it adds when
the whole set is rewritten."""
OF_WHOLE_SET = {
    ("noise", "isotonic"): 0.45,
    ("set_zeroed_error_kept", ""): 0.6,
    ("rewritten_error_kept", "isotonic"): 0.15,
}
"""The same of those that are measured with the whole set only."""
ORDERINGS = {"score": 1.0, "effect": 0.6, "random 1": 0.7, "random 2": 0.8, "random 3": 0.9}
"""How fast that share grows with the set: the power of the share of the set."""


def rewrite(
    session: Session,
    study: Study,
    latents: list[Latent],
    *,
    protocol: str = "whole",
    parent: Rewrite | None = None,
    noise: float = 0.002,
    missing: int = 1,
) -> Rewrite:
    """A finished rewrite of some latents, with every condition, calibration and ordering.

    Each value of ``missing`` is one that the simulator did not give, in every set.
    """
    explanation_ids = [latent.explanation_id for latent in latents]
    size = len(latents)
    every = session.scalars(select(Context.id).filter_by(study_id=study.id)).all()
    contexts = parent.context_ids if parent else every
    made = Rewrite(
        study_id=study.id,
        simulator_id=study.simulator_id,
        protocol=protocol,
        explanation_ids=explanation_ids,
        orderings={ordering: explanation_ids for ordering in ORDERINGS},
        counts=sorted({max(1, round(size / 2**i)) for i in range(4)}),
        context_ids=list(contexts),
        seed=0,
        parent_id=parent.id if parent else None,
        edited_ids=sorted(set(explanation_ids) - set(parent.explanation_ids)) if parent else [],
        finished=True,
        code_version="test",
    )
    session.add(made)
    session.flush()
    rng = np.random.default_rng(0)
    untouched = rng.uniform(2.5, 3.5, len(contexts))
    planned = [(name, "", "", 0, value) for name, value in BASELINES.items()]
    low, high = BASELINES["real_latents"], BASELINES["no_latents"]
    for (condition, calibration), share in OF_SET.items():
        compared = condition == "set_zeroed" or calibration == "isotonic"
        for ordering, power in ORDERINGS.items():
            if ordering != "score" and (not compared or condition == "oracle_gating"):
                continue
            for count in made.counts if ordering == "score" else made.counts[:-1]:
                value = low + (high - low) * share * (count / size) ** power
                planned.append((condition, calibration, ordering, count, value))
    for (condition, calibration), share in OF_WHOLE_SET.items():
        value = low + (high - low) * share
        planned.append((condition, calibration, "score", size, value))
    all_latents = session.scalar(select(func.count()).filter(Latent.study_id == study.id))
    losses: dict[str, np.ndarray] = {}
    points = {}
    for condition, calibration, ordering, count, value in planned:
        differences = value + rng.normal(0, noise if value else 0, len(contexts))
        key = f"{condition} {calibration} {ordering} {count}"
        losses[key] = untouched + differences
        mean, bound = _mean(losses[key] - untouched)
        points[key] = RewritePoint(
            rewrite_id=made.id,
            condition=condition,
            calibration=calibration,
            ordering=ordering,
            count=count,
            fraction=count / (all_latents or 1),
            missing=missing if count else 0,
            losses=list(losses[key]),
            increase=mean,
            low=mean - bound,
            high=mean + bound,
            kls=list(1.2 * np.abs(differences)),
            kl=1.2 * mean,
            kl_low=1.2 * (mean - bound),
            kl_high=1.2 * (mean + bound),
        )
    for key, point in points.items():
        others = ("zero", "no_latents", "mean", "real_latents")
        against = {name: losses[f"{name}   0"] for name in others}
        if point.condition in ("resample", "noise", "rewritten_error_kept"):
            against["rewritten"] = losses[f"rewritten isotonic score {size}"]
        if point.count:
            against["set_zeroed"] = losses[f"set_zeroed  {point.ordering} {point.count}"]
        if parent is not None and point.calibration == "isotonic":
            against["before"] = losses[key] + rng.normal(0.01, noise, len(contexts))
        point.statistics = {
            "effective_contexts": 0.8 * len(contexts),
            "against": {name: _compare(losses[key] - other) for name, other in against.items()},
            "recovered": {
                name: _recovered(losses[key], losses[f"{name}   0"], losses["real_latents   0"])
                for name in ("zero", "no_latents")
            },
        }
        session.add(point)
    return made


def on_all_contexts(session: Session, study: Study, made: Rewrite, documents: int = 3) -> None:
    """Measure the main point of a rewrite and its baselines on more contexts, one a document.

    On each of them a condition adds as much as on one of the panel, so intervals are narrower.
    """
    panel = session.scalars(select(Context).where(Context.id.in_(made.context_ids))).all()
    for context in panel:
        context.set = "evaluate"
    columns = ("tokens", "strings", "start", "document_hash", "document_sketch", "document_copies")
    same = {name: getattr(panel[0], name) for name in columns}
    for number in range(documents):
        index, document = len(panel) + number, f"Address {number}"
        row = Context(
            study_id=study.id, set="evaluate", index=index, **same | {"document": document}
        )
        session.add(row)
    study.contexts_evaluate = len(panel) + documents
    whole = (0, len(made.explanation_ids))
    points = session.scalars(select(RewritePoint).filter_by(rewrite_id=made.id)).all()
    main = {("rewritten", "isotonic"), ("set_zeroed", "")} | {(one, "") for one in BASELINES}
    for point in points:
        key = point.condition, point.calibration
        if point.count not in whole or key not in main or point.condition == "resample":
            continue
        skipped = ("id", "breadth", "created_at", "losses", "kls", "low", "high")
        columns = {c.name: getattr(point, c.name) for c in RewritePoint.__table__.columns}
        kept = {name: value for name, value in columns.items() if name not in skipped}
        session.add(
            RewritePoint(
                breadth="all",
                losses=[*point.losses, *point.losses[:documents]],
                kls=[*(point.kls or []), *(point.kls or [])[:documents]],
                low=(point.increase + point.low) / 2,
                high=(point.increase + point.high) / 2,
                **kept,
            )
        )
    session.commit()


def _mean(differences: np.ndarray) -> tuple[float, float]:
    """A mean, and how far its normal 95% interval reaches."""
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return float(differences.mean()), 1.96 * error


def _compare(differences: np.ndarray) -> dict[str, float | None]:
    mean, bound = _mean(differences)
    if bound == 0:
        return {"mean": mean, "low": mean, "high": mean, "p": 1.0}
    return {
        "mean": mean,
        "low": mean - bound,
        "high": mean + bound,
        "p": erfc(abs(mean) / bound * 1.96 / sqrt(2)),
        "detectable": 2.8 * bound / 1.96,
        "contexts_needed": ceil(len(differences) * (2.8 * bound / 1.96 / mean) ** 2),
    }


def _recovered(losses: np.ndarray, none: np.ndarray, real: np.ndarray) -> dict[str, float]:
    value = float((none - losses).mean() / (none - real).mean())
    return {"value": value, "low": value - 0.03, "high": value + 0.03}
