"""The web server stays up: whatever clients send at once, send by half, or never read."""

import json
import os
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx
import psutil
import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from redis import Redis
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.main import create_app
from app.web.places import Busy, Places
from app.web.reference.operations import API
from cli.processes import start, stop
from cli.servers import Servers, free_port
from interp.simulate.prompted.all_at_once import VERSION
from interp.vocabulary import Role
from models import Context, Latent, Simulator, Study
from models.database import new_session
from tests import REPOSITORY
from tests.conftest import wait_for
from tests.factories import little_study
from tests.people import add_person, bearer
from tests.reading import problem_of
from tests.routes import page_routes

LIMIT = 3.0
"""Seconds of the time limits, which are shorter here so that the tests are."""
STREAMS = 40
CLIENTS = 300
SERVE = f"""
import sys
from app import server
from app.web import events
from app.web.guard import limits
server.SEND_SECONDS = server.HEAD_SECONDS = limits.SECONDS = {LIMIT}
server.CLIENTS = {CLIENTS}
events.STREAMS.total = {STREAMS}
server.serve(host="127.0.0.1", port=int(sys.argv[1]))
"""
SLACK = 24
"""File descriptors of connections to PostgreSQL and Redis that a server keeps open."""
MB = 2**20


class Server(NamedTuple):
    """A web server of this test alone."""

    port: int
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def files(self) -> int:
        return int(self.process.num_fds())


@contextmanager
def serving(data: Path, name: str, **environment: str) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(port)]
    child = start(name, command, data, cwd=REPOSITORY, env=os.environ | environment)
    wait_for(f"http://127.0.0.1:{port}/healthz", child)
    try:
        yield Server(port, psutil.Process(child.process.pid))
    finally:
        stop([child])
    assert "Traceback" not in child.log.read_text()


@pytest.fixture(scope="module")
def server(servers: Servers, data_folder: Path) -> Iterator[Server]:
    with serving(data_folder, "staying-up") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(servers: Servers, data_folder: Path) -> Iterator[Server]:
    """It lets nobody in who has not signed in."""
    with serving(data_folder, "guarded", PALIMPSEST_ACCOUNTS="true") as running:
        yield running


@pytest.fixture(scope="module")
def large(servers: Servers) -> str:
    """A study whose export is more than sockets take: 24 MB of random numbers."""
    with new_session() as session:
        study = little_study(session, rewritten=False)
        latent = session.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
        context = session.scalars(select(Context).filter_by(study_id=study.id).limit(1)).one()
        session.execute(
            text(
                "INSERT INTO example (latent_id, context_id, kind, rank, activations) "
                "SELECT :latent, :context, 'random', 1000 + n, (SELECT array_agg(random()::real) "
                "FROM generate_series(1, 300 + 0 * n)) FROM generate_series(1, 20000) n"
            ),
            {"latent": latent.id, "context": context.id},
        )
        session.commit()
        return study.slug


@pytest.fixture
def study(db: Session) -> Study:
    """A study whose simulator can say what it reads."""
    made = little_study(db)
    db.get_one(Simulator, made.simulator_id).prompt_version = VERSION
    db.commit()
    return made


@pytest.fixture
def steady(server: Server, db: Session) -> Iterator[Callable[[], None]]:
    """What must hold after a test: pages answer as before, and nothing is held. Call it to say that
    pages answer now."""
    # Of a study of its own, as a test may delete the one that it asks for.
    page = f"{server.url}/studies/{little_study(db).slug}/latents/0"

    def answer() -> float:
        began = time.monotonic()
        assert httpx.get(page, timeout=60).status_code == 200
        return time.monotonic() - began

    answer()
    usual = statistics.median(answer() for _ in range(3))
    files = server.files()

    def answers_as_usual() -> None:
        assert answer() < max(5.0, 20 * usual)

    yield answers_as_usual
    until(lambda: transactions(db) == 0, "a transaction is left open")
    until(lambda: server.files() <= files + SLACK, "file descriptors are left open")
    answers_as_usual()


def transactions(db: Session) -> int:
    """Transactions of the web server in which nothing happens."""
    db.rollback()
    return db.scalar(
        text(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' "
            "AND application_name IN ('palimpsest web', 'palimpsest export')"
        )
    )


