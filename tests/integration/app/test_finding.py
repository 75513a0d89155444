"""Finding latents: pages of the list, filters, search by words and by meaning, stars and lists."""

import math
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.services.latents import filters, listing
from app.services.latents.filter_schemas import LatentFilter, Part
from cli.fetch import fetch
from interp.embedding.embed import MODEL, embed
from models import Job, Latent, LatentList, LossEffect, Score, Study
from models.settings import get_settings
from models.shipped import STATIC
from tests.factories import little_study, reword
from tests.reading import current_of, latent_of, problem_of, text_of
from tests.studies import queue_job
from tests.working import work

MANY = 40


@pytest.fixture
def many(db: Session) -> Study:
    """A study with figures that are equal, missing (no row, no value) or not a number."""
    study = little_study(db, latents=MANY, simulated=0)
    rng = random.Random(0)
    for latent in db.scalars(select(Latent).filter_by(study_id=study.id)):
        latent.firing_rate = rng.choice([0.0, 0.1, 0.1, 0.3, rng.random()])
        of = {"explanation_id": latent.explanation_id, "simulator_id": study.simulator_id}
        if latent.explanation_id is None or rng.random() < 0.2:
            continue
        values = [0.5, 0.5, -0.2, None, math.nan, rng.random()]
        db.add(Score(**of, name="correlation", value=rng.choice(values), n=1))
        db.add(
            LossEffect(
                **of,
                condition="rewritten",
                calibration="isotonic",
                context_ids=[],
                strata=[],
                weights={},
                differences=[],
                mean=rng.choice([0.1, None, math.nan, -rng.random()]),
            )
        )
    db.commit()
    return study


@pytest.fixture(scope="module")
def meanings(data_folder: Path) -> Iterator[Path]:
    """The folder of the embedding model, fetched and distilled.

    It is gone after this file: whether it is there, says what follows an explain job.
    """
    folder = fetch(MODEL, data_folder, say=print)
    yield folder
    shutil.rmtree(folder)


def indices(db: Session, study: Study, **wanted: object) -> list[int]:
    found = listing.list_latents(db, study, Part.model_validate(wanted), limit=500)
    return [row["index"] for row in found.rows]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    "sort", ["index", "firing_rate", "correlation", "loss_effect", "sensitivity"]
)
def test_pages_forth_and_back(db: Session, many: Study, sort: str, order: str) -> None:
    """All latents, each once: sorted, what is missing last; and backwards the same."""
    wanted = Part.model_validate({"sort": sort, "order": order})
    seen: list[int] = []
    values: list[float | None] = []
    page = listing.list_latents(db, many, wanted, limit=7)
    forth = [page]
    assert page.before is None
    while page.after is not None:
        next_one = wanted.model_copy(update={"after": str(page.after)})
        page = listing.list_latents(db, many, next_one, limit=7)
        forth.append(page)
    for page in forth:
        seen += [row["index"] for row in page.rows]
        values += [row[sort] for row in page.rows]
    assert sorted(seen) == list(range(MANY))
    known = [v for v in values if v is not None and not math.isnan(v)]
    assert known == sorted(known, reverse=order == "desc")
    assert known == values[: len(known)], "missing comes last"
    assert len(known) < MANY or sort in ("index", "firing_rate")

    back = [page]
    while page.before is not None:
        before = wanted.model_copy(update={"before": str(page.before)})
        page = listing.list_latents(db, many, before, limit=7)
        back.append(page)
    again = [row["index"] for page in reversed(back) for row in page.rows]
    assert again == seen


@pytest.mark.parametrize("sort", ["index", "firing_rate", "correlation", "loss_effect"])
def test_neighbours_are_those_of_the_list(db: Session, many: Study, sort: str) -> None:
    wanted = LatentFilter.model_validate({"sort": sort, "order": "desc", "q": "fires"})
    order = indices(db, many, **wanted.state())
    assert len(order) == MANY - 1
    for at, index in enumerate(order):
        before, after = listing.neighbours(db, many, wanted, latent_of(db, many, index))
        assert before == (order[at - 1] if at else None)
        assert after == (order[at + 1] if at + 1 < len(order) else None)


def test_a_place_in_the_list_that_is_none(api: httpx.Client, study: Study) -> None:
    path = f"/studies/{study.slug}/latents"
    for cursor in ("nonsense", "1", "~", "nan~1", "1~x", "1e999~1", "~99999999999999999999"):
        assert api.get(path, params={"after": cursor}).status_code == 422, cursor
    problem_of(api.get(path, params={"after": "~1", "before": "~2"}), 422)
    assert api.get(path, params={"after": "~999999"}).json()["items"] == []


