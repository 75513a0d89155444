"""Train the two-tower simulator: only its small networks; the base stays as it is.

Each step takes some latents, one explanation of each, and some tokens of text, and compares all
pairs at once. So active and silent tokens come at their natural rates, because specificity is what
fails in practice. The target is the activation's share of the latent's maximum, the loss its binary
cross-entropy. A latent that fires at rate r weighs r^−½, so that the frequent ones do not dominate.

Latents are dealt into folds. The networks of a fold are trained on the latents of the other folds,
and validated on a few of those, on text set aside. A fold never sees its own latents.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp.corpus.seen import SeenText
from interp.errors import InputError
from interp.simulate.training.align import Aligned
from interp.simulate.training.trained import Fold, Trained
from interp.simulate.two_tower.simulator import (
    VERSION,
    Projection,
    Reader,
    Shape,
    Towers,
    fingerprint,
    logits,
    save_projection,
    save_towers,
)

VALIDATION_TEXT = 0.1
"""Share of the contexts that are set aside to watch the training on."""
VALIDATION_LATENTS = 0.05
"""Share of a fold's training latents that are set aside to watch the training on."""
FIT_TOKENS = 40_000
"""The projection is fitted on so many tokens at most."""
MIN_RATE = 2e-4
"""Latents that fire more rarely weigh no more than this rate would."""
MIN_ACTIVE = 5
"""A correlation on fewer active tokens says nothing and is left out of the figures."""


class Corpus(NamedTuple):
    """One coder's activations on contexts of explain documents, and wordings of its latents."""

    coder: str
    """SHA-256 of the coder's weights."""
    contexts: list[list[str]]
    """Token strings, without the positions that are not simulated."""
    activations: csr_matrix
    """Shape (token, latent), tokens in the order of ``contexts``."""
    wordings: dict[int, list[str]]
    """By latent; those that are not there are not trained on."""


class TrainingText(NamedTuple):
    """The documents that the contexts come from."""

    corpus: str
    documents: list[str]
    seen: SeenText | None = None
    """None where the study was collected before texts were told apart by content."""


class Settings(BaseModel, frozen=True):
    """The length of the training and the amount of its data."""

    folds: int = 3
    steps: int = 900
    """Of each fold."""
    latents: int = 192
    """In one step."""
    tokens: int = 2048
    """In one step."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    drop: float = 0.1
    """Share of a wording's tokens that are left out each time it is seen."""
    check_every: int = 150
    """Steps between looks at the validation latents, and between checkpoints."""
    patience: int = 3
    """Stop after so many looks without a better one."""
    seed: int = 0


class Prepared(NamedTuple):
    """The base's states of the training text and the explanations. Read once for all folds."""

    projection: Projection
    tokens: Float[Tensor, "token feature"]
    wordings: list[Float[Tensor, "token feature"]]
    owner: NDArray[np.int64]
    """Latent of each wording."""


