"""The latents of the benchmark's study in Datasette: one table in SQLite, read-only.

So Datasette caches its counts, and it suggests no facets: that would take most of its time. The
columns that pages filter and sort by have indexes, and the explanations a full-text index.
"""

import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from benchmarks import pages_data
from benchmarks.measure import answering
from cli.processes import start, stop
from cli.servers import free_port

COLUMNS = {
    "index": "INTEGER PRIMARY KEY",
    "explanation": "TEXT",
    "author": "TEXT",
    "firing_rate": "REAL",
    "max_activation": "REAL",
    "correlation": "REAL",
    "sensitivity": "REAL",
    "specificity": "REAL",
    "effect": "REAL",
}
"""Those that our table of latents has."""
LATENTS = """
    SELECT l.index, e.text, e.author, l.firing_rate, l.max_activation,
           max(s.value) FILTER (WHERE s.name = 'correlation'),
           max(s.value) FILTER (WHERE s.name = 'sensitivity'),
           max(s.value) FILTER (WHERE s.name = 'specificity'),
           (SELECT mean FROM loss_effect f
            WHERE f.explanation_id = e.id AND f.condition = 'rewritten')
    FROM latent l JOIN explanation e ON e.id = l.explanation_id
    JOIN score s ON s.explanation_id = e.id
    GROUP BY l.id, e.id
"""


def fill(folder: Path, url: str) -> Path:
    """Copy the latents from PostgreSQL, unless they are there. Returns the database."""
    path = folder / "latents.db"
    if path.exists():
        return path
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    with psycopg.connect(url) as source, sqlite3.connect(path) as target:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        target.execute(f"CREATE TABLE latents ({columns})")
        marks = ", ".join("?" * len(COLUMNS))
        target.executemany(
            f"INSERT INTO latents ({names}) VALUES ({marks})", source.execute(LATENTS)
        )
        for name in ("firing_rate", "max_activation", "correlation"):
            target.execute(f"CREATE INDEX latents_{name} ON latents ({name})")
        target.execute(
            "CREATE VIRTUAL TABLE latents_fts USING fts5(explanation, content='latents')"
        )
        target.execute("INSERT INTO latents_fts (latents_fts) VALUES ('rebuild')")
        target.execute("ANALYZE")
    return path


@contextmanager
def served(path: Path, folder: Path) -> Iterator[int]:
    """Datasette on one process, 50 rows a page. Yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "datasette", "serve", "-i", str(path), "-p", str(port)]
    command += ["--setting", "default_page_size", "50", "--setting", "suggest_facets", "off"]
    child = start("datasette", command, folder)
    try:
        answering(f"http://127.0.0.1:{port}/-/versions.json")
        yield port
    finally:
        stop([child])


def addresses(path: Path, ours: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same pages as ours have, by the same names: of a latent the page of its row."""
    rng = random.Random(1)
    words = [address.split("=", 1)[1] for address in ours[pages_data.WORDS]]
    with sqlite3.connect(path) as database:
        rows = database.execute(
            'SELECT correlation, "index" FROM latents WHERE firing_rate >= 0.0001 AND '
            "correlation >= 0.05 ORDER BY correlation DESC LIMIT -1 OFFSET 200"
        ).fetchall()
    narrow = {"firing_rate__gte": 0.0001, "correlation__gte": 0.05, "_sort_desc": "correlation"}
    deep = rng.sample(rows[: len(rows) * 3 // 4], min(200, len(rows) // 2))
    return {
        pages_data.FIRST: ["/latents/latents"],
        pages_data.DEEP: [
            f"/latents/latents?{urlencode({**narrow, '_next': f'{value!r},{index}'})}"
            for value, index in deep
        ],
        pages_data.WORDS: [f"/latents/latents?_search={word}" for word in words],
        pages_data.LATENT: [f"/latents/latents/{index}" for index in range(256)],
    }
