"""The common parts of all explainers."""

from sqlalchemy.orm import Session

from jobs import chain
from jobs.params import ExplainParams
from jobs.queue import follow
from models import Job, Study
from workers.task import Task
from workers.tasks import vectors


class Explainer(Task):
    """Writes explanations of latents by one method."""

    def __init__(self, asked: ExplainParams) -> None:
        self.asked = asked

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """The next explain job of the list follows, or the simulate job and what lacks vectors."""
        lacks = {"lacks_vectors": vectors.are_lacking(session, study)}
        follow(session, job, "last", chain.after(self.asked, {**job.state, **lacks}))
