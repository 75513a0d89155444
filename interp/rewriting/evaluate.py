"""The loss effect of splices, and their divergence from the model's predictions, on the evaluate
set."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from interp.coders.protocol import Coder
from interp.model.resume import Suspended, suspend
from interp.model.subject import Subject
from interp.model.whole import Whole, capture_whole
from interp.rewriting.splice import Site, Splice, untouched
from interp.rewriting.tree import Ids, Tree, grow, numbered
from interp.vocabulary import Protocol

BATCH_SIZE = 8
"""The most contexts prepared at once."""
TOKENS_AT_ONCE = {"cpu": 256, "cuda": 4096}
"""Spliced positions run at once, whose logits are in memory together."""
KEPT_BYTES = 512 * 2**20
"""The most memory for predictions that are kept from one evaluation to the next."""
TREE_NODES = 256
"""Spliced positions in one sequence: different outputs of one context, see
:mod:`interp.rewriting.tree`."""

Array = NDArray[np.float64]


class Known(NamedTuple):
    """A splice whose outcome is known. Another splice with the same output has the same outcome."""

    splice: Splice
    loss: Array
    """Of each context; NaN where it is not known."""
    kl: Array


class Kept:
    """The state that evaluations of the same contexts share: the runs up to the hookpoint, and the
    untouched model's predictions.

    It holds a few vectors for each spliced position, and predictions up to ``KEPT_BYTES``.
    """

    def __init__(self) -> None:
        self._started: dict[tuple[int, ...], tuple[Suspended | Whole, Site]] = {}
        self._references: dict[int, tuple[_Reference, _Outcome]] = {}
        self._bytes = 0

    def started(
        self, rows: tuple[int, ...], start: Callable[[], tuple[Suspended | Whole, Site]]
    ) -> tuple[Suspended | Whole, Site]:
        """A batch of contexts at the hookpoint, by their rows."""
        if rows not in self._started:
            self._started[rows] = start()
        suspended, site = self._started[rows]
        return suspended, site.thin()

    def reference(self, row: int) -> "tuple[_Reference, _Outcome] | None":
        """The untouched model's predictions on a context, if they are kept."""
        return self._references.get(row)

    def keep(self, row: int, reference: "_Reference", outcome: "_Outcome") -> None:
        """Keep predictions, while there is room."""
        size = reference.logits.numel() * reference.logits.element_size()
        if self._bytes + size <= KEPT_BYTES:
            # A copy, as the logits are a part of those of a whole batch.
            self._references[row] = reference._replace(logits=reference.logits.clone()), outcome
            self._bytes += size


class Evaluated(NamedTuple):
    """Means over the spliced positions of each context, in nats; NaN where one is no finite number:
    then it is missing."""

    loss: Float[np.ndarray, "splice context"]
    """Cross-entropy of the next token."""
    kl: Float[np.ndarray, "splice context"]
    """KL(untouched ‖ spliced) of the next token's distribution."""
    nodes: int
    """Positions that were run from the hookpoint up, not counting the untouched model's."""


