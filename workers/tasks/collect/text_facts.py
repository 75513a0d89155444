"""Facts about a study's text: its contexts, and the documents that its coder has seen."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.coders.load import find_checkpoint
from interp.corpus.copies import Identity
from interp.corpus.documents import TEXT_VERSION
from interp.corpus.seen import SeenText
from interp.errors import InputError
from interp.vocabulary import ContextSet
from models import Context, Study


def text_facts(session: Session, study: Study) -> dict[str, Any]:
    """Figures for ``coder_info``, as the study's contexts are."""
    unknown = select(Context.id).where(
        Context.study_id == study.id, Context.document_hash.is_(None)
    )
    if session.scalar(unknown.limit(1)) is not None:  # an earlier version made the contexts
        return {"text_version": 1, "coder_seen": None}
    documents = (
        select(
            Context.set,
            Context.document,
            Context.document_hash,
            Context.document_sketch,
            Context.document_copies,
        )
        .where(Context.study_id == study.id)
        .distinct()
    )
    rows = session.execute(documents).all()
    measured = {
        row.document: Identity(row.document_hash, row.document_sketch)
        for row in rows
        if row.set != ContextSet.EXPLAIN
    }
    seen = _seen_by_coder(study)
    return {
        "text_version": TEXT_VERSION,
        "copies": sum(row.document_copies for row in rows),
        "coder_seen": None if seen is None else seen.among(measured),
    }


def _seen_by_coder(study: Study) -> SeenText | None:
    """The text that a study's coder was trained on, where its folder's record says so."""
    coder = Path(study.coder).expanduser()
    folders = [coder, coder / study.hookpoint]
    with suppress(InputError):  # a coder that cannot be read has no other folder
        folders.append(find_checkpoint(study.coder, study.hookpoint).folder)
    for folder in folders:
        try:
            record = json.loads((folder / "training.json").read_text("utf-8"))
            return SeenText.model_validate(record["seen"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            continue
    return None
