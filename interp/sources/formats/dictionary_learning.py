"""Checkpoints of dictionary_learning: ``config.json`` beside ``ae.pt``."""

from pathlib import Path
from typing import Literal, NamedTuple

from interp.errors import InputError
from interp.sources.checkpoint import Facts, check_active, has, read_config, whole

CONFIG, WEIGHTS, EVALUATED = "config.json", "ae.pt", "eval_results.json"
FILES = f"dictionary_learning: {CONFIG} (trainer) and {WEIGHTS}"


class Layout(NamedTuple):
    """How a class stores a coder: the names of its tensors."""

    rule: Literal["relu", "topk", "batch", "threshold", "gated"]
    encoder: str
    encoder_bias: str
    decoder: str
    decoder_bias: str
    centred: bool
    """The decoder's bias is subtracted from what is read."""

    @property
    def linear(self) -> bool:
        """Stored as linear layers: a row of the encoder for each latent, and a column of the
        decoder."""
        return self.encoder == "encoder.weight"


class Settings(NamedTuple):
    """What the config says of how to compute the coder."""

    facts: Facts
    layout: Layout
    k: int | None
    """Of the top-k of its training."""


LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
PLAIN = ("W_enc", "b_enc", "W_dec", "b_dec")
LAYOUTS = {
    "AutoEncoder": Layout("relu", *LINEAR, "bias", True),
    "AutoEncoderNew": Layout("relu", *LINEAR, "decoder.bias", False),
    "AutoEncoderTopK": Layout("topk", *LINEAR, "b_dec", True),
    "BatchTopKSAE": Layout("batch", *LINEAR, "b_dec", True),
    "MatryoshkaBatchTopKSAE": Layout("batch", *PLAIN, True),
    "JumpReluAutoEncoder": Layout("threshold", *PLAIN, False),
    "GatedAutoEncoder": Layout(
        "gated", "encoder.weight", "mag_bias", "decoder.weight", "decoder_bias", True
    ),
}
"""By ``dict_class``."""
BATCH = (
    "It was trained with the {k} largest activations of a token on average over a batch. Its "
    "threshold decides which are active; if none was ever set, one is estimated on a study's text."
)


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder. Where they are missing, its settings tell it."""
    there = (folder / WEIGHTS).is_file() or has(folder / CONFIG, "trainer")
    return [folder / WEIGHTS] if there else []


def check(weights: Path) -> Facts:
    """Refuse a config that lacks something or contradicts itself. The weights are checked when
    they are loaded.

    Raises:
        InputError: The message names the file, what it says, and what it should.
    """
    return settings(weights).facts


def settings(weights: Path) -> Settings:
    """Read and check the config.

    Raises:
        InputError: See :func:`check`.
    """
    path = weights.with_name(CONFIG)
    if not weights.is_file():
        raise InputError(f"There is no file {weights}. Fetch the checkpoint again.")
    config = read_config(path).get("trainer")
    if not isinstance(config, dict):
        raise InputError(f"{path}: trainer is missing; it must hold the settings of the training.")
    named = config.get("dict_class")
    if (layout := LAYOUTS.get(str(named))) is None:
        said = "is missing" if named is None else f"{named!r} is not supported"
        raise InputError(f"{path}: dict_class {said}. These are: {', '.join(LAYOUTS)}.")
    width, latents = whole(path, config, "activation_dim"), whole(path, config, "dict_size")
    k = None
    if layout.rule in ("topk", "batch"):
        k = whole(path, config, "k")
        check_active(path, k, latents)
    layer = config.get("layer")
    residual = "" if layer is None else f"resid_post_layer_{layer}"
    site = str(config.get("submodule_name") or residual)
    batch = layout.rule == "batch"
    measured = weights.with_name(EVALUATED)
    l0 = read_config(measured).get("l0") if measured.is_file() else None
    facts = Facts(
        "sae",
        width,
        width,
        latents,
        None if batch else k,
        reads=site,
        writes=site,
        model=str(config.get("lm_name") or ""),
        active=float(l0) if isinstance(l0, int | float) else k if batch else None,
        remark=BATCH.format(k=k) if batch else "",
    )
    return Settings(facts, layout, k)
