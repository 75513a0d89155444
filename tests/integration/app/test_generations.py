"""Generations and sanity checks: their pages and their API."""

import re
from html import unescape

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Generation, Job, Latent, Simulation, Study
from tests.factories import check, generation, little_study
from tests.reading import current_of, latent_of, problem_of, text_of

EVIL = "<script>window.evil = 1</script>"


def test_generations(api: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/generations"
    assert api.get(path).json() == {"total": 0, "items": []}
    made = api.post(path, json={"prompt": " My fellow\r\ncitizens", "latents": 2, "seed": 3})
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["prompt"] == " My fellow\ncitizens"
    best_first = [
        db.scalars(select(Latent).filter_by(study_id=study.id, index=i)).one().explanation_id
        for i in (0, 1)
    ]
    assert body["explanation_ids"] == best_first
    assert (body["calibration"], body["new_tokens"], body["temperature"]) == ("isotonic", 16, 0)
    assert body["continuations"] == {}
    job = db.get_one(Job, body["job_id"])
    assert (job.kind, job.status, job.params) == (
        "generate",
        "queued",
        {"generation_id": body["id"]},
    )
    assert api.get(f"{path}/{body['id']}").json() == body
    assert api.get(path).json() == {"total": 1, "items": [body]}
    api.post(f"/jobs/{job.id}/cancel")

    latents = list(db.scalars(select(Latent).filter_by(study_id=study.id, index=0)))
    half = generation(db, study, latents)
    found = api.get(f"{path}/{half.id}").json()
    assert set(found["continuations"]) == {"untouched", "zero"}
    assert found["continuations"]["zero"]["tokens"] == [",", " of", " state"]
    other = little_study(db)
    problem_of(api.get(f"/studies/{other.slug}/generations/{half.id}"), 404)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 1001}, "prompt"),
        ({"prompt": "a\x00b"}, "prompt"),
        ({"latents": 0}, "latents"),
        ({"latents": 33}, "latents"),
        ({"calibration": "best"}, "calibration"),
        ({"new_tokens": 65}, "new_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_generation_that_is_not_valid(
    api: httpx.Client, study: Study, changes: dict[str, object], field: str
) -> None:
    path = f"/studies/{study.slug}/generations"
    response = api.post(path, json={"prompt": "a", "latents": 1} | changes)
    assert field in problem_of(response, 422)
    assert api.get(path).json()["total"] == 0


def test_only_what_is_simulated_can_be_rewritten(api: httpx.Client, db: Session) -> None:
    study = little_study(db)
    path = f"/studies/{study.slug}/generations"
    too_many = problem_of(api.post(path, json={"prompt": "a", "latents": 3}), 409)
    assert "Use 2 latents or fewer" in too_many
    reworded = api.post(f"/studies/{study.slug}/latents/0/explanations", json={"text": "new"})
    api.post(f"/jobs/{reworded.json()['job_id']}/cancel")
    one = api.post(path, json={"prompt": "a", "latents": 1}).json()
    second = db.scalars(select(Latent).filter_by(study_id=study.id, index=1)).one()
    assert one["explanation_ids"] == [second.explanation_id]
    api.post(f"/jobs/{one['job_id']}/cancel")
    bare = little_study(db, simulated=0)
    refused = problem_of(api.post(f"/studies/{bare.slug}/generations", json={"prompt": "a"}), 409)
    assert "has been simulated yet" in refused


