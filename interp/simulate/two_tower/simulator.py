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

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.corpus.text import encode
from interp.errors import InputError
from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.reads import EXPLANATION_TOKENS
from interp.simulate.training.align import Aligned, align
from interp.simulate.training.trained import Trained

VERSION = "two_tower-1"
"""Version of the architecture; stored with every simulator that has it."""

CLAMP = 6.0
"""Standardised states are cut at so many standard deviations: a few dimensions have outliers."""
BATCH = 32
KEPT_CONTEXTS = 8192
"""Contexts whose tokens' encodings are kept: 17 kB a fold for one of 33 tokens."""
PROJECTION = "projection.safetensors"


class Shape(BaseModel, frozen=True):
    """Sizes of the trained networks."""

    features: int = 768
    """Principal components of the base's states that are kept."""
    width: int = 256
    """Dimensions of the vectors that are multiplied."""
    token_hidden: int = 512
    explanation_hidden: int = 256
    heads: int = 4
    layers: int = 1
    """Transformer layers over the explanation."""


class Projection(NamedTuple):
    """Standardises the base's states and reduces them; fitted on training text, then fixed."""

    mean: Float[Tensor, "state"]
    deviation: Float[Tensor, "state"]
    components: Float[Tensor, "state feature"]
    unit: Float[Tensor, ""]
    """Root mean square of the reduced states: they are divided by it."""

    @classmethod
    def fit(cls, states: Float[Tensor, "token state"], features: int) -> Self:
        """Fit the projection: the leading eigenvectors of the standardised states' covariance.

        Raises:
            InputError: There are fewer states, or fewer tokens, than features.
        """
        if features > min(states.shape):
            raise InputError(
                f"{features} features cannot be taken from {states.shape[0]} tokens with "
                f"{states.shape[1]} states each. Train on more text, or ask for fewer."
            )
        mean, deviation = states.mean(0), states.std(0) + 1e-3
        standard = ((states - mean) / deviation).clamp(-CLAMP, CLAMP)
        _, vectors = torch.linalg.eigh(standard.mT @ standard)
        components = vectors[:, -features:].flip(1).contiguous()
        return cls(mean, deviation, components, (standard @ components).square().mean().sqrt())

    def __call__(self, states: Float[Tensor, "token state"]) -> Float[Tensor, "token feature"]:
        standard = ((states - self.mean) / self.deviation).clamp(-CLAMP, CLAMP)
        return standard @ self.components / self.unit


