"""Requests that the interactive worker answers at once. They go through Redis and leave no row.

The table of jobs is for work that is kept. A request is for an answer that somebody waits for, such
as a preview while they type: if nobody waits any more, it is dropped.

1. The web server pushes a request on a list in Redis, and wakes the interactive worker.
2. The worker takes all requests off the list. Of one browser tab it answers the newest only.
3. It pushes the answer on a list of that request, where the web server waits for it.

To add a request:

1. Write the models of the request and of its answer in a module beside this one, and list it in
   :data:`REQUESTS`.
2. Write the function that answers it in ``workers/interactive``, and list it in
   ``workers/interactive/registry.py``. It gets a session that reads, the study and the request.
3. Call :func:`ask` in an endpoint (``app/web/asking.py`` bounds how many wait at once).
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from jobs.drafts import DraftRequest
from jobs.events import REDIS_SECONDS, get_redis
from jobs.influence import InfluenceRequest
from jobs.kinds import INTERACTIVE
from jobs.queue import ANSWER, unserved, wake
from models.settings import get_settings

log = logging.getLogger(__name__)

Answer = TypeVar("Answer", bound=BaseModel)

LIST = "palimpsest:requests"
"""The list in Redis with the requests that wait, oldest first."""
KEPT_SECONDS = 60
"""After so long Redis forgets an answer that nobody took."""


class Kind(NamedTuple):
    """A kind of request."""

    request: type[BaseModel]
    seconds: float
    """The longest wait for an answer. It includes the loading of models."""


REQUESTS: Mapping[str, Kind] = {
    "draft": Kind(DraftRequest, 20),
    "influence": Kind(InfluenceRequest, 20),
}
"""All requests by name."""


class Envelope(BaseModel):
    """A request on its way."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    study_id: int
    tab: str = ""
    """The browser tab that asks. Empty: no other request takes its place."""
    number: int = 0
    """Of the requests of a tab of one name, the one with the largest number is wanted."""
    until: float
    """When nobody waits for the answer any more, by the clock of Redis."""
    request: dict[str, Any]


class Reply(BaseModel):
    """What comes back: an answer, or the reason why there is none."""

    model_config = ConfigDict(frozen=True)

    answer: dict[str, Any] | None = None
    problem: str = ""
    superseded: bool = False
    """True if a newer request of the same tab took its place."""


class NoAnswer(Exception):
    """There is no answer. The message says why, and what to do."""


class Superseded(Exception):
    """A newer request of the same tab took its place, so nobody needs the answer."""


NOBODY = (
    "No interactive worker is running, so nothing is simulated before it is saved. `palimpsest up` "
    "starts one; by hand it is `celery -A jobs.queue worker -Q interactive`."
)


async def ask(
    name: str,
    study_id: int,
    request: BaseModel,
    answer: type[Answer],
    *,
    tab: str = "",
    number: int = 0,
    seconds: float | None = None,
) -> Answer:
    """Have the interactive worker answer a request.

    Args:
        name: One of :data:`REQUESTS`.
        answer: The type of its answers.
        tab: See :class:`Envelope`.
        number: See :class:`Envelope`.
        seconds: The longest wait, if not the one of the table.

    Raises:
        NoAnswer: No worker answers, or it cannot.
        Superseded: A newer request of the same tab came meanwhile.
    """
    wait = REQUESTS[name].seconds if seconds is None else seconds
    url = get_settings().redis_url
    if url is None:
        raise NoAnswer(NOBODY)
    try:
        key = await asyncio.to_thread(_submit, name, study_id, request, tab, number, wait)
        # By default a read ends after 5 s.
        patience = wait + REDIS_SECONDS
        async with AsyncRedis.from_url(url, socket_timeout=patience) as client:
            found = await client.blpop([key], timeout=wait)
    except RedisError as error:
        log.error("A request is not answered, as Redis cannot be reached: %s", error)
        raise NoAnswer("Redis cannot be reached, so no worker could be asked. Try again.") from None
    if found is None:
        raise NoAnswer(
            f"The interactive worker gave no answer within {wait:.0f} s. It may be loading models "
            "or be busy; try again in a minute. Its log says what it does."
        )
    reply = Reply.model_validate_json(found[1])
    if reply.superseded:
        raise Superseded
    if reply.answer is None:
        raise NoAnswer(reply.problem)
    return answer.model_validate(reply.answer)


def _submit(
    name: str, study_id: int, request: BaseModel, tab: str, number: int, wait: float
) -> str:
    """Put a request on the list, and wake the worker. Returns the key of its answer."""
    if INTERACTIVE in unserved():
        raise NoAnswer(NOBODY)
    envelope = Envelope(
        id=uuid4().hex,
        name=name,
        study_id=study_id,
        tab=tab,
        number=number,
        until=now() + wait,
        request=request.model_dump(mode="json"),
    )
    get_redis().rpush(LIST, envelope.model_dump_json())
    wake(INTERACTIVE, ANSWER)
    return _key(envelope)


def now() -> float:
    """The time by the clock of Redis, in seconds: machines may disagree."""
    seconds, microseconds = get_redis().time()
    return float(seconds) + microseconds / 1e6


def waiting() -> bool:
    """True if somebody waits for an answer."""
    return bool(get_redis().exists(LIST))


def take_all() -> list[Envelope]:
    """Take all requests off the list, oldest first. What cannot be read is dropped."""
    with get_redis().pipeline() as pipe:
        pipe.lrange(LIST, 0, -1)
        pipe.delete(LIST)
        taken, _ = pipe.execute()
    found = []
    for text in taken:
        try:
            found.append(Envelope.model_validate_json(text))
        except ValidationError as error:  # of another version
            log.error("A request was dropped: %s", error)
    return found


def reply(envelope: Envelope, reply: Reply) -> None:
    """Answer a request."""
    with get_redis().pipeline() as pipe:
        pipe.rpush(_key(envelope), reply.model_dump_json())
        pipe.expire(_key(envelope), KEPT_SECONDS)
        pipe.execute()


def _key(envelope: Envelope) -> str:
    return f"palimpsest:answer:{envelope.id}"
