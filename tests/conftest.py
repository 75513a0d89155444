"""Real parts for the tests: servers, a web server, a worker, a browser, a model.

Nothing is mocked. What is dear is made once a run; the fetched model is kept between runs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Before anything reads them. No test asks a hub: fuzzed studies name models that none has, and each
# such name would take the worker a minute. Processes side by side share the cores: with a thread
# for each core, every one would wait for the others.
os.environ["HF_HUB_OFFLINE"] = "1"
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
import platformdirs
import pytest
from filelock import FileLock
from hypothesis import settings
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.services.simulators.adding import add_simulator
from app.services.simulators.schemas import SimulatorCreate
from cli.fetch import fetch
from cli.processes import Child, last_line, start, stop
from cli.servers import Servers, embedded_servers, free_port, migrate, use
from cli.services import web_command, worker_command
from jobs import queue
from jobs.events import get_redis
from jobs.kinds import INTERACTIVE, QUEUES
from jobs.progress import ASK_SECONDS
from models import Job, Latent, Rewrite, Study
from models.database import get_engine, new_session
from tests import REPOSITORY
from tests.factories import little_study
from tests.studies import is_held, make_study, queue_job, small_study, wait_for_jobs, wait_until

# Timing never decides a test: a busy machine takes longer than Hypothesis allows an example.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def needs_worker(item: pytest.Item) -> bool:
    return "worker" in getattr(item, "fixturenames", ())


def group_of(item: pytest.Item) -> str:
    """The tests that run in one process: those of a file, as they share what it makes."""
    fixtures = getattr(item, "fixturenames", ())
    # Of several files: the study takes minutes to make, and the simulator one more.
    if "living_study" in fixtures:
        return "taught" if "trained" in fixtures else "living"
    file = str(item.path.relative_to(REPOSITORY))  # files of several tiers share names
    return f"{file}-worker" if needs_worker(item) else file


TIERS = ("worker", "integration", "browser", "unit", "wheel")
"""In the order in which they run: small files come last, so that all processes end together."""


def place(item: pytest.Item) -> tuple[bool, bool, int]:
    """When a test runs: those with a worker first, as they take longest, and the largest groups of
    these before all."""
    tier = item.path.relative_to(REPOSITORY / "tests").parts[0]
    alone = group_of(item) not in ("taught", "living")
    return alone, not needs_worker(item), TIERS.index(tier)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, a group's tests run in one process. A process has servers of its own.

    Where all run in one process, the order is the same.
    """
    items.sort(key=place)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))


@pytest.fixture(scope="session", autouse=True)
def _environment() -> None:
    """Child processes import this checkout, from whatever folder they run in."""
    path = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """A folder ``models`` with the fetched demo model, kept between runs."""
    cache = platformdirs.user_cache_path("palimpsest-tests", ensure_exists=True)
    with FileLock(cache / "fetching.lock"):  # tests may run in several processes
        fetch("smollm2-135m-instruct", cache, say=print)
    return cache / "models"


@pytest.fixture(scope="session")
def data_folder(model_cache: Path) -> Iterator[Path]:
    """A data folder with nothing in it but the fetched model."""
    with tempfile.TemporaryDirectory(prefix="palimpsest-") as folder:
        data = Path(folder)
        (data / "models").mkdir()
        # No other: whether the base of the shipped simulator is here, says what a new study does.
        name = "smollm2-135m-instruct"
        shutil.copytree(model_cache / name, data / "models" / name, copy_function=_linked)
        yield data


