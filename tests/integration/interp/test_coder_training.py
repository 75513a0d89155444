"""Training of a sparse coder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from interp.coders.load import find_checkpoint
from interp.coders.train import train_coder
from interp.model.subject import load_subject
from tests.checkpoints import living_folders

LATENTS, CONTEXTS, LENGTH = 64, 120, 16


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return living_folders(tmp_path_factory.mktemp("living"))


def trained(files: dict[str, str], out: Path, learning_rate: float | None) -> dict[str, Any]:
    """An autoencoder of what layer 1 of the tiny model puts out, and what its record says."""
    return train_coder(
        load_subject(files["model"], "layers.1", device=torch.device("cpu")),
        files["corpus"],
        out,
        kind="sae",
        num_latents=LATENTS,
        k=4,
        skip=False,
        context_length=LENGTH,
        prepend_bos=False,
        batch_size=8,
        max_tokens=CONTEXTS * LENGTH,
        seed=0,
        learning_rate=learning_rate,
    )


def test_the_learning_rate_is_the_one_that_is_named(files: dict[str, str], tmp_path: Path) -> None:
    """Without one it is 0.64 / sqrt(64) = 0.08, as the docstring says."""
    weights = {}
    for rate in (None, 0.08, 0.02):
        out = tmp_path / str(rate)
        record = trained(files, out, rate)
        assert record["learning_rate"] == rate
        assert (record["contexts"], record["tokens"]) == (CONTEXTS, CONTEXTS * LENGTH)
        weights[rate] = load_file(out / "sae.safetensors")
    for name, tensor in weights[None].items():
        assert torch.equal(tensor, weights[0.08][name])
        assert not torch.equal(tensor, weights[0.02][name])


def test_a_trained_autoencoder_names_its_site(files: dict[str, str], tmp_path: Path) -> None:
    trained(files, tmp_path / "coder", 0.02)
    facts = find_checkpoint(str(tmp_path / "coder"), "").check()
    assert (facts.kind, facts.num_latents, facts.writes) == ("sae", LATENTS, "layers.1")


def test_the_record_says_how_well_it_fits(files: dict[str, str], tmp_path: Path) -> None:
    """Steps of 0.9 are far too long, and the record tells."""
    good, bad = (trained(files, tmp_path / str(rate), rate) for rate in (0.02, 0.9))
    assert 0 < good["typical_fvu"] < bad["typical_fvu"]
