"""Servers are asked as they want to be asked, and what they reply is an answer or a failure."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from interp.explain import prompts
from interp.explain.answers import ask
from interp.explain.prompts import Shown
from interp.llm.llm import Message, Query
from interp.llm.load import self_test
from interp.llm.openai import OpenAILLM
from interp.llm.replies import REASONING_TOKENS
from interp.scoring.scorer import Case, Scorer, score
from interp.simulate.prompted.json_reply import JsonReply
from interp.simulate.prompted.prompts import DIGITS
from interp.simulate.protocol import Ask
from tests.llm_server import Failing, Reply, running

CHAT: list[Message] = [{"role": "user", "content": "Where is it active?"}]
ANSWER = "Active on cows."


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with running() as failing:
        yield failing


def replied(
    message: dict[str, Any], finish: str = "stop", written: int = 4, reasoning: int = 0
) -> Reply:
    usage = {"prompt_tokens": 30, "completion_tokens": written}
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    choice = {"message": {"role": "assistant", **message}, "finish_reason": finish, "index": 0}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage | details}).encode())


def refused(message: str, param: str | None, code: str | None, status: int = 400) -> Reply:
    """An error in OpenAI's words."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply(status, json.dumps({"error": error}).encode())


def unsupported(name: str, instead: str = "") -> Reply:
    said = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
    return refused(said, name, "unsupported_parameter")


def like_o_series(body: dict[str, Any], before: int) -> Reply:
    """What OpenAI's reasoning models refuse, and how they answer."""
    if "messages" not in body:
        return refused(
            "This is a chat model and not supported in this endpoint.", "model", None, 404
        )
    if "max_tokens" in body:
        return unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    if body.get("temperature", 1) != 1:
        said = "Unsupported value: 'temperature' does not support 0 with this model."
        said += " Only the default (1) value is supported."
        return refused(said, "temperature", "unsupported_value")
    if "logprobs" in body:
        return refused("You are not allowed to request logprobs from this model", None, None, 403)
    if "chat_template_kwargs" in body:
        said = "Unknown parameter: 'chat_template_kwargs'."
        return refused(said, "chat_template_kwargs", "unknown_parameter")
    if body["messages"][0]["role"] == "system":
        said = "Unsupported value: 'messages[0].role' does not support 'system' with this model."
        return refused(said, "messages[0].role", "unsupported_value")
    if body["max_completion_tokens"] < 200:
        said = "Could not finish the message because max_tokens or model output limit was reached."
        return refused(f"{said} Please try again with higher max_tokens.", None, None)
    question = body["messages"][-1]["content"]
    if "JSON list" in question:
        tokens = json.loads(question.splitlines()[-1])
        return replied({"content": json.dumps([[token, 3] for token in tokens])}, reasoning=64)
    text = "Yes." if question.endswith("Answer:") else ANSWER
    return replied({"content": text}, written=70, reasoning=64)


def test_a_model_that_takes_few_parameters_explains_scores_and_simulates(server: Failing) -> None:
    server.behave = like_o_series
    llm = OpenAILLM("m", server.url)
    assert llm.reads == "nothing", "it truly gives no probabilities"
    assert self_test(llm).startswith("m answers chats, but gives no probabilities")
    shown = [Shown(["<s>", " a", " cow"], [0, 0, 9.0])]
    chat = prompts.prompted(shown, maximum=9.0, first_position=1)
    explained = ask(llm, [chat] * 3)
    assert [one.text for one in explained] == [ANSWER] * 3
    found = score(llm, Scorer.DETECTION, ANSWER, [Case("a cow", True, "a")], seed=0)
    np.testing.assert_array_equal(found.yes, [1.0])
    (simulated,) = JsonReply(llm).simulate([Ask(ANSWER)], [["<s>", " a", " cow"]], first_position=1)
    np.testing.assert_array_equal(simulated.values, [[np.nan, 3, 3]])


