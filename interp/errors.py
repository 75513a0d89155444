"""The one exception that the engine raises for input it cannot work with."""


class InputError(ValueError):
    """Something the caller gave is wrong: the message says what, and what to do about it."""
