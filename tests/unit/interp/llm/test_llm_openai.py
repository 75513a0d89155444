"""The client of OpenAI-compatible servers, against a server that fails in every way."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cli.servers import free_port
from interp.errors import InputError
from interp.llm.openai import OpenAILLM
from tests.llm_server import Behaviour, Failing, Reply, chat, running, said


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with running() as failing:
        yield failing


def asked(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def fails_for(text: str, reply: Reply) -> Behaviour:
    """A server that answers every chat with what it was asked, except one."""
    return lambda body, before: reply if asked(body) == text else said(asked(body))


def test_answers_come_in_order_with_their_usage(server: Failing) -> None:
    server.behave = lambda body, before: said(asked(body))._replace(
        after=0.2 if asked(body) == "0" else 0.0
    )
    llm = OpenAILLM("m", server.url)
    found = llm.complete([chat(str(i)) for i in range(10)], max_tokens=9, temperature=0.5)
    assert [one.text for one in found] == [str(i) for i in range(10)]
    assert found[0][:4] == ("0", "", 20, 4)
    body = json.loads(server.requests[0][1])
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 9, 0.5)


def test_a_rate_limit_is_waited_for_as_long_as_the_server_says(server: Failing) -> None:
    slow_down = Reply(429, b"{}", {"Retry-After": "1.5"})
    server.behave = lambda body, before: slow_down if before < 2 else said("at last")
    (found,) = OpenAILLM("m", server.url).complete([chat("hello")], max_tokens=1)
    assert found.text == "at last"
    first, second, third = (when for when, _, _ in server.requests)
    # Its own first wait would be half a second at most.
    assert second - first >= 1.5 and third - second >= 1.5


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(429, b"{}", {"Retry-After": "0.01"}), "The server's rate limit was reached."),
        (Reply(500, b"oops"), "The server failed with error 500."),
        (Reply(503, b"{}"), "The server failed with error 503."),
        (Reply(200, b"{}", after=2.0), "The server gave no answer within 0.4 s."),
    ],
)
def test_what_fails_again_and_again_is_given_up_alone(
    server: Failing, reply: Reply, why: str
) -> None:
    server.behave = fails_for("bad", reply)
    llm = OpenAILLM("m", server.url, timeout=0.4, retries=2)
    good, bad, also_good = llm.complete(
        [chat("good"), chat("bad"), chat("also good")], max_tokens=1
    )
    assert (good.text, also_good.text) == ("good", "also good")
    assert bad[:4] == (None, why, 0, 0)
    tries = [body for _, body, _ in server.requests if asked(json.loads(body)) == "bad"]
    assert len(tries) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": 3}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}',
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_a_failure(server: Failing, body: bytes) -> None:
    server.behave = fails_for("bad", Reply(200, body))
    good, bad = OpenAILLM("m", server.url).complete([chat("good"), chat("bad")], max_tokens=1)
    assert good.text == "good"
    assert bad[:4] == (None, "The server's reply cannot be read.", 0, 0)


def test_a_page_instead_of_json_is_a_failure(server: Failing) -> None:
    server.behave = lambda body, before: Reply(200, b"<html>", {"Content-Type": "text/html"})
    (found,) = OpenAILLM("m", server.url).complete([chat("hello")], max_tokens=1)
    assert found[:4] == (None, "The server's reply cannot be read.", 0, 0)


def test_an_answer_without_text_is_a_failure(server: Failing) -> None:
    server.behave = lambda body, before: said(None)
    (found,) = OpenAILLM("m", server.url).complete([chat("hello")], max_tokens=1)
    assert found[:4] == (None, "The reply has no text.", 20, 4)


def test_what_the_server_refuses_is_not_tried_again(server: Failing) -> None:
    error = {"error": {"message": "The model `m` does not exist."}}
    server.behave = fails_for("bad", Reply(404, json.dumps(error).encode()))
    good, bad = OpenAILLM("m", server.url).complete([chat("good"), chat("bad")], max_tokens=1)
    assert good.text == "good"
    assert bad.failure == "The server refused the request: The model `m` does not exist."
    assert len(server.requests) == 2


def test_a_refused_key_stops_everything_at_once(
    server: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.behave = lambda body, before: Reply(401, b"{}")
    llm = OpenAILLM("m", server.url, concurrency=1)
    with pytest.raises(InputError, match=r"refuses the key\. Set OPENAI_API_KEY"):
        llm.complete([chat(str(i)) for i in range(50)], max_tokens=1)
    assert len(server.requests) < 50


def test_the_key_comes_from_the_environment_and_is_not_kept(
    server: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenAILLM("m", server.url).complete([chat("hello")], max_tokens=1)
    assert "Bearer none" in server.requests[-1][2].values()
    monkeypatch.setenv("OPENAI_API_KEY", "a secret")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    llm = OpenAILLM("m")
    llm.complete([chat("hello")], max_tokens=1)
    assert "Bearer a secret" in server.requests[-1][2].values()
    assert "secret" not in repr(llm)


def test_no_more_requests_at_once_than_allowed(server: Failing) -> None:
    server.behave = lambda body, before: said("hello")._replace(after=0.1)
    OpenAILLM("m", server.url, concurrency=3).complete(
        [chat(str(i)) for i in range(12)], max_tokens=1
    )
    assert server.most_at_once == 3


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = OpenAILLM("m", f"http://127.0.0.1:{free_port()}/v1", retries=1)
    (found,) = llm.complete([chat("hello")], max_tokens=1)
    assert found[:4] == (None, "The server cannot be reached.", 0, 0)
    with pytest.raises(InputError, match=r"No server answers at .* Start it, or mend OPENAI_BASE"):
        _ = llm.reads


def test_a_server_that_can_do_nothing_is_no_simulator(server: Failing) -> None:
    server.behave = lambda body, before: Reply(400, b'{"error": {"message": "no such model"}}')
    with pytest.raises(InputError, match=r"fails\. The server refused the request: no such model"):
        _ = OpenAILLM("m", server.url).reads


@pytest.mark.parametrize("tops", [None, [], {}, [None], [{"1": "high"}]])
def test_log_probabilities_that_cannot_be_read_are_none(server: Failing, tops: object) -> None:
    """Whatever form they come in, a server that sends such gives text only."""

    def behave(body: dict[str, Any], before: int) -> Reply:
        choice = {"message": {"content": "x"}, "text": "x", "logprobs": {"top_logprobs": tops}}
        return Reply(200, json.dumps({"choices": [choice]}).encode())

    server.behave = behave
    assert OpenAILLM("m", server.url).reads == "nothing"
