"""Train a sparse coder with ``sparsify``'s Trainer, on a GPU or a CPU."""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from sparsify import SparseCoder, SparseCoderConfig, TrainConfig, Trainer
from torch import nn

from interp.coders.check import judge
from interp.coders.load import load_coder
from interp.coders.sample import sample
from interp.corpus.contexts import make_contexts, split_corpus
from interp.corpus.seen import SeenText
from interp.corpus.source import relocated, source_of
from interp.corpus.unused import Unused
from interp.errors import InputError
from interp.model.subject import Subject
from interp.vocabulary import ContextSet


def train_coder(
    subject: Subject,
    corpus: str,
    out: Path,
    *,
    kind: str,
    num_latents: int,
    k: int,
    skip: bool,
    context_length: int,
    prepend_bos: bool,
    batch_size: int,
    max_tokens: int | None,
    seed: int,
    learning_rate: float | None = None,
) -> dict[str, Any]:
    """Train a coder on the explain set of a corpus and write a ``sparsify`` checkpoint.

    Only documents of the explain set are read, so that a study with the same corpus and seed
    calibrates and evaluates on text that its coder never saw.

    Args:
        kind: ``transcoder`` (module input to module output) or ``sae`` (module output to itself).
        batch_size: Contexts a step.
        max_tokens: Stop after this many tokens; None takes the whole explain set once.
        learning_rate: Of every weight's step, which has the sign of its gradient. None takes the
            trainer's, 0.64 divided by the square root of the number of latents.

    Returns:
        The figures written to ``training.json`` beside the checkpoint. ``typical_fvu`` is the
        fraction of variance unexplained of the typical token. A study takes a coder below
        :data:`interp.coders.inspection.MAX_FVU`.
    """
    if kind not in ("transcoder", "sae"):
        raise InputError(f"A coder is a 'transcoder' or an 'sae', not {kind!r}.")
    unused = Unused()
    split = split_corpus(corpus, seed, unused)
    documents = split.sets[ContextSet.EXPLAIN]
    contexts = make_contexts(
        documents,
        subject.tokenizer,
        ContextSet.EXPLAIN,
        length=context_length,
        limit=None,
        prepend_bos=prepend_bos,
        seed=seed,
        template_before=None if source_of(corpus).template else int(prepend_bos),
        unused=unused,
    )
    if max_tokens is not None:
        contexts = contexts[: max(batch_size, max_tokens // context_length)]
    dataset = Dataset.from_dict({"input_ids": [c.tokens for c in contexts]}).with_format("torch")
    config = TrainConfig(
        SparseCoderConfig(
            num_latents=num_latents, k=k, skip_connection=skip, transcode=kind == "transcoder"
        ),
        batch_size=batch_size,
        lr=learning_rate,
        hookpoints=[subject.hookpoint],
        init_seeds=[seed],
        exclude_tokens=[subject.tokenizer.bos_token_id] if prepend_bos else [],
        log_to_wandb=False,
        save_every=10**9,
    )
    _cut_above(subject)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        config.save_dir = folder
        Trainer(config, dataset, subject.model.base_model).fit()
        # The trainer's own copy holds the optimiser's iterate; the saved one holds the average
        # that a schedule-free optimiser is meant to be used with.
        coder = SparseCoder.load_from_disk(Path(folder) / "unnamed" / subject.hookpoint)
    figures: dict[str, Any] = {
        "kind": kind,
        "num_latents": num_latents,
        "k": k,
        "skip": skip,
        "model": Path(subject.source).name if Path(subject.source).exists() else subject.source,
        "hookpoint": subject.hookpoint,
        "corpus": _without_folder(corpus),
        "context_length": context_length,
        "prepend_bos": prepend_bos,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "documents": len(documents),
        "unused": {reason: count for reason, (count, _) in unused.found.items()},
        "contexts": len(contexts) // batch_size * batch_size,
        "tokens": len(contexts) // batch_size * batch_size * context_length,
        "seconds": round(time.perf_counter() - started, 1),
        "device": str(subject.device),
        "torch": torch.__version__,
        # All of the set, though a limit of tokens may leave some of them unread.
        "seen": SeenText.of(split.identities[one.name] for one in documents).model_dump(),
    }
    coder.to(torch.bfloat16).save_to_disk(out)
    # On the text by which a study and an inspection judge it.
    tokens = sample(
        corpus,
        subject.tokenizer,
        length=context_length,
        prepend_bos=prepend_bos,
        first_position=int(prepend_bos),
    )
    fit = judge(
        load_coder(out, device=subject.device), subject, tokens, first_position=int(prepend_bos)
    )
    figures["typical_fvu"] = fit.typical_fvu
    (out / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def _without_folder(corpus: str) -> str:
    """The name of a corpus, without where it is on this machine."""
    here = source_of(corpus).here
    return corpus if here is None else relocated(corpus, Path(here).name)


def _cut_above(subject: Subject) -> None:
    """Drop the layers above the hookpoint: training never needs what they compute."""
    parts = subject.hookpoint.split(".")
    for depth in range(len(parts) - 1):
        layers = subject.model.base_model.get_submodule(".".join(parts[: depth + 1]))
        if isinstance(layers, nn.ModuleList):
            del layers[int(parts[depth + 1]) + 1 :]
            return
