"""Read the settings and shapes of a sparse coder without loading it."""

from pathlib import Path

from interp.errors import InputError
from interp.sources import checkpoint
from interp.sources.checkpoint import Shapes
from interp.sources.models import HOOKPOINT, ModelShape, place_of
from interp.sources.paths import SEEN, check_hub_name, exists, full, is_path, read_json


def check_coder(source: str, hookpoint: str, model: ModelShape | None) -> Shapes | None:
    """Refuse a sparse coder that cannot be loaded, or cannot fit its hookpoint.

    Args:
        source: A sparsify checkpoint folder or a hub name, as :func:`.checkpoint.find` has it.

    Returns:
        What its files say; None for a hub name.

    Raises:
        InputError: There is no such checkpoint, its files do not fit together, or its width is not
            the model's.
    """
    if not is_path(source):
        check_hub_name(source, "a folder with a sparse coder")
        return None
    path = full(source)
    if not exists(path):
        raise InputError(f"There is nothing at {path}. {SEEN}")
    folder = checkpoint.find(path, hookpoint)
    if (trained := _trained_on(folder)) and not _same_hookpoint(trained, hookpoint):
        raise InputError(f"The sparse coder in {folder} is of {trained}, not of {hookpoint}.")
    shape = checkpoint.check(folder)
    place = place_of(hookpoint)
    # Deeper inside a layer, such as between the two parts of an MLP, vectors have other widths.
    in_stream = place is not None and "." not in place.below
    if in_stream and model and model.width is not None and model.width != shape.d_in:
        raise InputError(
            f"The coder is for vectors of {shape.d_in:,} dimensions, but those of the model have "
            f"{model.width:,}. It belongs to another model."
        )
    return shape


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
