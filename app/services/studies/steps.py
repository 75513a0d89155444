"""The steps from a new study to its first chart, and how far each is."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from jobs.kinds import KINDS
from jobs.progress import JobLine
from jobs.status import STOPPED
from models import Job

State = Literal["done", "running", "queued", "failed", "cancelled", "later"]

STEPS = {
    "collect": "Run the model over the text, and store where each latent is active.",
    "explain": "Write a text for each latent that says where it is active.",
    "simulate": "Predict the activations from these texts alone.",
    "rewrite": "Run the model with the predicted activations, and compare the loss.",
}
"""What is done in each step, by its kind of job."""


class Step(NamedTuple):
    """One step to the first chart."""

    label: str
    meaning: str
    state: State
    job: Job | JobLine | None
    """The job that does it, or that stopped."""


def steps_to_chart(
    active: Sequence[Job | JobLine], last: Job | None, *, done: Sequence[str]
) -> list[Step]:
    """The steps in order.

    Args:
        active: Jobs of the study that wait or run.
        last: Its newest job. Where nothing waits or runs, it says why a step stopped.
        done: Kinds of job with results. More may come while one runs.
    """
    found = []
    for kind, meaning in STEPS.items():
        own = sorted((job for job in active if job.kind == kind), key=lambda job: job.status)
        job: Job | JobLine | None = next(reversed(own), None)  # "running" comes after "queued"
        state: State = "later"
        if job is not None and job.status == "running":
            state = "running"
        elif kind in done:
            state = "done"
        elif job is not None:
            state = "queued"
        elif not active and last is not None and last.kind == kind and last.status in STOPPED:
            job, state = last, "failed" if last.status == "failed" else "cancelled"
        found.append(Step(KINDS[kind].label, meaning, state, job))
    return found
