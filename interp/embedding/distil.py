"""Distil a sentence embedder into one vector a token, as model2vec does.

Each token of the vocabulary goes through the embedder alone. The common component of all vectors is
subtracted, and frequent tokens get small weights, so that the mean over a text is about its
particular content. This is smooth inverse frequency. The vocabulary is sorted by frequency, so
Zipf's law gives the weights.
"""

from pathlib import Path

import numpy as np
import torch
from model2vec import StaticModel
from tokenizers import Tokenizer
from transformers import AutoModel

BATCH = 1024
SIF = 1e-4
"""Coefficient of the inverse frequency: a token this frequent counts half."""


@torch.inference_mode()
def distil(source: Path, target: Path) -> None:
    """Write the distilled model of an embedder's checkpoint."""
    embedder = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.get_vocab()
    first, last = ids["[CLS]"], ids["[SEP]"]
    vectors = []
    for start in range(0, tokenizer.get_vocab_size(), BATCH):
        tokens = torch.arange(start, min(start + BATCH, tokenizer.get_vocab_size()))
        alone = torch.stack(
            [torch.full_like(tokens, first), tokens, torch.full_like(tokens, last)], dim=1
        )
        vectors.append(embedder(input_ids=alone).last_hidden_state.mean(1))
    table = torch.cat(vectors).numpy()
    share = 1 / np.arange(2, len(table) + 2)
    weights = SIF / (SIF + share / share.sum())
    table = (table - table.mean(0)) * weights[:, None]
    # Tokens such as [CLS] stand for no word.
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
        table[ids[token]] = 0
    StaticModel(table.astype(np.float32), tokenizer, normalize=True).save_pretrained(target)