def exporting(db: Session) -> int:
    """Exports that have a connection."""
    db.rollback()
    return db.scalar(
        text(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE state <> 'idle' AND application_name = 'palimpsest export'"
        )
    )


def until(holds: Callable[[], bool], otherwise: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


# Exports and events


def test_exports_that_are_given_up_hold_nothing(
    server: Server, steady: Callable[[], None], large: str
) -> None:
    address = f"{server.url}{API}/studies/{large}/export?parts=examples"
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(timeout=60, limits=limits) as client,
        ExitStack() as opened,
        ThreadPoolExecutor(20) as people,
    ):
        # All at once, as who does not read is soon cut off, and makes room.
        wanted = client.build_request("GET", address)
        asked = [people.submit(client.send, wanted, stream=True) for _ in range(20)]
        answers = [one.result() for one in asked]
        for answer in answers:
            opened.callback(answer.close)
        sent = [answer.iter_raw(1000) for answer in answers if answer.status_code == 200]
        assert len(sent) == 4
        assert all(next(pieces) for pieces in sent)
        for answer in answers:
            if answer.status_code != 200:
                answer.read()
                assert "exports" in problem_of(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
        steady()
    # Who comes later gets a place.
    until(lambda: httpx.get(f"{address}&q=nothing").status_code == 200, "places are not given back")


def test_a_client_that_does_not_read_its_export_is_cut_off(
    server: Server, steady: Callable[[], None], db: Session, large: str
) -> None:
    files = server.files()
    with ExitStack() as opened:
        for _ in range(4):
            client = opened.enter_context(server.connect())
            path = f"{API}/studies/{large}/export?parts=examples"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: exporting(db) > 0, "no export has begun")
        steady()
        until(lambda: exporting(db) == 0, "exports wait for their clients", LIMIT + 60)
        until(lambda: server.files() <= files + SLACK, "the sockets are open")


def test_streams_of_events_are_bounded_and_end_with_their_browsers(
    server: Server, steady: Callable[[], None], servers: Servers, study: Study
) -> None:
    with Redis.from_url(servers.redis_url) as redis:

        def listening() -> int:
            return int(redis.info("clients")["pubsub_clients"])

        before = listening()
        address = f"{server.url}/studies/{study.slug}/events"
        limits = httpx.Limits(max_connections=None)
        for _ in range(2):
            with httpx.Client(timeout=60, limits=limits) as client, ExitStack() as opened:
                streams = [
                    opened.enter_context(client.stream("GET", address)).iter_lines()
                    for _ in range(STREAMS)
                ]
                assert {next(lines) for lines in streams} == {"event: refresh"}
                assert listening() == before + STREAMS
                assert client.get(address).status_code == 503
                steady()
            until(lambda: listening() == before, "subscriptions are left")


# Many at once

BODIES = {
    "explanations": {"text": "words about the Union"},
    "explain": {"method": "lexical"},
    "explain/estimate": {"method": "lexical"},
    "score": {"llm": {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}},
    "preview": {"text": "words about the Union"},
    "comments": {"text": "a remark"},
    "sentences": {"text": "My fellow citizens of the Union"},
    "generations": {"prompt": "My fellow", "latents": [0]},
    "rewrites": {},
    "lists": {"name": "kept"},
}
BODIES["score/estimate"] = BODIES["score"]
AT_ONCE = 40
HEAVY = 80
"""How often a few things that read much are asked for at once."""


def posts() -> list[tuple[str, str, bool]]:
    """Everything that changes something: method and address, and whether it takes JSON."""
    api = [
        (method, path, True)
        for path, methods in create_app().openapi()["paths"].items()
        for method in methods
        if method in {"post", "put", "patch"}
    ]
    pages = [("post", path, False) for path, methods in page_routes().items() if "POST" in methods]
    return api + pages


