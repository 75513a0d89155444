"""Simulators on pages and in the API: adding, choosing, and their independence."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.services.rewrites.queries import latest_results, measured_authors
from app.services.simulators.independence import assess
from interp.corpus.copies import identity
from interp.corpus.seen import SeenText
from interp.simulate.training.trained import Fold, Trained
from models import Context, Explanation, Latent, LossEffect, Rewrite, Score, Simulator, Study
from tests.factories import WASHINGTON, little_study
from tests.reading import current_of, latent_of, problem_of, text_of
from tests.rewrites import rewrite


def record(**changes: Any) -> Trained:
    """What a trained simulator says of itself."""
    values: dict[str, Any] = {
        "method": "two_tower",
        "version": "two_tower-1",
        "base": "a-base",
        "base_sha256": hashlib.sha256(b"weights").hexdigest(),
        "folds": [Fold(file="0.safetensors", latents={"coder": [0, 1]})],
        "corpus": "sotu",
        "documents": ["Adams 1797", "Washington 1790"],
        "shape": {},
        "training": {"seed": 0},
        "figures": {},
    }
    return Trained.model_validate(values | changes)


SEEN = {"seen": SeenText(hashes=[WASHINGTON.hash], sketches=[WASHINGTON.sketch])}
NEAR = SeenText(hashes=["0" * 32], sketches=[WASHINGTON.sketch])
UNSEEN = {"seen": SeenText.of([identity("Another text of seven words in all")])}


def trained(db: Session, **changes: Any) -> Simulator:
    """A trained simulator in the table."""
    made = Simulator(
        method="two_tower",
        model="models/a-base",
        prompt_version="two_tower-1",
        options={"folder": f"trained/{uuid.uuid4().hex}"},
        training=record(**changes).model_dump(mode="json"),
    )
    db.add(made)
    db.flush()
    return made


def contaminated_study(db: Session) -> Study:
    """A study whose figures are of a simulator that was trained on a calibrate document."""
    study = little_study(db)
    for context in db.scalars(select(Context).filter_by(study_id=study.id).limit(2)):
        context.set = "calibrate"
    before, simulator = study.simulator_id, trained(db)
    for table in (Score, LossEffect, Rewrite):
        for row in db.scalars(select(table).filter_by(simulator_id=before)):
            row.simulator_id = simulator.id
    study.simulator_id = simulator.id
    db.commit()
    return study


def test_the_same_simulator_is_added_once(api: httpx.Client) -> None:
    model = f"models/{uuid.uuid4().hex}"
    first = api.post("/simulators", json={"method": "all_at_once", "model": model})
    assert first.status_code == 201, first.text
    assert (first.json()["prompt_version"], first.json()["options"]) == ("all_at_once-1", {})
    again = api.post(
        "/simulators",
        json={"method": "all_at_once", "model": f" {model} ", "backend": "transformers"},
    )
    assert again.json() == first.json()
    others = [
        {"method": "last_token"},
        {"method": "json_reply", "backend": "openai", "base_url": "http://localhost:1/v1"},
        {"method": "all_at_once", "show_score": True, "calibrate_contexts": 8},
    ]
    made = [api.post("/simulators", json={"model": model} | other).json() for other in others]
    assert len({first.json()["id"], *(one["id"] for one in made)}) == 4
    assert made[1]["options"] == {"backend": "openai", "base_url": "http://localhost:1/v1"}
    assert made[2]["options"] == {"show_score": True, "calibrate_contexts": 8}
    assert made[2]["prompt_version"] == "all_at_once_score-1"
    listed = api.get("/simulators").json()
    assert [one["id"] for one in listed] == sorted((one["id"] for one in listed), reverse=True)
    assert api.get(f"/simulators/{made[0]['id']}").json() == made[0]
    assert "no simulator 999999999" in problem_of(api.get("/simulators/999999999"), 404)


def test_a_trained_simulator_is_added_from_its_folder(api: httpx.Client, tmp_path: Path) -> None:
    folder = tmp_path / "two_tower"
    folder.mkdir()
    data = {"method": "two_tower", "model": "models/a-base", "folder": str(folder)}
    assert "no simulator.json" in problem_of(api.post("/simulators", json=data), 422)
    record().write(folder)
    made = api.post("/simulators", json=data)
    assert made.status_code == 201, made.text
    assert made.json()["training"] == record().model_dump(mode="json")
    assert made.json()["options"] == {"folder": str(folder)}
    assert made.json()["prompt_version"] == "two_tower-1"
    assert api.post("/simulators", json=data).json() == made.json()
    wrong = api.post("/simulators", json=data | {"method": "inline"})
    assert "is two_tower, not inline" in problem_of(wrong, 422)
    record(training={"seed": 1}).write(folder)
    assert "trained anew" in problem_of(api.post("/simulators", json=data), 409)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"method": "magic", "model": "m"}, "all_at_once"),
        ({"method": "all_at_once", "model": " "}, "Fill in this field"),
        ({"method": "all_at_once", "model": "m", "folder": "f"}, "has no folder"),
        ({"method": "two_tower", "model": "m"}, "give the folder"),
        ({"method": "two_tower", "model": "m", "folder": "f", "backend": "vllm"}, "only"),
        ({"method": "last_token", "model": "m", "show_score": True}, "cannot be shown the score"),
        ({"method": "last_token", "model": "m", "calibrate_contexts": 0}, "1 or more"),
        ({"method": "all_at_once", "model": "m", "base_url": "http://a/v1"}, "leave the address"),
        ({"method": "json_reply", "model": "m", "backend": "openai", "base_url": "x"}, "http://"),
    ],
)
def test_a_simulator_that_is_not_valid(
    api: httpx.Client, pages: httpx.Client, data: dict[str, Any], words: str
) -> None:
    before = api.get("/simulators").json()
    assert words in problem_of(api.post("/simulators", json=data), 422)
    assert api.get("/simulators").json() == before


def test_the_form_adds_what_it_shows(pages: httpx.Client, db: Session, tmp_path: Path) -> None:
    model = f"models/{uuid.uuid4().hex}"
    refused = pages.post("/simulators", data={"method": "two_tower", "model": model})
    assert refused.status_code == 422
    assert "give the folder of its weights" in text_of(refused)
    assert f'value="{model}"' in refused.text
    missing = pages.post(
        "/simulators", data={"method": "two_tower", "model": model, "folder": str(tmp_path)}
    )
    assert "no simulator.json" in text_of(missing)
    # Fields that are hidden for a method are sent all the same.
    left = {"backend": "openai", "base_url": "http://localhost:1/v1", "show_score": "true"}
    record().write(tmp_path)
    data = {"method": "two_tower", "model": model, "folder": str(tmp_path)} | left
    assert pages.post("/simulators", data=data).status_code == 303
    made = db.scalars(select(Simulator).filter_by(model=model)).one()
    assert made.options == {"folder": str(tmp_path)}
    prompted = {"method": "all_at_once", "model": model, "folder": "left"} | left
    assert pages.post("/simulators", data=prompted).status_code == 303
    assert "documents, 1 fold" in text_of(pages.get("/simulators"))


@pytest.mark.parametrize(
    ("changes", "model", "sets", "verdict"),
    [
        (SEEN, "models/a-base", ("explain", "explain"), "independent"),
        (SEEN, "models/a-base", ("calibrate", "explain"), "contaminated"),
        (SEEN, "models/a-base", ("explain", "evaluate"), "contaminated"),
        # The same text in another file, and nearly the same.
        (
            SEEN | {"corpus": "x", "documents": ["d"]},
            "b",
            ("calibrate", "evaluate"),
            "contaminated",
        ),
        ({"seen": NEAR, "documents": ["d"]}, "b", ("calibrate", "evaluate"), "contaminated"),
        # Other text under the same name.
        (UNSEEN, "models/a-base", ("calibrate", "evaluate"), "independent"),
        (SEEN, "hub/SmolLM2-135M-INSTRUCT", ("explain", "explain"), "same model"),
        (SEEN | {"base": "hub/smollm2-135m-instruct"}, "x", ("explain", "explain"), "same model"),
        (SEEN, "hub/smollm2-135m-instruct", ("calibrate", "explain"), "contaminated"),
        # A record of names alone proves that text was seen, never that it was not.
        ({}, "models/a-base", ("calibrate", "explain"), "contaminated"),
        ({"corpus": "pile"}, "models/a-base", ("calibrate", "evaluate"), "unknown"),
        ({"documents": ["Adams 1797"]}, "models/a-base", ("calibrate", "evaluate"), "unknown"),
        ({}, "hub/SmolLM2-135M-INSTRUCT", ("explain", "explain"), "unknown"),
    ],
)
def test_what_a_trained_simulator_is_worth(
    db: Session,
    study: Study,
    changes: dict[str, Any],
    model: str,
    sets: tuple[str, str],
    verdict: str,
) -> None:
    contexts = db.scalars(select(Context).filter_by(study_id=study.id).order_by(Context.id))
    for context, name in zip(contexts, sets, strict=False):
        context.set = name
    simulator = trained(db, **changes)
    simulator.model = model
    found = assess(db, study, simulator)
    assert found.independence == verdict, found.reason
    assert ("Washington 1790" in found.reason) == (verdict == "contaminated")


@pytest.mark.parametrize("changes", [SEEN, UNSEEN])
def test_a_study_of_an_earlier_version_cannot_be_proved_clean(
    db: Session, study: Study, changes: dict[str, Any]
) -> None:
    for context in db.scalars(select(Context).filter_by(study_id=study.id)):
        context.set, context.document_hash, context.document_sketch = "evaluate", None, None
    other = assess(db, study, trained(db, **changes, documents=["Adams 1797"]))
    assert other.independence == "unknown"
    assert "Collect it again" in other.reason
    assert assess(db, study, trained(db, **changes)).independence == "contaminated"


def test_what_cannot_be_known_is_said_beside_the_figures(
    api: httpx.Client, pages: httpx.Client, db: Session
) -> None:
    study = contaminated_study(db)
    simulator = db.get_one(Simulator, study.simulator_id)
    simulator.training = simulator.training | {"documents": ["Adams 1797"]}
    db.commit()
    for path in ("", "/latents", "/latents/0"):
        page = pages.get(f"/studies/{study.slug}{path}")
        assert "unknown The simulator may have been trained on text" in text_of(page), path
    latent = api.get(f"/studies/{study.slug}/latents/0").json()
    assert {score["independence"] for score in latent["scores"]} == {"unknown"}


def test_a_record_may_be_told_what_text_was_seen(api: httpx.Client, tmp_path: Path) -> None:
    data = {"method": "two_tower", "model": "models/a-base", "folder": str(tmp_path)}
    record().write(tmp_path)
    made = api.post("/simulators", json=data).json()
    record(**SEEN).write(tmp_path)
    told = api.post("/simulators", json=data)
    assert told.status_code == 201, told.text
    assert told.json()["id"] == made["id"]
    assert told.json()["training"]["seen"]["hashes"] == [WASHINGTON.hash]
    record(**UNSEEN).write(tmp_path)
    assert "trained anew" in problem_of(api.post("/simulators", json=data), 409)


def test_what_a_prompted_simulator_is_worth(db: Session, study: Study) -> None:
    for model, verdict in {
        "/models/smollm2-135m-instruct": "same model",
        "HuggingFaceTB/SmolLM2-135M-Instruct": "same model",
        "SmolLM2-135M-Instruct.gguf": "same model",
        "SmolLM2-135M": "same family",
        "HuggingFaceTB/SmolLM3-3B": "same family",
        "Llama-3.1-8B": "independent",
    }.items():
        simulator = Simulator(method="all_at_once", model=model, training={}, options={})
        assert assess(db, study, simulator).independence == verdict, model


def test_another_simulator_has_its_own_figures(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}"
    first, second = study.simulator_id, trained(db, documents=[]).id
    db.commit()
    assert api.get(f"{path}/latents/0").json()["scores"]
    assert latest_results(db, study, "whole") is not None
    chosen = api.patch(path, json={"simulator_id": second})
    assert chosen.status_code == 200, chosen.text
    assert chosen.json()["simulator_id"] == second
    db.refresh(study)
    assert api.get(f"{path}/latents/0").json()["scores"] == []
    assert api.get(f"{path}/latents", params={"simulated": True}).json()["total"] == 0
    assert latest_results(db, study, "whole") is None
    assert 'id="loss-chart"' not in pages.get(path).text
    (rewritten,) = api.get(f"{path}/rewrites").json()
    assert rewritten["simulator_id"] == first, "every rewrite is listed, with its simulator"
    back = pages.post(f"{path}/simulator", data={"simulator_id": str(first)})
    assert (back.status_code, back.headers["location"]) == (303, path)
    assert "2 of 6 latents rewritten" in text_of(pages.get(path))
    assert "no simulator" in problem_of(api.patch(path, json={"simulator_id": 10**9}), 404)
    assert problem_of(api.patch(path, json={"simulator_id": None}), 422)
    used = [one["id"] for one in api.get(f"{path}/simulators").json() if one["used"]]
    assert used == [first]


def test_simulators_are_compared_on_what_both_have_scored(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    path, other, third = f"/studies/{study.slug}", trained(db).id, trained(db).id
    query = select(Latent.explanation_id).filter_by(study_id=study.id).order_by(Latent.index)
    first, second, unscored = [one for one in db.scalars(query) if one is not None][:3]
    both = Score.explanation_id.in_((first, second, unscored)), Score.name == "correlation"
    db.execute(delete(Score).where(*both))
    correlations = {
        first: (0.2, 0.3, 0.5),
        second: (0.4, 0.6, None),
        unscored: (None, 0.9, None),  # nobody compares with a missing value
    }
    for explanation, values in correlations.items():
        for simulator, value in zip((study.simulator_id, other, third), values, strict=True):
            of = {"explanation_id": explanation, "simulator_id": simulator}
            db.add(Score(**of, name="correlation", value=value, n=9))
    db.commit()
    found = {one["id"]: one["compared"] for one in api.get(f"{path}/simulators").json()}
    assert found[study.simulator_id] is None
    assert found[other]["latents"] == 2
    assert found[other]["mean"] == pytest.approx(0.45)
    assert found[other]["mean_used"] == pytest.approx(0.3)
    # Differences 0.1 and 0.2: their standard error is 0.05, Student's quantile 12.706.
    assert found[other]["difference"] == pytest.approx(
        {"value": 0.15, "low": 0.15 - 12.706 * 0.05, "high": 0.15 + 12.706 * 0.05}, abs=1e-4
    )
    assert found[third]["difference"] == {"value": pytest.approx(0.3), "low": None, "high": None}
    told = text_of(pages.get(path))
    assert "correlation 0.450, the one in use 0.300: +0.150 [−0.485, +0.785]" in told
    assert "on the 1 latent that both simulated" in told


def test_contaminated_figures_are_never_without_a_warning(
    api: httpx.Client, pages: httpx.Client, db: Session
) -> None:
    study = contaminated_study(db)
    for path in ("", "/latents", "/latents/0"):
        page = pages.get(f"/studies/{study.slug}{path}")
        assert "Contaminated figures. The simulator was trained on text" in text_of(page)
        assert "the document “Washington 1790”" in text_of(page)
    for path in ("", "/latents/0"):
        # The warning is part of the chart, and so of every picture that is saved of it.
        assert '"title": "Contaminated: ' in pages.get(f"/studies/{study.slug}{path}").text
    path = f"/studies/{study.slug}"
    latent = api.get(f"{path}/latents/0").json()
    rewritten = api.get(f"{path}/rewrites").json()
    seen = [
        *(item["independence"] for item in latent["scores"] + latent["loss_effects"] + rewritten),
        api.get(f"{path}/latents").json()["independence"],
        api.get(f"{path}/edit-next").json()["independence"],
        api.get(f"{path}/rewrites/{rewritten[0]['id']}").json()["independence"],
        *(one["independence"] for one in api.get(f"{path}/simulators").json() if one["used"]),
    ]
    assert len(seen) > 8 and set(seen) == {"contaminated"}


def test_clean_figures_say_so(api: httpx.Client, pages: httpx.Client, study: Study) -> None:
    for path in ("", "/latents", "/generate"):
        page = pages.get(f"/studies/{study.slug}{path}")
        assert "independent The simulator runs on another model" in text_of(page), path
        assert "Contaminated" not in page.text
    latent = pages.get(f"/studies/{study.slug}/latents/0")
    assert "independent" in text_of(latent), "with little room, the reason is in the title"
    assert 'title="The simulator runs on another model' in latent.text
    assert {
        s["independence"] for s in api.get(f"/studies/{study.slug}/latents/0").json()["scores"]
    } == {"independent"}


def test_the_same_model_is_named_on_charts(pages: httpx.Client, db: Session, study: Study) -> None:
    db.get_one(Simulator, study.simulator_id).model = "models/smollm2-135m-instruct"
    db.commit()
    page = pages.get(f"/studies/{study.slug}")
    assert "same model The simulator runs on the subject model itself" in text_of(page)
    assert '"title": "The simulator runs on the subject model itself"' in page.text


def test_results_of_each_author(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}"
    assert "Rewritten with the explanations" not in text_of(pages.get(path))
    of_lexical = rewrite(db, study, [latent_of(db, study, 0)])
    of_lexical.author = "lexical"
    db.commit()
    assert measured_authors(db, study, "whole") == ["", "lexical"]
    current, lexical = (text_of(pages.get(path, params={"author": a})) for a in ("", "lexical"))
    assert "2 of 6 latents rewritten" in current and "1 of 6 latents rewritten" in lexical
    assert "Rewritten with the explanations" in current
    assert f'href="{path}?protocol=paper&amp;view=calibrations&amp;author=lexical"' in (
        pages.get(path, params={"author": "lexical"}).text
    )
    newer = rewrite(db, study, [latent_of(db, study, 0), latent_of(db, study, 1)])
    newer.author = "lexical"
    db.commit()
    shown = latest_results(db, study, "whole", "lexical")
    assert shown is not None and shown.rewrite.id == newer.id
    assert {one["author"] for one in api.get(f"{path}/rewrites").json()} == {"", "lexical"}

    queued = api.post(f"{path}/rewrites", json={"protocol": "whole", "author": "lexical"}).json()
    assert queued["params"] == {
        "protocol": "whole",
        "simulator_id": study.simulator_id,
        "author": "lexical",
        "repeat": False,
    }
    unknown = api.post(f"{path}/rewrites", json={"author": "nobody"})
    assert "Nobody named nobody" in problem_of(unknown, 409)
    form = pages.post(f"{path}/rewrites", data={"protocol": "paper", "author": "lexical"})
    assert form.headers["location"] == f"{path}?protocol=paper&author=lexical"
    for job in api.get(f"{path}/jobs").json()["items"]:
        api.post(f"/jobs/{job['id']}/cancel")


def test_all_scores_with_floor_ceiling_and_n(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    explanation = current_of(db, study, 0)
    of = {"explanation_id": explanation.id, "low": 0.4, "high": 0.8}
    for name, value in (("explained_variance", 0.21), ("f1", 0.42), ("auroc", 0.81)):
        details = {"active": 4, "random_baseline": 0.02, "random_baseline_of": 8}
        db.add(
            Score(
                **of,
                simulator_id=study.simulator_id,
                name=name,
                value=value,
                n=88,
                details=details,
            )
        )
    for value in (0.55, 0.66):
        details = {"model": "models/a-scorer", "random_baseline": 0.5, "failures": {"no answer": 3}}
        db.add(Score(**of, simulator_id=None, name="detection", value=value, n=50, details=details))
    db.commit()
    text = text_of(pages.get(f"/studies/{study.slug}/latents/0"))
    assert "correlation 0.50 [0.40, 0.60] – 1 88" in text
    assert "explained variance 0.21 [0.40, 0.80] 0.02 1 88" in text
    assert "detection 0.66 [0.40, 0.80] 0.50 1 50" in text, "the newest one counts"
    assert "0.55" not in text
    assert "answers of a-scorer; random baseline: chance. Without an answer: 3." in text
    scores = api.get(f"/explanations/{explanation.id}/scores").json()
    assert [score["name"] for score in scores] == [
        "correlation",
        "explained_variance",
        "sensitivity",
        "specificity",
        "f1",
        "auroc",
        "detection",
    ]
    assert (scores[-1]["simulator_id"], scores[-1]["independence"]) == (None, None)


def test_a_model_score_is_no_simulation(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    explanation = current_of(db, study, 3)
    db.add(
        Score(
            explanation_id=explanation.id,
            simulator_id=None,
            name="fuzzing",
            value=0.7,
            n=50,
            details={"model": "m", "random_baseline": 0.5},
        )
    )
    db.commit()
    text = text_of(pages.get(f"/studies/{study.slug}/latents/3"))
    assert "fuzzing 0.70" in text and "Not simulated yet." in text
    queued = api.post(f"/explanations/{explanation.id}/simulate")
    assert queued.status_code == 201, "it can still be simulated"
    api.post(f"/jobs/{queued.json()['id']}/cancel")


def test_versions_say_who_wrote_them_and_what_it_took(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    latent = latent_of(db, study, 0)
    details = {"model": "/models/a-writer", "tokens_read": 3120, "tokens_written": 61}
    details |= {"seconds": 4.2, "selection": {"value": 0.41}, "held_out": {"value": 0.33}}
    db.add(
        Explanation(
            latent_id=latent.id,
            text="better",
            author_kind="model",
            author="refine",
            prompt_version="refine-1",
            details=details,
        )
    )
    db.commit()
    text = text_of(pages.get(f"/studies/{study.slug}/latents/0"))
    assert "refine (a-writer, refine-1)" in text
    assert "3,120 tokens read, 61 written, 4.2 s" in text
    assert "correlation where it was chosen 0.41, on held-out documents 0.33" in text
