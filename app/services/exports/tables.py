"""The tables of an export: their columns with types and meanings, and the queries behind them.

Missing values are null: in Parquet and JSONL as such, in CSV as an empty field. Never 0.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from sqlalchemy import Row, Select, select
from sqlalchemy.orm import aliased

from app.services.exports.schemas import Part
from app.services.latents.filter_schemas import LatentMatch
from app.services.latents.filters import matching
from models import (
    Calibration,
    Context,
    Example,
    Explanation,
    Latent,
    LossEffect,
    Score,
    Simulation,
    Study,
)

Rows = Sequence[Row[Any]]
FLOATS = pa.list_(pa.float32())
INTEGERS = pa.list_(pa.int64())
STRINGS = pa.list_(pa.string())
TOKENS = pa.list_(pa.struct([("token", pa.string()), ("logit", pa.float32())]))
MOMENT = pa.timestamp("us", "UTC")


class Column(NamedTuple):
    """One column of a table."""

    name: str
    type: pa.DataType
    about: str
    json: bool = False
    """It holds an object, which Parquet and CSV have as JSON text."""


class Table(NamedTuple):
    """One table of an export."""

    about: str
    columns: tuple[Column, ...]
    query: Callable[[Study, LatentMatch], Select[*tuple[Any, ...]]]
    """Rows with the columns by name, in the order in which they are written."""
    at_once: int
    """Rows of the query held in memory: a row group of a Parquet file."""
    arrays: Callable[[Rows], dict[str, Any]] | None = None
    """The columns of a block of rows, where they are not simply those of the query."""

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them, with their meanings."""
        return pa.schema(
            [pa.field(one.name, one.type, metadata={"about": one.about}) for one in self.columns]
        )

    def block(self, rows: Rows) -> pa.RecordBatch:
        """A block of rows, with null for every figure that is not defined."""
        arrays = self.arrays(rows) if self.arrays else {}
        return pa.record_batch(
            [arrays[one.name] if one.name in arrays else _array(one, rows) for one in self.columns],
            schema=self.schema,
        )


def _array(column: Column, rows: Rows) -> pa.Array:
    values = [getattr(row, column.name) for row in rows]
    if column.json:
        values = [json.dumps(value, ensure_ascii=False) for value in values]
    if column.type == TOKENS:
        values = [[{"token": token, "logit": logit} for token, logit in one] for one in values]
    return pa.array(values, column.type, from_pandas=True)  # from_pandas: NaN is null


LATENT = Column("latent", pa.int32(), "index of the latent in its coder")
EXPLANATION = Column("explanation_id", pa.int64(), "the explanation that this is of")
SIMULATOR = Column("simulator_id", pa.int64(), "its simulator, which study.json describes")
SET = Column("set", pa.string(), "explain, calibrate or evaluate")
CONTEXT = Column("context_id", pa.int64(), "the context, in the table contexts")
WHEN = Column("created_at", MOMENT, "when it was made")


