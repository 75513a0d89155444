"""OpenAI's autoencoders: encode and decode by their formulas, sites from names."""

from pathlib import Path

import pytest
import torch

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, gives, openai, save, top, vectors


@pytest.mark.parametrize("activation", ["TopK", "ReLU"])
def test_it_computes_what_the_release_defines(tmp_path: Path, activation: str) -> None:
    folder = openai(tmp_path, activation)
    weights, x = torch.load(folder / "5.pt", weights_only=True), vectors()
    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    read = (x - mean) / (deviation + 1e-5) if activation == "TopK" else x
    pre = (read - weights["pre_bias"]) @ weights["encoder.weight"].mT + weights["latent_bias"]
    activations = top(torch.relu(pre), 3) if activation == "TopK" else torch.relu(pre)
    output = activations @ weights["decoder.weight"].mT + weights["pre_bias"]
    gives(folder, activations, output * deviation + mean if activation == "TopK" else output)


@pytest.mark.parametrize(
    ("location", "hook"),
    [
        ("resid_delta_mlp_v5_32k", "hook_mlp_out"),
        ("resid_post_mlp_v5_128k", "hook_resid_post"),
        ("resid_post_attn_v5_32k", "hook_resid_mid"),
        ("resid_delta_attn_v5_32k", "hook_attn_out"),
        ("mlp_post_act", "mlp.hook_post"),
        ("mine", ""),
    ],
)
def test_the_names_tell_the_site(tmp_path: Path, location: str, hook: str) -> None:
    folder = openai(tmp_path).parent.rename(tmp_path / location) / "autoencoders"
    facts = find(folder).check()
    site = f"blocks.5.{hook}" if hook else ""
    assert (facts.kind, facts.reads, facts.writes) == ("sae", site, site)
    assert facts.model == ("openai-community/gpt2" if hook else "")


def test_a_broken_one_is_refused(tmp_path: Path) -> None:
    folder = openai(tmp_path, after="Identity")
    with pytest.raises(InputError, match=r"TopK \(postact_fn Identity\) is not supported"):
        load_coder(folder, device=CPU)
    path = openai(tmp_path) / "5.pt"
    held = torch.load(path, weights_only=True)
    save(path, held | {"activation_state_dict": {}})
    with pytest.raises(InputError, match="k is missing"):
        load_coder(folder, device=CPU)
    save(path, {name: one for name, one in held.items() if name != "pre_bias"})
    with pytest.raises(InputError, match="pre_bias is missing"):
        load_coder(folder, device=CPU)
    save(path, held | {"encoder.weight": held["encoder.weight"].mT.contiguous()})
    with pytest.raises(InputError, match=r"encoder\.weight is 6 × 16, not 16 × 6 \(it is transp"):
        load_coder(folder, device=CPU)
