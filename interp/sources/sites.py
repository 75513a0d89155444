"""The places in a model that a coder reads and writes, by whatever name people give them.

A *site* is one side of a module: what goes into it, what comes out of it, or, for a normalisation,
its input divided by its size but not yet multiplied by the gain. Names come in three spellings:

- paths of Transformers: ``layers.10.mlp``, ``model.layers.10.mlp.output``, ``transformer.h.3.mlp``;
- hooks of TransformerLens: ``blocks.10.hook_mlp_out``, ``blocks.10.ln2.hook_normalized``;
- submodules of dictionary_learning: ``resid_post_layer_10``.

The canonical name is the path below the model without its head, with ``.input`` or ``.normalised``
where it is not the module's output. Needs no torch.
"""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple

from interp.errors import InputError

PARTS = {
    "mlp": ("mlp", "feed_forward", "block_sparse_moe"),
    "attention": ("self_attn", "attn", "attention", "self_attention"),
    "projection": (
        "self_attn.o_proj",
        "self_attn.dense",
        "self_attn.out_proj",
        "attn.c_proj",
        "attn.out_proj",
        "attn.attention.out_proj",
        "attention.dense",
        "self_attention.dense",
    ),
    "down": ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.fc_out"),
    "first norm": ("input_layernorm", "ln_1", "self_attn_layer_norm"),
    "second norm": ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2"),
}
"""What architectures call the parts of a layer."""
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")
LISTS = ("layers", "h", "blocks", "block")
BEFORE_MLP = "pre_feedforward_layernorm"
ADDS_WITHIN = "word_embeddings_layernorm"
"""A module of BLOOM, whose attention and MLP add the residual stream themselves."""
AFTER_ATTENTION, AFTER_MLP = "post_attention_layernorm", "post_feedforward_layernorm"
"""The normalisations of what attention and MLP put out, in models that have both (Gemma 2 and 3,
OLMo 2). Elsewhere the first name is that of the normalisation before the MLP."""
NEAREST = 4
"""Names that an error shows of what a model has."""
OF_PICTURES = re.compile(r"vision|visual|audio|image")
LENS = re.compile(r"blocks\.(\d+)\.(.+)")
_LAYER = re.compile(r"(^|\.)\d+(\.|$)")
SUBMODULE = re.compile(r"(resid_post|resid_pre|mlp_out|attn_out)_layer_(\d+)")


class Side(StrEnum):
    """The side of a module."""

    INPUT = "input"
    OUTPUT = "output"
    NORMALISED = "normalised"


class Site(NamedTuple):
    """One side of a module."""

    module: str
    """Path below the model without its head."""
    side: Side

    def __str__(self) -> str:
        return self.module if self.side is Side.OUTPUT else f"{self.module}.{self.side}"


def find_site(name: str, modules: Collection[str], *, parallel: bool = False) -> Site:
    """The site that a name means in a model.

    Args:
        modules: Paths of the model's modules.
        parallel: The layers add attention and MLP to the same residual stream, so that there is
            no stream between them (GPT-NeoX).

    Raises:
        InputError: The model has no such site. The message names what is like it.
    """
    name = name.strip()
    if (module := _lookup(name, modules)) is not None:
        return Site(module, Side.OUTPUT)
    above, _, last = name.rpartition(".")
    if last in [*Side] and (module := _lookup(above, modules)) is not None:
        return Site(module, Side(last))
    if lens := LENS.fullmatch(name):
        return _hook(name, lens[2], int(lens[1]), modules, parallel=parallel)
    if submodule := SUBMODULE.fullmatch(name):
        hook = f"hook_{submodule[1]}"
        return _hook(name, hook, int(submodule[2]), modules, parallel=parallel)
    if name in ("hook_embed", "embedding"):
        return Site(_one_of(name, EMBEDDINGS, modules), Side.OUTPUT)
    raise InputError(f"The model has no module {name!r}. {_nearest(name, modules)}")


def check_same(reads: str, writes: str) -> None:
    """Refuse another site that a sparse autoencoder is to read than the one that it writes. Both
    are given by their canonical names.

    Raises:
        InputError: They differ.
    """
    if reads != writes:
        raise InputError(
            f"A sparse autoencoder reads the site that it writes, {writes}. Leave the site that it "
            "reads empty, or read it as a transcoder."
        )


def in_stream(site: str) -> bool:
    """Whether what stands at a site, by its canonical name, is a residual stream or is added to
    one. What goes into a projection is not: it has dimensions of its own."""
    path, _, side = site.rpartition(".")
    if side != Side.INPUT:
        return side != Side.NORMALISED
    last = path.rpartition(".")[2]
    return last.isdecimal() or "norm" in last or last.startswith("ln_")


def is_stream(name: str) -> bool:
    """Whether a site, by any of its names, is the residual stream between two layers: what goes
    into a layer or comes out of one."""
    if lens := LENS.fullmatch(name):
        return lens[2].startswith("hook_resid")
    if submodule := SUBMODULE.fullmatch(name):
        return submodule[1].startswith("resid")
    above, _, last = name.rpartition(".")
    path = above if last in (Side.INPUT, Side.OUTPUT) else name
    return path.rpartition(".")[2].isdecimal()


