"""Checkpoints of SAELens, of version 6 and of older ones: ``cfg.json`` beside
``sae_weights.safetensors``.

Older configs are flat; since version 6 the sites are under ``metadata``. BatchTopK and Matryoshka
coders are saved as JumpReLU.

AbsTopK selects the k activations of largest absolute value, with their signs. Here each of its L
signed latents is two that are never negative: latent i for its positive side, and L + i, which
reads and writes in the opposite direction, for its negative one. The k largest of these 2L are the
same, and so is the output.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from safetensors.numpy import load_file

from interp.errors import InputError
from interp.sources.checkpoint import (
    Facts,
    Header,
    check_active,
    check_tensors,
    flag,
    has,
    headers,
    number,
    read_config,
    whole,
)

CONFIG, WEIGHTS, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
FILES = f"SAELens: {CONFIG} (d_in, d_sae, architecture) and {WEIGHTS}"

Rule = Literal["relu", "threshold", "topk", "abstopk", "gated"]
RULES: dict[str, Rule] = {
    "standard": "relu",
    "topk": "topk",
    "abstopk": "abstopk",
    "jumprelu": "threshold",
    "batchtopk": "threshold",
    "matryoshka_batchtopk": "threshold",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "threshold",
    "jumprelu_skip_transcoder": "threshold",
}
"""The rule of each architecture that can be read."""
CANNOT = {
    "temporal": "it reads all tokens of a text at once",
    "matching_pursuit": "it finds one latent after the other",
}
"""Why the others cannot be read."""
Normalise = Literal[
    "none",
    "expected_average_only_in",
    "layer_norm",
    "constant_norm_rescale",
    "constant_scalar_rescale",
]
NORMALISED: tuple[Normalise, ...] = get_args(Normalise)
FACTOR = "activation_normalization_factor"
WITHOUT_SPECIAL = "It was not trained on special tokens: add template=no to a corpus of chats."
TWO_SIDED = "Each signed latent is two here: i for its positive side, L + i for its negative one."


class Settings(NamedTuple):
    """What the files say of how to compute the coder."""

    facts: Facts
    rule: Rule
    centred: bool
    """The decoder's bias is subtracted from what is read."""
    normalise: Normalise
    factor: float
    """That vectors were multiplied by in training, if their config says so; else 1."""
    with_norms: bool
    """Activations are multiplied by the lengths of the decoder's directions."""


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder. Where they are missing, its settings tell it."""
    whole_one = (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()
    return [folder / WEIGHTS] if whole_one or has(folder / CONFIG, "d_sae") else []


def check(weights: Path) -> Facts:
    """Refuse files that are damaged, that contradict each other, or that cannot be read as a sum
    of latents.

    Raises:
        InputError: The message names the file, what it says, and what it should.
    """
    return settings(weights).facts


def settings(weights: Path) -> Settings:
    """Read and check all of a checkpoint but its weights.

    Raises:
        InputError: See :func:`check`.
    """
    path = weights.with_name(CONFIG)
    config = read_config(path)
    config = _part(config, "metadata") | config
    architecture, rule = _rule(path, config)
    kind: Literal["transcoder", "sae"] = "transcoder" if "transcoder" in architecture else "sae"
    d_in, latents = whole(path, config, "d_in"), whole(path, config, "d_sae")
    d_out = whole(path, config, "d_out", d_in) if kind == "transcoder" else d_in
    k = _k(path, config, latents) if rule in ("topk", "abstopk") else None
    found = headers(weights)
    expected = _expected(found, rule, d_in, d_out, latents)
    if skip := "skip" in architecture:
        expected["W_skip"] = (d_out, d_in)
    sizes = f"its {CONFIG} (architecture {architecture}, d_in {d_in:,}, d_sae {latents:,})"
    check_tensors(weights, found, expected, sizes)
    centred = flag(path, config, "apply_b_dec_to_input", default=kind == "sae")
    normalise = _normalise(path, config)
    if kind == "transcoder" and (centred or normalise in ("layer_norm", "constant_norm_rescale")):
        asked = "apply_b_dec_to_input" if centred else f"normalize_activations {normalise!r}"
        raise InputError(
            f"{path}: {asked} is not defined for a transcoder, whose output is another vector than "
            "its input. Correct the config."
        )
    reads, writes = _sites(config)
    facts = Facts(
        kind,
        d_in,
        d_out,
        latents * 2 if rule == "abstopk" else latents,
        k,
        skip=skip,
        reads=reads,
        writes=writes or (reads if kind == "sae" else ""),
        model=str(config.get("model_name") or ""),
        active=_active(weights.with_name(SPARSITY)),
        remark=" ".join(_remarks(config, rule, normalise, found)),
    )
    factor = number(path, config, FACTOR) if normalise == "constant_scalar_rescale" else 1.0
    rescaled = flag(path, config, "rescale_acts_by_decoder_norm")
    return Settings(facts, rule, centred, normalise, factor, rescaled)


def _rule(path: Path, config: Mapping[str, Any]) -> tuple[str, Rule]:
    """The architecture and its rule. Configs before version 6 name the activation beside it."""
    architecture = str(config.get("architecture") or "standard")
    if architecture in CANNOT:
        raise InputError(
            f"{path}: the architecture {architecture!r} cannot be read: {CANNOT[architecture]}."
        )
    if architecture not in RULES:
        raise InputError(
            f"{path}: the architecture {architecture!r} is not supported. These are: "
            f"{', '.join(RULES)}."
        )
    if config.get("hook_head_index", config.get("hook_point_head_index")) is not None:
        raise InputError(
            f"{path}: the coder is of one attention head (hook_head_index), and Palimpsest reads "
            "coders of a whole site."
        )
    activation = config.get("activation_fn_str") or config.get("activation_fn") or "relu"
    if activation == "topk" and architecture == "standard":
        return "topk", "topk"
    if activation not in ("relu", "topk"):
        raise InputError(
            f"{path}: the activation {activation!r} is not supported; relu and topk are."
        )
    return architecture, RULES[architecture]


def _k(path: Path, config: Mapping[str, Any], latents: int) -> int:
    arguments = _part(config, "activation_fn_kwargs")
    k = whole(path, {"k": config.get("k", arguments.get("k"))}, "k")
    check_active(path, k, latents)
    return k


def _expected(
    found: Mapping[str, Header], rule: Rule, d_in: int, d_out: int, latents: int
) -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, latents),
        "W_dec": (latents, d_out),
        "b_dec": (d_out,),
    }
    if "scaling_factor" in found and not _is_number(found["scaling_factor"]):
        expected["scaling_factor"] = (latents,)
    if rule == "gated":
        return expected | {name: (latents,) for name in ("b_gate", "b_mag", "r_mag")}
    expected["b_enc"] = (latents,)
    if rule == "threshold":
        # Checkpoints from the middle of a training name it otherwise.
        other = [name for name in ("log_threshold", "topk_threshold") if name in found]
        name = "threshold" if "threshold" in found or not other else other[0]
        expected[name] = () if name == "topk_threshold" else (latents,)
    return expected


def _normalise(path: Path, config: Mapping[str, Any]) -> Normalise:
    named = config.get("normalize_activations") or "none"
    if named is True:
        return "expected_average_only_in"
    if named not in NORMALISED:
        raise InputError(
            f"{path}: normalize_activations {named!r} is not supported. These are: "
            f"{', '.join(NORMALISED)}."
        )
    return cast(Normalise, named)


def _sites(config: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the sites read and written. Paths of Transformers come before hooks, because
    they are plain."""
    hook = config.get("hook_name") or config.get("hook_point") or ""
    layer = config.get("hook_layer", config.get("hook_point_layer"))
    reads = config.get("hf_hook_name") or str(hook).replace("{layer}", str(layer))
    writes = config.get("hf_hook_name_out") or config.get("hook_name_out")
    return str(reads), str(writes or "")


