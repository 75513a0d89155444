"""The task for each kind of job. Only the runner imports it, because it imports torch."""

from collections.abc import Callable, Mapping
from typing import Any

from jobs.kinds import params_of
from models import Job
from workers.task import Task
from workers.tasks import explain
from workers.tasks.attribute import Attribute
from workers.tasks.check import Check
from workers.tasks.collect.task import Collect
from workers.tasks.embed import Embed
from workers.tasks.generate import Generate
from workers.tasks.language.task import Language
from workers.tasks.rewrite import task as rewrite
from workers.tasks.score import ScoreWithModel
from workers.tasks.sentence import ReadSentence
from workers.tasks.simulate.task import Simulate

TASKS: Mapping[str, Callable[[Any], Task]] = {
    "collect": Collect,
    "explain": explain.task_of,
    "embed": Embed,
    "score": ScoreWithModel,
    "simulate": Simulate,
    "rewrite": rewrite.task_of,
    "attribute": Attribute,
    "generate": Generate,
    "sentence": ReadSentence,
    "check": Check,
    "language": Language,
}
"""Each makes the task of a job from what the job was asked for."""


def task_of(job: Job) -> Task:
    """The task of a job, for one turn of it.

    Raises:
        InputError: This version knows no such parameters, or no such method.
    """
    return TASKS[job.kind](params_of(job))
