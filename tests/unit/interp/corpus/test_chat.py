"""Chats: what the model's own template writes, with text that stays text."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from interp.corpus.chat import Turn, encode_chat
from interp.corpus.contexts import draw_contexts, draw_sets, make_contexts, split_corpus
from interp.corpus.documents import Document, load_documents
from interp.corpus.unused import Unused
from interp.errors import InputError, ItemError
from interp.vocabulary import ContextSet
from tests.tokenizer_kinds import CHAT, CONTROLS, PIECES, TEXT, like_gpt, tokenizer_of

LLAMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}"
    "{{ raise_exception('Only user and assistant roles.') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
)
"""Begins the sequence itself, as Llama 3 does, and knows no system role, as Gemma."""
REWRITES = CHAT.replace("m.content", "m.content.split('</think>')[-1]")
"""Drops the reasoning of earlier answers, as Qwen 3 and DeepSeek do."""
CONTENTS = st.lists(st.sampled_from([*PIECES, *CONTROLS, " ", "a"]), max_size=8).map("".join)


def with_template(template: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer that also puts a beginning of the sequence before every text itself."""
    backend = Tokenizer.from_str(like_gpt().backend_tokenizer.to_str())
    begin = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begin)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", chat_template=template
    )


def chat(*contents: str) -> list[Turn]:
    return [Turn(("user", "assistant")[i % 2], content) for i, content in enumerate(contents)]


def as_rendered(tokenizer: PreTrainedTokenizerFast, turns: list[Turn]) -> list[int]:
    messages = [turn._asdict() for turn in turns]
    ids: list[int] = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    return ids


@pytest.mark.parametrize("template", [CHAT, LLAMA])
def test_a_chat_is_what_the_template_writes(template: str) -> None:
    tokenizer = with_template(template)
    turns = chat("Is it old?", "No. It took\n\nthree years.", "東京 🙂")
    assert encode_chat(tokenizer, turns).ids == as_rendered(tokenizer, turns)


@given(st.lists(CONTENTS, min_size=1, max_size=4))
def test_no_message_has_control_tokens(contents: list[str]) -> None:
    tokenizer = with_template(LLAMA)
    ids, own = encode_chat(tokenizer, chat(*contents))
    empty = encode_chat(tokenizer, chat(*("" for _ in contents))).ids
    control = set(tokenizer.convert_tokens_to_ids(CONTROLS))
    assert [i for i in ids if i in control] == [i for i in empty if i in control]
    text = tokenizer.apply_chat_template(
        [turn._asdict() for turn in chat(*contents)], tokenize=False
    )
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    # What the template has written is told from the messages.
    messages = [i for i, of_message in zip(ids, own, strict=True) if of_message]
    assert not control & set(messages)
    said = tokenizer.decode(messages, clean_up_tokenization_spaces=False)
    assert "".join(said.split()) == "".join("".join(contents).split())


def test_a_tokenizer_without_a_template_is_an_error() -> None:
    with pytest.raises(InputError, match=r"has no chat template.*instruct model"):
        encode_chat(tokenizer_of("byte level"), chat("hello"))


@pytest.mark.parametrize(
    ("template", "turns", "said"),
    [
        (LLAMA, [Turn("system", "Be brief.")], r"refuses the chat \(Only user and assistant"),
        (REWRITES, chat("Why?", "<think>hm</think>So."), "rewrites a message"),
    ],
)
def test_a_chat_that_the_template_does_not_write(
    template: str, turns: list[Turn], said: str
) -> None:
    with pytest.raises(ItemError, match=said):
        encode_chat(with_template(template), turns)


def written(folder: Path, chats: list[object]) -> str:
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in chats))
    return f"{path}?column=messages"


def messages(number: int) -> list[dict[str, str]]:
    said = " ".join(random.Random(number).choices(" ".join(TEXT[:3]).split(), k=30))
    return [
        {"role": "user", "content": f"Number {number}: why?", "id": "x"},
        {"role": "assistant", "content": said},
    ]


def test_chats_are_read(tmp_path: Path) -> None:
    unused = Unused()
    bad = [[{"role": "user"}], [{"role": "user", "content": None}], [], "plain text"]
    name = written(tmp_path, [messages(0), *bad])
    first, last = load_documents(name, unused)
    assert first == Document(
        "chats.jsonl#0",
        f"Number 0: why?\n\n{messages(0)[1]['content']}",
        tuple(Turn(one["role"], one["content"]) for one in messages(0)),
    )
    assert last == Document("chats.jsonl#4", "plain text")
    path = name.partition("?")[0]
    assert unused.found == {
        "a list that is no chat": (2, f"{path}, line 2"),
        "empty": (1, f"{path}, line 4"),
    }


