"""Orders of jobs: one table of kinds, parameters that hold nothing unknown, and what follows."""

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.jobs import queries
from interp.errors import InputError
from jobs import chain, queue
from jobs.kinds import (
    BACKGROUND,
    INTERACTIVE,
    KINDS,
    ORDINARY,
    QUEUES,
    WAITED_FOR,
    kind_of,
    params_of,
    priority_of,
)
from jobs.params import (
    AttributeParams,
    CheckParams,
    CollectParams,
    EmbedParams,
    ExplainParams,
    GenerateParams,
    LanguageParams,
    Params,
    RewriteParams,
    ScoreParams,
    SentenceParams,
    SimulateParams,
)
from models import Job, Study
from tests.factories import little_study
from workers.registry import TASKS

MINIMAL: dict[str, Params] = {
    "collect": CollectParams(),
    "explain": ExplainParams(),
    "embed": EmbedParams(),
    "score": ScoreParams(),
    "simulate": SimulateParams(),
    "rewrite": RewriteParams(),
    "attribute": AttributeParams(),
    "generate": GenerateParams(generation_id=1),
    "sentence": SentenceParams(sentence_id=1),
    "check": CheckParams(),
    "language": LanguageParams(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_hold_nothing_unknown_and_never_change(kind: str) -> None:
    params = MINIMAL[kind]
    assert kind_of(params) is KINDS[kind]
    with pytest.raises(ValidationError):
        KINDS[kind].params.model_validate(params.stored() | {"cleared": True})
    with pytest.raises(ValidationError):
        params.method = "other"  # type: ignore[attr-defined]


def test_parts_hold_nothing_unknown() -> None:
    for wrong in (
        {"explain": [{"method": "lexical", "explained": [1]}]},
        {"explain": [{"llm": {"model": "m", "temperature": 1}}]},
    ):
        with pytest.raises(ValidationError):
            CollectParams.model_validate(wrong)


def test_a_job_of_unknown_parameters_says_so(db: Session, study: Study) -> None:
    job = Job(study_id=study.id, kind="score", params={"cases": 9}, created_by="tests")
    with pytest.raises(InputError, match="does not know: cases"):
        params_of(job)


def test_every_kind_has_a_task_a_queue_and_an_entry_in_the_api(api: httpx.Client) -> None:
    assert set(TASKS) == set(KINDS)
    assert {kind.queue for kind in KINDS.values()} | {INTERACTIVE} == set(QUEUES)
    described = api.get("/openapi.json").json()["components"]["schemas"]["JobOut"]["properties"]
    assert described["kind"]["enum"] == list(KINDS)
    assert all(name in described["kind"]["description"] for name in KINDS)


def test_pages_say_the_label_of_a_kind(pages: httpx.Client, db: Session, study: Study) -> None:
    for kind in KINDS:
        db.add(Job(study_id=study.id, kind=kind, status="finished", created_by="tests"))
    db.commit()
    page = pages.get(f"/studies/{study.slug}/jobs").text
    assert all(f">{kind.label} <span" in page for kind in KINDS.values())


def test_what_somebody_waits_for_is_urgent(db: Session) -> None:
    other = {"sentence": WAITED_FOR, "generate": WAITED_FOR, "attribute": BACKGROUND}
    for kind, params in MINIMAL.items():
        assert priority_of(params) == other.get(kind, ORDINARY)
    nobody_waits = SimulateParams(explanation_ids=(1,), rest=True)
    assert priority_of(nobody_waits) == BACKGROUND
    for ids, priority in (((1,), WAITED_FOR), ((1, 2), ORDINARY), ((), ORDINARY)):
        assert priority_of(SimulateParams(explanation_ids=ids)) == priority
    study = little_study(db)
    job = queue.enqueue(db, study, SimulateParams(explanation_ids=(1,)), by="tests")
    assert job.priority == WAITED_FOR
    job.status = "cancelled"
    db.commit()


def test_what_was_asked_is_kept_as_it_was_given(db: Session, study: Study) -> None:
    params = SimulateParams(explanation_ids=(1, 2), individually=0)
    job = queue.enqueue(db, study, params, by="tests")
    assert (job.params, job.state) == ({"explanation_ids": [1, 2], "individually": 0}, {})
    assert params_of(job) == params
    job.status = "cancelled"
    db.commit()


def test_a_study_stops_after_the_step_that_it_names() -> None:
    follows = {}
    for until in ("collect", "explain", "simulate", "rewrite"):
        steps = [CollectParams(first_latents=20, until=until)]
        while steps:
            asked = steps[0]
            name = type(asked).__name__.removesuffix("Params").lower()
            follows.setdefault(until, []).append(name)
            if name == "rewrite":
                break
            steps = chain.after(asked, {"explanation_ids": [1] * 20, "simulator_id": 4})
    every = ["collect", "explain", "simulate", "rewrite"]
    assert follows == {step: every[: every.index(step) + 1] for step in every}


def test_the_chain() -> None:
    lexical, file = ExplainParams(method="lexical"), ExplainParams(method="file", path="/a.jsonl")
    collect = CollectParams(explain=(lexical, file), first_latents=20, individually=3)
    (first,) = chain.after(collect, {})
    assert first.stored() == {
        "method": "lexical",
        "following": [{"method": "file", "path": "/a.jsonl"}],
        "first_latents": 20,
        "individually": 3,
    }
    (second,) = chain.after(first, {})
    assert second.stored() == {
        "method": "file",
        "path": "/a.jsonl",
        "following": [],
        "first_latents": 20,
        "individually": 3,
    }
    (simulate,) = chain.after(second, {})
    assert simulate.stored() == {"first_latents": 20, "individually": 3, "then_rewrite": True}
    state = {"explanation_ids": list(range(20)), "simulator_id": 4}
    (main,) = chain.after(simulate, state)
    assert main.stored() == {"protocol": "whole", "simulator_id": 4, "main_point": True}
    attribute, *others = chain.after(main, {"rewrite_id": 9})
    assert attribute.stored() == {"simulator_id": 4, "renew": True}
    assert chain.after(attribute, {}) == [], "the estimates were not made anew"
    (exact,) = chain.after(attribute, {"measure": [7, 8]})
    assert exact.stored() == {"explanation_ids": [7, 8], "simulator_id": 4, "rest": True}
    assert [one.stored() for one in others] == [
        {"protocol": protocol, "simulator_id": 4, "author": "", "rewrite_id": 9}
        for protocol in ("whole", "paper")
    ]
    assert chain.after(main, {}) == [], "nothing has changed"
    # What takes minutes comes last.
    whole, paper = others
    assert chain.after(whole, {"rewrite_id": 9, "beyond": False}) == []
    (wide,) = chain.after(whole, {"rewrite_id": 9, "beyond": True})
    assert wide.stored() == whole.stored() | {"breadth": "all"}
    assert priority_of(wide) == BACKGROUND
    assert chain.after(wide, {"rewrite_id": 9}) == []
    assert chain.after(paper, {"rewrite_id": 9, "beyond": False}) == []
    # What nobody waits for is a job of its own, behind the rewrites.
    *_, rest = chain.after(simulate, state | {"left": True})
    assert rest.stored() == {
        "explanation_ids": list(range(20)),
        "simulator_id": 4,
        "individually": 3,
        "rest": True,
    }
    assert priority_of(rest) == BACKGROUND
    assert chain.after(rest, {"left": True}) == []
    edit = SimulateParams(explanation_ids=(7,), simulator_id=5, then_rewrite=True)
    (main,) = chain.after(edit, {})
    assert main.stored() == {
        "protocol": "whole",
        "simulator_id": 5,
        "repeat": True,
        "edited": [7],
        "main_point": True,
    }
    assert chain.after(edit.model_copy(update={"then_rewrite": False}), {}) == []


def test_a_job_tells_what_follows_by_itself(
    api: httpx.Client, pages: httpx.Client, db: Session, study: Study
) -> None:
    def kinds(asked: Params) -> list[str]:
        return [kind_of(one).name for one in chain.ahead(asked)]

    methods = ExplainParams(method="lexical"), ExplainParams(method="file", path="/x.jsonl")
    collect = CollectParams(explain=methods, first_latents=20)
    assert kinds(collect) == ["explain", "explain", "simulate", "rewrite"]
    assert kinds(collect.model_copy(update={"until": "simulate"}))[-1] == "simulate"
    assert kinds(collect.model_copy(update={"until": "collect"})) == []
    assert kinds(SimulateParams(rest=True)) == []
    job = queue.enqueue(db, study, collect, by="ada")
    assert api.get(f"jobs/{job.id}").json()["ahead"][-1] == "rewrite"
    for page in (f"/jobs/{job.id}", f"/studies/{study.slug}/jobs"):
        line = "Then, by themselves: Explain by lexical, Explain by file, Simulate, Rewrite."
        assert line in pages.get(page).text
    queries.cancel_job(db, job)
    assert api.get(f"jobs/{job.id}").json()["ahead"] == []


def test_somebody_waits_for_a_main_point_and_nobody_for_the_rest() -> None:
    assert priority_of(RewriteParams(main_point=True, edited=(7,))) == WAITED_FOR
    assert priority_of(RewriteParams(main_point=True)) == WAITED_FOR
    assert priority_of(RewriteParams()) == ORDINARY
    assert priority_of(RewriteParams(rewrite_id=3)) == BACKGROUND
    assert priority_of(RewriteParams()) == ORDINARY


def test_an_explainer_is_followed_by_what_it_wrote() -> None:
    then = SimulateParams(simulator_id=2, individually=1, then_rewrite=True)
    explain = ExplainParams(method="prompted", then_simulate=then)
    (simulate,) = chain.after(explain, {"explained": [8, 9]})
    assert simulate.stored() == then.stored() | {"explanation_ids": [8, 9]}
    assert chain.after(explain, {"explained": []}) == [], "it wrote nothing"
    assert chain.after(ExplainParams(), {}) == []


def test_what_follows_is_queued_once(db: Session, study: Study) -> None:
    job = queue.enqueue(db, study, CheckParams(), by="ana")
    for when in ("early", "early", "last"):
        queue.follow(db, job, when, [EmbedParams()])
    query = select(Job).where(Job.study_id == study.id, Job.kind == "embed")
    made = db.scalars(query).all()
    assert len(made) == 2 and {one.created_by for one in made} == {"ana"}
    assert job.state["queued"] == ["early", "last"]
    for one in (job, *made):
        one.status = "cancelled"
    db.commit()
