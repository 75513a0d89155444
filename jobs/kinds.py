"""The kinds of jobs: one table."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from interp.errors import InputError
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
from models import Job

BACKGROUND = -1
"""Priority of a job that nobody waits for: it runs when nothing ordinary waits."""
ORDINARY = 0
WAITED_FOR = 1
"""Priority of a job that somebody waits for: it is about one sentence, prompt or explanation."""

INTERACTIVE = "interactive"
"""The queue of what people wait for: jobs of priority ``WAITED_FOR`` of all kinds, and requests
(:mod:`jobs.requests`). A worker of its own serves it. While none does, such jobs go to the queue of
their kind, first of all."""


class Kind(NamedTuple):
    """A kind of job."""

    name: str
    label: str
    queue: str
    """Of the jobs that nobody waits for. A process that serves ``gpu`` takes one task at a time."""
    priority: int
    """A job of a higher priority goes first."""
    params: type[Params]
    """The parameters of such a job."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("collect", "Collect", "gpu", ORDINARY, CollectParams),
        Kind("explain", "Explain", "cpu", ORDINARY, ExplainParams),
        Kind("embed", "Embed", "cpu", ORDINARY, EmbedParams),
        Kind("score", "Score", "gpu", ORDINARY, ScoreParams),
        Kind("simulate", "Simulate", "gpu", ORDINARY, SimulateParams),
        Kind("rewrite", "Rewrite", "gpu", ORDINARY, RewriteParams),
        Kind("attribute", "Attribute", "gpu", BACKGROUND, AttributeParams),
        Kind("generate", "Generate", "gpu", WAITED_FOR, GenerateParams),
        Kind("sentence", "Sentence", "gpu", WAITED_FOR, SentenceParams),
        Kind("check", "Check", "gpu", ORDINARY, CheckParams),
        Kind("language", "Language", "gpu", ORDINARY, LanguageParams),
    )
}
QUEUES = tuple(sorted({INTERACTIVE, *(kind.queue for kind in KINDS.values())}))
LISTED = "{} or {}".format(", ".join([*KINDS][:-1]), [*KINDS][-1])
"""All kinds, for a sentence."""
_BY_PARAMS = {kind.params: kind for kind in KINDS.values()}


def kind_of(params: Params) -> Kind:
    """The kind of the jobs that are asked for such a thing."""
    return _BY_PARAMS[type(params)]


def priority_of(params: Params) -> int:
    """The priority of a job: its kind's, with exceptions.

    Somebody waits for one explanation's simulation, and for the main point of the layer. Nobody
    waits for the rest of a simulation or of a rewrite, or for the vectors of many explanations.
    """
    match params:
        case SimulateParams(rest=True) | EmbedParams(rest=True):
            return BACKGROUND
        case SimulateParams(explanation_ids=(_,)):
            return WAITED_FOR
        case RewriteParams(main_point=True):
            return WAITED_FOR
        case RewriteParams() if params.rewrite_id is not None:
            return BACKGROUND
    return kind_of(params).priority


def queue_of(kind: str, priority: int) -> str:
    """The queue of a job."""
    return INTERACTIVE if priority >= WAITED_FOR else KINDS[kind].queue


def params_of(job: Job) -> Params:
    """The parameters of a job.

    Raises:
        InputError: This version knows no such parameters.
    """
    try:
        return KINDS[job.kind].params.model_validate(job.params)
    except ValidationError as error:
        names = ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors()}))
        raise InputError(
            f"Job {job.id} was queued with parameters that this version does not know: {names}. "
            "Queue a new one."
        ) from None
