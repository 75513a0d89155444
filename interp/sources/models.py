"""Read the settings and shapes of a language model without loading it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from interp.errors import InputError
from interp.hub import cached
from interp.sources.paths import (
    check_hub_name,
    check_there,
    full,
    is_path,
    read_json,
    some,
)
from interp.sources.sites import LENS, SUBMODULE

LEARNED = frozenset(
    {"biogpt", "codegen", "ctrl", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "openai-gpt", "opt"}
)
"""Architectures with a table of positions: they cannot be run beyond its end, unlike those that
rotate keys or bias scores."""
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "spiece.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
)
"""Files that a tokenizer is kept in: one of them is in every folder that has one."""
HOOKPOINT = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
"""How a site is written."""


class ModelShape(NamedTuple):
    """Facts about a model in its files; None if they do not say."""

    width: int | None
    layers: int | None
    positions: int | None
    """Longest text, where a longer one cannot be read at all."""
    lists: frozenset[str]
    """What its lists of layers are called, such as ``layers`` or ``h``; empty if not known."""
    modules: frozenset[str]
    """Paths of those of its modules that have weights; empty if not known."""
    parallel: bool
    """See :func:`interp.sources.sites.find_site`."""


class Place(NamedTuple):
    """The layer that a hookpoint names."""

    list: str
    layer: int
    below: str
    """Path within the layer; empty for the layer itself."""


def check_model(source: str, revision: str | None = None) -> ModelShape | None:
    """Refuse a language model that cannot be loaded.

    Args:
        source: A folder with a Transformers checkpoint, a ``.gguf`` file, or a hub name.
        revision: Of a hub name.

    Returns:
        The facts in its files; None for a hub name that is not in the cache, and for GGUF, which is
        not read that far.

    Raises:
        InputError: It is none of these.
    """
    path = full(source)
    if not is_path(source):
        check_hub_name(
            source, "a folder with a Transformers checkpoint, a .gguf file, a fetched model"
        )
        return _cached_shape(source, revision)
    if path.suffix == ".gguf":
        check_gguf(path)
        return None
    check_there(path)
    if not path.is_dir():
        raise InputError(f"{path} is neither a folder with a Transformers checkpoint nor a .gguf.")
    if not (path / "config.json").is_file():
        raise InputError(f"{path} holds no Transformers checkpoint: it has no config.json.")
    check_tokenizer(path)
    return _model_shape(path)


def check_tokenizer(folder: Path) -> None:
    """Refuse a model without a tokenizer.

    Raises:
        InputError: None of the files is there that tokenizers are kept in.
    """
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise InputError(
            f"{folder} has no tokenizer. Put the tokenizer that belongs to the model into the "
            "folder: tokenizer.json, and tokenizer_config.json if there is one."
        )


def check_gguf(path: Path) -> None:
    """Refuse a GGUF file that is not there, or is none.

    Raises:
        InputError: There is no such file, or it begins as no GGUF file does.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{path} is no GGUF file: it does not begin with “GGUF”.")


def check_whole_gguf(path: Path) -> None:
    """Refuse a GGUF file that is cut short, before it is read for half a minute.

    Raises:
        InputError: There is no such file, or it ends too early.
    """
    from gguf import GGUFReader

    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        last = max(GGUFReader(path).tensors, key=lambda t: t.data_offset)
        needed = int(last.data_offset) + int(last.n_bytes)
    except Exception as error:  # the reader raises whatever the damage makes it stumble over
        raise InputError(
            f"{path} is not a whole GGUF file ({error}). It may be cut short: fetch it again."
        ) from None
    if path.stat().st_size < needed:
        raise InputError(
            f"{path} is cut short: {path.stat().st_size} bytes, but its last tensor ends at "
            f"{needed}. Fetch it again."
        )


