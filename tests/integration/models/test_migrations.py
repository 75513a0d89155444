"""The migrations make the tables of the models, and unmake them."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, select, text
from sqlalchemy.orm import Session

from cli.servers import Servers, alembic_config, migrate
from jobs.kinds import ORDINARY, WAITED_FOR, params_of
from models import Base, Job, Simulation
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


JOBS_OF_0012: dict[str, tuple[str, str, dict[str, Any]]] = {
    "collecting": ("collect", "running", {"first_latents": 9, "anew": True}),
    "the demo's": (
        "explain",
        "queued",
        {
            "method": "lexical",
            "following": [{"method": "file", "path": "/a.jsonl"}],
            "first_latents": 512,
            "costs": 32,
        },
    ),
    "asking": (
        "explain",
        "running",
        {
            "method": "prompted",
            "llm": {"backend": "openai", "model": "m", "base_url": None},
            "latents": [1, 2, 3],
            "then_simulate": {
                "simulator_id": 1,
                "costs": 2,
                "then_rewrite": True,
                "estimate": {
                    "latents": 3,
                    "done": 0,
                    "tokens_read": 5,
                    "tokens_written": 0,
                    "seconds": None,
                    "measured": False,
                },
            },
            "explained_latents": [1],
            "explained": [41],
        },
    ),
    "first ones": (
        "simulate",
        "running",
        {
            "first_latents": 2,
            "costs": 1,
            "then_rewrite": True,
            "explanation_ids": [5, 6],
            "queued": ["early"],
        },
    ),
    "an edit": (
        "simulate",
        "queued",
        {"explanation_ids": [7], "simulator_id": 1, "then_rewrite": True},
    ),
    "again": (
        "simulate",
        "failed",
        {"explanation_ids": [7, 8], "simulator_id": 1, "again": True, "cleared": True},
    ),
    "rewriting": (
        "rewrite",
        "running",
        {"protocol": "whole", "simulator_id": 1, "repeat": True, "rewrite_id": 3},
    ),
    "needless": (
        "rewrite",
        "cancelled",
        {"protocol": "paper", "simulator_id": 1, "repeat": True, "superseded_by": 7},
    ),
    "writing": (
        "generate",
        "running",
        {"generation_id": 1, "writing": {"condition": "zero", "tokens": [1], "missing": 0}},
    ),
    "sentence": ("sentence", "queued", {"sentence_id": 1}),
    "scoring": ("judge", "running", {"llm": {"model": "m"}, "explanation_ids": [5]}),
    "checking": ("check", "running", {}),
}
"""Jobs as the version before queued and worked at them."""
NOTED: dict[str, dict[str, Any]] = {
    "collecting": {"anew": True},
    "asking": {"explained_latents": [1], "explained": [41]},
    "first ones": {"explanation_ids": [5, 6], "queued": ["early"]},
    "again": {"cleared": True},
    "rewriting": {"rewrite_id": 3},
    "needless": {"superseded_by": 7},
    "writing": {"writing": {"condition": "zero", "tokens": [1], "missing": 0}},
}
"""What of it the worker had written."""


def _renamed(params: Any) -> Any:
    """Parameters with the name that one of them has now."""
    if not isinstance(params, dict):
        return params
    return {"individually" if k == "costs" else k: _renamed(v) for k, v in params.items()}


def test_jobs_are_gone_on_with(empty: str) -> None:
    command.upgrade(alembic_config(empty), "0012")
    engine = engine_of(empty)
    insert = text(
        "INSERT INTO job (study_id, kind, status, params, done, unit, message, missing, usage,"
        " attempts, created_by) VALUES (1, :kind, :status, CAST(:params AS jsonb), 0, '', '', 0,"
        " '{}', 0, :name)"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO study (slug, title, model, coder, hookpoint, corpus, context_length,"
            " prepend_bos, contexts_explain, contexts_calibrate, contexts_evaluate,"
            " contexts_rewrite, seed, coder_info)"
            " VALUES ('s', 's', 'm', 'c', 'h', 'sotu', 32, true, 9, 8, 24, 24, 0, '{}')"
        )
        for name, (kind, status, params) in JOBS_OF_0012.items():
            values = {"name": name, "kind": kind, "status": status, "params": json.dumps(params)}
            connection.execute(insert, values)
    migrate(empty)
    with Session(engine) as session:
        jobs = {job.created_by: job for job in session.scalars(select(Job))}
        for name, (_, _, before) in JOBS_OF_0012.items():
            job, noted = jobs[name], NOTED.get(name, {})
            assert job.state == noted, name
            expected = {k: v for k, v in before.items() if k not in noted}
            assert job.params == _renamed(expected), name
            params_of(job)  # this version knows all of them
        urgent = {name for name, job in jobs.items() if job.priority == WAITED_FOR}
        assert urgent == {"an edit", "writing", "sentence"}
        assert {job.priority for job in jobs.values()} == {ORDINARY, WAITED_FOR}
    command.downgrade(alembic_config(empty), "0012")
    with engine.connect() as connection:
        query = text("SELECT created_by, kind, params FROM job")
        for name, kind, params in connection.execute(query):
            assert (kind, params) == (JOBS_OF_0012[name][0], JOBS_OF_0012[name][2]), name
    engine.dispose()


ROWS_OF_0013 = """
INSERT INTO simulator (method, model, prompt_version, options, training)
    VALUES ('m', 'm', 'p', '{}', '{}');
