"""The overview: lines to choose, figures to take away, two rewrites compared, recent activity."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.scoring import statistics
from jobs.kinds import BACKGROUND
from jobs.params import SimulateParams
from models import Context, Explanation, Job, Rewrite, RewritePoint, Study
from tests.factories import little_study, reword
from tests.reading import latent_of, problem_of, text_of
from tests.rewrites import rewrite


def _second(db: Session, study: Study, **changes: object) -> tuple[Rewrite, Rewrite]:
    """The study's rewrite, and another one after latent 1 was reworded."""
    first = db.scalars(select(Rewrite).filter_by(study_id=study.id)).one()
    latents = [latent_of(db, study, 0), latent_of(db, study, 1)]
    reworded = Explanation(latent_id=latents[1].id, text="new", author_kind="person", author="ana")
    db.add(reworded)
    db.flush()
    latents[1].explanation_id = reworded.id
    second = rewrite(db, study, latents, parent=first, noise=0.004)
    for name, value in changes.items():
        setattr(second, name, value)
    for place, context in enumerate(db.scalars(select(Context).filter_by(study_id=study.id))):
        context.document = f"Document {place // 2}"
    db.commit()
    return first, second


def _isotonic(db: Session, of: Rewrite, count: int) -> RewritePoint:
    points = select(RewritePoint).filter_by(
        rewrite_id=of.id, condition="rewritten", calibration="isotonic", ordering="score"
    )
    return db.scalars(points.filter_by(count=count)).one()


def test_two_rewrites_are_compared_context_by_context(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    first, second = _second(db, study)
    path = f"/api/v1/studies/{study.slug}/compare"
    body = pages.get(path, params={"a": first.id, "b": second.id}).json()
    assert body["contexts"] == 8
    assert [one["latent"] for one in body["changed"]] == [1]
    assert body["changed"][0]["second"] == "new"
    largest = body["pairs"][0]
    assert (largest["line"], largest["latents"]) == ("rewritten, isotonic", 2)
    a, b = (np.array(_isotonic(db, one, 2).losses) for one in (first, second))
    expected = statistics.compare(b, a, [f"Document {i // 2}" for i in range(8)], seed=0)
    assert largest["comparison"]["mean"] == pytest.approx((b - a).mean(), abs=1e-6)
    assert largest["comparison"]["low"] == pytest.approx(expected.low)
    assert largest["comparison"]["p"] == pytest.approx(expected.p)
    back = pages.get(path, params={"a": second.id, "b": first.id}).json()
    assert back["pairs"][0]["comparison"]["mean"] == pytest.approx(-(b - a).mean(), abs=1e-6)
    problem_of(pages.get(path, params={"a": first.id, "b": 999999999}), 404)
    problem_of(pages.get(path, params={"a": first.id}), 422)


def test_the_comparison_opens_on_two_that_can_be_compared(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}/compare"
    first, second = _second(db, study)
    latents = [latent_of(db, study, 0), latent_of(db, study, 1)]
    paper = rewrite(db, study, latents, protocol="paper")
    other = rewrite(db, study, latents)
    other.counts = [7]
    unfinished = rewrite(db, study, latents, parent=second)
    unfinished.finished = False
    db.commit()

    def chosen(**named: int) -> list[str]:
        page = pages.get(path, params=named).text
        found = re.findall(r'<option value="(\d+)" selected', page)
        assert ("cannot be compared" in page) == (named.get("b") == paper.id)
        return found

    assert chosen() == [str(first.id), str(second.id)], "the newest two that share a number"
    assert chosen(b=second.id) == [str(first.id), str(second.id)]
    assert chosen(a=first.id) == [str(first.id), str(second.id)]
    assert chosen(a=first.id, b=paper.id) == [str(first.id), str(paper.id)]


def test_only_shared_contexts_are_compared(pages: httpx.Client, db: Session, study: Study) -> None:
    first, second = _second(db, study)
    ids = list(first.context_ids)
    # The same contexts but one, in another order: the losses must be paired by context.
    second.context_ids = [999999, *ids[:0:-1]]
    db.commit()
    path = f"/api/v1/studies/{study.slug}/compare"
    body = pages.get(path, params={"a": first.id, "b": second.id}).json()
    assert body["contexts"] == 7
    a, b = (np.array(_isotonic(db, one, 2).losses) for one in (first, second))
    mean = (b[1:][::-1] - a[1:]).mean()
    assert body["pairs"][0]["comparison"]["mean"] == pytest.approx(mean, abs=1e-6)
    page = f"/studies/{study.slug}/compare?a={first.id}&b={second.id}"
    assert "the differences below are of the 7 that both have" in text_of(pages.get(page))
    second.context_ids = list(range(10**6, 10**6 + 8))
    db.commit()
    assert "they have no context in common" in text_of(pages.get(page))
    second.context_ids, second.protocol = ids, "paper"
    db.commit()
    assert "their losses are of other predictions" in text_of(pages.get(page))


def test_the_page_that_compares(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/compare"
    assert "There is only one rewrite yet." in text_of(pages.get(path))
    first, second = _second(db, study, code_version="newer")
    page = pages.get(path)
    text = text_of(page)
    assert "two versions of the program: test and newer" in text
    assert re.search(rf'<option value="{second.id}" selected>', page.text), "B is the newest"
    assert re.search(rf'<option value="{first.id}" selected>', page.text), "A the one before"
    assert 'id="compare-chart"' in page.text and "Other explanations" in text
    same = text_of(pages.get(path, params={"a": first.id, "b": first.id}))
    assert "A and B are the same rewrite." in same
    assert pages.get(path, params={"a": 999999999}).status_code == 404
    bare = little_study(db, simulated=0)
    assert "There is no rewrite yet." in text_of(pages.get(f"/studies/{bare.slug}/compare"))


def test_figures_to_take_away(pages: httpx.Client, db: Session, study: Study) -> None:
    body = pages.get(f"/api/v1/studies/{study.slug}/figures").json()
    found = pages.get(f"/studies/{study.slug}/figures.csv")
    assert found.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(found.text)))
    assert len(rows) == len(body["figures"]) > 10
    for row, figure in zip(rows, body["figures"], strict=True):
        assert row["line"] == figure["line"]
        assert float(row["increase"]) == pytest.approx(figure["increase"])
    top = _isotonic(db, db.scalars(select(Rewrite).filter_by(study_id=study.id)).one(), 2)
    mine = [f for f in body["figures"] if (f["line"], f["latents"]) == ("rewritten, isotonic", 2)]
    assert [f["increase"] for f in mine] == [pytest.approx(top.increase)]
    few = {"chosen": "true", "line": ["zero ablation", "rewritten, isotonic"]}
    chosen = csv.DictReader(
        io.StringIO(pages.get(f"/studies/{study.slug}/figures.csv", params=few).text)
    )
    assert {row["line"] for row in chosen} == {"zero ablation", "rewritten, isotonic"}
    assert pages.get(f"/studies/{study.slug}/figures.csv?protocol=paper").status_code == 404
    problem_of(pages.get(f"/api/v1/studies/{study.slug}/figures?protocol=paper"), 404)