def check_site(name: str, model: ModelShape | None) -> None:
    """Refuse a site that the model cannot have, see :mod:`interp.sources.sites`.

    Raises:
        InputError: It is no name of a site, or names a layer that is not there.
    """
    if not HOOKPOINT.fullmatch(name):
        raise InputError(
            "A site is named like a module below the model without its head, such as "
            "layers.10.mlp, h.3.mlp or layers.10.mlp.input, or like a hook, such as "
            "blocks.10.hook_mlp_out."
        )
    place = place_of(name)
    if model is None or place is None:
        return
    hook = LENS.fullmatch(name) or SUBMODULE.fullmatch(name)
    if model.lists and place.list not in model.lists and not hook:
        names = " or ".join(f"{name}.{place.layer}" for name in sorted(model.lists))
        raise InputError(f"The model has no {place.list}.{place.layer}: its layers are {names}.")
    if model.layers is not None and place.layer >= model.layers:
        raise InputError(
            f"The model has {model.layers} layers, 0 to {model.layers - 1}: there is no layer "
            f"{place.layer}."
        )


def check_length(length: int, model: ModelShape | None) -> None:
    """Refuse contexts that are longer than what the model can read.

    Raises:
        InputError: They are.
    """
    if model is not None and model.positions is not None and length > model.positions:
        raise InputError(
            f"The model has {model.positions:,} positions: use contexts of {model.positions:,} "
            "tokens or fewer."
        )


def longest_context(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a model can read at once; None if nothing sets a limit.

    Args:
        config: The content of the model's ``config.json``.
    """
    if config.get("model_type") not in LEARNED:
        return None
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(longest := config.get(name), int):
            return longest
    return None


def place_of(hookpoint: str) -> Place | None:
    """The layer that the name of a site names; None if it names none."""
    if submodule := SUBMODULE.fullmatch(hookpoint):
        return Place("layers", int(submodule[2]), submodule[1])
    parts = hookpoint.split(".")
    for at in range(1, len(parts)):
        if parts[at].isdecimal():
            return Place(parts[at - 1], int(parts[at]), ".".join(parts[at + 1 :]))
    return None


def same_site(one: str, other: str) -> bool:
    """True if two names end alike. One may begin higher up, as in ``model.layers.3``."""
    short, long = sorted((one, other), key=len)
    return f".{long}".endswith(f".{short}")


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a safetensors file, by name, from its header.

    Raises:
        InputError: It is damaged.
    """
    try:
        with safe_open(path, "np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        raise InputError(
            f"{path} is damaged: it is no whole safetensors file. Fetch it again."
        ) from None


def _cached_shape(name: str, revision: str | None) -> ModelShape | None:
    folder = cached(name, revision)
    try:
        return None if folder is None else _model_shape(folder)
    except InputError:
        return None  # not all of it is here: whoever loads it fetches the rest


def _model_shape(folder: Path) -> ModelShape:
    config = read_json(folder / "config.json")
    text = config.get("text_config")
    config = {**config, **text} if isinstance(text, dict) else config

    def number(*names: str) -> int | None:
        return next((config[n] for n in names if isinstance(config.get(n), int)), None)

    weights = _weights(folder)
    places = {name: place for name in weights if (place := place_of(name))}
    above = {name[: name.find(f"{one.list}.{one.layer}.")] for name, one in places.items()}
    top = above.pop() if len(above) == 1 else ""  # such as "model."
    return ModelShape(
        number("hidden_size", "n_embd", "d_model"),
        number("num_hidden_layers", "n_layer", "num_layers"),
        longest_context(config),
        frozenset(place.list for place in places.values()),
        frozenset(path for name in weights for path in _paths(name.removeprefix(top))),
        bool(config.get("use_parallel_residual", False)),
    )


def _paths(weight: str) -> Iterator[str]:
    """The modules that a weight is in, such as ``layers`` and ``layers.0``."""
    parts = weight.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _weights(folder: Path) -> list[str]:
    """Names of a checkpoint's weights; none where they are not in safetensors.

    Raises:
        InputError: There are no weights, or a file of them is damaged.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        of = read_json(index).get("weight_map") or {}
        if missing := sorted({str(file) for file in of.values()} - _names(folder)):
            raise InputError(f"{folder} lacks {some(missing)}, which its weights are in.")
        return list(of)
    found = sorted(folder.glob("*.safetensors"))
    if not found and not any(folder.glob("*.bin")):
        raise InputError(
            f"{folder} has a config.json but no weights: no .safetensors and no .bin file."
        )
    return [name for path in found for name in shapes(path)]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
