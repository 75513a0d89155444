"""Jobs end, whatever happens to them: on two real workers, with a language model that answers when
the test lets it."""

import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from app.services.jobs.queries import cancel_job, retry_job
from cli.processes import Child, start, stop
from cli.servers import Servers
from jobs import queue
from jobs.events import get_redis
from models import Explanation, Job, JobEvent, Latent, Study
from models.database import get_engine, new_session
from tests import REPOSITORY
from tests.factories import little_study
from tests.llm_server import Failing, Reply, said
from tests.studies import is_held, queue_job, wait_for_jobs, wait_until
from workers.runner import MOST_SETBACKS

CHUNK = "2"
"""Seconds of a turn: the tests wait for several."""


class Patient(Failing):
    """Answers a model's requests as far as the test has let it, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.order: list[str] = []
        self.may: dict[str, float] = defaultdict(int)
        self.seconds = 0.0
        self.changed = threading.Condition()
        self.behave = self._wait

    def _wait(self, body: dict[str, Any], _: int) -> Reply:
        model = body["model"]
        with self.changed:
            self.asked[model] += 1
            number = self.asked[model]
            self.order.append(model)
            self.changed.wait_for(lambda: number <= self.may[model], timeout=300)
        return said("Words about the state.")._replace(after=self.seconds)

    def let(self, model: str, requests: float = float("inf")) -> None:
        """Have so many requests of a model answered, from the first on."""
        with self.changed:
            self.may[model] = requests
            self.changed.notify_all()


@pytest.fixture
def llm() -> Iterator[Patient]:
    """A language model's server."""
    server = Patient()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    for model in list(server.asked):
        server.let(model)
    server.shutdown()
    server.server_close()


def _worker(name: str, data_folder: Path) -> Child:
    command = [sys.executable, "-m", "celery", "-A", "jobs.queue", "worker", "-Q", "gpu,cpu"]
    return start(
        name, [*command, "-n", f"{name}@%h", "--loglevel", "INFO"], data_folder, cwd=REPOSITORY
    )


@pytest.fixture(scope="module")
def workers(servers: Servers, data_folder: Path) -> Iterator[dict[str, Child]]:
    """Two real workers. What other tests left on the queues is nobody's work."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PALIMPSEST_CHUNK_SECONDS", CHUNK)
        with new_session() as session:
            unfinished = update(Job).where(Job.status.in_(("queued", "running")))
            session.execute(unfinished.values(status="cancelled"))
            session.commit()
        children = {name: _worker(name, data_folder) for name in ("one", "two")}
        answering: dict[str, Any] = {}
        deadline = time.monotonic() + 120
        while len(answering) < 2 and time.monotonic() < deadline:
            answering = queue.celery.control.inspect(timeout=2).ping() or {}
        assert len(answering) == 2
        yield children
        stop(children.values())
        for key in get_redis().scan_iter("palimpsest:served:*"):
            get_redis().delete(key)  # or pages would look for a worker for a while


def _explain(
    db: Session, llm: Patient, model: str, latents: list[int] | None = None, *, firing: int = 5
) -> tuple[Study, Job]:
    """Have a model explain some latents of a new study, or all that fire."""
    study = little_study(db, latents=firing + 1)
    described = {"backend": "openai", "model": model, "base_url": llm.url}
    params = {"method": "prompted", "llm": described, "latents": latents}
    return study, queue_job(db, study, "explain", **params)


def _asked(db: Session, llm: Patient, model: str, times: int) -> None:
    what = f"request {times} of {model}"
    wait_until(db, lambda: llm.asked[model] >= times, timeout=120, what=what)


def _holder(db: Session, job: Job) -> psutil.Process:
    """The main process of the worker that is at a job."""
    db.refresh(job)
    assert job.held_by is not None
    return psutil.Process(int(job.held_by.rsplit(":", 1)[1]))


def _lines(db: Session, job: Job) -> list[str]:
    return list(db.scalars(select(JobEvent.text).filter_by(job_id=job.id).order_by(JobEvent.id)))


def _assert_each_once(db: Session, study: Study) -> None:
    """Every latent that fires has one explanation of the model's."""
    written = select(Latent.index, func.count(Explanation.id)).join(
        Explanation, Explanation.latent_id == Latent.id
    )
    mine = written.where(Latent.study_id == study.id, Explanation.author == "prompted")
    found = db.execute(mine.group_by(Latent.index).order_by(Latent.index)).all()
    assert [tuple(row) for row in found] == [(index, 1) for index in range(5)]


def _assert_for_people(message: str) -> None:
    for word in ("Error", "Exception", "Traceback", "psycopg", "INSERT", "SELECT", "sqlalche"):
        assert word not in message, message


