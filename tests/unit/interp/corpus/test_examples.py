"""Contexts that show what a latent does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.corpus.activations import LatentActivations
from interp.corpus.examples import (
    Example,
    Occurrences,
    sample_examples,
    sample_hard_negatives,
)


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


@settings(deadline=None)
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


TOKENS = np.array(
    # Position 0 is <s> (9). The latent is active on 1 (three times) and on 2 (once), below.
    [
        [9, 5, 1, 5],
        [9, 1, 5, 2],
        [9, 5, 5, 1],
        [9, 1, 6, 6],  # silent, holds 1
        [9, 2, 6, 6],  # silent, holds 2
        [9, 6, 1, 2],  # silent, holds both
        [9, 6, 5, 6],  # silent, holds 5, which comes before 1 and 2
        [9, 6, 6, 6],  # silent, holds nothing like it
        [9, 1, 1, 6],  # silent, holds 1
    ]
)
ONES = latent((0, 2, 1.0), (1, 1, 2.0), (1, 3, 1.0), (2, 3, 5.0))


def hard_negatives(count: int, seed: int = 0, active: LatentActivations = ONES) -> list[Example]:
    occurrences = Occurrences.of(TOKENS, first_position=1)
    return sample_hard_negatives(
        active, TOKENS, occurrences, first_position=1, count=count, seed=seed
    )


def test_hard_negatives_worked_by_hand() -> None:
    for seed in range(20):
        found = [example.context for example in hard_negatives(9, seed)]
        # First one with 1, the more frequent token, then one with 2, then the others with 1 or 2,
        # then the only one with a token that comes before; never one without any.
        assert found[0] in (3, 5, 8)
        assert found[1] in ({4, 5} - {found[0]})
        assert set(found[:4]) == {3, 4, 5, 8}
        assert found[4:] == [6]
    drawn = hard_negatives(3)
    assert [(e.kind, e.rank) for e in drawn] == [("hard_negative", i) for i in range(3)]
    assert all(e.activations.tolist() == [0, 0, 0, 0] for e in drawn)


def test_the_seed_fixes_the_hard_negatives() -> None:
    def drawn(seed: int) -> list[int]:
        return [example.context for example in hard_negatives(2, seed)]

    assert drawn(4) == drawn(4)
    assert len({tuple(drawn(seed)) for seed in range(20)}) > 1


def test_a_dead_latent_has_no_hard_negative() -> None:
    assert hard_negatives(3, active=latent()) == []


@settings(deadline=None)
@given(ENTRIES, st.integers(0, 8), st.integers(0, 99))
def test_hard_negatives_are_silent_and_alike(
    entries: dict[tuple[int, int], float], count: int, seed: int
) -> None:
    tokens = np.random.default_rng(seed).integers(0, 6, (15, 4))
    active = latent(*((*where, value) for where, value in sorted(entries.items())))
    found = sample_hard_negatives(
        active,
        tokens,
        Occurrences.of(tokens, first_position=0),
        first_position=0,
        count=count,
        seed=seed,
    )
    rows_found = [example.context for example in found]
    assert len(set(rows_found)) == len(rows_found) <= count
    on = {int(tokens[where]) for where in entries}
    before = {int(tokens[row, i - 1]) for row, i in entries if i > 0}
    silent = set(range(15)) - {row for row, _ in entries}
    assert set(rows_found) <= silent
    alike = [row for row in silent if (on | before) & set(tokens[row].tolist())]
    assert len(found) == min(count, len(alike))
    assert set(rows_found) <= set(alike)


def test_occurrences_are_the_contexts_that_hold_a_token() -> None:
    found = Occurrences.of(TOKENS, first_position=1)
    assert found.of_token(1).tolist() == [0, 1, 2, 3, 5, 8]
    assert found.of_token(9).tolist() == []
