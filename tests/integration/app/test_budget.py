"""The page, the file and the API of an error budget."""

import csv

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Attribution, BudgetEntry, Context, Job, Latent, Rewrite, RewritePoint, Study
from tests.estimates import attribution, error_budget
from tests.factories import little_study
from tests.reading import problem_of, text_of


@pytest.fixture
def estimated(db: Session) -> Study:
    """Two simulated latents with estimates, and no error budget. Each context has a document."""
    study = little_study(db)
    for context in db.scalars(select(Context).filter_by(study_id=study.id)):
        context.document = f"document {context.index}"
    attribution(db, study, _latents(db, study)[:2])
    db.commit()
    return study


@pytest.fixture
def measured(db: Session, estimated: Study) -> Study:
    error_budget(db, _row(db, estimated))
    db.commit()
    return estimated


def _latents(db: Session, study: Study) -> list[Latent]:
    return list(db.scalars(select(Latent).filter_by(study_id=study.id).order_by(Latent.index)))


def _row(db: Session, study: Study) -> Attribution:
    return db.scalars(select(Attribution).filter_by(study_id=study.id)).one()


def test_page_file_and_api_tell_the_same(
    pages: httpx.Client, api: httpx.Client, measured: Study
) -> None:
    found = api.get(f"/studies/{measured.slug}/budget").json()
    assert (found["explanations"], found["contexts"]) == (2, found["documents"])
    whole, *parts = found["entries"][:5]
    assert (whole["error"], whole["latents"]) == ("", 2)
    assert sum(one["mean"] for one in parts) == pytest.approx(whole["mean"])
    words = found["in_words"]
    assert "+0.0100 nats [+0.0095, +0.0105]. The largest part is false positives: 60%" in words
    assert "order is not sure" not in words
    assert "Latents that fire on 1% or more of tokens have 80%" in words
    assert "Next: narrow the explanations" in words
    page = text_of(pages.get(f"/studies/{measured.slug}/budget"))
    assert words in page and "all errors +0.01000" in page and "phrase 2 +0.01000" in page
    assert words in text_of(pages.get(f"/studies/{measured.slug}"))
    file = pages.get(f"/studies/{measured.slug}/budget.csv")
    assert file.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(file.text.splitlines()))
    assert [row["error"] for row in rows] == [one["error"] for one in found["entries"]]
    assert float(rows[2]["share"]) == pytest.approx(found["entries"][2]["share"])


def test_an_estimate_stands_beside_the_exact_loss(
    pages: httpx.Client, api: httpx.Client, db: Session, measured: Study
) -> None:
    path = f"/studies/{measured.slug}/budget"
    exact = api.get(path).json()["compared"][0]
    assert exact["exact_is"] == "rewritten minus real latents"
    assert exact["exact"]["value"] == pytest.approx(0.011)
    assert exact["difference"]["value"] == pytest.approx(0.001)
    # 0.9 to 1.1 times 0.01: the mean is 0.01, and of 0.001 more the interval leaves out zero.
    assert exact["agrees"] is False and "they differ" in text_of(pages.get(path))
    row = _row(db, measured)
    row.increases = [0.01] * len(row.context_ids)
    db.commit()
    assert api.get(path).json()["compared"][0]["agrees"] is True
    db.execute(update(Context).where(Context.study_id == measured.id).values(document="one"))
    db.commit()
    assert api.get(path).json()["compared"][0]["agrees"] is None


def test_oracles_are_those_of_a_rewrite_of_the_same_explanations(
    pages: httpx.Client, api: httpx.Client, db: Session, measured: Study
) -> None:
    path = f"/studies/{measured.slug}/budget"
    row = _row(db, measured)
    rewrite = db.scalars(select(Rewrite).filter_by(study_id=measured.id, protocol="whole")).one()
    points = {
        (one.condition, one.calibration): one
        for one in db.scalars(select(RewritePoint).filter_by(rewrite_id=rewrite.id))
        if one.count in (0, len(rewrite.explanation_ids))
    }
    losses = {
        ("real_latents", ""): 3.0,
        ("oracle_gating", "isotonic"): 3.005,
        ("oracle_values", "quantile"): 3.002,
    }
    for key, loss in losses.items():
        points[key].losses = [loss] * len(rewrite.context_ids)
    row.context_ids = rewrite.context_ids
    db.commit()
    compared = api.get(path).json()["compared"]
    assert [one["exact"]["value"] for one in compared] == pytest.approx(
        [0.011, 0.011 - 0.005, 0.005, 0.002], abs=1e-6
    )
    assert [one["estimate"]["value"] for one in compared] == pytest.approx(
        [0.01, 0.005, 0.005, 0.001], abs=1e-6
    )
    assert "No rewrite of these same explanations" not in text_of(pages.get(path))
    row.explanation_ids = row.explanation_ids[:1]
    db.commit()
    assert len(api.get(path).json()["compared"]) == 1
    assert "No rewrite of these same explanations" in text_of(pages.get(path))


def test_two_errors_that_cannot_be_told_apart_are_said_to_be_so(
    api: httpx.Client, db: Session, measured: Study
) -> None:
    db.execute(
        update(BudgetEntry)
        .where(BudgetEntry.attribution_id == _row(db, measured).id, BudgetEntry.error != "")
        .values(share_low=BudgetEntry.share - 0.3, share_high=BudgetEntry.share + 0.3)
    )
    db.commit()
    words = api.get(f"/studies/{measured.slug}/budget").json()["in_words"]
    assert (
        "Its interval meets that of wrong size, 40% [10%, 70%], so the order is not sure" in words
    )


def test_nothing_has_a_share_of_a_loss_that_is_not_above_zero(
    pages: httpx.Client, api: httpx.Client, db: Session, measured: Study
) -> None:
    db.execute(
        update(BudgetEntry)
        .where(BudgetEntry.attribution_id == _row(db, measured).id)
        .values(share=None, share_low=None, share_high=None, low=-0.001)
    )
    db.commit()
    found = api.get(f"/studies/{measured.slug}/budget").json()
    assert "not clearly above zero, so nothing has a share" in found["in_words"]
    assert found["entries"][1]["share"] is None
    page = pages.get(f"/studies/{measured.slug}/budget")
    assert page.status_code == 200 and "None" not in text_of(page)


def test_what_is_not_measured_is_said_to_be_so(
    pages: httpx.Client, api: httpx.Client, db: Session, estimated: Study
) -> None:
    """Such as estimates that are older than error budgets. A click measures it."""
    path = f"/studies/{estimated.slug}/budget"
    assert "not measured yet" in problem_of(api.get(path), 404)
    assert "Not measured yet." in text_of(pages.get(path))
    assert pages.get(f"{path}.csv").status_code == 404
    assert "The error budget is not measured yet" in text_of(
        pages.get(f"/studies/{estimated.slug}")
    )
    made = api.post(path)
    assert made.status_code == 201 and made.json()["kind"] == "attribute"
    assert "on their way already" in problem_of(api.post(path), 409)
    assert "Being measured" in text_of(pages.get(path))
    job = db.get_one(Job, made.json()["id"])
    assert job.params == {"simulator_id": None, "renew": False} or not job.params


def test_a_study_without_simulations_has_nothing_to_measure(
    pages: httpx.Client, api: httpx.Client, db: Session
) -> None:
    for study in (little_study(db, simulated=0), little_study(db, latents=0, simulator=False)):
        path = f"/studies/{study.slug}/budget"
        assert "Simulate some first" in problem_of(api.post(path), 409)
        assert pages.get(path).status_code == 200
