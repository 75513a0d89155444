"""Goodfire and DeepSeek-R1: encode and decode by their formula, facts from the file's name."""

from pathlib import Path

import pytest
import torch

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, gives, linear_layers, save, vectors


@pytest.mark.parametrize("goodfire", [True, False])
def test_it_computes_what_the_release_defines(tmp_path: Path, goodfire: bool) -> None:
    folder, end = linear_layers(tmp_path, goodfire=goodfire), "_linear" if goodfire else ""
    weights = torch.load(find(folder).weights, weights_only=True)
    pre = vectors() @ weights[f"encoder{end}.weight"].mT + weights[f"encoder{end}.bias"]
    activations = torch.relu(pre)
    decoder, bias = weights[f"decoder{end}.weight"], weights[f"decoder{end}.bias"]
    gives(folder, activations, activations @ decoder.mT + bias)


@pytest.mark.parametrize(
    ("goodfire", "model", "layer"),
    [
        (True, "meta-llama/Llama-3.1-8B-Instruct", 19),
        (False, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 19),
    ],
)
def test_the_name_tells_the_facts(tmp_path: Path, goodfire: bool, model: str, layer: int) -> None:
    facts = find(linear_layers(tmp_path, goodfire=goodfire)).check()
    assert (facts.kind, facts.model) == ("sae", model)
    assert (facts.reads, facts.writes) == (f"blocks.{layer}.hook_resid_post",) * 2


def test_one_of_several_layers_may_be_named(tmp_path: Path) -> None:
    path = find(linear_layers(tmp_path)).weights
    other = path.with_name("Llama-3.1-8B-Instruct-SAE-l23.pth")
    other.write_bytes(path.read_bytes())
    assert find(tmp_path, "layers.23").weights == other


def test_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = find(linear_layers(tmp_path)).weights
    weights = torch.load(path, weights_only=True)
    save(path, {name: one for name, one in weights.items() if name != "decoder_linear.bias"})
    with pytest.raises(InputError, match=r"decoder_linear\.bias is missing"):
        load_coder(tmp_path, device=CPU)
    turned = weights["decoder_linear.weight"].mT.contiguous()
    save(path, weights | {"decoder_linear.weight": turned})
    with pytest.raises(InputError, match=r"decoder_linear\.weight is 16 × 6.*it is transposed"):
        load_coder(tmp_path, device=CPU)
