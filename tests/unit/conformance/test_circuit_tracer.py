"""circuit-tracer: encode and decode by its formula and by its own reader, and its sets' configs."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.errors import InputError
from tests.coder_files import CPU, LATENTS, D, circuit_tracer, gives, top, vectors, write

THRESHOLD = "activation_function.threshold"


def configure(folder: Path, **changes: object) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    write(folder, "config.yaml", config | changes)


def formula(weights: dict[str, Tensor], *, k: int | None = None) -> tuple[Tensor, Tensor]:
    x = vectors()
    pre = x @ weights["W_enc"].mT + weights["b_enc"]
    activations = torch.relu(pre) * (pre > weights.get(THRESHOLD, torch.zeros(())))
    if k is not None:
        activations = top(activations, k)
    output = activations @ weights["W_dec"] + weights["b_dec"]
    return activations, output + x @ weights["W_skip"].mT if "W_skip" in weights else output


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("threshold", [True, False])
def test_it_computes_what_the_release_defines(tmp_path: Path, threshold: bool, skip: bool) -> None:
    folder = circuit_tracer(tmp_path, threshold=threshold, skip=skip)
    expected = formula(load_file(folder / "layer_1.safetensors"))
    gives(folder, *expected, "layers.1.mlp")
    gives(folder / "layer_1.safetensors", *expected)


def test_top_k_is_read_from_the_config(tmp_path: Path) -> None:
    folder = circuit_tracer(tmp_path)
    configure(folder, activation="topk", k=3)
    path = folder / "layer_0.safetensors"
    assert find(path).check().k == 3
    gives(path, *formula(load_file(path), k=3))


def test_one_threshold_may_be_for_all(tmp_path: Path) -> None:
    path = circuit_tracer(tmp_path) / "layer_0.safetensors"
    weights = load_file(path) | {THRESHOLD: torch.tensor(0.5)}
    save_file(weights, path)
    gives(path, *formula(weights))


@pytest.mark.parametrize("threshold", [True, False])
def test_it_computes_what_circuit_tracer_computes(tmp_path: Path, threshold: bool) -> None:
    pytest.importorskip("circuit_tracer.transcoder", exc_type=ImportError)
    from circuit_tracer.transcoder.single_layer_transcoder import load_relu_transcoder

    path = circuit_tracer(tmp_path, threshold=threshold, skip=True) / "layer_1.safetensors"
    public = load_relu_transcoder(str(path), 1, device=CPU, lazy_encoder=False, lazy_decoder=False)
    coder, x = load_coder(path, device=CPU), vectors()
    with torch.no_grad():
        expected = public(x)
    torch.testing.assert_close(coder.decode(coder.encode(x), x), expected, rtol=1e-5, atol=1e-5)


def test_the_files_tell_the_facts(tmp_path: Path) -> None:
    facts = find(circuit_tracer(tmp_path, skip=True), "layers.1.mlp").check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("transcoder", D, D, LATENTS)
    assert (facts.reads, facts.writes) == ("blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out")
    assert (facts.skip, facts.model) == (True, "meta-llama/Llama-3.2-1B")


@pytest.mark.parametrize("name", ["wandb-config.yaml", "wanb-config.yaml"])
def test_qwen_3_has_the_settings_of_its_training_only(tmp_path: Path, name: str) -> None:
    folder = circuit_tracer(tmp_path / "models--mwhanna--qwen3-14b-transcoders/snapshots/0a")
    (folder / "config.yaml").unlink()
    write(folder, name, {"d_model": {"value": D}, "d_feature": {"value": LATENTS}})
    facts = find(folder, "layers.0.mlp").check()
    assert (facts.reads, facts.writes) == ("blocks.0.mlp.hook_in", "blocks.0.mlp.hook_out")
    assert facts.model == "Qwen/Qwen3-14B"
    gives(folder, *formula(load_file(folder / "layer_0.safetensors")), "layers.0.mlp")


def test_without_any_config_the_sites_are_unknown(tmp_path: Path) -> None:
    folder = circuit_tracer(tmp_path)
    (folder / "config.yaml").unlink()
    facts = find(folder, "layers.1.mlp").check()
    assert (facts.reads, facts.writes, facts.model) == ("", "", "")


def test_one_of_several_layers_must_be_named(tmp_path: Path) -> None:
    folder = circuit_tracer(tmp_path)
    with pytest.raises(InputError, match=r"holds 2 coders: name one of .*layer_0\.safetensors"):
        find(folder)
    with pytest.raises(InputError, match=r"none of them for 'layers\.7\.mlp'"):
        find(folder, "layers.7.mlp")


def test_a_cross_layer_transcoder_is_named_so(tmp_path: Path) -> None:
    folder = circuit_tracer(tmp_path / "one")
    configure(folder, model_kind="cross_layer_transcoder")
    with pytest.raises(InputError, match="is a cross-layer transcoder"):
        load_coder(folder, "layers.0.mlp", device=CPU)
    other = tmp_path / "other"
    other.mkdir()
    for layer in range(3):
        save_file({f"W_enc_{layer}": torch.zeros(2, 2)}, other / f"W_enc_{layer}.safetensors")
    with pytest.raises(InputError, match="is a cross-layer transcoder"):
        load_coder(other, device=CPU)


def test_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = circuit_tracer(tmp_path) / "layer_0.safetensors"
    weights = load_file(path)
    save_file({name: tensor for name, tensor in weights.items() if name != "W_dec"}, path)
    with pytest.raises(InputError, match="W_dec is missing"):
        load_coder(path, device=CPU)
    save_file(weights | {"W_enc": weights["W_enc"].mT.contiguous()}, path)
    with pytest.raises(InputError, match=r"W_enc is 6 × 16, not 16 × 6 \(it is transposed\)"):
        load_coder(path, device=CPU)
    save_file(weights, path)
    for changes, says in (
        ({"activation": "topk"}, r"config\.yaml: k is missing"),
        ({"activation": "topk", "k": 99}, "k is 99, but there are 16 latents"),
        ({"activation": "gelu"}, "activation 'gelu' is not supported"),
        ({"activation": "jumprelu"}, r"activation_function\.threshold is missing"),
    ):
        configure(tmp_path, **changes)
        with pytest.raises(InputError, match=says):
            load_coder(path, device=CPU)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml cannot be read"):
        load_coder(path, device=CPU)
    (tmp_path / "config.yaml").write_text("words")
    with pytest.raises(InputError, match="must hold a YAML object, not a str"):
        load_coder(path, device=CPU)
