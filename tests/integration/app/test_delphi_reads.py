"""Exports in Delphi's layout, read by Delphi itself."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.exports import queries
from app.services.exports.schemas import ExportQuery
from interp.exchange.delphi import open_run
from interp.exchange.origin import Found
from models import Context, Study
from tests.results_folders import CODER, HOOKPOINT, answered, delphi_run, delphi_scores
from tests.text_study import LATENTS, LENGTH, activations_of, text_study

pytest.importorskip("delphi", reason="eai-delphi is not installed (make .venv/installed-bench)")


class Tokenizer:
    """Delphi shows tokens as text; what text does not matter here."""

    bos_token_id = None

    def decode(self, tokens: Any) -> str:
        return str(tokens)

    def batch_decode(self, tokens: Any) -> list[str]:
        return [str(int(token)) for token in tokens]


@pytest.fixture
def study(db: Session) -> Study:
    return text_study(db)


@pytest.fixture
def run(study: Study, tmp_path: Path) -> Path:
    for _ in queries.export(study.slug, ExportQuery(format="delphi"), tmp_path):
        pass
    return tmp_path


def test_delphi_loads_the_activations(db: Session, study: Study, run: Path) -> None:
    from delphi.config import RunConfig
    from delphi.latents import LatentDataset

    config = RunConfig.load_json(run / "run_config.json")
    assert (config.model, config.hookpoints) == (study.model, [HOOKPOINT])
    config.constructor_cfg.min_examples = 1
    config.constructor_cfg.n_non_activating = 2
    config.sampler_cfg.n_examples_train = config.sampler_cfg.n_examples_test = 2
    config.sampler_cfg.n_quantiles = 1
    dataset = LatentDataset(
        run / "latents",
        config.sampler_cfg,
        config.constructor_cfg,
        tokenizer=Tokenizer(),
        modules=config.hookpoints,
    )
    query = select(Context).where(Context.study_id == study.id, Context.set == "explain")
    contexts = list(db.scalars(query.order_by(Context.index)))
    expected = activations_of(contexts).astype(np.float16)
    assert dataset.tokens.tolist() == [context.tokens for context in contexts]
    found = np.zeros_like(expected)
    for buffer in dataset.buffers:
        for latent, _, active in buffer:
            context, position, number = active.locations.numpy().T
            assert set(number) == {latent.latent_index}
            found[number, context, position] = active.activations.numpy()
    assert np.array_equal(found, expected)
    with ThreadPoolExecutor(1) as thread:  # it runs an event loop, and this thread may have one
        records = thread.submit(lambda: {r.latent.latent_index: r for r in dataset}).result()
    assert sorted(records) == [0, 1, 3, 4, 5]
    best = expected[5].max(1).argmax()
    assert records[5].examples[0].tokens.tolist() == contexts[best].tokens
    assert len(records[5].examples[0].activations) == LENGTH


def test_delphi_loads_the_explanations(run: Path) -> None:
    pytest.importorskip("vllm", reason="Delphi imports its explainers only where vLLM is")
    from delphi.explainers import explanation_loader
    from delphi.latents.latents import Latent

    for index, (text, fires) in enumerate(LATENTS):
        record: Any = SimpleNamespace(latent=Latent(HOOKPOINT, index))
        result = asyncio.run(explanation_loader(record, str(run / "explanations")))
        assert result.explanation == (text if fires else "No explanation found")


def _types() -> ModuleType:
    """Delphi's types of simulations, without the scorers beside them, which need vLLM."""
    (folder,) = find_spec("delphi").submodule_search_locations
    path = Path(folder, "scorers", "simulator", "simulation", "types.py")
    spec = spec_from_file_location("delphi_simulation_types", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_delphi_loads_the_simulations(run: Path) -> None:
    path = run / "scores" / "simulation" / f"{HOOKPOINT}_latent1.txt"
    (item,) = json.loads(path.read_bytes())
    scored = _types().ScoredSimulation.from_dict(item, drop_extra_fields=False)
    simulated, real = [], []
    for sequence in scored.scored_sequence_simulations:
        simulated += sequence.simulation.expected_activations
        real += sequence.true_activations
    assert max(simulated) <= 10
    # As Delphi computes it.
    correlation = np.corrcoef(real, simulated)[0, 1]
    assert scored.ev_correlation_score == pytest.approx(correlation, abs=1e-4)


def test_its_accuracies_are_those_that_are_imported(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="Delphi imports its analysis only where Plotly is")
    from delphi.log.result_analysis import (
        compute_classification_metrics,
        compute_confusion,
        load_data,
    )

    delphi_run(tmp_path, {2: "x"})
    outcomes = [(True, True)] * 7 + [(True, False)] * 3 + [(True, None), (False, True)]
    outcomes += [(False, False)] * 5
    delphi_scores(tmp_path, "detection", 2, [answered(*outcome) for outcome in outcomes])
    frame, _ = load_data(tmp_path / "scores", [HOOKPOINT])
    theirs = compute_classification_metrics(compute_confusion(frame))["accuracy"]
    run = open_run(tmp_path, CODER, anyway=False, may_read=str)
    (found,) = run.items(run.survey(), 0)
    assert isinstance(found, Found)
    assert found.details["scores"]["detection"]["value"] == pytest.approx(theirs)
