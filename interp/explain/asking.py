"""The explainers that ask a language model, for the registry. Needs no torch."""

from interp.explain import prompts
from interp.explain.explainer import Asking, LatentRecord
from interp.llm.llm import Message


def _prompted(latent: LatentRecord) -> list[Message]:
    return prompts.prompted(
        latent.shown, maximum=latent.maximum, first_position=latent.first_position
    )


def _contrastive(latent: LatentRecord) -> list[Message]:
    return prompts.contrastive(
        latent.shown,
        latent.hard_negatives,
        maximum=latent.maximum,
        first_position=latent.first_position,
    )


PROMPTED = Asking(
    name="prompted",
    meaning="a language model reads examples",
    version=prompts.PROMPTED,
    prompt=_prompted,
)
CONTRASTIVE = Asking(
    name="contrastive",
    meaning="also reads hard negatives",
    version=prompts.CONTRASTIVE,
    prompt=_contrastive,
)
REFINE = Asking(
    name="refine",
    meaning="improves the current explanation by its worst errors",
    version=prompts.REFINE,
    rounds=2,
    loader="interp.explain.refine:explain",
)
