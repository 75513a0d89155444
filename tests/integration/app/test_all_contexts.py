"""The figures on all contexts of the evaluate set, beside those of the panel."""

import csv
import io

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.rewrites.queries import latest_results
from app.web.rewrites.charts import loss_chart
from interp.simulate.registry import SIMULATORS
from models import Explanation, Job, Rewrite, RewritePoint, Simulator, Study
from tests.factories import CONTEXTS
from tests.reading import chart_values, latent_of, text_of
from tests.rewrites import on_all_contexts, rewrite

MORE = 3
ALL = CONTEXTS + MORE
DOT, LINE = "all contexts", "rewritten, isotonic, all contexts"
"""In the chart, and in its table and file."""


@pytest.fixture
def wide(db: Session, study: Study) -> Rewrite:
    made = db.scalars(select(Rewrite).filter_by(study_id=study.id)).one()
    on_all_contexts(db, study, made, MORE)
    return made


def _point(db: Session, of: Rewrite, breadth: str) -> RewritePoint:
    query = select(RewritePoint).filter_by(rewrite_id=of.id, condition="rewritten", breadth=breadth)
    count = len(of.explanation_ids)
    return db.scalars(query.filter_by(calibration="isotonic", ordering="score", count=count)).one()


def _measured_on(pages: httpx.Client, study: Study, **params: str) -> str:
    text = text_of(pages.get(f"/studies/{study.slug}", params=params))
    return text[text.index("Measured on") :][:200]


def test_the_overview_shows_the_figures_on_all_contexts(
    pages: httpx.Client, db: Session, study: Study, wide: Rewrite
) -> None:
    said = _measured_on(pages, study)
    assert f"Measured on all {ALL} contexts of {1 + MORE} documents." in said
    assert f"of {CONTEXTS} contexts; its dark dot is on all." in said
    assert "dark dot" not in _measured_on(pages, study, view="ceilings")
    assert "dark dot" not in _measured_on(pages, study, chosen="true", line="rewritten, none")
    text = text_of(pages.get(f"/studies/{study.slug}"))
    point = _point(db, wide, "all")
    assert f"{point.increase:+.3f} [{point.low:+.3f}, {point.high:+.3f}]" in text.replace("−", "-")
    assert f"over {ALL} contexts of the evaluate set (6 effective" in text
    assert f"are alike), in the chart over the first {CONTEXTS}, with bootstrap" in text
    assert "in random directions (+0.0" in text and "), on the panel: " in text
    assert f"{LINE} " in text and "zeroed, all contexts" in text


def test_after_an_edit_the_panel_is_shown_until_all_contexts_follow(
    pages: httpx.Client, db: Session, study: Study, wide: Rewrite
) -> None:
    latents = [latent_of(db, study, 0), latent_of(db, study, 1)]
    new = Explanation(latent_id=latents[1].id, text="new", author_kind="person", author="ana")
    db.add(new)
    db.flush()
    latents[1].explanation_id = new.id
    edited = rewrite(db, study, latents, parent=wide)
    edited.context_ids = wide.context_ids
    db.commit()
    said = _measured_on(pages, study)
    assert f"of {CONTEXTS} contexts of 1 document." in said and "follow" not in said, "no job does"
    # A job that rewrites, and a simulator that is quick enough.
    simulator = db.get_one(Simulator, study.simulator_id)
    job = Job(study_id=study.id, kind="rewrite", created_by="tests", params={"rewrite_id": 1})
    db.add(job)
    db.commit()
    assert "follow" not in _measured_on(pages, study), "a slow simulator measures the panel alone"
    simulator.method = next(name for name, one in SIMULATORS.items() if one.instant)
    db.commit()
    assert f"All {ALL} contexts follow in the background." in _measured_on(pages, study)
    text = text_of(pages.get(f"/studies/{study.slug}"))
    assert "before the last edit (latent 1): " in text
    job.status = "cancelled"
    db.commit()
    on_all_contexts(db, study, edited, 0)
    said = _measured_on(pages, study)
    assert "Measured on all" in said
    text = text_of(pages.get(f"/studies/{study.slug}"))
    assert "before the last edit (latent 1), on the panel: " in text


