"""The JSON API on a real web server, PostgreSQL and Valkey."""

import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.main import create_app
from cli.processes import start, stop
from cli.servers import Servers, free_port
from cli.services import web_command
from interp.vocabulary import Role
from jobs.events import publish
from models import (
    Explanation,
    Job,
    Latent,
    LossEffect,
    Rewrite,
    RewritePoint,
    Study,
)
from tests import REPOSITORY
from tests.conftest import wait_for
from tests.factories import LENGTH, check, commented, generation, little_study, reword
from tests.people import add_person, bearer
from tests.reading import problem_of
from tests.studies import queue_job

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _new(**changes: object) -> dict[str, object]:
    return {
        "slug": f"new-{uuid.uuid4().hex[:8]}",
        "title": "New",
        "model": "models/a",
        "coder": "coders/a",
        "hookpoint": "layers.10.mlp",
        "corpus": "sotu",
    } | changes


def test_health(web: str) -> None:
    response = httpx.get(f"{web}/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "postgresql": "ok", "redis": "ok"}


def test_create_and_get_a_study(api: httpx.Client, db: Session) -> None:
    data = _new(title="  Trimmed  ", first_latents=5)
    made = api.post("/studies", json=data)
    assert made.status_code == 201, made.text
    assert made.json()["title"] == "Trimmed"
    contexts = {
        name: made.json()[f"contexts_{name}"] for name in ("explain", "evaluate", "rewrite")
    }
    assert contexts == {"explain": 4000, "evaluate": 512, "rewrite": 64}
    assert made.json()["context_length"] == 34
    assert api.get(f"/studies/{data['slug']}").json() == made.json()
    assert made.json() in api.get("/studies").json()
    job = db.scalars(select(Job).filter_by(study_id=made.json()["id"])).one()
    assert (job.kind, job.status, job.params) == ("collect", "queued", {"first_latents": 5})
    assert "another name" in problem_of(api.post("/studies", json=data), 409)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "No Such"}, "slug"),
        ({"slug": ""}, "slug"),
        ({"title": "  "}, "title"),
        ({"model": "a\x00b"}, "model"),
        ({"context_length": 7}, "context_length"),
        ({"contexts_evaluate": 1}, "contexts_evaluate"),
        ({"contexts_evaluate": 63}, "contexts_rewrite"),
        ({"contexts_rewrite": 513}, "contexts_rewrite"),
        ({"seed": "many"}, "seed"),
    ],
)
def test_a_study_that_is_not_valid(
    api: httpx.Client, db: Session, changes: dict[str, object], field: str
) -> None:
    before = db.scalar(select(func.count()).select_from(Study))
    response = api.post("/studies", json=_new(**changes))
    assert field in problem_of(response, 422)
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert db.scalar(select(func.count()).select_from(Study)) == before


def test_list_latents(api: httpx.Client, study: Study) -> None:
    def indices(**query: object) -> list[int]:
        response = api.get(f"/studies/{study.slug}/latents", params=query)
        assert response.status_code == 200, response.text
        return [item["index"] for item in response.json()["items"]]

    assert indices() == [0, 1, 2, 3, 4, 5]
    assert indices(sort="firing_rate", order="desc") == [4, 3, 2, 1, 0, 5]
    assert indices(sort="max_activation", order="asc")[0] == 5
    assert indices(sort="correlation", order="desc") == [0, 1, 2, 3, 4, 5]
    assert indices(sort="correlation", order="asc") == [1, 0, 2, 3, 4, 5], "missing comes last"
    assert indices(sort="sensitivity", order="desc") == [0, 1, 2, 3, 4, 5]
    assert indices(simulated=True) == [0, 1]
    assert indices(q="NUMBER 3") == [3]
    assert indices(q="100%_sure") == [0, 1, 2, 3, 4]
    assert indices(q="%") == [0, 1, 2, 3, 4]
    assert indices(q="_") == [0, 1, 2, 3, 4]
    assert indices(q="%%") == [], "wildcards are plain characters"
    assert indices(limit=2, after="~2") == [3, 4]
    problem_of(api.get(f"/studies/{study.slug}/latents", params={"sort": "nonsense"}), 422)


