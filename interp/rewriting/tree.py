"""The different outputs of conditions on one context, as a tree.

A model's computation at a position depends only on the positions up to it. So conditions whose
outputs begin alike share what follows from that beginning, and each *different* beginning is run
once: it is a node of a tree. All nodes of a tree are run in one sequence, in which a node sees the
nodes on the way to its root, and no other.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

Ids = tuple[int, ...]
"""One condition's outputs on a context: equal numbers at a position mean equal outputs."""


class Tree(NamedTuple):
    """Some of the different outputs on one context."""

    context: int
    paths: dict[Ids, list[int]]
    """The nodes that each output runs through, one a position."""
    sources: list[tuple[int, int]]
    """For each node a splice and a position that have its output."""
    parents: list[int]
    """The node before each node; −1 at the first position. Parents come before their children."""

    @property
    def sees(self) -> Bool[np.ndarray, "node node"]:
        """The nodes that each node sees: itself and all those before it on its path."""
        seen = np.eye(len(self.parents), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def numbered(outputs: Float[Tensor, "splice position d_model"]) -> list[Ids]:
    """Number the outputs of all splices on one context, equal ones alike."""
    splices, positions, _ = outputs.shape
    ids = outputs.flatten(0, 1).unique(dim=0, return_inverse=True)[1]
    return [tuple(row) for row in ids.view(splices, positions).tolist()]


def grow(context: int, wanted: dict[Ids, int], size: int) -> Iterator[Tree]:
    """Trees of at most ``size`` nodes, or of one path, that hold all the outputs wanted.

    Args:
        wanted: The splice of each output.
    """
    tree = Tree(context, {}, [], [])
    nodes: dict[tuple[int, int], int] = {}
    # In this order outputs that begin alike are neighbours, and fall into the same tree.
    for ids in sorted(wanted):
        if tree.paths and len(nodes) + _new_nodes(nodes, ids) > size:
            yield tree
            tree, nodes = Tree(context, {}, [], []), {}
        node, path = -1, []
        for position, number in enumerate(ids):
            key = (node, number)
            if key not in nodes:
                nodes[key] = len(nodes)
                tree.parents.append(node)
                tree.sources.append((wanted[ids], position))
            node = nodes[key]
            path.append(node)
        tree.paths[ids] = path
    if tree.paths:
        yield tree


def _new_nodes(nodes: dict[tuple[int, int], int], ids: Ids) -> int:
    node = -1
    for position, number in enumerate(ids):
        if (node, number) not in nodes:
            return len(ids) - position
        node = nodes[node, number]
    return 0
