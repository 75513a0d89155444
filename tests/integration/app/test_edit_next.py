"""The latents to edit next: by an estimate, beside exact loss effects."""

import httpx
import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.services.latents.edit_next import Agreement, agreement
from models import EstimatedEffect, Job, Latent, LossEffect, Study
from tests.estimates import attribution
from tests.factories import little_study
from tests.reading import text_of


@pytest.fixture
def estimated(db: Session) -> Study:
    """Six simulated latents with estimates; latents 0 and 5 have no exact loss effect."""
    study = little_study(db, latents=7, simulated=6)
    latents = list(db.scalars(select(Latent).filter_by(study_id=study.id).order_by(Latent.index)))
    for latent in (latents[0], latents[5]):
        db.execute(delete(LossEffect).filter_by(explanation_id=latent.explanation_id))
    attribution(db, study, latents[:6])
    db.commit()
    return study


def test_an_estimate_ranks_all_simulated_latents(api: httpx.Client, estimated: Study) -> None:
    path = f"/studies/{estimated.slug}/edit-next"
    listed = api.get(path).json()
    assert [item["index"] for item in listed["items"]] == [4, 3, 2, 1, 0, 5]
    assert (listed["total"], listed["clear"], listed["estimated"]) == (6, 4, True)
    first, *_, last = listed["items"]
    assert (first["estimate"], first["loss_effect"]) == pytest.approx((0.01, 0.005))
    assert first["estimate_rewritten"] == pytest.approx(-0.01)
    assert (last["estimate"], last["loss_effect"]) == (pytest.approx(0.001), None)
    assert listed["point"] == "real_latents"
    among = api.get(path, params={"point": "rewritten", "limit": 2}).json()
    assert [item["index"] for item in among["items"]] == [0, 5]


def test_the_list_says_how_well_estimates_and_exact_effects_agree(
    api: httpx.Client, pages: httpx.Client, db: Session, estimated: Study
) -> None:
    listed = api.get(f"/studies/{estimated.slug}/edit-next").json()
    assert listed["agreement"] == {"latents": 4, "rank_correlation": 1.0, "slope": 0.5}
    assert listed["on_same_contexts"]["latents"] == 4
    # 4 and 4 of the exact effect in the first two of six contexts: their mean is 4 / 3 of it.
    assert listed["on_same_contexts"]["slope"] == pytest.approx(0.5 * 4 / 3, abs=1e-5)
    text = text_of(pages.get(f"/studies/{estimated.slug}"))
    assert "over 4 latents that have both: rank correlation 1.00, slope 0.50." in text
    db.execute(delete(LossEffect).where(LossEffect.simulator_id == estimated.simulator_id))
    db.commit()
    text = text_of(pages.get(f"/studies/{estimated.slug}"))
    assert "No latent has an exact effect yet" in text


def test_the_exact_measurement_is_one_click_away(
    api: httpx.Client, pages: httpx.Client, db: Session, estimated: Study
) -> None:
    path = f"/studies/{estimated.slug}"
    page = pages.get(path).text
    assert f'action="{path}/latents/0/measure"' in page
    assert f'action="{path}/latents/1/measure"' not in page
    asked = pages.post(f"{path}/latents/0/measure")
    assert (asked.status_code, asked.headers["location"]) == (303, f"{path}#edit-next")
    latent = db.scalars(select(Latent).filter_by(study_id=estimated.id, index=0)).one()
    job = db.scalars(select(Job).filter_by(study_id=estimated.id, kind="simulate")).one()
    assert job.params["explanation_ids"] == [latent.explanation_id]
    assert api.post(f"{path}/latents/0/measure").status_code == 409, "it is on its way"
    assert api.post(f"{path}/latents/1/measure").status_code == 409, "it is measured"
    assert api.post(f"{path}/latents/6/measure").status_code == 409, "it has no explanation"
    api.post(f"/jobs/{job.id}/cancel")


def test_the_list_of_latents_has_the_estimate_as_a_column(
    api: httpx.Client, pages: httpx.Client, db: Session, estimated: Study
) -> None:
    path = f"/studies/{estimated.slug}/latents"
    query = {"sort": "estimated_effect", "order": "desc"}
    items = api.get(path, params=query).json()["items"]
    assert [item["index"] for item in items] == [4, 3, 2, 1, 5, 0, 6]
    assert [item["estimated_effect"] for item in items][-1] is None
    text = text_of(pages.get(path, params={**query, "show": "estimated_effect"}))
    assert "+0.01000" in text
    # What was estimated for an earlier explanation says nothing of the current one.
    db.execute(delete(EstimatedEffect).where(EstimatedEffect.mean > 0.009))
    db.commit()
    items = api.get(path, params={**query, "limit": 3}).json()["items"]
    assert [item["index"] for item in items] == [3, 2, 1]


def test_agreement_of_few_or_equal_figures_is_not_told() -> None:
    assert agreement([]) == Agreement(0, None, None)
    assert agreement([(1, 2), (2, 3), (3, 4)]) == Agreement(3, None, None)
    assert agreement([(1, 2)] * 5) == Agreement(5, None, None)
    ties = agreement([(0, 0), (0, 1), (1, 3), (2, 2), (float("nan"), 1)])
    assert (ties.latents, ties.rank_correlation) == (4, pytest.approx(0.737865))
