"""A sentence that has been read."""

from sqlalchemy.orm import Session

from models import Job, Sentence, Study
from tests.reading import current_of

WORDS = ["<s>", "My", " fellow", " citizens"]


def read(db: Session, study: Study, **changes: object) -> Sentence:
    """A sentence that a worker has read; the first latent's explanation is simulated on it."""
    job = Job(study_id=study.id, kind="sentence", status="finished", created_by="ana")
    db.add(job)
    db.flush()
    values: dict[str, object] = {
        "study_id": study.id,
        "job_id": job.id,
        "simulator_id": study.simulator_id,
        "text": "My fellow citizens",
        "tokens": [0, 1, 2, 3],
        "strings": WORDS,
        "active": [[], [[3, 2.0]], [[0, 5.0], [3, 1.5]], [[3, 4.0], [0, 1.0], [5, 0.5]]],
        "simulated": {
            str(current_of(db, study, 0).id): {
                "values": [None, 0.5, 9.0, None],
                "failures": {"The reply is no JSON list.": 1},
            }
        },
        "created_by": "ana",
    }
    sentence = Sentence(**values | changes)
    db.add(sentence)
    db.flush()
    job.params = {"sentence_id": sentence.id}
    db.commit()
    return sentence
