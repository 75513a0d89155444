"""The part of ``sparsify`` that needs Triton, on a machine that has none.

``sparsify`` looks for its module ``xformers`` once, when it is imported. ``interp/__init__.py``
puts this module there.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def xformers_embedding_bag(
    indices: "Tensor", weight: "Tensor", per_sample_weights: "Tensor"
) -> "Tensor":
    """Sums of rows of a matrix, each with a weight."""
    from torch.nn.functional import embedding_bag

    return embedding_bag(indices, weight, per_sample_weights=per_sample_weights, mode="sum")