def test_filters(db: Session, study: Study) -> None:
    assert indices(db, study, firing_rate_min=0.02, firing_rate_max=0.03) == [1, 2]
    assert indices(db, study, correlation_min=0.45) == [0]
    assert indices(db, study, correlation_max=0.4) == [1], "0.4 is meant to be 0.4"
    assert indices(db, study, loss_effect_min=0.0015) == [1]
    for sort in ("loss_effect", "correlation", "firing_rate"):
        both = {"loss_effect_min": 0, "correlation_min": 0, "missing": True, "sort": sort}
        assert indices(db, study, **both) == [0], "filtered and sorted by the same table"
    assert indices(db, study, simulated=True) == [0, 1]
    assert indices(db, study, missing=True) == [0]
    assert indices(db, study, written_by="lexical") == [0, 1, 2, 3, 4]
    assert indices(db, study, edited=True) == []
    reword(db, study, 3)
    assert indices(db, study, edited=True) == [3]
    assert indices(db, study, written_by="ana") == [3]
    assert indices(db, study, written_by="lexical", simulated=True) == [0, 1]
    assert indices(db, study, on_list="starred") == []


def test_a_score_that_is_not_a_number_is_above_no_bound(db: Session, study: Study) -> None:
    current = current_of(db, study, 0)
    db.execute(update(Score).filter_by(explanation_id=current.id).values(value=math.nan))
    db.commit()
    assert indices(db, study, correlation_min=-1) == [1]
    assert indices(db, study, simulated=True) == [0, 1]


def test_words(db: Session, study: Study) -> None:
    texts = [
        "the government of nations",
        "governs a nation, kindly",
        "punctuation “;”",
        "kind “marks”…",
    ]
    for index, text in enumerate(texts):
        current_of(db, study, index).text = text
    db.commit()
    for query, found in {
        "gov": [0, 1],
        "governm": [0],
        "government": [0, 1],
        "governing": [0, 1],
        "nation kind": [1],
        "-kind nation": [0],
        '"nation kindly"': [1],
        '"kindly nation"': [],
        "kindly or punctuation": [1, 2, 3],
        "the": [0],
        "mark": [3],
        "marking": [3],
        "“marks”": [3],
        "marks…": [3],
        ";": [2],
        "“;”": [2],
        "%": [4],
        "'": [],
        "a & b | !": [],
    }.items():
        assert indices(db, study, q=query) == found, query


def test_the_count_stops(db: Session, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "COUNTED", 3)
    found = listing.list_latents(db, study, Part(q="fires"), limit=1)
    assert (found.total, found.more) == (3, True)
    assert listing.list_latents(db, study, Part(), limit=1).total == 6

    # Further down the list it is known that they are many: nothing is counted again.
    monkeypatch.setattr(filters, "COUNTED", 300)
    further = listing.list_latents(db, study, Part(q="fires", after=str(found.after)), limit=1)
    assert (further.total, further.more) == (300, True)
    assert further.rows[0]["index"] == found.rows[0]["index"] + 1
    again = Part(q="fires", before=str(further.before))
    assert listing.list_latents(db, study, again, limit=1).rows == found.rows
    assert listing.list_latents(db, study, Part(q="fires", after="~0"), limit=1).total < 300


def test_search_by_meaning(
    meanings: Path,
    db: Session,
    study: Study,
    pages: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["prices in dollars and cents", "soldiers and armies", "names of months", "old ships"]
    for index, text in enumerate(texts):
        current_of(db, study, index).text = text
    db.execute(update(Latent).filter_by(study_id=study.id, index=4).values(explanation_id=None))
    db.commit()
    assert indices(db, study, meaning="money") == []
    page = text_of(pages.get(f"/studies/{study.slug}/latents", params={"meaning": "money"}))
    assert "Embed explanations for search" in page

    queued = pages.post(f"/studies/{study.slug}/embed")
    assert queued.headers["location"] == f"/studies/{study.slug}/jobs"
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="embed")).one()
    done = work(db, job, study)
    assert (done[-1].done, done[-1].total, done[-1].unit) == (4, 4, "explanations")
    pages.post(f"/jobs/{job.id}/cancel")

    def nearest(words: str, **more: object) -> int:
        exact = indices(db, study, meaning=words, **more)
        with monkeypatch.context() as few:
            few.setattr(filters, "COUNTED", 0)  # as if the study were too large to compare all
            assert indices(db, study, meaning=words, **more) == exact
        return exact[0]

    assert nearest("money") == 0
    assert nearest("war") == 1
    assert nearest("calendar") == 2
    assert nearest("war", q="months or dollars") in (0, 2)
    assert indices(db, study, meaning="☃") == [], "a text without a direction is near nothing"
    wanted = LatentFilter(meaning="money")
    assert listing.neighbours(db, study, wanted, latent_of(db, study, 0))[0] is None
    page = text_of(pages.get(f"/studies/{study.slug}/latents", params={"meaning": "money"}))
    assert "nearest in meaning to “money”" in page
    assert "Embed explanations for search" not in page
    problem_of(pages.post(f"/api/v1/studies/{study.slug}/embed"), 409)


