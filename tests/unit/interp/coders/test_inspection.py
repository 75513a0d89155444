"""Where a coder belongs: the right site and reading is found among the traps of the field.

Each coder is made for one site of a tiny model, with a latent for each principal direction of what
stands there: at any other site it leaves much unexplained.
"""

import copy
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import pytest
import torch
from transformers import PreTrainedModel

from interp.coders.check import check_coder
from interp.coders.inspection import (
    Candidate,
    candidates,
    capture_sites,
    differs,
    inspect,
)
from interp.coders.linear import LinearCoder
from interp.coders.readings import readings
from interp.coders.rules import Threshold
from interp.errors import InputError
from interp.model.subject import Subject
from interp.sources.checkpoint import Facts
from interp.sources.sites import Site, find_site
from tests.engine import random_coder, random_tokens, tiny_model, tiny_subject, word_tokenizer

TOKENS = random_tokens(24, 24)


@cache
def model_of(architecture: str) -> PreTrainedModel:
    """A tiny model; with ``_gain`` behind its name, one whose norms have gains other than one."""
    plain, gain, _ = architecture.partition("_gain")
    model = copy.deepcopy(tiny_model(plain))
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if gain and name.endswith("norm.weight"):
            weight.data += torch.randn(weight.shape, generator=generator)
    return model


def site(architecture: str, name: str) -> Site:
    modules = [name for name, _ in model_of(architecture).base_model.named_modules() if name]
    return find_site(name, modules)


def fitted(architecture: str, reads: str, writes: str) -> LinearCoder:
    """A coder of the directions in which what is read varies most: each is one latent, its opposite
    another. It writes what a linear map makes of them that comes nearest to what is to be written.
    """
    sites = [site(architecture, reads), site(architecture, writes)]
    captured = capture_sites(
        model_of(architecture), TOKENS, list(dict.fromkeys(sites)), first_position=1
    ).sites
    x, y = (captured[one] for one in sites)
    centre = x.mean(0)
    # All directions would reconstruct whatever stands anywhere.
    basis = torch.linalg.svd(x - centre, full_matrices=False).Vh[: 8 if reads == writes else None]
    weights = torch.linalg.lstsq((x - centre) @ basis.mT, y - y.mean(0)).solution
    directions, decoder = torch.cat([basis, -basis]), torch.cat([weights, -weights])
    return LinearCoder(
        "sae" if reads == writes else "transcoder",
        directions,
        -directions @ centre,
        decoder,
        y.mean(0),
        # Of an SAE above zero, so that it matters how long the vectors are.
        Threshold(((x - centre) @ directions.mT).std(0) * (reads == writes)),
    )


class Trap(NamedTuple):
    """A coder, the sites that its files declare wrongly, and the true ones."""

    architecture: str
    declared: tuple[str, str]
    true: tuple[str, str]


def sae(architecture: str, declared: str, true: str) -> Trap:
    return Trap(architecture, (declared, declared), (true, true))


NORM, IN, OUT = "blocks.1.ln2.hook_normalized", "blocks.1.mlp.hook_in", "blocks.1.mlp.hook_out"
MLP, MID, POST = "blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"
TRAPS = {
    # On models with norms behind the MLP, its output is not what is added to the stream.
    "mlp_out taken for the raw output": sae("gemma", OUT, MLP),
    "the raw output taken for mlp_out": sae("gemma", MLP, OUT),
    "with the gain, declared without": Trap("llama_gain", (NORM, MLP), (IN, MLP)),
    "without the gain, declared with": Trap("llama_gain", (IN, MLP), (NORM, MLP)),
    "without the gain, Gemma": Trap("gemma_gain", (IN, MLP), (NORM, MLP)),
    "off by one layer": sae("llama", "blocks.2.hook_resid_post", "blocks.1.hook_resid_post"),
    "pre taken for post": sae("llama", POST, "blocks.1.hook_resid_pre"),
    "mid taken for post": sae("gemma", POST, MID),
    "the attention's heads taken for its output": sae(
        "llama", "blocks.1.hook_attn_out", "blocks.1.attn.hook_z"
    ),
    "an MLP's SAE at the stream": sae("gpt2", "h.1", "blocks.1.hook_mlp_out"),
}


