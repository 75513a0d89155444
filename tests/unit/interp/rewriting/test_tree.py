"""Different outputs on one context, as a tree."""

from itertools import chain, product

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.rewriting.tree import Ids, Tree, grow, numbered

WANTED = st.integers(1, 6).flatmap(
    lambda length: st.lists(
        st.tuples(*[st.integers(0, 3)] * length), min_size=1, max_size=30, unique=True
    )
)
"""Different outputs on one context, all as long."""


def numbers_of(tree: Tree, outputs: list[Ids]) -> list[int]:
    """The number of each node's output, by way of its source."""
    return [outputs[splice][position] for splice, position in tree.sources]


# --- Worked by hand -----------------------------------------------------------------------------


def test_equal_outputs_have_equal_numbers() -> None:
    # Two splices, three positions. The first puts out a, b, a; the second a, c, b.
    a, b, c = [1.0, 0.0], [1.0, 2.0], [0.0, 5.0]
    first, second = numbered(torch.tensor([[a, b, a], [a, c, b]]))
    assert first[0] == first[2] == second[0]
    assert first[1] == second[2]
    assert len({first[0], first[1], second[1]}) == 3


def test_outputs_that_begin_alike_share_their_beginning() -> None:
    # Three paths from 7: over 8 to 9 or to 5, and over 6 to 9. The last two nodes of the third are
    # its own, though they end in the same output as the first.
    #
    #   7 ─┬─ 6 ─── 9        nodes 0 ─┬─ 1 ─── 2
    #      └─ 8 ─┬─ 5                 └─ 3 ─┬─ 4
    #            └─ 9                       └─ 5
    wanted = {(7, 8, 9): 0, (7, 8, 5): 1, (7, 6, 9): 2}
    (tree,) = grow(4, wanted, 100)
    assert tree.context == 4
    assert tree.parents == [-1, 0, 1, 0, 3, 3]
    assert tree.paths == {(7, 6, 9): [0, 1, 2], (7, 8, 5): [0, 3, 4], (7, 8, 9): [0, 3, 5]}
    assert [position for _, position in tree.sources] == [0, 1, 2, 1, 2, 2]
    assert numbers_of(tree, list(wanted)) == [7, 6, 9, 8, 5, 9]
    assert tree.sees.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [1, 0, 0, 1, 0, 1],
    ]


def test_outputs_that_end_alike_share_nothing() -> None:
    # What follows a different beginning differs, even after equal outputs.
    (tree,) = grow(0, {(1, 2, 3): 0, (0, 2, 3): 1}, 100)
    assert tree.parents == [-1, 0, 1, -1, 3, 4]


def test_a_new_tree_begins_where_the_next_path_would_be_too_much() -> None:
    # Sorted: (0, 0), (0, 1), (1, 0), (1, 1). The first two need three nodes, and so do the others.
    wanted = {ids: i for i, ids in enumerate(product([0, 1], repeat=2))}
    assert [list(tree.paths) for tree in grow(0, wanted, 3)] == [
        [(0, 0), (0, 1)],
        [(1, 0), (1, 1)],
    ]
    # In two nodes there is room for one path only, and a limit of one cannot be kept.
    assert [len(tree.parents) for tree in grow(0, wanted, 2)] == [2, 2, 2, 2]
    assert [len(tree.parents) for tree in grow(0, wanted, 1)] == [2, 2, 2, 2]


def test_nothing_wanted_grows_no_tree() -> None:
    assert list(grow(0, {}, 10)) == []


# --- Whatever is wanted -------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_numbers_tell_outputs_apart(values: list[list[int]]) -> None:
    # Two dimensions, so that neither alone says which outputs are equal.
    outputs = torch.tensor([[[v // 2, v % 2] for v in splice] for splice in values]).float()
    ids = numbered(outputs)
    flat = list(zip(chain(*values), chain(*ids), strict=True))
    for (v, n), (w, m) in product(flat, repeat=2):
        assert (v == w) == (n == m)


@given(WANTED, st.integers(1, 40))
def test_every_output_has_one_path(outputs: list[Ids], size: int) -> None:
    trees = list(grow(3, {ids: i for i, ids in enumerate(outputs)}, size))
    paths = [(ids, tree) for tree in trees for ids in tree.paths]
    assert sorted(ids for ids, _ in paths) == sorted(outputs)
    for ids, tree in paths:
        path = tree.paths[ids]
        assert len(path) == len(ids)
        assert [tree.parents[node] for node in path] == [-1, *path[:-1]]
        assert [numbers_of(tree, outputs)[node] for node in path] == list(ids)
        assert [tree.sources[node][1] for node in path] == list(range(len(ids)))
    assert all(tree.context == 3 for tree in trees)


@given(WANTED, st.integers(1, 40))
def test_nodes_are_shared_where_beginnings_are_equal(outputs: list[Ids], size: int) -> None:
    for tree in grow(0, {ids: i for i, ids in enumerate(outputs)}, size):
        for (one, first), (other, second) in product(tree.paths.items(), repeat=2):
            for position in range(len(one)):
                alike = one[: position + 1] == other[: position + 1]
                assert alike == (first[position] == second[position])
        # And there are no others.
        assert set().union(*tree.paths.values()) == set(range(len(tree.parents)))


@given(WANTED, st.integers(1, 40))
def test_a_tree_is_too_large_only_if_one_path_is(outputs: list[Ids], size: int) -> None:
    for tree in grow(0, {ids: i for i, ids in enumerate(outputs)}, size):
        assert len(tree.parents) == len(tree.sources)
        assert len(tree.parents) <= size or len(tree.paths) == 1


@given(WANTED)
def test_a_node_sees_its_ancestors_and_itself(outputs: list[Ids]) -> None:
    (tree,) = grow(0, {ids: i for i, ids in enumerate(outputs)}, 10_000)
    for node in range(len(tree.parents)):
        ancestors = [node]
        while (parent := tree.parents[ancestors[-1]]) >= 0:
            assert parent < ancestors[-1]
            ancestors.append(parent)
        assert np.flatnonzero(tree.sees[node]).tolist() == sorted(ancestors)
