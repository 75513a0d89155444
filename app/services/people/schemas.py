"""What people send about their accounts, and what a provider says of them."""

from typing import Annotated

from pydantic import AfterValidator

from app.services.fields import Input
from interp import cleaning
from interp.vocabulary import TokenScope

LONGEST_LABEL = 100
LONGEST_NAME = 200
"""Characters."""


def _name(text: str) -> str:
    name = cleaning.name(text, LONGEST_NAME, empty="Name the person; the name is empty.")
    if ":" in name or not name.isprintable():
        raise ValueError("A name is one line of text, and has no colon in it.")
    return name


PersonName = Annotated[str, AfterValidator(_name)]
"""The name of somebody, under all that they write."""


def _label(text: str) -> str:
    return cleaning.one_line(text, LONGEST_LABEL, empty="Name what the token is for.")


class TokenCreate(Input):
    """An API token to make."""

    label: Annotated[str, AfterValidator(_label)]
    scope: TokenScope
