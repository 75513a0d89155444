"""A small study whose jobs the tests do themselves, unit by unit."""

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs.params import CollectParams, ExplainParams, SimulateParams
from models import Latent, Simulator, Study
from tests.checkpoints import living_folders
from tests.llm_server import Failing, running, simulating
from tests.studies import small_study
from tests.working import add_job, following, work
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


@pytest.fixture
def simulated(db: Session, study: Study) -> list[int]:
    """Some explanations of the study, simulated."""
    collect = add_job(db, study, CollectParams(explain=(ExplainParams(method="lexical"),)))
    work(db, collect, study)
    work(db, following(db, collect)[0], study)
    ids = db.scalars(select(Latent.explanation_id).filter_by(study_id=study.id)).all()
    some = tuple(sorted(number for number in ids if number is not None)[:5])
    work(db, add_job(db, study, SimulateParams(explanation_ids=some, individually=0)), study)
    return list(some)
