"""Training an inline simulator."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interp.errors import InputError
from interp.simulate.inline.simulator import Base, Inline, Shape
from interp.simulate.inline.train import (
    Lessons,
    Settings,
    train,
    train_fold,
)
from interp.simulate.protocol import Ask
from interp.simulate.training.corpus import Corpus, TrainingText, deal
from interp.simulate.training.reader import fingerprint
from interp.simulate.training.trained import Trained
from tests.engine import tiny_model
from tests.training import SETTINGS, TAUGHT, corpus_of_words, tokenizer

SMALL = Shape(apart=1, together=2, rank=4)


def silently(_: str) -> None:
    """Takes progress, and says nothing."""


TEXT = TrainingText("words", ["a", "b"])


def lessons_of(base: Base, corpus: Corpus) -> Lessons:
    return Lessons(base, corpus, 0, silently)


def train_words(out: Path, settings: Settings, say: Callable[[str], None] = silently) -> Trained:
    return train(
        tiny_model("llama"),
        tokenizer(),
        "tiny",
        [corpus_of_words()],
        TEXT,
        out,
        shape=Shape(apart=1, together=2),
        settings=settings,
        command="palimpsest train-simulator words",
        say=say,
    )


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulator") / "words"
    train_words(out, SETTINGS)
    return out


def test_it_learns(trained_folder: Path) -> None:
    trained = Trained.read(trained_folder)
    for looks in trained.training["looks"]:
        assert looks[-1]["loss"] < looks[0]["loss"] / 2
    simulator = Inline(tiny_model("llama"), tokenizer(), trained_folder, "another coder")
    new = corpus_of_words(contexts=60, seed=1)
    taught = trained.folds[0].latents["coder"]
    real = new.activations.toarray()
    found = simulator.simulate(
        [Ask(f"w{i}", latent=i) for i in taught], new.contexts, first_position=0
    )
    correlations = [
        np.corrcoef(one.values.ravel(), real[:, i])[0, 1]
        for one, i in zip(found, taught, strict=True)
    ]
    assert np.median(correlations) > 0.7


def test_the_record_says_what_each_fold_was_trained_on(trained_folder: Path) -> None:
    trained = Trained.read(trained_folder)
    held_out = deal(range(TAUGHT), SETTINGS.folds, seed=SETTINGS.seed)
    for number, fold in enumerate(trained.folds):
        assert fold.latents == {"coder": [i for i in range(TAUGHT) if held_out[i] != number]}
    assert (trained.method, trained.documents) == ("inline", ["a", "b"])
    assert trained.base_sha256 == fingerprint(tiny_model("llama"))
    assert trained.figures["held_out_latents"] == TAUGHT
    assert -1 <= trained.figures["held_out_correlation"] <= 1
    assert not (trained_folder / "checkpoints").exists()


def test_training_that_was_cut_short_goes_on_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    settings = SETTINGS.model_copy(update={"steps": 9, "check_every": 3, "latents": 2})

    def interrupt(message: str) -> None:
        if "fold 2: step 6" in message:
            raise KeyboardInterrupt

    whole = train_words(tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        train_words(tmp_path / "cut", settings, interrupt)
    resumed = train_words(tmp_path / "cut", settings)
    for fold in ("fold0.safetensors", "fold1.safetensors"):
        assert (tmp_path / "cut" / fold).read_bytes() == (tmp_path / "whole" / fold).read_bytes()
    assert resumed.figures == whole.figures


def test_it_stops_when_it_no_longer_gets_better(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={"steps": 500, "check_every": 1, "patience": 2, "latents": 1, "learning_rate": 1e-9}
    )
    base = Base(tiny_model("llama"), tokenizer(), SMALL)
    base.add_fold()
    corpus = corpus_of_words()
    result = train_fold(
        base, corpus, lessons_of(base, corpus), settings, 0, tmp_path / "c.pt", silently
    )
    assert len(result.looks) < 50
    best = max(range(len(result.looks)), key=lambda i: result.looks[i].correlation)
    assert len(result.looks) - 1 - best == 2


def test_another_training_is_not_mixed_with_an_unfinished_one(tmp_path: Path) -> None:
    def stop(message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_words(tmp_path, SETTINGS, stop)
    with pytest.raises(InputError, match="unfinished training with other settings"):
        train_words(tmp_path, SETTINGS.model_copy(update={"seed": 1}), stop)
