"""The activations that were collected, read in the web server."""

import numpy as np
from jaxtyping import Float

from interp.corpus.activations import ActivationStore
from models import Latent, Study
from models.settings import get_settings


def store_of(study: Study, set_name: str) -> ActivationStore:
    """The store of a study's activations on one set of contexts."""
    folder = get_settings().activations(study.id, set_name)
    return ActivationStore(folder, **study.collected(set_name))


def real_activations(
    study: Study, latent: Latent, set_name: str, rows: list[int]
) -> Float[np.ndarray, "context seq"]:
    """A latent's real activations on some contexts of a set.

    Raises:
        StoreError: They are missing or damaged: workers keep them in another folder, or files
            were lost.
    """
    (active,) = store_of(study, set_name).read(range(latent.index, latent.index + 1))
    return active.dense(rows, study.context_length)
