"""A small tokenizer of every kind that models have, trained on a few lines."""

import json
from collections.abc import Callable
from functools import cache

from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast

LINES = [
    "The committee met in June, and the President’s message was read.",
    "It didn't say what the 1,234 members of the committee thought about the café.",
    "In Tokyo, 東京 is written 東京; emoji such as 🙂 are rare, but messages are not.",
    "The message of the President is read in June and in July, and the committee met.",
] * 4
CONTROL = ["<s>", "</s>", "<|endoftext|>", "<|im_start|>"]
SPECIAL = [AddedToken(name, special=True) for name in CONTROL]
UNKNOWN = AddedToken("<unk>", special=True)


def _byte_level() -> Tokenizer:
    """GPT-2, Llama 3, Qwen, SmolLM: pieces of characters are tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _metaspace() -> Tokenizer:
    """Llama 2, Mistral 7B, TinyLlama, Phi-3: a mark for the space, added at the beginning too."""
    tokenizer = _with_bytes(pre_tokenizers.Metaspace(prepend_scheme="always", split=False))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _gemma() -> Tokenizer:
    """Gemma: a mark for the space, and none at the beginning."""
    tokenizer = _with_bytes(pre_tokenizers.Metaspace(prepend_scheme="never", split=False))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _with_bytes(marks: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A vocabulary that falls back on bytes: a character outside of it is several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = marks
    trainer = BpeTrainer(
        vocab_size=300,
        limit_alphabet=50,
        special_tokens=[UNKNOWN, *SPECIAL],
        show_progress=False,
    )
    tokenizer.train_from_iterator([word for line in LINES for word in line.split()], trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary.setdefault("▁", len(vocabulary))
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    state["model"] |= {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    return Tokenizer.from_str(json.dumps(state))


def _word_piece() -> Tokenizer:
    """BERT: pieces inside a word have a mark, case is folded."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = WordPieceTrainer(
        vocab_size=150, special_tokens=[UNKNOWN, *SPECIAL], show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _unigram() -> Tokenizer:
    """XGLM and others: the names of control tokens are words of the vocabulary."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=True)
    trainer = UnigramTrainer(
        vocab_size=150,
        special_tokens=[UNKNOWN, *SPECIAL],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte level": _byte_level,
    "metaspace": _metaspace,
    "gemma": _gemma,
    "word piece": _word_piece,
    "unigram": _unigram,
}


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind. It is shared: leave it as it is."""
    unknown = {} if kind == "byte level" else {"unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=KINDS[kind](), bos_token="<s>", eos_token="</s>", **unknown
    )


TEXT = [
    "The old man bought a dog and two cats last year.\n",
    "It took three months of work, then some more years of waiting for the result.\n",
    "Text: we never know\nActivation:\tAnswer: yes Answer: no yes no yes no\n",
] * 20
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content | trim }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
CONTROLS = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "[THINK]", "[/THINK]"]


@cache
def like_gpt() -> PreTrainedTokenizerFast:
    """Writes bytes, cut at white space; two line breaks are one token: as GPT-2 and Llama 3 do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=600, special_tokens=CONTROLS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*TEXT, "\n\n \n\n" * 50, "\t\n\t\n" * 50], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=CHAT
    )


PIECES = [
    "The committee",
    " met",
    " ",
    "\n\n",
    "🙂",
    "👩\u200d🚀",
    "東京",
    "日本",
    "é",
    "\ufffd",
    "\0",
]


TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from([*PIECES, *CONTROL]), max_size=12).map("".join),
)