INSERT INTO study (slug, title, model, coder, hookpoint, corpus, context_length, prepend_bos,
    contexts_explain, contexts_calibrate, contexts_evaluate, contexts_rewrite, seed, coder_info)
    VALUES ('s', 's', 'm', 'c', 'h', 'sotu', 32, true, 9, 8, 24, 24, 0, '{}');
INSERT INTO latent (study_id, index, firing_rate, max_activation, mean_activation, quantiles,
    promoted, suppressed) VALUES (1, 0, 0.1, 2, 1, '{0,2}', '[]', '[]');
INSERT INTO explanation (latent_id, text, author_kind, author, details)
    VALUES (1, 'text', 'person', 'tests', '{}');
INSERT INTO context (study_id, set, index, document, start, tokens, strings)
    VALUES (1, 'explain', 0, 'd', 0, '{1}', '["a"]');
INSERT INTO example (latent_id, context_id, kind, rank, activations)
    VALUES (1, 1, 'near_miss', 0, '{0}'), (1, 1, 'top', 0, '{1}');
INSERT INTO latent_cost (explanation_id, simulator_id, condition, calibration, context_ids, strata,
    weights, differences) VALUES (1, 1, 'zeroed', '', '{1,2,3}', '{fires,said,silent}',
    '{"fires": 0.5, "said": 0.1, "silent": 0.4}', '{1,0,0}');
INSERT INTO score (explanation_id, name, value, n, details)
    VALUES (1, 'f1', 0.5, 9, '{"active": 4, "floor": null, "floor_of": 0}'),
    (1, 'auroc', 0.5, 9, '{"active": 4}');
"""


def test_words_change_and_figures_stay(empty: str) -> None:
    command.upgrade(alembic_config(empty), "0013")
    engine = engine_of(empty)
    with engine.begin() as connection:
        connection.exec_driver_sql(ROWS_OF_0013)
    migrate(empty)
    with engine.begin() as connection:

        def rows(query: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.execute(text(query))]

        assert rows("SELECT strata, weights, differences FROM loss_effect") == [
            (
                ["fires", "predicted", "silent"],
                {"fires": 0.5, "predicted": 0.1, "silent": 0.4},
                [1, 0, 0],
            )
        ]
        assert rows("SELECT kind FROM example ORDER BY id") == [("hard_negative",), ("top",)]
        assert rows("SELECT details FROM score ORDER BY id") == [
            ({"active": 4, "random_baseline": None, "random_baseline_of": 0},),
            ({"active": 4},),
        ]
        # Its rows go on being numbered.
        connection.exec_driver_sql(
            "INSERT INTO loss_effect (explanation_id, simulator_id, condition, calibration,"
            " context_ids, strata, weights, differences)"
            " VALUES (1, 1, 'rewritten', 'none', '{}', '{}', '{}', '{}')"
        )
        assert rows("SELECT max(id) FROM loss_effect") == [(2,)]
    command.downgrade(alembic_config(empty), "0013")
    with engine.connect() as connection:
        query = text("SELECT strata, weights FROM latent_cost ORDER BY id")
        assert tuple(connection.execute(query).first() or ()) == (
            ["fires", "said", "silent"],
            {"fires": 0.5, "said": 0.1, "silent": 0.4},
        )
        details = connection.scalars(text("SELECT details FROM score ORDER BY id"))
        assert next(iter(details)) == {"active": 4, "floor": None, "floor_of": 0}
    engine.dispose()
