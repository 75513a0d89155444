"""dictionary_learning: encode and decode by its formulas and by its own reader."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.coders.load import load_coder
from interp.coders.registry import find
from interp.coders.rules import BatchTopK, Threshold, TopK
from interp.errors import InputError
from tests.coder_files import CPU, LATENTS, D, dictionary_learning, gives, save, top, vectors

KINDS = (
    "AutoEncoder",
    "AutoEncoderNew",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "MatryoshkaBatchTopKSAE",
    "JumpReluAutoEncoder",
    "GatedAutoEncoder",
)


def read(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(folder / "ae.pt", weights_only=True)
    return weights


def formula(kind: str, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Activations and output, written as the library defines them."""
    linear = "encoder.weight" in weights
    encoder = weights["encoder.weight"].mT if linear else weights["W_enc"]
    decoder = weights["decoder.weight"].mT if linear else weights["W_dec"]
    names = ("bias", "decoder.bias", "b_dec", "decoder_bias")
    bias = next(weights[name] for name in names if name in weights)
    x = vectors()
    read = x if kind in ("AutoEncoderNew", "JumpReluAutoEncoder") else x - bias
    if kind == "GatedAutoEncoder":
        shared = read @ encoder
        magnitude = torch.relu(weights["r_mag"].exp() * shared + weights["mag_bias"])
        activations = magnitude * (shared + weights["gate_bias"] > 0)
    else:
        own = weights["encoder.bias"] if linear else weights["b_enc"]
        activations = torch.relu(read @ encoder + own)
    if kind == "AutoEncoder":
        norms = decoder.norm(dim=1)
        activations, decoder = activations * norms, decoder / norms[:, None]
    elif kind == "AutoEncoderTopK":
        activations = top(activations, 3)
    elif "threshold" in weights:
        activations = activations * (activations > weights["threshold"])
    return activations, activations @ decoder + bias


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_the_release_defines(tmp_path: Path, kind: str) -> None:
    folder = dictionary_learning(tmp_path, kind)
    gives(folder, *formula(kind, read(folder)))


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_dictionary_learning_computes(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("dictionary_learning.utils", exc_type=ImportError)
    from dictionary_learning.utils import load_dictionary

    folder = dictionary_learning(tmp_path, kind)
    public, _ = load_dictionary(str(folder), device="cpu")
    x = vectors()
    with torch.no_grad():
        gives(folder, public.encode(x), public(x))


@pytest.mark.parametrize("threshold", [-1.0, None])
def test_without_a_threshold_batch_top_k_waits_for_one(
    tmp_path: Path, threshold: float | None
) -> None:
    folder = dictionary_learning(tmp_path)
    weights = read(folder)
    unset = None if threshold is None else torch.tensor(threshold)
    save(folder / "ae.pt", weights | {"threshold": unset})
    coder = gives(folder, *formula("AutoEncoderTopK", weights))
    assert coder.rule == BatchTopK(3)
    assert "if none was ever set, one is estimated" in find(folder).check().remark


def test_the_top_k_of_the_training_is_kept(tmp_path: Path) -> None:
    rule = load_coder(dictionary_learning(tmp_path), device=CPU).rule
    assert isinstance(rule, Threshold)
    assert rule.trained == TopK(3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_tells_the_facts(tmp_path: Path, kind: str) -> None:
    facts = find(dictionary_learning(tmp_path, kind)).check()
    assert (facts.kind, facts.d_in, facts.d_out, facts.num_latents) == ("sae", D, D, LATENTS)
    assert (facts.reads, facts.writes) == ("resid_post_layer_8",) * 2
    assert facts.model == "EleutherAI/pythia-70m-deduped"
    assert facts.k == (3 if kind == "AutoEncoderTopK" else None)
    assert facts.active == (3 if "Batch" in kind else None)


def test_what_was_measured_is_read(tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path, "AutoEncoder")
    (folder / "eval_results.json").write_text('{"l0": 41.5}')
    assert find(folder).check().active == 41.5


def test_the_layer_names_the_site_if_nothing_else_does(tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path)
    _configure(folder, submodule_name=None)
    assert find(folder).check().reads == "resid_post_layer_8"
    _configure(folder, layer=None)
    assert find(folder).check().reads == ""


def _configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["trainer"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dict_class": None}, "dict_class is missing. These are: AutoEncoder, AutoEncoderNew"),
        ({"dict_class": "IdentityDict"}, "dict_class 'IdentityDict' is not supported"),
        ({"dict_class": "GatedAutoEncoder"}, "decoder_bias is missing; gate_bias is missing"),
        ({"dict_size": 12}, r"encoder\.weight is 16 × 6, not 12 × 6"),
        ({"activation_dim": None}, "activation_dim is missing"),
        ({"k": None}, "k is missing"),
        ({"k": 4}, r"ae\.pt says that k is 3, but its config\.json says 4"),
        ({"k": 99}, "k is 99, but there are 16 latents"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = dictionary_learning(tmp_path)
    _configure(folder, **changes)
    with pytest.raises(InputError, match=says):
        load_coder(folder, device=CPU)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path)
    path, weights = folder / "ae.pt", read(folder)
    save(path, weights | {"decoder.weight": weights["decoder.weight"].mT.contiguous()})
    with pytest.raises(InputError, match=r"decoder\.weight is 16 × 6, not 6 × 16 \(it is transp"):
        load_coder(folder, device=CPU)
    save(path, weights | {"b_dec": torch.full((D,), torch.nan)})
    with pytest.raises(InputError, match="6 of 6 values of b_dec are infinite or not numbers"):
        load_coder(folder, device=CPU)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="holds no tensors by name, but a list"):
        load_coder(folder, device=CPU)
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="damaged or cut short"):
        load_coder(folder, device=CPU)
    path.unlink()
    with pytest.raises(InputError, match=r"no file .*ae\.pt"):
        load_coder(folder, device=CPU)
    (folder / "config.json").write_text("{}")
    path.touch()
    with pytest.raises(InputError, match="trainer is missing"):
        load_coder(folder, device=CPU)


class Runs:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("This must never be printed.",)


def test_code_in_a_file_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = dictionary_learning(tmp_path)
    torch.save({"encoder.weight": Runs()}, folder / "ae.pt")
    with pytest.raises(InputError, match="holds more than weights, and reading it would run its"):
        load_coder(folder, device=CPU)
    assert not capsys.readouterr().out