def prepare(
    reader: Reader, corpus: Corpus, shape: Shape, *, seed: int, say: Callable[[str], None]
) -> Prepared:
    """Have the base read all text and all wordings."""
    rng = np.random.default_rng(seed)
    texts = [reader.text(tokens) for tokens in corpus.contexts]
    per_context = len(corpus.contexts[0])
    sample = rng.permutation(len(texts))[: max(1, FIT_TOKENS // per_context)]
    say("reading text to fit the projection")
    projection = Projection.fit(
        torch.cat(reader.states([texts[i] for i in sample])), shape.features
    )

    def features(texts: Sequence[Aligned], what: str) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(texts), 256):
            say(f"reading {what} {start:,} of {len(texts):,}")
            found += [projection(one).half() for one in reader.states(texts[start : start + 256])]
        return found

    pairs = [(latent, text) for latent, all_ in sorted(corpus.wordings.items()) for text in all_]
    return Prepared(
        projection,
        torch.cat(features(texts, "contexts")),
        features([reader.explanation(text) for _, text in pairs], "wordings"),
        np.array([latent for latent, _ in pairs]),
    )


def deal(latents: Sequence[int], folds: int, *, seed: int) -> dict[int, int]:
    """Deal latents into folds at random: the fold that each is held out from."""
    order = np.random.default_rng(seed).permutation(sorted(latents))
    return {int(latent): i % folds for i, latent in enumerate(order)}


class Look(NamedTuple):
    """The figures of the networks at some step, on latents and text they are not trained on."""

    step: int
    loss: float
    """Mean training loss since the look before."""
    correlation: float
    """Mean over the validation latents' wordings."""
    seconds: float


class FoldResult(NamedTuple):
    towers: Towers
    looks: list[Look]
    trained: list[int]
    """Latents it was trained on or chosen by."""


def train_fold(
    prepared: Prepared,
    corpus: Corpus,
    shape: Shape,
    settings: Settings,
    fold: int,
    checkpoint: Path,
    say: Callable[[str], None],
) -> FoldResult:
    """Train the networks of one fold; goes on from its checkpoint if there is one.

    The networks returned are those of the best look.
    """
    held_out = deal(list(corpus.wordings), settings.folds, seed=settings.seed)
    seen = [latent for latent in sorted(corpus.wordings) if held_out[latent] != fold]
    if not seen:
        raise InputError(f"{len(held_out)} latents are too few for {settings.folds} folds.")
    rng = np.random.default_rng([settings.seed, fold])
    watched = rng.permutation(seen)[: max(1, round(VALIDATION_LATENTS * len(seen)))]
    taught = np.setdiff1d(seen, watched)
    text, text_aside = split_text(corpus, settings.seed)
    share, weight = _targets(corpus)

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
    wordings_of = {int(i): np.flatnonzero(prepared.owner == i) for i in seen}
    losses: list[float] = []
    for step in range(start, settings.steps):
        if exhausted(looks, settings.patience):
            break
        # A generator of its own for each step: a training that is resumed draws the same.
        draw = np.random.default_rng([settings.seed, fold, step])
        torch.manual_seed(int(draw.integers(2**31)))
        latents = draw.permutation(taught)[: settings.latents]
        rows = np.sort(draw.choice(text, min(settings.tokens, len(text)), replace=False))
        chosen = [int(draw.choice(wordings_of[int(latent)])) for latent in latents]
        target = torch.from_numpy(share[rows][:, latents].toarray())
        encoded = towers.explanations(
            [_thinned(prepared.wordings[i], settings.drop) for i in chosen]
        )
        found = logits(towers.tokens(prepared.tokens[rows].float()), encoded)
        errors = nn.functional.binary_cross_entropy_with_logits(found, target, reduction="none")
        loss = (errors * torch.from_numpy(weight[latents])).mean()
        optimizer.zero_grad()
        (loss * 100).backward()  # a mean over mostly silent tokens is tiny
        nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % settings.check_every and step + 1 < settings.steps:
            continue
        correlation = validate(towers, prepared, corpus, list(watched), text_aside)
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
            f"correlation {correlation:.3f} on {len(watched)} validation latents"
        )
    towers.load_state_dict(best)
    return FoldResult(towers, looks, [int(latent) for latent in seen])


def _thinned(
    wording: Float[Tensor, "token feature"], drop: float
) -> Float[Tensor, "token feature"]:
    """A wording without some of its tokens: no single word may be all that counts."""
    kept = torch.rand(len(wording)) >= drop
    return wording[kept].float() if kept.any() else wording.float()


def exhausted(looks: list[Look], patience: int) -> bool:
    if len(looks) <= patience:
        return False
    best = max(range(len(looks)), key=lambda i: looks[i].correlation)
    return len(looks) - 1 - best >= patience


def save_checkpoint(checkpoint: Path, **state: object) -> None:
    """Replace the checkpoint; an interruption leaves the old one."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(checkpoint)


def split_text(corpus: Corpus, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token rows to train on, and those of the contexts that are set aside."""
    width = len(corpus.contexts[0])
    order = np.random.default_rng(seed).permutation(len(corpus.contexts))
    aside = order[: max(1, round(VALIDATION_TEXT * len(order)))]
    rows = np.arange(len(order) * width).reshape(len(order), width)
    return np.delete(rows, aside, axis=0).ravel(), rows[np.sort(aside)].ravel()


def _targets(corpus: Corpus) -> tuple[csr_matrix, NDArray[np.float32]]:
    """Activations as shares of each latent's maximum, and the latents' weights in the loss."""
    maxima = np.asarray(corpus.activations.max(axis=0).todense()).ravel()
    inverse = np.divide(1.0, maxima, out=np.zeros_like(maxima), where=maxima > 0)
    share = corpus.activations.multiply(inverse[None]).tocsr().astype(np.float32)
    rate = corpus.activations.getnnz(axis=0) / corpus.activations.shape[0]
    weight = np.maximum(rate, MIN_RATE) ** -0.5
    taught = weight[sorted(corpus.wordings)]
    return share, (weight / taught.mean()).astype(np.float32)


