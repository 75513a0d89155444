"""Charts show the figures of the database, and nothing else."""

from typing import Any, get_args

import altair as alt
import httpx
import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.explanations.history import list_versions
from app.services.latents.loss_effects import ShownEffect, reworded, shown_effects
from app.services.rewrites.queries import Results, latest_results, list_points
from app.services.rewrites.views import LINES, View, baselines
from app.web.latent.charts import effect_chart
from app.web.rewrites.charts import loss_chart, missing_latents
from interp.vocabulary import Condition
from models import Explanation, Latent, Rewrite, RewritePoint, Study
from tests.factories import little_study, reword
from tests.reading import chart_values, text_of
from tests.rewrites import rewrite

LATENTS = 14
VIEWS = get_args(View)


def _lines(results: Results, view: View) -> list[dict]:
    return [row for row in chart_values(loss_chart(results, view, LATENTS).spec) if "series" in row]


@pytest.fixture
def study(db: Session) -> Study:
    """A study of 14 latents, 8 of which are rewritten: 1, 2, 4 and 8 of them."""
    return little_study(db, latents=LATENTS, simulated=8)


@pytest.fixture
def results(db: Session, study: Study) -> Results:
    found = latest_results(db, study, "whole")
    assert found is not None
    return found


def _latents(db: Session, study: Study) -> list[Latent]:
    query = select(Latent).filter_by(study_id=study.id).order_by(Latent.index)
    return list(db.scalars(query))


def _effects(db: Session, study: Study, latent: Latent) -> list[ShownEffect]:
    versions = {
        v.explanation.id: v for v in list_versions(db, study, latent, latent.explanation_id)
    }
    shown = versions[latent.explanation_id or 0]
    previous = versions.get(shown.explanation.parent_id or 0)
    return shown_effects(shown.loss_effects, previous.loss_effects if previous else [])


def test_the_views_together_hold_exactly_the_points(results: Results) -> None:
    shown = set()
    for view in VIEWS:
        for row in chart_values(loss_chart(results, view, LATENTS).spec):
            if "increase" in row:
                shown.add((row["increase"], row["increase_low"], row["increase_high"]))
                assert row["kl"] is not None
    stored = {(p.increase, p.low, p.high) for p in results.points if p.condition != "untouched"}
    # Zeroing is drawn by score only, though it is measured in every ordering.
    stored -= {
        (p.increase, p.low, p.high)
        for p in results.points
        if p.condition == "set_zeroed" and p.ordering != "score"
    }
    assert shown == stored


def test_the_specifications_are_valid(db: Session, study: Study, results: Results) -> None:
    latent = _latents(db, study)[0]
    charts = [loss_chart(results, view, LATENTS).spec for view in VIEWS]
    charts.append(effect_chart(_effects(db, study, latent)))
    for spec in charts:
        alt.Chart.from_dict(spec, validate=True)


@pytest.mark.parametrize("view", VIEWS)
def test_lines_and_rules_are_told_apart(results: Results, view: View) -> None:
    rows = chart_values(loss_chart(results, view, LATENTS).spec)
    assert {row["condition"] for row in rows if "condition" in row} == {
        "no latents",
        "mean ablation",
        "resample ablation",
        "zero ablation",
        "real latents",
    }
    lines = [row for row in rows if "series" in row]
    names = {line.name for line in LINES[view]} - {
        "before the last edit",
        "newest explanations",
        "all contexts",
    }
    assert {row["series"] for row in lines} == names
    assert {row["latents"] for row in lines} == {f"{n} of 14" for n in (1, 2, 4, 8)}
    assert all(row["missing"] == 1 for row in lines)


