"""Simulate latents with a fine-tuned language model that reads the explanation, then the text.

After Choi et al., "Scaling Automatic Neuron Description" (Transluce, 2024). A small language model,
the *base*, is given

    <explanation>⏎<text>

and at each token of the text the distribution over the ten digits is read at that token itself:
nothing is written between the tokens and nothing is decoded. With h_t the base's last hidden state
at token t,

    activation    Σ_d d · softmax_d(w_d · h_t + b_d)        d = 0, …, 9

where w_d begins as the digit's row of the base's output head. Ours differs in what is computed how
often:

- The lowest layers read explanation and text *apart*: what they make of a text serves all latents.
- The layers above them read both *together*: the explanation once, its keys and values serve all
  texts. They have low-rank adapters (LoRA; Hu et al., 2021); the base itself stays as it is.
- The uppermost layers are left out: they turn what this token is into what the next one will be.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.errors import InputError
from interp.llm.reading import TOO_LONG
from interp.simulate.inline.base import Base, Shape, Text, load_fold
from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.training.reader import check_base
from interp.simulate.training.trained import Trained

VERSION = "inline-1"
"""Version of the layout and the architecture; stored with every simulator that has it."""

BATCH_TOKENS = {"cpu": 600, "cuda": 64_000}
"""Tokens of text that are read at once. On a CPU more of them only leave its caches."""
KEPT_CONTEXTS = 2048
"""Contexts whose states are kept: 84 kB for one of 33 tokens and a base of 640 dimensions."""


class Inline:
    """The simulator: a base with the adapters of each fold."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        coder: str,
    ) -> None:
        """
        Args:
            model: The base that it was trained on. It is not changed.
            folder: Output folder of `palimpsest train-simulator`.
            coder: SHA-256 of the weights of the coder whose latents are to be simulated: which
                fold may simulate a latent depends on it.

        Raises:
            InputError: The folder holds no such simulator, its files are damaged, or the model is
                another than the one it was trained on.
        """
        self.coder, self.trained = coder, Trained.read(folder)
        if self.trained.method != "inline":
            raise InputError(
                f"{folder} holds a simulator of the method {self.trained.method}, not inline."
            )
        check_base(self.trained, model, folder)
        self.base = Base(model, tokenizer, Shape.model_validate(self.trained.shape))
        for fold in self.trained.folds:
            self.base.add_fold()
            load_fold(self.base, folder / fold.file)
        self._kept: dict[str, Text | None] = {}

    @property
    def version(self) -> str:
        return self.trained.version

    @torch.inference_mode()
    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """Simulate latents on the same contexts, see the protocol.

        A latent that every fold was trained on has no value: it is missing, with that reason.
        """
        started = time.perf_counter()
        texts, read = self._read([context[first_position:] for context in contexts])
        for ask in asks:
            values = np.full((len(contexts), len(contexts[0])), np.nan, np.float32)
            failures, pairs = self._simulate(ask, texts, values[:, first_position:])
            # What is done for all of them at once is told with the first.
            seconds = time.perf_counter() - started
            yield Simulated(values, failures, read + pairs, 0, seconds)
            read, started = 0, time.perf_counter()

    def _simulate(
        self,
        ask: Ask,
        texts: list[Text | None],
        values: Float[np.ndarray, "context place"],
    ) -> tuple[dict[str, int], int]:
        """Fill in the values. Returns why some are missing, and how many tokens were read."""
        fold = self.trained.fold_for(self.coder, ask.latent)
        if fold is None:
            return {"every fold was trained on this latent": values.size}, 0
        if not ask.explanation.strip():
            return {"the explanation has no text": values.size}, 0
        self.base.use(fold)
        states = self.base.explanation(ask.explanation)
        explanation = self.base.read(states)
        lengths = {
            row: len(text.states)
            for row, text in enumerate(texts)
            if text is not None and len(states) + len(text.states) <= self.base.longest
        }
        digits = torch.arange(TOP + 1)
        for rows in _batches(lengths, self.base.upper.device.type):
            some = [text for row in rows if (text := texts[row]) is not None]
            for row, logits in zip(rows, self.base.logits(explanation, some), strict=True):
                values[row] = (logits.softmax(-1).cpu() @ digits).numpy()
        missing = (len(texts) - len(lengths)) * values.shape[1]
        return ({TOO_LONG: missing} if missing else {}), len(states) + sum(lengths.values())

    def _read(self, contexts: list[Sequence[str]]) -> tuple[list[Text | None], int]:
        """The states of the lowest layers for contexts, and the number of tokens read for them.

        It is kept: most often the same contexts are asked for again.
        """
        keys = ["\0".join(context) for context in contexts]
        new = {key: one for key, one in zip(keys, contexts, strict=True) if key not in self._kept}
        while self._kept and len(self._kept) + len(new) > KEPT_CONTEXTS:
            oldest = next(iter(self._kept))
            if oldest in keys:
                break
            del self._kept[oldest]
        found = self.base.texts(list(new.values()))
        self._kept.update(zip(new, found, strict=True))
        return [self._kept[key] for key in keys], sum(len(one.states) for one in found if one)


def _batches(lengths: dict[int, int], device: str) -> Iterator[list[int]]:
    """Cut rows into batches, shortest first, so that little is filled up."""
    most = BATCH_TOKENS.get(device, BATCH_TOKENS["cpu"])
    batch: list[int] = []
    for row in sorted(lengths, key=lambda row: lengths[row]):
        if batch and (len(batch) + 1) * lengths[row] > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
