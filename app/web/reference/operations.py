"""The operations of the API, read from its description: for a page and for docs/api.md."""

from typing import Any, NamedTuple

API = "/api/v1"


class Parameter(NamedTuple):
    """A field of an operation's address."""

    name: str
    description: str


class Operation(NamedTuple):
    """What a program can ask for. Objects are between backticks."""

    method: str
    path: str
    """Without the prefix that all have."""
    summary: str
    description: str
    query: list[Parameter]
    takes: list[str]
    answers: list[tuple[str, str]]
    """Status and content of each answer to a request that succeeds."""


class Schema(NamedTuple):
    """An object that is sent or answered."""

    name: str
    fields: list[str]


def by_subject(api: dict[str, Any]) -> dict[str, list[Operation]]:
    """The operations of each subject."""
    subjects: dict[str, list[Operation]] = {}
    for path, methods in api["paths"].items():
        if not path.startswith(API):
            continue
        for method, operation in methods.items():
            subjects.setdefault(operation["tags"][0], []).append(
                Operation(
                    method.upper(),
                    path.removeprefix(API),
                    operation["summary"],
                    " ".join(operation["description"].split()),
                    [
                        Parameter(one["name"], one.get("description", ""))
                        for one in operation.get("parameters", [])
                        if one["in"] == "query"
                    ],
                    [_content(api, *one) for one in _bodies(operation)],
                    _answers(operation),
                )
            )
    return subjects


def schemas(api: dict[str, Any]) -> list[Schema]:
    """The objects that are sent and answered, by name."""
    return [
        Schema(name, list(schema["properties"]))
        for name, schema in sorted(api["components"]["schemas"].items())
        if schema.get("properties") and not name.startswith(("Body_", "HTTPValidation"))
    ]


def named(names: list[str]) -> str:
    """Names in a row, between backticks."""
    return ", ".join(f"`{name}`" for name in names)


def _bodies(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    content = operation.get("requestBody", {}).get("content", {})
    return [(kind, one["schema"]) for kind, one in content.items()]


def _content(api: dict[str, Any], kind: str, schema: dict[str, Any]) -> str:
    if kind == "multipart/form-data":
        fields = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        return f"a form with {named(list(fields))}"
    return _type(schema)


def _answers(operation: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for status, answer in operation["responses"].items():
        if not status.startswith("2"):
            continue
        content = answer.get("content", {})
        kinds = [_type(c["schema"]) if c.get("schema") else f"`{k}`" for k, c in content.items()]
        found.append((status, " or ".join(kinds) or "nothing"))
    return found


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if schema.get("type") == "array":
        return f"a list of {_type(schema['items'])}"
    return f"`{schema.get('type', 'anything')}`"
