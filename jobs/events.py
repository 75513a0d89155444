"""Redis, and the events that tell browsers what has changed."""

import json
import logging
from functools import cache

import redis
from redis.exceptions import RedisError

from models.settings import get_settings

log = logging.getLogger(__name__)

REDIS_SECONDS = 5
"""The longest wait for an answer of Redis, in seconds."""


@cache
def get_redis() -> redis.Redis:
    """The connection to Redis of this process.

    Raises:
        RuntimeError: ``REDIS_URL`` is not set.
    """
    url = get_settings().redis_url
    if url is None:
        raise RuntimeError("REDIS_URL is not set; start with `palimpsest up`, or set it.")
    return redis.Redis.from_url(
        url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
    )


def channel(study_id: int) -> str:
    """Name of the Redis channel with a study's events."""
    return f"palimpsest:study:{study_id}"


def publish(study_id: int, event: str, data: int = 0) -> None:
    """Tell the browsers that look at a study of a change.

    The change is saved already, so browsers see it later if Redis cannot be reached.

    Events:

    - ``job`` (data: job id): a job's state or progress changed.
    - ``latent`` (data: latent id): a latent's explanation, simulations or figures changed.
    - ``latents``: many latents changed.
    - ``chart``: a rewrite has new points.
    - ``generation`` (data: generation id): a generation has another continuation.
    - ``sentence`` (data: sentence id): more is known of a sentence.
    - ``checks``: a sanity check has an outcome.
    - ``language``: a language test has ended.
    """
    try:
        get_redis().publish(channel(study_id), json.dumps({"event": event, "data": data}))
    except (RedisError, RuntimeError) as error:
        log.error("Browsers were not told of %s %s: %s", event, data, error)
