"""What a person reads of a latent: its examples, lanes, agreement, and the latents like it."""

import gzip
import re
import shutil

import httpx
import numpy as np
import pytest
from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session

from app.services.latents.agreement import DRAWN
from app.services.latents.examples import bins, intervals
from models import Context, Example, Latent, Simulation, Study
from models.settings import get_settings
from tests.engine import random_coder
from tests.factories import CONTEXTS, LENGTH, little_study
from tests.reading import current_of, latent_of, problem_of, text_of
from tests.text_study import LATENTS, store_activations, text_study
from workers.tasks.collect.latents import Latents


@pytest.fixture
def study(db: Session) -> Study:
    return text_study(db)


def _here(study: Study, index: int = 0) -> str:
    return f"/studies/{study.slug}/latents/{index}"


def _sources(page: str) -> list[str]:
    return re.findall(r'<p class="source">', page)


def test_only_the_asked_examples_are_on_the_page(pages: httpx.Client, study: Study) -> None:
    counts = {"top": 6, "random": 4, "hard_negative": 4}
    for tab, count in counts.items():
        page = pages.get(_here(study), params={"examples": tab}).text
        assert len(_sources(page)) == count
        assert re.search(rf'id="examples-{tab}"[^>]*aria-current="true"', page)
    near = pages.get(_here(study), params={"examples": "hard_negative"}).text
    assert near.count("peak 0.00") == 4
    assert _sources(pages.get(_here(study)).text) == _sources(
        pages.get(_here(study), params={"examples": "top"}).text
    )


def test_an_unknown_view_is_refused(pages: httpx.Client, study: Study) -> None:
    for query in ("examples=best", "lanes=three", "text=half", "breaks=perhaps"):
        response = pages.get(f"{_here(study)}?{query}")
        assert response.status_code == 422, query
        assert query.split("=")[0] in text_of(response)
    response = pages.get(_here(study), headers={"HX-Current-URL": "http://[x?lanes=three"})
    assert response.status_code == 200


def test_parts_that_come_again_keep_the_view(pages: httpx.Client, study: Study) -> None:
    current = f"{pages.base_url}{_here(study)}?examples=random&lanes=difference&breaks=true"
    again = pages.get(_here(study), headers={"HX-Current-URL": current}).text
    for link in ("examples-random", "lanes-difference", "breaks-on", "text-snippet"):
        assert re.search(rf'id="{link}"[^>]*aria-current="true"', again), link
    # A link back to what is not named in an address names it all the same.
    part = re.search(r'id="examples-top" [^>]*hx-get="([^"]+)"', again)
    assert part is not None
    back = pages.get(part[1].replace("&amp;", "&"), headers={"HX-Current-URL": current}).text
    assert re.search(r'id="examples-top"[^>]*aria-current="true"', back)
    assert re.search(r'id="lanes-difference"[^>]*aria-current="true"', back)


def test_a_tooltip_has_every_value(pages: httpx.Client, db: Session, study: Study) -> None:
    listed = pages.get(f"/api/v1{_here(study)}/examples", params={"kind": "top"}).json()["items"]
    assert {item["kind"] for item in listed} == {"top"}
    page = pages.get(_here(study), params={"text": "full"}).text
    titles = iter(re.findall(r'<span class="t[^>]*title="([^"]*)"', page))
    seen = set()
    for item in listed:
        context = db.get_one(Context, item["context_id"])
        assert [token["id"] for token in item["tokens"]] == context.tokens
        for token in item["tokens"]:
            title = next(titles)
            seen.add(token["state"])
            assert f"oken {token['id']}" in title
            assert f"real {token['real']:.2f}" in title
            if token["state"] == "simulated":
                assert f"simulated {token['simulated']:.2f} of 9" in title
                assert f"calibrated {token['calibrated']:.2f}" in title
                difference = token["calibrated"] - token["real"]
                assert token["difference"] == pytest.approx(difference, abs=1e-6)
                rounded = f"{difference:+.2f}".replace("-", "−")
                assert f"difference {'0.00' if rounded[1:] == '0.00' else rounded}" in title
            else:
                assert token["simulated"] is token["difference"] is None
    assert seen == {"bos", "missing", "simulated"}
    assert len(re.findall(r'class="t missing"', page)) == 6, "each misses one value"


def test_folded_examples_name_every_source(pages: httpx.Client, db: Session, study: Study) -> None:
    contexts = db.scalars(
        select(Context).filter_by(study_id=study.id, set="explain").order_by(Context.index)
    ).all()
    assert contexts[0].strings == contexts[1].strings
    assert contexts[0].document != contexts[1].document
    latent = latent_of(db, study, 4)
    examples = db.scalars(select(Example).filter_by(latent_id=latent.id, kind="random")).all()
    used = {
        example.context_id for example in db.scalars(select(Example).filter_by(latent_id=latent.id))
    }
    examples[0].context_id, examples[1].context_id = contexts[0].id, contexts[1].id
    assert used
    db.commit()
    page = text_of(pages.get(_here(study, 4), params={"examples": "random", "text": "full"}))
    assert page.count("the same text 2 times") == 1
    assert contexts[0].document in page and contexts[1].document in page
    assert len(_sources(pages.get(_here(study, 4), params={"examples": "random"}).text)) == 3


