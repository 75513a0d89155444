"""The one exception that commands raise for what a person can put right."""


class CommandError(Exception):
    """Something stopped a command: the message says what, and what to do about it."""
