"""SAEs of attention heads: encode and decode by their formula, and broken checkpoints."""

from pathlib import Path

import pytest
import torch

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from interp.sources.formats.hook_z import config_of
from tests.coder_files import CPU, LATENTS, D, configure, gives, hook_z, save, vectors


def test_it_computes_what_the_release_defines(tmp_path: Path) -> None:
    folder = hook_z(tmp_path)
    weights = torch.load(find(folder).weights, weights_only=True)
    pre = (vectors() - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    activations = torch.relu(pre)
    gives(folder, activations, activations @ weights["W_dec"] + weights["b_dec"])


def test_the_config_tells_the_facts(tmp_path: Path) -> None:
    facts = find(hook_z(tmp_path)).check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("sae", D, D, LATENTS)
    assert (facts.reads, facts.writes) == ("blocks.5.attn.hook_z",) * 2


def test_a_layer_is_found_in_the_name(tmp_path: Path) -> None:
    path = find(hook_z(tmp_path)).weights
    other = path.with_name(path.name.replace("_L5_", "_L10_"))
    other.write_bytes(path.read_bytes())
    config_of(other).write_bytes(config_of(path).read_bytes())
    assert find(tmp_path, "h.10.attn.c_proj").weights == other


def test_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = find(hook_z(tmp_path)).weights
    weights = torch.load(path, weights_only=True)
    save(path, {name: one for name, one in weights.items() if name != "b_dec"})
    with pytest.raises(InputError, match="b_dec is missing"):
        load_coder(tmp_path, device=CPU)
    save(path, weights | {"W_enc": weights["W_enc"].mT.contiguous()})
    with pytest.raises(InputError, match=r"W_enc is 16 × 6, not 6 × 16 \(it is transposed\)"):
        load_coder(tmp_path, device=CPU)
    configure(config_of(path), dict_size=None)
    with pytest.raises(InputError, match=r"_cfg\.json: dict_size is missing"):
        load_coder(tmp_path, device=CPU)
    configure(config_of(path), dict_size=LATENTS)
    path.unlink()
    with pytest.raises(InputError, match=r"no file .*\.pt"):
        load_coder(tmp_path, device=CPU)
