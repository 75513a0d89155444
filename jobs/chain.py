"""The chain of jobs: the jobs that one job queues.

=========  =====================================  ===========================================
job        when it has                            what follows
=========  =====================================  ===========================================
collect    finished, if nothing explains yet      explain, by the first of its methods
explain    finished, if methods are left          explain, by the next one
explain    finished, if simulating was asked for  simulate, the explanations that it wrote
explain    finished, if first latents were named  simulate, so many latents
explain    finished, if vectors are lacking       embed
simulate   done ``EARLY`` of more explanations    rewrite, the main point
simulate   done all values, before the scores     rewrite, the main point
simulate   finished, if rewriting was asked for   rewrite, the main point
simulate   finished                               simulate, the rest: examples, loss effects
rewrite    measured a new main point              attribute; rewrite, the rest, each protocol
rewrite    finished under ``whole``               rewrite, its main point on all contexts
attribute  finished, if it made new estimates     simulate, the loss effects of some latents
=========  =====================================  ===========================================

An edit queues a simulate job of one explanation. Nothing follows the other kinds.

The main point of a rewrite has the whole set of latents rewritten, under ``whole`` and isotonic
calibration. After an edit somebody waits for it. The rest is measured in the background: a later
one takes the place of an earlier one (``jobs/queue.py``). So each edit has its own main point, and
any number of edits one rest.

All this is on the panel, the first contexts of the evaluate set. The main point on all contexts
comes last: it takes minutes, so it waits until nobody edits any more. A slow simulator has none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from interp.vocabulary import Breadth, Protocol
from jobs.kinds import BACKGROUND, priority_of
from jobs.params import (
    AttributeParams,
    CollectParams,
    EmbedParams,
    ExplainParams,
    Params,
    RewriteParams,
    SimulateParams,
)

EARLY = 8
"""A longer simulate job has the layer measured after so many latents too: something to see
meanwhile."""
EARLY_OF_MANY = 512
"""The same, where a simulator takes many latents at once. It is a multiple of their number."""
MANY = 8192
"""Only a job for so many takes the early look then. A smaller one is done with all values in
minutes, and the look would take some of them."""


def after(asked: Params, state: Mapping[str, Any]) -> Sequence[Params]:
    """The jobs that follow a job with its work done.

    Args:
        asked: The parameters of the job.
        state: The notes of its worker, see ``Job.state``. Of a simulate job, ``left`` says whether
            there is a rest; of an explain job, ``lacks_vectors`` whether some are to be embedded;
            of a rewrite, ``beyond`` whether it is to be measured beyond the panel.
    """
    match asked:
        case CollectParams(until="collect"):
            return []
        case CollectParams(explain=(first, *others)):
            return [_explain(first, asked, others)]
        case ExplainParams(following=(first, *others)):
            return [_explain(first, asked, others)]
        case ExplainParams():
            embed = [EmbedParams(rest=True)] if state.get("lacks_vectors") else []
            return [*_simulate(asked, state), *embed]
        case SimulateParams(rest=False):
            rewriting = rewrites(asked, state) if asked.then_rewrite else []
            return [*rewriting, *rest(asked, state)]
        case RewriteParams(main_point=True) if "rewrite_id" in state:
            inner = RewriteParams(
                simulator_id=asked.simulator_id,
                author=asked.author,
                rewrite_id=state["rewrite_id"],
            )
            return [
                AttributeParams(simulator_id=asked.simulator_id, renew=True),
                *(inner.model_copy(update={"protocol": protocol}) for protocol in Protocol),
            ]
        case RewriteParams(breadth=Breadth.PANEL) if state.get("beyond"):
            return [
                RewriteParams(
                    protocol=asked.protocol,
                    simulator_id=asked.simulator_id,
                    author=asked.author,
                    rewrite_id=state["rewrite_id"],
                    breadth=Breadth.ALL,
                )
            ]
        case AttributeParams():
            exact = SimulateParams(
                explanation_ids=tuple(state.get("measure", ())),
                simulator_id=asked.simulator_id,
                rest=True,
            )
            return [exact] if exact.explanation_ids else []
    return []


def ahead(asked: Params) -> Sequence[Params]:
    """The jobs that follow one by themselves, up to the chart of the layer, in order.

    What is left for the background is not among them.
    """
    state = {"explanation_ids": (0,), "explained": (0,), "simulator_id": None}
    found: list[Params] = []
    while following := [one for one in after(asked, state) if priority_of(one) > BACKGROUND]:
        asked = following[0]
        found.append(asked)
    return found


def rewrites(asked: SimulateParams, state: Mapping[str, Any]) -> Sequence[Params]:
    """The rewrite that follows a simulate job.

    An edit repeats the newest rewrite with nothing else changed. A job of many latents, or of one
    author's explanations, orders all latents anew.
    """
    ids = tuple(asked.explanation_ids or state["explanation_ids"])
    simulator_id = asked.simulator_id or state["simulator_id"]
    main = RewriteParams(protocol=Protocol.WHOLE, simulator_id=simulator_id, main_point=True)
    if asked.author:
        return [main.model_copy(update={"author": asked.author})]
    edit = {"repeat": True, "edited": ids} if len(ids) < EARLY else {}
    return [main.model_copy(update=edit)]


def rest(asked: SimulateParams, state: Mapping[str, Any]) -> Sequence[Params]:
    """What a simulate job leaves for later, as nobody waits for it."""
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


def _simulate(asked: ExplainParams, state: Mapping[str, Any]) -> Sequence[SimulateParams]:
    """The simulate job that follows the last explain job, if one was asked for."""
    if asked.then_simulate is not None:
        ids = tuple(state.get("explained", ()))
        return [asked.then_simulate.model_copy(update={"explanation_ids": ids})] if ids else []
    if not asked.first_latents or asked.until == "explain":
        return []
    latents = {name: one for name, one in _latents(asked).items() if name != "until"}
    return [SimulateParams(**latents, then_rewrite=asked.until == "rewrite")]


def _latents(asked: CollectParams | ExplainParams) -> dict[str, Any]:
    """The latents to hand on to the simulate job."""
    named = {"first_latents", "individually", "until"} & asked.model_fields_set
    return {name: getattr(asked, name) for name in sorted(named)}
