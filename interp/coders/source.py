"""Read what the files of a sparse coder say, without loading it."""

from interp.coders import registry
from interp.errors import InputError
from interp.sources.checkpoint import Facts
from interp.sources.formats import sparsify
from interp.sources.models import ModelShape, Place, place_of, same_site
from interp.sources.paths import check_hub_name, check_there, full, hub_folder, is_path
from interp.sources.sites import LENS, LISTS

IN_STREAM = ("mlp", "attn", "attention")
"""Parts of the names of a layer's modules whose vectors are as wide as the model."""


def check_coder(source: str, hookpoint: str, model: ModelShape | None) -> Facts | None:
    """Refuse a sparse coder that cannot be loaded, or cannot fit its hookpoint.

    Args:
        source: A checkpoint folder or a hub name, as :func:`.registry.find` has it.

    Returns:
        The facts in its files; None for a hub name.

    Raises:
        InputError: There is no such checkpoint, its files do not fit together, or its width is not
            the model's.
    """
    if hub_folder(source):
        return None
    if not is_path(source):
        check_hub_name(source, "a folder with a sparse coder")
        return None
    path = full(source)
    check_there(path)
    found = registry.find(path, hookpoint)
    folder = found.folder
    lists = (model and model.lists) or LISTS
    trained, named = sparsify.trained_on(folder, lists), hookpoint.removesuffix(".output")
    plain = place_of(named) is not None and not LENS.fullmatch(named) and named[-6:] != ".input"
    if trained and plain and not same_site(trained, named):
        raise InputError(f"The sparse coder in {folder} is of {trained}, not of {hookpoint}.")
    shape = found.check()
    place = place_of(hookpoint or shape.writes)
    in_stream = place is not None and _in_stream(place)
    if in_stream and model and shape.d_out and model.width not in (None, shape.d_out):
        raise InputError(
            f"The coder is for vectors of {shape.d_out:,} dimensions, but those of the model have "
            f"{model.width:,}. It belongs to another model."
        )
    return shape


def _in_stream(place: Place) -> bool:
    """True if vectors there are as wide as the model. Between the two parts of an MLP they are not,
    and some models have these parts directly in the layer, as ``fc1``."""
    return not place.below or (
        "." not in place.below and any(name in place.below for name in IN_STREAM)
    )