class Reader:
    """The frozen base: hidden states of texts and of explanations."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layers: Sequence[int]
    ) -> None:
        """
        Args:
            layers: After which layers states are taken; 0 is the embedding.

        Raises:
            InputError: The model has not so many layers.
        """
        depth = model.config.get_text_config().num_hidden_layers
        if not layers or max(layers) > depth:
            raise InputError(f"{model.name_or_path} has {depth} layers, not {max(layers)}.")
        self.model, self.tokenizer, self.layers = model, tokenizer, list(layers)

    @property
    def size(self) -> int:
        """Dimensions of a token's state."""
        return len(self.layers) * int(self.model.config.get_text_config().hidden_size)

    def text(self, tokens: Sequence[str]) -> Aligned:
        """A context given as the subject's token strings."""
        return align(tokens, self.tokenizer)

    def explanation(self, text: str) -> Aligned:
        """An explanation: its states are those of all of its tokens."""
        ids = encode(self.tokenizer, text)[:EXPLANATION_TOKENS]
        return Aligned(ids, np.arange(len(ids)))

    @torch.inference_mode()
    def states(self, batch: Sequence[Aligned]) -> list[Float[Tensor, "place state"]]:
        """Hidden states at the places of each text, in float32 on the CPU."""
        bos = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        found: list[Tensor] = [torch.empty(0)] * len(batch)
        order = sorted(range(len(batch)), key=lambda i: len(batch[i].ids))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            width = len(bos) + len(batch[rows[-1]].ids)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, number in enumerate(rows):
                one = bos + batch[number].ids
                ids[row, : len(one)] = torch.tensor(one)
                mask[row, : len(one)] = 1
            states = self._forward(ids.to(self.model.device), mask.to(self.model.device))
            for row, number in enumerate(rows):
                places = torch.from_numpy(batch[number].places) + len(bos)
                found[number] = states[row, places].float().cpu()
        return found

    def _forward(
        self, ids: Int[Tensor, "batch seq"], mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq state"]:
        """States after the wanted layers; the layers above them are not run."""
        taken: dict[int, Tensor] = {}

        class Enough(Exception):
            pass

        def take(depth: int, hidden: Tensor) -> None:
            if depth in self.layers:
                taken[depth] = hidden
            if depth == max(self.layers):
                raise Enough

        blocks = layers_of(self.model)
        handles = [
            block.register_forward_pre_hook(
                lambda _, args, kwargs, depth=depth: take(
                    depth, args[0] if args else kwargs["hidden_states"]
                ),
                with_kwargs=True,
            )
            for depth, block in enumerate(blocks)
        ]
        try:
            out = self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
            taken[len(blocks)] = out.last_hidden_state
        except Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat([taken[depth] for depth in self.layers], dim=-1)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The model's layers, whatever its architecture calls them."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"{model.name_or_path} has no list of {depth} layers to take states from.")


def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 of a model's vectors of weights (norms and biases), which tell models apart and are
    few. The same whatever precision up to float16 they were loaded in."""
    whole = hashlib.sha256()
    for name, weight in sorted(model.base_model.named_parameters()):
        if weight.ndim == 1:
            whole.update(name.encode() + weight.detach().cpu().half().numpy().tobytes())
    return whole.hexdigest()


class Encoded(NamedTuple):
    """The explanation tower's encoding of explanations."""

    vector: Float[Tensor, "latent width"]
    """Already scaled."""
    bias: Float[Tensor, "latent"]


class Towers(nn.Module):
    """The trained networks: see the formulas above."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        f, d, h = shape.features, shape.width, shape.explanation_hidden
        self.shared = nn.Linear(f, d, bias=False)
        self.token_mlp = nn.Sequential(
            nn.Linear(f, shape.token_hidden), nn.GELU(), nn.Linear(shape.token_hidden, d)
        )
        self.enter = nn.Linear(f, h)
        layer = nn.TransformerEncoderLayer(
            h, 4, 2 * h, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.attention = nn.Linear(h, shape.heads)
        self.value = nn.Linear(h, d)
        self.join = nn.Linear(shape.heads * d, d)
        self.scale_and_bias = nn.Linear(h, 2)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """At first an explanation's vector is a mean of its tokens' shared encodings."""
        nn.init.normal_(self.shared.weight, std=self.shape.features**-0.5)
        for zero in (self.token_mlp[2], self.value, self.join, self.scale_and_bias):
            nn.init.zeros_(zero.weight)  # type: ignore[arg-type]
        self.join.weight += torch.eye(self.shape.width).repeat(1, self.shape.heads) / (
            self.shape.heads
        )
        self.scale_and_bias.bias.copy_(torch.tensor([0.0, -5.0]))  # most latents are mostly silent

    def tokens(self, x: Float[Tensor, "token feature"]) -> Float[Tensor, "token width"]:
        """Encode tokens of text."""
        encoded: Tensor = self.shared(x) + self.token_mlp(x)
        return encoded

    def explanations(self, batch: Sequence[Float[Tensor, "token feature"]]) -> Encoded:
        """Encode explanations, of any lengths."""
        x = nn.utils.rnn.pad_sequence(list(batch), batch_first=True)
        lengths = torch.tensor([len(one) for one in batch], device=x.device)
        padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        h = self.mix(self.enter(x), src_key_padding_mask=padding)
        weights = self.attention(h).masked_fill(padding[..., None], -1e4).softmax(1)
        pooled = torch.einsum("bjh,bjd->bhd", weights, self.shared(x) + self.value(h))
        mean = h.masked_fill(padding[..., None], 0).sum(1) / lengths[:, None]
        scale, bias = self.scale_and_bias(mean).unbind(-1)
        vector = self.join(pooled.flatten(1)) * scale.exp()[:, None] / self.shape.width**0.5
        return Encoded(vector, bias)


def logits(tokens: Float[Tensor, "token width"], encoded: Encoded) -> Float[Tensor, "token latent"]:
    """Log-odds of the simulated share of each latent's maximum."""
    return tokens @ encoded.vector.mT + encoded.bias


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
            model: The base that it was trained on.
            folder: Output folder of `palimpsest train-simulator`.
            coder: SHA-256 of the weights of the coder whose latents are to be simulated: which
                fold may simulate a latent depends on it.

        Raises:
            InputError: The folder holds no such simulator, its files are damaged, or the model is
                another than the one it was trained on.
        """
        self.coder, self.trained = coder, Trained.read(folder)
        if fingerprint(model) != self.trained.base_sha256:
            raise InputError(
                f"{folder} was trained on {self.trained.base}, and {model.name_or_path} is another "
                "model. Give that one, or train a simulator on this one."
            )
        self.reader = Reader(model, tokenizer, self.trained.shape["layers"])
        shape = Shape.model_validate(self.trained.shape["networks"])
        self.projection = Projection(**_load(folder / PROJECTION))
        self.folds = [_towers(shape, folder / fold.file) for fold in self.trained.folds]
        self._kept: dict[str, list[Tensor]] = {}

    @property
    def version(self) -> str:
        return self.trained.version

    @torch.inference_mode()
    def simulate(
        self, asks: Sequence[Ask], contexts: Sequence[Sequence[str]], *, first_position: int
    ) -> Iterator[Simulated]:
        """Simulate latents on the same contexts; see the protocol.

        A latent that every fold was trained on has no value: it is missing, with that reason.
        """
        started = time.perf_counter()
        texts = ["".join(tokens[first_position:]) for tokens in contexts]
        read = self._read(contexts, texts, first_position)
        tokens: dict[int, Tensor] = {}
        for start in range(0, len(asks), BATCH):
            some = asks[start : start + BATCH]
            asked = [self.reader.explanation(ask.explanation) for ask in some]
            features = [self.projection(states) for states in self.reader.states(asked)]
            for ask, text, feature in zip(some, asked, features, strict=True):
                values = np.full((len(contexts), len(contexts[0])), np.nan, np.float32)
                simulated = values[:, first_position:]
                failures = {}
                fold = self.trained.fold_for(self.coder, ask.latent)
                if fold is None:
                    failures["every fold was trained on this latent"] = simulated.size
                elif not text.ids:
                    failures["the explanation has no text"] = simulated.size
                else:
                    if fold not in tokens:
                        kept = [self._kept[one][fold] for one in texts]
                        tokens[fold] = torch.cat(kept).float()
                    encoded = self.folds[fold].explanations([feature])
                    share = torch.sigmoid(logits(tokens[fold], encoded))
                    simulated[:] = TOP * share.view(simulated.shape).numpy()
                # What is done for all of them at once is told with the first.
                seconds = time.perf_counter() - started
                yield Simulated(values, failures, read + len(text.ids), 0, seconds)
                read, started = 0, time.perf_counter()

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


def save_projection(projection: Projection, folder: Path) -> None:
    save_file(
        {k: v.half().contiguous() for k, v in projection._asdict().items()}, folder / PROJECTION
    )


def save_towers(towers: Towers, path: Path) -> None:
    """Write the networks in half precision."""
    save_file({name: v.half().contiguous() for name, v in towers.state_dict().items()}, path)


def _towers(shape: Shape, path: Path) -> Towers:
    towers = Towers(shape)
    try:
        towers.load_state_dict(_load(path))
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its simulator.json: {error}") from None
    return towers.requires_grad_(False).eval()


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}. Train the simulator again.") from None