def found(trap: Trap) -> bool:
    """Whether the true site is the best of all, the declared one included."""
    architecture, declared, true = trap
    coder = fitted(architecture, *true)
    facts = Facts(coder.kind, reads=declared[0], writes=declared[1])
    model = model_of(architecture)
    reads, writes = (site(architecture, one) for one in true)
    captured = capture_sites(model, TOKENS, list({reads, writes}), first_position=1)
    active = captured.measure(coder, reads, writes).active
    sites = candidates(model, facts)
    first, best, *_ = inspect(model, {"": coder}, sites, TOKENS, first_position=1, active=active)
    assert (first.reads, first.writes) == tuple(str(site(architecture, one)) for one in declared)
    right = (best.reads, best.writes) == (_after(reads), _after(writes))
    return right and _rank(best, active) < _rank(first, active)


def test_the_true_site_is_found_in_nine_of_ten_traps() -> None:
    hits = {name: found(trap) for name, trap in TRAPS.items()}
    assert len(hits) == 10 and sum(hits.values()) >= 9, hits


def _rank(one: Candidate, active: float) -> tuple[bool, float]:
    return differs(one.active, active), one.fvu


def _after(site: Site) -> str:
    """A site by the name that candidates have."""
    return str(site).replace("layers.1.input", "layers.0")


def test_the_right_reading_comes_first() -> None:
    right = fitted("llama", IN, OUT)
    readings = {"": replace(right, centre=torch.ones(16)), "as it was trained": right}
    model = model_of("llama")
    sites = candidates(model, Facts("transcoder", reads=IN, writes=OUT))
    first, best, *_ = inspect(model, readings, sites, TOKENS, first_position=1)
    assert (first.reading, best.reading) == ("", "as it was trained")
    assert (first.reads, first.writes) == (best.reads, best.writes)


def test_what_fits_nowhere_is_said_to() -> None:
    with pytest.raises(InputError, match=r"does not fit 'layers\.1\.mlp'.*It fits no other place"):
        check_coder(random_coder(), tiny_subject(), TOKENS, first_position=1)


def test_the_right_place_is_named() -> None:
    coder = fitted("llama", POST, POST)
    subject = Subject(model_of("llama"), word_tokenizer(), "it", "layers.1.mlp")
    with pytest.raises(InputError, match=r"It fits layers\.1: there it leaves \d+%"):
        check_coder(coder, subject, TOKENS, first_position=1)
    right = Subject(model_of("llama"), word_tokenizer(), "it", "layers.1")
    fit = check_coder(coder, right, TOKENS, first_position=1)
    assert fit.fvu < 0.5
    # As many latents as its files say must be active, or half or twice as many.
    check_coder(coder, right, TOKENS, first_position=1, active=1.9 * fit.active)
    for wrong in (0.4, 2.1):
        with pytest.raises(InputError, match=r"latents of the coder are active.*its files say"):
            check_coder(coder, right, TOKENS, first_position=1, active=wrong * fit.active)


def test_a_site_that_nothing_names_is_asked_for() -> None:
    with pytest.raises(InputError, match="do not name the site"):
        candidates(model_of("llama"), Facts("sae"))


def test_a_transcoder_that_its_files_call_an_sae_is_told() -> None:
    coder = replace(fitted("llama", "layers.1.input", POST), kind="sae")
    model = model_of("llama")
    facts = Facts("sae", writes=MLP)
    every = {"": coder, **readings(coder)}
    measured = inspect(model, every, candidates(model, facts), TOKENS, first_position=1)
    assert measured[0].reading == "" and measured[0].reads == measured[0].writes
    for one in measured:
        assert (one.reading == "it is a transcoder") == (one.reads != one.writes)
