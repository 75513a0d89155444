"""The status of a job."""

from interp.vocabulary import Term


class Status(Term):
    """How far a job is."""

    QUEUED = "queued", "queued", "It waits for a worker."
    RUNNING = "running", "running", "A worker has it."
    FINISHED = "finished", "finished", "All of it is done."
    FAILED = "failed", "failed", "It stopped at an error. It can be retried."
    CANCELLED = "cancelled", "cancelled", "A person or a later job ended it. It can be retried."


ACTIVE = (Status.QUEUED, Status.RUNNING)
STOPPED = (Status.FAILED, Status.CANCELLED)
ENDED = (*STOPPED, Status.FINISHED)