@pytest.mark.parametrize(("method", "path", "as_json"), posts(), ids=str)
def test_many_posts_at_once_stop_nobody(
    server: Server,
    steady: Callable[[], None],
    db: Session,
    study: Study,
    method: str,
    path: str,
    as_json: bool,
) -> None:
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    ids = {"slug": study.slug, "index": 0, "explanation_id": latent.explanation_id}
    address = re.sub(r"\{(\w+)\}", lambda match: str(ids.get(match[1], 1)), path)
    ending = re.sub(r".*\}/", "", path)
    body = BODIES.get(ending, {})
    heavy = ending.endswith(("estimate", "preview", "simulate"))
    content = {"json": body} if as_json else {"data": {**body, "text": "words", "task": "simulate"}}
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=server.url, timeout=120, limits=limits) as client,
        ThreadPoolExecutor(HEAVY) as people,
    ):
        asked: list[Future[httpx.Response]] = [
            people.submit(client.request, method, address, **content)
            for _ in range(HEAVY if heavy else AT_ONCE)
        ]
        steady()
        answers = [one.result() for one in asked]
    for answer in answers:
        assert answer.status_code < 500, answer.text
    if ending.endswith(("estimate", "preview")):
        assert {answer.status_code for answer in answers} == {200}


def test_who_finds_no_place_waits_in_turn_or_is_refused() -> None:
    places = Places(1, "Nothing is free.", waiting=1)
    served: list[str] = []

    async def come(name: str) -> None:
        try:
            async with places.one():
                served.append(name)
                await checkpoint()
        except Busy as busy:
            served.append(f"{name}: {busy.status_code}")

    async def all_at_once() -> None:
        async with create_task_group() as people:
            for name in ("first", "second", "third"):
                people.start_soon(come, name)
        await come("fourth")

    with ThreadPoolExecutor(1) as thread:  # Playwright may run a loop on this one
        thread.submit(anyio.run, all_at_once).result()
    assert sorted(served) == ["first", "fourth", "second", "third: 503"]
    assert served.index("first") < served.index("second") < served.index("fourth")


# Half of a request


