"""The migrations make the tables of the models, and unmake them."""

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from cli.servers import Servers, alembic_config, migrate
from models import Base
from models.database import get_engine


@pytest.fixture
def empty(servers: Servers) -> Iterator[str]:
    """The address of an empty database."""
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrations"))
        connection.execute(text("CREATE DATABASE migrations"))
        url = make_url(servers.database_url).set(database="migrations")
        yield url.render_as_string(hide_password=False)
        connection.execute(text("DROP DATABASE migrations WITH (FORCE)"))


def engine_of(url: str) -> Engine:
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"))


def test_upgrade_gives_the_tables_of_the_models(empty: str) -> None:
    migrate(empty)
    migrate(empty)  # a second time changes nothing

    engine = engine_of(empty)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert set(Base.metadata.tables) < set(inspect(connection).get_table_names())
    engine.dispose()


def test_check_constraints_are_those_of_the_models(empty: str) -> None:
    """Alembic does not compare check constraints, so their definitions are compared here."""
    query = text(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'c' AND conrelid <> 0 ORDER BY 1, 2"
    )
    migrate(empty)
    engine = engine_of(empty)
    with engine.connect() as connection:
        migrated = connection.execute(query).all()
    command.downgrade(alembic_config(empty), "base")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        assert connection.execute(query).all() == migrated
    engine.dispose()


def test_downgrade_leaves_nothing(empty: str) -> None:
    migrate(empty)
    command.downgrade(alembic_config(empty), "base")

    engine = engine_of(empty)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
