"""Train the inline simulator: low-rank adapters on a small language model, and ten output rows.

Each step takes some latents, one wording of each, and some contexts: half where the latent fires,
half where it is silent. Taken as they come, too few would fire; taken half and half, a simulator
learns to see activations everywhere. So each context's loss is weighted by how common its half is,
and the expected loss is that of natural text. The target is the activation on a scale from 0 to 9,
rounded. The loss is the cross-entropy of the ten digits. A latent that fires at rate r weighs r^−½,
so that the frequent ones do not dominate. Folds are as in ``train_two_tower``.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.sparse import csc_matrix
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
)

from interp.errors import InputError
from interp.simulate.inline.simulator import VERSION, Base, Shape, Text, default_shape, save_fold
from interp.simulate.protocol import TOP
from interp.simulate.training.trained import Fold, Trained
from interp.simulate.two_tower.simulator import fingerprint, layers_of
from interp.simulate.two_tower.train import (
    MIN_ACTIVE,
    MIN_RATE,
    VALIDATION_LATENTS,
    Corpus,
    Look,
    TrainingText,
    deal,
    exhausted,
    same_training,
    save_checkpoint,
    split_text,
)

HELD_OUT = 200
"""The figures are of so many held-out latents at most."""


class Settings(BaseModel, frozen=True):
    """The length of the training and the amount of its data."""

    folds: int = 2
    steps: int = 400
    """Of each fold."""
    latents: int = 8
    """In one step."""
    contexts: int = 8
    """Of each latent in one step."""
    learning_rate: float = 1e-3
    validation_contexts: int = 24
    """Of each latent that the training is watched on, and of each held-out one."""
    check_every: int = 100
    """Steps between looks at the validation latents, and between checkpoints."""
    patience: int = 3
    """Stop after so many looks without a better one."""
    seed: int = 0


class Drawn(NamedTuple):
    """Contexts drawn for a latent, and what each counts."""

    contexts: NDArray[np.int64]
    weights: NDArray[np.float32]
    """The mean of weight × value over the drawn contexts is, in expectation, the mean value over
    all contexts."""


def draw_contexts(
    firing: NDArray[np.int64], silent: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Drawn:
    """Draw contexts, half where a latent fires, half where it is silent.

    If one half has too few contexts, it gives all it has and the other makes up for it.
    """
    half = min(len(firing), max(count // 2, count - len(silent)))
    numbers = np.array([half, min(len(silent), count - half)])
    shares = np.array([len(firing), len(silent)]) / (len(firing) + len(silent))
    weights = shares * numbers.sum() / np.maximum(numbers, 1)
    return Drawn(
        np.concatenate(
            [
                rng.choice(part, number, replace=False)
                for part, number in zip((firing, silent), numbers, strict=True)
            ]
        ),
        np.repeat(weights, numbers).astype(np.float32),
    )


class Lessons:
    """Lessons drawn from a corpus: digits to learn, and the places where each latent fires."""

    def __init__(self, base: Base, corpus: Corpus, seed: int, say: Callable[[str], None]) -> None:
        """Has the base read all text.

        Raises:
            InputError: A context is too long for the base.
        """
        self.width = len(corpus.contexts[0])
        self.texts: list[Text] = []
        for start in range(0, len(corpus.contexts), 256):
            say(f"reading contexts {start:,} of {len(corpus.contexts):,}")
            read = base.texts(corpus.contexts[start : start + 256])
            self.texts += [text for text in read if text is not None]
        if len(self.texts) < len(corpus.contexts):
            raise InputError("The contexts are longer than the base can read. Use another base.")
        text, aside = split_text(corpus, seed)
        self.text, self.aside = (np.unique(rows // self.width) for rows in (text, aside))
        self.columns = csc_matrix(corpus.activations)
        self.maxima = np.asarray(self.columns.max(axis=0).todense()).ravel()
        rate = np.diff(self.columns.indptr) / self.columns.shape[0]
        weight = np.maximum(rate, MIN_RATE) ** -0.5
        self.weight = weight / weight[sorted(corpus.wordings)].mean()

    def activations(
        self, latent: int, contexts: NDArray[np.int64]
    ) -> Float[np.ndarray, "context place"]:
        """A latent's activations on some contexts."""
        rows = contexts[:, None] * self.width + np.arange(self.width)
        found = self.columns[:, [latent]].toarray()[:, 0][rows]
        return np.asarray(found, np.float32)

    def digits(self, latent: int, contexts: NDArray[np.int64]) -> Int[Tensor, "context place"]:
        """The digits to learn: 9 × activation / maximum, rounded half up; an active token has at
        least 1."""
        active = self.activations(latent, contexts)
        digits = np.floor(TOP * active / max(self.maxima[latent], 1e-9) + 0.5)
        return torch.from_numpy(np.where(active > 0, digits.clip(1, TOP), 0)).long()

    def draw(
        self, latent: int, contexts: NDArray[np.int64], count: int, rng: np.random.Generator
    ) -> Drawn:
        """Draw some of the contexts; see :func:`draw_contexts`."""
        column = slice(*self.columns.indptr[latent : latent + 2])
        fires = np.isin(contexts, self.columns.indices[column] // self.width)
        return draw_contexts(contexts[fires], contexts[~fires], count, rng)

    def logits(
        self, base: Base, wording: str, contexts: NDArray[np.int64]
    ) -> Float[Tensor, "context place digit"]:
        """The logits of the fold in use for an explanation on some contexts."""
        texts = [self.texts[i] for i in contexts]
        return torch.stack(base.logits(base.read(base.explanation(wording)), texts))

    def loss(
        self,
        base: Base,
        latent: int,
        wording: str,
        contexts: NDArray[np.int64],
        weights: Float[np.ndarray, "context"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the digits, where each context counts as its weight says."""
        logits = self.logits(base, wording, contexts)
        target = self.digits(latent, contexts).to(logits.device)
        errors = nn.functional.cross_entropy(logits.mT, target, reduction="none")
        return (errors * torch.from_numpy(weights)[:, None].to(errors)).mean()


class FoldResult(NamedTuple):
    state: dict[str, Tensor]
    """Weights of the best look."""
    looks: list[Look]
    trained: list[int]
    """Latents it was trained on or chosen by."""


def train_fold(
    base: Base,
    corpus: Corpus,
    lessons: Lessons,
    settings: Settings,
    fold: int,
    checkpoint: Path,
    say: Callable[[str], None],
) -> FoldResult:
    """Train the fold that the base has in use; goes on from its checkpoint if there is one.

    It is left with the weights of the best look.
    """
    held_out = deal(list(corpus.wordings), settings.folds, seed=settings.seed)
    seen = [latent for latent in sorted(corpus.wordings) if held_out[latent] != fold]
    if not seen:
        raise InputError(f"{len(held_out)} latents are too few for {settings.folds} folds.")
    rng = np.random.default_rng([settings.seed, fold])
    watched = rng.permutation(seen)[: max(1, round(VALIDATION_LATENTS * len(seen)))]
    taught = np.setdiff1d(seen, watched)

    optimizer = torch.optim.AdamW(base.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, settings.steps // 10, settings.steps)
    looks: list[Look] = []
    best: dict[str, Tensor] = {}
    start, before = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        base.load_state(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        looks, best, start = state["looks"], state["best"], state["step"]
        before = looks[-1].seconds
    began = time.perf_counter() - before
    losses: list[float] = []
    for step in range(start, settings.steps):
        if exhausted(looks, settings.patience):
            break
        # A generator of its own for each step: a training that is resumed draws the same.
        draw = np.random.default_rng([settings.seed, fold, step])
        latents = draw.permutation(taught)[: settings.latents]
        optimizer.zero_grad()
        losses.append(0.0)
        for latent in latents:
            drawn = lessons.draw(latent, lessons.text, settings.contexts, draw)
            wording = str(draw.choice(corpus.wordings[int(latent)]))
            loss = lessons.loss(base, int(latent), wording, *drawn)
            loss = loss * float(lessons.weight[latent]) / len(latents)
            (loss * 100).backward()  # a mean over mostly silent tokens is tiny
            losses[-1] += float(loss.detach())
        nn.utils.clip_grad_norm_(base.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        say(f"fold {fold + 1}: {step + 1} of {settings.steps}, loss {losses[-1]:.5f}")
        if (step + 1) % settings.check_every and step + 1 < settings.steps:
            continue
        found = validate(base, corpus, lessons, watched.tolist(), settings)
        if not found:
            raise InputError(
                f"None of the {len(watched)} validation latents is active on {MIN_ACTIVE} tokens "
                "of the text set aside. Train on more text."
            )
        correlation = float(np.mean(found))
        look = Look(step + 1, float(np.mean(losses)), correlation, time.perf_counter() - began)
        if not looks or correlation > max(one.correlation for one in looks):
            best = base.state()
        looks.append(look)
        losses = []
        save_checkpoint(
            checkpoint,
            weights=base.state(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            looks=looks,
            best=best,
            step=step + 1,
        )
        say(
            f"fold {fold + 1}: step {look.step} of {settings.steps}, loss {look.loss:.5f}, "
            f"correlation {correlation:.3f} on {len(found)} validation latents"
        )
    base.load_state(best)
    return FoldResult(best, looks, [int(latent) for latent in seen])


@torch.inference_mode()
def validate(
    base: Base, corpus: Corpus, lessons: Lessons, latents: Sequence[int], settings: Settings
) -> list[float]:
    """Correlations of simulated with real activations, at natural rates, on text set aside.

    Latents that are active there on too few tokens are left out. One wording of each is simulated
    on some contexts, half of them where the latent fires; they count as in the training. The same
    ones are drawn every time.
    """
    digits = torch.arange(TOP + 1)
    found: list[float] = []
    for latent in latents:
        rng = np.random.default_rng([settings.seed, latent])
        drawn = lessons.draw(latent, lessons.aside, settings.validation_contexts, rng)
        wording = str(rng.choice(corpus.wordings[latent]))
        real = lessons.activations(latent, drawn.contexts)
        if (real > 0).sum() < MIN_ACTIVE:
            continue
        logits = lessons.logits(base, wording, drawn.contexts)
        simulated = (logits.softmax(-1).cpu() @ digits).numpy()
        weights = np.repeat(drawn.weights, lessons.width)
        found.append(weighted_correlation(simulated.ravel(), real.ravel(), weights))
    return found


def weighted_correlation(
    x: Float[np.ndarray, "token"],
    y: Float[np.ndarray, "token"],
    weights: Float[np.ndarray, "token"],
) -> float:
    """Pearson correlation of values of which each counts as often as its weight says; 0 if one of
    them never varies."""
    covariance = np.cov(np.stack([x, y]).astype(float), aweights=weights, ddof=0)
    product = float(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1]) / product**0.5 if product > 0 else 0.0


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    base: str,
    corpus: Corpus,
    text: TrainingText,
    out: Path,
    *,
    settings: Settings,
    command: str,
    say: Callable[[str], None],
    shape: Shape | None = None,
) -> Trained:
    """Train an inline simulator and write it to a folder.

    Finished steps are kept in the folder's ``checkpoints`` until the training ends. A call with
    the same settings resumes from them.

    Args:
        base: The model's name, as it is recorded.
        command: The command, as it is recorded.
        shape: The base's layers to use; by default as its depth suggests.

    Raises:
        InputError: Checkpoints of another training are in the folder, or the corpus is too small.
    """
    shape = shape or default_shape(len(layers_of(model)))
    kept = out / "checkpoints"
    kept.mkdir(parents=True, exist_ok=True)
    same_training(kept, {"base": base, **shape.model_dump(), **settings.model_dump()})
    networks = Base(model, tokenizer, shape)
    lessons = Lessons(networks, corpus, settings.seed, say)
    results = []
    for fold in range(settings.folds):
        torch.manual_seed(settings.seed * 1000 + fold)
        networks.add_fold()
        checkpoint = kept / f"fold{fold}.pt"
        result = train_fold(networks, corpus, lessons, settings, fold, checkpoint, say)
        save_fold(result.state, out / f"fold{fold}.safetensors")
        results.append(result)
    trained = Trained(
        method="inline",
        version=VERSION,
        base=base,
        base_sha256=fingerprint(model),
        folds=[
            Fold(file=f"fold{i}.safetensors", latents={corpus.coder: result.trained})
            for i, result in enumerate(results)
        ],
        corpus=text.corpus,
        documents=text.documents,
        seen=text.seen,
        shape=shape.model_dump(),
        training={
            "command": command,
            "settings": settings.model_dump(),
            "contexts": len(corpus.contexts),
            "tokens": int(corpus.activations.shape[0]),
            "wordings": sum(map(len, corpus.wordings.values())),
            # Of the folds, however often the training was interrupted.
            "seconds": round(sum(result.looks[-1].seconds for result in results)),
            "device": str(model.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "looks": [[look._asdict() for look in result.looks] for result in results],
        },
        figures=_figures(networks, corpus, lessons, settings),
    )
    trained.write(out)
    shutil.rmtree(kept)
    return trained


def _figures(
    base: Base, corpus: Corpus, lessons: Lessons, settings: Settings
) -> dict[str, float | None]:
    """Figures of the folds on latents and text that they never saw."""
    held_out = deal(list(corpus.wordings), settings.folds, seed=settings.seed)
    order = np.random.default_rng(settings.seed).permutation(sorted(held_out))[:HELD_OUT]
    found = []
    for fold in range(settings.folds):
        base.use(fold)
        own = [int(latent) for latent in order if held_out[int(latent)] == fold]
        found += validate(base, corpus, lessons, own, settings)
    mean = float(np.mean(found)) if found else None
    return {"held_out_correlation": mean, "held_out_latents": len(found)}
