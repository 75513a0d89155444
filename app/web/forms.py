"""Forms as they were sent."""

from collections.abc import Mapping
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel

Value = TypeVar("Value")


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form as they were sent, so that a page can show them again."""
    form = await request.form(max_files=0, max_fields=100)
    return {name: str(value) for name, value in form.items()}


def fields_of(values: Mapping[str, Value], model: type[BaseModel]) -> dict[str, Value]:
    """The fields of a form that a model has. Its buttons and what it carries unseen are others."""
    return {name: value for name, value in values.items() if name in model.model_fields}