def test_a_study_measured_on_the_panel_alone_says_so(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    said = _measured_on(pages, study)
    assert said.startswith(f"Measured on {CONTEXTS} contexts of 1 document.")


def test_baselines_alone_are_not_shown(db: Session, study: Study, wide: Rewrite) -> None:
    """They are taken over before the main point is measured."""
    db.delete(_point(db, wide, "all"))
    db.commit()
    results = latest_results(db, study, "whole")
    assert results is not None and results.all_contexts is None
    assert results.top is not None and results.top.id == _point(db, wide, "panel").id


def test_the_chart_marks_it(pages: httpx.Client, db: Session, study: Study, wide: Rewrite) -> None:
    results = latest_results(db, study, "whole")
    assert results is not None
    rows = chart_values(loss_chart(results, "calibrations", 6).spec)
    (marked,) = [row for row in rows if row.get("series") == DOT]
    assert marked["increase"] == _point(db, wide, "all").increase
    line = [row for row in rows if row.get("series") == "rewritten, isotonic"]
    assert _point(db, wide, "panel").increase in {row["increase"] for row in line}
    assert f'value="{DOT}"' in pages.get(f"/studies/{study.slug}").text
    for view in ("ceilings", "orderings"):
        drawn = chart_values(loss_chart(results, view, 6).spec)
        assert DOT not in {row.get("series") for row in drawn}


def test_the_api_and_the_file_have_both(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study, wide: Rewrite
) -> None:
    found = api.get(f"studies/{study.slug}/rewrites/{wide.id}").json()
    assert len(found["context_ids"]) == CONTEXTS
    everything = found["all_contexts"]
    assert everything["context_ids"][:CONTEXTS] == found["context_ids"]
    assert len(everything["context_ids"]) == ALL
    assert {len(point["losses"]) for point in found["points"]} == {CONTEXTS}
    assert {len(point["losses"]) for point in everything["points"]} == {ALL}
    assert {point["condition"] for point in everything["points"]} == {
        "untouched",
        "real_latents",
        "zero",
        "no_latents",
        "mean",
        "set_zeroed",
        "rewritten",
    }

    figures = api.get(f"studies/{study.slug}/figures").json()["figures"]
    rows = list(csv.DictReader(io.StringIO(pages.get(f"/studies/{study.slug}/figures.csv").text)))
    assert len(rows) == len(figures)
    for some in (figures, rows):
        main = {one["breadth"]: one for one in some if one["line"] in (LINE, "rewritten, isotonic")}
        assert [int(main[breadth]["contexts"]) for breadth in ("panel", "all")] == [CONTEXTS, ALL]
        assert {one["breadth"] for one in some if "all contexts" in one["line"]} == {"all"}
        assert len([one for one in some if one["breadth"] == "all"]) == 6
    chosen = {"chosen": True, "line": "rewritten, isotonic"}
    text = pages.get(f"/studies/{study.slug}/figures.csv", params=chosen).text
    assert "all contexts" not in text
    ceilings = api.get(f"studies/{study.slug}/figures", params={"view": "ceilings"}).json()
    assert {one["breadth"] for one in ceilings["figures"]} == {"panel"}


def test_without_it_the_api_says_null(api: httpx.Client, db: Session, study: Study) -> None:
    made = db.scalars(select(Rewrite).filter_by(study_id=study.id)).one()
    assert api.get(f"studies/{study.slug}/rewrites/{made.id}").json()["all_contexts"] is None


def test_a_deleted_rewrite_takes_both_with_it(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study, wide: Rewrite
) -> None:
    points = db.scalars(select(RewritePoint.id).filter_by(rewrite_id=wide.id)).all()
    path = f"/studies/{study.slug}/rewrites/{wide.id}"
    assert f"Its {len(points)} measured points" in text_of(pages.get(f"{path}/delete"))
    assert api.delete(path.removeprefix("/")).status_code == 204
    assert not db.scalars(select(RewritePoint.id).where(RewritePoint.id.in_(points))).all()
