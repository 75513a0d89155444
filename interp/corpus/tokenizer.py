"""What tells tokenizers apart: the tokens of a study are read by the one that wrote them."""

import hashlib
import json
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from interp.corpus.text import encode
from interp.errors import InputError

PROBES = (
    "The quick brown fox's 1,234 jumps — didn't it?\n\n\tYes:  two  spaces.",
    "Ünïcödé, ﬁne ½ Ａ, 東京タワー, नमस्ते, עברית, 👩\u200d🚀 e\u0301",
    "def f(x):\r\n    return x**2  # HTTPServer, snake_case, 3.14e-10",
)
"""Texts that normalizers and pre-tokenizers treat differently."""


@lru_cache(maxsize=8)
def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of a tokenizer's vocabulary, merges, added tokens and special tokens, and of how it
    writes some text.

    It does not depend on how files spell the same tokenizer, nor on how it pads.
    """
    added = tokenizer.added_tokens_decoder.items()
    content = [
        sorted(tokenizer.get_vocab().items()),
        _merges(tokenizer),
        sorted((number, token.content, token.special) for number, token in added),
        [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id],
        [_written(tokenizer, text) for text in PROBES],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _merges(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """The pairs that are merged, in order; none where a tokenizer works otherwise."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    merges = json.loads(backend.to_str())["model"].get("merges", [])
    # Older files write a pair as one string.
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]


def _written(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int] | None:
    try:
        return encode(tokenizer, text)
    except InputError:
        return None