def test_every_ordering_ends_at_the_whole_set(results: Results) -> None:
    lines = _lines(results, "orderings")
    names = {"by score", "by effect", "random 1", "random 2", "random 3"}
    assert {row["line"] for row in lines} == names | {"zeroed, by score"}
    (whole,) = [p for p in results.line(LINES["orderings"][0]) if p.count == 8]
    for name in names:
        line = [row for row in lines if row["line"] == name]
        assert len(line) == 4
        assert line[-1]["increase"] == whole.increase
    at_random = {row["line"] for row in lines if row["series"] == "at random"}
    assert at_random == {"random 1", "random 2", "random 3"}

    results.points = [p for p in results.points if p.ordering != "random 2"]
    assert "random 2" not in {row["line"] for row in _lines(results, "orderings")}
    results.points = [p for p in results.points if p.count != 8]
    assert {row["latents"] for row in _lines(results, "orderings")} == {
        f"{n} of 14" for n in (1, 2, 4)
    }, "the whole set is not measured yet"


def test_a_line_that_floods_the_layer_does_not_flatten_the_others(results: Results) -> None:
    chart = loss_chart(results, "calibrations", LATENTS)
    assert chart.beyond == []
    (worst,) = [
        p for p in results.points if (p.calibration, p.count, p.ordering) == ("none", 8, "score")
    ]
    worst.increase = 7.5
    chart = loss_chart(results, "calibrations", LATENTS)
    assert chart.beyond == [("rewritten, none", 7.5)]
    _, top = chart.spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    zero = results.baseline("zero")
    assert zero is not None
    assert zero.high < top < 2.2 * zero.high
    assert 7.5 in {row["increase"] for row in _lines(results, "calibrations")}


@pytest.mark.parametrize("view", VIEWS)
def test_a_close_up_shows_what_is_added_to_real_latents(results: Results, view: View) -> None:
    chart = loss_chart(results, view, LATENTS, "real_latents")
    rows = chart_values(chart.spec)
    assert [row["increase"] for row in rows if row.get("condition") == "real latents"] == [0]
    assert not {"zero ablation", "no latents"} & {row.get("condition") for row in rows}
    real = results.baseline("real_latents")
    assert real is not None
    lines = [row for row in rows if "series" in row]
    whole = {row["line"]: row for row in _lines(results, view)}
    assert {row["line"] for row in lines} == set(whole)
    last = {row["line"]: row for row in lines}
    for line, row in whole.items():
        assert last[line]["increase"] == pytest.approx(row["increase"] - real.increase, abs=1e-6)
        assert last[line]["increase_low"] < last[line]["increase"] < last[line]["increase_high"]
    _, top = chart.spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert (
        top
        < loss_chart(results, view, LATENTS).spec["layer"][0]["encoding"]["y"]["scale"]["domain"][1]
    )


def test_points_older_than_the_comparison_have_no_close_up(results: Results) -> None:
    for point in results.points:
        point.statistics = {}
    chart = loss_chart(results, "calibrations", LATENTS, "real_latents")
    assert not [row for row in chart_values(chart.spec) if "series" in row]


def test_labels_of_close_rules_do_not_overlap(results: Results) -> None:
    spec = loss_chart(results, "calibrations", LATENTS).spec
    heights = sorted(row["label_y"] for row in chart_values(spec) if "label_y" in row)
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    pixels = np.diff(heights) * spec["height"] / (high - low)
    assert (pixels > 14).all()


def test_the_axis_is_logarithmic_only_over_a_wide_range(results: Results) -> None:
    def axis() -> str:
        return next(
            layer["encoding"]["x"]["scale"].get("type", "linear")
            for layer in loss_chart(results, "calibrations", LATENTS).spec["layer"]
            if layer["encoding"].get("x", {}).get("field") == "fraction"
        )

    assert axis() == "log"
    for point in results.points:
        if point.count:
            point.fraction = 0.5 + point.count / 100
    assert axis() == "linear"


def test_what_is_not_defined_is_not_drawn(results: Results) -> None:
    for point in results.points:
        point.low = point.high = float("nan")
        point.kl = point.kl_low = point.kl_high = None
    for row in chart_values(loss_chart(results, "calibrations", LATENTS).spec):
        if "increase" in row:
            assert row["increase_low"] is row["increase_high"] is row["kl"] is None
            assert row["kl_words"] == "not defined"
            assert "[" not in row["increase_words"]


