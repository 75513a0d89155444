"""A small study whose jobs the tests do themselves, unit by unit."""

from collections.abc import Iterator

import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session

from models import Simulator, Study
from tests.checkpoints import living_folders
from tests.llm_server import Failing, running, simulating
from tests.studies import small_study
from workers.deletion import remove


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return living_folders(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    """A server that simulates any text, and says "yes" to all else."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with running() as server:
        server.behave = simulating
        yield server


@pytest.fixture
def study(db: Session, folders: dict[str, str], llm: Failing) -> Iterator[Study]:
    """A study of a tiny model that no worker takes up: it counts as deleted."""
    options = {"backend": "openai", "base_url": llm.url}
    simulator = Simulator(method="json_reply", model="m", prompt_version="1", options=options)
    lengths = {"context_length": 16, "contexts_explain": 600, "contexts_evaluate": 12}
    data = small_study("units", "", **(folders | lengths))
    study = Study(**data.model_dump(exclude={"first_latents", "until"}))
    db.add_all([study, simulator])
    db.flush()
    study.simulator_id, study.deleted_at = simulator.id, func.now()
    db.commit()
    yield study
    db.rollback()
    study.simulator_id = None
    db.commit()
    list(remove(db, "study", study.id))
    db.delete(simulator)
    db.commit()
