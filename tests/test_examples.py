"""Contexts that show what a latent does."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.activations import LatentActivations
from interp.examples import Example, sample_examples


def latent(*entries: tuple[int, int, float]) -> LatentActivations:
    """A latent active at these (context, position, activation), in order."""
    contexts, positions, activations = zip(*entries, strict=True) if entries else ((), (), ())
    return LatentActivations(
        np.array(contexts, np.int64), np.array(positions, np.int64), np.array(activations, "f4")
    )


def rows(examples: list[Example], kind: str) -> list[int]:
    return [example.context for example in examples if example.kind == kind]


SEVEN = latent(
    # Peaks: context 1 → 5, 2 → 9, 3 → 1, 4 → 7, 6 → 2, 7 → 4, 9 → 8.
    (1, 0, 5.0),
    (1, 3, 3.0),
    (2, 2, 9.0),
    (3, 1, 1.0),
    (4, 0, 6.0),
    (4, 1, 7.0),
    (6, 2, 2.0),
    (7, 3, 4.0),
    (9, 0, 8.0),
)


def test_three_kinds_worked_by_hand() -> None:
    examples = sample_examples(SEVEN, contexts=12, seq=4, top=2, quantile=3, random=4, seed=0)
    # By peak: 2 (9), 9 (8), 4 (7), 1 (5), 7 (4), 6 (2), 3 (1). Two at the top; of the five others
    # the first, middle and last: 4, 7 and 3.
    assert rows(examples, "top") == [2, 9]
    assert rows(examples, "quantile") == [4, 7, 3]
    assert len(rows(examples, "random")) == 4
    assert [example.rank for example in examples] == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert examples[2].activations.tolist() == [6, 7, 0, 0]
    assert examples[3].activations.tolist() == [0, 0, 0, 4]


def test_too_few_contexts_give_what_there_is() -> None:
    examples = sample_examples(SEVEN, contexts=10, seq=4, top=5, quantile=5, random=9, seed=0)
    assert rows(examples, "top") == [2, 9, 4, 1, 7]
    assert rows(examples, "quantile") == [6, 3]
    assert sorted(rows(examples, "random")) == [0, 5, 8]


def test_a_dead_latent_has_random_examples_only() -> None:
    examples = sample_examples(latent(), contexts=20, seq=4, top=3, quantile=3, random=5, seed=0)
    assert [example.kind for example in examples] == ["random"] * 5
    assert all(not example.activations.any() for example in examples)


def test_the_seed_fixes_the_random_draw() -> None:
    def drawn(seed: int) -> list[int]:
        options = {"contexts": 500, "seq": 4, "top": 2, "quantile": 2, "random": 6}
        return rows(sample_examples(SEVEN, **options, seed=seed), "random")

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_random_examples_come_from_the_whole_set() -> None:
    # Two contexts of 40 are active, neither asked for as top: they come up as often as others.
    two = latent((3, 0, 1.0), (30, 0, 2.0))
    options = {"contexts": 40, "seq": 2, "top": 0, "quantile": 0, "random": 10}
    drawn = np.concatenate(
        [rows(sample_examples(two, **options, seed=seed), "random") for seed in range(400)]
    )
    # Each context in a quarter of 400 draws: 100, standard deviation √(400·¼·¾) = 8.7.
    counts = np.bincount(drawn, minlength=40)
    assert counts.min() > 60
    assert counts.max() < 140


ENTRIES = st.dictionaries(
    st.tuples(st.integers(0, 14), st.integers(0, 3)), st.floats(0.125, 8, width=32), max_size=30
)


@given(ENTRIES, st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 99))
def test_no_context_comes_twice(
    entries: dict[tuple[int, int], float], top: int, quantile: int, random: int, seed: int
) -> None:
    real = np.zeros((15, 4), np.float32)
    for where, activation in entries.items():
        real[where] = activation
    active = latent(*((*where, value) for where, value in sorted(entries.items())))
    examples = sample_examples(
        active, contexts=15, seq=4, top=top, quantile=quantile, random=random, seed=seed
    )
    contexts = [example.context for example in examples]
    assert len(set(contexts)) == len(contexts)
    for example in examples:
        assert example.activations.tolist() == real[example.context].tolist()
    peaks = real.max(1)
    live = int((peaks > 0).sum())
    assert len(rows(examples, "top")) == min(top, live)
    assert len(rows(examples, "quantile")) == min(quantile, max(0, live - top))
    taken = len(rows(examples, "top")) + len(rows(examples, "quantile"))
    assert len(rows(examples, "random")) == min(random, 15 - taken)
    # Strongest first, and no context outside is stronger than one at the top.
    for kind in ("top", "quantile"):
        found = [peaks[row] for row in rows(examples, kind)]
        assert found == sorted(found, reverse=True)
    if top and live > top:
        assert sorted(peaks)[-top:] == sorted(peaks[rows(examples, "top")])
