"""Simulate latents by the product of two encodings: one of the explanation, one of each token.

A frozen language model, the *base*, reads every text once and every explanation once. Small trained
networks turn its states into vectors. Simulating L latents on T tokens costs the base L + T
readings. A simulator that reads explanation and text together needs L × T.

With x_t the base's hidden states at token t (of several layers, standardised, reduced by a
principal component analysis) and x_j those at token j of the explanation:

    token         u_t = U x_t + MLP(x_t)
    explanation   h   = Transformer(W x_1, …, W x_n)
                  v   = Σ_heads O_head Σ_j softmax_j(a_head · h_j) (U x_j + V h_j)
                  scale, bias = exp(s · mean h), b · mean h
    activation    9 · sigmoid(scale · (u_t · v) / √d + bias)

U is shared by both sides: a word that the explanation quotes is near the same word in the text
before anything is trained. The activation is the share of the latent's maximum, times 9.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.training.reader import Reader, check_base, quick
from interp.simulate.training.trained import Trained
from interp.simulate.two_tower.networks import (
    PROJECTION,
    Encoded,
    Projection,
    Shape,
    load_tensors,
    load_towers,
    logits,
)

VERSION = "two_tower-1"
"""Version of the architecture; stored with every simulator that has it."""
KEPT_CONTEXTS = 8192
"""Contexts whose tokens' encodings are kept: 17 kB a fold for one of 33 tokens."""


KEPT_EXPLANATIONS = 16384
"""Explanations whose encodings are kept, by fold: 1 kB each."""


class TwoTower:
    """The simulator: a base, and the trained networks of each fold."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        coder: str,
    ) -> None:
        """
        Args:
            model: The base that it was trained on. It reads in bfloat16 where that is quicker.
            folder: Output folder of `palimpsest train-simulator`.
            coder: SHA-256 of the weights of the coder whose latents are to be simulated: which
                fold may simulate a latent depends on it.

        Raises:
            InputError: The folder holds no such simulator, its files are damaged, or the model is
                another than the one it was trained on.
        """
        self.coder, self.trained = coder, Trained.read(folder)
        check_base(self.trained, model, folder)
        self.reader = Reader(quick(model), tokenizer, self.trained.shape["layers"])
        shape = Shape.model_validate(self.trained.shape["networks"])
        self.projection = Projection(**load_tensors(folder / PROJECTION))
        self.folds = [load_towers(shape, folder / fold.file) for fold in self.trained.folds]
        self._kept: dict[str, list[Tensor]] = {}
        self._explanations: dict[tuple[str, int], Encoded | None] = {}
        self._read_before: dict[tuple[str, int], int] = {}
        """Tokens that were read ahead and are not told yet, by explanation and fold."""

    @property
    def version(self) -> str:
        return self.trained.version

    def unread(self, explanation: str) -> str:
        """The end of an explanation that it does not read."""
        return self.reader.unread(explanation)

    @torch.inference_mode()
    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """Simulate latents on the same contexts, see the protocol.

        A latent that every fold was trained on has no value: it is missing, with that reason.
        """
        started = time.perf_counter()
        texts = ["".join(tokens[first_position:]) for tokens in contexts]
        read = self._read(contexts, texts, first_position)
        asked = [(ask.explanation, self._fold(ask)) for ask in asks]
        told = [(text, fold) for text, fold in asked if fold is not None]
        new = self._read_explanations(told)
        shares = self._shares(told, texts)
        for text, fold in asked:
            values = np.full((len(contexts), len(contexts[0])), np.nan, np.float32)
            simulated = values[:, first_position:]
            failures = {}
            if fold is None:
                failures["every fold was trained on this latent"] = simulated.size
            elif (text, fold) not in shares:
                failures["the explanation has no text"] = simulated.size
            else:
                simulated[:] = TOP * shares[text, fold].reshape(simulated.shape)
                read += new.pop((text, fold), 0) + self._read_before.pop((text, fold), 0)
            # What is done for all of them at once is told with the first.
            yield Simulated(values, failures, read, 0, time.perf_counter() - started)
            read, started = 0, time.perf_counter()

    def _shares(
        self, asked: Sequence[tuple[str, int]], texts: Sequence[str]
    ) -> dict[tuple[str, int], Float[np.ndarray, "token"]]:
        """The simulated share of each latent's maximum, at the tokens of some texts. One product
        gives those of all explanations that a fold simulates."""
        by_fold: dict[int, dict[tuple[str, int], Encoded]] = {}
        for text, fold in asked:
            if (encoded := self._explanations[text, fold]) is not None:
                by_fold.setdefault(fold, {})[text, fold] = encoded
        shares: dict[tuple[str, int], Tensor] = {}
        for fold, some in by_fold.items():
            tokens = torch.cat([self._kept[one][fold] for one in texts]).float()
            found = torch.sigmoid(logits(tokens, Encoded.joined(some.values())))
            shares |= dict(zip(some, found.mT.contiguous(), strict=True))
        return {one: share.numpy() for one, share in shares.items()}

    @torch.inference_mode()
    def read_ahead(self, asks: Sequence[Ask], following: Sequence[Ask]) -> None:
        """Encode explanations, see the protocol."""
        asked = self._folded(asks)
        if any(self._explanations.get(one) is None for one in asked):
            self._read_before |= self._read_explanations([*asked, *self._folded(following)])

    def _folded(self, asks: Sequence[Ask]) -> list[tuple[str, int]]:
        """Explanations with the folds that simulate them, where there is one."""
        return [(ask.explanation, fold) for ask in asks if (fold := self._fold(ask)) is not None]

    def _fold(self, ask: Ask) -> int | None:
        return self.trained.fold_for(self.coder, ask.latent)

    def _read_explanations(self, asked: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Encode explanations by their folds unless they are kept, and keep them: an explanation is
        simulated on one set of contexts after another. Returns how many tokens had to be read of
        each."""
        kept = self._explanations
        for one in asked:
            kept[one] = kept.pop(one, None)  # the newest come last
        new = {one: self.reader.explanation(one[0]) for one in kept if kept[one] is None}
        for one in list(kept)[: max(len(kept) - max(KEPT_EXPLANATIONS, len(asked)), 0)]:
            del kept[one]
        features = [self.projection(one) for one in self.reader.states(list(new.values()))]
        by_fold: dict[int, dict[tuple[str, int], Tensor]] = {}
        for one, feature in zip(new, features, strict=True):
            if len(feature):
                by_fold.setdefault(one[1], {})[one] = feature
        for fold, some in by_fold.items():
            encoded = self.folds[fold].explanations(list(some.values()))
            for row, one in enumerate(some):
                alone = slice(row, row + 1)
                kept[one] = Encoded(encoded.vector[alone], encoded.bias[alone])
        return {one: len(text.ids) for one, text in new.items()}

    def _read(
        self, contexts: Sequence[Sequence[str]], texts: list[str], first_position: int
    ) -> int:
        """Encode the contexts that are not kept, and keep them: most often the same ones are asked
        for again. Returns how many tokens had to be read."""
        new = {
            text: self.reader.text(tokens[first_position:])
            for text, tokens in zip(texts, contexts, strict=True)
            if text not in self._kept
        }
        while self._kept and len(self._kept) + len(new) > KEPT_CONTEXTS:
            oldest = next(iter(self._kept))
            if oldest in texts:
                break
            del self._kept[oldest]
        states = self.reader.states(list(new.values()))
        for text, one in zip(new, states, strict=True):
            features = self.projection(one)
            self._kept[text] = [towers.tokens(features).half() for towers in self.folds]
        return sum(len(one.ids) for one in new.values())
