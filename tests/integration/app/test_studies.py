"""Studies at the form, in the API and on the command line: checked, corrected, made again."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.inspections.schemas import InspectionCreate
from cli.servers import Servers
from models import Job, Study
from tests.checkpoints import coder_folder
from tests.conftest import palimpsest
from tests.factories import little_study
from tests.reading import problem_of, text_of
from tests.studies import failed_study, study_values

BAD = {
    "model": "/nowhere/model",
    "coder": "/nowhere/coder",
    "hookpoint": "layers.40.mlp",
    "corpus": "/nowhere/texts",
}


@pytest.mark.parametrize("field", BAD)
def test_what_cannot_work_is_refused_at_once(
    api: httpx.Client, pages: httpx.Client, db: Session, tmp_path: Path, field: str
) -> None:
    data = study_values(tmp_path, **{field: BAD[field]})
    problem = api.post("/studies", json=data)
    problem_of(problem, 422)
    (error,) = problem.json()["errors"]
    assert error["field"] == field
    form = pages.post("/studies/new", data=data)
    assert form.status_code == 422
    assert f'id="{field}-error"' in form.text and error["message"] in text_of(form)
    assert f'value="{BAD[field]}"' in form.text, "nothing that was typed is lost"
    assert db.scalar(select(Study).filter_by(slug=data["slug"])) is None


UNFIT = {
    "reads": ({"reads": "layers.9.mlp.input"}, "there is no layer 9"),
    "reading": ({"reading": "backwards"}, "cannot be read so that backwards"),
    "coder": ({"coder": "layers.7.mlp", "hookpoint": ""}, "there is no layer 7"),
}


@pytest.mark.parametrize("field", UNFIT)
def test_what_the_files_tell_is_refused_at_once(
    api: httpx.Client, pages: httpx.Client, tmp_path: Path, field: str
) -> None:
    changes, says = UNFIT[field]
    if field == "coder":
        changes = changes | {"coder": str(coder_folder(tmp_path / changes["coder"]))}
    data = study_values(tmp_path, **changes)
    sources = {name: value for name, value in data.items() if name in InspectionCreate.model_fields}
    for path, body in (("/studies", data), ("/inspections", sources)):
        answer = api.post(path, json=body)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == field and says in error["message"]
    form = pages.post("/studies/new", data=data)
    assert form.status_code == 422
    assert f'id="{field}-error"' in form.text and says in text_of(form)


def test_all_that_is_wrong_is_said_together(api: httpx.Client, tmp_path: Path) -> None:
    problem = api.post("/studies", json=study_values(tmp_path, **BAD))
    assert {error["field"] for error in problem.json()["errors"]} == {"model", "coder", "corpus"}


def test_the_command_says_the_same(
    api: httpx.Client, servers: Servers, data_folder: Path, tmp_path: Path
) -> None:
    data = study_values(tmp_path, coder=str(coder_folder(tmp_path / "wide", width=24)))
    (said,) = api.post("/studies", json=data).json()["errors"]
    environment = {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "PALIMPSEST_HOME": str(data_folder),
    }
    options = [part for name, value in data.items() for part in (f"--{name}", value)]
    run = palimpsest("study", "create", *options, **environment)
    assert run.returncode == 1
    assert run.stderr == f"palimpsest: --coder: {said['message']}\n"


def test_paths_are_kept_from_the_root_on(
    api: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = study_values(tmp_path, model=f"{tmp_path}/c/../m")
    made = api.post("/studies", json=data)
    assert made.status_code == 201, made.text
    assert made.json()["model"] == str(tmp_path / "m")


def test_a_fetched_model_goes_by_its_name(api: httpx.Client, tmp_path: Path) -> None:
    fetched = {"model": "smollm2-135m-instruct", "coder": "somebody/coder"}
    made = api.post("/studies", json=study_values(tmp_path, **fetched))
    assert made.json()["model"] == fetched["model"]
    wrong = api.post("/studies", json=study_values(tmp_path, **fetched, hookpoint="layers.30.mlp"))
    assert "30 layers, 0 to 29" in problem_of(wrong, 422)


def test_new_is_no_name(api: httpx.Client, tmp_path: Path) -> None:
    """Its page would be the form for a new study."""
    assert "slug" in problem_of(api.post("/studies", json=study_values(tmp_path, slug="new")), 422)


def test_a_failed_study_says_so_and_can_be_corrected(
    api: httpx.Client, pages: httpx.Client, db: Session, tmp_path: Path
) -> None:
    data = study_values(tmp_path, first_latents=7, contexts_evaluate=100)
    study, job = failed_study(db, api, data)
    here = f"/studies/{study.slug}"
    for path in ("/studies", here, f"{here}/edit"):
        assert "The coder <does> not fit." in text_of(pages.get(path)), path
    assert "collection failed" in text_of(pages.get("/studies"))
    assert f'href="{here}/edit"' in pages.get(here).text
    form = pages.get(f"{here}/edit").text
    for name, value in (data | {"context_length": 34}).items():
        assert f'name="{name}"' in form and f'value="{value}"' in form, name

    refused = pages.post(f"{here}/edit", data=data | {"model": "/nowhere/m"})
    assert refused.status_code == 422 and 'id="model-error"' in refused.text
    db.expire_all()
    assert (study.model, job.status) == (data["model"], "failed")

    slug = f"{study.slug}-b"
    right = data | {"slug": slug, "hookpoint": "layers.2.mlp", "first_latents": 9}
    saved = pages.post(f"{here}/edit", data=right)
    assert (saved.status_code, saved.headers["location"]) == (303, f"/studies/{slug}")
    db.expire_all()
    assert (study.slug, study.hookpoint, study.prepend_bos) == (slug, "layers.2.mlp", False)
    assert (job.status, job.params, job.state) == ("queued", {"first_latents": 9}, {"anew": True})
    assert len(db.scalars(select(Job).filter_by(study_id=study.id)).all()) == 1
    # While it is on its way, only its title can be changed.
    assert 'name="model"' not in pages.get(f"/studies/{slug}/edit").text
    assert pages.post(f"/studies/{slug}/edit", data=right).status_code == 409
    assert pages.post(f"/studies/{slug}/edit", data={"title": "Other"}).status_code == 303
    db.expire_all()
    assert study.title == "Other"


def test_what_was_derived_of_another_coder_is_derived_again(
    api: httpx.Client, pages: httpx.Client, db: Session, tmp_path: Path
) -> None:
    data = study_values(tmp_path)
    study, _ = failed_study(db, api, data)
    study.reads, study.reading = "layers.1.mlp.input", "the decoder's bias is subtracted"
    db.commit()
    # A form sends all fields, as it showed them.
    shown = data | {"reads": study.reads, "reading": study.reading}
    saved = pages.post(f"/studies/{study.slug}/edit", data=shown | {"hookpoint": "layers.2.mlp"})
    assert saved.status_code == 303
    db.expire_all()
    assert (study.hookpoint, study.reads) == ("layers.2.mlp", "")
    assert study.reading == "the decoder's bias is subtracted", "it is the same coder"


def test_a_step_and_a_number_of_latents_are_both_kept(
    api: httpx.Client, pages: httpx.Client, db: Session, tmp_path: Path
) -> None:
    study, job = failed_study(db, api, study_values(tmp_path, first_latents=100, until="explain"))
    assert job.params == {"first_latents": 100, "until": "explain"}
    form = pages.get(f"/studies/{study.slug}/edit").text
    assert 'value="100"' in form and '<option value="explain" selected>' in form


def test_a_study_says_what_its_model_is_loaded_in(
    api: httpx.Client, pages: httpx.Client, db: Session, tmp_path: Path
) -> None:
    study, _ = failed_study(db, api, study_values(tmp_path, dtype="bfloat16"))
    here = f"/studies/{study.slug}"
    assert api.get(here).json()["dtype"] == "bfloat16"
    assert '<option value="bfloat16" selected>' in pages.get(f"{here}/edit").text
    assert "bfloat16" in text_of(pages.get(here))
    assert "dtype" in problem_of(api.patch(here, json={"dtype": "int8"}), 422)
    assert api.patch(here, json={"dtype": "auto"}).json()["dtype"] == "auto"
    assert "as its files" in text_of(pages.get(here))


def test_corrections_by_the_api(api: httpx.Client, db: Session, tmp_path: Path) -> None:
    study, job = failed_study(db, api, study_values(tmp_path))
    taken = little_study(db)
    here = f"/studies/{study.slug}"
    for wrong, status in (
        ({"slug": taken.slug}, 409),
        ({"slug": "A B"}, 422),
        ({"hookpoint": "layers.9.mlp"}, 422),
        ({"contexts_evaluate": 3}, 422),
        ({"title": None}, 422),
        ({"colour": "red"}, 422),
    ):
        problem_of(api.patch(here, json=wrong), status)
    db.expire_all()
    assert job.status == "failed"
    changed = api.patch(here, json={"hookpoint": "layers.0.mlp", "title": "Now"})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["hookpoint"], changed.json()["title"]) == ("layers.0.mlp", "Now")
    assert "cannot be corrected" in problem_of(api.patch(here, json={"seed": 1}), 409)
    db.expire_all()
    assert (job.status, job.state["anew"]) == ("queued", True)


def test_a_collected_study_keeps_what_its_figures_rest_on(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    here = f"/studies/{study.slug}"
    assert problem_of(api.patch(here, json={"model": "gpt2"}), 409)
    assert api.patch(here, json={"title": "Renamed"}).json()["title"] == "Renamed"
    assert pages.post(f"{here}/edit", data={"title": " "}).status_code == 422
    assert "Renamed" in text_of(pages.get(here))
    assert f"/studies/new?like={study.slug}" in pages.get(f"{here}/edit").text


def test_a_new_study_like_another(pages: httpx.Client, db: Session, study: Study) -> None:
    form = pages.get("/studies/new", params={"like": study.slug}).text
    assert f'value="{study.slug}"' not in form
    for value in (study.title, study.model, study.coder, study.hookpoint, study.context_length):
        assert f'value="{value}"' in form
    assert pages.get("/studies/new", params={"like": "nothing"}).status_code == 404


def test_language_models_are_looked_up_too(
    api: httpx.Client, pages: httpx.Client, study: Study
) -> None:
    nowhere = {"model": "/nowhere/m"}
    simulator = api.post("/simulators", json={"method": "all_at_once"} | nowhere)
    assert [error["field"] for error in simulator.json()["errors"]] == ["model"]
    form = pages.post("/simulators", data={"method": "all_at_once"} | nowhere)
    assert form.status_code == 422 and 'id="model-error"' in form.text
    served = {"method": "json_reply", "backend": "openai", "base_url": "http://localhost:1/v1"}
    assert api.post("/simulators", json=served | nowhere).status_code == 201, "the server's name"
    here = f"/studies/{study.slug}"
    explain = api.post(f"{here}/explain", json={"method": "prompted", "llm": nowhere})
    assert "nothing at /nowhere/m" in problem_of(explain, 422)
    assert "nothing at /nowhere/m" in problem_of(
        api.post(f"{here}/score", json={"llm": nowhere}), 422
    )
    work = {"task": "score", "backend": "transformers", "which": "all"} | nowhere
    page = pages.post(f"{here}/work", data=work)
    assert page.status_code == 422 and "nothing at /nowhere/m" in text_of(page)
