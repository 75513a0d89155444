"""Check that the activation files of all studies are in the data folder."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.latents.stored import store_of
from interp.corpus.activations import StoreError
from models import Study

SETS = ("explain", "calibrate", "evaluate")


def incomplete(session: Session) -> list[str]:
    """Each collected study whose activation files do not fit: its name and the reason.

    Only headers are read, so a file of the right length with wrong content is not found.
    """
    problems = []
    for study in session.scalars(
        select(Study).where(Study.deleted_at.is_(None)).order_by(Study.id)
    ):
        if "tokens" not in study.coder_info:
            continue  # not collected yet
        for name in SETS:
            try:
                store_of(study, name).check()
            except StoreError as error:
                problems.append(f"{study.slug}: {error}")
                break
    return problems