def test_pages_of_a_search_by_meaning(meanings: Path, db: Session) -> None:
    study = little_study(db, latents=20, simulated=0)
    work(db, queue_job(db, study, "embed"), study)
    first = listing.list_latents(db, study, Part(meaning="number five"), limit=7)
    pages = [first]
    while (after := pages[-1].after) is not None:
        part = Part(meaning="number five", after=str(after))
        pages.append(listing.list_latents(db, study, part, limit=7))
    seen = [row["index"] for page in pages for row in page.rows]
    assert [len(page.rows) for page in pages] == [7, 7, 5]
    assert sorted(seen) == list(range(19))
    near = [row["nearness"] for page in pages for row in page.rows]
    assert near == sorted(near, reverse=True)
    part = Part(meaning="number five", before=str(pages[-1].before))
    assert listing.list_latents(db, study, part, limit=7).rows == pages[-2].rows


def test_a_saved_explanation_is_found_by_its_meaning(
    meanings: Path, db: Session, study: Study, pages: httpx.Client
) -> None:
    path = f"/studies/{study.slug}/latents/2/explanations"
    assert pages.post(path, data={"text": "cannons and muskets"}).status_code == 303
    assert indices(db, study, meaning="weapons") == [2]
    vector = db.scalar(select(Latent.embedding).filter_by(id=latent_of(db, study, 2).id))
    # It is stored in half precision.
    np.testing.assert_allclose(vector, embed(meanings, ["cannons and muskets"])[0], atol=1e-3)


