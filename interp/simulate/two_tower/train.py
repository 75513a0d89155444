"""Train the two-tower simulator: only its small networks. The base stays as it is.

Each step takes some latents, one explanation of each, and some tokens of text, and compares all
pairs at once. So active and silent tokens come at their natural rates, because specificity is what
fails in practice. The target is the activation's share of the latent's maximum, the loss its binary
cross-entropy. A latent that fires at rate r weighs r^−½, so that the frequent ones do not dominate.

Latents are dealt into folds. The networks of a fold are trained on the latents of the other folds,
and validated on a few of those, on text set aside. A fold never sees its own latents.

With several studies, a step takes the latents and the text of one of them, drawn by its number of
latents: which latents of one coder are active on another study's text is not known.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.simulate.training.corpus import (
    MIN_ACTIVE,
    Corpus,
    Dealt,
    TrainingText,
    deal_all,
    latents_of,
    split_text,
)
from interp.simulate.training.progress import Look, exhausted, same_training, save_checkpoint
from interp.simulate.training.reader import Reader, fingerprint, is_quicker_in_bfloat16, quick
from interp.simulate.training.trained import Fold, Trained
from interp.simulate.two_tower.method import Settings
from interp.simulate.two_tower.networks import (
    Encoded,
    Shape,
    Towers,
    logits,
    save_projection,
    save_towers,
)
from interp.simulate.two_tower.prepare import Prepared, Read, prepare, restored, targets
from interp.simulate.two_tower.simulator import VERSION

DEVICE = torch.device("cpu")
"""The networks are so small that they train on the processor."""
TOGETHER = 32
"""Explanations that are encoded as long as the longest of them."""


class FoldResult(NamedTuple):
    towers: Towers
    looks: list[Look]
    trained: dict[str, list[int]]
    """By coder, the latents it was trained on or chosen by."""


class _Study(NamedTuple):
    """One study, as a fold is trained and watched on it."""

    corpus: Corpus
    read: Read
    dealt: Dealt
    text: NDArray[np.int64]
    """Token rows to train on."""
    aside: NDArray[np.int64]
    share: csr_matrix
    weight: NDArray[np.float32]
    explanations_of: dict[int, NDArray[np.int64]]
    rewordings_of: dict[int, NDArray[np.int64]]

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        read: Read,
        held_out: Mapping[int, int],
        settings: Settings,
        fold: int,
    ) -> Self:
        dealt = latents_of(held_out, fold, settings.folds, seed=settings.seed)
        texts = [
            {int(i): np.flatnonzero((read.owner == i) & kind) for i in dealt.seen}
            for kind in (~read.reworded, read.reworded)
        ]
        text = split_text(corpus, settings.seed)
        return cls(corpus, read, dealt, *text, *targets(corpus), *texts)

    def draw(self, latent: int, reworded: float, draw: np.random.Generator) -> int:
        """One explanation of a latent, or with some probability a rewording, if it has any."""
        others = self.rewordings_of[latent]
        some = others if draw.random() < reworded and len(others) else self.explanations_of[latent]
        return int(draw.choice(some))


def train_fold(
    prepared: Prepared,
    corpora: Sequence[Corpus],
    dealt: Sequence[Mapping[int, int]],
    shape: Shape,
    settings: Settings,
    fold: int,
    checkpoint: Path,
    say: Callable[[str], None],
) -> FoldResult:
    """Train the networks of one fold, from its checkpoint if there is one.

    The networks returned are those of the best look.

    Args:
        dealt: Of each study, the fold that each latent is held out from.
    """
    studies = [
        _Study.of(corpus, read, held_out, settings, fold)
        for corpus, read, held_out in zip(corpora, prepared.studies, dealt, strict=True)
    ]
    sizes = np.array([len(study.dealt.taught) for study in studies])
    torch.manual_seed(settings.seed * 1000 + fold)
    towers = Towers(shape)
    optimizer = torch.optim.AdamW(
        towers.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=settings.steps + 1,
        pct_start=max(0.1, 2 / (settings.steps + 1)),
    )
    looks: list[Look] = []
    best: dict[str, Tensor] = {}
    start, before = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        towers.load_state_dict(state["towers"])
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
        torch.manual_seed(int(draw.integers(2**31)))
        study = studies[int(draw.choice(len(studies), p=sizes / sizes.sum()))]
        latents = draw.permutation(study.dealt.taught)[: settings.latents]
        rows = np.sort(
            draw.choice(study.text, min(settings.tokens, len(study.text)), replace=False)
        )
        chosen = [study.draw(int(latent), settings.reworded, draw) for latent in latents]
        asked = [_thinned(study.read.explanations[i], settings.drop) for i in chosen]
        by_length = sorted(range(len(asked)), key=lambda i: len(asked[i]))
        latents, asked = latents[by_length], [asked[i] for i in by_length]
        target = torch.from_numpy(study.share[rows][:, latents].toarray())
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=is_quicker_in_bfloat16(DEVICE)):
            encoded = Encoded.joined(
                towers.explanations(asked[start : start + TOGETHER])
                for start in range(0, len(asked), TOGETHER)
            )
            found = logits(towers.tokens(study.read.tokens[rows].float()), encoded).float()
        errors = nn.functional.binary_cross_entropy_with_logits(found, target, reduction="none")
        loss = (errors * torch.from_numpy(study.weight[latents])).mean()
        optimizer.zero_grad()
        (loss * 100).backward()  # a mean over mostly silent tokens is tiny
        nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % settings.check_every and step + 1 < settings.steps:
            continue
        watched = [(one.read, one.corpus, one.dealt.watched, one.aside) for one in studies]
        correlation = validate(towers, watched)
        look = Look(step + 1, float(np.mean(losses)), correlation, time.perf_counter() - began)
        if not looks or correlation > max(one.correlation for one in looks):
            best = {name: value.clone() for name, value in towers.state_dict().items()}
        looks.append(look)
        losses = []
        save_checkpoint(
            checkpoint,
            towers=towers.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            looks=looks,
            best=best,
            step=step + 1,
        )
        say(
            f"fold {fold + 1}: step {look.step} of {settings.steps}, loss {look.loss:.5f}, "
            f"correlation {correlation:.3f} on {sum(len(one[2]) for one in watched)} validation "
            "latents"
        )
    towers.load_state_dict(best)
    return FoldResult(towers, looks, {one.corpus.coder: one.dealt.seen for one in studies})


def _thinned(
    explanation: Float[Tensor, "token feature"], drop: float
) -> Float[Tensor, "token feature"]:
    """An explanation without some of its tokens: no single word may be all that counts."""
    kept = torch.rand(len(explanation)) >= drop
    return explanation[kept].float() if kept.any() else explanation.float()


Held = tuple[Read, Corpus, Sequence[int], NDArray[np.int64]]
"""Of one study, the latents and token rows that some figure rests on."""


@torch.inference_mode()
def validate(towers: Towers, held: Sequence[Held]) -> float:
    """Mean correlation of simulated with real activations over explanations of some latents, but
    for rewordings."""
    found = [value for one in held for value in _validated(towers, *one)]
    return float(np.mean(found)) if found else float("nan")


def _validated(
    towers: Towers, read: Read, corpus: Corpus, latents: Sequence[int], rows: NDArray[np.int64]
) -> list[float]:
    real = corpus.activations[rows][:, list(latents)].toarray()
    column = {int(latent): i for i, latent in enumerate(latents)}
    wanted = [
        i
        for i, (owner, reworded) in enumerate(zip(read.owner, read.reworded, strict=True))
        if int(owner) in column and not reworded
    ]
    tokens = towers.tokens(read.tokens[rows].float())
    found: list[float] = []
    for start in range(0, len(wanted), 64):
        some = wanted[start : start + 64]
        encoded = towers.explanations([read.explanations[i].float() for i in some])
        simulated = torch.sigmoid(logits(tokens, encoded)).numpy()
        own = real[:, [column[int(read.owner[i])] for i in some]]
        enough = (own > 0).sum(axis=0) >= MIN_ACTIVE
        found += _correlations(simulated[:, enough], own[:, enough])
    return found


def _correlations(
    x: Float[np.ndarray, "token latent"], y: Float[np.ndarray, "token latent"]
) -> list[float]:
    """Pearson correlation of each pair of columns."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (x * y).sum(axis=0) / np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    return [float(value) for value in found if np.isfinite(value)]