@torch.inference_mode()
def evaluate(
    subject: Subject,
    coder: Coder,
    tokens: Int[Tensor, "context seq"],
    splices: Sequence[Splice],
    *,
    protocol: Protocol,
    first_position: int,
    rows: Sequence[int] | None = None,
    known: Sequence[Known] = (),
    divergence: bool = True,
    kept: Kept | None = None,
) -> Evaluated:
    """Run contexts under many splices.

    The model is run up to the hookpoint once, and from there on once for every different beginning
    of the module's outputs (see :mod:`interp.rewriting.tree`). Memory depends on the batches, not
    on the number of contexts, and results on neither.

    Args:
        rows: Contexts to run; None runs them all.
        known: Their arrays belong to ``rows``.
        divergence: False leaves ``kl`` NaN, and saves running the untouched model.
        kept: From earlier evaluations of the same contexts, model and protocol.
    """
    wanted = list(range(len(tokens)) if rows is None else rows)
    where = protocol.spliced(tokens.shape[1], first_position)
    loss = np.full((len(splices), len(wanted)), np.nan)
    kl = loss.copy()
    nodes = 0
    at_once = TOKENS_AT_ONCE[subject.device.type] // (where.stop - where.start)
    size = max(1, min(BATCH_SIZE, at_once))
    for start in range(0, len(wanted), size):
        batch = torch.tensor(wanted[start : start + size])
        start_here = partial(_start, subject, coder, tokens[batch], where)
        if kept is None:
            suspended, site = start_here()
        else:
            suspended, site = kept.started(tuple(batch.tolist()), start_here)
        every = [*splices, *(one.splice for one in known), untouched]
        outputs = torch.stack([splice(site, batch) for splice in every], dim=1)
        numbers = [numbered(context) for context in outputs]
        found: list[dict[Ids, _Outcome]] = [
            {
                ids[len(splices) + i]: _Outcome(one.loss[start + b], one.kl[start + b])
                for i, one in enumerate(known)
                if not np.isnan(one.loss[start + b])
            }
            for b, ids in enumerate(numbers)
        ]
        needed = [_needed(ids[: len(splices)], found[b]) for b, ids in enumerate(numbers)]
        references: dict[int, _Reference] = {}
        if divergence:
            for b, some in enumerate(needed):
                if kept and some and (there := kept.reference(int(batch[b]))):
                    references[b] = there[0]
                    found[b].setdefault(numbers[b][-1], there[1])
            lacking = [{} if b in references else some for b, some in enumerate(needed)]
            for b, reference, outcome in _run_untouched(suspended, lacking):
                references[b] = reference
                found[b].setdefault(numbers[b][-1], outcome)
                if kept:
                    kept.keep(int(batch[b]), reference, outcome)
            needed = [_needed(ids[: len(splices)], found[b]) for b, ids in enumerate(numbers)]
        trees = [tree for b, some in enumerate(needed) for tree in grow(b, some, TREE_NODES)]
        for tree, outcomes in _run_trees(suspended, outputs, trees, references):
            nodes += len(tree.parents)
            found[tree.context].update(outcomes)
        for b, ids in enumerate(numbers):
            for s in range(len(splices)):
                loss[s, start + b], kl[s, start + b] = found[b][ids[s]]
    return Evaluated(_finite(loss), _finite(kl), nodes)


def stopped(
    subject: Subject, tokens: Int[Tensor, "context seq"], where: slice
) -> Suspended | Whole:
    """Contexts run up to the sites, to be gone on from in the quickest way that can be."""
    return (suspend if subject.resumable else capture_whole)(subject, tokens, where)


def _start(
    subject: Subject, coder: Coder, tokens: Int[Tensor, "context seq"], where: slice
) -> tuple[Suspended | Whole, Site]:
    suspended = stopped(subject, tokens, where)
    return suspended, Site(coder, suspended.hooked)


def _finite(figures: Float[np.ndarray, "splice context"]) -> Float[np.ndarray, "splice context"]:
    """Figures with NaN for infinity: a model that overflows has no loss."""
    return np.where(np.isfinite(figures), figures, np.nan)


class _Outcome(NamedTuple):
    loss: float
    kl: float


class _Reference(NamedTuple):
    """The untouched model's predictions on a context."""

    logits: Float[Tensor, "position vocab"]
    normaliser: Float[Tensor, "position"]


def _needed(ids: Sequence[Ids], found: dict[Ids, _Outcome]) -> dict[Ids, int]:
    """The different outputs that are not found yet, each with a splice that has it."""
    return {one: splice for splice, one in enumerate(ids) if one not in found}


