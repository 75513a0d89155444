"""Two lists made from the code: the API's operations in docs/api.md, the terms in
docs/vocabulary.md.

``python -m app.describe`` writes both again.
"""

from pathlib import Path
from typing import Any

from app.main import API, create_app
from interp.vocabulary import VOCABULARY
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
    made = []
    for terms in (*VOCABULARY, Status):
        made += [
            f"\n## {terms.__name__}\n\n{terms.__doc__}\n",
            "| value | label | meaning |\n|---|---|---|",
            *(f"| `{term}` | {term.label} | {term.meaning} |" for term in terms),
        ]
    return "\n".join([*made, ""])


def _operations(api: dict[str, Any]) -> str:
    """Every operation by subject: what it takes and what it answers with."""
    subjects: dict[str, list[str]] = {}
    for path, methods in api["paths"].items():
        if not path.startswith(API):
            continue
        for method, operation in methods.items():
            lines = [
                f"### `{method.upper()} {path.removeprefix(API)}`\n",
                f"**{operation['summary']}.** {' '.join(operation['description'].split())}\n",
            ]
            query = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
            if query:
                lines.append(f"- in the address: {_names(query)}")
            lines += [f"- takes {_content(api, one)}" for one in _bodies(operation)]
            lines += _answers(operation)
            subjects.setdefault(operation["tags"][0], []).append("\n".join(lines) + "\n")
    schemas = [
        f"| `{name}` | {_names(schema['properties'])} |"
        for name, schema in sorted(api["components"]["schemas"].items())
        if schema.get("properties") and not name.startswith(("Body_", "HTTPValidation"))
    ]
    return "\n".join(
        [
            "",
            *(f"## {name.capitalize()}\n\n" + "\n".join(made) for name, made in subjects.items()),
            "## What is sent and answered\n",
            "| object | fields |\n|---|---|",
            *schemas,
            "",
        ]
    )


def _bodies(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    content = operation.get("requestBody", {}).get("content", {})
    return [(kind, one["schema"]) for kind, one in content.items()]


def _content(api: dict[str, Any], body: tuple[str, dict[str, Any]]) -> str:
    kind, schema = body
    if kind == "multipart/form-data":
        fields = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        return f"a form with {_names(fields)}"
    return _type(schema)


def _answers(operation: dict[str, Any]) -> list[str]:
    """The responses of a request that succeeds."""
    made = []
    for status, answer in operation["responses"].items():
        if not status.startswith("2"):
            continue
        content = answer.get("content", {})
        kinds = [_type(c["schema"]) if c.get("schema") else f"`{k}`" for k, c in content.items()]
        made.append(f"- answers {status}: {' or '.join(kinds) or 'nothing'}")
    return made


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if schema.get("type") == "array":
        return f"a list of {_type(schema['items'])}"
    return f"`{schema.get('type', 'anything')}`"


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