def _linked(source: str, target: str) -> None:
    """A hard link, where both are on one disk: what people may name is no link out of a folder."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def servers(data_folder: Path) -> Iterator[Servers]:
    """Running PostgreSQL and Valkey with the tables made; the settings point to them."""
    os.environ["PALIMPSEST_HOME"] = str(data_folder)
    with embedded_servers(data_folder) as running:
        use(running)
        migrate(running.database_url)
        yield running
        get_engine().dispose()


@pytest.fixture
def db(servers: Servers) -> Iterator[Session]:
    """A session on the database of the tests."""
    with new_session() as session:
        yield session


@pytest.fixture(scope="session")
def worker(servers: Servers, data_folder: Path) -> Iterator[Child]:
    """A real Celery worker process on both queues. What other tests left there is nobody's work."""
    with new_session() as session:
        unfinished = update(Job).where(Job.status.in_(("queued", "running")))
        session.execute(unfinished.values(status="cancelled"))
        session.commit()
    command = [sys.executable, "-m", "celery", "-A", "jobs.queue", "worker", "-Q", "gpu,cpu"]
    child = start("worker", [*command, "--loglevel", "INFO"], data_folder, cwd=REPOSITORY)
    _workers.append(child)
    _wait_until_served("gpu", child)
    yield child
    stop([child])


def _wait_until_served(name: str, child: Child) -> None:
    """Until a worker has said that it serves a queue, pages say that nobody does."""
    deadline = time.monotonic() + 120
    while name in queue.unserved():
        assert child.process.poll() is None, last_line(child.log)
        assert time.monotonic() < deadline, last_line(child.log)
        time.sleep(0.2)


_workers: list[Child] = []


@pytest.fixture(autouse=True)
def _nobody_at_work(request: pytest.FixtureRequest) -> None:
    """Tests without a worker come after those with one, which is stopped by then: it would take up
    whatever job a test looks at."""
    if not needs_worker(request.node):
        while _workers:
            stop([_workers.pop()])
            get_redis().delete(f"palimpsest:served:{INTERACTIVE}")


@pytest.fixture(scope="session")
def web(servers: Servers, data_folder: Path) -> Iterator[str]:
    """The address of a real web server process."""
    port = free_port()
    child = start("web", web_command("127.0.0.1", port), data_folder, cwd=REPOSITORY)
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/healthz", child)
    yield url
    stop([child])


@pytest.fixture
def served(web: str) -> Iterator[None]:
    """Pages hear that a worker serves all queues, as if one had just said so."""
    queue.beat(QUEUES)
    time.sleep(ASK_SECONDS)  # the web server may just have heard otherwise
    yield
    silence()


def silence() -> None:
    """Nobody serves any queue, and the web server knows."""
    for key in get_redis().scan_iter("palimpsest:served:*"):
        get_redis().delete(key)
    time.sleep(ASK_SECONDS)


@pytest.fixture
def pages(web: str) -> Iterator[httpx.Client]:
    """Asks the web server for its pages."""
    with httpx.Client(base_url=web, timeout=30) as client:
        yield client


@pytest.fixture
def api(web: str) -> Iterator[httpx.Client]:
    """Asks the web server's JSON API."""
    with httpx.Client(base_url=f"{web}/api/v1", timeout=30) as client:
        yield client


@pytest.fixture
def study(db: Session) -> Study:
    """A study made up of a few rows, with all kinds of figures."""
    return little_study(db)


@pytest.fixture(scope="session")
def living_study(servers: Servers, worker: Child) -> Study:
    """A small study of the real model that the worker has collected, explained, simulated and
    rewritten."""
    with new_session() as session:
        data = small_study("living", "smollm2-135m-instruct")
        study = make_study(session, data)
        jobs = wait_for_jobs(session, study.id)
        assert all(job.status == "finished" for job in jobs), [job.message for job in jobs]
        session.refresh(study)
        return study


TAUGHT = 24
"""Latents that the tests' simulator is trained on and evaluated with: too few to be any good."""


