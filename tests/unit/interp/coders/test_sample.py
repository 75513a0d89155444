"""The text that a coder's fit is judged on."""

import json
from pathlib import Path

import pytest
import torch

from interp.coders.sample import CHARACTERS, TOKENS, sample
from interp.errors import InputError
from tests.engine import word_tokenizer


def corpus(path: Path, *documents: str) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return str(path)


def drawn(name: str, length: int = 16) -> torch.Tensor:
    return sample(name, word_tokenizer(), length=length, prepend_bos=True, first_position=1)


def words(start: int, count: int) -> str:
    return " ".join(f"w{(start + i) % 40}" for i in range(count))


def test_equal_text_gives_equal_contexts(tmp_path: Path) -> None:
    one = corpus(tmp_path / "a.jsonl", *(words(i, 900) for i in range(9)))
    tokens = drawn(one)
    assert tokens.shape == (TOKENS // 16, 16)
    assert torch.equal(tokens, drawn(one))
    # What comes after the first documents is not read.
    long = [words(i, CHARACTERS // 3) for i in range(2)]
    two = corpus(tmp_path / "b.jsonl", *long)
    (tmp_path / "b.jsonl").open("a").write("this is no JSON\n")
    assert len(drawn(two)) == TOKENS // 16
    assert len(drawn(one, 4096 // 8)) <= TOKENS // 512


def test_later_documents_are_read_if_the_first_are_too_short(tmp_path: Path) -> None:
    short = ["w1 " * 9] * (CHARACTERS // 27 + 1)
    late = corpus(tmp_path / "a.jsonl", *short, words(0, 300))
    assert len(drawn(late, 100)) == 3
    with pytest.raises(InputError, match="larger corpus, shorter contexts"):
        drawn(corpus(tmp_path / "b.jsonl", *short[:9]), 100)
