"""The fields of requests. Each text is cleaned by `interp.cleaning`, whatever asks."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from interp import cleaning
from interp.corpus.source import source_of
from interp.registry import Registry, listed
from models import folders

LINE = 500
"""Characters of a line."""


class Input(BaseModel):
    """What a request brings. A field that it does not know is refused, as it may be a slip."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _knows_all(cls, given: Any) -> Any:
        errors = [
            InitErrorDetails(type=cls._unknown(name), loc=(name,), input=value)
            for name, value in (given.items() if isinstance(given, dict) else ())
            if name not in cls.model_fields
        ]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return given

    @classmethod
    def _unknown(cls, name: str) -> PydanticCustomError:
        near = get_close_matches(name, cls.model_fields, n=1)
        says = (
            f"Did you mean {near[0]}?" if near else f"There are {listed(cls.model_fields, 'and')}."
        )
        return PydanticCustomError(
            "unknown_field", "There is no such field. {says}", {"says": says}
        )


def _line(line: str) -> str:
    return cleaning.name(line, LINE)


def _corpus(name: str) -> str:
    if (path := source_of(name).here) is not None:
        folders.check_path(path)
    return name


def _path(path: str) -> str:
    return folders.check_path(path) if path else ""


def _module(name: str) -> str:
    if set(name) & set("/\\") or name in (".", ".."):
        raise ValueError("Use the name of a site, such as layers.10.mlp; it has no slash.")
    return name.strip()


@dataclass(frozen=True)
class OneOf:
    """Takes the names in a registry, as a ``Literal`` of them would."""

    registry: Registry[Any]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.literal_schema(list(self.registry))


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LINE),
    AfterValidator(_line),
]
"""One line of text: a title, a name or a path."""
OptionalLine = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=LINE), AfterValidator(_line)
]
Model = Annotated[Line, AfterValidator(folders.check_model)]
Coder = Annotated[Line, AfterValidator(folders.check_coder)]
Corpus = Annotated[Line, AfterValidator(_corpus)]
Folder = Annotated[Line, AfterValidator(folders.check_path)]
OptionalPath = Annotated[OptionalLine, AfterValidator(_path)]
"""What the worker loads. While accounts are on, only what is in folders that the operator named."""
Site = Annotated[OptionalLine, AfterValidator(_module)]
"""A site of a model, or nothing. Coders of many sites have a folder for each, so it is no path."""
Sought = Annotated[str, AfterValidator(cleaning.sought)]
"""Text to search for, such as words or an author; it may be empty."""
