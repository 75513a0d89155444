"""A tokenizer's fingerprint: the same for the same tokenizer, another one for any that differs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.corpus.tokenizer import fingerprint
from tests.tokenizer_kinds import KINDS, like_gpt, tokenizer_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_that_was_saved_and_loaded_is_the_same(tmp_path: Path, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert fingerprint(loaded) == fingerprint(tokenizer)
    others = {fingerprint(tokenizer_of(other)) for other in KINDS if other != kind}
    assert fingerprint(tokenizer) not in others


def test_use_does_not_change_it() -> None:
    backend = like_gpt().backend_tokenizer.to_str()
    used = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend), bos_token="<s>", eos_token="</s>"
    )
    used.pad_token = used.eos_token
    fresh = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend), bos_token="<s>", eos_token="</s>"
    )
    fresh.pad_token = fresh.eos_token
    used(["a text", "a longer text"], padding=True, truncation=True, max_length=3)
    assert fingerprint(used) == fingerprint(fresh)


def changed(change: Callable[[dict[str, Any]], None], **special: str) -> PreTrainedTokenizerFast:
    state = json.loads(like_gpt().backend_tokenizer.to_str())
    change(state)
    names = {"bos_token": "<s>", "eos_token": "</s>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **names)


def swap_two_words(state: dict[str, Any]) -> None:
    vocab = state["model"]["vocab"]
    vocab["Q"], vocab["Z"] = vocab["Z"], vocab["Q"]


def swap_two_merges(state: dict[str, Any]) -> None:
    merges = state["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def begin_with_a_space(state: dict[str, Any]) -> None:
    state["pre_tokenizer"]["add_prefix_space"] = True


def fold_case(state: dict[str, Any]) -> None:
    state["normalizer"] = {"type": "Lowercase"}


def make_text_of_a_control_token(state: dict[str, Any]) -> None:
    state["added_tokens"][-1]["special"] = False


def nothing(state: dict[str, Any]) -> None:
    pass


def test_every_difference_is_seen() -> None:
    same = fingerprint(changed(nothing))
    found = {
        fingerprint(changed(change))
        for change in (
            nothing,
            swap_two_words,
            swap_two_merges,
            begin_with_a_space,
            fold_case,
            make_text_of_a_control_token,
        )
    }
    found.add(fingerprint(changed(nothing, bos_token="</s>")))
    assert same in found
    assert len(found) == 7
    assert fingerprint(changed(nothing, pad_token="</s>")) == same


def test_older_files_spell_merges_otherwise() -> None:
    def as_strings(state: dict[str, Any]) -> None:
        state["model"]["merges"] = [" ".join(pair) for pair in state["model"]["merges"]]

    assert fingerprint(changed(as_strings)) == fingerprint(changed(nothing))