def half_a_body(path: str, kind: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f'{head}Content-Length: 1000\r\n\r\n{{"text": "wor'.encode()


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_half_sent_bodies_are_dropped(
    server: Server, steady: Callable[[], None], study: Study, form: bool
) -> None:
    at = f"/studies/{study.slug}"
    half = (
        half_a_body(f"{at}/work", "application/x-www-form-urlencoded")
        if form
        else half_a_body(f"{API}{at}/latents/0/explanations")
    )
    with ExitStack() as opened:
        clients = [opened.enter_context(server.connect()) for _ in range(200)]
        for client in clients:
            client.sendall(half)
        steady()
        for client in clients:
            answer = everything(client)
            assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("half", [b"", b"GET /studies HTTP/1.1\r\nHost: "], ids=["nothing", "half"])
def test_half_sent_heads_are_dropped(
    server: Server, steady: Callable[[], None], half: bytes
) -> None:
    with ExitStack() as opened:
        clients = [opened.enter_context(server.connect()) for _ in range(200)]
        for client in clients:
            client.sendall(half)
        steady()
        for client in clients:
            assert everything(client) == b""


def test_a_client_that_sends_a_little_now_and_then_is_dropped(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET /studies HTTP/1.1\r\n")
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < began + LIMIT + 20:
                client.sendall(b"X-More: 1\r\n")
                time.sleep(0.2)


def test_more_connections_than_may_be_are_refused_and_nobody_else(
    server: Server, steady: Callable[[], None]
) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client, ExitStack() as opened:
        assert client.get("/healthz").status_code == 200
        clients = [opened.enter_context(server.connect()) for _ in range(CLIENTS + 20)]
        assert client.get("/healthz").status_code == 200, "the connection was there before"
        refused = [one for one in map(everything, clients) if one]
        assert len(refused) >= 20
        assert all(one.startswith(b"HTTP/1.1 503 ") for one in refused)


def test_a_head_without_end_is_refused(server: Server, steady: Callable[[], None]) -> None:
    with server.connect() as client:
        client.sendall(b"GET /studies HTTP/1.1\r\n")
        answer = refused_at(client, lambda n: b"X-More-%d: %s\r\n" % (n, b"x" * 10_000), 200)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_trailers_without_end_are_refused(server: Server, steady: Callable[[], None]) -> None:
    memory = server.process.memory_info().rss
    with server.connect() as client:
        client.sendall(head("/api/v1/studies", "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\n")
        with suppress(ConnectionError):
            for _ in range(2000):
                client.sendall(b"X-More: y\r\n" * 1000)
            pytest.fail("20 MB of trailers were taken")
    assert server.process.memory_info().rss < memory + 50 * MB


# Too much


LARGE = 300 * MB


def importing(study: Study) -> str:
    return f"{API}/studies/{study.slug}/import"


def explaining(study: Study) -> str:
    return f"{API}/studies/{study.slug}/latents/0/explanations"


def head(path: str, *headers: str) -> bytes:
    kind = "multipart/form-data; boundary=b" if path.endswith("import") else "application/json"
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("path", [importing, explaining])
def test_a_body_that_says_it_is_too_large_is_refused_unread(
    server: Server, steady: Callable[[], None], study: Study, path: Callable[[Study], str]
) -> None:
    with server.connect() as client:
        client.sendall(head(path(study), f"Content-Length: {LARGE}"))
        problem(first_answer(client), 413)


@pytest.mark.parametrize("path", [importing, explaining])
def test_a_chunked_body_is_refused_where_it_becomes_too_large(
    server: Server, steady: Callable[[], None], study: Study, path: Callable[[Study], str]
) -> None:
    chunk = b"%x\r\n%s\r\n" % (MB, b"x" * MB)
    memory = server.process.memory_info().rss
    with server.connect() as client:
        client.sendall(head(path(study), "Transfer-Encoding: chunked"))
        form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        if path is importing:
            client.sendall(b"%x\r\n%s\r\n" % (len(form), form))
        answer = refused_at(client, lambda _: chunk, LARGE // MB)
    problem(answer, 413)
    assert server.process.memory_info().rss < memory + 100 * MB


@pytest.mark.parametrize("path", [importing, explaining])
def test_who_is_unknown_is_refused_before_the_body_is_read(
    guarded: Server, study: Study, path: Callable[[Study], str]
) -> None:
    with guarded.connect() as client:
        client.sendall(head(path(study), f"Content-Length: {MB // 2}"))
        problem(first_answer(client), 401)


def test_who_is_known_may_send_a_body(guarded: Server, db: Session, study: Study) -> None:
    cleo = bearer(db, add_person(db, "cleo", Role.EDITOR))
    for text_, status in (("x" * 500, 201), ("x" * 2 * MB, 413)):
        answer = httpx.post(guarded.url + explaining(study), json={"text": text_}, headers=cleo)
        assert answer.status_code == status


def test_large_bodies_that_are_no_attack_are_taken(server: Server, study: Study) -> None:
    """A bulk job names its latents, and a study may have 100,000."""
    named = {"latents": list(range(100_000, 200_000))}
    answer = httpx.post(f"{server.url}{API}/studies/{study.slug}/simulate/estimate", json=named)
    assert "no latent 100000" in problem_of(answer, 404)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"latents":[', '{"text":{"a":['])
@pytest.mark.parametrize("depth", [500, 100_000])
def test_nested_json_is_refused(
    server: Server, steady: Callable[[], None], study: Study, opening: str, depth: int
) -> None:
    body = (opening + "[" * depth)[: MB - 1]
    for path in (explaining(study), f"{API}/studies/{study.slug}/simulate/estimate"):
        for whole in (body, body + "]" * depth + "}" * opening.count("{")):
            answer = httpx.post(
                server.url + path,
                content=whole[: MB - 1],
                headers={"Content-Type": "application/json"},
            )
            # What nobody asked for is passed over, as long as it can be read.
            assert answer.status_code < 500
            assert answer.status_code >= 400 or depth < 1000


def everything(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    got = b""
    try:
        while part := client.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def first_answer(client: socket.socket, got: bytes = b"") -> bytes:
    """The answer to a request of which no more is sent, and of which something may be here."""
    while b"\r\n\r\n" not in got:
        part = client.recv(65536)
        assert part, got
        got += part
    top, _, body = got.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", top.lower())[1])  # type: ignore[index]
    while len(body) < length:
        body += client.recv(65536)
    return top + b"\r\n\r\n" + body


def refused_at(client: socket.socket, piece: Callable[[int], bytes], most: int) -> bytes:
    """The answer that comes while pieces are sent."""
    got = b""
    for number in range(most):
        try:
            client.settimeout(30)
            client.sendall(piece(number))
            client.settimeout(0.01)
            got += client.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            break
        if got:
            break
    client.settimeout(30)
    return first_answer(client, got)


def problem(answer: bytes, status: int) -> None:
    """Check that it is problem details of a status."""
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in top
    assert json.loads(body)["detail"]
