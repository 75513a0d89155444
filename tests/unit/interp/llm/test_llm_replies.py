"""The answer in what a language model wrote, and never its reasoning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.cleaning import storable
from interp.llm.replies import PAIRS, begins_reasoning, completion, part

REASONING = "Okay, so the marked tokens are “cow” and “bull”.\n\nThey are animals."
ANSWER = "Active on words for animals."

ANSWERED = {
    "qwen 3": f"<think>\n{REASONING}\n</think>\n\n{ANSWER}",
    "qwen 3, thinking off": f"<think>\n\n</think>\n\n{ANSWER}",
    "deepseek r1, begun by its template": f"{REASONING}\n</think>\n\n{ANSWER}",
    "nothing after the mark but the answer": f"{REASONING}</think>{ANSWER}",
    "magistral": f"[THINK]{REASONING}[/THINK]{ANSWER}",
    "gpt-oss": f"<|channel|>analysis<|message|>{REASONING}<|end|><|start|>assistant"
    f"<|channel|>final<|message|>{ANSWER}<|return|>",
    "gpt-oss, the ends of messages left out": f"<|channel|>analysis<|message|>{REASONING}"
    f"<|start|>assistant<|channel|>final<|message|>{ANSWER}",
    "gpt-oss, a commentary between": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    "<|channel|>commentary<|message|>Look.<|end|><|start|>assistant<|channel|>final "
    f"<|constrain|>json<|message|>{ANSWER}",
    "gpt-oss without special tokens": f"analysis{REASONING}assistantfinal{ANSWER}",
    "reasoning": f"<reasoning>{REASONING}</reasoning>\n{ANSWER}",
    "thought, an answer in marks": f"<thought>{REASONING}</thought><answer>{ANSWER}</answer>",
    "open thoughts": f"<|begin_of_thought|>{REASONING}<|end_of_thought|>\n"
    f"<|begin_of_solution|>{ANSWER}<|end_of_solution|>",
    "granite": f"Here is my thought process: {REASONING} Here is my response: {ANSWER}",
    "seed": f"<seed:think>{REASONING}</seed:think>{ANSWER}",
    "two reasonings": f"<think>{REASONING}</think>\n<think>Right.</think>\n{ANSWER}",
    "capitals": f"<THINK>{REASONING}</THINK>{ANSWER}",
    "a mark in quotation marks": f"<think>It ends with “</think>” here.</think>{ANSWER}",
    "no reasoning": ANSWER,
}


@pytest.mark.parametrize("name", ANSWERED)
def test_the_answer_is_what_stands_behind_the_reasoning(name: str) -> None:
    text = ANSWERED[name]
    found = completion(text, cut=False, tokens_read=5, tokens_written=9)
    assert (found.text or "").strip() == ANSWER
    assert (found.failure, found.tokens_read, found.tokens_written) == ("", 5, 9)
    assert part(text).reasoned == (name not in ("no reasoning", "qwen 3, thinking off"))


UNFINISHED = {
    "qwen 3": f"<think>\n{REASONING}",
    "magistral": f"[THINK]{REASONING}",
    "gpt-oss": f"<|channel|>analysis<|message|>{REASONING}",
    "gpt-oss, hardly begun": "<|channel|>analys",
    "gpt-oss without special tokens": f"analysis{REASONING}",
    "granite": f"Here is my thought process: {REASONING}",
    "something before it": f"Sure!\n<think>\n{REASONING}",
}


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("text", UNFINISHED.values(), ids=UNFINISHED)
def test_a_reasoning_that_does_not_end_is_no_answer(text: str, cut: bool) -> None:
    found = completion(text, cut=cut, tokens_read=5, tokens_written=4096)
    assert found[:2] == (None, "the reasoning did not end within 4,096 tokens")
    assert found.tokens_written == 4096


def test_a_reasoning_that_the_prompt_begins_has_no_mark_of_its_own() -> None:
    assert part(REASONING, begun=True).unfinished
    assert part(f"{REASONING}</think>{ANSWER}", begun=True) == (ANSWER, True, False)
    assert not part(REASONING).unfinished
    assert begins_reasoning("<|Assistant|><think>\n")
    assert not begins_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not begins_reasoning("<|im_start|>assistant\n")


@pytest.mark.parametrize("text", ["<think>Hm.</think>", "Hm.</think>\n", "[THINK]Hm.[/THINK]"])
def test_a_reasoning_alone_is_no_answer(text: str) -> None:
    found = completion(text, cut=False, tokens_read=5, tokens_written=9)
    assert found[:2] == (None, "the model reasoned and gave no answer")


@pytest.mark.parametrize(
    "text",
    [
        "Active on “<think>” and “</think>”.",
        "Active on the tag `<reasoning>` in markup.",
        "The word <think> in angle brackets.",
        "analysis of a text, such as a poem",
        "<answer> in a form, where nothing closes it",
    ],
)
def test_an_answer_may_be_about_the_marks(text: str) -> None:
    assert part(text) == (text, False, False)


@given(
    st.sampled_from(sorted(PAIRS)),
    st.text(st.characters(exclude_characters="<>[]◁▷\0", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_characters="<>[]◁▷\0", exclude_categories=["Cs"]), min_size=1),
)
def test_no_part_of_a_reasoning_comes_through(opening: str, reasoning: str, answer: str) -> None:
    closing = PAIRS[opening]
    assert part(f"{opening}\n{reasoning}\n{closing}{answer}").answer == answer
    assert part(f"{reasoning}\n{closing}{answer}").answer == answer
    assert part(f"{opening}{reasoning}\n{closing}").answer.strip() == ""
    assert part(f"{opening}{reasoning}").answer.strip() == ""


def test_what_no_database_takes_is_replaced() -> None:
    assert storable("a\0b\ud83dc 😀") == "a\ufffdb\ufffdc 😀"
    found = completion("a\0", cut=False, tokens_read=0, tokens_written=0)
    assert found.text == "a\ufffd"
