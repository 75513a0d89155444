"""A study in the layout of Delphi's results, so that Delphi can read and score it."""

import json
from collections.abc import Generator, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.exports.files import Open
from app.services.latents.filter_schemas import LatentMatch
from app.services.latents.filters import matching
from app.services.latents.stored import store_of
from interp.exchange.delphi_cache import Split, splits
from models import Context, Example, Explanation, Latent, Simulation, Study

BLOCK = 256
"""Latents, explanations or contexts that are held at once."""
SIMULATIONS = 16
"""Simulations that are held at once."""
SCALE = 10 / 9
"""Our simulated values go to 9, Delphi's to 10."""
QUANTILES = 10


def write(session: Session, study: Study, wanted: LatentMatch, open_: Open) -> Generator[None]:
    """Write the files, and stop after each block.

    Raises:
        StoreError: Activations are missing or damaged.
    """
    with open_("run_config.json") as out:
        out.write(json.dumps(_run_config(study), indent=4).encode())
    yield from _explanations(session, study, wanted, open_)
    yield from _activations(session, study, wanted, open_)
    yield from _simulations(session, study, wanted, open_)


def _run_config(study: Study) -> dict[str, Any]:
    """What Delphi must know to read and score the results."""
    return {
        "cache_cfg": _cache_config(study),
        # Delphi cuts contexts into windows of this length, which must divide theirs.
        "constructor_cfg": {"example_ctx_len": study.context_length},
        "sampler_cfg": {},
        "model": study.model,
        "sparse_model": study.coder,
        "hookpoints": [study.hookpoint],
        "name": study.slug,
        "written_by": f"palimpsest {version('palimpsest')}",
    }


def _cache_config(study: Study) -> dict[str, Any]:
    return {
        "dataset_repo": study.corpus,
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "text",
        "cache_ctx_len": study.context_length,
        "n_tokens": study.contexts_explain * study.context_length,
        "n_splits": len(splits(study.coder_info["num_latents"])),
    }


def _explanations(
    session: Session, study: Study, wanted: LatentMatch, open_: Open
) -> Generator[None]:
    query = select(Latent.index, Explanation.text)
    query = query.join(Explanation, Explanation.id == Latent.explanation_id)
    query = query.where(*matching(study, wanted)).order_by(Latent.index)
    found = session.execute(query.execution_options(yield_per=BLOCK))
    for block in found.partitions():
        for index, text in block:
            with open_(f"explanations/{study.hookpoint}_latent{index}.txt") as out:
                out.write(json.dumps(text, ensure_ascii=False).encode())
        yield


def _activations(
    session: Session, study: Study, wanted: LatentMatch, open_: Open
) -> Generator[None]:
    """The activations on the explain set, and its tokens."""
    folder = f"latents/{study.hookpoint}"
    with open_(f"{folder}/config.json") as out:
        config = _cache_config(study) | {"model_name": study.model}
        out.write(json.dumps(config, indent=4).encode())
    total = study.coder_info["num_latents"]
    there = np.zeros(total, bool)
    there[list(session.scalars(select(Latent.index).where(*matching(study, wanted))))] = True
    store = store_of(study, "explain")
    for latents in splits(total):
        with Split(latents, study.contexts_explain, study.context_length) as split:
            for start in latents[::BLOCK]:
                block = range(start, min(start + BLOCK, latents.stop))
                for latent, active in zip(block, store.read(block), strict=True):
                    if there[latent]:
                        split.add(latent, active)
                yield
            with open_(f"{folder}/{split.name}") as out:
                for _ in split.write(out, _tokens(session, study)):
                    yield


def _tokens(session: Session, study: Study) -> Iterator[NDArray[np.int64]]:
    query = select(Context.tokens).where(Context.study_id == study.id, Context.set == "explain")
    query = query.order_by(Context.index).execution_options(yield_per=BLOCK)
    for block in session.scalars(query).partitions():
        yield np.array(block, np.int64)


def _simulations(
    session: Session, study: Study, wanted: LatentMatch, open_: Open
) -> Generator[None]:
    """How the study's simulator predicts the examples of each current explanation."""
    query = select(Latent.id, Latent.index, Latent.max_activation, Simulation)
    query = query.join(Simulation, Simulation.explanation_id == Latent.explanation_id)
    query = query.where(
        *matching(study, wanted),
        Simulation.simulator_id == study.simulator_id,
        Simulation.set == "explain",
    ).order_by(Latent.index)
    found = session.execute(query.execution_options(yield_per=SIMULATIONS))
    for block in found.partitions():
        for latent_id, index, largest, simulation in block:
            real = _real(session, latent_id)
            scored = _scored(session, study, simulation, real, largest)
            if scored is not None:
                with open_(f"scores/simulation/{study.hookpoint}_latent{index}.txt") as out:
                    out.write(json.dumps(scored, ensure_ascii=False).encode())
        yield


def _real(session: Session, latent_id: int) -> dict[int, list[float]]:
    """By context, a latent's activations on its examples."""
    query = select(Example.context_id, Example.activations).where(Example.latent_id == latent_id)
    return {context: activations for context, activations in session.execute(query)}


def _scored(
    session: Session,
    study: Study,
    simulation: Simulation,
    real: dict[int, list[float]],
    largest: float,
) -> list[dict[str, Any]] | None:
    """A simulation as Delphi writes one. Delphi has no missing values, so contexts with some are
    left out; None if no context is left."""
    first = study.first_position
    rows = [
        (context, values[first:] * SCALE, np.array(real[context])[first:])
        for context, values in zip(simulation.context_ids, simulation.values, strict=True)
        if context in real and not np.isnan(values[first:]).any()
    ]
    if not rows:
        return None
    query = select(Context.id, Context.strings).where(Context.id.in_([row[0] for row in rows]))
    strings = {context: texts for context, texts in session.execute(query)}
    sequences = [
        _sequence(strings[context][first:], values, active, largest)
        for context, values, active in rows
    ]
    simulated = np.concatenate([values for _, values, _ in rows])
    truth = np.concatenate([sequence["true_activations"] for sequence in sequences])
    overall = {"distance": 0, "scored_sequence_simulations": sequences}
    return [overall | _correlation(simulated, truth)]


def _sequence(
    strings: list[str],
    simulated: Float[np.ndarray, "token"],
    real: Float[np.ndarray, "token"],
    largest: float,
) -> dict[str, Any]:
    levels = np.ceil(real * 10 / largest).clip(0, 10)
    strongest = float(real.max())
    quantile = min(int((1 - strongest / largest) * QUANTILES), QUANTILES - 1)
    return {
        "distance": quantile if strongest > 0 else -1,
        "simulation": {
            "tokens": strings,
            "expected_activations": simulated.astype(float).round(4).tolist(),
            "activation_scale": "simulated_normalized_activations",
            "distribution_values": [],
            "distribution_probabilities": [],
            "uncalibrated_simulation": None,
        },
        "true_activations": levels.astype(int).tolist(),
    } | _correlation(simulated, levels)


def _correlation(simulated: NDArray[np.floating], real: NDArray[np.floating]) -> dict[str, Any]:
    """The scores of Delphi's records, of which it computes the first only."""
    defined = bool(np.ptp(simulated) > 0 and np.ptp(real) > 0)
    value = float(np.corrcoef(simulated, real)[0, 1]) if defined else "nan"
    rest = {"rsquared_score": 0, "absolute_dev_explained_score": 0}
    return {"ev_correlation_score": value} | rest
