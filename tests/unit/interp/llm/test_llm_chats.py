"""Chats that a model in this process answers, with room for one that reasons."""

from interp.llm.chats import Chats, Written
from interp.llm.llm import Message
from interp.llm.reading import TOO_LONG
from interp.llm.replies import REASONING_TOKENS
from interp.llm.tokens import encode
from tests.tokenizer_kinds import like_gpt

ASKED: list[list[Message]] = [[{"role": "user", "content": f"Question {i}"}] for i in range(3)]
REASONING = "[THINK]" + "Hm. " * 50


class Script:
    """What a model would write, for as long as it may; notes how long that is."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.limits = replies, list[list[int]]()

    def __call__(
        self, asked: list[list[int]], limits: list[int], temperature: float
    ) -> list[Written]:
        self.limits.append(limits)
        written = []
        for ids, limit in zip(asked, limits, strict=True):
            number = int(like_gpt().decode(ids).split("Question ")[1][0])
            reply = encode(like_gpt(), self.replies[number] + "</s>")
            written.append(Written(reply[:limit], len(reply) > limit))
        return written


def test_a_model_that_reasons_is_given_room_and_keeps_it() -> None:
    chats = Chats(like_gpt(), 10_000)
    script = Script("Yes.", f"{REASONING}[/THINK]No.", "No.")
    found = chats.complete(ASKED, script, 8, 0.0)
    assert [one.text for one in found] == ["Yes.", "No.", "No."]
    # Only the one whose reasoning did not end is asked again, and both tries are counted.
    assert script.limits == [[8, 8, 8], [8 + REASONING_TOKENS]]
    assert found[1].tokens_written > 8 + 50
    chats.complete(ASKED[:1], script, 8, 0.0)
    assert script.limits[-1] == [8 + REASONING_TOKENS]


def test_a_reasoning_that_does_not_end_is_a_failure_and_stops_none_of_the_others() -> None:
    chats = Chats(like_gpt(), 120)
    script = Script("Yes.", REASONING * 10, "No.")
    found = chats.complete(ASKED, script, 8, 0.0)
    assert [one.text for one in found] == ["Yes.", None, "No."]
    assert "the reasoning did not end" in found[1].failure
    # The model reads and writes 120 tokens at most.
    assert script.limits[1][0] + found[1].tokens_read // 2 == 120


def test_a_template_that_begins_the_reasoning() -> None:
    tokenizer = like_gpt()
    template = tokenizer.chat_template
    tokenizer.chat_template = f"{template}[THINK]\n"
    try:
        script = Script("Hm.", "Hm.[/THINK]Yes.", "[/THINK]No.")
        found = Chats(tokenizer, 10_000).complete(ASKED, script, 8, 0.0)
    finally:
        tokenizer.chat_template = template
    assert [one.text for one in found] == [None, "Yes.", "No."]
    assert script.limits == [[8 + REASONING_TOKENS] * 3]


def test_what_is_cut_says_so() -> None:
    script = Script("one two three four five six seven", "Yes.", "")
    found = Chats(like_gpt(), 10_000).complete(ASKED, script, 5, 0.0)
    assert [one.cut for one in found] == [True, False, False]
    assert found[2][:2] == ("", "")


def test_a_chat_that_is_too_long_stops_none_of_the_others() -> None:
    long: list[Message] = [{"role": "user", "content": "Question 1 " * 100}]
    script = Script("Yes.", "", "No.")
    found = Chats(like_gpt(), 120).complete([ASKED[0], long, ASKED[2]], script, 5, 0.0)
    assert [one.text for one in found] == ["Yes.", None, "No."]
    assert found[1].failure == TOO_LONG


def test_a_model_is_asked_not_to_reason() -> None:
    tokenizer = like_gpt()
    template = tokenizer.chat_template
    tokenizer.chat_template = (
        template + "{% if enable_thinking is defined and not enable_thinking %}"
        "[THINK]\n\n[/THINK]\n\n{% endif %}"
    )
    seen: list[str] = []

    def write(asked: list[list[int]], limits: list[int], _: float) -> list[Written]:
        seen.extend(tokenizer.decode(ids) for ids in asked)
        return [Written(encode(tokenizer, "Yes.</s>"), False) for _ in asked]

    try:
        (found,) = Chats(tokenizer, 10_000).complete(ASKED[:1], write, 8, 0.0)
    finally:
        tokenizer.chat_template = template
    assert seen[0].endswith("[THINK]\n\n[/THINK]\n\n")
    assert found.text == "Yes."
