"""Input that is refused: with a status of the client's, and a sentence that says what to do."""

import json
import re
from typing import Any

import httpx
import pytest

from models import Study
from tests.reading import problem_of

HALF = "\ud83d"
"""Half of an emoji, as JSON may carry it."""
PYTHON = re.compile(r"\^\[|\\x|<class|Error\b|Traceback|Input should|psycopg|SELECT|INSERT")
"""What is written for programmers: a regular expression, an exception, a statement."""


def send(api: httpx.Client, method: str, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    return api.request(method, path, content=content, headers={"Content-Type": "application/json"})


def _bodies(api: httpx.Client) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation that takes JSON: its method, its path, and the schema of its body."""
    description = api.get("/openapi.json").json()
    schemas = description["components"]["schemas"]
    found = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if schema := content.get("application/json", {}).get("schema"):
                reference = next(v for v in _walk(schema) if isinstance(v, str) and "/" in v)
                found.append((method, path, schemas[reference.rsplit("/", 1)[1]]))
    return found


def _walk(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(deeper for one in inner for deeper in _walk(one))]


def _takes_text(schema: dict[str, Any]) -> bool:
    kinds = [schema, *schema.get("anyOf", [])]
    return any(kind.get("type") == "string" for kind in kinds)


def _path(path: str, study: Study) -> str:
    path = path.removeprefix("/api/v1").replace("{slug}", study.slug).replace("{index}", "0")
    return re.sub(r"{\w+}", "1", path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (HALF, "half characters"),
        (f"a{HALF}b", "half characters"),
        ("a\x00b", "control characters"),
        ("a\x1b[0m", "control characters"),
        (None, ""),
        (7, ""),
        ([], ""),
        ({}, ""),
        (True, ""),
    ],
    ids=repr,
)
def test_every_text_of_every_body_is_looked_at(
    api: httpx.Client, study: Study, value: object, says: str
) -> None:
    fields = 0
    for method, path, schema in _bodies(api):
        for name, kind in schema["properties"].items():
            if not _takes_text(kind) or (value is None and "anyOf" in kind):
                continue
            fields += 1
            answer = send(api, method, _path(path, study), {name: value})
            detail = problem_of(answer, 422)
            assert name in detail, (path, name)
            assert not PYTHON.search(detail), detail
            if says and not re.search("enum|pattern", json.dumps(kind)):
                messages = {e["field"]: e["message"] for e in answer.json()["errors"]}
                assert says in messages.get(name, ""), (path, name, messages)
    assert fields >= 30


DIGITS = "9" * 5000


@pytest.mark.parametrize("number", [DIGITS, f"-{DIGITS}", "9" * 400, f"{DIGITS}.5", "1e999", "NaN"])
def test_numbers_that_are_too_large_are_refused(
    api: httpx.Client, study: Study, number: str
) -> None:
    """Python reads no integer of more than 4,300 digits, and says so in its own way."""
    for path, field in (
        (f"/studies/{study.slug}/simulate/estimate", "individually"),
        (f"/studies/{study.slug}/simulate/estimate", "loss_effect_min"),
        (f"/studies/{study.slug}/latents/1/explanations", "parent_id"),
        (f"/studies/{study.slug}/generations", "temperature"),
        ("/studies", "seed"),
    ):
        answer = send(api, "post", path, f'{{"text": "x", "{field}": {number}}}')
        assert answer.status_code in (400, 422), answer.text
        assert not PYTHON.search(problem_of(answer, answer.status_code)), answer.text
    for address in (
        f"/studies/{study.slug}/latents?limit={number}",
        f"/studies/{study.slug}/latents?loss_effect_min={number}",
        f"/studies/{study.slug}/latents/{number}",
        f"/jobs/{number}",
    ):
        assert api.get(address).status_code in (404, 422)


def test_bodies_that_are_no_json(api: httpx.Client, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/1/explanations"
    for content, says in (
        (b"{", "not JSON: it ends too early, after character 1."),
        (b'{"text": nothing}', "not JSON from character 10 on"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "nested"),
        (b'{"text": ' + DIGITS.encode() + b"}", "digits"),
        (b"[]", "fields"),
    ):
        answer = api.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        detail = problem_of(answer, answer.status_code)
        assert says in detail
        assert not PYTHON.search(detail), detail
        assert all(error["field"] == "body" for error in answer.json()["errors"])


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("latents/1/explanations", "text/plain", "type text/plain: send it as application/json."),
        ("latents/1/explanations", "", "no content type: send it as application/json."),
        ("import", "application/json", "application/json: send it as multipart/form-data."),
    ],
)
def test_a_body_of_another_content_type_is_told_which_is_needed(
    api: httpx.Client, study: Study, path: str, kind: str, says: str
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = api.post(f"/studies/{study.slug}/{path}", content=b'{"text": "x"}', headers=headers)
    assert says in problem_of(answer, 422)
    assert [error["field"] for error in answer.json()["errors"]] == ["body"]
    nothing = problem_of(api.post(f"/studies/{study.slug}/{path}"), 422)
    assert nothing.endswith(says.rpartition(": ")[2].replace("send it", "")), nothing


def test_unknown_fields_of_every_body_are_refused(api: httpx.Client, study: Study) -> None:
    bodies = _bodies(api)
    assert len(bodies) >= 15
    for method, path, schema in bodies:
        assert schema["additionalProperties"] is False, path
        known = next(iter(schema["properties"]))
        answer = send(api, method, _path(path, study), {f"{known}x": 1, "qqqq": 1})
        problem_of(answer, 422)
        slip, other = answer.json()["errors"]
        assert (slip["field"], other["field"]) == (f"{known}x", "qqqq"), path
        assert slip["message"].startswith("There is no such field. Did you mean "), path
        assert f"There are {known}" in other["message"] or "mean" in other["message"], path
    answer = send(
        api,
        "post",
        f"/studies/{study.slug}/score/estimate",
        {"llm": {"model": "m", "back_end": "vllm"}},
    )
    assert problem_of(answer, 422) == (
        "llm.back_end: There is no such field. Did you mean backend?"
    )


def test_an_answer_names_some_of_many_wrong_fields(api: httpx.Client, study: Study) -> None:
    latent = f"/studies/{study.slug}/latents/2/explanations"
    answer = api.post(latent, json={"text": "x", **{f"no{i}": 1 for i in range(20_000)}})
    assert problem_of(answer, 422).endswith(" 19,980 more fields are not valid.")
    assert len(answer.json()["errors"]) == 20


def test_text_is_cleaned_alike(api: httpx.Client, study: Study) -> None:
    latent = f"/studies/{study.slug}/latents/2"
    saved = api.post(f"{latent}/explanations", json={"text": " a\r\nb\tc\u2028d "}).json()
    explanation = saved["explanation"]
    assert explanation["text"] == "a b c d"
    comment = api.post(f"/explanations/{explanation['id']}/comments", json={"text": " a\r\nb\n"})
    assert comment.json()["text"] == "a\nb"
    listed = api.post(f"/studies/{study.slug}/lists", json={"name": " a \n b ", "latents": [1]})
    assert listed.json()["list"]["name"] == "a b"
    sentence = api.post(f"/studies/{study.slug}/sentences", json={"text": " a\r\nb "})
    assert sentence.json()["text"] == " a\nb ", "white space counts where tokens are read"
    content = json.dumps({"latent": 3, "text": " a\r\nb\t", "author": " me "}).encode()
    made = api.post(f"/studies/{study.slug}/import", files={"file": ("a.jsonl", content)})
    with open(made.json()["params"]["path"]) as file:
        line = json.loads(file.read())
    assert (line["text"], line["author"]) == ("a b", "me")
    for job in api.get(f"/studies/{study.slug}/jobs").json()["items"]:
        api.post(f"/jobs/{job['id']}/cancel")


def test_a_form_in_a_strange_encoding_is_refused(pages: httpx.Client, study: Study) -> None:
    """A browser sends UTF-8; other programs name an encoding that can write half characters."""
    path = f"/studies/{study.slug}/latents/1/explanations"
    body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n\\ud83d\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x; charset=unicode_escape"
    answer = pages.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert "half characters" in answer.text


def test_addresses_that_nobody_was_given(api: httpx.Client, study: Study) -> None:
    listed = f"/studies/{study.slug}/latents"
    for query in ({"after": "nonsense"}, {"q": "a\0"}, {"on_list": "\x1b"}, {"sort": "x"}):
        detail = problem_of(api.get(listed, params=query), 422)
        assert not PYTHON.search(detail), detail
    for slug in ("UPPER", "a b", "a%00", "%F0%9F"):
        detail = problem_of(api.get(f"/studies/{slug}"), 404)
        assert not PYTHON.search(detail), detail
    upload = api.post(f"/studies/{study.slug}/import", data={"file": "no file"})
    assert "Choose a file" in problem_of(upload, 422)
