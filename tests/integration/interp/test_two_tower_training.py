"""Training a two-tower simulator, the record of it, and what it then says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from interp.corpus.copies import identity
from interp.corpus.seen import SeenText
from interp.errors import InputError
from interp.simulate.protocol import TOP, Ask, Simulated
from interp.simulate.training.corpus import Corpus, TrainingText, deal, deal_all
from interp.simulate.training.reader import Reader, fingerprint
from interp.simulate.training.trained import Trained
from interp.simulate.two_tower.method import Settings
from interp.simulate.two_tower.networks import Shape, Towers
from interp.simulate.two_tower.prepare import prepare
from interp.simulate.two_tower.simulator import TwoTower
from interp.simulate.two_tower.train import train, train_fold, validate
from tests.engine import tiny_model, word_tokenizer

SMALL = Shape(features=32, width=24, token_hidden=32, explanation_hidden=8, heads=2, layers=1)


WORDS = 40


def silently(_: str) -> None:
    """Takes progress, and says nothing."""


def corpus_of_words(contexts: int = 160, seq: int = 8, seed: int = 0) -> Corpus:
    """Latent i fires on the word ``wi``, and its explanation is that word."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(WORDS, size=(contexts, seq))
    rows = np.arange(ids.size)
    activations = csr_matrix(
        (np.full(ids.size, 2.0, np.float32), (rows, ids.ravel())), shape=(ids.size, WORDS)
    )
    strings = [[f" w{i}" for i in row] for row in ids]
    return Corpus("coder", strings, activations, {i: [f"w{i}"] for i in range(WORDS)})


SEEN = SeenText.of([identity("the text of a"), identity("the text of b")])


TEXT = TrainingText("words", ["a", "b"], SEEN)