def _run_untouched(
    suspended: Suspended | Whole, needed: list[dict[Ids, int]]
) -> Iterator[tuple[int, _Reference, _Outcome]]:
    """Predictions and outcome of the untouched model on the contexts where anything is needed."""
    output = suspended.hooked.output
    contexts = torch.tensor([b for b, some in enumerate(needed) if some], device=output.device)
    if not len(contexts):  # an empty tensor is split into one empty part
        return
    for some in contexts.split(max(1, TOKENS_AT_ONCE[output.device.type] // output.shape[1])):
        logits = suspended.resume_paths(some, output[some]).float()
        targets = _targets(suspended)[some]
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        for b, row, loss in zip(some.tolist(), logits, losses.view(targets.shape), strict=True):
            yield b, _Reference(row, row.logsumexp(-1)), _Outcome(float(loss.double().mean()), 0.0)


def _run_trees(
    suspended: Suspended | Whole,
    outputs: Float[Tensor, "context splice position d_model"],
    trees: list[Tree],
    references: dict[int, _Reference],
) -> Iterator[tuple[Tree, dict[Ids, _Outcome]]]:
    """Run trees of like size together, and give the outcomes of their paths."""
    if isinstance(suspended, Whole):
        yield from _run_paths(suspended, outputs, trees, references)
        return
    device = outputs.device
    trees = sorted(trees, key=lambda tree: len(tree.parents), reverse=True)
    while trees:
        width = len(trees[0].parents)
        count = max(1, TOKENS_AT_ONCE[device.type] // width)
        group, trees = trees[:count], trees[count:]
        rows = torch.tensor([tree.context for tree in group], device=device)
        # A tree that is smaller than the largest is filled up with copies of its root.
        sources = torch.tensor(
            [tree.sources + tree.sources[:1] * (width - len(tree.sources)) for tree in group],
            device=device,
        )
        sees = np.tile(np.eye(width, dtype=bool), (len(group), 1, 1))
        for row, tree in enumerate(group):
            sees[row, : len(tree.parents), : len(tree.parents)] = tree.sees
        splices, places = sources.unbind(-1)
        logits = suspended.resume(
            rows,
            outputs[rows[:, None], splices, places],
            places,
            torch.from_numpy(sees).to(device),
        ).float()
        losses, kls = _figures(suspended, logits, rows, places, references)
        for row, tree in enumerate(group):
            yield (
                tree,
                {
                    ids: _Outcome(float(losses[row, path].mean()), float(kls[row, path].mean()))
                    for ids, path in tree.paths.items()
                },
            )


def _run_paths(
    suspended: Whole,
    outputs: Float[Tensor, "context splice position d_model"],
    trees: list[Tree],
    references: dict[int, _Reference],
) -> Iterator[tuple[Tree, dict[Ids, _Outcome]]]:
    """Run each path of the trees by itself, and give its outcome."""
    device = outputs.device
    paths = [(tree, ids, nodes) for tree in trees for ids, nodes in tree.paths.items()]
    places = torch.arange(outputs.shape[2], device=device)
    at_once = max(1, TOKENS_AT_ONCE[device.type] // len(places))
    for start in range(0, len(paths), at_once):
        some = paths[start : start + at_once]
        rows = torch.tensor([tree.context for tree, _, _ in some], device=device)
        splices = torch.tensor(
            [[tree.sources[node][0] for node in nodes] for tree, _, nodes in some], device=device
        )
        logits = suspended.resume_paths(rows, outputs[rows[:, None], splices, places]).float()
        every = places.expand(len(some), -1)
        losses, kls = _figures(suspended, logits, rows, every, references)
        for (tree, ids, _), loss, kl in zip(some, losses, kls, strict=True):
            yield tree, {ids: _Outcome(float(loss.mean()), float(kl.mean()))}


def _figures(
    suspended: Suspended | Whole,
    logits: Float[Tensor, "row node vocab"],
    rows: Int[Tensor, "row"],
    places: Int[Tensor, "row node"],
    references: dict[int, _Reference],
) -> tuple[Float[Tensor, "row node"], Float[Tensor, "row node"]]:
    """The loss at each node, and its divergence, NaN where there is no reference."""
    targets = _targets(suspended)[rows[:, None], places]
    normaliser = logits.logsumexp(-1)
    losses = (normaliser - logits.gather(-1, targets[..., None])[..., 0]).double()
    kls = torch.full_like(losses, torch.nan)
    for row, context in enumerate(rows.tolist()):
        if reference := references.get(context):
            kls[row] = _divergence(reference, logits[row], normaliser[row], places[row])
    return losses, kls


def _targets(suspended: Suspended | Whole) -> Int[Tensor, "context position"]:
    """The tokens that are to be predicted."""
    where = suspended.where
    return suspended.tokens[:, where.start + 1 : where.stop + 1]


def _divergence(
    reference: _Reference,
    logits: Float[Tensor, "node vocab"],
    normaliser: Float[Tensor, "node"],
    places: Int[Tensor, "node"],
) -> Float[Tensor, "node"]:
    """KL(p ‖ q) = Σ p (log p − log q) of each node, in nats.

    Logits are subtracted before anything is summed: their sums are many thousand times a small
    divergence, which would be lost in their rounding. A negative rest is set to zero.
    """
    further = torch.zeros_like(normaliser)
    for place, expected in enumerate(reference.logits):
        here = places == place
        further[here] = (expected - logits[here]) @ expected.softmax(-1)
    kl = further - (reference.normaliser[places] - normaliser)
    return kl.double().clamp_min(0)
