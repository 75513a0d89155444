"""Chats from files of templates, and text with marks in it.

In a file, each message begins with a line ``=== user`` or ``=== assistant``.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from jinja2 import Environment, StrictUndefined, Template

from interp.llm.llm import Message

HEADING = re.compile(r"^=== (user|assistant)\n", re.MULTILINE)
VISIBLE = str.maketrans({"\n": "⏎", "\t": " ", "\r": " ", "«": "“", "»": "”"})
"""An example is one line, and only marks look like marks."""


def render(file: Path, **data: Any) -> list[Message]:
    """The chat that a template makes of some data."""
    return [
        Message(role=role, content=template.render(data).strip())
        for role, template in _template(file)
    ]


@cache
def _template(file: Path) -> list[tuple[Literal["user", "assistant"], Template]]:
    """The messages of a template. Text that is filled in can begin no message of its own, since
    the file is split before."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    _, *parts = HEADING.split(file.read_text(encoding="utf-8"))
    return [
        (cast(Literal["user", "assistant"], role), environment.from_string(text.strip()))
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def marked(tokens: Sequence[str], marks: Mapping[int, str]) -> str:
    """Tokens on one line, some of them in «…» with a note after it.

    Args:
        marks: The notes of the tokens to mark, by their position.
    """
    shown = []
    note: str | None = None
    for i, token in enumerate(tokens):
        note = marks.get(i, note)
        if not token:  # a piece of a character: the mark goes to the token that shows it
            continue
        token = token.translate(VISIBLE)
        if note is not None:
            bare = token.lstrip(" ")
            token = token[: len(token) - len(bare)] + f"«{bare or ' '}»{note}"
        shown.append(token)
        note = None
    return "".join(shown).strip()
