"""The exceptions that the engine raises for input it cannot work with."""


class InputError(ValueError):
    """Something the caller gave is wrong: the message says what, and what to do about it."""


class ItemError(InputError):
    """One item of many is wrong, such as a latent or a chat: the others can be worked with.

    Whoever goes through many items counts this one as missing, with the message as the reason.
    """
