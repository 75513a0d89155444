"""Whether the whole stays up under everything at once, for as long as you like.

The servers, the web server and a worker run as `palimpsest up` starts them, on a small study of the
demo's models. Sixteen people read; four preview, save and have their explanations simulated; others
begin exports and give them up, ask for many estimates at once, open and drop streams of events, and
send requests by half. A bulk job runs all the while. Halfway the worker is killed outright and
started again.

    python -m benchmarks.soak [--check] [--minutes 10]

At the end no answer may have been a 5xx but the intended 503, which says when to try again; no
connection, stream or file may be left; memory may have grown by a tenth at most; and every job must
have ended.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import numpy as np
import psutil
from redis import Redis
from sqlalchemy import func, select, text

from app.services.simulators.adding import add_simulator
from app.services.simulators.schemas import SimulatorCreate
from cli import demo, services
from cli.fetch import fetch
from cli.processes import Child, stop
from cli.servers import Servers, embedded_servers, free_port, migrate, use
from jobs.params import CollectParams
from jobs.queue import enqueue
from models import Job, Study
from models.database import new_session
from models.settings import get_settings
from models.shipped import DEMO

SLUG = "soak"
AT = f"/studies/{SLUG}"
API = f"/api/v1{AT}"
LATENTS = 40
"""Latents with an explanation, at least; the pages of these are read."""
READERS, EDITORS = 16, 4
BULK = range(1000, 1600)
"""Latents of a bulk job: enough to keep a worker busy to the end, and few enough to end."""
THINKING = 0.5
"""Seconds between two pages of a reader, on average."""
GROWTH = 0.10
"""How much memory may grow from the first minutes to the end."""
FILES = 24
"""File descriptors of connections to PostgreSQL and Redis that the web server keeps open."""
ENDING = 1800.0
"""Seconds in which all jobs must end once nobody asks for more."""
LIVE = ("queued", "running")
PAGES = (
    "/studies",
    AT,
    f"{AT}/latents",
    f"{AT}/latents?sort=correlation",
    f"{AT}/latents?q=war",
    f"{AT}/jobs",
    f"{AT}/export",
    f"{AT}/work?task=simulate",
    "/jobs/now",
    "/simulators",
    f"{API}/latents",
    f"{API}/activity",
)


class Sample(NamedTuple):
    """The web server at one moment."""

    at: float
    memory: int
    """Bytes that it holds."""
    files: int


class Soak:
    """What is asked, and what comes back."""

    def __init__(self, url: str, port: int, web: psutil.Process, until: float) -> None:
        self.url, self.port, self.web, self.until = url, port, web, until
        self.times: dict[str, list[float]] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        self.bad: list[str] = []
        self.samples: list[Sample] = []
        self.client = httpx.AsyncClient(
            base_url=url,
            timeout=60,
            # Shorter than the server's, so that no request meets a connection that is closing.
            limits=httpx.Limits(max_connections=None, keepalive_expiry=2),
        )

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    async def ask(self, who: str, method: str, path: str, **content: Any) -> httpx.Response | None:
        """Ask for something, and note how long it took and how it went."""
        began = time.monotonic()
        try:
            answer = await self.client.request(method, path, **content)
        except httpx.HTTPError as error:
            self.bad.append(f"{method} {path}: {type(error).__name__}")
            self.answers[who, "no answer"] += 1
            return None
        self.times.setdefault(who, []).append(time.monotonic() - began)
        self.note(who, f"{method} {path}", answer)
        return answer

    def note(self, who: str, what: str, answer: httpx.Response) -> None:
        busy = answer.status_code == 503 and "retry-after" in answer.headers
        self.answers[who, "503 busy" if busy else f"{answer.status_code // 100}xx"] += 1
        if answer.status_code >= 500 and not busy:
            self.bad.append(f"{what}: {answer.status_code}")

    async def read(self) -> None:
        """A reader: one page after the other."""
        pages = [*PAGES, *(f"{AT}/latents/{index}" for index in range(LATENTS))]
        while self.goes_on:
            await self.ask("pages", "GET", random.choice(pages))
            await asyncio.sleep(random.uniform(0, 2 * THINKING))

    async def edit(self, index: int) -> None:
        """An editor: preview an explanation, save it, wait for its simulation."""
        number = 0
        while self.goes_on:
            number += 1
            explanation = {"text": f"fires on war and peace, as editor {index} puts it ({number})"}
            for _ in range(4):
                await self.ask(
                    "previews", "POST", f"{AT}/latents/{index}/preview", data=explanation
                )
                await asyncio.sleep(random.uniform(0, THINKING))
            at = f"{API}/latents/{index}/explanations"
            saved = await self.ask("saves", "POST", at, json=explanation)
            if saved is None or saved.status_code != 201:
                await asyncio.sleep(1)
                continue
            job = f"/api/v1/jobs/{saved.json()['job_id']}"
            while self.goes_on:
                await asyncio.sleep(2)
                state = await self.ask("job states", "GET", job)
                if state is not None and state.is_success and state.json()["status"] not in LIVE:
                    break

    async def export(self) -> None:
        """Exports that are begun; every fourth is read to its end."""
        number = 0
        while self.goes_on:
            number += 1
            try:
                async with self.client.stream("GET", f"{API}/export") as answer:
                    self.note("exports", "an export", answer)
                    async for _ in answer.aiter_raw(4096):
                        if number % 4:
                            break
            except httpx.HTTPError as error:
                self.bad.append(f"an export: {type(error).__name__}")
            await asyncio.sleep(random.uniform(0, 2))

    async def estimate(self) -> None:
        """Forty estimates at once, again and again."""
        while self.goes_on:
            asked = [
                self.ask("estimates", "POST", f"{API}/{task}/estimate", json={})
                for task in ("simulate", "explain") * 20
            ]
            await asyncio.gather(*asked)
            await asyncio.sleep(10)

    async def listen(self) -> None:
        """Streams of events, opened and dropped."""
        while self.goes_on:
            try:
                async with self.client.stream("GET", f"{AT}/events") as answer:
                    self.note("event streams", "a stream", answer)
                    async for _ in answer.aiter_lines():
                        break
                    await asyncio.sleep(random.uniform(0, 4))
            except httpx.HTTPError as error:
                self.bad.append(f"a stream: {type(error).__name__}")

    async def send_half(self) -> None:
        """Requests that stop in the middle."""
        halves = (
            b"GET /studies HTTP/1.1\r\nHost: ",
            f"POST {API}/simulate/estimate HTTP/1.1\r\nHost: localhost\r\n"
            f'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"'.encode(),
        )
        while self.goes_on:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(random.choice(halves))
            self.answers["half requests", "sent"] += 1
            await asyncio.sleep(random.uniform(0, 10))
            writer.close()

    async def bulk(self) -> None:
        """A job over hundreds of latents; another one when it has ended."""
        while self.goes_on:
            wanted = {"individually": 0, "then_rewrite": False, "latents": list(BULK)}
            made = await self.ask("bulk jobs", "POST", f"{API}/simulate", json=wanted)
            while made is not None and made.is_success and self.goes_on:
                await asyncio.sleep(5)
                state = await self.ask("job states", "GET", f"/api/v1/jobs/{made.json()['id']}")
                if state is not None and state.is_success and state.json()["status"] not in LIVE:
                    break
            await asyncio.sleep(5)

    async def sample(self) -> None:
        while self.goes_on:
            self.samples.append(
                Sample(time.monotonic(), self.web.memory_info().rss, self.web.num_fds())
            )
            await asyncio.sleep(2)

    async def run(self, halfway: Callable[[], Awaitable[None]]) -> None:
        """Everybody at once, until the time is over."""
        async with self.client:
            await asyncio.gather(
                *(self.read() for _ in range(READERS)),
                *(self.edit(index) for index in range(EDITORS)),
                *(self.export() for _ in range(3)),
                *(self.listen() for _ in range(4)),
                *(self.send_half() for _ in range(10)),
                self.estimate(),
                self.bulk(),
                self.sample(),
                halfway(),
            )

    def growth(self) -> float:
        """By what share memory has grown since the first third."""
        count = len(self.samples)
        first = [one.memory for one in self.samples[count // 4 : count // 3 + 1]]
        last = [one.memory for one in self.samples[-max(1, count // 10) :]]
        return median(last) / median(first) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if the goal is missed")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    models = [
        fetch(name, get_settings().data, lambda said: print(f"{said}…", flush=True))
        for name in (demo.MODEL, demo.BASE)
    ]
    with tempfile.TemporaryDirectory(prefix="palimpsest-soak-") as name:
        folder = Path(name)
        (folder / "models").symlink_to(models[0].parent)
        os.environ["PALIMPSEST_HOME"] = name
        with embedded_servers(folder) as servers:
            use(servers)
            migrate(servers.database_url)
            ok = _soak(folder, servers, arguments.minutes)
    if arguments.check and not ok:
        sys.exit(1)


def _soak(folder: Path, servers: Servers, minutes: float) -> bool:
    port = free_port()
    url = services.address("127.0.0.1", port)
    with _children(folder, port) as children:
        services.wait_until_healthy(url, list(children.values()))
        _make_study()
        web = psutil.Process(children["web"].process.pid)
        until = time.monotonic() + 60 * minutes
        soak = Soak(url, port, web, until)
        files, listening = web.num_fds(), _listening(servers)

        async def kill_the_worker() -> None:
            await asyncio.sleep(30 * minutes)
            print("killing the worker", flush=True)
            worker = children["worker"].process
            os.killpg(worker.pid, signal.SIGKILL)
            await asyncio.to_thread(worker.wait)
            children["worker"] = services.start_worker(folder)

        print(f"soaking for {minutes:.0f} min", flush=True)
        asyncio.run(soak.run(kill_the_worker))
        print("ending", flush=True)
        jobs = _ended_jobs()
        left = _left(soak, servers, files, listening)
    return _report(soak, jobs, left)


@contextmanager
def _children(folder: Path, port: int) -> Iterator[dict[str, Child]]:
    """A worker and the web server, as `palimpsest up` starts them; both may be replaced."""
    children = {"worker": services.start_worker(folder)}
    try:
        children["web"] = services.start_web(folder, "127.0.0.1", port)
        yield children
    finally:
        stop(children.values())


def _make_study() -> None:
    """A small study of the demo's models, collected and explained; it is simulated meanwhile."""
    with new_session() as session:
        simulator = SimulatorCreate(
            method="two_tower",
            model=demo.BASE,
            folder=str(DEMO / "simulators" / "two_tower"),
        )
        study = Study(
            slug=SLUG,
            title="Soaked",
            model=demo.MODEL,
            coder=str(DEMO / "coder"),
            hookpoint="layers.10.mlp",
            corpus="sotu",
            context_length=34,
            prepend_bos=True,
            contexts_explain=400,
            contexts_calibrate=16,
            contexts_evaluate=24,
            contexts_rewrite=8,
            seed=0,
            simulator_id=add_simulator(session, simulator).id,
        )
        session.add(study)
        session.flush()
        enqueue(session, study, CollectParams(first_latents=LATENTS, individually=0), by="soak")
        print("collecting", flush=True)
        explained = select(func.count()).where(Job.kind == "explain", Job.status == "finished")
        deadline = time.monotonic() + 1200
        while not session.scalar(explained):
            failed = session.scalar(select(Job.message).where(Job.status == "failed"))
            if failed or time.monotonic() > deadline:
                raise RuntimeError(f"The study was not made: {failed or 'it takes too long'}")
            session.rollback()
            time.sleep(1)