def test_checks(api: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/checks"
    assert api.get(path).json() == []
    check(db, study, one="failed", two="failed")
    newest = check(db, study, one="passed", two="cannot tell")
    listed = api.get(path).json()
    assert [(c["name"], c["outcome"], c["job_id"]) for c in listed] == [
        ("one", "passed", newest.id),
        ("two", "cannot tell", newest.id),
    ]
    job = api.post(path)
    assert job.status_code == 201
    assert (job.json()["kind"], job.json()["status"]) == ("check", "queued")
    assert api.get(path).json() == listed, "the last outcomes stay until there are new ones"
    assert "on their way" in problem_of(api.post(path), 409)
    api.post(f"/jobs/{job.json()['id']}/cancel")
    empty = little_study(db, latents=0, simulator=False)
    assert "cannot be checked yet" in problem_of(api.post(f"/studies/{empty.slug}/checks"), 409)


def test_the_form_to_generate(pages: httpx.Client, db: Session) -> None:
    study = little_study(db, latents=7, simulated=6)
    path = f"/studies/{study.slug}/generate"
    page = pages.get(path).text
    offered = re.search(r'<select id="latents".*?</select>', page, re.DOTALL)
    assert offered is not None
    assert re.findall(r">(\d+)</option>", offered[0]) == ["1", "4", "6"]
    assert re.search(r"selected>4</option>", offered[0])
    # 6 latents × 3 sets × 8 contexts in 6 × 3 × 0.5 s: 62.5 ms each.
    text = text_of(pages.get(path))
    assert "About 4.0 s for 64 simulations" in text and "That is slow" not in text
    for simulation in db.scalars(select(Simulation).filter_by(simulator_id=study.simulator_id)):
        simulation.seconds = 12.0
    db.commit()
    slow = text_of(pages.get(path))
    assert "About 1 min 36 s for 64 simulations" in slow
    assert "2 latents or fewer take a minute at most." in slow
    few = text_of(pages.get(path, params={"latents": "1", "new_tokens": "60"}))
    assert "Even one latent takes over a minute" in few
    unclear = text_of(pages.get(path, params={"new_tokens": "many"}))
    assert "once the fields are filled in" in unclear

    sent = {"prompt": f"{EVIL} ", "latents": "6", "calibration": "quantile", "new_tokens": "70"}
    sent |= {"temperature": "hot", "seed": ""}
    refused = pages.post(path, data=sent)
    assert refused.status_code == 422
    assert "2 fields below need a change" in text_of(refused)
    assert "Use 64 or less." in refused.text and "Use a number." in refused.text
    assert EVIL not in refused.text
    box = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", refused.text, re.DOTALL)
    assert box is not None
    assert unescape(box[1]) == sent["prompt"]
    assert re.search(r"selected>6</option>", refused.text)
    assert re.search(r"selected>quantile</option>", refused.text)
    assert db.scalar(select(Generation).filter_by(study_id=study.id)) is None

    made = pages.post(path, data=sent | {"new_tokens": "8", "temperature": "0.7", "seed": "5"})
    generation = db.scalars(select(Generation).filter_by(study_id=study.id)).one()
    where = f"/studies/{study.slug}/generations/{generation.id}"
    assert (made.status_code, made.headers["location"]) == (303, where)
    assert generation.explanation_ids == [current_of(db, study, i).id for i in range(6)]
    assert (generation.prompt, generation.new_tokens, generation.seed) == (sent["prompt"], 8, 5)
    too_many = pages.post(path, data={"prompt": "a", "latents": "7"})
    assert too_many.status_code == 409
    assert "Use 6 latents or fewer" in too_many.text
    pages.post(f"/jobs/{generation.job_id}/cancel")


def test_the_estimate_rests_on_past_generations(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    def said() -> str:
        return text_of(pages.get(f"/studies/{study.slug}/generate"))

    past = generation(db, study, [latent_of(db, study, i) for i in range(2)])
    # 2 latents × 3 sets × 8 contexts in 2 × 3 × 0.5 s.
    at_once = "About 2.0 s for 32 simulations: about 62 ms each, as measured so far."
    assert at_once in said(), "the rewritten continuation is not written yet"
    nothing = {"tokens": ["a"], "simulations": 0, "missing": 4, "seconds": 9.0}
    past.continuations = past.continuations | {"rewritten": nothing}
    db.commit()
    assert at_once in said(), "nothing was simulated in it"
    for simulations, seconds in ((8, 3.0), (2, 1.0)):
        made = generation(db, study, [latent_of(db, study, 0)])
        done = nothing | {"simulations": simulations, "seconds": seconds}
        made.continuations = made.continuations | {"rewritten": done}
    db.commit()
    assert "About 13 s for 32 simulations: about 400 ms each" in said()


def test_a_generation_that_failed_says_why(pages: httpx.Client, db: Session, study: Study) -> None:
    made = generation(db, study, [latent_of(db, study, 0)])
    path = f"/studies/{study.slug}/generations/{made.id}"
    assert text_of(pages.get(path)).count("Being written.") == 1
    job = db.get_one(Job, made.job_id)
    job.status, job.message = "failed", "The prompt is longer than the model can read."
    db.commit()
    page = pages.get(path)
    assert "The prompt is longer than the model can read." in page.text
    assert "Not written: the job stopped before it." in page.text
    assert "Retry" in page.text
    retried = pages.post(f"/jobs/{job.id}/retry", data={"next": path})
    assert (retried.status_code, retried.headers["location"]) == (303, path)
    pages.post(f"/jobs/{job.id}/cancel")