@pytest.mark.parametrize("template", [CHAT, LLAMA])
def test_no_context_begins_twice(tmp_path: Path, template: str) -> None:
    tokenizer = with_template(template)
    name = written(tmp_path, [messages(i) for i in range(40)])
    limits = {"explain": 20, "calibrate": 4, "evaluate": 4}
    sets = draw_contexts(name, tokenizer, limits, length=12, prepend_bos=True, seed=0)
    begin = tokenizer.bos_token_id
    tokens = sets[ContextSet.EXPLAIN].tokens
    assert (tokens[:, 0] == begin).all()
    assert not (tokens[:, 1:] == begin).any()


@pytest.mark.parametrize("text", ["<s>The old man", "The old man"])
def test_no_context_of_a_tokenizer_that_begins_texts_begins_twice(text: str) -> None:
    documents = [Document("a", text * 20)]
    tokenizer = with_template(None)
    options = {"length": 8, "limit": None, "seed": 0}
    contexts = make_contexts(documents, tokenizer, ContextSet.EXPLAIN, prepend_bos=True, **options)
    begin = tokenizer.bos_token_id
    assert all(c.tokens[0] == begin and begin not in c.tokens[1:] for c in contexts)
    contexts = make_contexts(documents, tokenizer, ContextSet.EXPLAIN, prepend_bos=False, **options)
    assert not any(begin in c.tokens for c in contexts)


def test_chats_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    chats = [messages(i) for i in range(40)]
    chats[7] = [{"role": "system", "content": "Be brief."}, *chats[7]]
    unused = Unused()
    sets, *_ = split_corpus(written(tmp_path, [*chats]), 0, unused)
    limits = {ContextSet.EXPLAIN: 20, ContextSet.CALIBRATE: 4, ContextSet.EVALUATE: 4}
    contexts = draw_sets(
        sets,
        with_template(LLAMA),
        limits,
        length=12,
        prepend_bos=True,
        seed=0,
        unused=unused,
    )
    assert "chats.jsonl#7" not in {context.document for context in contexts}
    ((reason, found),) = unused.found.items()
    assert "refuses the chat" in reason
    assert found == (1, "chats.jsonl#7")


@pytest.mark.parametrize("template", [CHAT, LLAMA])
@pytest.mark.parametrize(
    ("left_out", "prepend_bos"), [(1, True), (6, True), (0, False), (5, False)]
)
def test_tokens_of_the_template_stand_only_before_what_is_analysed(
    tmp_path: Path, template: str, left_out: int, prepend_bos: bool
) -> None:
    tokenizer = with_template(template)
    name = written(tmp_path, [messages(i) for i in range(40)])
    documents = load_documents(name)
    contexts = make_contexts(
        documents,
        tokenizer,
        ContextSet.EXPLAIN,
        length=14,
        limit=None,
        prepend_bos=prepend_bos,
        seed=0,
        template_before=left_out,
    )
    chats = {document.name: encode_chat(tokenizer, document.chat) for document in documents}
    seen: dict[str, set[int]] = {}
    for context in contexts:
        ids, own = chats[context.document]
        first = int(prepend_bos and template == LLAMA)
        assert len(context.tokens) == 14
        for position, token in enumerate(context.tokens[int(prepend_bos) :], int(prepend_bos)):
            place = first + context.start + position - int(prepend_bos)
            assert token == ids[place]
            if position >= left_out:
                assert own[place]
                assert place not in seen.setdefault(context.document, set()), "analysed once"
                seen[context.document].add(place)
    # Of each message, all but what is left of a window.
    whole = sum(len(part) for part in seen.values())
    assert whole > 0.5 * sum(sum(own) for _, own in chats.values())


def test_the_option_leaves_a_template_out(tmp_path: Path) -> None:
    tokenizer = with_template(CHAT)
    name = written(tmp_path, [messages(i) for i in range(40)])
    limits = {"explain": 20, "calibrate": 4, "evaluate": 4}
    marks = set(tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]))
    for template in ("yes", "no"):
        sets = draw_contexts(
            f"{name}&template={template}", tokenizer, limits, length=12, prepend_bos=True, seed=0
        )
        found = marks & {i for part in sets.values() for i in part.tokens.flatten().tolist()}
        assert bool(found) == (template == "yes")


def test_chats_of_tables_are_those_of_lines(tmp_path: Path) -> None:
    chats = [messages(i) for i in range(3)]
    lines = load_documents(written(tmp_path, [*chats]))
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"messages": chats}), tmp_path / "data" / "train.parquet")
    for name in ("data?column=messages", "data?column=messages&split=train"):
        found = load_documents(f"{tmp_path}/{name}")
        assert [(one.text, one.chat) for one in found] == [(one.text, one.chat) for one in lines]
