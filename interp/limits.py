"""What a model's configuration says of the longest text it can read. Needs no torch."""

from collections.abc import Mapping
from typing import Any

LEARNED = frozenset(
    {"biogpt", "codegen", "ctrl", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "openai-gpt", "opt"}
)
"""Architectures with a table of positions: they cannot be run beyond its end, unlike those that
rotate keys or bias scores."""


def longest_context(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a model can read at once; None if nothing sets a limit.

    Args:
        config: The content of the model's ``config.json``.
    """
    if config.get("model_type") not in LEARNED:
        return None
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(longest := config.get(name), int):
            return longest
    return None