def test_recent_activity(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}"
    assert "Nothing yet. Reword a latent" in text_of(pages.get(path))
    _, second = _second(db, study)
    effect = reword(db, study, 0)
    effect.before = {"mean": -0.01, "low": -0.02, "high": -0.005, "p": 0.01}
    now = datetime.now(UTC)
    failed = Job(study_id=study.id, kind="explain", status="failed", created_by="bo")
    failed.message, failed.finished_at = "There is no such model.", now + timedelta(seconds=5)
    running = Job(study_id=study.id, kind="score", status="running", created_by="bo")
    db.add_all([failed, running])
    db.commit()
    found = pages.get(f"/api/v1{path}/activity").json()
    assert [(one["kind"], one["latent"], one["who"]) for one in found] == [
        ("job", None, "bo"),
        ("edit", 0, "ana"),
        ("edit", 1, "ana"),
    ]
    assert found[2]["rewrite_id"] == second.id
    before = _isotonic(db, second, 2).statistics["against"]["before"]
    assert found[2]["layer"]["mean"] == pytest.approx(before["mean"])
    assert found[1]["own"]["verdict"] == "lower" and found[1]["layer"] is None
    second.finished = False  # the main point is enough
    db.commit()
    assert pages.get(f"/api/v1{path}/activity").json()[2]["layer"] == found[2]["layer"]
    text = text_of(pages.get(path))
    assert f"Explain job {failed.id} failed, asked by bo" in text
    assert "There is no such model." in text
    assert "loss effect where it fires lower −0.01000 [−0.02000, −0.00500]" in text
    db.delete(running)
    db.commit()


def test_the_first_simulation_is_told_though_nobody_waited(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    """In the background are also the jobs that follow an edit, which are not told."""
    for asked in SimulateParams(first_latents=6), SimulateParams(explanation_ids=(1,), rest=True):
        job = Job(study_id=study.id, kind="simulate", status="finished", params=asked.stored())
        job.priority, job.created_by, job.finished_at = BACKGROUND, "bo", datetime.now(UTC)
        db.add(job)
    db.commit()
    found = pages.get(f"/api/v1/studies/{study.slug}/activity").json()
    first = select(Job.id).where(Job.study_id == study.id, Job.params.has_key("first_latents"))
    assert [one["job_id"] for one in found if one["kind"] == "job"] == [db.scalar(first)]


def test_an_edit_not_measured_yet_says_so(pages: httpx.Client, db: Session, study: Study) -> None:
    latent = latent_of(db, study, 3)
    db.add(Explanation(latent_id=latent.id, text="x", author_kind="person", author="ana"))
    db.commit()
    assert "no effect on the loss is measured yet" in text_of(pages.get(f"/studies/{study.slug}"))