SETTINGS = Settings(
    folds=4, steps=150, latents=30, tokens=256, learning_rate=3e-3, check_every=50, drop=0.0
)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulator trained on words, in two folds."""
    out = tmp_path_factory.mktemp("simulator") / "words"
    train(
        tiny_model("llama"),
        word_tokenizer(),
        "tiny",
        [corpus_of_words()],
        TEXT,
        out,
        shape=SMALL,
        settings=SETTINGS,
        command="palimpsest train-simulator words",
        say=silently,
    )
    return out


def load(folder: Path, coder: str = "coder") -> TwoTower:
    return TwoTower(tiny_model("llama"), word_tokenizer(), folder, coder)


def test_it_learns_to_simulate_latents_that_it_never_saw(simulator: Path) -> None:
    """On new text, each by the fold that held it out."""
    new = corpus_of_words(contexts=40, seed=1)
    asks = [Ask(f"w{i}", latent=i) for i in range(WORDS)]
    found = load(simulator).simulate(asks, new.contexts, first_position=0)
    real = new.activations.toarray()
    correlations = [
        np.corrcoef(one.values.ravel(), real[:, i])[0, 1] for i, one in enumerate(found)
    ]
    assert np.mean(correlations) > 0.4
    trained = Trained.read(simulator)
    assert trained.figures["held_out_correlation"] > 0.3
    assert not (simulator / "checkpoints").exists()


def test_doubles_of_latents_are_held_out_together() -> None:
    """Two coders of one text: latent i of the second fires where latent i + 1 of the first does, or
    on twice as many tokens, or on others too."""
    first = corpus_of_words()
    shifted = first.activations[:, [*range(1, WORDS), 0]].tolil()
    shifted[:, 1] += first.activations[:, 7]  # cosine √½
    shifted[:, 2] = first.activations[:, 10:18].sum(axis=1)  # cosine √⅛ with each
    shifted[:, 3] *= 5
    second = first._replace(coder="another", activations=csr_matrix(shifted))
    dealt, others = deal_all([first, second], 4, seed=0)
    assert dealt == deal(range(WORDS), 4, seed=0)
    for latent in {*range(WORDS)} - {1, 2, WORDS - 1}:
        assert others[latent] == dealt[latent + 1]
    assert others[1] in (dealt[2], dealt[7])
    assert others[2] == dealt[2], "like none, it goes where its number does"


def test_one_is_trained_on_several_studies(tmp_path: Path) -> None:
    """Each of its folds holds out latents of both, and what it is told in other words counts for
    no figure."""
    first, other = corpus_of_words(), corpus_of_words(contexts=90, seq=6, seed=2)
    second = other._replace(
        coder="another",
        explanations={i: [f"w{i}"] for i in range(WORDS // 2)},
        rewordings={0: ["w1", "w2"]},
    )
    texts = [TEXT, TrainingText("more words", ["c"], SeenText.of([identity("the text of c")]))]
    joined = TrainingText.joined(texts)
    settings = SETTINGS.model_copy(update={"folds": 2, "steps": 60, "check_every": 30})
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    prepared = prepare(Reader(model, tokenizer, [0, 1]), [first, second], SMALL, seed=0, say=print)
    assert [len(read.tokens) for read in prepared.studies] == [160 * 8, 90 * 6]
    assert [int(read.reworded.sum()) for read in prepared.studies] == [0, 2]
    towers = Towers(SMALL)
    rows = np.arange(300)
    right = validate(towers, [(prepared.studies[1], second, [0, 3], rows)])
    without = second._replace(rewordings={})
    alone = prepare(Reader(model, tokenizer, [0, 1]), [first, without], SMALL, seed=0, say=print)
    assert validate(towers, [(alone.studies[1], without, [0, 3], rows)]) == pytest.approx(right)
    trained = train(
        model,
        tokenizer,
        "tiny",
        [first, second],
        joined,
        tmp_path,
        shape=SMALL,
        settings=settings,
        command="palimpsest train-simulator words more",
        say=silently,
    )
    assert [{name: len(of) for name, of in fold.latents.items()} for fold in trained.folds] == [
        {"coder": WORDS / 2, "another": WORDS / 4}
    ] * 2
    # The other study's text is another one, so that nobody knows which latents are alike.
    assert deal_all([first, second], 2, seed=0)[1] == deal(range(WORDS // 2), 2, seed=0)
    assert (trained.corpus, trained.documents) == ("words, more words", ["a", "b", "c"])
    assert trained.seen is not None
    assert len(trained.seen.hashes) == 3
    assert trained.training["rewordings"] == 2
    assert trained.figures["held_out_latents"] == 1.5 * WORDS


def test_studies_of_the_same_text_are_read_once() -> None:
    first = corpus_of_words(20)
    read: list[str] = []
    prepare(
        Reader(tiny_model("llama"), word_tokenizer(), [0, 1]),
        [first, first._replace(coder="another")],
        SMALL,
        seed=0,
        say=read.append,
    )
    assert sum("contexts" in one for one in read) == 1


def test_the_record_says_what_each_fold_was_trained_on(simulator: Path) -> None:
    trained = Trained.read(simulator)
    seen = [set(fold.latents["coder"]) for fold in trained.folds]
    held_out = deal(range(WORDS), SETTINGS.folds, seed=SETTINGS.seed)
    assert all(len(one) == WORDS * 3 / 4 for one in seen)
    for latent in range(WORDS):
        assert trained.fold_for("coder", latent) == held_out[latent]
        assert latent not in seen[held_out[latent]]
    assert trained.documents == ["a", "b"]
    assert trained.seen == SEEN
    assert trained.base_sha256 == fingerprint(tiny_model("llama"))


def test_what_every_fold_was_trained_on_is_missing(simulator: Path, tmp_path: Path) -> None:
    for file in simulator.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    trained = Trained.read(simulator)
    for fold in trained.folds:
        fold.latents["coder"] = sorted({*fold.latents["coder"], 7})
    trained.write(tmp_path)
    contexts = corpus_of_words(contexts=2).contexts
    seen, unseen = load(tmp_path).simulate(
        [Ask("w7", latent=7), Ask("w8", latent=8)], contexts, first_position=1
    )
    assert np.isnan(seen.values).all()
    assert seen.failures == {"every fold was trained on this latent": 14}
    assert unseen.missing == 0
    # Of another coder, the latent of the same number is another latent.
    (other,) = load(tmp_path, coder="another").simulate(
        [Ask("w7", latent=7)], contexts, first_position=1
    )
    assert other.missing == 0


def test_training_that_was_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    corpus, model, tokenizer = corpus_of_words(60), tiny_model("llama"), word_tokenizer()
    settings = SETTINGS.model_copy(update={"steps": 9, "check_every": 3, "drop": 0.3})
    prepared = prepare(Reader(model, tokenizer, [0, 1]), [corpus], SMALL, seed=0, say=silently)
    dealt = deal_all([corpus], settings.folds, seed=settings.seed)

    def cut(say: Callable[[str], None], name: str) -> dict[str, Tensor]:
        checkpoint = tmp_path / name
        result = train_fold(prepared, [corpus], dealt, SMALL, settings, 0, checkpoint, say)
        return result.towers.state_dict()

    whole = cut(silently, "whole.pt")
    with pytest.raises(KeyboardInterrupt):

        def interrupt(message: str) -> None:
            if "step 6" in message:
                raise KeyboardInterrupt

        cut(interrupt, "cut.pt")
    resumed = cut(silently, "cut.pt")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


def test_it_stops_when_it_no_longer_gets_better(tmp_path: Path) -> None:
    corpus, model, tokenizer = corpus_of_words(60), tiny_model("llama"), word_tokenizer()
    settings = SETTINGS.model_copy(
        update={"steps": 500, "check_every": 1, "patience": 2, "learning_rate": 1e-9}
    )
    prepared = prepare(Reader(model, tokenizer, [0, 1]), [corpus], SMALL, seed=0, say=silently)
    dealt = deal_all([corpus], settings.folds, seed=settings.seed)
    result = train_fold(prepared, [corpus], dealt, SMALL, settings, 0, tmp_path / "c.pt", silently)
    assert len(result.looks) < 50
    best = max(range(len(result.looks)), key=lambda i: result.looks[i].correlation)
    assert len(result.looks) - 1 - best == 2


def test_another_training_is_not_mixed_with_an_unfinished_one(tmp_path: Path) -> None:
    def start(settings: Settings) -> None:
        def stop(message: str) -> None:
            raise KeyboardInterrupt

        train(
            tiny_model("llama"),
            word_tokenizer(),
            "tiny",
            [corpus_of_words(60)],
            TEXT,
            tmp_path,
            shape=SMALL,
            settings=settings,
            command="",
            say=stop,
        )

    with pytest.raises(KeyboardInterrupt):
        start(SETTINGS)
    with pytest.raises(InputError, match="unfinished training with other settings"):
        start(SETTINGS.model_copy(update={"seed": 1}))


def run(simulator: TwoTower, asks: list[Ask], first_position: int = 1) -> list[Simulated]:
    contexts = [["<s>", *tokens] for tokens in corpus_of_words(contexts=3).contexts]
    return list(simulator.simulate(asks, contexts, first_position=first_position))


def test_values_lie_on_the_scale_and_what_is_not_simulated_has_none(simulator: Path) -> None:
    for one in run(load(simulator), [Ask("w1", latent=1), Ask("w2 w3", latent=2)]):
        assert np.isnan(one.values[:, 0]).all()
        assert ((one.values[:, 1:] >= 0) & (one.values[:, 1:] <= TOP)).all()
        assert one.failures == {}


def test_asking_together_gives_what_asking_alone_gives(simulator: Path) -> None:
    asks = [Ask(f"w{i} w{i + 1}", latent=i) for i in range(38)]
    together = run(load(simulator), asks)
    fresh = load(simulator)
    for ask, one in zip(asks[::7], together[::7], strict=True):
        (alone,) = run(fresh, [ask])
        np.testing.assert_allclose(alone.values, one.values, atol=1e-4)


def test_text_is_read_once(simulator: Path) -> None:
    loaded = load(simulator)
    first = run(loaded, [Ask("w1 w2", latent=1), Ask("w3", latent=3)])
    assert [one.tokens_read for one in first] == [3 * 8 + 2, 1]
    again = run(loaded, [Ask("w1 w2 w4", latent=1)])
    assert again[0].tokens_read == 3


def test_an_explanation_without_tokens_is_missing(simulator: Path) -> None:
    (one,) = run(load(simulator), [Ask(" ", latent=1)])
    assert one.failures == {"the explanation has no text": 24}


def test_it_refuses_another_base(simulator: Path) -> None:
    with pytest.raises(InputError, match="is another model"):
        TwoTower(tiny_model("gemma"), word_tokenizer(), simulator, "coder")


def test_it_says_what_is_wrong_with_its_folder(simulator: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained simulator"):
        load(tmp_path)
    for file in simulator.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "fold1.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"fold1\.safetensors cannot be read"):
        load(tmp_path)
    (tmp_path / "simulator.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        load(tmp_path)
