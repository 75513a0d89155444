"""Train the inline simulator: low-rank adapters on a small language model, and ten output rows.

Each step takes some latents, one explanation of each, and some contexts: half where the latent
fires, half where it is silent. Taken as they come, too few would fire; taken half and half, a
simulator learns to see activations everywhere. So each context's loss is weighted by how common its
half is, and the expected loss is that of natural text. The target is the activation on a scale from
0 to 9, rounded. The loss is the cross-entropy of the ten digits. A latent that fires at rate r
weighs r^−½, so that the frequent ones do not dominate. Folds are as in
:mod:`interp.simulate.training.corpus`.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
)

from interp.errors import InputError
from interp.simulate.inline.base import Base, Shape, default_shape, save_fold
from interp.simulate.inline.lessons import Lessons
from interp.simulate.inline.method import Settings
from interp.simulate.inline.simulator import VERSION
from interp.simulate.protocol import TOP
from interp.simulate.training.corpus import MIN_ACTIVE, Corpus, TrainingText, deal, latents_of
from interp.simulate.training.progress import Look, exhausted, same_training, save_checkpoint
from interp.simulate.training.reader import fingerprint, layers_of
from interp.simulate.training.trained import Fold, Trained

HELD_OUT = 200
"""The figures are of so many held-out latents at most."""


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
    """Train the fold that the base has in use, from its checkpoint if there is one.

    It is left with the weights of the best look.
    """
    held_out = deal(list(corpus.explanations), settings.folds, seed=settings.seed)
    seen, taught, watched = latents_of(held_out, fold, settings.folds, seed=settings.seed)

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
            explanation = str(draw.choice(corpus.explanations[int(latent)]))
            loss = lessons.loss(base, int(latent), explanation, *drawn)
            loss = loss * float(lessons.weight[latent]) / len(latents)
            (loss * 100).backward()  # a mean over mostly silent tokens is tiny
            losses[-1] += float(loss.detach())
        nn.utils.clip_grad_norm_(base.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        say(f"fold {fold + 1}: {step + 1} of {settings.steps}, loss {losses[-1]:.5f}")
        if (step + 1) % settings.check_every and step + 1 < settings.steps:
            continue
        found = validate(base, corpus, lessons, watched, settings)
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
    return FoldResult(best, looks, seen)


@torch.inference_mode()
def validate(
    base: Base, corpus: Corpus, lessons: Lessons, latents: Sequence[int], settings: Settings
) -> list[float]:
    """Correlations of simulated with real activations, at natural rates, on text set aside.

    Latents that are active there on too few tokens are left out. One explanation of each is
    simulated on some contexts, half of them where the latent fires; they count as in the training.
    The same ones are drawn every time.
    """
    digits = torch.arange(TOP + 1)
    found: list[float] = []
    for latent in latents:
        rng = np.random.default_rng([settings.seed, latent])
        drawn = lessons.draw(latent, lessons.aside, settings.validation_contexts, rng)
        explanation = str(rng.choice(corpus.explanations[latent]))
        real = lessons.activations(latent, drawn.contexts)
        if (real > 0).sum() < MIN_ACTIVE:
            continue
        logits = lessons.logits(base, explanation, drawn.contexts)
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
    corpora: Sequence[Corpus],
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
        InputError: There are several studies, checkpoints of another training are in the folder, or
            the corpus is too small.
    """
    if len(corpora) > 1:
        raise InputError("An inline simulator is trained on one study. Name one.")
    (corpus,) = corpora
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
            "explanations": sum(map(len, corpus.explanations.values())),
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
    held_out = deal(list(corpus.explanations), settings.folds, seed=settings.seed)
    order = np.random.default_rng(settings.seed).permutation(sorted(held_out))[:HELD_OUT]
    found = []
    for fold in range(settings.folds):
        base.use(fold)
        own = [int(latent) for latent in order if held_out[int(latent)] == fold]
        found += validate(base, corpus, lessons, own, settings)
    mean = float(np.mean(found)) if found else None
    return {"held_out_correlation": mean, "held_out_latents": len(found)}