def test_without_the_model_the_page_says_how_to_fetch_it(
    servers: object, db: Session, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    from app.main import app

    monkeypatch.setattr(get_settings(), "home", tmp_path)
    with TestClient(app, base_url="http://localhost") as client:
        page = client.get(f"/studies/{study.slug}/latents", params={"meaning": "money"})
        assert page.status_code == 200
        assert "palimpsest fetch all-minilm-l6-v2" in page.text
        answer = client.get(f"/api/v1/studies/{study.slug}/latents", params={"meaning": "money"})
        assert "palimpsest fetch all-minilm-l6-v2" in problem_of(answer, 409)
        inside = client.get(f"/studies/{study.slug}/latents/0", params={"meaning": "money"})
        assert inside.status_code == 200


def test_stars_and_lists(api: httpx.Client, study: Study) -> None:
    at = f"/studies/{study.slug}"

    def on(name: str) -> list[int]:
        found = api.get(f"{at}/latents", params={"on_list": name}).json()
        return [item["index"] for item in found["items"]]

    assert api.put(f"{at}/latents/3/star").json() == {"index": 3, "starred": True}
    api.put(f"{at}/latents/3/star")
    assert on("starred") == [3]
    starred = {item["index"]: item["starred"] for item in api.get(f"{at}/latents").json()["items"]}
    assert starred == {index: index == 3 for index in range(6)}
    added = api.post(f"{at}/lists", json={"name": " to  reword ", "simulated": True})
    assert added.status_code == 201
    reword_list = added.json()["list"]
    assert (reword_list["name"], reword_list["latents"]) == ("to reword", 2)
    assert on("to reword") == [0, 1]
    more = api.post(f"{at}/lists", json={"name": "to reword", "latents": [1, 4]}).json()
    assert (more["changed"], more["list"]["latents"]) == (1, 3)
    removed = api.post(f"/lists/{reword_list['id']}/remove", json={"latents": [0, 1]}).json()
    assert (removed["changed"], removed["list"]["latents"]) == (2, 1)
    assert on("to reword") == [4]
    lists = api.get(f"{at}/lists").json()
    assert [(one["name"], one["latents"]) for one in lists] == [("starred", 1), ("to reword", 1)]
    assert "no latent 99" in problem_of(
        api.post(f"{at}/lists", json={"name": "x", "latents": [99]}), 404
    )
    assert "No latent matches" in problem_of(
        api.post(f"{at}/lists", json={"name": "x", "q": "zzz"}), 409
    )
    problem_of(api.post(f"{at}/lists", json={"name": "  "}), 422)
    problem_of(api.put(f"{at}/latents/99/star"), 404)
    assert [one["name"] for one in api.get(f"{at}/lists").json()] == ["starred", "to reword"]
    assert api.delete(f"{at}/latents/3/star").json() == {"index": 3, "starred": False}
    assert on("starred") == []
    assert api.delete(f"/lists/{reword_list['id']}").status_code == 204
    problem_of(api.get(f"/lists/{reword_list['id']}"), 404)


def test_lists_without_scripts(pages: httpx.Client, db: Session, study: Study) -> None:
    at = f"/studies/{study.slug}"
    back = f"{at}/latents?q=number%203&sort=loss_effect"
    star = pages.post(f"{at}/latents/3/star", data={"on": "true", "next": back})
    assert (star.status_code, star.headers["location"]) == (303, back)
    assert pages.post(f"{at}/latents/3/star", data={"on": "true", "next": "//x"}).status_code == 422
    assert 'aria-pressed="true"' in pages.get(f"{at}/latents/3").text
    ticked = {"name": "mine & yours", "which": "ticked", "latents": ["1", "2"], "q": "number"}
    added = pages.post(f"{at}/lists", data=ticked)
    assert added.headers["location"] == f"{at}/latents?on_list=mine+%26+yours"
    listed = pages.get(added.headers["location"])
    assert "2 of 6 latents on the list “mine & yours”" in text_of(listed)
    assert "On the list mine & yours." in text_of(pages.get(f"{at}/latents/2"))
    pages.post(f"{at}/lists", data={"name": "threes", "which": "all", "q": "number 3"})
    assert "1 of 6 latents" in text_of(pages.get(f"{at}/latents?on_list=threes"))
    nothing = pages.post(f"{at}/lists", data={"name": "mine", "which": "ticked"})
    assert nothing.status_code == 409 and "Tick the latents" in nothing.text
    mine = db.scalars(select(LatentList).filter_by(study_id=study.id, name="mine & yours")).one()
    pages.post(f"/lists/{mine.id}/remove", data={"which": "ticked", "latents": ["1"]})
    assert "1 of 6 latents" in text_of(pages.get(added.headers["location"]))
    assert "threes 1" in text_of(pages.get(f"{at}/lists"))
    assert pages.post(f"/lists/{mine.id}/delete").headers["location"] == f"{at}/lists"
    assert "There is no list “mine & yours”" in text_of(pages.get(added.headers["location"]))


def test_the_whole_filter_goes_to_the_work_page(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    query = "q=number&correlation_max=0.45&simulated=true"
    listed = pages.get(f"/studies/{study.slug}/latents?{query}&sort=loss_effect")
    assert f'href="/studies/{study.slug}/work?{query}"'.replace("&", "&amp;") in listed.text
    work = pages.get(f"/studies/{study.slug}/work?{query}")
    assert "with “number” in the explanation, with correlation ≤ 0.45, simulated" in text_of(work)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', work.text))
    assert fields["correlation_max"] == "0.45"
    fields |= {"task": "simulate", "simulator_id": str(study.simulator_id)}
    assert pages.post(f"/studies/{study.slug}/work", data=fields).status_code == 303
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="simulate")).one()
    assert job.params["explanation_ids"] == [current_of(db, study, 1).id]
    pages.post(f"/jobs/{job.id}/cancel")


def test_draw_a_latent(pages: httpx.Client, api: httpx.Client, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/random?simulated=true"
    drawn = {pages.get(path).headers["location"] for _ in range(30)}
    assert drawn == {f"/studies/{study.slug}/latents/{index}?simulated=true" for index in (0, 1)}
    assert api.get(path).json()["index"] in (0, 1)
    none = pages.get(f"/studies/{study.slug}/latents/random?q=zzz")
    assert none.headers["location"] == f"/studies/{study.slug}/latents?q=zzz", "the list says why"


def test_answers_are_compressed(pages: httpx.Client, study: Study) -> None:
    path = f"/studies/{study.slug}/latents"
    page = pages.get(path)
    assert page.headers["content-encoding"] == "gzip"
    plain = pages.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert page.text == plain.text and len(plain.content) > 2 * int(page.headers["content-length"])
    assert page.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in pages.get("/jobs/now").headers, "too little to gain"
    script = pages.get("/static/vendor/vega.min.js")  # sent in parts
    assert script.headers["content-encoding"] == "gzip"
    assert script.content == (STATIC / "vendor/vega.min.js").read_bytes()