def test_latents_without_any_value_are_counted(results: Results) -> None:
    top = results.top
    assert top is not None
    assert missing_latents(top, LATENTS) == 0
    top.fraction = float(np.float32(6 / LATENTS))
    assert missing_latents(top, LATENTS) == 2


def test_a_repeat_shows_the_line_before(db: Session, study: Study, results: Results) -> None:
    latents = _latents(db, study)
    first = results.rewrite
    again = Rewrite(
        study_id=study.id,
        simulator_id=first.simulator_id,
        protocol="whole",
        explanation_ids=first.explanation_ids,
        orderings=first.orderings,
        counts=first.counts,
        context_ids=first.context_ids,
        seed=0,
        parent_id=first.id,
        code_version="test",
    )
    db.add(again)
    db.commit()
    found = latest_results(db, study, "whole")
    assert found is not None
    assert found.rewrite.id == first.id, "a rewrite without a point of its own is not shown yet"

    _edited(db, latents[3])
    second = rewrite(db, study, latents[:8], parent=first)
    db.commit()
    found = latest_results(db, study, "whole")
    assert found is not None
    assert (found.rewrite.id, found.edited) == (second.id, [3])
    before = [r for r in _lines(found, "calibrations") if r["series"] == "before the last edit"]
    stored = [
        p
        for p in list_points(db, first)
        if (p.condition, p.calibration, p.ordering) == ("rewritten", "isotonic", "score")
    ]
    assert sorted(r["increase"] for r in before) == sorted(p.increase for p in stored)


def _edited(db: Session, latent: Latent, **changes: object) -> Explanation:
    """A new current explanation of a latent, by a person."""
    by = {"author_kind": "person", "author": "ana"} | changes
    edited = Explanation(latent_id=latent.id, text="another", **by)
    db.add(edited)
    db.flush()
    latent.explanation_id = edited.id
    return edited


def test_only_a_comparable_parent_is_shown(db: Session, study: Study, results: Results) -> None:
    first, latents = results.rewrite, _latents(db, study)
    _edited(db, latents[3])
    second = rewrite(db, study, latents[:8], parent=first)
    for changed in (
        {"code_version": "another"},
        {"context_ids": first.context_ids[:-1]},
        {},
    ):
        same = {"code_version": first.code_version, "context_ids": first.context_ids}
        for name, value in (same | changed).items():
            setattr(second, name, value)
        db.commit()
        found = latest_results(db, study, "whole")
        assert found is not None and found.rewrite.id == second.id
        assert bool(found.before) == (not changed)


@pytest.mark.parametrize("changes", [{"author_kind": "model"}, {"details": {"imported_by": "ben"}}])
def test_only_a_persons_edit_is_the_last_edit(
    db: Session, study: Study, pages: httpx.Client, results: Results, changes: dict[str, Any]
) -> None:
    latents = _latents(db, study)
    _edited(db, latents[3])
    _edited(db, latents[4], **changes)
    rewrite(db, study, latents[:8], parent=results.rewrite)
    db.commit()
    found = latest_results(db, study, "whole")
    assert found is not None and not found.before and not found.edited
    assert "before the last edit" not in pages.get(f"/studies/{study.slug}").text


