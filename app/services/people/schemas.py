"""What people send about their accounts."""

from typing import Annotated

from pydantic import AfterValidator

from app.services.fields import Input
from interp import cleaning
from interp.vocabulary import TokenScope

LONGEST_LABEL = 100
"""Characters."""


def _label(text: str) -> str:
    return cleaning.one_line(text, LONGEST_LABEL, empty="Name what the token is for.")


class TokenCreate(Input):
    """An API token to make."""

    label: Annotated[str, AfterValidator(_label)]
    scope: TokenScope
