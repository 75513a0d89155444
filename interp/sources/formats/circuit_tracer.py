"""Sets of transcoders for circuit-tracer: ``layer_N.safetensors`` for each layer, beside
``config.yaml``.

Some sets for Qwen 3 have the settings of their training (``wandb-config.yaml``) in its place or
beside it: they read what goes into the MLP.
"""

import re
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.sources.checkpoint import (
    Facts,
    check_active,
    check_tensors,
    headers,
    other_width,
    read_config,
    whole,
    width,
)

CONFIG, LAYER, CROSS_LAYER = "config.yaml", "layer_*.safetensors", "W_enc_*.safetensors"
OF_TRAINING = ("wandb-config.yaml", "wanb-config.yaml")
FILES = f"circuit-tracer: {CONFIG} and layer_N.safetensors"
THRESHOLD, SKIP = "activation_function.threshold", "W_skip"
ACTIVATIONS = ("relu", "jumprelu", "topk")


def find(folder: Path) -> list[Path]:
    """The weights of each layer's transcoder in a folder. Of a cross-layer transcoder it is only
    one file, which is refused."""
    found = sorted(folder.glob(LAYER))
    return found or sorted(folder.glob(CROSS_LAYER))[:1]


def check(weights: Path) -> Facts:
    """Refuse files that are damaged, that contradict each other, or that write several layers.

    Raises:
        InputError: The message names the file and what is wrong with it.
    """
    path = weights.with_name(CONFIG)
    config = read_config(path) if path.is_file() else {}
    if config.get("model_kind") == "cross_layer_transcoder" or weights.match(CROSS_LAYER):
        raise InputError(
            f"{weights.parent} is a cross-layer transcoder: it writes many layers, and Palimpsest "
            "rewrites one. Choose a coder of a single layer."
        )
    found = headers(weights)
    num_latents, d_out = width(found, "b_enc"), width(found, "b_dec")
    d_in = other_width(found, "W_enc", num_latents)
    expected: dict[str, tuple[int, ...]] = {
        "W_enc": (num_latents, d_in),
        "W_dec": (num_latents, d_out),
        "b_enc": (num_latents,),
        "b_dec": (d_out,),
    }
    if SKIP in found:
        expected[SKIP] = (d_out, d_in)
    activation = str(config.get("activation") or ("jumprelu" if THRESHOLD in found else "relu"))
    if activation.lower() not in ACTIVATIONS:
        raise InputError(
            f"{path}: the activation {activation!r} is not supported; {', '.join(ACTIVATIONS)} are."
        )
    if activation.lower() == "jumprelu":
        one = THRESHOLD in found and found[THRESHOLD].shape == ()
        expected[THRESHOLD] = () if one else (num_latents,)
    check_tensors(weights, found, expected, "its biases")
    k = None
    if activation.lower() == "topk":
        k = whole(path, config, "k")
        check_active(path, k, num_latents)
    reads, writes = _hooks(weights, config)
    return Facts(
        "transcoder",
        d_in,
        d_out,
        num_latents,
        k,
        skip=SKIP in found,
        reads=reads,
        writes=writes,
        model=_model(weights, config),
    )


def _hooks(weights: Path, config: dict[str, Any]) -> tuple[str, str]:
    """The sites read and written, empty if nothing names them."""
    layer = re.search(r"\d+", weights.stem)
    reads, writes = config.get("feature_input_hook"), config.get("feature_output_hook")
    if any(weights.with_name(name).is_file() for name in OF_TRAINING):
        reads, writes = reads or "mlp.hook_in", writes or "mlp.hook_out"
    if not (layer and reads and writes):
        return "", ""
    return f"blocks.{layer[0]}.{reads}", f"blocks.{layer[0]}.{writes}"


def _model(weights: Path, config: dict[str, Any]) -> str:
    qwen = re.search(r"qwen3-([\d.]+b)\b", weights.absolute().as_posix(), re.IGNORECASE)
    named = str(config.get("model_name") or "")
    return named or (f"Qwen/Qwen3-{qwen[1].upper()}" if qwen else "")
