"""Events of workers, streamed from Redis to browsers as server-sent events."""

import json
import logging
from collections.abc import AsyncIterator

from fastapi import APIRouter
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from app.services.studies.queries import get_study
from app.web.database import Database
from app.web.params import Slug
from app.web.places import Places
from jobs.events import channel
from models.settings import get_settings

log = logging.getLogger(__name__)
router = APIRouter()

EVERY_STUDY = "palimpsest:study:*"
STREAMS = Places(200, "Too many pages listen for news at once. Reload the page to see them.")
"""Each has a connection to its browser, and one to Redis."""


class EventStream(EventSourceResponse):
    """A stream of events, of which there are so many at most."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what comes until the browser goes.

        Raises:
            Busy: There are as many streams as may be.
        """
        async with STREAMS.one():
            await super().__call__(scope, receive, send)


@router.get("/events", include_in_schema=False)
def all_events() -> EventSourceResponse:
    """Events of all studies."""
    return EventStream(stream(EVERY_STUDY))


@router.get("/studies/{slug}/events", include_in_schema=False)
def study_events(slug: Slug, session: Database) -> EventSourceResponse:
    """Events of one study."""
    return EventStream(stream(channel(get_study(session, slug).id)))


async def stream(pattern: str) -> AsyncIterator[ServerSentEvent]:
    """Events as they come: ``job``, ``latent-<id>``, ``latents``, ``chart``, ``generation``,
    ``sentence``, ``checks``.

    The first one is ``refresh``, sent once the subscription stands. The page then fetches the
    changes since it was written, or since a connection broke.
    """
    url = get_settings().redis_url
    if url is None:
        return
    try:
        async with Redis.from_url(url) as client, client.pubsub() as pubsub:
            await pubsub.psubscribe(pattern)
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    yield ServerSentEvent(event="refresh", data="0")
                elif message["type"] == "pmessage":
                    event = json.loads(message["data"])
                    name = event["event"]
                    if name == "latent":
                        name = f"latent-{event['data']}"
                    yield ServerSentEvent(event=name, data=str(event["data"]))
    except RedisError as error:
        # The stream ends; browsers connect again by themselves.
        log.warning("Events stopped, as Redis cannot be reached: %s", error)