def test_what_a_server_wants_is_learned_once(server: Failing) -> None:
    server.behave = like_o_series
    llm = OpenAILLM("m", server.url)
    chats: list[list[Message]] = [
        [{"role": "system", "content": "Be brief."}, *CHAT],
        *([CHAT] * 20),
    ]
    assert [one.text for one in llm.complete(chats, max_tokens=120)] == [ANSWER] * 21
    bodies = [json.loads(body) for _, body, _ in server.requests]
    assert bodies[0]["max_tokens"] == 120 and bodies[0]["temperature"] == 0
    last = bodies[-1]
    assert last["max_completion_tokens"] == 120 + REASONING_TOKENS
    assert last["reasoning_effort"] == "low"
    assert not {"max_tokens", "temperature", "chat_template_kwargs"} & last.keys()
    # A refusal each, and the 21 chats.
    assert len(bodies) <= 21 + 6
    (folded,) = [body for body in bodies[-21:] if "Be brief" in str(body)]
    assert folded["messages"] == [{"role": "user", "content": "Be brief.\n\nWhere is it active?"}]


def test_a_server_that_names_the_limit_otherwise_is_read_all_the_same(server: Failing) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        if "prompt" in body or "messages" not in body:
            return Reply(404, b"{}")
        if "max_tokens" in body:
            return unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
        if body.get("top_logprobs", 0) > 5:
            return refused("Invalid 'top_logprobs': must be at most 5.", "top_logprobs", None)
        tops = [{"token": "4", "logprob": -0.01}, {"token": "7", "logprob": -6.0}]
        content = {"content": [{"token": "4", "logprob": -0.01, "top_logprobs": tops}]}
        choice = {"message": {"content": "4"}, "logprobs": content, "finish_reason": "stop"}
        return Reply(body=json.dumps({"choices": [choice]}).encode())

    server.behave = behave
    llm = OpenAILLM("m", server.url)
    assert llm.reads == "end"
    (found,) = llm.distributions(["2 + 2 = "], [Query(["?"])], DIGITS)
    assert found.failures == [""] and found.probabilities[0].argmax() == 4


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "Unrecognized request argument supplied: temperature"}},
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "Extra"}]},
        [{"error": {"code": 400, "message": 'Unknown name "temperature": Cannot find field.'}}],
        {"error": "property 'temperature' is unsupported"},
        {"message": {"detail": [{"loc": ["body", "temperature"], "msg": "not permitted"}]}},
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_refusals_in_other_words(server: Failing, error: Any, status: int) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        if "temperature" in body:
            return Reply(status, json.dumps(error).encode())
        return replied({"content": ANSWER})

    server.behave = behave
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=9)
    assert found.text == ANSWER


def test_a_prompt_that_is_too_long_teaches_nothing(server: Failing) -> None:
    said = "max_tokens is too large: 120. This model's maximum context length is 100 tokens."
    server.behave = lambda body, before: refused(said, "max_tokens", None)
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=120)
    assert found[:2] == (None, f"The server refused the request: {said}")
    assert len(server.requests) == 1


def test_what_a_server_says_can_be_stored(server: Failing) -> None:
    body = b'{"error": {"message": "bad \\ud83d and \\u0000"}}'
    server.behave = lambda _, before: Reply(400, body)
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=9)
    assert found.failure == "The server refused the request: bad \ufffd and \ufffd"


# --- Reasoning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["reasoning_content", "reasoning", "content"])
def test_a_model_that_reasons_is_asked_not_to(server: Failing, where: str) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        if body.get("chat_template_kwargs", {}).get("enable_thinking") is False:
            return replied({"content": f"<think>\n\n</think>\n\n{ANSWER}", "reasoning": None})
        if where == "content":
            return replied({"content": "<think>\nOkay, so"}, "length")
        return replied({"content": None, where: "Okay, so"}, "length")

    server.behave = behave
    found = OpenAILLM("m", server.url).complete([CHAT] * 5, max_tokens=9)
    assert [(one.text or "").strip() for one in found] == [ANSWER] * 5
    assert len(server.requests) == 6
    assert found[0].tokens_written == 8 and found[1].tokens_written == 4


def test_a_model_that_cannot_but_reason_is_given_room(server: Failing) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        if "chat_template_kwargs" in body:
            return unsupported("chat_template_kwargs")
        if "reasoning_effort" in body:
            return unsupported("reasoning_effort")
        if body["max_tokens"] < 1000:
            return replied({"content": "Okay, so I need\n\nto look"}, "length")
        return replied({"content": f"Okay, so I need\n\nto look.\n</think>\n\n{ANSWER}"})

    server.behave = behave
    found = OpenAILLM("m", server.url).complete([CHAT] * 3, max_tokens=120)
    assert [(one.text or "").strip() for one in found] == [ANSWER] * 3