def default_layers(depth: int) -> list[int]:
    """The layers whose states are taken in a base of some depth: the embedding and three layers.
    None is near the output, where a model thinks of the next token rather than of this one."""
    return sorted({0, *(round(depth * part) for part in (1 / 6, 0.45, 0.72))})


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
    """Train a two-tower simulator on one study or several, and write it to a folder.

    Finished steps are kept in the folder's ``checkpoints`` until the training ends. A call with
    the same settings resumes from them.

    Args:
        base: The model's name, as it is recorded.
        command: The command, as it is recorded.
        shape: Sizes of the networks.

    Raises:
        InputError: Checkpoints of another training are in the folder, or the corpus is too small.
    """
    shape = shape or Shape()
    layers = default_layers(model.config.get_text_config().num_hidden_layers)
    # As the simulator reads.
    reader = Reader(quick(model), tokenizer, layers)
    kept = out / "checkpoints"
    kept.mkdir(parents=True, exist_ok=True)
    same_training(kept, {"base": base, **shape.model_dump(), **settings.model_dump()})
    prepared = restored(
        kept / "prepared.pt", lambda: prepare(reader, corpora, shape, seed=settings.seed, say=say)
    )
    save_projection(prepared.projection, out)
    dealt = deal_all(corpora, settings.folds, seed=settings.seed)
    results = []
    for fold in range(settings.folds):
        checkpoint = kept / f"fold{fold}.pt"
        result = train_fold(prepared, corpora, dealt, shape, settings, fold, checkpoint, say)
        save_towers(result.towers, out / f"fold{fold}.safetensors")
        results.append(result)
    trained = Trained(
        method="two_tower",
        version=VERSION,
        base=base,
        base_sha256=fingerprint(model),
        folds=[
            Fold(file=f"fold{i}.safetensors", latents=result.trained)
            for i, result in enumerate(results)
        ],
        corpus=text.corpus,
        documents=text.documents,
        seen=text.seen,
        shape={"layers": layers, "networks": shape.model_dump()},
        training={
            "command": command,
            "settings": settings.model_dump(),
            "contexts": sum(len(corpus.contexts) for corpus in corpora),
            "tokens": sum(int(corpus.activations.shape[0]) for corpus in corpora),
            "explanations": sum(int((~read.reworded).sum()) for read in prepared.studies),
            "rewordings": sum(int(read.reworded.sum()) for read in prepared.studies),
            # Of the folds, however often the training was interrupted.
            "seconds": round(sum(result.looks[-1].seconds for result in results)),
            "device": str(model.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "looks": [[look._asdict() for look in result.looks] for result in results],
        },
        figures=_figures(results, prepared, corpora, dealt, settings),
    )
    trained.write(out)
    shutil.rmtree(kept)
    return trained


def _figures(
    results: list[FoldResult],
    prepared: Prepared,
    corpora: Sequence[Corpus],
    dealt: Sequence[Mapping[int, int]],
    settings: Settings,
) -> dict[str, float]:
    """The figures of each fold on the latents and the text that it never saw, over all explanations
    but the rewordings."""
    found = [
        validate(
            result.towers,
            [
                (
                    read,
                    corpus,
                    [latent for latent in corpus.explanations if held_out[latent] == fold],
                    split_text(corpus, settings.seed)[1],
                )
                for read, corpus, held_out in zip(prepared.studies, corpora, dealt, strict=True)
            ],
        )
        for fold, result in enumerate(results)
    ]
    return {
        "held_out_correlation": float(np.mean(found)),
        "held_out_latents": sum(map(len, dealt)),
    }
