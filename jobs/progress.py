"""The progress of jobs and their parameters, in words."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from jobs.kinds import INTERACTIVE, KINDS, kind_of, queue_of
from jobs.params import ExplainParams, Params
from jobs.rates import ENOUGH_SHARE, each
from jobs.status import ACTIVE
from models import Job

ASK_SECONDS = 1.0
"""Seconds for which an answer of Redis about workers is kept, because a page has many jobs."""


class JobLine(NamedTuple):
    """The columns for one line about a job. Its parameters are left out, because they may name
    thousands of explanations, and every page reads these lines."""

    id: int
    kind: str
    status: str
    done: int
    total: int | None
    unit: str
    message: str
    usage: dict[str, Any]
    priority: int = 0
    rates: Mapping[str, Any] = MappingProxyType({})


class Now(NamedTuple):
    """The jobs that wait or run, for the head of every page."""

    jobs: int
    share: float | None
    """The finished share of the running jobs' work, or None while none of them knows its total."""
    stopped: bool = False
    """True if no worker is running for any of them."""

    @property
    def percent(self) -> str:
        """The share in whole per cent, or empty while it is not known."""
        return "" if self.share is None else f"{int(100 * self.share)}%"


def share(job: Job | JobLine) -> float | None:
    """The finished share of a job's work, or None while its total is not known."""
    return min(job.done / job.total, 1.0) if job.total else None


def percent(job: Job | JobLine) -> str:
    """The same in whole per cent, or empty while it is not known."""
    return Now(1, share(job)).percent


def now(jobs: Sequence[JobLine]) -> Now:
    """Some jobs that wait or run, in a few figures."""
    shares = [part for job in jobs if job.status == "running" and (part := share(job)) is not None]
    stopped = bool(jobs) and all(map(no_worker, jobs))
    return Now(len(jobs), sum(shares) / len(shares) if shares else None, stopped)


_heard: tuple[float, frozenset[str]] = (float("-inf"), frozenset())
"""When Redis was last asked, and which queues no worker served then."""


def no_worker(job: Job | JobLine) -> str:
    """The queue of an active job if no worker serves it. Empty otherwise, and where Redis cannot be
    asked."""
    # Imported here, as the queue reads the settings, and errors in these are shown by this package.
    from jobs.queue import unserved

    global _heard
    if job.status not in ACTIVE:
        return ""
    if time.monotonic() - _heard[0] > ASK_SECONDS:
        _heard = (time.monotonic(), unserved())
    lacking, queue = _heard[1], KINDS[job.kind].queue
    if queue not in lacking:
        return ""
    # The interactive worker takes what somebody waits for, of any kind.
    taken = INTERACTIVE not in lacking and queue_of(job.kind, job.priority) == INTERACTIVE
    return "" if taken else queue


def seconds_left(job: Job | JobLine) -> float | None:
    """The time that a running job still needs, in seconds at work.

    Each kind of its units has a rate of its own: that of this job so far, or of an earlier job
    alike. A kind that has neither counts with the rate of the job as a whole. None while a rate
    rests on too little (:func:`jobs.rates.each`), and for a job that does not run. Time in which
    the worker is busy with other jobs comes on top.
    """
    if job.status != "running" or not job.total or not job.rates:
        return None
    kinds = job.rates.values()
    timed = [kind for kind in kinds if each(kind) is not None]
    whole = None
    if timed and job.done >= ENOUGH_SHARE * job.total:
        whole = sum(kind["seconds"] for kind in timed) / sum(kind["timed"] for kind in timed)
    left = 0.0
    for kind in kinds:
        things = max(kind["total"] - kind["done"], 0)
        rate = next((one for one in (each(kind), kind["before"], whole) if one is not None), None)
        if things and rate is None:
            return None
        left += things * (rate or 0.0)
    return left


def in_short(asked: Params) -> str:
    """A job in a few words. Several jobs that explain may follow each other."""
    label = kind_of(asked).label
    return f"{label} by {asked.method}" if isinstance(asked, ExplainParams) else label


WORDS = {
    "first_latents": "latents to simulate first",
    "loss_effects": "latents measured individually",
    "explanation_ids": "explanations",
    "latents": "latents",
    "simulator_id": "simulator",
    "method": "explainer",
    "protocol": "protocol",
    "author": "explanations by",
    "rewrite_id": "rewrite",
    "breadth": "contexts of the evaluate set",
    "generation_id": "generation",
    "sentence_id": "sentence",
    "then_rewrite": "rewrite the layer afterwards",
    "then_simulate": "simulate afterwards",
    "repeat": "repeats the rewrite before it",
    "edited": "edited explanations",
    "main_point": "the main point only",
    "rest": "the examples and loss effects of an earlier job",
    "renew": "only if enough has changed",
    "again": "missing values are simulated again",
    "llm": "language model",
    "path": "file or folder",
    "anyway": "although the model or the width differs",
    "contexts": "contexts",
    "scores": "scores",
}
"""The parameters of a job by name, and the job's own choices that follow from them. Notes that only
help it resume, such as ``cleared``, are left out."""


def asked(job: Job) -> list[tuple[str, str]]:
    """The parameters of a job, each as a name and a value in words."""
    return [
        (WORDS[name], words)
        for name, value in {**(job.state or {}), **job.params}.items()
        if name in WORDS and (words := _words(value))
    ]


def _words(value: Any) -> str:
    match value:
        case None | "":
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            few = [str(one) for one in value if isinstance(one, int | str)]
            return ", ".join(few) if len(value) == len(few) <= 6 else f"{len(value):,}"
        case dict():
            if "model" in value:
                return ", ".join(str(value[k]) for k in ("model", "backend") if value.get(k))
            return "yes"
    return str(value)
