"""Tries to sign in with a password that was not seen before: how many, and how fast.

Three counters slow down guesses. All processes share them in Redis. They count many passwords for
one name from one address, many names from one address, and one name from everywhere. Each lets
a number of tries through, then one after a pause that doubles up to some seconds, and forgets after
a while. A stranger who guesses a person's password does not slow that person down where they have
signed in before. Elsewhere the two take turns, for as long as the guessing lasts. Behind a proxy
all people may have one address, so an address has many free tries.
"""

import logging
from hashlib import blake2b
from math import ceil
from typing import NamedTuple

from fastapi import HTTPException
from redis.exceptions import RedisError

from interp.cleaning import shown
from jobs.events import get_redis

log = logging.getLogger(__name__)

WINDOW = 15 * 60
"""Seconds after the last try at which a counter is forgotten."""
KNOWN = 30 * 24 * 3600
"""Seconds for which it is remembered from which address somebody has signed in."""


class Limit(NamedTuple):
    """The number of free tries, and the longest pause between later ones, in seconds."""

    free: int
    pause: int


NAME_AND_ADDRESS = Limit(5, 15)
ADDRESS = Limit(40, 30)
NAME = Limit(50, 5)

_COUNT = """
local wait = 0
for i = 1, #KEYS, 2 do wait = math.max(wait, redis.call('PTTL', KEYS[i + 1])) end
if wait > 0 then return wait end
for i = 1, #KEYS, 2 do
  local over = redis.call('INCR', KEYS[i]) - tonumber(ARGV[i + 1])
  redis.call('EXPIRE', KEYS[i], ARGV[1])
  if over > 0 then
    local pause = 1000 * math.min(2 ^ math.min(over - 1, 20), tonumber(ARGV[i + 2]))
    redis.call('SET', KEYS[i + 1], 1, 'PX', string.format('%d', pause))
  end
end
return 0
"""
"""Counts one try under each pair of keys (a counter and its pause). If one of them pauses, it
counts none, and returns the milliseconds to wait. All in one step, so that many tries at once are
counted."""
_UNCOUNT = """
for i = 1, #KEYS, 2 do
  local free = tonumber(ARGV[(i + 1) / 2])
  if redis.call('EXISTS', KEYS[i]) == 1 and redis.call('DECR', KEYS[i]) <= free then
    redis.call('DEL', KEYS[i + 1])
  end
end
"""
"""Takes one try back under each pair of keys, with the pause that it brought about."""


def admit(name: str, address: str) -> None:
    """Count a try to sign in, before its password is looked at.

    Raises:
        HTTPException: 429 with ``Retry-After``, while such tries have to wait.
    """
    limits = {_pair(name, address): NAME_AND_ADDRESS}
    try:
        if not get_redis().exists(_known(name, address)):
            limits |= {_key("from", address): ADDRESS, _key("name", name): NAME}
        keys = [one for key in limits for one in (key, f"{key}:pause")]
        values = [WINDOW, *(value for limit in limits.values() for value in limit)]
        wait = get_redis().eval(_COUNT, len(keys), *keys, *values)
    except RedisError as error:
        # Without Redis nothing is counted, and nothing else would help the people who sign in.
        log.warning("Tries to sign in are not counted: %s", error)
        return
    if wait:
        seconds = ceil(wait / 1000)
        log.warning("A try to sign in as %r from %s has to wait.", shown(name), address)
        raise HTTPException(
            429,
            f"Too many wrong passwords were tried. Try again in {seconds} s.",
            {"Retry-After": str(seconds)},
        )


def was_right(name: str, address: str) -> None:
    """Take back what was counted for a try whose password was right."""
    try:
        pair = _pair(name, address)
        get_redis().delete(pair, f"{pair}:pause")
        limits = {_key("from", address): ADDRESS, _key("name", name): NAME}
        keys = [one for key in limits for one in (key, f"{key}:pause")]
        get_redis().eval(_UNCOUNT, len(keys), *keys, *(limit.free for limit in limits.values()))
        get_redis().set(_known(name, address), 1, ex=KNOWN)
    except RedisError as error:
        log.warning("A sign-in was not recorded: %s", error)


def was_wrong(name: str, address: str) -> None:
    """Record a wrong password, or a name that nobody has."""
    log.warning("A wrong name or password: %r from %s.", shown(name), address)


def _pair(name: str, address: str) -> str:
    return _key("pair", f"{address} {name}")


def _known(name: str, address: str) -> str:
    return _key("known", f"{address} {name}")


def _key(kind: str, of: str) -> str:
    digest = blake2b(of.encode(), digest_size=16).hexdigest()
    return f"palimpsest:guesses:{kind}:{digest}"
