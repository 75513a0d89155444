"""Sparse coders: loaded as their format means them, and refused where they do not fit."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sparsify import SparseCoder
from torch import Tensor

from interp.coders.check import check_coder
from interp.coders.inspection import measured
from interp.coders.load import load_coder
from interp.coders.protocol import Coder, Fit, coder_input
from interp.coders.rules import Latents, TopK
from interp.errors import InputError
from interp.model.subject import Hooked
from tests.engine import (
    D_MODEL,
    hand_coder,
    random_coder,
    random_tokens,
    tiny_subject,
)

CPU = torch.device("cpu")


def load(folder: Path) -> Coder:
    return load_coder(str(folder), "layers.1.mlp", device=CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "skip"), [("transcoder", True), ("transcoder", False), ("sae", False)]
)
def test_a_sparsify_checkpoint_gives_what_sparsify_gives(
    tmp_path: Path, kind: str, skip: bool, dtype: torch.dtype
) -> None:
    saved = random_coder(transcode=kind == "transcoder", skip=skip).module.to(dtype)
    saved.save_to_disk(tmp_path)
    coder = load(tmp_path)
    assert (coder.kind, coder.skip) == (kind, skip)
    assert (coder.rule, coder.num_latents) == (TopK(3), 12)
    assert (coder.d_in, coder.d_out) == (D_MODEL, D_MODEL)
    assert torch.equal(coder.decoder, saved.W_dec.float())

    x = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(1))
    latents = coder.encode(x)
    expected = SparseCoder.load_from_disk(tmp_path).float()(x)
    assert torch.equal(latents.indices, expected.latent_indices)
    assert torch.equal(latents.activations, expected.latent_acts)
    assert (coder.decode(latents, x) - expected.sae_out).abs().max() < 1e-6


def test_a_coder_may_lie_in_a_folder_named_like_its_hookpoint(tmp_path: Path) -> None:
    random_coder(seed=3).module.save_to_disk(tmp_path / "layers.1.mlp")
    random_coder(seed=4).module.save_to_disk(tmp_path / "layers.2.mlp")
    assert torch.equal(load(tmp_path).decoder, random_coder(seed=3).decoder)
    with pytest.raises(InputError, match=r"no sparse coder for 'layers\.0\.mlp'.*reads sparsify"):
        load_coder(str(tmp_path), "layers.0.mlp", device=CPU)


def test_decode_takes_more_latents_than_the_coder_would() -> None:
    # Bias (1, 1), rows (1, 0), (0, 2), (3, 3), skip doubling: 4·(1,0) + 5·(0,2) + 1·(3,3) is
    # (7, 13); with the bias (8, 14); with the skip of (10, 20), (28, 54).
    coder = hand_coder(
        [[1, 0], [0, 1], [1, 1]],
        [[1, 0], [0, 2], [3, 3]],
        k=1,
        bias=[1, 1],
        skip=[[2, 0], [0, 2]],
    )
    latents = Latents(torch.tensor([[4.0, 5.0, 1.0]]), torch.tensor([[0, 1, 2]]))
    assert coder.decode(latents, torch.tensor([[10.0, 20.0]])).tolist() == [[28, 54]]


def test_encode_takes_the_top_k_above_zero() -> None:
    coder = hand_coder(
        [[1, 0], [0, 1], [-1, 0]], [[0, 0], [0, 0], [0, 0]], k=2, bias=[9, 9], skip=None
    )
    # Pre-activations of (3, −2): 3, −2, −3. One is above zero, and the second of k = 2 is zero. A
    # transcoder does not subtract its output bias from what it reads.
    latents = coder.encode(torch.tensor([[3.0, -2.0]]))
    assert sorted(latents.activations[0].tolist()) == [0, 3]
    assert latents.indices[0, latents.activations[0].argmax()] == 0


def test_a_transcoder_reads_the_input_and_an_sae_the_output() -> None:
    hooked = Hooked(torch.zeros(1, 1, D_MODEL), torch.ones(1, 1, D_MODEL))
    assert coder_input(random_coder(transcode=True), hooked) is hooked.input
    assert coder_input(random_coder(transcode=False, skip=False), hooked) is hooked.output


def test_fvu_worked_by_hand() -> None:
    # The coder puts out (0, 0) whatever it reads. Outputs (1, 0), (3, 0): mean (2, 0), variance
    # 1 + 1 = 2; residual 1 + 9 = 10; FVU 5. The first position, 100, is left out.
    coder = hand_coder([[1, 0]], [[0, 0]], k=1, bias=[0, 0], skip=None)
    output = torch.tensor([[[100.0, 0.0], [1.0, 0.0], [3.0, 0.0]]])
    assert fraction(coder, output) == 5
    # One that says the mean is at exactly 1.
    mean = hand_coder([[1, 0]], [[0, 0]], k=1, bias=[2, 0], skip=None)
    assert fraction(mean, output) == 1
    # Contexts one after another are as contexts at once, and equal outputs have no variance.
    assert fraction(coder, output[:, :2], output[:, [0, 2]]) == 5
    assert not math.isfinite(fraction(coder, 0.1 + output[:, [0, 1, 1]], 0.1 + output[:, [0, 1]]))


def test_typical_fvu_worked_by_hand() -> None:
    # Of 0, 2, 3, 4 and 1000 the centre is 3. Squared distances from it are 9, 1, 0, 1 and a huge
    # one: median 1. The coder puts out 0: squared errors are 0, 4, 9, 16 and a huge one: median 9.
    coder = hand_coder([[1, 0]], [[0, 0]], k=1, bias=[0, 0], skip=None)
    y = torch.tensor([[0.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0], [1000.0, 0.0]])
    found = measured(coder, torch.zeros_like(y), y, "in", "out")
    assert found.typical_fvu == 9 and found.fvu == pytest.approx(1.25, abs=0.01)


def test_a_few_huge_tokens_decide_the_fvu_and_not_the_typical_one() -> None:
    both = [[1, 0], [0, 1], [-1, 0], [0, -1]]
    right = hand_coder(both, both, k=2, bias=[0.1, 0], skip=None)
    turned = hand_coder(both, [[0, 1], [1, 0], [0, -1], [-1, 0]], k=2, bias=[0, 0], skip=None)
    y = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    with_huge = y.clone()
    with_huge[:2] = 1e4  # these, the turned coder puts out as they are
    for coder, typical in ((right, 0.01), (turned, 2)):
        for some in (y, with_huge):
            found = measured(coder, some, some, "in", "out")
            assert found.typical_fvu == pytest.approx(typical, rel=0.5)
    assert measured(turned, y, y, "in", "out").fvu > 1
    assert measured(turned, with_huge, with_huge, "in", "out").fvu < 0.01


def fraction(coder: Coder, *outputs: Tensor) -> float:
    measured = Fit(coder, first_position=1)
    for output in outputs:
        measured.add(Hooked(torch.zeros_like(output), output))
    return measured.fvu


def test_a_coder_of_another_width_is_refused() -> None:
    with pytest.raises(InputError, match=r"vectors of 24 dimensions.*tiny-llama has 16"):
        check_coder(random_coder(d_in=24), tiny_subject(), random_tokens(2, 6), first_position=1)


def test_a_hookpoint_that_reads_no_vectors_is_refused() -> None:
    subject = tiny_subject(hookpoint="embed_tokens")
    with pytest.raises(InputError, match="dimensions"):
        check_coder(random_coder(), subject, random_tokens(2, 6), first_position=1)


def test_a_coder_that_was_never_trained_is_refused() -> None:
    with pytest.raises(InputError, match=r"does not fit 'layers\.1\.mlp'"):
        check_coder(random_coder(), tiny_subject(), random_tokens(4, 8), first_position=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    random_coder().module.save_to_disk(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kept", [0, 4, 100, 1000])
def test_weights_that_are_cut_short_are_refused(checkpoint: Path, kept: int) -> None:
    weights = checkpoint / "sae.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{weights} is damaged or cut short.*Fetch"):
        load(checkpoint)


def test_missing_weights_are_refused(checkpoint: Path) -> None:
    (checkpoint / "sae.safetensors").unlink()
    with pytest.raises(InputError, match=r"no file .*sae\.safetensors\. Fetch"):
        load(checkpoint)


def test_weights_without_a_cfg_are_refused(checkpoint: Path) -> None:
    (checkpoint / "cfg.json").unlink()
    with pytest.raises(InputError, match=r"no file .*cfg\.json"):
        load(checkpoint)


def test_a_folder_of_coders_for_other_hookpoints_says_which(tmp_path: Path) -> None:
    random_coder().module.save_to_disk(tmp_path / "layers.0.mlp")
    random_coder().module.save_to_disk(tmp_path / "layers.2.mlp")
    with pytest.raises(InputError, match=r"holds coders for layers\.0\.mlp, layers\.2\.mlp"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("", r"line 1, column 1"),
        ('{"d_in": 16,\n "k": 3,}', r"line 2, column \d"),
        ("[]", "JSON object"),
        ("null", "JSON object"),
        ('{"k": 3}', "d_in is missing"),
        ('{"d_in": "wide"}', "d_in is 'wide'"),
        ('{"d_in": 16, "num_latents": 99}', r"encoder\.weight is 12 × 16, not 99 × 16"),
    ],
)
def test_a_damaged_cfg_is_refused(checkpoint: Path, config: str, told: str) -> None:
    (checkpoint / "cfg.json").write_text(config, encoding="utf-8")
    with pytest.raises(InputError, match=rf"cfg\.json.*{told}"):
        load(checkpoint)


def configure(checkpoint: Path, **changes: object) -> None:
    path = checkpoint / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"k": 13}, r"cfg\.json: k is 13, but there are 12 latents"),
        ({"k": 0}, r"k is 0; it must be at least 1"),
        ({"k": 2.5}, r"k is 2\.5"),
        ({"k": True}, r"k is True"),
        ({"d_in": 24}, r"encoder\.weight is 12 × 16, not 12 × 24.*b_dec is 16, not 24"),
        ({"num_latents": 0, "expansion_factor": 2}, r"encoder\.bias is 12, not 32"),
        ({"skip_connection": False}, r"W_skip is not expected, though skip_connection is false"),
        ({"skip_connection": "no"}, r"skip_connection is 'no'; it must be true or false"),
        ({"transcode": 1}, r"transcode is 1"),
        ({"activation": "jumprelu"}, r"activation 'jumprelu' is not supported"),
    ],
)
def test_a_cfg_that_contradicts_itself_or_the_weights_is_refused(
    checkpoint: Path, changes: dict[str, object], told: str
) -> None:
    configure(checkpoint, **changes)
    with pytest.raises(InputError, match=told):
        load(checkpoint)


def test_a_skip_connection_without_weights_is_refused(tmp_path: Path) -> None:
    random_coder(skip=False).module.save_to_disk(tmp_path)
    configure(tmp_path, skip_connection=True)
    with pytest.raises(InputError, match="W_skip is missing, though skip_connection is true"):
        load(tmp_path)


def test_every_tensor_that_does_not_fit_is_named(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "sae.safetensors")
    del weights["encoder.bias"]
    weights["W_dec"] = weights["W_dec"].mT.contiguous()
    weights["threshold"] = weights["b_dec"].clone()
    weights["b_dec"] = weights["b_dec"].to(torch.int8)
    save_file(weights, checkpoint / "sae.safetensors")
    with pytest.raises(InputError) as caught:
        load(checkpoint)
    for told in (
        "encoder.bias is missing",
        "W_dec is 16 × 12, not 12 × 16",
        "threshold is not expected",
        "b_dec is of type I8",
    ):
        assert told in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip"])
def test_weights_that_are_no_numbers_are_refused(checkpoint: Path, name: str, value: float) -> None:
    weights = load_file(checkpoint / "sae.safetensors")
    weights[name].view(-1)[5] = value
    save_file(weights, checkpoint / "sae.safetensors")
    with pytest.raises(InputError, match=rf"1 of \S+ values of {name} are infinite or not"):
        load(checkpoint)


def test_weights_that_may_not_be_read_are_refused(checkpoint: Path) -> None:
    (checkpoint / "sae.safetensors").unlink()
    (checkpoint / "sae.safetensors").mkdir()
    with pytest.raises(InputError, match=r"sae\.safetensors"):
        load(checkpoint)


def test_a_name_that_is_no_folder_and_no_hub_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no sparse coder at"):
        load(tmp_path / "gone")


def test_a_coder_on_output_that_never_varies_is_refused() -> None:
    subject = tiny_subject()
    with (
        subject.replacing(lambda hooked: torch.zeros_like(hooked.output)),
        pytest.raises(InputError, match="the same on most tokens"),
    ):
        check_coder(random_coder(), subject, random_tokens(2, 6), first_position=1)


def test_a_hookpoint_that_puts_out_no_vector_for_each_token_is_refused() -> None:
    """As some layers do inside, which lay all tokens of all contexts in one row."""
    subject = tiny_subject()
    with (
        subject.replacing(lambda hooked: hooked.output.flatten(0, 1)),
        pytest.raises(InputError, match=r"puts out 2 dimensions.*Choose the layer"),
    ):
        check_coder(random_coder(), subject, random_tokens(2, 6), first_position=1)


def test_output_that_is_no_number_is_not_told_as_a_coder_that_does_not_fit() -> None:
    subject = tiny_subject()

    def overflow(hooked: Hooked) -> Tensor:
        output = hooked.output.clone()
        output[1, 3] = float("nan")
        return output

    with (
        subject.replacing(overflow),
        pytest.raises(InputError, match=r"the module puts out on context 1 is infinite or not"),
    ):
        check_coder(random_coder(), subject, random_tokens(2, 6), first_position=1)