def test_a_new_main_point_joins_the_finished_rewrite(
    db: Session, study: Study, pages: httpx.Client, results: Results
) -> None:
    latents = _latents(db, study)
    _edited(db, latents[3])
    unfinished = rewrite(db, study, latents[:8], parent=results.rewrite)
    unfinished.finished = False
    whole = unfinished.counts[-1]
    for point in db.scalars(select(RewritePoint).filter_by(rewrite_id=unfinished.id)):
        kept = not point.count or (point.count == whole and point.calibration == "isotonic")
        if not kept or point.ordering not in ("score", ""):
            db.delete(point)
    db.commit()
    found = latest_results(db, study, "whole")
    assert found is not None
    assert found.rewrite.id == results.rewrite.id, "the finished one keeps its chart"
    assert len(found.points) == len(results.points)
    assert found.top is not None and found.top.rewrite_id == unfinished.id
    assert found.edited == [3]
    (marked,) = [r for r in _lines(found, "calibrations") if r["series"] == "newest explanations"]
    assert marked["increase"] == found.top.increase
    assert "before the last edit" in pages.get(f"/studies/{study.slug}").text
    # Without its main point it is not there.
    db.delete(found.top)
    db.commit()
    found = latest_results(db, study, "whole")
    assert found is not None and found.newest is None


def test_the_main_point_is_shown_before_any_rewrite_is_finished(
    db: Session, study: Study, pages: httpx.Client, results: Results
) -> None:
    results.rewrite.finished = False
    db.commit()
    found = latest_results(db, study, "whole")
    assert found is not None and found.rewrite.id == results.rewrite.id
    assert "follow in the background" in pages.get(f"/studies/{study.slug}").text


def test_protocols_are_kept_apart(db: Session, study: Study, results: Results) -> None:
    assert latest_results(db, study, "paper") is None
    paper = rewrite(db, study, _latents(db, study)[:8], protocol="paper")
    db.commit()
    found = latest_results(db, study, "paper")
    assert found is not None
    assert found.rewrite.id == paper.id
    assert {p.rewrite_id for p in found.points} == {paper.id}
    whole = latest_results(db, study, "whole")
    assert whole is not None
    assert whole.rewrite.id == results.rewrite.id


def test_the_table_holds_the_view(results: Results) -> None:
    rows = results.table("ceilings")
    assert [row.name for row in rows[:5]] == [
        "no latents",
        "mean ablation",
        "resample ablation",
        "zero ablation",
        "real latents",
    ]
    counts: dict[str, list[int]] = {}
    for row in rows[5:]:
        counts.setdefault(row.name, []).append(row.point.count)
    once = {"noise, same size", "zeroed, error kept", "rewritten, error kept"}
    assert counts == {
        line.name: [8] if line.name in once else [8, 4, 2, 1] for line in LINES["ceilings"]
    }
    against = rows[5].statistics.against
    assert against.zero is not None and against.before is None
    (zero,) = [p for p in results.points if p.condition == "zero"]
    difference = np.mean(np.array(rows[5].point.losses) - zero.losses)
    assert against.zero.mean == pytest.approx(difference, abs=1e-6)


def test_baselines_measured_later_are_compared_the_other_way_round(results: Results) -> None:
    main = results.main
    assert main is not None
    for condition in (Condition.RESAMPLE, Condition.NOISE):
        point, found = results.single(condition), results.over_later(condition)
        assert point is not None and found is not None
        difference = np.mean(np.array(main.losses) - point.losses)
        assert found.mean == pytest.approx(difference, abs=1e-6) and difference < 0
        assert found.low is not None and found.high is not None
        assert found.low < difference < found.high
        assert found.verdict == "lower"
    results.points = [p for p in results.points if p.condition not in ("resample", "noise")]
    assert results.over_later(Condition.NOISE) is None
    assert "resample ablation" not in [row.name for row in results.table("ceilings")]


