"""The progress of a job in words."""

import time

import pytest

from jobs import progress
from jobs.progress import Now, asked, now, seconds_left
from models import Job


@pytest.mark.parametrize(
    ("status", "done", "total", "usage", "left"),
    [
        ("running", 10, 40, {"seconds": 20.0}, 60.0),
        ("running", 40, 40, {"seconds": 20.0}, 0.0),
        ("running", 0, 40, {"seconds": 20.0}, None),
        ("running", 10, None, {"seconds": 20.0}, None),
        ("running", 10, 40, {}, None),
        ("queued", 10, 40, {"seconds": 20.0}, None),
        ("finished", 10, 40, {"seconds": 20.0}, None),
    ],
)
def test_time_left_is_known_once_there_is_a_rate(
    status: str, done: int, total: int | None, usage: dict[str, float], left: float | None
) -> None:
    assert seconds_left(Job(status=status, done=done, total=total, usage=usage)) == left


def test_what_runs_in_two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_heard", (time.monotonic(), frozenset()))  # all are served
    half = Job(kind="explain", status="running", done=5, total=10)
    unknown = Job(kind="explain", status="running", done=0, total=None)
    waiting = Job(kind="explain", status="queued", done=9, total=10)
    assert now([]) == Now(0, None)
    assert now([half, unknown, waiting]) == Now(3, 0.5)
    assert now([unknown]).percent == ""
    assert Now(1, 0.999).percent == "99%", "100% is said of nothing that still runs"


def test_parameters_in_words() -> None:
    job = Job(
        params={
            "explanation_ids": list(range(20)),
            "loss_effects": 4,
            "then_rewrite": True,
            "author": "",
            "llm": {"model": "small", "backend": "vllm", "base_url": None},
        },
        state={"cleared": True, "rewrite_id": 7},
    )
    assert asked(job) == [
        ("rewrite", "7"),
        ("explanations", "20"),
        ("latents measured individually", "4"),
        ("measure the layer afterwards", "yes"),
        ("language model", "small, vllm"),
    ]


def test_each_kind_of_unit_has_a_rate_of_its_own() -> None:
    timed = {"done": 10, "total": 30, "timed": 5, "seconds": 10.0, "before": 7.0}
    unseen = {"done": 0, "total": 4, "timed": 0, "seconds": 0.0, "before": 3.0}
    unknown = {"done": 0, "total": 5, "timed": 0, "seconds": 0.0, "before": None}
    job = Job(status="running", done=10, total=39, usage={"seconds": 10.0})
    job.rates = {"scores": timed, "examples": unseen, "loss_effects": unknown}
    # 20 of 2 s each, 4 of 3 s as in an earlier job, and 5 of the job's own 1 s.
    assert seconds_left(job) == 20 * 2 + 4 * 3 + 5 * 1
    # Before the first unit only earlier jobs tell.
    job.done, job.usage, job.rates = 0, {}, {"examples": unseen}
    assert seconds_left(job) == 12
    job.rates = {"examples": unseen, "loss_effects": unknown}
    assert seconds_left(job) is None
