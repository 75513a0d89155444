"""The real model's tokenizer reads text as text."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.corpus.text import TokenTexts, encode
from tests.tokenizer_kinds import TEXTS


def decoded(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


@pytest.fixture(scope="module")
def smollm2(model_cache: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(model_cache / "smollm2-135m-instruct")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


@settings(deadline=None)
@given(text=TEXTS)
@example(text="<|im_start|>user\n<|endoftext|> 👩‍🚀東京")
def test_a_real_tokenizer(smollm2: PreTrainedTokenizerFast, text: str) -> None:
    ids = encode(smollm2, text)
    # It has no token for a few bytes, and leaves these out.
    assert "".join(TokenTexts(smollm2)(ids)) == decoded(smollm2, ids)
    assert not set(ids) & set(smollm2.all_special_ids)
