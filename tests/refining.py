"""Contexts of words on which a latent is active or not, for the refiner."""

import numpy as np

WORDS = ("cat", "dog", "cow", "tax", "law")
TRUE = ("cat", "dog", "cow")
"""The latent is active on these words."""


def calibrate_set(contexts: int = 40) -> tuple[list[list[str]], np.ndarray, list[int]]:
    """Contexts of these words, each with a number of its own, two a document."""
    rng = np.random.default_rng(0)
    strings = [
        ["<s>", f" r{row}", *(f" {w}" for w in rng.choice(WORDS, 12))] for row in range(contexts)
    ]
    real = [[float(w.strip() in TRUE) * (2 + i % 3) for i, w in enumerate(row)] for row in strings]
    return strings, np.array(real), [row // 2 for row in range(contexts)]
