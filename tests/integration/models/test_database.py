"""The connections to PostgreSQL: what they do for sessions that read and those that write."""

from contextlib import ExitStack

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.services.exports.queries import DOWNLOAD
from app.web.database import WEB
from models import User
from models.database import CONNECTIONS, KEEPALIVES, PROGRAM, engine_of, get_engine, new_session

IDLE = "idle_in_transaction_session_timeout"


def test_what_reads_follows_the_servers(servers: object) -> None:
    """The servers may change within a process; so does the engine, for reading too."""
    new_session(reads=True).close()
    engine_of.cache_clear()
    with new_session(reads=True) as session:
        assert session.get_bind().pool is get_engine().pool  # type: ignore[union-attr]


def test_connections_that_the_server_has_closed_are_replaced(db: Session) -> None:
    """As all are when PostgreSQL is started anew."""
    process = select(func.pg_backend_pid())
    db.scalar(process)  # this one has its connection before, and keeps it
    for reads in (True, False):
        with ExitStack() as all_at_once:
            sessions = [
                all_at_once.enter_context(new_session(reads=reads)) for _ in range(CONNECTIONS - 1)
            ]
            before = {session.scalar(process) for session in sessions}
        for pid in before:
            assert db.scalar(select(func.pg_terminate_backend(pid, 5000)))
        with ExitStack() as all_at_once:
            sessions = [
                all_at_once.enter_context(new_session(reads=reads)) for _ in range(CONNECTIONS - 1)
            ]
            after = {session.scalar(process) for session in sessions}
        assert len(before) == len(after) == CONNECTIONS - 1
        assert not before & after


def test_a_session_that_writes_is_one_transaction(db: Session) -> None:
    def users(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(User)) or 0

    before = users(db)
    with new_session() as session, new_session(reads=True) as other:
        session.add(User(name="nobody-stays", password_hash="", role="editor"))
        session.flush()
        assert users(session) == before + 1
        assert users(other) == before, "not committed yet"
    assert users(db) == before
    # The connections it used go back to reading, in which each statement stands for itself.
    with new_session(reads=True) as session:
        assert session.connection().connection.dbapi_connection.autocommit  # type: ignore[union-attr]


def test_a_transaction_of_the_web_server_cannot_stay_idle(servers: object) -> None:
    """Nor can anybody take its connections for those of a job, whose transactions may."""
    for purpose in (PROGRAM, WEB, DOWNLOAD):
        with new_session(purpose=purpose) as session:
            named = session.scalar(text("SHOW application_name"))
            limit = session.scalar(text("SELECT current_setting(:name)"), {"name": IDLE})
        assert named == purpose.name
        assert (limit == "0") == (purpose is PROGRAM)


def test_a_connection_that_holds_a_lock_outlives_silence(servers: object) -> None:
    """A job holds its lock by a connection that has nothing to say while its models run."""
    with new_session() as session:
        connection = session.connection().connection.dbapi_connection
        assert session.scalar(text("SHOW idle_session_timeout")) == "0"
        kept = connection.info.get_parameters()  # type: ignore[union-attr]
    assert {name: int(kept[name]) for name in KEEPALIVES} == KEEPALIVES
