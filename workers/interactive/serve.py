"""Answer the requests that wait: the newest of each browser tab, in the order in which they came.

The worker looks for them when a message wakes it, and between two units of its jobs. So a request
waits for one unit at most. Imports no torch: a process forks before it does.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from redis.exceptions import RedisError

from interp.errors import InputError
from jobs import requests
from jobs.kinds import INTERACTIVE
from jobs.queue import ANSWER, celery
from jobs.requests import Envelope, Reply
from models import Study
from models.database import new_session
from workers.pause import bulk_work_pauses
from workers.reasons import in_words
from workers.turns import served

log = logging.getLogger(__name__)


@celery.task(name=ANSWER)
def answer() -> None:
    """Answer what waits. Then load what the next request will need."""
    asked = answer_waiting()
    from workers.interactive.warm import warm

    warm(asked)


def answer_between() -> None:
    """Answer what waits, between two units of a job, if this worker serves requests."""
    if INTERACTIVE in served():
        try:
            answer_waiting()
        except RedisError as error:
            log.error("Requests could not be looked up: %s", error)


def answer_waiting() -> set[tuple[int, int]]:
    """Answer all requests that wait. Returns the latents that they were about, with their study."""
    waiting: dict[tuple[str, str], Envelope] = {}
    about: set[tuple[int, int]] = set()
    while True:
        for new in requests.take_all():
            key = (new.name, new.tab or new.id)
            older = waiting.get(key)
            if older is not None and older.number > new.number:
                older, new = new, older
            waiting[key] = new
            if older is not None:
                requests.reply(older, Reply(superseded=True))
        if not waiting:
            return about
        envelope = waiting.pop(next(iter(waiting)))
        if envelope.until > requests.now():
            requests.reply(envelope, _answer(envelope))
            if "latent" in envelope.request:
                about.add((envelope.study_id, envelope.request["latent"]))


def _answer(envelope: Envelope) -> Reply:
    # Imports torch.
    from workers.interactive.registry import ANSWERS

    try:
        request = requests.REQUESTS[envelope.name].request.model_validate(envelope.request)
        with new_session(reads=True) as session:
            study = session.get(Study, envelope.study_id)
            if study is None or study.deleted_at is not None:
                return Reply(problem="This study was deleted.")
            with bulk_work_pauses(), _half_the_cores():
                answer = ANSWERS[envelope.name](session, study, request)
        return Reply(answer=answer.model_dump(mode="json"))
    except Exception as error:
        reference = uuid4().hex[:8]
        if not isinstance(error, InputError):
            log.exception("request %s failed, reference %s", envelope.name, reference)
        return Reply(problem=in_words(error, reference))


@contextmanager
def _half_the_cores() -> Iterator[None]:
    """Compute on half of the threads.

    A short text is read in steps of a few milliseconds, and each waits for its slowest thread.
    Beside other work that takes longer than a second thread saves.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
