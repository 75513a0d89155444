"""SAELens: encode and decode by its formulas and by its own reader, and what cannot be read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, LATENTS, D, configure, draw, gives, saelens, top, vectors

SAES = ("standard", "jumprelu", "gated", "topk", "abstopk")
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


def formula(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], x: Tensor
) -> tuple[Tensor, Tensor]:
    """Activations and output, written as SAELens defines them."""
    architecture, read, mean = config["architecture"], x, torch.zeros(())
    scale = torch.ones(())
    if config["normalize_activations"] == "constant_norm_rescale":
        scale = x.norm(dim=-1, keepdim=True) / D**0.5
        read = x / scale
    elif config["normalize_activations"] == "layer_norm":
        mean = x.mean(-1, keepdim=True)
        scale = (x - mean).std(-1, keepdim=True)
        read = (x - mean) / (scale + 1e-5)
    if config["apply_b_dec_to_input"]:
        read = read - tensors["b_dec"]
    decoder = tensors["W_dec"]
    if architecture == "gated":
        shared = read @ tensors["W_enc"]
        magnitude = torch.relu(shared * tensors["r_mag"].exp() + tensors["b_mag"])
        activations = magnitude * (shared + tensors["b_gate"] > 0)
    else:
        pre = read @ tensors["W_enc"] + tensors["b_enc"]
        if config.get("rescale_acts_by_decoder_norm"):
            pre, decoder = pre * decoder.norm(dim=1), decoder / decoder.norm(dim=1, keepdim=True)
        activations = torch.relu(pre)
        if architecture == "topk":
            activations = top(activations, config["k"])
        elif architecture == "abstopk":
            activations = top(pre, config["k"], pre.abs())
        elif "jumprelu" in architecture:
            activations = activations * (pre > tensors["threshold"])
    output = (activations @ decoder + tensors["b_dec"]) * scale + mean
    return activations, output + x @ tensors["W_skip"].mT if "skip" in architecture else output


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = load_file(folder / "sae_weights.safetensors")
    return tensors, json.loads((folder / "cfg.json").read_text())


CASES = [
    *[(name, {}) for name in (*SAES, *TRANSCODERS)],
    *[(name, {"apply_b_dec_to_input": False}) for name in SAES],
    ("standard", {"normalize_activations": "layer_norm"}),
    ("gated", {"normalize_activations": "constant_norm_rescale"}),
    ("topk", {"rescale_acts_by_decoder_norm": True}),
    ("abstopk", {"rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": False}),
]


@pytest.mark.parametrize(("architecture", "changes"), CASES)
def test_it_computes_what_the_release_defines(
    tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    folder = saelens(tmp_path, architecture, **changes)
    activations, output = formula(*read(folder), vectors())
    if architecture == "abstopk":  # each signed latent is two
        assert (activations < 0).any()
        activations = torch.cat([activations.relu(), (-activations).relu()], dim=1)
    gives(folder, activations, output)


@pytest.mark.parametrize(("architecture", "changes"), CASES)
def test_it_computes_what_saelens_computes(
    tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    pytest.importorskip("sae_lens.saes.sae", exc_type=ImportError)
    from sae_lens.saes.sae import SAE

    folder = saelens(tmp_path, architecture, **changes)
    public, x = SAE.load_from_disk(folder), vectors()
    coder = load_coder(folder, device=CPU)
    with torch.no_grad():
        expected = public(x)
    torch.testing.assert_close(coder.decode(coder.encode(x), x), expected, rtol=1e-5, atol=1e-5)


def test_two_sides_of_a_latent_are_its_signed_activation(tmp_path: Path) -> None:
    folder = saelens(tmp_path, "abstopk")
    tensors, config = read(folder)
    found = load_coder(folder, device=CPU).encode(vectors()).dense(2 * LATENTS)
    signed = found[:, :LATENTS] - found[:, LATENTS:]
    encoder = tensors["W_enc"].mT.contiguous()
    read_from = vectors() - tensors["b_dec"]
    pre = torch.nn.functional.linear(read_from, encoder, tensors["b_enc"])
    assert torch.equal(signed, top(pre, config["k"], pre.abs()))  # to the last bit


@pytest.mark.parametrize("architecture", [*SAES, *TRANSCODERS])
def test_the_files_tell_the_facts(tmp_path: Path, architecture: str) -> None:
    facts = find(saelens(tmp_path, architecture)).check()
    is_transcoder = "transcoder" in architecture
    assert facts.kind == ("transcoder" if is_transcoder else "sae")
    assert (facts.d_in, facts.d_out, facts.model) == (D, D, "gpt2-small")
    assert facts.num_latents == (2 * LATENTS if architecture == "abstopk" else LATENTS)
    assert facts.k == (3 if "topk" in architecture else None)
    assert facts.skip == ("skip" in architecture)
    assert facts.reads == ("blocks.3.ln2.hook_normalized" if is_transcoder else facts.writes)
    assert facts.writes == f"blocks.3.hook_{'mlp_out' if is_transcoder else 'resid_pre'}"
    assert ("two here" in facts.remark) == (architecture == "abstopk")


def test_a_transcoder_may_write_vectors_of_another_width(tmp_path: Path) -> None:
    folder = saelens(tmp_path, "skip_transcoder", d_out=D - 1)
    tensors, config = read(folder)
    narrow = tensors["W_dec"][:, 1:].contiguous()
    tensors |= {"W_dec": narrow, "b_dec": tensors["b_dec"][1:], "W_skip": tensors["W_skip"][1:]}
    save_file(tensors, folder / "sae_weights.safetensors")
    facts = find(folder).check()
    assert (facts.d_in, facts.d_out) == (D, D - 1)
    gives(folder, *formula(tensors, config, vectors()))


def test_paths_of_transformers_come_before_hooks(tmp_path: Path) -> None:
    about = {"hook_name": "blocks.3.hook_resid_post", "hf_hook_name": "model.layers.3"}
    facts = find(saelens(tmp_path, metadata=about)).check()
    assert (facts.reads, facts.writes) == ("model.layers.3", "model.layers.3")


def test_the_mean_number_of_active_latents_is_read(tmp_path: Path) -> None:
    assert find(saelens(tmp_path)).check().active is None
    save_file({"sparsity": torch.tensor([-1.0, -2.0, -1.0])}, tmp_path / "sparsity.safetensors")
    assert find(tmp_path).check().active == pytest.approx(0.21)
    (tmp_path / "sparsity.safetensors").write_bytes(b"damaged")
    assert find(tmp_path).check().active is None


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ({"activation_fn_str": "relu"}, "standard"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}, "topk"),
        ({"architecture": "jumprelu", "activation_fn": "relu"}, "jumprelu"),
        ({"architecture": "gated", "normalize_activations": False}, "gated"),
    ],
)
def test_configs_before_version_6_are_flat(
    tmp_path: Path, config: dict[str, Any], architecture: str
) -> None:
    folder = saelens(tmp_path, architecture)
    old = {
        "d_in": D,
        "d_sae": LATENTS,
        "expansion_factor": 4,
        "hook_point": "blocks.{layer}.hook_resid_pre",
        "hook_point_layer": 7,
        "hook_point_head_index": None,
        "model_name": "gpt2-small",
    }
    (folder / "cfg.json").write_text(json.dumps(old | config))
    facts = find(folder).check()
    assert (facts.reads, facts.writes) == ("blocks.7.hook_resid_pre",) * 2
    meant = {"architecture": architecture, "apply_b_dec_to_input": True, "k": 3}
    tensors, _ = read(folder)
    gives(folder, *formula(tensors, meant | {"normalize_activations": "none"}, vectors()))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated", "topk", *TRANSCODERS])
def test_a_constant_scale_is_folded_exactly(tmp_path: Path, architecture: str) -> None:
    folder = saelens(tmp_path, architecture, normalize_activations="expected_average_only_in")
    assert "as if the scale had been folded" in find(folder).check().remark
    tensors, config = read(folder)
    gives(folder, *formula(tensors, config, vectors()))

    save_file(tensors | {"scaling_factor": torch.tensor(0.3)}, folder / "sae_weights.safetensors")
    assert not find(folder).check().remark
    activations, output = formula(tensors, config, vectors() * 0.3)
    gives(folder, activations, output / 0.3)

    given = {"normalize_activations": "constant_scalar_rescale"}
    folder = saelens(tmp_path, architecture, **given, activation_normalization_factor=0.3)
    gives(folder, activations, output / 0.3)


@pytest.mark.parametrize("excluded", [True, [1, 2], False, []])
def test_files_that_say_so_were_not_trained_on_special_tokens(
    tmp_path: Path, excluded: bool | list[int]
) -> None:
    folder = saelens(tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    configure(
        folder / "cfg.json", metadata=config["metadata"] | {"exclude_special_tokens": excluded}
    )
    assert ("template=no" in find(folder).check().remark) == bool(excluded)


def test_the_scale_of_each_latent_is_folded(tmp_path: Path) -> None:
    folder = saelens(tmp_path)
    tensors, config = read(folder)
    own = draw(LATENTS, seed=9)
    save_file(tensors | {"scaling_factor": own}, folder / "sae_weights.safetensors")
    activations, _ = formula(tensors, config, vectors())
    gives(folder, activations, (activations * own) @ tensors["W_dec"] + tensors["b_dec"])


@pytest.mark.parametrize("name", ["log_threshold", "topk_threshold"])
def test_thresholds_of_a_training_are_read(tmp_path: Path, name: str) -> None:
    folder = saelens(tmp_path, "batchtopk")
    tensors, config = read(folder)
    one = {"topk_threshold": torch.tensor(0.4), "log_threshold": draw(LATENTS)}[name]
    save_file(tensors | {name: one}, folder / "sae_weights.safetensors")
    threshold = one.exp() if name == "log_threshold" else one
    meant = config | {"architecture": "jumprelu"}
    gives(folder, *formula(tensors | {"threshold": threshold}, meant, vectors()))


def test_thresholds_stay_in_float32(tmp_path: Path) -> None:
    folder = saelens(tmp_path, "jumprelu", dtype="bfloat16")
    tensors, _ = read(folder)
    tensors["threshold"] = torch.full((LATENTS,), 1.1)
    save_file(tensors, folder / "sae_weights.safetensors")
    assert load_coder(folder, device=CPU).rule.meaning == "those above 1.1"


def test_changed_weights_of_the_model_are_told(tmp_path: Path) -> None:
    changed = {"center_writing_weights": True, "fold_ln": False}
    folder = saelens(tmp_path, metadata={"model_from_pretrained_kwargs": changed})
    assert "(center_writing_weights)" in find(folder).check().remark


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "temporal"}, "'temporal' cannot be read: it reads all tokens"),
        ({"architecture": "matching_pursuit"}, "'matching_pursuit' cannot be read"),
        ({"architecture": "novel"}, "'novel' is not supported. These are: standard, topk"),
        ({"normalize_activations": "covariance_whitening"}, "'covariance_whitening' is not supp"),
        ({"activation_fn": "tanh-relu"}, "activation 'tanh-relu' is not supported"),
        ({"architecture": "topk"}, "k is missing"),
        ({"architecture": "topk", "k": 17}, "k is 17, but there are 16 latents"),
        ({"architecture": "jumprelu"}, "threshold is missing"),
        ({"architecture": "skip_transcoder"}, "W_skip is missing"),
        ({"architecture": "gated"}, "b_gate is missing; b_mag is missing; r_mag is missing"),
        ({"architecture": "transcoder"}, "apply_b_dec_to_input is not defined for a transcoder"),
        ({"d_sae": 12}, "W_enc is 6 × 16, not 6 × 12"),
        ({"d_in": None}, r"cfg\.json: d_in is missing"),
        ({"hook_head_index": 3}, "of one attention head"),
        ({"normalize_activations": "constant_scalar_rescale"}, "activation_normalization_factor"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = saelens(tmp_path)
    configure(folder / "cfg.json", **changes)
    with pytest.raises(InputError, match=says):
        load_coder(folder, device=CPU)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    path = saelens(tmp_path) / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"W_dec": tensors["W_dec"].mT.contiguous()}, path)
    with pytest.raises(InputError, match=r"W_dec is 6 × 16, not 16 × 6 \(it is transposed\)"):
        load_coder(tmp_path, device=CPU)
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(InputError, match="damaged or cut short"):
        load_coder(tmp_path, device=CPU)
    path.unlink()
    with pytest.raises(InputError, match=r"no file .*sae_weights\.safetensors"):
        load_coder(tmp_path, device=CPU)
