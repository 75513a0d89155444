"""BatchTopK: encode and decode by its formulas, and configs with values as text."""

from pathlib import Path
from typing import Any

import pytest
import torch

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.coders.rules import BatchTopK
from interp.errors import InputError
from tests.coder_files import CPU, LATENTS, D, batch_top_k, configure, gives, save, top, vectors

KINDS = ("vanilla", "topk", "batchtopk", "jumprelu")


@pytest.mark.parametrize("normalised", ["True", False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_the_release_defines(
    tmp_path: Path, kind: str, normalised: str | bool
) -> None:
    folder = batch_top_k(tmp_path, kind, input_unit_norm=normalised)
    weights, x = torch.load(folder / "sae.pt", weights_only=True), vectors()
    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    read = (x - mean) / (deviation + 1e-5) if normalised else x
    read = read if kind == "jumprelu" else read - weights["b_dec"]
    activations = torch.relu(read @ weights["W_enc"] + weights["b_enc"])
    if kind == "jumprelu":
        activations = activations * (activations > weights["jumprelu.log_threshold"].exp())
    elif kind != "vanilla":
        activations = top(activations, 3)
    output = activations @ weights["W_dec"] + weights["b_dec"]
    coder = gives(folder, activations, output * deviation + mean if normalised else output)
    assert isinstance(coder.rule, BatchTopK) == (kind == "batchtopk")


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_tells_the_facts(tmp_path: Path, kind: str) -> None:
    facts = find(batch_top_k(tmp_path, kind)).check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("sae", D, D, LATENTS)
    assert (facts.reads, facts.writes) == ("blocks.8.hook_resid_pre",) * 2
    assert (facts.k, facts.model) == (3 if kind == "topk" else None, "gpt2-small")
    assert facts.active == (3 if kind == "batchtopk" else None)
    said = "holds no threshold: one is estimated"
    assert (said in facts.remark) == (kind == "batchtopk")


def test_the_site_may_be_in_parts(tmp_path: Path) -> None:
    assert find(batch_top_k(tmp_path, hook_point=None)).check().reads == "blocks.8.hook_resid_pre"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sae_type": "quantile"}, "sae_type 'quantile' is not supported. These are: vanilla"),
        ({"sae_type": None}, "sae_type is missing"),
        ({"sae_type": "jumprelu"}, r"jumprelu\.log_threshold is missing"),
        ({"top_k": "many"}, "top_k is 'many'; it must be a whole number"),
        ({"top_k": "99"}, "k is 99, but there are 16 latents"),
        ({"dict_size": "12"}, "W_enc is 6 × 16, not 6 × 12"),
        ({"input_unit_norm": "maybe"}, "input_unit_norm is 'maybe'; it must be true or false"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = batch_top_k(tmp_path)
    configure(folder / "config.json", **changes)
    with pytest.raises(InputError, match=says):
        load_coder(folder, device=CPU)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    path = batch_top_k(tmp_path) / "sae.pt"
    weights = torch.load(path, weights_only=True)
    save(path, {name: one for name, one in weights.items() if name != "b_enc"})
    with pytest.raises(InputError, match="b_enc is missing"):
        load_coder(tmp_path, device=CPU)
    save(path, weights | {"W_dec": weights["W_dec"].mT.contiguous()})
    with pytest.raises(InputError, match=r"W_dec is 6 × 16, not 16 × 6 \(it is transposed\)"):
        load_coder(tmp_path, device=CPU)
    path.unlink()
    with pytest.raises(InputError, match=r"no file .*sae\.pt"):
        load_coder(tmp_path, device=CPU)
