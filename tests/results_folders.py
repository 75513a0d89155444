"""Results of other tools, as these write them."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interp.exchange.origin import StudyCoder

CODER = StudyCoder("SmolLM2-135M-Instruct.gguf", "layers.10.mlp", 6)
"""The coder of ``little_study`` and ``text_study``."""
HOOKPOINT = CODER.hookpoint
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def delphi_run(
    folder: Path,
    texts: Mapping[int, Any],
    *,
    hookpoint: str = HOOKPOINT,
    model: str | None = MODEL,
    width: int | None = None,
) -> Path:
    """A run of Delphi with some explanations."""
    (folder / "explanations").mkdir(parents=True, exist_ok=True)
    for latent, text in texts.items():
        path = folder / "explanations" / f"{hookpoint}_latent{latent}.txt"
        path.write_bytes(json.dumps(text).encode())
    if model is not None:
        config = {"model": model, "explainer_model": "org/Explainer-70B", "seed": 22}
        (folder / "run_config.json").write_text(json.dumps(config))
    if width is not None:
        latents = folder / "latents" / hookpoint
        latents.mkdir(parents=True)
        (latents / f"0_{width // 2 - 1}.safetensors").touch()
        (latents / f"{width // 2}_{width - 1}.safetensors").touch()
        (latents / "config.json").write_text(json.dumps({"model_name": model}))
    return folder


def delphi_scores(folder: Path, scorer: str, latent: int, items: Any) -> None:
    """Write the scores of a latent as Delphi does."""
    path = folder / "scores" / scorer / f"{HOOKPOINT}_latent{latent}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(items))


def answered(activating: bool, prediction: bool | None) -> dict[str, Any]:
    """An example that Delphi asked a language model about."""
    return {
        "str_tokens": [" a"],
        "activations": [float(activating)],
        "distance": 1 if activating else -1.0,
        "activating": activating,
        "prediction": prediction,
        "probability": None,
        "correct": None if prediction is None else activating == prediction,
    }


def simulated(distance: int, correlation: float | str, sequences: int = 2) -> dict[str, Any]:
    """A group of sequences that Delphi simulated."""
    sequence = {
        "distance": 0,
        "simulation": {"tokens": [" a"], "expected_activations": [1.0]},
        "true_activations": [1],
        "ev_correlation_score": correlation,
        "rsquared_score": 0,
        "absolute_dev_explained_score": 0,
    }
    return {
        "distance": distance,
        "scored_sequence_simulations": [sequence] * sequences,
        "ev_correlation_score": correlation,
        "rsquared_score": 0,
        "absolute_dev_explained_score": 0,
    }


def neuronpedia_row(index: Any, description: Any, **more: Any) -> dict[str, Any]:
    """A line of an export of Neuronpedia."""
    return {
        "id": f"e{index}",
        "modelId": "smollm2-135m-instruct",
        "layer": "10-mlp-4k",
        "index": index,
        "authorId": "clkht01d40000jv08hvalcvly",
        "description": description,
        "embedding": [0.0] * 4,
        "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini",
    } | more


def neuronpedia_export(
    folder: Path, rows: Iterable[Any], *, name: str = "explanations/batch-0.jsonl.gz"
) -> Path:
    """An export of Neuronpedia with some lines; bytes are written as they are."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    with gzip.open(path, "wb") as out:
        out.write(b"".join(line + b"\n" for line in lines))
    return folder