def test_an_error_of_the_database_ends_the_job(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    study, job = _explain(db, llm, "gone", [0])
    _asked(db, llm, "gone", 1)
    db.execute(delete(Latent).where(Latent.study_id == study.id, Latent.index == 0))
    db.commit()
    llm.let("gone")
    wait_for_jobs(db, study.id, timeout=60)
    assert job.status == "failed"
    _assert_for_people(job.message)
    reference = job.message.split("reference ")[1].split(".")[0]
    logs = "".join(child.log.read_text() for child in workers.values())
    assert f"job {job.id} failed, reference {reference}" in logs
    wait_until(db, lambda: not is_held(db, job), timeout=60, what="the worker to let go")
    assert job.held_by is None


def test_an_answer_that_cannot_be_stored_ends_the_job(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    llm.behave = lambda body, before: said("Half of a pair: \ud83d, and \0.")
    study, job = _explain(db, llm, "halves", [0])
    wait_for_jobs(db, study.id, timeout=60)
    _assert_for_people(job.message)


def test_a_job_goes_on_when_the_database_is_back(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    study, job = _explain(db, llm, "away")
    llm.let("away", 2)
    _asked(db, llm, "away", 3)
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    db.execute(text(f"{others} AND datname = current_database()"))
    db.commit()
    get_engine().dispose()  # connections of this process, which are cut off too
    llm.let("away")
    wait_for_jobs(db, study.id, timeout=120)
    assert (job.status, job.setbacks, job.done) == ("finished", 0, 5)
    assert any("without progress" in line for line in _lines(db, job))
    _assert_each_once(db, study)


def test_a_job_cancelled_and_retried_while_a_worker_is_at_it(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    study, job = _explain(db, llm, "again")
    _asked(db, llm, "again", 1)
    cancel_job(db, job)
    retry_job(db, job)
    # The other worker takes the message, and finds the job held.
    wait_until(db, lambda: not get_redis().llen("cpu"), timeout=60, what="the message")
    assert is_held(db, job)
    llm.let("again")
    wait_for_jobs(db, study.id, timeout=60)
    assert (job.status, job.attempts) == ("finished", 2)
    _assert_each_once(db, study)


def test_a_job_whose_message_is_lost_is_found(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    llm.let("lost")
    study = little_study(db)
    described = {"backend": "openai", "model": "lost", "base_url": llm.url}
    job = Job(
        study_id=study.id,
        kind="explain",
        params={"method": "prompted", "llm": described},
        created_by="tests",
    )
    db.add(job)
    db.commit()
    wait_for_jobs(db, study.id, timeout=4 * queue.LOOK_SECONDS)
    assert job.status == "finished"


def test_a_job_that_kills_its_worker_ends(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    study, job = _explain(db, llm, "killer")
    llm.let("killer", 1)
    for death in range(1, MOST_SETBACKS + 1):
        _asked(db, llm, "killer", 1 + death)
        (pool,) = _holder(db, job).children()
        pool.kill()
    wait_for_jobs(db, study.id, timeout=120)
    assert (job.status, job.attempts, job.done) == ("failed", MOST_SETBACKS, 1)
    assert f"{MOST_SETBACKS} times" in job.message and "memory" in job.message
    deaths = [line for line in _lines(db, job) if "died" in line]
    assert len(deaths) == MOST_SETBACKS
    llm.let("killer")
    retry_job(db, job)
    wait_for_jobs(db, study.id, timeout=60)
    assert (job.status, job.setbacks, job.done) == ("finished", 0, 5)
    _assert_each_once(db, study)


def test_a_worker_that_is_stopped_in_order_has_not_died(
    db: Session, workers: dict[str, Child], llm: Patient, data_folder: Path
) -> None:
    study, job = _explain(db, llm, "stopped")
    _asked(db, llm, "stopped", 1)
    main = _holder(db, job)
    name = next(name for name, child in workers.items() if child.process.pid == main.pid)
    stop([workers[name]._replace(stop_signal=signal.SIGQUIT)])
    _asked(db, llm, "stopped", 2)
    db.refresh(job)
    assert (job.setbacks, job.attempts) == (0, 1)
    workers[name] = _worker(name, data_folder)
    llm.let("stopped")
    wait_for_jobs(db, study.id, timeout=60)
    assert job.status == "finished"


def test_a_job_whose_study_is_deleted_stops_quietly(
    db: Session, workers: dict[str, Child], llm: Patient
) -> None:
    study, job = _explain(db, llm, "deleted")
    _asked(db, llm, "deleted", 1)
    job_id = job.id
    db.execute(delete(Study).where(Study.id == study.id))
    db.commit()
    llm.let("deleted")
    other, _ = _explain(db, llm, "deleted", [0])
    assert [job.status for job in wait_for_jobs(db, other.id, timeout=60)] == ["finished"]
    logs = "".join(child.log.read_text() for child in workers.values())
    assert f"job {job_id} failed" not in logs


@pytest.fixture
def one_worker(db: Session, workers: dict[str, Child], llm: Patient) -> Iterator[None]:
    """The other one is busy."""
    _, job = _explain(db, llm, "busy", [0])
    _asked(db, llm, "busy", 1)
    yield
    llm.let("busy")
    wait_until(db, lambda: db.refresh(job) or job.status == "finished", timeout=60)


def test_a_long_job_has_its_turns_beside_a_newer_one(
    db: Session, llm: Patient, one_worker: None
) -> None:
    llm.seconds = 0.3
    llm.let("old")
    llm.let("new")
    older, _ = _explain(db, llm, "old", firing=10)
    _asked(db, llm, "old", 1)
    newer, _ = _explain(db, llm, "new", firing=10)
    wait_for_jobs(db, older.id, timeout=60)
    wait_for_jobs(db, newer.id, timeout=60)
    order = [model for model in llm.order if model != "busy"]
    assert Counter(order) == {"old": 10, "new": 10}
    first, last = order.index("new"), len(order) - 1 - order[::-1].index("new")
    turns_between = "".join(model[0] for model in order[first:last])
    assert "oo" in turns_between, "a turn is more than one unit"


def test_a_job_is_finished_once_its_last_unit_is_done(
    db: Session, llm: Patient, one_worker: None
) -> None:
    _, job = _explain(db, llm, "first", [0])
    _asked(db, llm, "first", 1)
    time.sleep(float(CHUNK))  # its time is over, and another one waits
    other, _ = _explain(db, llm, "second", [0])
    llm.let("first")
    _asked(db, llm, "second", 1)
    db.refresh(job)
    assert (job.status, job.done, job.total) == ("finished", 1, 1)
    llm.let("second")
    wait_for_jobs(db, other.id, timeout=60)
