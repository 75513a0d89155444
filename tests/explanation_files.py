"""Explanations read from files: uploaded, taken in by a job, and what is then stored."""

import csv
import io
import json
import zipfile
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Explanation, Job, Latent, Study
from tests.working import work


def versions(db: Session, study: Study) -> list[tuple[Any, ...]]:
    """Every version of the study's explanations, the current ones marked, in their order."""
    query = select(
        Latent.index,
        Explanation.text,
        Explanation.author,
        Explanation.author_kind,
        Explanation.prompt_version,
        Explanation.id == Latent.explanation_id,
    ).join(Latent, Latent.id == Explanation.latent_id)
    query = query.where(Latent.study_id == study.id).order_by(Latent.index, Explanation.id)
    return [tuple(row) for row in db.execute(query)]


def finish(db: Session, job_id: int) -> Job:
    """Do an import's job here, as a worker would."""
    job = db.get_one(Job, job_id)
    work(db, job, db.get_one(Study, job.study_id))
    job.status = "finished"
    db.commit()
    db.expire_all()
    return job


# --- Import ---------------------------------------------------------------------------------------


def upload(web: str, study: Study, name: str, content: bytes) -> httpx.Response:
    url = f"{web}/api/v1/studies/{study.slug}/import"
    return httpx.post(url, files={"file": (name, content)}, timeout=30)


def exported_rows(archive: zipfile.ZipFile, part: str, form: str) -> list[dict[str, Any]]:
    (name,) = [n for n in archive.namelist() if n.endswith(f"/{part}.{form}")]
    content = archive.read(name)
    match form:
        case "parquet":
            return list(pq.read_table(io.BytesIO(content)).to_pylist())
        case "jsonl":
            return [json.loads(line) for line in content.splitlines()]
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def parquet_file(texts: object, latents: object = None, **options: object) -> io.BytesIO:
    """A Parquet file."""
    out = io.BytesIO()
    texts = pa.array(texts) if isinstance(texts, list) else texts
    numbers = pa.array(range(len(texts)) if latents is None else latents)  # type: ignore[arg-type]
    pq.write_table(pa.table({"latent": numbers, "text": texts}), out, **options)  # type: ignore[arg-type]
    return out


def repeated_column(text: str, rows: int) -> pa.Array:
    """A column of one text again and again, which Parquet writes once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
