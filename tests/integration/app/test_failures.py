"""What PostgreSQL and the disk say when they fail reaches people as what it is."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import starlette.formparsers
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session

from app.main import create_app
from cli.failures import explain
from cli.servers import Servers, free_port
from models import Study
from models.database import engine_of
from models.failures import BUSY, UNREACHABLE, database_failure
from models.settings import get_settings
from tests.reading import latent_of, problem_of


@pytest.fixture
def failing_comments(db: Session) -> Iterator[None]:
    """PostgreSQL fails for a comment that is an error code, with that code."""
    db.execute(
        text(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.text LIKE 'code %' THEN "
            "RAISE EXCEPTION 'private detail' USING ERRCODE = substr(NEW.text, 6); END IF; "
            "RETURN NEW; END $$"
        )
    )
    trigger = "CREATE TRIGGER fail BEFORE INSERT ON comment FOR EACH ROW EXECUTE FUNCTION fail()"
    db.execute(text(trigger))
    db.commit()
    yield
    db.rollback()
    db.execute(text("DROP TRIGGER fail ON comment"))
    db.execute(text("DROP FUNCTION fail()"))
    db.commit()


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("53100", 503, "disk"),
        ("53200", 503, "memory"),
        ("53300", 503, "connection"),
        ("25006", 503, "read-only"),
        ("57014", 503, "longer than it may"),
        ("25P03", 503, "longer than it may"),
        ("57P01", 503, "starting or stopping"),
        ("40001", 409, "same moment"),
        ("40P01", 409, "same moment"),
        ("55P03", 409, "same moment"),
        ("42P01", 503, "migrate"),
        ("22003", 422, "cannot store"),
        ("22021", 422, "cannot store"),
        ("08006", 503, "cannot be reached"),
    ],
)
def test_postgresql_fails_while_a_comment_is_saved(
    web: str, db: Session, study: Study, failing_comments: None, code: str, status: int, says: str
) -> None:
    latent = latent_of(db, study, 0)
    path = f"/explanations/{latent.explanation_id}/comments"
    answer = httpx.post(f"{web}/api/v1{path}", json={"text": f"code {code}"})
    detail = problem_of(answer, status)
    assert says in detail
    assert "private" not in detail
    if code != "08006":
        assert "cannot be reached" not in detail
    form = {"explanation_id": latent.explanation_id, "text": f"code {code}"}
    page = httpx.post(f"{web}/studies/{study.slug}/latents/0/comments", data=form)
    assert page.status_code == status
    assert says in page.text
    # The connection is as good as before.
    assert httpx.post(f"{web}/api/v1{path}", json={"text": "well"}).status_code == 201


def test_connections_that_postgresql_refuses(servers: Servers) -> None:
    address = make_url(servers.database_url).set(drivername="postgresql+psycopg")
    closed = address.set(host="127.0.0.1", port=free_port(), query={})
    for url, says in (
        (closed, "cannot be reached"),
        (address.set(database="no_such_database"), "DATABASE_URL"),
    ):
        with pytest.raises(OperationalError) as raised:
            create_engine(url).connect()
        failure = database_failure(raised.value)
        assert failure is not None
        assert says in failure.sentence
        message, code = explain(raised.value)
        assert message.startswith(failure.sentence)
        assert code == 1


def test_a_user_with_no_connection_left(servers: Servers, db: Session) -> None:
    address = make_url(servers.database_url).set(drivername="postgresql+psycopg")
    db.execute(text("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0 PASSWORD 'x'"))
    db.commit()
    try:
        with pytest.raises(OperationalError) as raised:
            create_engine(address.set(username="crowded", password="x")).connect()
        failure = database_failure(raised.value)
        assert failure is not None
        assert failure.status == 503
        assert failure != UNREACHABLE
        assert "connection left" in failure.sentence
    finally:
        db.execute(text("DROP ROLE crowded"))
        db.commit()


def test_no_connection_of_ones_own_is_left(servers: Servers) -> None:
    address = make_url(servers.database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(address, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect(), pytest.raises(TimeoutError) as raised:
        engine.connect()
    assert database_failure(raised.value) == BUSY
    engine.dispose()


def _full(*_: Any, **__: Any) -> Any:
    """A file on a disk that is full: Linux has one."""
    return open("/dev/full", "r+b", buffering=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_told_as_such(
    db: Session, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starlette.formparsers, "SpooledTemporaryFile", _full)
    with TestClient(create_app(), base_url="http://localhost") as client:
        files = {"file": ("a.jsonl", b'{"latent": 1, "text": "x"}\n')}
        answer = client.post(f"/api/v1/studies/{study.slug}/import", files=files)
        assert "disk" in problem_of(answer, 503)
        page = client.post(f"/studies/{study.slug}/import", files=files)
        assert page.status_code == 503
        assert "disk" in page.text


def test_nobody_can_sign_in_while_postgresql_is_away(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALIMPSEST_ACCOUNTS", "true")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://127.0.0.1:{free_port()}/none")
    caches = (get_settings, engine_of)
    for cached in caches:
        cached.cache_clear()
    try:
        with TestClient(create_app(), base_url="http://localhost") as client:
            client.headers["Authorization"] = "Bearer pal_words"
            assert "cannot be reached" in problem_of(client.get("/api/v1/studies"), 503)
            # With a body, who asks is looked up before the body is read.
            assert "cannot be reached" in problem_of(client.post("/api/v1/studies", json={}), 503)
            assert client.post("/studies/new", data={"slug": "a"}).status_code == 503
            assert client.post("/sign-in", data={"name": "ann", "password": "b"}).status_code == 503
    finally:
        monkeypatch.undo()
        for cached in caches:
            cached.cache_clear()


def test_faults_of_the_program_are_none_of_the_database(db: Session) -> None:
    with pytest.raises(SQLAlchemyError) as raised:
        db.execute(text("SELEC 1"))
    assert database_failure(raised.value) is None
    assert database_failure(OSError(errno.ENOSPC, "full")) is None
