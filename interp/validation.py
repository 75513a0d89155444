"""Say in a sentence what Pydantic finds wrong with a value."""

from collections.abc import Callable
from typing import Any

from pydantic_core import ErrorDetails

from interp.cleaning import HALF

_FILL_IN = "Fill in this field."
_WHOLE_NUMBER = "Use a whole number."
_NUMBER = "Use a number."
_TEXT = "Use a text."
_LIST = "Use a list."
_OBJECT = "Use an object with named fields."

_SENTENCES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    "missing": _FILL_IN,
    "string_too_short": _FILL_IN,
    "string_pattern_mismatch": lambda of: (
        "Use lower-case letters, digits and hyphens; begin with a letter or digit."
        if of["pattern"].startswith("^[a-z0-9]")
        else "Leave this as a page or an answer gave it."
    ),
    "string_too_long": lambda of: f"Use at most {of['max_length']:,} characters.",
    "string_unicode": HALF,
    "string_type": _TEXT,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": "Use a whole number of fewer digits.",
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "finite_number": "Use a finite number.",
    "bool_parsing": "Use true or false.",
    "bool_type": "Use true or false.",
    "greater_than_equal": lambda of: f"Use {_bound(of['ge'])} or more.",
    "greater_than": lambda of: f"Use more than {_bound(of['gt'])}.",
    "less_than_equal": lambda of: f"Use {_bound(of['le'])} or less.",
    "less_than": lambda of: f"Use less than {_bound(of['lt'])}.",
    "literal_error": lambda of: f"Use {of['expected']}.",
    "list_type": _LIST,
    "too_short": lambda of: f"Name {of['min_length']:,} or more.",
    "too_long": lambda of: f"Name at most {of['max_length']:,}.",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "json_invalid": "This is no JSON.",
}
"""What to do about an error, by its type in Pydantic."""


def message(error: ErrorDetails) -> str:
    """One plain sentence for a validation error of Pydantic."""
    found = _SENTENCES.get(error["type"])
    if callable(found):
        return found(error.get("ctx") or {})
    if found is None:
        found = error["msg"].removeprefix("Value error, ").rstrip(".")
    return found if found.endswith((".", "?")) else f"{found}."


def _bound(number: float) -> str:
    return f"{number:,}".removesuffix(".0")
