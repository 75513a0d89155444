"""Checkpoints of Llama Scope: ``hyperparams.json`` beside ``checkpoints/final.safetensors``, or, of
later releases, ``config.json`` beside ``sae_weights.safetensors``.

They were trained on vectors scaled to length √d, on average over a data set or each. The first
releases were trained with a top-k and then given one threshold for all latents. It holds for
activations in the units of the model, of latents with decoders of length 1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
    without_threshold,
)

CONFIG, WEIGHTS, OF_MODEL = "config.json", "sae_weights.safetensors", "lm_config.json"
FIRST_CONFIG, FIRST_WEIGHTS = "hyperparams.json", Path("checkpoints", "final.safetensors")
FILES = (
    f"Llama Scope: {FIRST_CONFIG} and {FIRST_WEIGHTS}, or {CONFIG} (hook_point_in, hook_point_out) "
    f"and {WEIGHTS}"
)
OLD_NAMES = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
"""Stored as linear layers."""
NEW_NAMES = ("W_E", "b_E", "W_D", "b_D")
"""Stored with rows and columns exchanged."""
THRESHOLDS = ("log_jumprelu_threshold", "activation_function.log_jumprelu_threshold")
NORM = "dataset_average_activation_norm"
RULES = ("relu", "jumprelu", "topk", "batchtopk")


class Settings(NamedTuple):
    """What the files say of how to compute the coder."""

    facts: Facts
    rule: str
    names: tuple[str, ...]
    """Of the encoder, its bias, the decoder and its bias."""
    threshold: str
    """Name of the tensor with the thresholds' logarithms; empty if there is one for all."""
    scalar: float
    """The threshold for all latents, if there is one; else 0."""
    k: int
    """Of the top-k, also if the scalar threshold was made from it; 0 if there is none."""
    with_norms: bool
    """Activations are compared after they are multiplied by the decoder's lengths."""
    centred: bool
    normalise: Literal["dataset-wise", "token-wise", "inference"]
    norms: Mapping[str, float]
    """Mean lengths of the vectors read and written (``in``, ``out``); empty if tensors hold
    them."""


def find(folder: Path) -> list[Path]:
    """The weights of a checkpoint in a folder, or in the folder ``checkpoints`` of one."""
    above = folder.parent if folder.name == FIRST_WEIGHTS.parent.name else folder
    if (above / FIRST_CONFIG).is_file():
        return [above / FIRST_WEIGHTS]
    return [folder / WEIGHTS] if has(folder / CONFIG, "hook_point_in") else []


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
    first = weights.name == FIRST_WEIGHTS.name
    path = weights.parent.parent / FIRST_CONFIG if first else weights.with_name(CONFIG)
    config = read_config(path)
    _refuse(path, config)
    reads, writes = (str(config.get(f"hook_point_{way}") or "") for way in ("in", "out"))
    d_model, rule = whole(path, config, "d_model"), str(config.get("act_fn") or "").lower()
    if "d_sae" in config:
        latents = whole(path, config, "d_sae")
    else:
        latents = round(d_model * number(path, config, "expansion_factor"))
    if rule not in RULES:
        raise InputError(f"{path}: act_fn {rule!r} is not supported; {', '.join(RULES)} are.")
    found = headers(weights)
    names = NEW_NAMES if NEW_NAMES[0] in found else OLD_NAMES
    turn = 1 if names is OLD_NAMES else -1
    expected: dict[str, tuple[int, ...]] = {
        names[0]: (latents, d_model)[::turn],
        names[1]: (latents,),
        names[2]: (d_model, latents)[::turn],
    }
    if flag(path, config, "use_decoder_bias", default=True):
        expected[names[3]] = (d_model,)
    threshold, scalar = "", 0.0
    if rule == "jumprelu" and config.get("jump_relu_threshold") is not None:
        scalar = number(path, config, "jump_relu_threshold")
    elif rule == "jumprelu":
        threshold = next((name for name in THRESHOLDS if name in found), THRESHOLDS[0])
        expected[threshold] = (latents,)
    check_tensors(weights, found, expected, f"{path} (d_model {d_model:,}, d_sae {latents:,})")
    k = 0
    if rule in ("topk", "batchtopk") or (scalar and config.get("top_k")):
        k = whole(path, config, "top_k")
        check_active(path, k, latents)
    kind: Literal["transcoder", "sae"] = "sae" if reads == writes else "transcoder"
    facts = Facts(
        kind,
        d_model,
        d_model,
        latents,
        k if rule == "topk" else None,
        reads=reads,
        writes=writes,
        model=_model(path.with_name(OF_MODEL)),
        active=k if k and rule != "topk" else None,
        remark=without_threshold(k) if rule == "batchtopk" else "",
    )
    normalise, norms = _norms(path, config, found, facts)
    return Settings(
        facts,
        rule,
        names,
        threshold,
        scalar,
        k,
        flag(path, config, "sparsity_include_decoder_norm", default=True),
        flag(path, config, "apply_decoder_bias_to_pre_encoder"),
        normalise,
        norms,
    )


def _refuse(path: Path, config: Mapping[str, Any]) -> None:
    if (kind := config.get("sae_type", "sae")) != "sae":
        raise InputError(
            f"{path}: sae_type {kind!r} is no coder of a single layer. Palimpsest reads SAEs and "
            "transcoders."
        )
    if flag(path, config, "use_glu_encoder"):
        raise InputError(
            f"{path}: use_glu_encoder is true: a gated linear unit cannot be read as a latent."
        )


def _model(path: Path) -> str:
    return str(read_config(path).get("model_name") or "") if path.is_file() else ""


def _norms(
    path: Path, config: Mapping[str, Any], found: Mapping[str, Header], facts: Facts
) -> tuple[Literal["dataset-wise", "token-wise", "inference"], dict[str, float]]:
    match config.get("norm_activation", "dataset-wise"):
        case "inference":
            return "inference", {}
        case "token-wise" if facts.kind == "sae":
            return "token-wise", {}
        case "dataset-wise":
            if isinstance(own := config.get(NORM), dict):
                return "dataset-wise", {way: number(path, own, way) for way in ("in", "out")}
            missing = [name for name in norm_tensors(facts) if name not in found]
            if missing:
                raise InputError(
                    f"{path}: norm_activation is 'dataset-wise', but neither {NORM} is there nor "
                    f"the tensor {missing[0]}. Without it nobody knows the scale of the vectors."
                )
            return "dataset-wise", {}
        case other:
            raise InputError(
                f"{path}: norm_activation {other!r} is not supported for this coder; dataset-wise "
                "and inference are, and token-wise for SAEs."
            )


def norm_tensors(facts: Facts) -> tuple[str, str]:
    """The tensors that hold the mean lengths of the vectors read and written."""
    return f"{NORM}.{facts.reads}", f"{NORM}.{facts.writes}"
