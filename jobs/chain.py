"""The chain of jobs: the jobs that one job queues.

=========  =====================================  ============================================
job        when it has                            what follows
=========  =====================================  ============================================
collect    finished, if nothing explains yet      explain, by the first of its methods
explain    finished, if methods are left          explain, by the next one
explain    finished, if simulating was asked for  simulate, the explanations that it wrote
explain    finished, if first latents were named  simulate, so many latents
simulate   done ``EARLY`` of more explanations    rewrite, once under each protocol; attribute
simulate   finished, if rewriting was asked for   rewrite, once under each protocol; attribute
attribute  finished, if it made new estimates     simulate, to measure some latents individually
=========  =====================================  ============================================

An edit queues a simulate job of one explanation. Nothing follows the other kinds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from interp.vocabulary import Protocol
from jobs.params import (
    AttributeParams,
    CollectParams,
    ExplainParams,
    Params,
    RewriteParams,
    SimulateParams,
)

EARLY = 8
"""A longer simulate job has the layer measured after so many latents too: something to see
meanwhile."""


def after(asked: Params, state: Mapping[str, Any]) -> Sequence[Params]:
    """The jobs that follow a job with its work done.

    Args:
        asked: The parameters of the job.
        state: The notes of its worker, see ``Job.state``.
    """
    match asked:
        case CollectParams(explain=(first, *rest)):
            return [_explain(first, asked, rest)]
        case ExplainParams(following=(first, *rest)):
            return [_explain(first, asked, rest)]
        case ExplainParams(then_simulate=SimulateParams() as then):
            ids = state.get("explained", [])
            return [then.model_copy(update={"explanation_ids": tuple(ids)})] if ids else []
        case ExplainParams() if asked.first_latents:
            return [SimulateParams(**_latents(asked), then_rewrite=True)]
        case SimulateParams(then_rewrite=True):
            return rewrites(asked, state)
        case AttributeParams():
            ids = tuple(state.get("measure", ()))
            simulator_id = asked.simulator_id
            then = SimulateParams(explanation_ids=ids, simulator_id=simulator_id, background=True)
            return [then] if ids else []
    return []


def rewrites(asked: SimulateParams, state: Mapping[str, Any]) -> Sequence[Params]:
    """The rewrites that follow a simulate job, and the estimates of all latents.

    An edit repeats the newest rewrites. A job of many latents orders all latents anew.
    """
    repeat = len(asked.explanation_ids or state["explanation_ids"]) < EARLY
    simulator_id = asked.simulator_id or state["simulator_id"]
    return [
        *(
            RewriteParams(protocol=protocol, simulator_id=simulator_id, repeat=repeat)
            for protocol in Protocol
        ),
        AttributeParams(simulator_id=simulator_id, renew=True),
    ]


def _explain(
    first: ExplainParams, asked: CollectParams | ExplainParams, rest: Sequence[ExplainParams]
) -> ExplainParams:
    return first.model_copy(update={**_latents(asked), "following": tuple(rest)})


def _latents(asked: CollectParams | ExplainParams) -> dict[str, Any]:
    """The latents to hand on to the simulate job."""
    named = {"first_latents", "individually"} & asked.model_fields_set
    return {name: getattr(asked, name) for name in sorted(named)}
