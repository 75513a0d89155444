"""Charts show the figures of the database, and nothing else."""

import altair as alt
import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.charts import cost_chart, loss_chart, quantile_chart
from app.latents.queries import list_costs
from app.rewrites.queries import Results, latest_results, list_points, paired_difference
from models import Explanation, Latent, Rewrite, RewritePoint, Study
from tests.factories import little_study


def _values(spec: dict) -> list[dict]:
    """Every row of data in a specification, each once."""
    rows: list[dict] = list(spec.get("data", {}).get("values", []))
    for layer in spec.get("layer", []):
        rows += [row for row in _values(layer) if row not in rows]
    return rows


@pytest.fixture
def study(db: Session) -> Study:
    return little_study(db)


@pytest.fixture
def results(db: Session, study: Study) -> Results:
    found = latest_results(db, study)
    assert found is not None
    return found


def test_the_loss_chart_holds_exactly_the_points(results: Results) -> None:
    shown = {(r["increase"], r["low"], r["high"]) for r in _values(loss_chart(results, 6))}
    stored = {(p.increase, p.low, p.high) for p in results.points if p.condition != "untouched"}
    assert shown == stored


def test_the_specifications_are_valid(db: Session, study: Study, results: Results) -> None:
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    costs = list_costs(db, study, db.get_one(Explanation, latent.explanation_id))
    for spec in (loss_chart(results, 6), cost_chart(costs), quantile_chart(latent.quantiles)):
        alt.Chart.from_dict(spec, validate=True)


def test_lines_and_rules_are_told_apart(results: Results) -> None:
    rows = _values(loss_chart(results, 6))
    assert {row["condition"] for row in rows if "condition" in row} == {
        "whole MLP zeroed",
        "whole MLP at its mean",
        "no latents",
        "real latents",
    }
    lines = [row for row in rows if "series" in row]
    assert {row["series"] for row in lines} == {
        "rewritten, isotonic",
        "rewritten, quantile",
        "rewritten, linear",
        "same latents zeroed",
    }
    assert {row["latents"] for row in lines} == {"1 of 6", "2 of 6"}
    assert all(row["missing"] == 1 for row in lines)


def test_labels_of_close_rules_do_not_overlap(results: Results) -> None:
    spec = loss_chart(results, 6)
    heights = sorted(row["label_y"] for row in _values(spec) if "label_y" in row)
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    pixels = np.diff(heights) * spec["height"] / (high - low)
    assert (pixels > 14).all()


def test_the_axis_is_logarithmic_only_over_a_wide_range(results: Results) -> None:
    def axis(spec: dict) -> str:
        return next(
            layer["encoding"]["x"]["scale"].get("type", "linear")
            for layer in spec["layer"]
            if layer["encoding"].get("x", {}).get("field") == "fraction"
        )

    assert axis(loss_chart(results, 6)) == "linear"
    for point in results.points:
        if point.count == 1:
            point.fraction = 0.001
    assert axis(loss_chart(results, 6)) == "log"


def test_a_repeat_shows_the_line_before(db: Session, study: Study, results: Results) -> None:
    first = results.rewrite
    again = Rewrite(
        study_id=study.id,
        simulator_id=first.simulator_id,
        positions="all",
        explanation_ids=first.explanation_ids,
        counts=first.counts,
        context_ids=first.context_ids,
        seed=0,
        parent_id=first.id,
        code_version="test",
    )
    db.add(again)
    db.commit()
    found = latest_results(db, study)
    assert found is not None
    assert found.rewrite.id == first.id, "a rewrite without a point of its own is not shown yet"

    point = next(p for p in results.points if p.condition == "rewritten")
    copied = {c.name: getattr(point, c.name) for c in RewritePoint.__table__.columns}
    db.add(RewritePoint(**(copied | {"id": None, "rewrite_id": again.id})))
    db.commit()
    found = latest_results(db, study)
    assert found is not None
    assert found.rewrite.id == again.id
    before = [r for r in _values(loss_chart(found, 6)) if r.get("series") == "before the last edit"]
    stored = [p for p in list_points(db, first) if p.calibration == "isotonic"]
    assert sorted(r["increase"] for r in before) == sorted(p.increase for p in stored)


def test_the_paired_difference_is_of_contexts_and_not_of_means() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 9, 40)
    a = RewritePoint(losses=list(base - 0.01 + rng.normal(0, 0.002, 40)))
    b = RewritePoint(losses=list(base))
    better = paired_difference(a, b, seed=0)
    assert better is not None
    assert better.mean == pytest.approx(-0.01, abs=0.002)
    assert better.low < better.mean < better.high < 0
    assert better.verdict == "yes"
    worse = paired_difference(b, a, seed=0)
    assert worse is not None
    assert worse.verdict == "no"
    noise = RewritePoint(losses=list(base + rng.normal(0, 0.01, 40)))
    unclear = paired_difference(noise, b, seed=0)
    assert unclear is not None
    assert unclear.verdict == "cannot tell"
    assert paired_difference(RewritePoint(losses=[1.0]), RewritePoint(losses=[2.0]), 0) is None


def test_the_cost_chart_holds_exactly_the_costs(db: Session, study: Study) -> None:
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    costs = list_costs(db, study, db.get_one(Explanation, latent.explanation_id))
    rows = [row for row in _values(cost_chart(costs)) if "increase" in row]
    assert [(r["increase"], r["low"], r["high"]) for r in rows] == [
        (c.mean, c.low, c.high) for c in costs
    ]
    assert [row["what"] for row in rows] == [
        "zeroed",
        "rewritten, isotonic",
        "rewritten, quantile",
        "rewritten, linear",
    ]


def test_the_quantile_chart_holds_exactly_the_quantiles() -> None:
    rows = _values(quantile_chart([0.1, 0.5, 2.0]))
    assert rows == [
        {"share": 0.0, "activation": 0.1},
        {"share": 0.5, "activation": 0.5},
        {"share": 1.0, "activation": 2.0},
    ]
