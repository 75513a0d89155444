"""Gemma Scope 1: encode and decode by its formula, sites from paths, and broken checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, LATENTS, D, gemma_scope, gives, vectors

HOOKS = {
    "gemma-scope-2b-pt-res": ("sae", "hook_resid_post", "hook_resid_post"),
    "gemma-scope-9b-it-res": ("sae", "hook_resid_post", "hook_resid_post"),
    "gemma-scope-2b-pt-mlp": ("sae", "hook_mlp_out", "hook_mlp_out"),
    "gemma-scope-2b-pt-att": ("sae", "attn.hook_z", "attn.hook_z"),
    "gemma-scope-2b-pt-transcoders": ("transcoder", "ln2.hook_normalized", "hook_mlp_out"),
}


def read(folder: Path) -> dict[str, torch.Tensor]:
    with np.load(folder / "params.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.mark.parametrize("repository", HOOKS)
@pytest.mark.parametrize("cached", [True, False])
def test_the_path_tells_the_facts(tmp_path: Path, repository: str, cached: bool) -> None:
    snapshot = f"models--google--{repository}/snapshots/0a1b"
    facts = find(gemma_scope(tmp_path, snapshot if cached else repository)).check()
    kind, reads, writes = HOOKS[repository]
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == (kind, D, D, LATENTS)
    assert (facts.reads, facts.writes) == (f"blocks.20.{reads}", f"blocks.20.{writes}")
    assert (facts.active, facts.k, facts.remark) == (71, None, "")
    assert facts.model == f"google/gemma-2-{'9b-it' if '9b-it' in repository else '2b'}"


def test_a_path_that_tells_nothing_is_said_so(tmp_path: Path) -> None:
    facts = find(gemma_scope(tmp_path, "mine")).check()
    assert (facts.kind, facts.reads, facts.model) == ("sae", "", "")
    assert "does not say what it reads" in facts.remark


def test_it_computes_what_the_release_defines(tmp_path: Path) -> None:
    folder = gemma_scope(tmp_path)
    weights, x = read(folder), vectors()
    pre = x @ weights["W_enc"] + weights["b_enc"]
    activations = torch.relu(pre) * (pre > weights["threshold"])
    gives(folder, activations, activations @ weights["W_dec"] + weights["b_dec"])


def test_the_embedding_is_read_with_the_factor_of_the_model(tmp_path: Path) -> None:
    inside = gemma_scope(tmp_path)
    folder = tmp_path / "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"
    folder.mkdir(parents=True)
    (inside / "params.npz").rename(folder / "params.npz")
    facts = find(folder).check()
    assert (facts.reads, facts.writes, facts.active) == ("hook_embed", "hook_embed", 6)

    weights, x = read(folder), vectors()
    pre = x / D**0.5 @ weights["W_enc"] + weights["b_enc"]
    activations = torch.relu(pre) * (pre > weights["threshold"])
    gives(folder, activations, (activations @ weights["W_dec"] + weights["b_dec"]) * D**0.5)


def test_it_computes_what_circuit_tracer_computes(tmp_path: Path) -> None:
    pytest.importorskip("circuit_tracer.transcoder", exc_type=ImportError)
    from circuit_tracer.transcoder.single_layer_transcoder import load_gemma_scope_transcoder

    folder = gemma_scope(tmp_path, "gemma-scope-2b-pt-transcoders")
    public = load_gemma_scope_transcoder(str(folder / "params.npz"), 20, device=CPU)
    coder, x = load_coder(folder, device=CPU), vectors()
    with torch.no_grad():
        expected = public(x)
    torch.testing.assert_close(coder.decode(coder.encode(x), x), expected, rtol=1e-5, atol=1e-5)


def test_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = gemma_scope(tmp_path) / "params.npz"
    weights = {name: tensor.numpy() for name, tensor in read(path.parent).items()}
    np.savez(path, **{name: array for name, array in weights.items() if name != "threshold"})
    with pytest.raises(InputError, match="threshold is missing"):
        load_coder(path.parent, device=CPU)
    np.savez(path, **(weights | {"W_dec": weights["W_dec"].T}))
    with pytest.raises(InputError, match=r"W_dec is 6 × 16, not 16 × 6 \(it is transposed\)"):
        load_coder(path.parent, device=CPU)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged or cut short"):
        load_coder(path.parent, device=CPU)
