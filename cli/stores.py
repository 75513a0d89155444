"""Whether the activations of all studies are in the data folder, whole."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.latents.stored import store_of
from interp.activations import StoreError
from models import Study

SETS = ("explain", "calibrate", "evaluate")


def incomplete(session: Session) -> list[str]:
    """Each collected study whose activations are missing or damaged: its name and the reason."""
    problems = []
    for study in session.scalars(select(Study).order_by(Study.id)):
        if "tokens" not in study.coder_info:
            continue  # not collected yet
        for name in SETS:
            try:
                store_of(study, name).check()
            except StoreError as error:
                problems.append(f"{study.slug}: {error}")
                break
    return problems
