"""A study in the layout of Neuronpedia's exports: features, activations and explanations."""

import gzip
import json
import re
from collections.abc import Callable, Generator
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.services.exports.files import Open
from app.services.latents.filter_schemas import LatentMatch
from app.services.latents.filters import matching
from interp.exchange.fit import last_part, layer_of
from models import Context, Example, Explanation, Latent, Study

BATCH = 1024
"""Rows of a file."""


def write(session: Session, study: Study, wanted: LatentMatch, open_: Open) -> Generator[None]:
    """Write the files, and stop after each batch."""
    model = _identifier(last_part(study.model))
    source = f"{layer_of(study.hookpoint)}-{study.slug}"
    folder = f"v1/{model}/{source}"
    said: dict[str, dict[str, Any]] = {
        "model": {"id": model, "displayName": last_part(study.model)},
        "sourceset": {"modelId": model, "name": study.slug, "description": study.title},
        "source": {
            "id": source,
            "modelId": model,
            "setName": study.slug,
            "dataset": study.corpus,
            "num_prompts": study.contexts_explain,
            "num_tokens_in_prompt": study.context_length,
        },
    }
    for name, row in said.items():
        with open_(f"{folder}/{name}.jsonl") as out:
            out.write(_line(row))
    of = {"modelId": model, "layer": source}
    tables: tuple[tuple[str, Select[*tuple[Any, ...]], Callable[[Any], dict[str, Any]]], ...] = (
        ("features", _features(), lambda row: _feature(study, row)),
        ("activations", _examples(), lambda row: _activation(study, row)),
        ("explanations", _explanations(), _explanation),
    )
    for name, query, fields in tables:
        query = query.where(*matching(study, wanted)).execution_options(yield_per=BATCH)
        for number, rows in enumerate(session.execute(query).partitions()):
            with (
                open_(f"{folder}/{name}/batch-{number}.jsonl.gz") as out,
                gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed,
            ):
                for one in rows:
                    packed.write(_line(of | {"index": str(one.number)} | fields(one)))
            yield


def _features() -> Select[*tuple[Any, ...]]:
    columns = (
        Latent.max_activation,
        Latent.firing_rate,
        Latent.histogram,
        Latent.promoted,
        Latent.suppressed,
        Latent.similar,
    )
    return select(Latent.index.label("number"), *columns).order_by(Latent.index)


def _feature(study: Study, row: Any) -> dict[str, Any]:
    histogram, similar = row.histogram or [], row.similar or []
    width = row.max_activation / len(histogram) if histogram else 0
    return {
        "sourceSetName": study.slug,
        "hookName": study.hookpoint,
        "maxActApprox": row.max_activation,
        "frac_nonzero": row.firing_rate,
        "freq_hist_data_bar_heights": histogram,
        "freq_hist_data_bar_values": [width * (at + 0.5) for at in range(len(histogram))],
        "pos_str": [token for token, _ in row.promoted],
        "pos_values": [logit for _, logit in row.promoted],
        "neg_str": [token for token, _ in row.suppressed],
        "neg_values": [logit for _, logit in row.suppressed],
        "topkCosSimIndices": [index for index, _ in similar],
        "topkCosSimValues": [cosine for _, cosine in similar],
    }


def _examples() -> Select[*tuple[Any, ...]]:
    columns = (Example.id, Example.activations, Context.strings)
    query = select(Latent.index.label("number"), *columns)
    query = query.join(Latent, Latent.id == Example.latent_id)
    query = query.join(Context, Context.id == Example.context_id)
    return query.order_by(Latent.index, Example.kind, Example.rank)


def _activation(study: Study, row: Any) -> dict[str, Any]:
    values = row.activations
    return {
        "id": f"{study.slug}-{row.id}",
        "tokens": row.strings,
        "values": values,
        "maxValue": max(values),
        "maxValueTokenIndex": values.index(max(values)),
        "minValue": min(values),
        "dataSource": study.corpus,
    }


def _explanations() -> Select[*tuple[Any, ...]]:
    columns = (Explanation.id, Explanation.text, Explanation.author, Explanation.author_kind)
    more = (Explanation.prompt_version, Explanation.details)
    query = select(Latent.index.label("number"), *columns, *more)
    query = query.join(Explanation, Explanation.id == Latent.explanation_id)
    return query.order_by(Latent.index)


def _explanation(row: Any) -> dict[str, Any]:
    by_model = row.author_kind == "model"
    return {
        "id": str(row.id),
        "description": row.text,
        "authorId": row.author,
        "typeName": row.prompt_version or row.author if by_model else None,
        "explanationModelName": row.details.get("model") if by_model else None,
    }


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _identifier(name: str) -> str:
    """A name as part of a path."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-").lower() or "model"