def _ended_jobs() -> Counter[str]:
    """The states of all jobs once every one has ended, or when the time for that is over."""
    deadline = time.monotonic() + ENDING
    query = select(Job.status, func.count()).group_by(Job.status)
    with new_session() as session:
        while True:
            states = Counter({status: number for status, number in session.execute(query)})
            if not any(states[state] for state in LIVE) or time.monotonic() > deadline:
                return states
            session.rollback()
            time.sleep(1)


def _listening(servers: Servers) -> int:
    """Patterns of channels that somebody listens to; workers listen to some."""
    with Redis.from_url(servers.redis_url) as redis:
        return int(redis.pubsub_numpat())


def _left(soak: Soak, servers: Servers, files: int, listening: int) -> list[str]:
    """What is held for nobody, 40 seconds after the last request."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' "
        "AND application_name IN ('palimpsest web', 'palimpsest export')"
    )
    deadline = time.monotonic() + 40
    while True:
        with new_session() as session:
            open_now = {
                "connections in use": session.scalar(query),
                "streams of events": _listening(servers) - listening,
                "file descriptors": soak.web.num_fds() - files - FILES,
            }
        left = [f"{number} {what}" for what, number in open_now.items() if number > 0]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1)


def _report(soak: Soak, jobs: Counter[str], left: list[str]) -> bool:
    print(f"{'':16} {'answers':>8} {'busy':>6} {'5xx':>5} {'median':>10} {'p95':>10}")
    for who in sorted({who for who, _ in soak.answers}):
        of = {kind: number for (name, kind), number in soak.answers.items() if name == who}
        taken = np.percentile(soak.times.get(who, [0.0]), [50, 95]) * 1000
        print(
            f"{who:16} {sum(of.values()):8} {of.get('503 busy', 0):6} "
            f"{of.get('5xx', 0) + of.get('no answer', 0):5} "
            f"{taken[0]:7.0f} ms {taken[1]:7.0f} ms"
        )
    growth = soak.growth()
    memory = [one.memory / 1e6 for one in soak.samples]
    print(f"memory of the web server: {memory[0]:.0f} MB at first, {memory[-1]:.0f} MB at the end")
    print(f"it has grown by {growth:.1%} since the first third (goal {GROWTH:.0%})")
    print("jobs: " + ", ".join(f"{number} {state}" for state, number in sorted(jobs.items())))
    faults = [
        *(f"{number} × {what}" for what, number in Counter(soak.bad).most_common(20)),
        *(f"left: {what}" for what in left),
        *(f"{jobs[state]} jobs {state}" for state in (*LIVE, "failed") if jobs[state]),
    ]
    for fault in faults:
        print(f"fault: {fault}")
    ratio = 0.0 if faults else min(9.9, GROWTH / max(growth, GROWTH / 10))
    print(f"soak ratio {ratio:.1f} (goal 1.0)")
    return ratio >= 1.0


if __name__ == "__main__":
    main()