def test_an_answer_that_a_server_takes_for_reasoning_is_asked_for_otherwise(
    server: Failing,
) -> None:
    """Some servers take the reasoning out even where the model was told not to reason."""

    def behave(body: dict[str, Any], before: int) -> Reply:
        if "chat_template_kwargs" in body:
            return replied({"content": None, "reasoning_content": ANSWER})
        return replied({"content": ANSWER, "reasoning_content": "Hm."})

    server.behave = behave
    found = OpenAILLM("m", server.url).complete([CHAT] * 3, max_tokens=120)
    assert [one.text for one in found] == [ANSWER] * 3


def test_a_model_that_only_reasons_has_no_answer(server: Failing) -> None:
    server.behave = lambda body, before: replied({"content": "", "reasoning": ANSWER})
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=120)
    assert found[:2] == (None, "the model reasoned and gave no answer")
    server.behave = lambda body, before: replied({"content": "<think>\nHm"}, "length")
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=120)
    assert found.text is None and "reasoning did not end" in found.failure


def test_a_model_that_does_not_reason_is_asked_nothing_more(server: Failing) -> None:
    server.behave = lambda body, before: replied({"content": "one two"}, "length")
    found = OpenAILLM("m", server.url).complete([CHAT] * 4, max_tokens=2)
    assert [one.text for one in found] == ["one two"] * 4
    assert all(one.cut for one in found)
    # Once it was given room, to see whether it reasons.
    limits = [json.loads(body)["max_tokens"] for _, body, _ in server.requests]
    assert limits == [2, 2 + REASONING_TOKENS, 2, 2, 2]


TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: 4216. This model's maximum context "
    "length is 2048 tokens and your request has 30 input tokens (4216 > 2048 - 30)."
)


@pytest.mark.parametrize("status", [400, 422])
def test_a_cut_reply_stays_where_the_context_has_no_room_for_reasoning(
    server: Failing, status: int
) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        if limit > 2048 - 30:
            return refused(TOO_LARGE, None, None, status)
        return replied({"content": "one two"}, "length")

    server.behave = behave
    llm = OpenAILLM("m", server.url)
    found = llm.complete([CHAT] * 3, max_tokens=120)
    assert found == [("one two", "", 30, 4, True)] * 3
    asked = len(server.requests)
    assert llm.complete([CHAT], max_tokens=120) == found[:1]
    assert len(server.requests) == asked + 1, "more room is not asked for again"


def test_a_model_that_reasons_has_what_room_the_context_leaves(server: Failing) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        long = len(str(body["messages"])) > 200
        if limit > (2048 if long else 8192):
            return refused(TOO_LARGE, None, None)
        return replied({"content": str(limit), "reasoning": "Hm."})

    server.behave = behave
    llm = OpenAILLM("m", server.url)
    long: list[Message] = [{"role": "user", "content": "cow " * 100}]
    found = llm.complete([CHAT, long, CHAT], max_tokens=120)
    room = str(120 + REASONING_TOKENS)
    assert [one.text for one in found] == [room, "120", room]
    (refusal,) = llm.complete([long], max_tokens=3000)
    assert refusal.text is None and "maximum context length" in refusal.failure


# --- Replies without an answer --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "finish", "failure"),
    [
        ({"content": None, "refusal": "I can't."}, "stop", "declined to answer: I can't."),
        ({"content": "Act"}, "content_filter", "content filter stopped"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", "called a tool"),
        ({"content": None}, "stop", "no text"),
        ({"content": [{"type": "image_url"}]}, "stop", "no text"),
        ({"content": 7}, "stop", "cannot be read"),
    ],
)
def test_no_answer_is_a_failure_with_its_reason(
    server: Failing, message: dict[str, Any], finish: str, failure: str
) -> None:
    server.behave = lambda body, before: replied(message, finish)
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=9)
    assert found.text is None and failure in found.failure


def test_content_in_parts(server: Failing) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    texts = [{"type": "text", "text": "Active"}, {"type": "text", "text": " on cows."}]
    server.behave = lambda body, before: replied({"content": [thinking, *texts]})
    (found,) = OpenAILLM("m", server.url).complete([CHAT], max_tokens=9)
    assert found.text == ANSWER
