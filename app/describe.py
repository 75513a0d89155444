"""Two lists made from the code: the API's operations in docs/api.md, the terms in
docs/vocabulary.md.

``python -m app.describe`` writes both again.
"""

from pathlib import Path
from typing import Any

from app.main import create_app
from app.web.reference.operations import Operation, by_subject, named, schemas
from interp.vocabulary import VOCABULARY, Term
from jobs.status import Status

DOCS = Path(__file__).parent.parent / "docs"
API_LIST, TERMS = DOCS / "api.md", DOCS / "vocabulary.md"
MARK = "<!-- Below: made from the code by `python -m app.describe`. -->\n"


def documents() -> dict[Path, str]:
    """Each document with its list as the code has it. The text before the mark is kept."""
    lists = {API_LIST: _operations(create_app().openapi()), TERMS: _terms()}
    return {
        path: path.read_text(encoding="utf-8").partition(MARK)[0] + MARK + made
        for path, made in lists.items()
    }


def _terms() -> str:
    """Every term with its label and meaning, a table for each kind of term."""
    made: list[str] = []
    kinds: tuple[type[Term], ...] = (*VOCABULARY, Status)
    for terms in kinds:
        made += [
            f"\n## {terms.__name__}\n\n{terms.__doc__}\n",
            "| value | label | meaning |\n|---|---|---|",
            *(f"| `{term}` | {term.label} | {term.meaning} |" for term in terms),
        ]
    return "\n".join([*made, ""])


def _operations(api: dict[str, Any]) -> str:
    """Every operation by subject: what it takes and what it answers with."""
    made = []
    for name, found in by_subject(api).items():
        made.append(f"## {name.capitalize()}\n\n" + "\n".join(map(_operation, found)))
    objects = [f"| `{name}` | {named(fields)} |" for name, fields in schemas(api)]
    return "\n".join(
        [
            "",
            *made,
            "## What is sent and answered\n",
            "| object | fields |\n|---|---|",
            *objects,
            "",
        ]
    )


def _operation(one: Operation) -> str:
    lines = [f"### `{one.method} {one.path}`\n", f"**{one.summary}.** {one.description}\n"]
    if one.query:
        lines.append(f"- in the address: {named([field.name for field in one.query])}")
    lines += [f"- takes {body}" for body in one.takes]
    lines += [f"- answers {status}: {content}" for status, content in one.answers]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
