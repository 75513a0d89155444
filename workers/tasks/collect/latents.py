"""Rows of a study's latents and of their examples, from the collected activations."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from interp.coders.protocol import Coder
from interp.coders.similar import similar
from interp.corpus.activations import LatentActivations
from interp.corpus.examples import Occurrences, sample_examples, sample_hard_negatives
from interp.model.subject import Subject, output_head
from interp.sources.sites import in_stream
from interp.vocabulary import ContextSet
from models import Example, Latent, Study
from workers.copying import array_text, copy_rows
from workers.resources import store_of
from workers.tasks.rows import context_tokens, token_alone

EXAMPLES = {"top": 20, "quantile": 3, "random": 2}
HARD_NEGATIVES = 3
PROMOTED = 10
SIMILAR = 10
BINS = 40
"""Bars of a latent's histogram."""


class Latents:
    """Makes the latents of a study. Reads once the data that all blocks of them need."""

    def __init__(self, session: Session, study: Study, coder: Coder) -> None:
        self.session, self.study, self.coder = session, study, coder
        self.store = store_of(study, ContextSet.EXPLAIN)

    @cached_property
    def _contexts(self) -> tuple[list[int], NDArray[np.int64]]:
        """The ids and tokens of the explain set's contexts."""
        ids, tokens = context_tokens(self.session, self.study, ContextSet.EXPLAIN)
        return ids, tokens.numpy()

    @cached_property
    def _occurrences(self) -> Occurrences:
        return Occurrences.of(self._contexts[1], first_position=self.study.first_position)

    @cached_property
    def _collected(self) -> int:
        """The number of tokens that were collected."""
        return self.store.summary()[0]

    @cached_property
    def _alive(self) -> torch.Tensor:
        """The latents that ever fire. All of them are there by then."""
        firing = select(Latent.index).where(
            Latent.study_id == self.study.id, Latent.max_activation > 0
        )
        alive = torch.zeros(self.coder.num_latents, dtype=torch.bool)
        alive[list(self.session.scalars(firing))] = True
        return alive

    def make(self, block: range, subject: Subject) -> None:
        """Add the latents of a block that are not there yet, with their examples."""
        own = Latent.index.between(block.start, block.stop - 1)
        there = self.session.scalars(
            select(Latent.index).where(Latent.study_id == self.study.id, own)
        )
        lacking = sorted({*block} - {*there})
        if not lacking:
            return
        block = range(lacking[0], lacking[-1] + 1)
        tokens = _output_tokens(subject, self.coder, block)
        latents, examples = [], []
        for index, activations in zip(block, self.store.read(block), strict=True):
            if index not in lacking:
                continue
            latents.append(
                {
                    "study_id": self.study.id,
                    "index": index,
                    **_statistics(activations, self._collected),
                    **tokens[index - block.start],
                }
            )
            examples.append(self._examples(index, activations))
        inserted = insert(Latent).returning(Latent.id, sort_by_parameter_order=True)
        latent_ids = self.session.scalars(inserted, latents)
        ids, _ = self._contexts
        copy_rows(
            self.session,
            Example,
            ("latent_id", "context_id", "kind", "rank", "activations"),
            (
                (latent_id, ids[one.context], one.kind, one.rank, array_text(one.activations))
                for latent_id, sampled in zip(latent_ids, examples, strict=True)
                for one in sampled
            ),
        )

    def _examples(self, index: int, activations: LatentActivations) -> Sequence[Any]:
        ids, words = self._contexts
        seed, seq = self.study.seed + index, self.study.context_length
        drawn = sample_examples(activations, contexts=len(ids), seq=seq, seed=seed, **EXAMPLES)
        shown = {example.context for example in drawn}
        near = sample_hard_negatives(
            activations,
            words,
            self._occurrences,
            first_position=self.study.first_position,
            count=HARD_NEGATIVES + EXAMPLES["random"],
            seed=seed,
        )
        # One of them may have been drawn at random too.
        near = [example for example in near if example.context not in shown][:HARD_NEGATIVES]
        return [*drawn, *near]

    def complete(self, block: range) -> None:
        """Add what takes all latents to be there, and what studies collected by older versions
        lack."""
        own = Latent.study_id == self.study.id
        lacking = (
            select(Latent.id, Latent.index, Latent.histogram)
            .where(own, Latent.index.between(block.start, block.stop - 1))
            .where(Latent.similar.is_(None) | Latent.histogram.is_(None))
        )
        rows = self.session.execute(lacking).all()
        if not rows:
            return
        found = similar(self.coder.decoder, block, alive=self._alive, count=SIMILAR)
        values: list[dict[str, Any]] = [
            {
                "id": latent_id,
                "similar": [
                    [other, cosine]
                    for other, cosine in zip(
                        found.indices[index - block.start].tolist(),
                        found.cosines[index - block.start].tolist(),
                        strict=True,
                    )
                    if cosine > -torch.inf
                ],
                "histogram": counts,
            }
            for latent_id, index, counts in rows
        ]
        if any(counts is None for _, _, counts in rows):
            activations = list(self.store.read(block))
            for (_, index, counts), value in zip(rows, values, strict=True):
                if counts is None:
                    value["histogram"] = histogram(activations[index - block.start].activations)
        self.session.execute(update(Latent), values)


def histogram(activations: NDArray[np.float32]) -> list[int]:
    """The number of activations in each of equal parts of the range from 0 to the largest."""
    if not len(activations):
        return []
    counts, _ = np.histogram(activations, BINS, (0, float(activations.max())))
    return [int(count) for count in counts]


def _statistics(latent: LatentActivations, tokens: int) -> dict[str, Any]:
    active = torch.from_numpy(latent.activations)
    if not len(active):
        return {
            "firing_rate": 0.0,
            "max_activation": 0.0,
            "mean_activation": 0.0,
            "quantiles": [],
            "histogram": [],
        }
    return {
        "firing_rate": len(active) / tokens,
        "max_activation": float(active.max()),
        "mean_activation": float(active.mean()),
        "quantiles": active.quantile(torch.linspace(0, 1, 11)).tolist(),
        "histogram": histogram(latent.activations),
    }


@torch.inference_mode()
def _output_tokens(subject: Subject, coder: Coder, block: range) -> list[dict[str, Any]]:
    """The output tokens that each latent's decoder direction raises and lowers most; none where it
    is no direction in the residual stream, as of an attention's heads."""
    if not in_stream(subject.hookpoint):
        return [{"promoted": [], "suppressed": []} for _ in block]
    logits = coder.decoder[block.start : block.stop] @ output_head(subject.model).float().mT
    found: dict[str, list[list[list[Any]]]] = {}
    for name, largest in (("promoted", True), ("suppressed", False)):
        top = logits.topk(PROMOTED, largest=largest)
        found[name] = [
            [
                [token_alone(subject.tokenizer, token), value]
                for token, value in zip(tokens, values, strict=True)
            ]
            for tokens, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
    return [
        {"promoted": up, "suppressed": down}
        for up, down in zip(found["promoted"], found["suppressed"], strict=True)
    ]
