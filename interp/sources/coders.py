"""Read the settings and shapes of a sparse coder without loading it."""

from pathlib import Path
from typing import NamedTuple

from interp.errors import InputError
from interp.sources.models import HOOKPOINT, ModelShape, place_of, shapes
from interp.sources.paths import SEEN, check_hub_name, exists, full, is_path, read_json, some


class CoderShape(NamedTuple):
    """What the files of a sparse coder say of it."""

    width: int
    latents: int
    k: int


def check_coder(source: str, hookpoint: str, model: ModelShape | None) -> CoderShape | None:
    """Refuse a sparse coder that cannot be loaded, or cannot fit its hookpoint.

    Args:
        source: A sparsify checkpoint folder or a hub name, as :func:`coder_folder` has it.

    Returns:
        What its files say; None for a hub name.

    Raises:
        InputError: There is no such checkpoint, its files do not fit together, or its width is not
            the model's.
    """
    if not is_path(source):
        check_hub_name(source, "a folder with a sparse coder")
        return None
    folder = coder_folder(full(source), hookpoint)
    if (trained := _trained_on(folder)) and not _same_hookpoint(trained, hookpoint):
        raise InputError(f"The sparse coder in {folder} is of {trained}, not of {hookpoint}.")
    shape = _coder_shape(folder)
    place = place_of(hookpoint)
    # Deeper inside a layer, such as between the two parts of an MLP, vectors have other widths.
    in_stream = place is not None and "." not in place.below
    if in_stream and model and model.width is not None and model.width != shape.width:
        raise InputError(
            f"The coder is for vectors of {shape.width:,} dimensions, but those of the model have "
            f"{model.width:,}. It belongs to another model."
        )
    return shape


def coder_folder(path: Path, hookpoint: str) -> Path:
    """The folder of a coder's own files: the given one, or the one in it named like the hookpoint.

    Raises:
        InputError: There is none.
    """
    if not exists(path):
        raise InputError(f"There is nothing at {path}. {SEEN}")
    for folder in (path, path / hookpoint):
        if (folder / "cfg.json").is_file():
            return folder
    others = sorted((p.parent.name for p in path.glob("*/cfg.json")), key=_natural)
    raise InputError(
        f"{path} holds no sparse coder for {hookpoint!r}: there is no cfg.json in it or in "
        f"{hookpoint}/." + (f" It holds coders for {some(others)}." if others else "")
    )


def _coder_shape(folder: Path) -> CoderShape:
    config = read_json(folder / "cfg.json")
    weights = folder / "sae.safetensors"
    if not weights.is_file():
        raise InputError(
            f"{folder} has a cfg.json but no sae.safetensors: it is no sparsify coder."
        )
    found = shapes(weights)
    encoder = found.get("encoder.weight", ())
    if len(encoder) != 2:
        raise InputError(f"{weights} has no matrix encoder.weight: it is no sparsify coder.")
    latents, width = encoder
    k = config.get("k")
    if not isinstance(k, int) or k < 1:
        raise InputError(f"{folder / 'cfg.json'} says no number k of active latents.")
    if k > latents:
        raise InputError(
            f"The coder in {folder} has {latents:,} latents, but its cfg.json has {k:,} of them "
            "active on each token (k)."
        )
    if config.get("skip_connection") and "W_skip" not in found:
        raise InputError(
            f"The cfg.json in {folder} says that the coder has a skip connection, but "
            "sae.safetensors has no W_skip."
        )
    return CoderShape(width, latents, k)


def _trained_on(folder: Path) -> str:
    """The hookpoint that a coder's folder names; empty if it names none."""
    record = folder / "training.json"
    if record.is_file() and isinstance(named := read_json(record).get("hookpoint"), str):
        return named
    return folder.name if place_of(folder.name) and HOOKPOINT.fullmatch(folder.name) else ""


def _same_hookpoint(one: str, other: str) -> bool:
    """Whether two paths of modules end alike. One may begin higher up, as in ``model.layers.3``."""
    short, long = sorted((one, other), key=len)
    return f".{long}".endswith(f".{short}")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layers.9 before layers.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]
