"""Text to tokens and back: text never becomes control tokens, and the texts of tokens join to it.

Data for a tokenizer (documents, sentences, prompts, explanations) goes through :func:`encode`. Text
that is shown or simulated token by token comes from :class:`TokenTexts`.
"""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from tokenizers.pre_tokenizers import ByteLevel
from transformers import BatchEncoding, PreTrainedTokenizerBase

from interp.errors import InputError

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A token that stands for one byte, in tokenizers that fall back on bytes."""


class Placed(NamedTuple):
    """A text in tokens, with their places in it."""

    ids: list[int]
    starts: list[int]
    """Where each token begins in the text, in characters."""


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokenize text as text: ``<|endoftext|>`` in it is spelled out, not the control token.

    No special token is added. Add those that belong there by their ids.

    Raises:
        InputError: The tokenizer has no other way to write a control token's name.
    """
    return encode_many(tokenizer, [text])[0]


def encode_many(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """The same of several texts. A fast tokenizer takes them on all cores."""
    control = _control_tokens(tokenizer)
    found: list[list[int]] = _tokenized(tokenizer, texts).input_ids if texts else []
    for place, (text, ids) in enumerate(zip(texts, found, strict=True)):
        if not control.keys().isdisjoint(ids):
            parts = _tokenized(tokenizer, _cut(text, control, tokenizer)).input_ids
            found[place] = [i for part in parts for i in part]
    return found


def encode_placed(tokenizer: PreTrainedTokenizerBase, text: str) -> Placed:
    """The same, with where each token begins. It takes a fast tokenizer."""
    control = _control_tokens(tokenizer)
    encoded = _tokenized(tokenizer, text, return_offsets_mapping=True)
    if control.keys().isdisjoint(encoded.input_ids):
        return Placed(encoded.input_ids, [start for start, _ in encoded.offset_mapping])
    placed, before = Placed([], []), 0
    for part in _cut(text, control, tokenizer):
        encoded = _tokenized(tokenizer, part, return_offsets_mapping=True)
        placed.ids.extend(encoded.input_ids)
        placed.starts.extend(before + start for start, _ in encoded.offset_mapping)
        before += len(part)
    return placed


def _tokenized(
    tokenizer: PreTrainedTokenizerBase, text: str | list[str], **options: bool
) -> BatchEncoding:
    encoded: BatchEncoding = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, verbose=False, **options
    )
    return encoded


def _cut(text: str, control: dict[int, str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Cut a text inside the names of control tokens, where the vocabulary has these as words."""
    names = "|".join(re.escape(name) for name in sorted(control.values(), key=len, reverse=True))
    cuts = [match.start() + 1 for match in re.finditer(names, text)]
    parts = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    for part in parts:
        if not control.keys().isdisjoint(_tokenized(tokenizer, part).input_ids):
            raise InputError(
                f"The tokenizer of {tokenizer.name_or_path} reads a part of the text as a control "
                "token. Remove the names of control tokens, or use another model."
            )
    return parts


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Control tokens by id, without the one for unknown text, which text may well become."""
    added = tokenizer.added_tokens_decoder.items()
    found = {number: token.content for number, token in added if token.special}
    found |= zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    found.pop(tokenizer.unk_token_id, None)
    return found


class TokenTexts:
    """The text of tokens in their place: the texts of a sequence join to its text.

    Tokens of some tokenizers are pieces of characters. Such a character belongs to the last of its
    tokens, and the others are empty. A piece of a character whose rest is not in the sequence is
    shown as U+FFFD.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._added = set(tokenizer.added_tokens_decoder)
        decoders = set(_decoders(tokenizer))
        self._bytes = _alphabet() if "ByteLevel" in decoders else None
        self._falls_back = "ByteFallback" in decoders or not tokenizer.is_fast
        self._before = encode(tokenizer, "a")[-1:]
        self._text_before = self._decode(self._before)
        self._piece = cache(self._piece_of)
        self._first = cache(self._first_of)

    def __call__(self, ids: Sequence[int]) -> list[str]:
        """The text of each token of a sequence."""
        pieces = [self._first(i) if place == 0 else self._piece(i) for place, i in enumerate(ids)]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        texts = [decoder.decode(piece) for piece in pieces]
        if texts:
            texts[-1] += decoder.decode(b"", final=True)
        return texts

    def alone(self, token: int) -> str:
        """The text of a token out of its place, with the space that it begins with."""
        return self._piece(token).decode("utf-8", "replace")

    def _piece_of(self, token: int) -> bytes:
        """The bytes that a token stands for behind other text."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(name, str):  # an id without a token, as models with a padded output have
            return b""
        if self._bytes is not None:
            if token not in self._added and all(character in self._bytes for character in name):
                return bytes(self._bytes[character] for character in name)
            return name.encode()
        if self._falls_back and (byte := BYTE.fullmatch(name)):
            return bytes.fromhex(byte[1])
        text = self._decode([*self._before, token])
        if text.startswith(self._text_before):
            return text[len(self._text_before) :].encode()
        return self._decode([token]).encode()

    def _first_of(self, token: int) -> bytes:
        """The bytes that a token stands for at the beginning, where some tokenizers drop a space
        that they have added themselves."""
        piece = self._piece(token)
        alone = self._decode([token]).encode()
        added = _spaces(piece) > _spaces(alone)
        return piece[1:] if added else piece

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def _spaces(piece: bytes) -> int:
    return len(piece) - len(piece.lstrip(b" "))


def _decoders(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Types of the steps that turn a fast tokenizer's tokens into text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return
    state = json.loads(backend.decoder.__getstate__())
    for step in state.get("decoders", [state]):
        yield step["type"]


@cache
def _alphabet() -> dict[str, int]:
    """The byte of each character with which byte-level tokenizers write their tokens."""
    return {character: byte for byte, character in _byte_characters()}


def _byte_characters() -> Iterator[tuple[int, str]]:
    """Bytes that are printable characters of Latin-1 stand for themselves, the others for
    characters from U+0100 on, in their order."""
    alphabet = set(ByteLevel.alphabet())
    others = iter(sorted(character for character in alphabet if ord(character) > 0xFF))
    for byte in range(256):
        yield byte, chr(byte) if chr(byte) in alphabet else next(others)