def test_an_autoencoder_on_the_residual_stream_is_not_measured_by_zeroing_it(
    pages: httpx.Client, db: Session, study: Study, results: Results
) -> None:
    zero = results.baseline("zero")
    assert zero is not None
    zero.increase, zero.low, zero.high, zero.kl = 9.12, 8.9, 9.4, 9.3
    db.commit()
    path = f"/studies/{study.slug}"
    assert "Lower than zero ablation" in text_of(pages.get(path))
    for hookpoint, kind, is_stream in (
        ("layers.10", "sae", True),
        ("blocks.10.hook_resid_post", "sae", True),
        ("layers.10.mlp", "sae", False),
        ("layers.10", "transcoder", False),
    ):
        study.hookpoint, study.coder_info = hookpoint, {**study.coder_info, "kind": kind}
        db.commit()
        text = text_of(pages.get(path))
        left_out = "The chart leaves zero ablation out: +9.120 nats, KL 9.300."
        assert (left_out in text) == is_stream
        assert ("Lower than zero ablation" in text) == (not is_stream)
        for other in ("mean ablation (+0.1", "resample ablation (+0.2"):
            assert (f"Lower than {other}" in text) == is_stream
        drawn = loss_chart(results, "ceilings", LATENTS, baselines=baselines(study))
        rows = chart_values(drawn.spec)
        assert ("zero ablation" in {row.get("condition") for row in rows}) == (not is_stream)
        _, top = drawn.spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
        assert (top < 1) == is_stream
    # Who asks for the line gets it, and the table has its figures anyway.
    study.hookpoint, study.coder_info = "layers.10", {**study.coder_info, "kind": "sae"}
    db.commit()
    asked = loss_chart(results, "ceilings", LATENTS, shown={"zero ablation"}, baselines=[])
    assert "zero ablation" in {row.get("condition") for row in chart_values(asked.spec)}
    text = text_of(pages.get(path, params={"chosen": True, "line": "zero ablation"}))
    assert "leaves zero ablation out" not in text and "no baseline of such a coder" in text
    assert "zero ablation – +9.1200" in text_of(pages.get(path))


def test_a_rewrite_from_before_the_newest_baselines_is_shown_without_them(
    pages: httpx.Client, db: Session, study: Study, results: Results
) -> None:
    later = ("resample", "noise", "set_zeroed_error_kept", "rewritten_error_kept")
    for point in results.points:
        if point.condition in later:
            db.delete(point)
        elif point.statistics:
            against = {k: v for k, v in point.statistics["against"].items() if k != "mean"}
            point.statistics = {**point.statistics, "against": against}
    study.hookpoint, study.coder_info = "layers.10", {**study.coder_info, "kind": "sae"}
    db.commit()
    for view in VIEWS:
        page = pages.get(f"/studies/{study.slug}", params={"view": view})
        assert page.status_code == 200
        text = text_of(page)
        assert "Lower than no latents" in text and "Lower than resample" not in text
        assert "Lower than noise" not in text and "Lower than mean" not in text


def test_the_loss_effect_chart_holds_exactly_the_loss_effects(db: Session, study: Study) -> None:
    latent = _latents(db, study)[0]
    effects = _effects(db, study, latent)
    assert reworded(effects) is None
    rows = [row for row in chart_values(effect_chart(effects) or {}) if "increase" in row]
    assert [(r["increase"], r["increase_low"], r["increase_high"]) for r in rows] == [
        (effect.mean, effect.low, effect.high) for _, effect in effects
    ]
    this = ["this, isotonic", "this, quantile", "this, linear", "this, none"]
    assert [row["what"] for row in rows] == ["zeroed", *this]
    assert max(rows, key=lambda row: row["size"])["what"] == "this, isotonic"

    before = latent.explanation_id
    isotonic = reword(db, study, 0)
    after = isotonic.explanation_id
    effects = _effects(db, study, latent)
    assert [name for name, _ in effects] == ["zeroed", "previous, isotonic", *this]
    assert [effect.explanation_id for _, effect in effects[:3]] == [after, before, after]
    assert reworded(effects) is None, "not compared"
    isotonic.before = {"mean": -0.1, "low": -0.2, "high": -0.05, "p": 0.01}
    isotonic.context_ids = [*isotonic.context_ids[:1], 0, *isotonic.context_ids[2:]]
    compared = reworded(effects)
    assert compared is not None
    assert compared.comparison.verdict == "lower"
    assert compared.contexts == 1, "of the two in which it fires, one was run before"
