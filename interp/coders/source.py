"""Read what the files of a sparse coder say, without loading it."""

import re

from interp.coders import registry
from interp.errors import InputError
from interp.hub import cached
from interp.sources.checkpoint import Facts, of_model
from interp.sources.formats import sparsify
from interp.sources.models import ModelShape, check_site, place_of, same_site
from interp.sources.paths import check_hub_name, check_there, full, hub_folder, hub_place, is_path
from interp.sources.sites import LENS, LISTS, Side, check_same, find_site

IN_STREAM = ("mlp", "attn", "attention", "resid", "norm", "ln_")
"""Parts of the names of a layer's modules and hooks whose vectors are as wide as the model."""
HOOKS_IN_STREAM = ("ln1.hook_normalized", "ln2.hook_normalized", "mlp.hook_in", "mlp.hook_out")

AS_TRANSCODER = "it is a transcoder"
SUBTRACTED = "the decoder's bias is subtracted"
NOT_SUBTRACTED = "the decoder's bias is not subtracted"
TRANSPOSED = "the skip connection is transposed"
LARGEST = re.compile(r"the \d+ largest are active")
"""The names of :mod:`interp.coders.readings`."""


def check_coder(source: str, hookpoint: str, model: ModelShape | None) -> Facts | None:
    """Refuse a sparse coder that cannot be loaded, or cannot fit its hookpoint.

    Args:
        source: A checkpoint folder or a hub name, as :func:`.registry.find` has it.

    Returns:
        The facts in its files; None for a hub name that is not in the cache.

    Raises:
        InputError: There is no such checkpoint, its files do not fit together, its width is not the
            model's, or it is of a layer that the model has not.
    """
    if is_path(source) and hub_folder(source) is None:
        path = full(source)
        check_there(path)
        found = registry.find(path, hookpoint)
        facts = _checked(found, hookpoint, model)
    else:
        if hub_folder(source) is None:
            check_hub_name(source, "a folder with a sparse coder")
        name, folder = hub_place(source, hookpoint)
        kept = cached(name)
        if kept is None:
            return None
        try:
            facts = registry.find(kept / folder if hub_folder(source) else kept, hookpoint).check()
        except InputError:
            return None  # not all of it is here: the worker fetches the rest
    if model is not None:
        try:
            _check_shape(facts, hookpoint, model)
        except InputError as error:
            raise of_model(error, facts) from None
    return facts


def check_reading(reading: str, facts: Facts | None) -> None:
    """Refuse a reading that a coder's files cannot have. Only the loaded coder says of some.

    Raises:
        InputError: It is none of :mod:`interp.coders.readings`, or none of this kind of coder.
    """
    possible = {
        "": True,
        AS_TRANSCODER: facts is None or facts.kind == "sae",
        SUBTRACTED: True,
        NOT_SUBTRACTED: True,
        TRANSPOSED: facts is None or facts.skip,
    }
    if not possible.get(reading, bool(LARGEST.fullmatch(reading))):
        raise InputError(
            f"The coder cannot be read so that {reading}. An inspection shows its readings."
        )


def check_reads(
    reads: str, hookpoint: str, reading: str, facts: Facts, model: ModelShape | None
) -> None:
    """Refuse another site that an SAE is to read than the one that it writes, as far as the files
    of the model tell whether two names mean one site.

    Raises:
        InputError: It is another one.
    """
    written = hookpoint or facts.writes
    if not (reads and written) or facts.kind != "sae" or reading == AS_TRANSCODER:
        return
    if model is not None and model.modules:
        try:
            sites = [
                str(find_site(name, model.modules, parallel=model.parallel))
                for name in (reads, written)
            ]
        except InputError:
            return  # perhaps a module without weights: the worker sees them all
        check_same(*sites)
        return
    places = place_of(reads), place_of(written)
    if places[0] and places[1] and places[0].layer != places[1].layer:
        check_same(reads, written)


def _checked(found: registry.Checkpoint, hookpoint: str, model: ModelShape | None) -> Facts:
    """The facts of a coder in a folder here, which may be named like a hookpoint."""
    folder = found.folder
    lists = (model and model.lists) or LISTS
    trained, named = sparsify.trained_on(folder, lists), hookpoint.removesuffix(".output")
    plain = place_of(named) is not None and not LENS.fullmatch(named) and named[-6:] != ".input"
    if trained and plain and not same_site(trained, named):
        raise InputError(f"The sparse coder in {folder} is of {trained}, not of {hookpoint}.")
    return found.check()


def _check_shape(facts: Facts, hookpoint: str, model: ModelShape) -> None:
    """Refuse a coder of a layer that the model has not, or of another width.

    Raises:
        InputError: It is.
    """
    written = hookpoint or facts.writes
    if not hookpoint and written:
        check_site(written, model)
    read = facts.reads or f"{written}.input" if facts.kind == "transcoder" else written
    for site, width in ((written, facts.d_out), (read, facts.d_in)):
        if width and model.width not in (None, width) and _in_stream(site):
            raise InputError(
                f"The coder is for vectors of {width:,} dimensions, but those of the model have "
                f"{model.width:,}. It belongs to another model."
            )


def _in_stream(site: str) -> bool:
    """True if vectors there are surely as wide as the model. Between the two parts of an MLP they
    are not, and some models have these parts directly in the layer, as ``fc1``."""
    place = place_of(site)
    if place is None:
        return False
    below = place.below
    for side in Side:
        below = "" if below == side else below.removesuffix(f".{side}")
    return (
        not below
        or below in HOOKS_IN_STREAM
        or ("." not in below and any(name in below for name in IN_STREAM))
    )
