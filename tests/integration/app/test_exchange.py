"""Results of other tools in and out, as pages, API and command offer it."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.services.exports import queries
from app.services.exports.schemas import ExportQuery
from models import Context, Explanation, Job, Latent, Study
from models.settings import get_settings
from tests.explanation_files import finish, versions
from tests.factories import little_study
from tests.reading import current_of, latent_of, problem_of, text_of
from tests.results_folders import (
    HOOKPOINT,
    answered,
    delphi_run,
    delphi_scores,
    neuronpedia_export,
    neuronpedia_row,
    simulated,
)
from tests.text_study import LENGTH, activations_of, text_study


def imported(db: Session, api: httpx.Client, study: Study, form: str, path: Path) -> Job:
    asked = {"format": form, "path": str(path)}
    made = api.post(f"/studies/{study.slug}/import/results", json=asked)
    assert made.status_code == 201, made.text
    return finish(db, made.json()["id"])


# --- Import ---------------------------------------------------------------------------------------


def test_delphis_scores_are_shown_as_delphis(
    db: Session, api: httpx.Client, pages: httpx.Client, study: Study, tmp_path: Path
) -> None:
    run = delphi_run(tmp_path, {2: "two, says Delphi", 3: "three"})
    good, bad = answered(True, True), answered(True, False)
    delphi_scores(run, "detection", 2, [good, good, good, bad, answered(False, False)])
    delphi_scores(run, "simulation", 2, [simulated(0, "nan")])
    job = imported(db, api, study, "delphi", run)
    page = text_of(pages.get(f"/studies/{study.slug}/latents/2"))
    assert "two, says Delphi" in page and "delphi (Explainer-70B)" in page
    said = "Delphi, on its own text: detection 0.88 (n 5), simulation – (It is not defined)"
    assert f"{said}. These are no scores of this study." in page
    assert "Delphi, on its own text" not in text_of(pages.get(f"/studies/{study.slug}/latents/3"))
    found = api.get(f"/studies/{study.slug}/latents/2").json()
    assert found["explanation"]["details"]["scores"]["detection"]["value"] == 0.875
    assert "0.88" not in text_of(pages.get(f"/studies/{study.slug}/latents"))
    assert api.get(f"/jobs/{job.id}/import").json()["removable"] == 2
    assert f'href="/jobs/{job.id}/takeback"' in pages.get(f"/jobs/{job.id}").text
    assert api.delete(f"/jobs/{job.id}/import").status_code == 200
    db.expire_all()
    assert not any(version[2] == "delphi" for version in versions(db, study))
    assert run.is_dir(), "the results are not ours"


def test_what_was_refused_is_on_the_jobs_page(
    db: Session, api: httpx.Client, pages: httpx.Client, study: Study, tmp_path: Path
) -> None:
    rows = [neuronpedia_row(index, "text") for index in ("0", "x", "y", "77")]
    job = imported(db, api, study, "neuronpedia", neuronpedia_export(tmp_path, rows))
    job.missing, job.done, job.total = 3, 4, 4
    db.commit()
    page = text_of(pages.get(f"/jobs/{job.id}"))
    assert "2: Its index is no number." in page
    assert "1: The study has no latent of this number." in page


def test_the_form_queues_the_job_or_says_what_is_wrong(
    db: Session, pages: httpx.Client, study: Study, tmp_path: Path
) -> None:
    run = delphi_run(tmp_path / "run", {2: "two"}, model="org/Other")
    here = f"/studies/{study.slug}"
    sent = {"format": "delphi", "path": str(run)}
    refused = pages.post(f"{here}/import/results", data=sent)
    assert refused.status_code == 422
    assert "the model org/Other; the study’s model is SmolLM2" in text_of(refused)
    assert f'value="{run}"' in refused.text, "the form keeps what was typed"
    made = pages.post(f"{here}/import/results", data=sent | {"anyway": "true"})
    assert made.status_code == 303
    job = db.scalars(select(Job).where(Job.study_id == study.id).order_by(Job.id.desc())).first()
    assert job is not None and made.headers["location"] == f"/jobs/{job.id}"
    assert job.params == {"method": "delphi", "path": str(run), "anyway": True}
    page = text_of(pages.get(f"/jobs/{job.id}"))
    assert "although the model or the width differs" in page
    empty = pages.post(f"{here}/import/results", data={"format": "delphi", "path": " "})
    assert empty.status_code == 422
    other = pages.post(f"{here}/import/results", data={"format": "sae", "path": "/x"})
    assert other.status_code == 422
    fresh = little_study(db, latents=0, simulator=False)
    early = pages.post(f"/studies/{fresh.slug}/import/results", data=sent)
    assert early.status_code == 409 and "no latents yet" in text_of(early)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"format": "delphi", "path": "/nowhere/run"}, "There is no folder /nowhere/run"),
        ({"format": "neuronpedia", "path": "/nowhere"}, "no file or folder /nowhere"),
        ({"format": "neuronpedia", "path": "/"}, "explanations/batch-N.jsonl.gz"),
        ({"format": "delphi", "path": "a\0b"}, "control characters"),
        ({"format": "delphi"}, "path"),
        ({"format": "delphi", "path": "/" + "x" * 400}, "There is no folder"),
        ({"format": "neuronpedia", "path": "/" + "x" * 400}, "no file or folder"),
        ({"format": "neuronpedia", "path": "~nobody-of-that-name/x"}, "no file or folder"),
    ],
)
def test_the_api_says_what_was_looked_for(
    api: httpx.Client, study: Study, asked: dict[str, Any], says: str
) -> None:
    answer = api.post(f"/studies/{study.slug}/import/results", json=asked)
    assert says in problem_of(answer, 422)


# --- Export ---------------------------------------------------------------------------------------


@pytest.fixture
def spoken(db: Session) -> Study:
    """A study on real text, with its activations on disk."""
    return text_study(db)


def download(api: httpx.Client, study: Study, form: str, **query: Any) -> dict[str, bytes]:
    answer = api.get(f"/studies/{study.slug}/export", params={"format": form, **query}, timeout=60)
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return {name.removeprefix(f"{study.slug}/"): archive.read(name) for name in archive.namelist()}


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def contexts_of(db: Session, study: Study) -> list[Context]:
    query = select(Context).where(Context.study_id == study.id, Context.set == "explain")
    return list(db.scalars(query.order_by(Context.index)))


def test_delphis_layout_has_all_activations(db: Session, api: httpx.Client, spoken: Study) -> None:
    files = download(api, spoken, "delphi")
    folder = f"latents/{HOOKPOINT}"
    names = [f"{folder}/{first}.safetensors" for first in ("0_0", "1_1", "2_2", "3_3", "4_5")]
    assert [name for name in files if name.endswith(".safetensors")] == names
    contexts = contexts_of(db, spoken)
    expected = activations_of(contexts)
    found = np.zeros_like(expected)
    for name in names:
        tensors = load(files[name])
        assert (tensors["locations"].dtype, tensors["activations"].dtype) == ("uint16", "float16")
        assert tensors["tokens"].tolist() == [context.tokens for context in contexts]
        context, position, latent = tensors["locations"].astype(int).T
        start = int(Path(name).name.split("_")[0])
        found[latent + start, context, position] = tensors["activations"]
    assert np.array_equal(found, expected.astype(np.float16))
    config = json.loads(files[f"{folder}/config.json"])
    assert (config["model_name"], config["cache_ctx_len"]) == (spoken.model, LENGTH)
    assert json.loads(files[f"explanations/{HOOKPOINT}_latent5.txt"]) == "the word “peace”"
    assert f"explanations/{HOOKPOINT}_latent2.txt" not in files, "the dead one has none"


def test_missing_values_are_left_out_of_delphis_simulations(
    db: Session, api: httpx.Client, spoken: Study
) -> None:
    files = download(api, spoken, "delphi")
    of = [name for name in files if name.startswith("scores/")]
    assert of == [f"scores/simulation/{HOOKPOINT}_latent1.txt"], "latent 0 misses a value in each"
    (overall,) = json.loads(files[of[0]])
    assert overall["distance"] == 0 and -1 < overall["ev_correlation_score"] < 1
    for sequence in overall["scored_sequence_simulations"]:
        simulation, real = sequence["simulation"], sequence["true_activations"]
        assert len(simulation["tokens"]) == len(simulation["expected_activations"]) == len(real)
        assert len(real) == LENGTH - 1, "without the token that begins the sequence"
        assert set(real) <= set(range(11))
        assert (sequence["distance"] == -1) == (max(real) == 0)


def test_an_export_takes_the_filter_in_other_layouts_too(api: httpx.Client, spoken: Study) -> None:
    files = download(api, spoken, "delphi", q="peace")
    assert [name for name in files if name.startswith("explanations/")] == [
        f"explanations/{HOOKPOINT}_latent5.txt"
    ]
    first, last = (f"latents/{HOOKPOINT}/{name}.safetensors" for name in ("0_0", "4_5"))
    assert len(load(files[first])["activations"]) == 0 < len(load(files[last])["activations"])
    assert set(load(files[last])["locations"][:, 2].tolist()) == {1}
    files = download(api, spoken, "neuronpedia", q="peace")
    (name,) = [name for name in files if "/explanations/" in name]
    assert [row["index"] for row in lines(files[name])] == ["5"]


def test_neuronpedias_layout_has_features_activations_and_explanations(
    db: Session, api: httpx.Client, spoken: Study
) -> None:
    folder = f"v1/smollm2-135m-instruct/10-{spoken.slug}"
    files = download(api, spoken, "neuronpedia")
    assert sorted(files) == [
        f"{folder}/{name}"
        for name in (
            "activations/batch-0.jsonl.gz",
            "explanations/batch-0.jsonl.gz",
            "features/batch-0.jsonl.gz",
            "model.jsonl",
            "source.jsonl",
            "sourceset.jsonl",
        )
    ]
    features = lines(files[f"{folder}/features/batch-0.jsonl.gz"])
    assert [row["index"] for row in features] == list("012345")
    latent = latent_of(db, spoken, 1)
    assert features[1]["maxActApprox"] == latent.max_activation
    assert features[1]["freq_hist_data_bar_heights"] == latent.histogram
    assert features[2]["freq_hist_data_bar_heights"] == [], "the dead one"
    examples = lines(files[f"{folder}/activations/batch-0.jsonl.gz"])
    assert {row["index"] for row in examples} == set("01345")
    for row in examples:
        assert len(row["tokens"]) == len(row["values"]) == LENGTH
        assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"])


@pytest.mark.parametrize("form", ["delphi", "neuronpedia"])
def test_a_round_trip_gives_the_same_explanations(
    db: Session, api: httpx.Client, spoken: Study, tmp_path: Path, form: str
) -> None:
    latent = latent_of(db, spoken, 3)
    latent.explanation_id = None
    db.flush()
    text = "“quoted”, \\ and ∂ \U0001f600"
    reworded = Explanation(latent_id=latent.id, text=text, author_kind="person", author="ana")
    db.add(reworded)
    db.flush()
    latent.explanation_id = reworded.id
    db.commit()
    for name, content in download(api, spoken, form).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    fresh = little_study(db, simulator=False)
    ids = select(Latent.id).where(Latent.study_id == fresh.id)
    db.execute(update(Latent).where(Latent.study_id == fresh.id).values(explanation_id=None))
    db.execute(delete(Explanation).where(Explanation.latent_id.in_(ids)))
    db.commit()
    source = tmp_path if form == "delphi" else next((tmp_path / "v1").glob("*/*"))
    job = imported(db, api, fresh, form, source)
    assert job.state["failures"] == {}
    for index in (0, 1, 3, 4, 5):
        before, after = current_of(db, spoken, index), current_of(db, fresh, index)
        assert after.text == before.text
        if form == "neuronpedia":
            assert after.author_kind == before.author_kind
    assert len(versions(db, fresh)) == 5
    if form == "delphi":
        score = current_of(db, fresh, 1).details["scores"]["simulation"]
        assert -1 < score["value"] < 1


def test_an_export_in_another_layout_comes_in_pieces(spoken: Study) -> None:
    pieces = list(queries.download(spoken.slug, ExportQuery(format="delphi")))
    assert len(pieces) > 10
    assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).testzip() is None


def test_an_export_that_cannot_be_made_says_so_before_it_begins(
    db: Session, api: httpx.Client, study: Study, spoken: Study
) -> None:
    fresh = little_study(db, latents=0, simulator=False)
    for form in ("delphi", "neuronpedia"):
        answer = api.get(f"/studies/{fresh.slug}/export", params={"format": form})
        assert "no latents yet" in problem_of(answer, 409)
    answer = api.get(f"/studies/{study.slug}/export", params={"format": "delphi"})
    assert "Activations of" in problem_of(answer, 422)
    fresh.coder_info = {"num_latents": 10**6}
    db.commit()
    answer = api.get(f"/studies/{fresh.slug}/export", params={"format": "delphi"})
    assert "use `palimpsest export" in problem_of(answer, 409)
    (shard,) = get_settings().activations(spoken.id, "explain").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-4])
    answer = api.get(f"/studies/{spoken.slug}/export", params={"format": "delphi"})
    assert "damaged or cut short" in problem_of(answer, 422)