@pytest.fixture(scope="session")
def trained(
    living_study: Study, model_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A two-tower simulator trained, for a moment, on a few latents of the study."""
    from cli.train import read_corpus  # imports torch, like all that follows
    from interp.simulate.two_tower.method import Settings
    from interp.simulate.two_tower.networks import Shape
    from interp.simulate.two_tower.train import train
    from tests.engine import smollm2

    corpus, text = read_corpus(living_study.slug, [])
    some = dict(list(corpus.explanations.items())[:TAUGHT])
    subject = smollm2(model_cache)
    out = tmp_path_factory.mktemp("trained") / "two_tower"
    train(
        subject.model,
        subject.tokenizer,
        "smollm2-135m-instruct",
        [corpus._replace(explanations=some)],
        text,
        out,
        shape=Shape(features=32, width=16, token_hidden=16, explanation_hidden=16),
        settings=Settings(folds=2, steps=4, latents=8, tokens=128, check_every=2),
        command="palimpsest train-simulator living",
        say=lambda _: None,
    )
    return out


@pytest.fixture(scope="session")
def interactive_worker(worker: Child, data_folder: Path) -> Iterator[Child]:
    """A real worker for what people wait for, beside the other one."""
    child = start("interactive", worker_command("interactive"), data_folder, cwd=REPOSITORY)
    _workers.append(child)
    _wait_until_served(INTERACTIVE, child)
    yield child
    stop([child])
    get_redis().delete(f"palimpsest:served:{INTERACTIVE}")


@pytest.fixture
def instant_study(
    db: Session,
    living_study: Study,
    model_cache: Path,
    trained: Path,
    interactive_worker: Child,
    api: httpx.Client,
) -> Iterator[Study]:
    """The living study with the quick simulator, and a worker that answers while somebody types."""
    study = db.get_one(Study, living_study.id)
    before = study.simulator_id
    base = str(model_cache / "smollm2-135m-instruct")
    given = SimulatorCreate(method="two_tower", model=base, folder=str(trained))
    study.simulator_id = add_simulator(db, given).id
    db.commit()
    first = f"/studies/{study.slug}/latents/0/draft"
    deadline = time.monotonic() + 120
    while api.post(first, json={"text": "words"}).status_code == 503:  # it loads its models
        assert time.monotonic() < deadline
    yield study
    unfinished = Job.study_id == study.id, Job.status.in_(("queued", "running"))
    db.execute(update(Job).where(*unfinished).values(status="cancelled"))
    db.execute(update(Study).where(Study.id == study.id).values(simulator_id=before))
    db.commit()


@pytest.fixture
def bulk(db: Session, instant_study: Study) -> Job:
    """A long job that the other worker is at, with a simulator that takes seconds for each text."""
    slow = select(Rewrite.simulator_id).where(Rewrite.study_id == instant_study.id)
    ids = select(Latent.explanation_id).where(
        Latent.study_id == instant_study.id, Latent.firing_rate > 0.001
    )
    job = queue_job(
        db,
        instant_study,
        "simulate",
        explanation_ids=list(db.scalars(ids.order_by(Latent.index).limit(64))),
        simulator_id=db.scalars(slow.order_by(Rewrite.id)).first(),
        individually=0,
        again=True,
    )
    wait_until(db, lambda: is_held(db, job), what="the worker to take up the long job")
    return job


def wait_for(url: str, child: Child, timeout: float = 60) -> None:
    """Wait until a web server answers."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert child.process.poll() is None, f"it ended: {last_line(child.log)}"
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer: {last_line(child.log)}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"There is no {CHROMIUM}. Install Debian's chromium, or set CHROMIUM.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


FINE = (
    "the server responded with a status of 422",  # bad input was refused, as it must be
    "htmx:sendAbort",  # another request took its place; htmx says both
    "htmx:afterRequest",
)


def _problem(page: Page, message: ConsoleMessage) -> list[str]:
    """A console error, unless it only says what must be."""
    fine = any(words in message.text for words in FINE)
    return [f"{page.url}: {message.text}"] if message.type == "error" and not fine else []


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A page in a browser context of its own. A script error on it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("console", lambda message: problems.extend(_problem(page, message)))
    yield page
    context.close()
    assert not problems, "\n".join(problems)


def palimpsest(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with no servers in its environment but those given."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=inherited | {"COLUMNS": "200"} | environment,
        timeout=300,
        check=False,
    )
