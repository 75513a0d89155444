"""The migrations make the tables of the models, and unmake them."""

from collections.abc import Iterator

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, select, text

from cli.servers import Servers, alembic_config, migrate
from models import Base, Simulation
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


ROWS_OF_0001 = """
INSERT INTO simulator (method, model, prompt_version, options) VALUES ('m', 'm', 'p', '{}');
INSERT INTO study (slug, title, model, coder, hookpoint, corpus, context_length, prepend_bos,
    contexts_explain, contexts_calibrate, contexts_evaluate, seed, coder_info)
    VALUES ('s', 's', 'm', 'c', 'h', 'sotu', 32, true, 9, 8, 24, 0, '{}');
INSERT INTO latent (study_id, index, firing_rate, max_activation, mean_activation, quantiles,
    promoted, suppressed) VALUES (1, 0, 0.1, 2, 1, '{0,2}', '[]', '[]');
INSERT INTO explanation (latent_id, text, author_kind, author, details)
    VALUES (1, 'text', 'person', 'tests', '{}');
INSERT INTO simulation (explanation_id, simulator_id, set, context_ids, values, missing,
    tokens_read, seconds, code_version)
    VALUES (1, 1, 'calibrate', '{1,2}', '{{1,NULL},{3,0.5}}', 1, 1, 1, 'v');
INSERT INTO calibration (simulation_id, method, x, y, tokens)
    VALUES (1, 'linear', '{0,9}', '{0,2}', 31);
INSERT INTO rewrite (study_id, simulator_id, positions, explanation_ids, counts, context_ids, seed,
    finished, code_version) VALUES (1, 1, 'last', '{1}', '{1}', '{1}', 0, true, 'v'),
    (1, 1, 'all', '{1}', '{1}', '{1}', 0, true, 'v');
INSERT INTO rewrite_point (rewrite_id, condition, calibration, count, fraction, missing, losses,
    increase, low, high) VALUES (1, 'zero', '', 0, 0, 0, '{1}', 1, 1, 1),
    (1, 'rewritten', 'linear', 1, 0.1, 0, '{1}', 1, 1, 1);
"""


def test_rows_keep_their_meaning(empty: str) -> None:
    command.upgrade(alembic_config(empty), "0001")
    engine = engine_of(empty)
    with engine.begin() as connection:
        connection.exec_driver_sql(ROWS_OF_0001)
    migrate(empty)
    with engine.begin() as connection:

        def rows(query: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.execute(text(query))]

        assert rows("SELECT protocol, orderings FROM rewrite ORDER BY id") == [
            ("paper", {"score": [1]}),
            ("whole", {"score": [1]}),
        ]
        assert rows("SELECT condition, ordering, kls, statistics FROM rewrite_point") == [
            ("zero", "", None, {}),
            ("rewritten", "score", None, {}),
        ]
        assert rows("SELECT method, x, y, tokens FROM calibration ORDER BY id") == [
            ("linear", [0, 9], [0, 2], 31),
            ("none", [0, 9], [0, 9], 31),
        ]
        values = connection.scalar(select(Simulation.values))
        np.testing.assert_array_equal(values, [[1, np.nan], [3, 0.5]])
        assert rows("SELECT failures, tokens_written FROM simulation") == [({}, 0)]
        # All evaluate contexts were those on which the layer was rewritten.
        assert rows("SELECT contexts_evaluate, contexts_rewrite FROM study") == [(24, 24)]
    command.downgrade(alembic_config(empty), "0001")
    with engine.connect() as connection:
        query = text("SELECT positions FROM rewrite ORDER BY id")
        assert list(connection.scalars(query)) == ["last", "all"]
    engine.dispose()


def test_embeddings_move_to_the_latents_whose_current_explanations_have_them(empty: str) -> None:
    one, other = (
        f"[{','.join('1' if i == place else '0' for i in range(384))}]" for place in (0, 1)
    )
    command.upgrade(alembic_config(empty), "0008")
    engine = engine_of(empty)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO study (slug, title, model, coder, hookpoint, corpus, context_length,"
            " prepend_bos, contexts_explain, contexts_calibrate, contexts_evaluate,"
            " contexts_rewrite, seed, coder_info)"
            " VALUES ('s', 's', 'm', 'c', 'h', 'sotu', 32, true, 9, 8, 24, 24, 0, '{}');"
            "INSERT INTO latent (study_id, index, firing_rate, max_activation, mean_activation,"
            " quantiles, promoted, suppressed) VALUES (1, 0, 0.1, 2, 1, '{0,2}', '[]', '[]'),"
            " (1, 1, 0.1, 2, 1, '{0,2}', '[]', '[]');"
            "INSERT INTO explanation (latent_id, text, author_kind, author, details, embedding)"
            f" VALUES (1, 'old', 'person', 'tests', '{{}}', '{one}'),"
            f" (1, 'new', 'person', 'tests', '{{}}', '{other}');"
            "UPDATE latent SET explanation_id = 2 WHERE id = 1"
        )
    migrate(empty)
    with engine.connect() as connection:
        query = text("SELECT embedding::text FROM latent ORDER BY id")
        assert list(connection.scalars(query)) == [other, None]
    command.downgrade(alembic_config(empty), "0008")
    with engine.connect() as connection:
        query = text("SELECT embedding::text FROM explanation ORDER BY id")
        assert list(connection.scalars(query)) == [None, other]
    engine.dispose()