def test_get_a_latent(api: httpx.Client, study: Study) -> None:
    latent = api.get(f"/studies/{study.slug}/latents/0").json()
    assert latent["explanation"]["text"] == "fires on word number 0, 100%_sure"
    assert [score["name"] for score in latent["scores"]] == [
        "correlation",
        "sensitivity",
        "specificity",
    ]
    assert latent["scores"][1]["value"] is None
    assert [(effect["condition"], effect["calibration"]) for effect in latent["loss_effects"]] == [
        ("zeroed", ""),
        ("rewritten", "isotonic"),
        ("rewritten", "quantile"),
        ("rewritten", "linear"),
        ("rewritten", "none"),
    ]
    effect = latent["loss_effects"][1]
    assert (effect["mean"], effect["fires_mean"]) == pytest.approx((0.001, 0.004))
    assert effect["weights"] == {"fires": 0.25, "predicted": 0.125, "silent": 0.625}
    assert len(effect["strata"]) == len(effect["context_ids"]) == len(effect["differences"]) == 6
    assert effect["before"] is None
    identity = latent["explanation"]["id"]
    assert api.get(f"/explanations/{identity}/scores").json() == latent["scores"]
    assert api.get(f"/explanations/{identity}/loss-effects").json() == latent["loss_effects"]


def test_a_loss_effect_is_compared_with_that_of_the_parent(
    api: httpx.Client, db: Session, study: Study
) -> None:
    effect = reword(db, study, 0)
    effect.before = {"mean": -0.0012, "low": -0.002, "high": -0.0004, "p": 0.03}
    effect.before |= {"detectable": 0.001, "contexts_needed": 2.0}
    db.commit()
    effects = api.get(f"/studies/{study.slug}/latents/0").json()["loss_effects"]
    compared = {c["calibration"]: c["before"] for c in effects}
    assert compared.pop("isotonic") == effect.before | {"verdict": "lower"}
    assert set(compared.values()) == {None}


def test_unknown_things(api: httpx.Client, study: Study) -> None:
    assert problem_of(api.get(f"/studies/{study.slug}/latents/5000"), 404) == (
        f"There is no latent 5000 in study {study.slug}: it has 6 (0 to 5)."
    )
    for path in (
        "/studies/none",
        "/studies/NO%00NE",
        "/jobs/999999999",
        "/jobs/0",
        "/explanations/999999999",
        f"/studies/{study.slug}/rewrites/999999999",
        f"/studies/{study.slug}/latents/99999999999999999999",
        "/nothing",
    ):
        problem_of(api.get(path), 404)


def test_a_study_that_is_not_collected(api: httpx.Client, db: Session) -> None:
    study = little_study(db, latents=0, simulator=False)
    assert api.get(f"/studies/{study.slug}/latents").json() == {
        "total": 0,
        "more": False,
        "before": None,
        "after": None,
        "independence": None,
        "items": [],
    }
    assert "still to be collected" in problem_of(api.get(f"/studies/{study.slug}/latents/0"), 404)
    assert "no simulator" in problem_of(api.post(f"/studies/{study.slug}/rewrites", json={}), 409)


def test_examples_tell_missing_from_zero_and_from_not_simulated(
    api: httpx.Client, study: Study
) -> None:
    top = api.get(f"/studies/{study.slug}/latents/0/examples").json()["items"][0]
    assert top["kind"] == "top"
    assert len(top["tokens"]) == LENGTH
    assert [token["state"] for token in top["tokens"][:6]] == [
        "bos",
        "simulated",
        "simulated",
        "simulated",
        "simulated",
        "missing",
    ]
    assert top["tokens"][3]["real"] == 10.0
    assert top["tokens"][5]["simulated"] is None
    raw = top["tokens"][1]["simulated"]
    expected = raw / 9 if raw <= 4.5 else 0.5 + (raw - 4.5)
    assert top["tokens"][1]["calibrated"] == pytest.approx(expected, abs=1e-5)
    later = api.get(f"/studies/{study.slug}/latents/3/examples").json()["items"][0]
    assert {token["state"] for token in later["tokens"]} == {"bos", "none"}