def test_intervals_share_out_what_it_fires_on(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    latent = latent_of(db, study, 0)
    dense = [
        float(np.float32(fires(text, i)))
        for fires in [LATENTS[0][1]]
        if fires is not None
        for context in db.scalars(select(Context).filter_by(study_id=study.id, set="explain"))
        for i, text in enumerate(context.strings)
        if i and fires(text, i)
    ]
    found = intervals(latent)
    assert found[0].high == pytest.approx(max(dense), abs=1e-4)
    for interval in found:
        last = interval is found[0]
        inside = [interval.low <= v and (last or v < interval.high) for v in dense]
        assert interval.share == pytest.approx(np.mean(inside), abs=1e-6)
    listed = pages.get(f"/api/v1{_here(study)}").json()
    assert [one["share"] for one in listed["intervals"]] == [one.share for one in found]
    assert sum(listed["histogram"]) == len(dense)
    assert pages.get(f"/api/v1{_here(study, 2)}").json()["intervals"] == []

    page = pages.get(_here(study), params={"examples": "interval"}).text
    heads = re.findall(r"interval-head\">([\d.]+) to ([\d.]+)", page)
    assert len(heads) == sum(bool(one.share) for one in found)
    for part, (low, high) in zip(page.split("interval-head")[1:], heads, strict=True):
        peaks = [float(peak) for peak in re.findall(r"peak ([\d.]+)</span> ·", part)]
        assert all(float(low) <= peak <= float(high) for peak in peaks)


def test_without_a_histogram_shares_follow_from_quantiles(pages: httpx.Client, db: Session) -> None:
    older = text_study(db, simulated=0, kept=False)
    shares, counted = bins(latent_of(db, older, 3), 40)
    assert not counted
    assert sum(shares) == pytest.approx(1)
    even = Latent(max_activation=10.0, quantiles=np.linspace(0, 10, 11).tolist(), histogram=None)
    assert bins(even, 5)[0] == pytest.approx([0.2] * 5)
    page = pages.get(_here(older, 3), params={"examples": "interval"})
    assert "from its deciles" in text_of(page)
    assert "Shares are read off its deciles" in text_of(page)


def _of_calibrate(db: Session, study: Study, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw simulated and real values of a latent, worked out again from the text."""
    fires = LATENTS[index][1]
    assert fires is not None
    simulation = db.scalars(
        select(Simulation).filter_by(
            explanation_id=current_of(db, study, index).id, set="calibrate"
        )
    ).one()
    real = [
        [fires(text, i) for i, text in enumerate(db.get_one(Context, one).strings)]
        for one in simulation.context_ids
    ]
    return simulation.values[:, 1:], np.array(real)[:, 1:]


def test_agreement_counts_all_tokens_and_draws_some(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    raw, real = _of_calibrate(db, study, 0)
    found = pages.get(f"/api/v1{_here(study)}/agreement").json()
    assert found["active"] == (real > 0).sum() == found["active_drawn"]
    assert found["active"] + found["silent"] == real.size
    assert found["silent"] > DRAWN == len(found["points"]) - found["active_drawn"]
    for one in found["thresholds"]:
        predicted = raw > one["threshold"]
        assert one["true_positives"] == (predicted & (real > 0)).sum()
        assert one["false_positives"] == (predicted & (real == 0)).sum()
        assert one["false_negatives"] == (~predicted & (real > 0)).sum()
        assert one["true_negatives"] == (~predicted & (real == 0)).sum()
    scores = {
        one["name"]: one["value"] for one in pages.get(f"/api/v1{_here(study)}").json()["scores"]
    }
    assert found["as_often"]["sensitivity"] == pytest.approx(scores["sensitivity"], abs=1e-6)
    assert found["as_often"]["specificity"] == pytest.approx(scores["specificity"], abs=1e-6)
    for point in found["points"][:50]:
        context = db.get_one(Context, point["context_id"])
        assert (point["token"], point["document"]) == (
            context.strings[point["position"]],
            context.document,
        )
        assert point["calibrated"] == pytest.approx(
            np.interp(point["raw"], *found["calibration_map"])
        )
    page = text_of(pages.get(f"{_here(study)}/agreement"))
    assert f"silent 1,000 of {found['silent']:,} drawn, at random" in page
    assert f"active {found['active']} of {found['active']} drawn" in page
    problem_of(pages.get(f"/api/v1{_here(study, 3)}/agreement"), 404)


def test_missing_values_count_nowhere(pages: httpx.Client, db: Session, study: Study) -> None:
    simulation = db.scalars(
        select(Simulation).filter_by(explanation_id=current_of(db, study, 0).id, set="calibrate")
    ).one()
    values = simulation.values.copy()
    values[:3, 1:] = np.nan
    simulation.values = values
    db.commit()
    found = pages.get(f"/api/v1{_here(study)}/agreement").json()
    assert found["missing"] == 3 * (values.shape[1] - 1)
    assert found["active"] + found["silent"] + found["missing"] == values[:, 1:].size
    assert f"{found['missing']} tokens have no simulated value" in text_of(
        pages.get(f"{_here(study)}/agreement")
    )


def test_agreement_without_the_activations_says_so(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    shutil.rmtree(get_settings().activations(study.id, "calibrate"))
    assert "PALIMPSEST_HOME" in problem_of(pages.get(f"/api/v1{_here(study)}/agreement"), 404)
    page = pages.get(f"{_here(study)}/agreement")
    assert page.status_code == 200
    assert "Activations of 60 contexts are missing" in text_of(page)
    assert "predicted active" not in text_of(page)


def test_similar_latents(pages: httpx.Client, db: Session, study: Study) -> None:
    for index, angle in ((0, 0.0), (1, 0.5), (3, 0.1), (4, 2.0)):
        latent_of(db, study, index).embedding = _direction(angle)
    db.commit()
    found = pages.get(f"/api/v1{_here(study)}/similar").json()
    assert [one["latent"] for one in found["by_meaning"]] == [3, 1, 4]
    assert found["by_meaning"][0]["cosine"] == pytest.approx(np.cos(0.1), abs=1e-4)
    assert found["by_direction"][0]["latent"] == 4
    assert found["by_direction"][0]["explanation"] == "words about money"
    assert 2 not in [one["latent"] for one in found["by_direction"]], "it is dead"
    page = pages.get(f"{_here(study)}/similar").text
    assert f'href="{_here(study, 4)}"' in page
    assert pages.get(f"/api/v1{_here(study, 5)}/similar").json()["by_meaning"] is None


def _direction(angle: float) -> np.ndarray:
    vector = np.zeros(384, np.float32)
    vector[:2] = np.cos(angle), np.sin(angle)
    return vector


def test_a_study_of_an_older_version_says_how_to_get_them(pages: httpx.Client, db: Session) -> None:
    older = text_study(db, simulated=0, kept=False)
    assert pages.get(f"/api/v1{_here(older)}/similar").json()["by_direction"] is None
    page = text_of(pages.get(f"{_here(older)}/similar"))
    assert f"palimpsest collect {older.slug} --first-latents 0" in page


def test_collecting_completes_what_an_older_version_left_out(db: Session) -> None:
    study = little_study(db, latents=12, simulated=0, rewritten=False)
    coder = random_coder(num_latents=12)
    decoder = coder.decoder.numpy()
    dense = np.random.default_rng(0).random((12, CONTEXTS, LENGTH)).astype(np.float32)
    dense[dense < 0.8] = 0
    dense[11] = dense[:, :, 0] = 0
    store_activations(study, "explain", dense)
    kept = latent_of(db, study, 3)
    kept.histogram = [1, 2]
    db.commit()
    Latents(db, study, coder).complete(range(12))
    db.commit()
    rows = db.scalars(select(Latent).filter_by(study_id=study.id).order_by(Latent.index)).all()
    directions = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    for latent in rows:
        db.refresh(latent)
        assert latent.similar is not None and latent.histogram is not None
        if latent.index == 3:
            assert latent.histogram == [1, 2], "what is there is left as it is"
        else:
            assert sum(latent.histogram) == (dense[latent.index] > 0).sum()
        if latent.max_activation == 0:
            assert latent.index in (10, 11)
            assert latent.similar == [], "a dead latent has no neighbours"
            continue
        cosines = directions @ directions[latent.index]
        order = [i for i in np.argsort(-cosines) if i not in (latent.index, 10, 11)]
        assert [index for index, _ in latent.similar] == order
        assert [c for _, c in latent.similar] == pytest.approx(cosines[order], abs=1e-5)
    before = _transactions(db, study)
    Latents(db, study, coder).complete(range(12))
    db.commit()
    assert _transactions(db, study) == before, "a second time there is nothing to do"


def _transactions(db: Session, study: Study) -> list[str]:
    """The transactions that wrote the latents of a study."""
    query = select(literal_column("latent.xmin::text")).select_from(Latent)
    return list(db.scalars(query.where(Latent.study_id == study.id).order_by(Latent.id)))


def test_a_dead_latent_shows_nothing_empty(pages: httpx.Client, study: Study) -> None:
    page = pages.get(_here(study, 2)).text
    assert "never fires on the explain set" in page
    assert "none of 6,240 tokens" in page
    for part in ("scores", "loss-effect", "examples", "history", "edit", "like-it"):
        assert f'id="{part}"' not in page, part


def test_a_page_is_light(pages: httpx.Client, study: Study) -> None:
    for query in (
        "",
        "?examples=interval&text=full",
        "?examples=interval&text=full&lanes=difference",
    ):
        page = pages.get(_here(study) + query).content
        assert len(gzip.compress(page)) < 30_000
