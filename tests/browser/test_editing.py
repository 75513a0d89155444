"""Editing a latent's explanation, its history, comments, comparisons and errors: what people do."""

import json
import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from interp.corpus.activations import ActivationStore, Shard
from interp.simulate.prompted.all_at_once import VERSION
from models import Calibration, Comment, Context, Explanation, Job, Simulation, Simulator, Study
from models.settings import get_settings
from tests.factories import LENGTH, little_study, reword
from tests.reading import current_of, latent_of, problem_of, text_of


@pytest.fixture
def study(db: Session) -> Study:
    study = little_study(db)
    simulator = db.get_one(Simulator, study.simulator_id)
    simulator.prompt_version = VERSION
    db.commit()
    return study


WORDS = [
    "<s>",
    "He",
    " named",
    " three",
    " of",
    " the",
    " seven",
    " states",
    " in",
    " his",
    " speech",
    ".",
]


@pytest.fixture
def erring(db: Session, study: Study) -> Study:
    """A study with real and simulated values on three calibrate contexts of latent 0.

    Context 0: silent, predicted fully active on “ seven”. Context 1: 4 on “ three”, predicted 0.
    Context 2: silent, and missing where it would be most wrong.
    """
    contexts = [
        Context(
            study_id=study.id,
            set="calibrate",
            index=index,
            document=f"Speech {index}",
            start=11 * index,
            tokens=list(range(LENGTH)),
            strings=WORDS,
        )
        for index in range(3)
    ]
    db.add_all(contexts)
    db.flush()
    explanation = current_of(db, study, 0)
    of = {"explanation_id": explanation.id, "set": "calibrate"}
    values = np.zeros((3, LENGTH), np.float32)
    values[:, 0] = np.nan
    values[0, 6] = 9
    values[2, 5] = np.nan
    changes = {"context_ids": [c.id for c in contexts], "values": values, "missing": 1}
    db.execute(update(Simulation).filter_by(**of).values(**changes))
    db.commit()
    offsets = np.zeros(7, np.int64)
    offsets[1:] = 1
    tokens = 3 * (LENGTH - 1)
    shard = Shard(offsets, np.array([LENGTH + 3]), np.array([4.0]), np.zeros(2), tokens)
    study.contexts_calibrate = 3
    db.commit()
    folder = get_settings().activations(study.id, "calibrate")
    ActivationStore(folder, **study.collected("calibrate")).write(0, shard)
    return study


def save(
    pages: httpx.Client, study: Study, index: int, text: str, parent: int | None = None
) -> int:
    """Save an explanation by the API, as somebody else's browser would; its number."""
    path = f"/api/v1/studies/{study.slug}/latents/{index}/explanations"
    made = pages.post(path, json={"text": text, "parent_id": parent})
    assert made.status_code == 201, made.text
    return int(made.json()["explanation"]["id"])


def versions_of(db: Session, study: Study, index: int) -> Select[tuple[int]]:
    """Numbers of all versions of a latent's text, oldest first."""
    latent = latent_of(db, study, index)
    return select(Explanation.id).filter_by(latent_id=latent.id).order_by(Explanation.id)