def test_save_an_explanation(api: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/3/explanations"
    before = api.get(path).json()
    saved = api.post(path, json={"text": "  two\nlines "})
    assert saved.status_code == 201, saved.text
    body = saved.json()
    assert body["explanation"]["text"] == "two lines"
    assert body["explanation"]["author_kind"] == "person"
    assert body["explanation"]["parent_id"] == before["current_id"]
    assert body["conflict"] is False
    assert api.get(path).json()["current_id"] == body["explanation"]["id"]
    job = db.get_one(Job, body["job_id"])
    assert (job.kind, job.status) == ("simulate", "queued")
    assert job.params == {
        "explanation_ids": [body["explanation"]["id"]],
        "simulator_id": study.simulator_id,
        "then_rewrite": True,
    }
    problem_of(api.post(path, json={"text": "two lines"}), 409)
    identity = body["explanation"]["id"]
    assert "on its way" in problem_of(api.post(f"/explanations/{identity}/simulate"), 409)


@pytest.mark.parametrize("text", ["", " \n\t ", "x" * 10_000, "a\x00b", "a\x1bb", 7])
def test_an_explanation_that_is_not_valid(
    api: httpx.Client, db: Session, study: Study, text: object
) -> None:
    path = f"/studies/{study.slug}/latents/0/explanations"
    jobs = select(func.count()).select_from(Job).where(Job.study_id == study.id)
    before = api.get(path).json(), db.scalar(jobs)
    assert "text" in problem_of(api.post(path, json={"text": text}), 422)
    assert (api.get(path).json(), db.scalar(jobs)) == before


def test_two_people_save_at_once(api: httpx.Client, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/2/explanations"
    start = api.get(path).json()["current_id"]
    first = api.post(path, json={"text": "the first", "parent_id": start}).json()
    second = api.post(path, json={"text": "the second", "parent_id": start}).json()
    assert (first["conflict"], second["conflict"]) == (False, True)
    versions = api.get(path).json()
    assert versions["current_id"] == second["explanation"]["id"]
    assert [v["text"] for v in versions["items"][:2]] == ["the second", "the first"]
    other = api.get(f"/studies/{study.slug}/latents/1/explanations").json()["current_id"]
    problem_of(api.post(path, json={"text": "the third", "parent_id": other}), 404)


def test_cancel_and_retry(api: httpx.Client, db: Session, study: Study) -> None:
    job = queue_job(db, study, "explain")
    assert "only a failed or cancelled" in problem_of(api.post(f"/jobs/{job.id}/retry"), 409)
    assert api.post(f"/jobs/{job.id}/cancel").json()["status"] == "cancelled"
    assert "cannot be cancelled" in problem_of(api.post(f"/jobs/{job.id}/cancel"), 409)
    again = api.post(f"/jobs/{job.id}/retry").json()
    assert (again["status"], again["finished_at"]) == ("queued", None)
    listed = api.get(f"/studies/{study.slug}/jobs").json()
    assert (listed["total"], listed["items"]) == (1, [api.get(f"/jobs/{job.id}").json()])
    api.post(f"/jobs/{job.id}/cancel")


def test_rewrites(api: httpx.Client, db: Session, study: Study) -> None:
    (rewrite,) = api.get(f"/studies/{study.slug}/rewrites").json()
    whole = api.get(f"/studies/{study.slug}/rewrites/{rewrite['id']}").json()
    assert rewrite["finished"]
    assert rewrite["protocol"] == "whole"
    assert set(whole["orderings"]) == {"score", "effect", "random 1", "random 2", "random 3"}
    of_set = 8 * len(rewrite["counts"]) + 4 * 2 * (len(rewrite["counts"]) - 1)
    assert len(whole["points"]) == 6 + of_set + 3, "without a set, of sets, of the whole set alone"
    resample = next(p for p in whole["points"] if p["condition"] == "resample")
    assert resample["statistics"]["against"]["rewritten"]["verdict"] == "higher"
    point = next(
        p
        for p in whole["points"]
        if (p["calibration"], p["ordering"], p["count"]) == ("isotonic", "score", 2)
        and p["condition"] == "rewritten"
    )
    assert len(point["kls"]) == len(point["losses"])
    assert point["kl_low"] < point["kl"] < point["kl_high"]
    zero = next(p for p in whole["points"] if p["condition"] == "zero")
    against = point["statistics"]["against"]["zero"]
    difference = sum(a - b for a, b in zip(point["losses"], zero["losses"], strict=True))
    assert against["mean"] == pytest.approx(difference / len(zero["losses"]), abs=1e-6)
    assert against["verdict"] == "lower"
    assert point["statistics"]["against"]["before"] is None
    assert 0.5 < point["statistics"]["recovered"]["no_latents"]["value"] < 1
    untouched = next(p for p in whole["points"] if p["condition"] == "untouched")
    assert untouched["statistics"]["against"]["set_zeroed"] is None

    job = api.post(f"/studies/{study.slug}/rewrites", json={"protocol": "paper"})
    assert job.status_code == 201
    assert job.json()["params"] == {
        "protocol": "paper",
        "simulator_id": study.simulator_id,
        "author": "",
        "repeat": False,
    }
    api.post(f"/jobs/{job.json()['id']}/cancel")
    problem_of(api.post(f"/studies/{study.slug}/rewrites", json={"protocol": "last"}), 422)


def test_an_older_rewrite_without_statistics(api: httpx.Client, db: Session, study: Study) -> None:
    rewrite = db.scalars(select(Rewrite).filter_by(study_id=study.id)).one()
    for point in db.scalars(select(RewritePoint).filter_by(rewrite_id=rewrite.id)):
        point.statistics, point.kls, point.kl, point.kl_low, point.kl_high = {}, *[None] * 4
    db.commit()
    points = api.get(f"/studies/{study.slug}/rewrites/{rewrite.id}").json()["points"]
    assert {point["kl"] for point in points} == {None}
    assert {point["statistics"]["effective_contexts"] for point in points} == {None}
    assert {point["statistics"]["against"]["zero"] for point in points} == {None}


def test_edit_next(api: httpx.Client, db: Session) -> None:
    study = little_study(db, latents=6, simulated=4)
    path = f"/studies/{study.slug}/edit-next"
    listed = api.get(path).json()
    assert [item["index"] for item in listed["items"]] == [3, 2, 1, 0], "dearest first"
    assert (listed["total"], listed["clear"]) == (4, 4)
    assert listed["items"][0]["loss_effect"] == pytest.approx(0.004)
    assert listed["items"][0]["loss_effect_low"] == pytest.approx(0.002)
    assert listed["items"][0]["explanation"] == "fires on word number 3, 100%_sure"
    assert [
        i["index"] for i in api.get(path, params={"limit": 1, "offset": 2}).json()["items"]
    ] == [1]
    effects = select(LossEffect).filter_by(condition="rewritten", calibration="isotonic")
    of = {
        latent.index: db.scalars(effects.filter_by(explanation_id=latent.explanation_id)).one()
        for latent in db.scalars(select(Latent).where(Latent.study_id == study.id))
        if latent.index < 4
    }
    # One has no estimate, one has no interval, one has a new explanation.
    of[3].mean = of[3].low = of[3].high = None
    of[2].low = of[2].high = None
    reworded = api.post(f"/studies/{study.slug}/latents/1/explanations", json={"text": "new"})
    db.commit()
    listed = api.get(path).json()
    assert [item["index"] for item in listed["items"]] == [2, 0]
    assert (listed["total"], listed["clear"]) == (2, 1)
    assert listed["items"][0]["loss_effect"] == pytest.approx(0.003)
    assert listed["items"][0]["loss_effect_low"] is listed["items"][0]["loss_effect_high"] is None
    api.post(f"/jobs/{reworded.json()['job_id']}/cancel")


def test_events(web: str, db: Session, study: Study) -> None:
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    received: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        with httpx.stream("GET", f"{web}/studies/{study.slug}/events", timeout=20) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("event: "):
                    received.append(line.removeprefix("event: "))
                    ready.set()
                if len(received) == 4:
                    return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert ready.wait(10)
    publish(study.id + 1, "chart")
    publish(study.id, "job", 1)
    publish(study.id, "latent", latent.id)
    publish(study.id, "chart")
    listener.join(10)
    assert received == ["refresh", "job", f"latent-{latent.id}", "chart"]


def test_other_sites_may_not_post(api: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/1/explanations"
    for headers in (
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        problem_of(api.post(path, json={"text": "from elsewhere"}, headers=headers), 403)
    assert db.scalar(select(Explanation).filter_by(text="from elsewhere")) is None
    origin = f"http://{api.base_url.netloc.decode()}"
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert api.post(path, json={"text": "from here"}, headers=headers).status_code == 201


@pytest.fixture
def web_with_accounts(servers: Servers, data_folder: Path) -> Iterator[str]:
    """A second web server, which lets nobody in who has not signed in."""
    port = free_port()
    command = web_command("127.0.0.1", port)
    environment = os.environ | {"PALIMPSEST_ACCOUNTS": "true"}
    child = start("accounts", command, data_folder, cwd=REPOSITORY, env=environment)
    wait_for(f"http://127.0.0.1:{port}/healthz", child)
    yield f"http://127.0.0.1:{port}"
    stop([child])


def test_accounts(web_with_accounts: str, db: Session, study: Study) -> None:
    ana = bearer(db, add_person(db, "ana", Role.EDITOR))
    url = web_with_accounts
    path = f"{url}/api/v1/studies/{study.slug}/latents/4/explanations"
    refused = httpx.post(path, json={"text": "by nobody"})
    assert "Sign in" in problem_of(refused, 401)
    assert refused.headers["www-authenticate"].startswith("Bearer")
    page = httpx.get(f"{url}/studies")
    assert page.status_code == 401
    assert '="load' not in page.text, "a page that nobody may see asks what runs"
    assert httpx.get(f"{url}/healthz").status_code == 200
    saved = httpx.post(path, json={"text": "by ana"}, headers=ana)
    assert saved.json()["explanation"]["author"] == "ana"


def test_many_people_at_once(web_with_accounts: str, db: Session, study: Study) -> None:
    """Nobody waits for a connection that somebody holds who waits for a thread."""
    ben = bearer(db, add_person(db, "ben", Role.EDITOR))
    address = f"/studies/{study.slug}/latents/0"

    def ask(client: httpx.Client) -> int:
        return client.get(address).status_code

    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=web_with_accounts, headers=ben, timeout=120, limits=limits) as client,
        ThreadPoolExecutor(80) as people,
    ):
        assert set(people.map(ask, [client] * 80)) == {200}


@pytest.fixture
def known(db: Session, study: Study) -> dict[str, object]:
    """Parameters of paths that lead to rows that exist, so that more than the 404s is reached."""
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    check(db, study, one="passed")
    return {
        "slug": study.slug,
        "index": 0,
        "explanation_id": latent.explanation_id,
        "simulator_id": study.simulator_id,
        "rewrite_id": db.scalars(select(Rewrite).filter_by(study_id=study.id)).one().id,
        "generation_id": generation(db, study, [latent]).id,
        "comment_id": commented(db, latent).id,
    }


description = schemathesis.openapi.from_dict(create_app().openapi())


@description.parametrize()
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_server(
    case: schemathesis.Case, web: str, known: dict[str, object]
) -> None:
    """Requests made from the API description, valid and not: every answer is a described one.

    Besides examples at random, Schemathesis gives every field its bounds, and what it may not be.
    """
    for parameters in (case.path_parameters, known):
        case.path_parameters = {
            name: parameters.get(name, value) for name, value in case.path_parameters.items()
        }
        case.call_and_validate(base_url=web, checks=CHECKS)


def test_the_description_is_of_all_operations(web: str) -> None:
    served = schemathesis.openapi.from_url(f"{web}/api/v1/openapi.json")
    labels = {operation.ok().label for operation in served.get_all_operations()}
    assert labels == {operation.ok().label for operation in description.get_all_operations()}
    assert len(labels) >= 38