def _latents(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    latent = [getattr(Latent, c.name) for c in TABLES["latents"].columns if c.name != "latent"]
    query = select(Latent.index.label("latent"), *latent)
    return query.where(*matching(study, wanted)).order_by(Latent.index)


def _explanations(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    query = select(
        Latent.index.label("latent"),
        Explanation.id.label("explanation_id"),
        Explanation.text,
        Explanation.author,
        Explanation.author_kind,
        Explanation.prompt_version,
        Explanation.parent_id,
        (Explanation.id == Latent.explanation_id).label("current"),
        Explanation.details,
        Explanation.created_at,
    )
    query = query.join(Latent, Latent.id == Explanation.latent_id)
    return query.where(*matching(study, wanted)).order_by(Latent.index, Explanation.id)


def _of_explanations(
    made: Any, study: Study, wanted: LatentMatch, *columns: Any
) -> Select[*tuple[Any, ...]]:
    """Rows about explanations, with the latent and the explanation that they are of."""
    query = select(Latent.index.label("latent"), made.explanation_id, made.simulator_id, *columns)
    query = query.select_from(made).join(Explanation, Explanation.id == made.explanation_id)
    query = query.join(Latent, Latent.id == Explanation.latent_id)
    return query.where(*matching(study, wanted)).order_by(Latent.index, Explanation.id, made.id)


def _scores(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    columns = (Score.name, Score.value, Score.low, Score.high, Score.n, Score.details)
    return _of_explanations(Score, study, wanted, *columns, Score.created_at)


def _score_arrays(rows: Rows) -> dict[str, Any]:
    types = {
        "random_baseline": pa.float32(),
        "random_baseline_of": pa.int64(),
        "active": pa.int64(),
    }
    return {
        name: pa.array([row.details.get(name) for row in rows], type, from_pandas=True)
        for name, type in types.items()
    }


def _effects(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    plain = [c.name for c in TABLES["loss_effects"].columns[3:]]
    return _of_explanations(
        LossEffect, study, wanted, *(getattr(LossEffect, name) for name in plain)
    )


def _simulations(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    # Under a name of its own: the filter asks for simulations too.
    made = aliased(Simulation)
    columns = (made.set, made.context_ids, made.values, made.code_version, made.created_at)
    return _of_explanations(made, study, wanted, *columns)


def _simulation_arrays(rows: Rows) -> dict[str, Any]:
    """One row a context, out of rows with all contexts of a set."""
    lengths = np.concatenate([np.full(len(r.values), r.values.shape[1]) for r in rows])
    flat = np.concatenate([row.values.ravel() for row in rows])
    values = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
        pa.array(flat, pa.float32(), mask=np.isnan(flat)),
    )
    each = {
        column.name: pa.array(
            [v for row in rows for v in [getattr(row, column.name)] * len(row.context_ids)],
            column.type,
        )
        for column in TABLES["simulations"].columns
        if column.name not in ("context_id", "values")
    }
    ids = pa.array([i for row in rows for i in row.context_ids], pa.int64())
    return each | {"context_id": ids, "values": values}


def _calibrations(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    made = aliased(Simulation)
    columns = (Calibration.method, Calibration.x, Calibration.y, Calibration.tokens)
    query = _of_explanations(made, study, wanted, *columns, Calibration.created_at)
    return query.join(Calibration, Calibration.simulation_id == made.id).order_by(Calibration.id)


def _examples(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    columns = (Example.context_id, Example.kind, Example.rank, Example.activations)
    query = select(Latent.index.label("latent"), *columns)
    query = query.join(Latent, Latent.id == Example.latent_id)
    return query.where(*matching(study, wanted)).order_by(Latent.index, Example.kind, Example.rank)


def _contexts(study: Study, wanted: LatentMatch) -> Select[*tuple[Any, ...]]:
    columns = [getattr(Context, column.name) for column in TABLES["contexts"].columns[1:]]
    query = select(Context.id.label("context_id"), *columns)
    return query.where(Context.study_id == study.id).order_by(Context.set, Context.index)


_BOUND = "bound of its bootstrap 95% interval"
TABLES: dict[Part, Table] = {
    "latents": Table(
        "The latents, with their statistics on the explain set.",
        (
            LATENT,
            Column("explanation_id", pa.int64(), "its current explanation; null without one"),
            Column("firing_rate", pa.float32(), "share of tokens on which it fires"),
            Column("max_activation", pa.float32(), "its largest activation"),
            Column("mean_activation", pa.float32(), "mean over the tokens on which it fires"),
            Column("quantiles", FLOATS, "its activation at the quantiles 0, 0.1, …, 1 of these"),
            Column("histogram", INTEGERS, "tokens in equal parts of the range from 0 to its max"),
            Column("promoted", TOKENS, "output tokens that its direction raises most"),
            Column("suppressed", TOKENS, "output tokens that its direction lowers most"),
        ),
        _latents,
        2048,
    ),
    "explanations": Table(
        "All versions of every latent’s explanation.",
        (
            LATENT,
            Column("explanation_id", pa.int64(), "number of this version"),
            Column("text", pa.string(), "what makes the latent fire"),
            Column("author", pa.string(), "a person’s name, or the explainer"),
            Column("author_kind", pa.string(), "person or model"),
            Column("prompt_version", pa.string(), "version of the explainer’s prompt or rules"),
            Column("parent_id", pa.int64(), "the version that was current before"),
            Column("current", pa.bool_(), "whether it is the latent’s current explanation"),
            Column("details", pa.string(), "what its author says of it, an object", json=True),
            WHEN,
        ),
        _explanations,
        8192,
    ),
    "scores": Table(
        "How well explanations predict their latents, on the calibrate set.",
        (
            LATENT,
            EXPLANATION,
            Column("simulator_id", pa.int64(), "null for a language model’s scores"),
            Column("name", pa.string(), "correlation, sensitivity, …, detection or fuzzing"),
            Column("value", pa.float32(), "null where it is not defined"),
            Column("low", pa.float32(), f"lower {_BOUND}"),
            Column("high", pa.float32(), f"upper {_BOUND}"),
            Column("n", pa.int32(), "tokens it was computed on"),
            Column(
                "random_baseline", pa.float32(), "the same figure for explanations of other latents"
            ),
            Column(
                "random_baseline_of",
                pa.int64(),
                "how many other latents the random baseline is the mean of",
            ),
            Column("active", pa.int64(), "tokens that the latent is active on"),
            Column("details", pa.string(), "all that the value rests on, an object", json=True),
            WHEN,
        ),
        _scores,
        8192,
        _score_arrays,
    ),
    "loss_effects": Table(
        "The loss effect of rewriting or zeroing a latent alone, on the evaluate set, in nats.",
        (
            LATENT,
            EXPLANATION,
            SIMULATOR,
            Column("condition", pa.string(), "rewritten or zeroed"),
            Column("calibration", pa.string(), "of rewritten; empty for zeroed"),
            Column("mean", pa.float32(), "estimated over the whole evaluate set, in nats"),
            Column("low", pa.float32(), f"lower {_BOUND}"),
            Column("high", pa.float32(), f"upper {_BOUND}"),
            Column("fires_mean", pa.float32(), "over contexts where the latent fires, in nats"),
            Column("fires_low", pa.float32(), f"lower {_BOUND}"),
            Column("fires_high", pa.float32(), f"upper {_BOUND}"),
            Column("context_ids", INTEGERS, "the contexts that were run"),
            Column("strata", STRINGS, "for each of them fires, predicted or silent"),
            Column("differences", FLOATS, "for each of them, loss minus that of real latents"),
            Column("weights", pa.string(), "share of contexts in each stratum", json=True),
            WHEN,
        ),
        _effects,
        512,
    ),
    "simulations": Table(
        "Raw simulated values, before calibration: one row for each context.",
        (
            LATENT,
            EXPLANATION,
            SIMULATOR,
            SET,
            CONTEXT,
            Column(
                "values",
                FLOATS,
                "one for each token, 0 to 9; null where it is missing, and on the token that "
                "begins the sequence",
            ),
            Column("code_version", pa.string(), "the program that made it"),
            WHEN,
        ),
        _simulations,
        16,
        _simulation_arrays,
    ),
    "calibrations": Table(
        "Maps from raw simulated values to activations, linear between their knots.",
        (
            LATENT,
            EXPLANATION,
            SIMULATOR,
            Column("method", pa.string(), "none, linear, quantile or isotonic"),
            Column("x", FLOATS, "raw simulated values of the knots"),
            Column("y", FLOATS, "the activation at each"),
            Column("tokens", pa.int32(), "tokens it was fitted on"),
            WHEN,
        ),
        _calibrations,
        2048,
    ),
    "examples": Table(
        "Contexts of the explain set with the latent’s real activations.",
        (
            LATENT,
            CONTEXT,
            Column("kind", pa.string(), "top, quantile, random or hard_negative"),
            Column("rank", pa.int32(), "its place among those of its kind"),
            Column("activations", FLOATS, "one for each token; 0 where the latent is silent"),
        ),
        _examples,
        2048,
    ),
    "contexts": Table(
        "The windows of text, all of the study’s.",
        (
            Column("context_id", pa.int64(), "number of the context"),
            SET,
            Column("index", pa.int32(), "its place in its set"),
            Column("document", pa.string(), "the document it was cut from"),
            Column("start", pa.int32(), "offset of its first text token in that, in tokens"),
            Column("tokens", INTEGERS, "token ids"),
            Column("strings", STRINGS, "the text of each token"),
        ),
        _contexts,
        1024,
    ),
}
