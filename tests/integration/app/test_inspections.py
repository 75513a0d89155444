"""Inspections in the API and in the form of a study, up to the worker that takes them up."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.services.studies.schemas import Sources
from jobs import inspections
from jobs.events import get_redis
from jobs.inspections import LIST, MOST, NOBODY, Inspection
from tests.conftest import silence
from tests.reading import problem_of, text_of
from tests.studies import failed_study, study_values

GONE = "0" * 32


@pytest.fixture(autouse=True)
def _none_waits(servers: object) -> None:
    get_redis().delete(LIST)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """The form of a study that looks as if it could work."""
    return study_values(tmp_path, slug="Not Yet", prepend_bos="true")


def _sources(values: dict[str, Any]) -> dict[str, Any]:
    """What an inspection needs of a study."""
    return {name: value for name, value in values.items() if name in Sources.model_fields}


def test_without_a_worker_it_is_said_and_the_form_can_be_sent(
    api: httpx.Client, pages: httpx.Client, tmp_path: Path
) -> None:
    silence()
    values = study_values(tmp_path)
    assert problem_of(api.post("/inspections", json=_sources(values)), 503) == NOBODY
    page = pages.post("/studies/new", data=values | {"inspect": "start"})
    assert page.status_code == 200 and NOBODY in text_of(page)
    made = pages.post("/studies/new", data=values)
    assert made.status_code == 303, made.text


def test_a_worker_that_stops_leaves_nobody_waiting(
    served: None, api: httpx.Client, tmp_path: Path
) -> None:
    waits = api.post("/inspections", json=_sources(study_values(tmp_path))).json()
    silence()
    now = api.get(f"/inspections/{waits['id']}").json()
    assert (now["status"], now["problem"]) == ("failed", NOBODY)


def test_nothing_typed_is_lost(served: None, pages: httpx.Client, values: dict[str, Any]) -> None:
    values |= {"title": "Half <typed>", "seed": "x"}
    page = pages.post("/studies/new", data=values | {"inspect": "start"})
    assert page.status_code == 200, "other fields may be wrong as yet"
    assert 'value="Half &lt;typed&gt;"' in page.text and 'value="Not Yet"' in page.text
    assert "It waits for a worker" in text_of(page)
    first = inspections.take()
    assert first and first.question.coder == values["coder"]
    assert (first.question.context_length, first.question.first_position) == (34, 1)

    # The panel stays when something is wrong with the form, and asks how far it is.
    held = values | {"inspection": first.id}
    for also in ({}, {"inspect": "look"}):
        again = pages.post("/studies/new", data=held | also)
        assert f'value="{first.id}"' in again.text and "It waits for a worker" in text_of(again)
    # Another one takes its place.
    pages.post("/studies/new", data=held | {"inspect": "start"})
    assert not inspections.keep(first.id)
    second = inspections.take()
    assert second and second.id != first.id
    stopped = pages.post("/studies/new", data=values | {"inspection": second.id, "inspect": "stop"})
    assert "Nothing is stored" in text_of(stopped) and not inspections.keep(second.id)


def test_what_cannot_work_is_said_by_its_label(
    served: None, api: httpx.Client, pages: httpx.Client, values: dict[str, Any]
) -> None:
    values |= {"model": "/nowhere/model", "leave_out": "99"}
    page = pages.post("/studies/new", data=values | {"inspect": "start"})
    assert page.status_code == 422
    assert "Positions left out. Use 32 or less" in text_of(page)
    del values["leave_out"]
    problem = api.post("/inspections", json=_sources(values))
    (error,) = problem.json()["errors"]
    assert problem.status_code == 422 and error["field"] == "model"
    page = pages.post("/studies/new", data=values | {"inspect": "start"})
    assert f"Model. {error['message']}" in text_of(page)
    assert get_redis().llen(LIST) == 0


def test_a_text_is_not_needed(
    served: None, api: httpx.Client, pages: httpx.Client, values: dict[str, Any]
) -> None:
    without = {name: value for name, value in values.items() if name != "corpus"}
    pages.post("/studies/new", data=values | {"corpus": " ", "inspect": "start"})
    for values_sent in (without, values | {"corpus": ""}):
        body = {name: value for name, value in values_sent.items() if name in Sources.model_fields}
        assert api.post("/inspections", json=body).status_code == 201
    for _ in range(3):
        taken = inspections.take()
        assert taken and taken.question.corpus == "sotu"
    # A study needs one, wherever it is made.
    values |= {"slug": "not-yet", "corpus": ""}
    assert pages.post("/studies/new", data=values).status_code == 422
    problem_of(api.post("/studies", json=values), 422)


def test_what_is_gone_is_said(api: httpx.Client, pages: httpx.Client) -> None:
    assert "Inspect again" in problem_of(api.get(f"/inspections/{GONE}"), 404)
    assert api.get("/inspections/x").status_code == 404
    page = pages.post("/studies/new", data={"inspection": GONE, "inspect": "look"})
    assert "There is no such inspection" in text_of(page)
    page = pages.post("/studies/new", data={"inspection": GONE, "use": "0"})
    assert page.status_code == 200


def test_so_many_wait_at_once(served: None, api: httpx.Client, tmp_path: Path) -> None:
    values = study_values(tmp_path)
    for _ in range(MOST):
        assert api.post("/inspections", json=_sources(values)).status_code == 201
    assert "Too many" in problem_of(api.post("/inspections", json=_sources(values)), 503)


def test_states_of_other_versions_are_dropped(served: None) -> None:
    get_redis().rpush(LIST, b"{}")
    with pytest.raises(ValueError, match="Inspection"):
        inspections.take()
    assert inspections.take() is None


def test_an_inspection_goes_through_redis_as_it_is(
    served: None, api: httpx.Client, tmp_path: Path
) -> None:
    made = Inspection.model_validate(
        api.post("/inspections", json=_sources(study_values(tmp_path))).json()
    )
    assert inspections.take() == made == inspections.look(made.id)


def test_a_study_to_correct_is_inspected_too(
    served: None, api: httpx.Client, pages: httpx.Client, db: Session, tmp_path: Path
) -> None:
    data = study_values(tmp_path)
    study, job = failed_study(db, api, data)
    here = f"/studies/{study.slug}/edit"
    page = pages.post(here, data=data | {"hookpoint": "layers.2.mlp", "inspect": "start"})
    assert page.status_code == 200 and "Correct the study" in page.text
    assert 'value="layers.2.mlp"' in page.text and "It waits for a worker" in text_of(page)
    assert (taken := inspections.take()) and taken.question.hookpoint == "layers.2.mlp"
    db.expire_all()
    assert (study.hookpoint, job.status) == (data["hookpoint"], "failed"), "nothing is saved"