def _hook(name: str, hook: str, layer: int, modules: Collection[str], *, parallel: bool) -> Site:
    """The site of a hook of TransformerLens."""
    here = _layer(name, layer, modules)

    def part(what: str) -> str:
        return _one_of(name, [f"{here}.{one}" for one in PARTS[what]], modules)

    def before_mlp() -> Site:
        if sandwich and f"{here}.{BEFORE_MLP}" not in modules:
            return Site(part("mlp"), Side.INPUT)  # nothing is normalised before the MLP
        return Site(part("second norm"), Side.INPUT)

    sandwich = f"{here}.{AFTER_MLP}" in modules
    if ADDS_WITHIN in modules and hook in ("hook_mlp_out", "mlp.hook_out", "hook_attn_out"):
        raise InputError(
            f"{name}: this model's modules add the residual stream to what they put out, so it "
            "stands nowhere by itself. Use hook_resid_mid or hook_resid_post."
        )
    match hook:
        case "hook_resid_pre":
            return Site(here, Side.INPUT)
        case "hook_resid_post":
            return Site(here, Side.OUTPUT)
        case "hook_resid_mid" if parallel:
            raise InputError(
                f"{name}: the layers of this model run attention and MLP side by side, so there is "
                "no residual stream between them. Use hook_resid_pre or hook_resid_post."
            )
        case "hook_resid_mid":
            return before_mlp()
        case "ln1.hook_normalized":
            return Site(part("first norm"), Side.NORMALISED)
        case "ln2.hook_normalized" if sandwich and f"{here}.{BEFORE_MLP}" not in modules:
            raise InputError(f"{name}: nothing is normalised before the MLP of this model.")
        case "ln2.hook_normalized":
            return Site(part("second norm"), Side.NORMALISED)
        case "mlp.hook_in":
            return Site(part("mlp"), Side.INPUT)
        case "mlp.hook_out":
            return Site(part("mlp"), Side.OUTPUT)
        case "hook_mlp_out":
            return Site(f"{here}.{AFTER_MLP}" if sandwich else part("mlp"), Side.OUTPUT)
        case "hook_attn_out":
            of = f"{here}.{AFTER_ATTENTION}" if sandwich else part("attention")
            return Site(of, Side.OUTPUT)
        case "attn.hook_z":
            return Site(part("projection"), Side.INPUT)
        case "mlp.hook_post":
            return Site(part("down"), Side.INPUT)
    raise InputError(
        f"{name}: Palimpsest knows no hook {hook!r}. It knows hook_resid_pre, hook_resid_mid, "
        "hook_resid_post, hook_attn_out, attn.hook_z, hook_mlp_out, mlp.hook_in, mlp.hook_out, "
        "mlp.hook_post, ln1.hook_normalized and ln2.hook_normalized."
    )


def _layer(name: str, number: int, modules: Collection[str]) -> str:
    found = [path for kind in LISTS if (path := _lookup(f"{kind}.{number}", modules))]
    if not found:
        raise InputError(f"{name}: the model has no layer {number}.{_layers(modules)}")
    return found[0]


def _one_of(name: str, paths: Sequence[str], modules: Collection[str]) -> str:
    for path in paths:
        if (found := _lookup(path, modules)) is not None:
            return found
    last = sorted({path.rpartition(".")[2] for path in paths})
    raise InputError(
        f"{name}: the model has no module that is named {' or '.join(last)} there. "
        f"{_nearest(paths[0], modules)}"
    )


def _lookup(path: str, modules: Collection[str]) -> str | None:
    """The module of a path, that may begin higher up or further down. None if there is none."""
    if path in modules:
        return path
    parts = path.split(".")
    for start in range(1, len(parts)):
        if parts[start - 1].isdecimal():
            break  # what is cut off must not name a layer
        if (shorter := ".".join(parts[start:])) in modules:
            return shorter
    before = {one: one.removesuffix(f".{path}") for one in modules if one.endswith(f".{path}")}
    longer = [one for one, above in before.items() if not _LAYER.search(above)]
    # The language model of one that sees or hears.
    longer = [one for one in longer if not OF_PICTURES.search(one)] or longer
    return min(longer, key=len, default=None)


def _nearest(path: str, modules: Collection[str]) -> str:
    """The names that are most like one that the model has not, and where all are."""
    # A path may begin higher up, as in model.layers.3.
    near = get_close_matches(path.removeprefix("model."), modules, n=NEAREST)
    there = f" Nearest are {', '.join(near)}." if near else _layers(modules)
    return f"{there} docs/coders.md says how to list all, under “Names of sites”.".lstrip()


def _layers(modules: Collection[str]) -> str:
    """What the layers are called, after a blank; nothing if there are none in a list."""
    numbers: dict[str, list[int]] = {}
    for path in modules:
        above, _, last = path.rpartition(".")
        if last.isdecimal() and above.rpartition(".")[2] in LISTS:
            numbers.setdefault(above, []).append(int(last))
    return "".join(
        f" Its layers are {one}.0 to {one}.{max(all_)}." for one, all_ in numbers.items()
    )
