"""Passwords at the door: few at a time, and guesses slowed down."""

from fastapi.concurrency import run_in_threadpool

from app.services.people.passwords import ABSENT, hasher, may_be
from app.services.people.sessions import find_user
from app.web.database import session_of
from app.web.guard import guesses
from app.web.places import Places

HASHING = Places(2, "Too many people sign in at once. Try again in a few seconds.", waiting=200)


async def user_of(name: str, password: str, address: str) -> int | None:
    """Number of the user with a name and a password; None if one of them is wrong.

    Args:
        address: Where the request comes from.

    Raises:
        HTTPException: 429 when too many wrong ones were tried.
    """
    if not may_be(name, password):
        return None
    async with session_of(reads=True) as session:
        user = await run_in_threadpool(find_user, session, name)
    await run_in_threadpool(guesses.admit, name, address)
    # Passwords have threads of their own, and no place among answers while they wait for one.
    # Who signs in elsewhere has no password.
    stored = (user and user.password_hash) or ABSENT
    right = await HASHING.run(hasher.verify, password, stored)
    if user is None or not right:
        guesses.was_wrong(name, address)
        return None
    await run_in_threadpool(guesses.was_right, name, address)
    return user.id
