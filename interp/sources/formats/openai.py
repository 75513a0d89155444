"""Checkpoints of OpenAI's sparse_autoencoder for GPT-2: ``N.pt`` for each layer.

The names of the folders above say what they read, such as ``resid_post_mlp_v5_32k/autoencoders``.
"""

import re
from pathlib import Path

from interp.sources.checkpoint import Facts

FILES = "OpenAI: N.pt in a folder named like resid_post_mlp_v5_32k/autoencoders"
HOOKS = {
    "mlp_post_act": "mlp.hook_post",
    "resid_delta_attn": "hook_attn_out",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_post_mlp": "hook_resid_post",
}
"""The hook in a layer that each location is."""


def find(folder: Path) -> list[Path]:
    """The weights of each layer's autoencoder in a folder."""
    return sorted(path for path in folder.glob("*.pt") if path.stem.isdecimal())


def check(weights: Path) -> Facts:
    """Read the names of the file and of its folders. The weights are checked when they are
    loaded."""
    location = re.findall("|".join(HOOKS), weights.absolute().as_posix())
    site = f"blocks.{int(weights.stem)}.{HOOKS[location[-1]]}" if location else ""
    return Facts("sae", reads=site, writes=site, model="openai-community/gpt2" if location else "")
