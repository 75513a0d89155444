"""Try a sentence: what fires on it, by hand and with the real model on a real worker."""

import re
from html import unescape

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.sentences.queries import firing, firing_of, strongest_token
from models import Job, Latent, Sentence, Simulator, Study
from tests.engine import DEMO_CODER
from tests.factories import little_study
from tests.reading import current_of, latent_of, problem_of, text_of
from tests.sentences import read
from tests.working import plan, work

EVIL = "<script>window.evil = 1</script>"


def test_what_fires_most(db: Session, study: Study) -> None:
    sentence = read(db, study)
    found, total = firing(db, study, sentence, limit=2)
    assert [(one.latent, one.peak, one.position) for one in found] == [(0, 5.0, 2), (3, 4.0, 3)]
    assert total == 3
    assert [token.state for token in found[0].tokens] == [
        "bos",
        "simulated",
        "simulated",
        "missing",
    ]
    assert found[0].tokens[2].calibrated == 5.0, "the isotonic map sends 9 to 5"
    assert [token.state for token in found[1].tokens] == ["bos", "none", "none", "none"]
    assert strongest_token(sentence) == 2
    assert strongest_token(read(db, study, active=[[], [], [], []])) is None
    silent = firing_of(db, study, sentence, latent_of(db, study, 1), current_of(db, study, 1))
    assert silent.peak == 0.0 and silent.simulated is None


def test_a_sentence_over_the_api(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/api/v1/studies/{study.slug}/sentences"
    made = pages.post(path, json={"text": " We the\r\npeople"})
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["text"], body["tokens"], body["latents"]) == (" We the\npeople", [], [])
    job = db.get_one(Job, body["job_id"])
    assert (job.kind, job.params) == ("sentence", {"sentence_id": body["id"]})
    pages.post(f"/jobs/{job.id}/cancel")
    assert pages.get(path).json()["total"] == 1
    sentence = read(db, study)
    found = pages.get(f"{path}/{sentence.id}").json()
    assert found["tokens"][3]["latents"][0] == {"latent": 3, "activation": 4.0}
    assert found["latents"][0]["simulated"] == [None, 0.5, 9.0, None]
    assert found["latents"][1]["simulated"] is None
    assert found["latents_total"] == 3
    for text in ("", " \n", "x" * 601, "a\0b"):
        assert "text" in problem_of(pages.post(path, json={"text": text}), 422)
    bare = little_study(db, latents=0, simulator=False)
    refused = pages.post(f"/api/v1/studies/{bare.slug}/sentences", json={"text": "a"})
    assert "no latents yet" in problem_of(refused, 409)
    other = little_study(db)
    problem_of(pages.get(f"/api/v1/studies/{other.slug}/sentences/{sentence.id}"), 404)


def test_the_form_keeps_the_text(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/try"
    refused = pages.post(path, data={"text": EVIL + "x" * 600})
    assert refused.status_code == 422
    assert "Use at most 600 characters" in refused.text and EVIL not in refused.text
    box = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", refused.text, re.DOTALL)
    assert box and unescape(box[1]) == EVIL + "x" * 600
    assert "hello there</textarea>" in pages.get(path, params={"text": "hello there"}).text
    made = pages.post(path, data={"text": EVIL})
    assert made.status_code == 303
    waiting = pages.get(made.headers["location"])
    assert EVIL not in waiting.text and "The subject model reads it" in waiting.text
    job = db.get_one(Job, pages.get(f"/api/v1{made.headers['location']}").json()["job_id"])
    pages.post(f"/jobs/{job.id}/cancel")
    assert "It was not read" in pages.get(made.headers["location"]).text
    bare = little_study(db, latents=0, simulator=False)
    assert "no latents yet" in pages.get(f"/studies/{bare.slug}/try").text


def test_the_page_of_a_sentence_without_scripts(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    sentence = read(db, study)
    path = f"/studies/{study.slug}/sentences/{sentence.id}"
    page = pages.get(path)
    text = text_of(page)
    assert "On “fellow”: the strongest 2 of 2 active latents" in text
    assert f'href="/studies/{study.slug}/latents/0?sentence={sentence.id}"' in page.text
    assert "1 missing: The reply is no JSON list." in text
    last = text_of(pages.get(path, params={"token": 3}))
    assert "the strongest 3 of 3 active latents" in last and "4.00" in last
    assert "the strongest 2 of 2" in text_of(pages.get(path, params={"token": 99}))
    silent = read(db, study, active=[[], [], [], []])
    none = text_of(pages.get(f"/studies/{study.slug}/sentences/{silent.id}"))
    assert "No latent fires on any token of it." in none
    assert pages.get(path, params={"token": -1}).status_code == 422


def test_the_real_model_reads_a_sentence(db: Session, study: Study) -> None:
    study.model, study.coder = "smollm2-135m-instruct", str(DEMO_CODER)
    study.simulator_id = None
    job = Job(study_id=study.id, kind="sentence", status="running", created_by="ana")
    text = "My fellow citizens, the state of the Union is strong."
    tried = Sentence(study_id=study.id, text=text, created_by="ana")
    db.add_all([job, tried])
    db.flush()
    job.params = {"sentence_id": tried.id}
    db.commit()
    assert [unit.key for unit in plan(db, job, study)] == ["read 0"], "there is no simulator"
    assert "".join(tried.strings[1:]) == text and len(tried.active) == len(tried.tokens)
    assert tried.active[0] == [], "the beginning of the text is not analysed"
    assert all(0 < len(active) <= 32 for active in tried.active[1:])

    strongest = max((value, int(index)) for active in tried.active for index, value in active)[1]
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    latent.index, study.simulator_id = 10**6 + strongest, None
    db.flush()
    latent.index = strongest
    simulator = Simulator(
        method="all_at_once", model=study.model, prompt_version="1", options={"test": study.slug}
    )
    db.add(simulator)
    db.flush()
    tried.simulator_id = simulator.id
    job.state = {}
    db.commit()
    steps = work(db, job, study)
    assert (steps[-1].done, steps[-1].total) == (2, 2)
    made = tried.simulation(latent.explanation_id or 0)
    assert made is not None and len(made["values"]) == len(tried.tokens)
    assert made["values"][0] is None and any(value is not None for value in made["values"][1:])
    assert work(db, job, study) == [], "nothing is simulated twice"
