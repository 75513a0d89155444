"""Which shipped simulator is for which subject model."""

import pytest

from app.services.simulators.independence import alike
from app.services.simulators.shipped import SHIPPED, shipped_for
from interp.simulate.training.trained import Trained
from models.shipped import DEMO


@pytest.mark.parametrize(
    ("subject", "base"),
    [
        ("smollm2-135m-instruct", "gemma-3-270m"),
        ("HuggingFaceTB/SmolLM2-1.7B", "gemma-3-270m"),
        ("EleutherAI/pythia-160m", "gemma-3-270m"),
        ("/models/gemma-3-270m", "smollm2-135m-instruct"),
        ("google/gemma-2-2b", "smollm2-135m-instruct"),
    ],
)
def test_no_model_is_read_by_its_own_family(subject: str, base: str) -> None:
    assert shipped_for(subject).base == base
    assert not alike(subject, base)


def test_each_is_trained_on_the_base_that_it_is_listed_with() -> None:
    for one in SHIPPED:
        trained = Trained.read(DEMO / "simulators" / one.folder)
        assert trained.base == one.base
