"""How well simulators predict latents and text that they never saw, at natural rates.

On the demo's coder and the calibrate documents of its corpus. Each method simulates the same
latents from two explanations: the lexical explainer's, and the plain sentence that the demo ships.
The random baseline is the same simulations against the activations of another latent.

- Correlation: Pearson, raw simulated with real activation, mean over latents.
- Sensitivity and specificity: over all pairs of latent and token. A latent is said to be active
  where the chance that it is (isotonic in the raw value, fitted on one half of the documents) is
  above one threshold for all latents, set on that half; both are measured on the other half.

A prompted simulator takes seconds or minutes a latent on a CPU, so it simulates fewer latents on
fewer contexts; the trained ones are compared with it on exactly those. ``json_reply`` needs a model
with a chat template.

``--check`` fails unless the trained simulator has a mean correlation of at least 0.50 for lexical
explanations and 0.35 for plain sentences, each at least 0.20 above the prompted method on the same
base, and a specificity of at least 0.999 at a sensitivity of at least 0.3.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from cli.errors import CommandError
from cli.fetch import fetch
from interp.coders.capture import collect
from interp.coders.load import load_coder
from interp.corpus.activations import ActivationStore, LatentActivations, Shard
from interp.corpus.contexts import Context, make_contexts, split_corpus
from interp.corpus.text import TokenTexts
from interp.explain import lexical
from interp.explain.vocabulary import Vocabulary
from interp.llm.transformers import TransformersLLM
from interp.model.subject import Subject, load_causal_lm, load_subject
from interp.scoring.scores import halves
from interp.simulate.inline.simulator import Inline
from interp.simulate.prompted.all_at_once import AllAtOnce
from interp.simulate.prompted.json_reply import JsonReply
from interp.simulate.prompted.last_token import LastToken
from interp.simulate.protocol import Ask, Simulator
from interp.simulate.training.trained import Trained
from interp.simulate.two_tower.simulator import TwoTower
from interp.vocabulary import ContextSet
from models.settings import get_settings
from models.shipped import DEMO

TRAINED = DEMO / "simulators"
SUBJECT, BASE = "smollm2-135m-instruct", "gemma-3-270m"
HOOKPOINT, LENGTH, SEED = "layers.10.mlp", 34, 0
EXPLAIN, CALIBRATE = 4000, 512
LATENTS = 400
PROMPTED_LATENTS, PROMPTED_CONTEXTS = 40, 24
SLOW_LATENTS = 4
"""Of the methods that take minutes a latent."""
MIN_ACTIVE = 5
"""A latent with fewer active tokens in the text is left out: its correlation says nothing."""
GOALS = {"lexical": 0.50, "plain": 0.35}
ABOVE_PROMPTED, SENSITIVITY, SPECIFICITY = 0.20, 0.30, 0.999
"""Goals."""
FOUND = 0.33
"""Share of active tokens that the threshold finds on the half that it is set on."""


class Text(NamedTuple):
    """Contexts with all activations on them."""

    strings: list[list[str]]
    documents: list[str]
    store: ActivationStore

    def real(self, latents: Sequence[int]) -> Float[np.ndarray, "latent context position"]:
        rows = list(range(len(self.strings)))
        parts = [next(self.store.read(range(latent, latent + 1))) for latent in latents]
        return np.stack([part.dense(rows, LENGTH)[:, 1:] for part in parts])


class Quality(NamedTuple):
    """What a simulator reaches on some latents."""

    correlations: NDArray[np.float64]
    baselines: NDArray[np.float64]
    sensitivity: float
    specificity: float
    missing: float


def collect_text(subject: Subject, folder: Path) -> dict[ContextSet, Text]:
    """Make contexts of the explain and calibrate documents, and collect activations on them."""
    coder = load_coder(str(DEMO / "coder"), HOOKPOINT, device=torch.device("cpu"))
    documents = split_corpus("sotu", SEED).sets
    texts = TokenTexts(subject.tokenizer)
    found = {}
    for which, limit in ((ContextSet.EXPLAIN, EXPLAIN), (ContextSet.CALIBRATE, CALIBRATE)):
        contexts: list[Context] = make_contexts(
            documents[which],
            subject.tokenizer,
            which,
            length=LENGTH,
            limit=limit,
            prepend_bos=True,
            seed=SEED,
        )
        store = ActivationStore(folder / which, LENGTH, contexts=limit, first_position=1)
        for gap in store.missing():
            for start in range(gap.start, gap.stop, 512):
                rows = contexts[start : min(start + 512, gap.stop)]
                tokens = torch.tensor([context.tokens for context in rows])
                shard: Shard = collect(subject, coder, tokens, first_position=1)
                store.write(start, shard)
        strings = [texts(context.tokens) for context in contexts]
        found[which] = Text(strings, [context.document for context in contexts], store)
    return found


def lexical_explanations(text: Text, latents: Sequence[int]) -> dict[int, str]:
    vocabulary = Vocabulary.of(text.strings, first_position=1)
    explanations = {}
    for latent in latents:
        active: LatentActivations = next(text.store.read(range(latent, latent + 1)))
        explained = lexical.explain(active, vocabulary)
        assert explained is not None
        explanations[latent] = explained.text
    return explanations


def plain_explanations() -> dict[int, str]:
    lines = (DEMO / "explanations.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["latent"]: row["text"] for row in map(json.loads, lines)}


def run(
    simulator: Simulator, latents: Sequence[int], explanations: Sequence[str], text: Text
) -> Quality:
    """Simulate latents on a text, and compare with what is real."""
    asks = [
        Ask(explanation, latent=latent)
        for explanation, latent in zip(explanations, latents, strict=True)
    ]
    simulated = simulator.simulate(asks, text.strings, first_position=1)
    raw = np.stack([one.values[:, 1:] for one in simulated]).astype(np.float64)
    real = text.real(latents)
    flat, flat_real = raw.reshape(len(raw), -1), real.reshape(len(real), -1)
    sensitivity, specificity = operating_point(raw, real, text.documents)
    return Quality(
        np.array([correlation(*pair) for pair in zip(flat, flat_real, strict=True)]),
        # The next latent's explanation stands for this one.
        np.array([correlation(*pair) for pair in zip(np.roll(flat, 1, 0), flat_real, strict=True)]),
        sensitivity,
        specificity,
        float(np.isnan(raw).mean()),
    )


def correlation(raw: NDArray[np.float64], real: NDArray[np.float32]) -> float:
    seen = ~np.isnan(raw)
    if not seen.any() or np.ptp(raw[seen]) == 0 or np.ptp(real[seen]) == 0:
        return float("nan")
    return float(np.corrcoef(raw[seen], real[seen])[0, 1])


def operating_point(
    raw: Float[np.ndarray, "latent context position"],
    real: Float[np.ndarray, "latent context position"],
    documents: Sequence[str],
) -> tuple[float, float]:
    """Sensitivity and specificity on one half of the documents, threshold from the other.

    They are of the values that are not missing, and NaN if there are too few of them.
    """
    first = halves(documents, seed=SEED)
    chance = np.full(raw.shape, np.nan)
    for one, raw_one, active in zip(chance, raw, real > 0, strict=True):
        seen = ~np.isnan(raw_one)
        if not seen[first].any():
            continue
        fitted = IsotonicRegression(out_of_bounds="clip").fit(
            raw_one[first][seen[first]], active[first][seen[first]]
        )
        one[seen] = fitted.predict(raw_one[seen])
    found = chance[:, first][real[:, first] > 0]
    known = ~np.isnan(chance[:, ~first])
    said, active = chance[:, ~first][known], real[:, ~first][known] > 0
    if np.isnan(found).all() or not active.any():
        return float("nan"), float("nan")
    threshold = np.nanquantile(found, 1 - FOUND, method="lower")
    return float((said >= threshold)[active].mean()), float((said < threshold)[~active].mean())


def row(method: str, base: str, explanation: str, quality: Quality, tokens: int) -> None:
    mean, baseline = np.nanmean(quality.correlations), np.nanmean(quality.baselines)
    half = 1.96 * np.nanstd(quality.correlations) / np.sqrt(len(quality.correlations))
    print(
        f"{method:<12}{base:<24}{explanation:<9}{len(quality.correlations):>8}{tokens:>8}"
        f"{mean:>8.3f} ±{half:.3f}{baseline:>8.3f}{quality.sensitivity:>9.3f}"
        f"{quality.specificity:>10.5f}{quality.missing:>9.2%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail unless the goals are met")
    parser.add_argument("--work", type=Path, default=get_settings().data / "simulator_quality")
    arguments = parser.parse_args()
    try:
        models = {name: fetch(name, get_settings().data, say=print) for name in (SUBJECT, BASE)}
    except CommandError as error:
        sys.exit(str(error))
    cpu = torch.device("cpu")
    subject = load_subject(str(models[SUBJECT]), HOOKPOINT, device=cpu)
    print("Collecting activations", flush=True)
    texts = collect_text(subject, arguments.work)
    text = texts[ContextSet.CALIBRATE]
    few = Text(text.strings[:PROMPTED_CONTEXTS], text.documents[:PROMPTED_CONTEXTS], text.store)

    plain = plain_explanations()
    order = np.random.default_rng(SEED).permutation(sorted(plain)).tolist()
    latents = [i for i in order if (text.real([i]) > 0).sum() >= MIN_ACTIVE][:LATENTS]
    some = [i for i in latents if (few.real([i]) > 0).sum() >= MIN_ACTIVE][:PROMPTED_LATENTS]
    explanations = {
        "lexical": lexical_explanations(texts[ContextSet.EXPLAIN], latents),
        "plain": {latent: plain[latent] for latent in latents},
    }

    gemma = load_causal_lm(str(models[BASE]), dtype=torch.float32, device=cpu)
    (sha,) = Trained.read(TRAINED / "two_tower").folds[0].latents
    tower = TwoTower(*gemma, TRAINED / "two_tower", sha)
    llms = {
        BASE: TransformersLLM(*gemma),
        SUBJECT: TransformersLLM(subject.model, subject.tokenizer),
    }
    near, slow = (some, few), (some[:SLOW_LATENTS], few)
    entrants: list[tuple[str, str, Simulator, list[int], Text]] = [
        ("two_tower", BASE, tower, latents, text),
        ("two_tower", BASE, tower, *near),
        ("all_at_once", BASE, AllAtOnce(llms[BASE]), *near),
        ("all_at_once", SUBJECT, AllAtOnce(llms[SUBJECT]), *near),
        ("inline", BASE, Inline(*gemma, TRAINED / "inline", sha), *near),
        ("last_token", BASE, LastToken(llms[BASE]), *slow),
        ("last_token", SUBJECT, LastToken(llms[SUBJECT]), *slow),
        ("json_reply", SUBJECT, JsonReply(llms[SUBJECT]), *slow),
    ]
    print(
        f"\n{'method':<12}{'base':<24}{'explanation':<9}{'latents':>8}{'tokens':>8}"
        f"{'correlation':>15}{'baseline':>8}{'sensit.':>9}{'specif.':>10}{'missing':>9}"
    )
    met, margins = [], []
    for explanation, of in explanations.items():
        found = []
        for method, base, simulator, chosen, on in entrants:
            found.append(run(simulator, chosen, [of[i] for i in chosen], on))
            row(method, base, explanation, found[-1], len(on.strings) * (LENGTH - 1))
        best, ours, theirs = found[:3]
        margins.append(float(np.nanmean(ours.correlations) - np.nanmean(theirs.correlations)))
        met.append(np.nanmean(best.correlations) >= GOALS[explanation])
        met.append(best.sensitivity >= SENSITIVITY and best.specificity >= SPECIFICITY)
        print(
            f"{explanation}: correlation {np.nanmean(best.correlations):.3f} "
            f"(goal {GOALS[explanation]}), "
            f"{margins[-1]:+.3f} over all_at_once on the same base (goal +{ABOVE_PROMPTED}), "
            f"specificity {best.specificity:.5f} at sensitivity {best.sensitivity:.3f} "
            f"(goals {SPECIFICITY} at {SENSITIVITY})",
            flush=True,
        )
    print(f"simulator_quality ratio {min(margins) / ABOVE_PROMPTED:.1f} (goal 1.0)")
    if arguments.check and not (all(met) and min(margins) >= ABOVE_PROMPTED):
        sys.exit(1)


if __name__ == "__main__":
    main()
