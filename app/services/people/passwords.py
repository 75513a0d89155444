"""Passwords, hashed by Argon2."""

import secrets

from pwdlib import PasswordHash

from app.services.people.schemas import LONGEST_NAME

hasher = PasswordHash.recommended()
LONGEST_PASSWORD = 1000
"""Characters."""
SHORTEST_PASSWORD = 8

ABSENT = hasher.hash(secrets.token_urlsafe())
"""Checked when there is no such user, so that the answer takes as long as a wrong password's."""


def may_be(name: str, password: str) -> bool:
    """True if there can be such a user. Argon2 would read all of a password, however long."""
    return "\0" not in name and len(name) <= LONGEST_NAME and len(password) <= LONGEST_PASSWORD
