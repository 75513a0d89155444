"""The progress of a job in words."""

import time
from typing import Any

import pytest

from jobs import progress
from jobs.progress import Now, asked, now, seconds_left
from models import Job


def _timed(done: int, total: int, units: int, seconds: float = 20.0) -> dict[str, Any]:
    """A kind of units of two things each."""
    rate = {"done": done, "total": total, "units": units, "timed": 2 * units, "seconds": seconds}
    return {**rate, "before": None}


@pytest.mark.parametrize(
    ("status", "rate", "left"),
    [
        ("running", _timed(10, 40, 5), 60.0),
        ("running", _timed(40, 40, 5), 0.0),
        ("running", _timed(0, 40, 0, 0.0), None),
        ("queued", _timed(10, 40, 5), None),
        ("finished", _timed(10, 40, 5), None),
        # Two timed units are enough, or one and a hundredth of the work.
        ("running", _timed(6, 4006, 2), 20_000.0),
        ("running", _timed(4, 4004, 1), None),
        ("running", _timed(4, 400, 1), 3960.0),
    ],
)
def test_time_left_is_known_once_a_rate_rests_on_enough(
    status: str, rate: dict[str, Any], left: float | None
) -> None:
    job = Job(status=status, done=rate["done"], total=rate["total"], rates={"latents": rate})
    assert seconds_left(job) == left
    job.total = None
    assert seconds_left(job) is None


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
        ("rewrite the layer afterwards", "yes"),
        ("language model", "small, vllm"),
    ]


def test_each_kind_of_unit_has_a_rate_of_its_own() -> None:
    timed = _timed(10, 30, 5, 20.0) | {"before": 7.0}
    unseen = _timed(0, 4, 0, 0.0) | {"before": 3.0}
    unknown = _timed(0, 5, 0, 0.0)
    job = Job(status="running", done=10, total=39)
    job.rates = {"scores": timed, "examples": unseen, "loss_effects": unknown}
    # 20 of 2 s each, 4 of 3 s as in an earlier job, and 5 of the job's own 2 s.
    assert seconds_left(job) == 20 * 2 + 4 * 3 + 5 * 2
    # What the job tells of other units counts once a hundredth of it is done.
    job.rates = job.rates | {"loss_effects": _timed(0, 5000, 0, 0.0)}
    job.total = 5034
    assert seconds_left(job) is None
    # Before the first unit only earlier jobs tell.
    job.done, job.rates = 0, {"examples": unseen}
    assert seconds_left(job) == 12
    job.rates = {"examples": unseen, "loss_effects": unknown}
    assert seconds_left(job) is None
