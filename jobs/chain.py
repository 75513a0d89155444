"""The chain of jobs: the jobs that one job queues.

========  =====================================  ===========================================
job       when it has                            what follows
========  =====================================  ===========================================
collect   finished, if nothing explains yet      explain, by the first of its methods
explain   finished, if methods are left          explain, by the next one
explain   finished, if simulating was asked for  simulate, the explanations that it wrote
explain   finished, if first latents were named  simulate, so many latents
simulate  done ``EARLY`` of more explanations    rewrite, once under each protocol
simulate  finished, if rewriting was asked for   rewrite, once under each protocol
simulate  finished, of several explanations      simulate, the rest: examples, loss effects
========  =====================================  ===========================================

An edit queues a simulate job of one explanation. Nothing follows the other kinds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from interp.vocabulary import Protocol
from jobs.params import (
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
        state: The notes of its worker, see ``Job.state``. Of a simulate job, ``left`` says whether
            there is a rest.
    """
    match asked:
        case CollectParams(explain=(first, *others)):
            return [_explain(first, asked, others)]
        case ExplainParams(following=(first, *others)):
            return [_explain(first, asked, others)]
        case ExplainParams(then_simulate=SimulateParams() as then):
            ids = state.get("explained", [])
            return [then.model_copy(update={"explanation_ids": tuple(ids)})] if ids else []
        case ExplainParams() if asked.first_latents:
            return [SimulateParams(**_latents(asked), then_rewrite=True)]
        case SimulateParams(rest=False):
            rewriting = rewrites(asked, state) if asked.then_rewrite else []
            return [*rewriting, *rest(asked, state)]
    return []


def rewrites(asked: SimulateParams, state: Mapping[str, Any]) -> Sequence[Params]:
    """The rewrites that follow a simulate job.

    An edit repeats the newest rewrites. A job of many latents orders all latents anew.
    """
    repeat = len(asked.explanation_ids or state["explanation_ids"]) < EARLY
    simulator_id = asked.simulator_id or state["simulator_id"]
    return [
        RewriteParams(protocol=protocol, simulator_id=simulator_id, repeat=repeat)
        for protocol in Protocol
    ]


def rest(asked: SimulateParams, state: Mapping[str, Any]) -> Sequence[Params]:
    """What a simulate job of several explanations leaves for later, as nobody waits for it."""
    if not state.get("left"):
        return []
    ids = tuple(asked.explanation_ids or state["explanation_ids"])
    simulator_id = asked.simulator_id or state["simulator_id"]
    later = SimulateParams(explanation_ids=ids, simulator_id=simulator_id, rest=True)
    return [later.model_copy(update={"individually": asked.individually})]


def _explain(
    first: ExplainParams, asked: CollectParams | ExplainParams, others: Sequence[ExplainParams]
) -> ExplainParams:
    return first.model_copy(update={**_latents(asked), "following": tuple(others)})


def _latents(asked: CollectParams | ExplainParams) -> dict[str, Any]:
    """The latents to hand on to the simulate job."""
    named = {"first_latents", "individually"} & asked.model_fields_set
    return {name: getattr(asked, name) for name in sorted(named)}