def test_the_preview_without_scripts_and_by_the_api(pages: httpx.Client, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/3/preview"
    page = pages.post(path, data={"text": "the word\tstate"})
    assert "<mark>the word state</mark>" in page.text
    assert " fellow\t\n citizens" in page.text.replace("\r", ""), "the example, token by token"
    assert "the text is empty" in pages.post(path, data={"text": " "}).text
    body = pages.post(f"/api/v1{path}", json={"text": "the word\tstate"}).json()
    assert body["explanation"] == "the word state"
    assert body["before"].endswith("Description: ")
    problem_of(pages.post(f"/api/v1{path}", json={"text": ""}), 422)


def test_the_worst_errors_of_an_explanation(
    pages: httpx.Client, db: Session, erring: Study
) -> None:
    current = current_of(db, erring, 0)
    answer = pages.get(f"/api/v1/explanations/{current.id}/errors")
    assert answer.status_code == 200, answer.text
    errors = answer.json()
    (positive,), (negative,) = errors["false_positives"], errors["false_negatives"]
    assert (positive["document"], positive["position"]) == ("Speech 0", 6)
    token = positive["tokens"][positive["at"]]
    assert (token["text"], token["real"]) == (" seven", 0)
    assert token["predicted"] == {"state": "simulated", "raw": 9, "calibrated": 5}
    assert positive["tokens"][0]["text"] == "He", "the token that begins the sequence is left out"
    token = negative["tokens"][negative["at"]]
    assert (token["text"], token["real"], token["predicted"]["raw"]) == (" three", 4, 0)
    assert (errors["contexts"], errors["missing"], errors["problem"]) == (3, 1, "")
    page = text_of(pages.get(f"/studies/{erring.slug}/latents/0/errors"))
    assert "The worst of 3 calibrate contexts" in page
    assert "1 missing, which counts as no error" in page
    assert "“seven” is 0.00, predicted 5.00 · Speech 0" in page
    assert "The loss is measured on the evaluate set" in page


def test_errors_that_cannot_be_said(pages: httpx.Client, db: Session, study: Study) -> None:
    def problem(index: int) -> str:
        current = current_of(db, study, index)
        errors = pages.get(f"/api/v1/explanations/{current.id}/errors").json()
        assert errors["false_positives"] == errors["false_negatives"] == []
        page = pages.get(f"/studies/{study.slug}/latents/{index}/errors")
        assert errors["problem"] in text_of(page)
        return str(errors["problem"])

    assert "not simulated on the calibrate set" in problem(3)
    assert "there is no folder" in problem(0)
    for calibration in db.scalars(select(Calibration)):
        db.delete(calibration)
    db.commit()
    assert "Every simulated value is missing" in problem(0)
    assert pages.get(f"/studies/{study.slug}/latents/5/errors").status_code == 409


def test_refining_from_the_errors(
    web: str, pages: httpx.Client, db: Session, erring: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{erring.slug}/latents/0/errors")
    for job in db.scalars(select(Job).where(Job.params.has_key("llm"))):
        job.params = {k: v for k, v in job.params.items() if k != "llm"}
    db.commit()
    page.reload()
    expect(page.locator(".refine")).to_contain_text("It needs a language model")
    page.get_by_label("Language model").fill("models/some-model")
    page.get_by_role("button", name="Refine").click()
    page.wait_for_url(f"**/studies/{erring.slug}/latents/0")
    job = db.scalars(select(Job).filter_by(study_id=erring.id, kind="explain")).one()
    assert (job.params["method"], job.params["latents"]) == ("refine", [0])
    assert job.params["llm"]["model"] == "models/some-model"
    assert job.params["then_simulate"]["simulator_id"] == erring.simulator_id
    page.goto(f"{web}/studies/{erring.slug}/latents/0/errors")
    expect(page.get_by_role("button", name="Refine with some-model")).to_be_visible()
    pages.post(f"/api/v1/jobs/{job.id}/cancel")


def test_an_error_goes_into_the_edit(web: str, erring: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{erring.slug}/latents/0")
    page.get_by_text("Which examples does this explanation get wrong?").click()
    page.locator(".wrongs").first.get_by_role("button", name="Add to the edit").click()
    expect(page.locator("#notes")).to_contain_text("predicted active: is 0.00, predicted 5.00")
    expect(page.locator("#notes mark")).to_have_text(" seven")
    page.reload()
    expect(page.locator("#notes li")).to_have_count(1)
    page.get_by_role("button", name="Take “seven” off this list").click()
    expect(page.locator("#notes")).to_be_hidden()
    page.reload()
    expect(page.locator("#notes")).to_be_hidden()


# Writing


def test_keys_count_and_preview(web: str, db: Session, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    page.get_by_text("What the simulator will read").click()
    expect(page.locator(".reading mark")).to_have_text("fires on word number 3, 100%_sure")
    box = page.locator("#text")
    box.fill("the word 𝔰tate")
    expect(page.locator("#count")).to_have_text("14")
    expect(page.locator(".reading mark")).to_have_text("the word 𝔰tate")
    box.press("Escape")
    expect(box).not_to_be_focused()
    expect(box).to_have_value("the word 𝔰tate")
    box.press("Control+Enter")
    expect(page.locator("#edit-feedback")).to_contain_text("Saved.")
    assert current_of(db, study, 3).text == "the word 𝔰tate"
    page.reload()
    expect(page.locator("#unsaved")).to_be_hidden()


def test_unsaved_text_is_offered_and_never_put_in(
    web: str, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    server = page.locator("#text").input_value()
    page.locator("#text").fill("a first thought")
    page.reload()
    expect(page.locator("#text")).to_have_value(server)
    expect(page.locator("#unsaved blockquote")).to_have_text("a first thought")
    # Writing on without an answer keeps both.
    page.locator("#text").fill("a second thought")
    page.reload()
    expect(page.locator("#unsaved blockquote")).to_have_count(2)
    page.locator(".offer", has_text="a first thought").get_by_role(
        "button", name="Restore the unsaved text"
    ).click()
    expect(page.locator("#text")).to_have_value("a first thought")
    expect(page.locator("#unsaved blockquote")).to_have_text("a second thought")
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#unsaved")).to_be_hidden()
    # Another latent has its own.
    page.goto(f"{web}/studies/{study.slug}/latents/2")
    expect(page.locator("#unsaved")).to_be_hidden()
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    expect(page.locator("#unsaved blockquote")).to_have_text("a first thought")
    page.get_by_role("button", name="Restore the unsaved text").click()
    page.get_by_role("button", name="Save and re-simulate").click()
    expect(page.locator("#edit-feedback")).to_contain_text("Saved.")
    page.reload()
    expect(page.locator("#unsaved")).to_be_hidden()


def test_a_refused_text_is_kept_unsaved(web: str, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/3")
    page.locator("#text").fill("x" * 2001)
    page.locator("#text").press("Control+Enter")
    expect(page.locator("#edit-feedback")).to_contain_text("this has 2,001")
    expect(page.locator("#text")).to_have_value("x" * 2001)
    page.reload()
    expect(page.locator("#unsaved blockquote")).to_have_text("x" * 2001)


@pytest.mark.parametrize("choice", ["mine", "theirs"])
def test_somebody_else_saves_while_one_writes(
    web: str, pages: httpx.Client, db: Session, study: Study, browser_page: Page, choice: str
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/2")
    page.locator("#text").fill("my words")
    start = current_of(db, study, 2).id
    theirs = save(pages, study, 2, "fires on theirs number 2", start)
    expect(page.locator("#others")).to_contain_text("saved another version")
    expect(page.locator("#others ins")).to_have_text("theirs")
    expect(page.locator("#text")).to_have_value("my words")
    if choice == "mine":
        page.get_by_role("button", name="Keep mine").click()
        expect(page.locator("#text")).to_have_value("my words")
        page.locator("#text").press("Control+Enter")
        expect(page.locator("#edit-feedback")).to_contain_text("It is now the current explanation")
        saved = current_of(db, study, 2)
        assert (saved.text, saved.parent_id) == ("my words", theirs)
    else:
        page.get_by_role("button", name="Use theirs").click()
        expect(page.locator("#text")).to_have_value("fires on theirs number 2")
        expect(page.locator("#unsaved blockquote")).to_have_text("my words")
        page.reload()
        page.get_by_role("button", name="Restore the unsaved text").click()
        expect(page.locator("#text")).to_have_value("my words")
        # It was written before theirs, and the page says so again.
        expect(page.locator("#others")).to_contain_text("saved another version")
    texts = {
        e.text
        for e in db.scalars(select(Explanation).filter_by(latent_id=latent_of(db, study, 2).id))
    }
    assert "fires on theirs number 2" in texts


# History


def test_the_history_shows_what_changed(pages: httpx.Client, db: Session, study: Study) -> None:
    first = current_of(db, study, 0).id
    effect = reword(db, study, 0)
    page = pages.get(f"/studies/{study.slug}/latents/0").text
    history = page[page.index('id="history"') :]
    assert "<ins>another</ins>" in history
    assert "<del>fires on word number 0" in history
    assert history.count("AUROC") == 0, "only scores that there are"
    assert history.count("<summary>all scores</summary>") == 2
    assert f"compare?a={first}&amp;b={effect.explanation_id}" in history
    assert f"?restore={first}#edit" in history


def test_comments(
    web: str, pages: httpx.Client, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    explanation = current_of(db, study, 1)
    page.goto(f"{web}/studies/{study.slug}/latents/1")
    page.locator("#history summary", has_text="comment").click()
    box = page.get_by_label("Comment on version 1")
    box.fill("half of")
    # Somebody comments meanwhile; what is being typed stays.
    path = f"/api/v1/explanations/{explanation.id}/comments"
    other = pages.post(path, json={"text": "not on “Union”"})
    assert other.status_code == 201
    expect(page.locator(".comment-text")).to_have_text("not on “Union”")
    expect(box).to_have_value("half of")
    box.fill("half of them\nare names")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.locator(".comment-text")).to_have_count(2)
    expect(page.locator(".comment-text").nth(1)).to_have_text("half of them\nare names")
    assert [c["text"] for c in pages.get(path).json()] == [
        "not on “Union”",
        "half of them\nare names",
    ]
    page.locator(".comment").first.get_by_role("button", name="Delete this comment").click()
    expect(page.locator(".comment-text")).to_have_count(1)
    left = db.scalars(select(Comment).filter_by(explanation_id=explanation.id)).one()
    left.author = "ana"
    db.commit()
    assert "Only ana" in problem_of(pages.delete(f"/api/v1/comments/{left.id}"), 403)
    page.reload()
    expect(page.locator(".comment")).to_contain_text("ana")
    expect(page.get_by_role("button", name="Delete this comment")).to_have_count(0)


@pytest.mark.parametrize("text", ["  ", "bell\x07", "x" * 2001])
def test_a_refused_comment_is_kept(
    pages: httpx.Client, db: Session, study: Study, text: str
) -> None:
    explanation = current_of(db, study, 1)
    path = f"/studies/{study.slug}/latents/1/comments"
    answer = pages.post(path, data={"explanation_id": str(explanation.id), "text": text})
    assert answer.status_code == 422
    box = re.search(r'<textarea id="comment-on[^>]*>\n(.*?)</textarea>', answer.text, re.DOTALL)
    assert box is not None
    assert box[1] == text
    problem_of(
        pages.post(f"/api/v1/explanations/{explanation.id}/comments", json={"text": text}), 422
    )
    other = current_of(db, study, 2)
    assert pages.post(path, data={"explanation_id": str(other.id), "text": "x"}).status_code == 404
    assert db.scalars(select(Comment).filter_by(explanation_id=explanation.id)).all() == []


# Comparison


def test_two_versions_compared(pages: httpx.Client, db: Session, study: Study) -> None:
    first = current_of(db, study, 0).id
    effect = reword(db, study, 0)
    effect.before = {"mean": -0.002, "low": -0.003, "high": -0.001, "p": 0.01, "detectable": 0.001}
    db.commit()
    second = effect.explanation_id
    path = f"/studies/{study.slug}/latents/0/compare"
    compared = pages.get(f"/api/v1{path}", params={"a": first, "b": second}).json()
    assert compared["a"]["explanation"]["id"] == first
    assert compared["paired"]["comparison"]["verdict"] == "lower"
    assert compared["paired"]["contexts"] == 2
    token = compared["examples"][0]["tokens"][5]
    assert (token["a"]["state"], token["b"]["state"]) == ("missing", "missing")
    turned = pages.get(f"/api/v1{path}", params={"a": second, "b": first}).json()["paired"]
    assert turned["comparison"]["verdict"] == "higher"
    assert (turned["comparison"]["low"], turned["comparison"]["high"]) == (0.001, 0.003)
    text = text_of(pages.get(path))
    assert "Where it fires, B has a smaller loss effect than A" in text
    assert "From A to B" in text
    assert "<del>" in pages.get(path, params={"a": first, "b": second}).text
    assert "Both are the same version" in pages.get(path, params={"a": first, "b": first}).text
    other = current_of(db, study, 1).id
    assert pages.get(path, params={"a": first, "b": other}).status_code == 404
    problem_of(pages.get(f"/api/v1{path}", params={"a": first}), 422)
    alone = pages.get(f"/studies/{study.slug}/latents/1/compare")
    assert "one version of its text" in text_of(alone)


def test_a_lane_of_raw_values_says_so(pages: httpx.Client, db: Session, study: Study) -> None:
    first, second = current_of(db, study, 0).id, reword(db, study, 0).explanation_id
    path = f"/studies/{study.slug}/latents/0/compare?a={first}&b={second}"
    assert "no calibration" not in text_of(pages.get(path))
    simulated = select(Simulation.id).where(Simulation.explanation_id == first)
    db.execute(delete(Calibration).where(Calibration.simulation_id.in_(simulated)))
    db.commit()
    text = text_of(pages.get(path))
    assert "A has no calibration" in text and "B has no calibration" not in text


def test_a_version_without_a_simulation_is_offered_one(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    first = current_of(db, study, 3).id
    second = save(pages, study, 3, "the word state")
    path = f"/studies/{study.slug}/latents/3"
    page = pages.get(f"{path}/compare?a={first}&b={second}")
    assert "so there is nothing of it to compare but words" in text_of(page)
    assert "Being simulated" in text_of(page), "the one that was saved is on its way"
    assert "–" in text_of(page) or "Neither is simulated yet" in text_of(page)
    form = {"explanation_id": str(first), "compared_with": str(second)}
    answer = pages.post(f"{path}/simulate", data=form)
    assert answer.headers["location"] == f"{path}/compare?a={first}&b={second}"
    jobs = db.scalars(select(Job).filter_by(study_id=study.id, kind="simulate").order_by(Job.id))
    assert [(j.params["explanation_ids"], j.params["then_rewrite"]) for j in jobs] == [
        ([second], True),
        ([first], False),
    ], "the layer is rewritten with current explanations, so an older one does not change it"
    assert json.dumps(first) in page.text


@pytest.mark.parametrize("width", [1280, 390])
def test_the_new_pages_fit_the_screen(
    web: str, pages: httpx.Client, db: Session, erring: Study, browser_page: Page, width: int
) -> None:
    page = browser_page
    save(pages, erring, 0, "fires on word number 0 and on " + "unbroken" * 30)
    page.set_viewport_size({"width": width, "height": 800})
    here = f"{web}/studies/{erring.slug}/latents/0"
    first = db.scalars(
        select(Explanation.id).filter_by(latent_id=latent_of(db, erring, 0).id)
    ).first()
    for path in ("/compare", f"/errors?version={first}", ""):
        page.goto(here + path)
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