def _remarks(
    config: Mapping[str, Any], rule: Rule, normalise: Normalise, found: Mapping[str, Header]
) -> list[str]:
    remarks = [TWO_SIDED] if rule == "abstopk" else []
    scaled = "scaling_factor" in found and _is_number(found["scaling_factor"])
    if normalise == "expected_average_only_in" and not scaled:
        remarks.append(
            "It was trained on vectors scaled to a mean length that its files do not hold: it is "
            "read as if the scale had been folded into its weights."
        )
    if config.get("exclude_special_tokens"):
        remarks.append(WITHOUT_SPECIAL)
    loaded = _part(config, "model_from_pretrained_kwargs")
    if changed := [name for name in ("fold_ln", "center_writing_weights") if loaded.get(name)]:
        remarks.append(
            f"It was trained on a model with changed weights ({', '.join(changed)}), not on the "
            "model as it is published."
        )
    return remarks


def _part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A config within the config; empty if there is none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _is_number(header: Header) -> bool:
    return header.shape in ((), (1,))


def _active(path: Path) -> float | None:
    """The mean number of active latents, from the logarithms of how often each is active."""
    try:
        often = load_file(path)["sparsity"].astype(np.float64)
    except Exception:  # it is not there, or damaged: the coder can be read without it
        return None
    return float((10**often).sum())
