"""Inspections of sparse coders: asked for, looked at, and taken over into a form."""

from pathlib import Path

from app.services.errors import NotFound
from app.services.inspections.schemas import InspectionCreate
from app.services.studies.checked import checked
from interp.coders import registry
from interp.coders.findings import CoderFiles, MeasuredSite, Question
from interp.errors import InputError
from interp.sources.corpora import located_corpus
from interp.sources.paths import exists, hub_folder, located
from jobs import inspections
from jobs.inspections import Inspection


def begin(data: InspectionCreate) -> Inspection:
    """Have a worker inspect a coder. Nothing is stored.

    Raises:
        FieldErrors: The model, coder, hookpoint, corpus or lengths cannot work.
        NotTaken: No worker is running, or too many inspections wait.
    """
    return inspections.begin(question_of(checked(data)))


def question_of(data: InspectionCreate) -> Question:
    """What a worker is asked: to measure as a study of the same sources is judged. Nothing is
    checked; paths are made absolute."""
    first = int(data.prepend_bos) if data.leave_out is None else data.leave_out
    paths = {
        "model": located(data.model),
        "coder": located(data.coder),
        "corpus": located_corpus(data.corpus),
    }
    return Question(
        **data.model_copy(update=paths).model_dump(exclude={"leave_out"}), first_position=first
    )


def get_inspection(id: str) -> Inspection:
    """How far an inspection is. Its worker goes on as long as somebody asks.

    Raises:
        NotFound: There is none.
    """
    found = inspections.look(id)
    if found is None:
        raise NotFound(
            "There is no such inspection. It was given up, its worker stopped, or it ended over an "
            "hour ago. Inspect again."
        )
    return found


def fields_of(question: Question, files: CoderFiles, site: MeasuredSite) -> dict[str, str]:
    """The fields of a new study that uses a coder in a measured way."""
    coder = question.coder
    if not exists(Path(coder)):
        # The hookpoint named the folder, and will be another one.
        if question.hookpoint and hub_folder(coder) is None:
            coder = f"{coder}/{question.hookpoint}"
    elif not _finds(coder, site.writes, files.weights):
        coder = files.weights
    return {
        "coder": coder,
        "hookpoint": site.writes,
        "reads": "" if site.reads == site.writes else site.reads,
        "reading": site.reading,
    }


def _finds(coder: str, hookpoint: str, weights: str) -> bool:
    """True if a coder is found by its hookpoint. A folder may hold one for each."""
    try:
        return str(registry.find(Path(coder).expanduser(), hookpoint).weights) == weights
    except InputError:
        return False
