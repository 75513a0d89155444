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
    Params,
    RewriteParams,
    ScoreParams,
    SentenceParams,
    SimulateParams,
)
from models import Job

BACKGROUND = -1
"""Priority of a job that nobody waits for: inner points of a rewrite, other calibrations and
orderings, the other protocol, estimates of all latents, individual loss effects in bulk."""
ORDINARY = 0
WAITED_FOR = 1
"""Priority of a job that somebody waits for: it is about one sentence, prompt or explanation."""


class Kind(NamedTuple):
    """A kind of job."""

    name: str
    label: str
    queue: str
    """A process that serves ``gpu`` takes one task at a time."""
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
    )
}
QUEUES = tuple(sorted({kind.queue for kind in KINDS.values()}))
LISTED = "{} or {}".format(", ".join([*KINDS][:-1]), [*KINDS][-1])
"""All kinds, for a sentence."""
_BY_PARAMS = {kind.params: kind for kind in KINDS.values()}


def kind_of(params: Params) -> Kind:
    """The kind of the jobs that are asked for such a thing."""
    return _BY_PARAMS[type(params)]


def priority_of(params: Params) -> int:
    """The priority of a job: its kind's, but somebody waits for one explanation's simulation."""
    if isinstance(params, SimulateParams) and params.background:
        return BACKGROUND
    if isinstance(params, SimulateParams) and len(params.explanation_ids) == 1:
        return WAITED_FOR
    return kind_of(params).priority


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
