"""The activations that were collected, read in the web server."""

import numpy as np
from jaxtyping import Float

from interp.activations import ActivationStore
from models import Latent, Study
from models.settings import get_settings


def real_activations(
    study: Study, latent: Latent, set_name: str, rows: list[int]
) -> Float[np.ndarray, "context seq"]:
    """A latent's real activations on some contexts of a set.

    Raises:
        StoreError: They are missing or damaged: workers keep them in another folder, or files
            were lost.
    """
    folder = get_settings().activations(study.id, set_name)
    store = ActivationStore(folder, **study.collected(set_name))
    (active,) = store.read(range(latent.index, latent.index + 1))
    return active.dense(rows, study.context_length)