@torch.inference_mode()
def validate(
    towers: Towers,
    prepared: Prepared,
    corpus: Corpus,
    latents: Sequence[int],
    rows: NDArray[np.int64],
) -> float:
    """Mean correlation of simulated with real activations over wordings of some latents."""
    real = corpus.activations[rows][:, list(latents)].toarray()
    column = {int(latent): i for i, latent in enumerate(latents)}
    wanted = [i for i, owner in enumerate(prepared.owner) if int(owner) in column]
    tokens = towers.tokens(prepared.tokens[rows].float())
    found: list[float] = []
    for start in range(0, len(wanted), 64):
        some = wanted[start : start + 64]
        encoded = towers.explanations([prepared.wordings[i].float() for i in some])
        simulated = torch.sigmoid(logits(tokens, encoded)).numpy()
        own = real[:, [column[int(prepared.owner[i])] for i in some]]
        enough = (own > 0).sum(axis=0) >= MIN_ACTIVE
        found += _correlations(simulated[:, enough], own[:, enough])
    return float(np.mean(found)) if found else float("nan")


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
    corpus: Corpus,
    text: TrainingText,
    out: Path,
    *,
    shape: Shape,
    settings: Settings,
    command: str,
    say: Callable[[str], None],
) -> Trained:
    """Train a two-tower simulator and write it to a folder.

    Finished steps are kept in the folder's ``checkpoints`` until the training ends. A call with
    the same settings resumes from them.

    Args:
        base: The model's name, as it is recorded.
        command: The command, as it is recorded.

    Raises:
        InputError: Checkpoints of another training are in the folder, or the corpus is too small.
    """
    layers = default_layers(model.config.get_text_config().num_hidden_layers)
    reader = Reader(model, tokenizer, layers)
    kept = out / "checkpoints"
    kept.mkdir(parents=True, exist_ok=True)
    same_training(kept, {"base": base, **shape.model_dump(), **settings.model_dump()})
    prepared = _kept(
        kept / "prepared.pt", lambda: prepare(reader, corpus, shape, seed=settings.seed, say=say)
    )
    save_projection(prepared.projection, out)
    results = []
    for fold in range(settings.folds):
        checkpoint = kept / f"fold{fold}.pt"
        result = train_fold(prepared, corpus, shape, settings, fold, checkpoint, say)
        save_towers(result.towers, out / f"fold{fold}.safetensors")
        results.append(result)
    trained = Trained(
        method="two_tower",
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
        shape={"layers": layers, "networks": shape.model_dump()},
        training={
            "command": command,
            "settings": settings.model_dump(),
            "contexts": len(corpus.contexts),
            "tokens": int(corpus.activations.shape[0]),
            "wordings": len(prepared.wordings),
            # Of the folds, however often the training was interrupted.
            "seconds": round(sum(result.looks[-1].seconds for result in results)),
            "device": str(model.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "looks": [[look._asdict() for look in result.looks] for result in results],
        },
        figures=_figures(results, prepared, corpus, settings),
    )
    trained.write(out)
    shutil.rmtree(kept)
    return trained


def _figures(
    results: list[FoldResult], prepared: Prepared, corpus: Corpus, settings: Settings
) -> dict[str, float]:
    """The figures of each fold on the latents and the text that it never saw, over all
    explanations."""
    held_out = deal(list(corpus.wordings), settings.folds, seed=settings.seed)
    _, aside = split_text(corpus, settings.seed)
    found = [
        validate(
            result.towers,
            prepared,
            corpus,
            [latent for latent in corpus.wordings if held_out[latent] == fold],
            aside,
        )
        for fold, result in enumerate(results)
    ]
    return {"held_out_correlation": float(np.mean(found)), "held_out_latents": len(held_out)}


def same_training(folder: Path, settings: dict[str, object]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        path.write_text(json.dumps(settings))
    elif json.loads(path.read_text()) != settings:
        raise InputError(
            f"{folder} holds an unfinished training with other settings. Go on with those, choose "
            "another folder, or remove it."
        )


def _kept(path: Path, make: Callable[[], Prepared]) -> Prepared:
    if path.exists():
        state = torch.load(path, weights_only=False)
        return Prepared(Projection(**state.pop("projection")), **state)
    made = make()
    partial = path.with_suffix(".partial")
    torch.save(made._asdict() | {"projection": made.projection._asdict()}, partial)
    partial.replace(path)
    return made
