"""Checkpoints of Gemma Scope 2: ``config.json`` beside ``params.safetensors``.

SAEs and transcoders with JumpReLU, a folder for each, such as
``transcoder/layer_12_width_16k_l0_small_affine``. The config names the sites; an affine skip
connection is there if its tensor is.
"""

from pathlib import Path

from interp.errors import InputError
from interp.sources.checkpoint import Facts, check_tensors, headers, other_width, read_config, width

CONFIG, WEIGHTS, SKIP = "config.json", "params.safetensors", "affine_skip_connection"
CROSS_LAYER = "params_layer_*.safetensors"
FILES = f"Gemma Scope 2: {CONFIG} (hf_hook_point_in, hf_hook_point_out) and {WEIGHTS}"


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder. Of a cross-layer transcoder it is only one file,
    which is refused."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    return sorted(folder.glob(CROSS_LAYER))[:1]


def check(weights: Path) -> Facts:
    """Refuse files that are damaged, or that contradict each other.

    Raises:
        InputError: The message names the file and what is wrong with it.
    """
    config = read_config(weights.with_name(CONFIG))
    found = headers(weights)
    decoder = found.get("w_dec")
    if decoder and len(decoder.shape) == 3:
        raise InputError(
            f"{weights} is a cross-layer transcoder: it writes {decoder.shape[1]} layers, and "
            "Palimpsest rewrites one. Choose a coder of a single layer."
        )
    num_latents, d_out = width(found, "b_enc"), width(found, "b_dec")
    d_in = other_width(found, "w_enc", num_latents)
    expected: dict[str, tuple[int, ...]] = {
        "w_enc": (d_in, num_latents),
        "w_dec": (num_latents, d_out),
        "b_enc": (num_latents,),
        "b_dec": (d_out,),
        "threshold": (num_latents,),
    }
    if SKIP in found:
        expected[SKIP] = (d_in, d_out)
    check_tensors(weights, found, expected, "its biases")
    reads, writes = (str(config.get(f"hf_hook_point_{way}") or "") for way in ("in", "out"))
    active = config.get("l0")
    return Facts(
        "sae" if reads == writes else "transcoder",
        d_in,
        d_out,
        num_latents,
        skip=SKIP in found,
        reads=reads,
        writes=writes,
        model=str(config.get("model_name") or ""),
        active=float(active) if isinstance(active, int | float) else None,
    )
