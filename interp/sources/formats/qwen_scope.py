"""Checkpoints of Qwen-Scope: ``layerN.sae.pt`` for each layer, with no config.

Only the name of the repository says how many latents are active and of which model they are, such
as ``SAE-Res-Qwen3-1.7B-Base-W32K-L0_50``.
"""

import re
from pathlib import Path

from interp.errors import InputError
from interp.sources.checkpoint import Facts

FILES = "Qwen-Scope: layerN.sae.pt in a folder named like SAE-Res-MODEL-W32K-L0_50"


def find(folder: Path) -> list[Path]:
    """The weights of each layer's SAE in a folder."""
    return sorted(folder.glob("layer*.sae.pt"))


def check(weights: Path) -> Facts:
    """Read the names of the file and of its folders. The weights are checked when they are loaded.

    Raises:
        InputError: They do not say how many latents are active.
    """
    path = weights.absolute().as_posix()
    active = re.findall(r"L0_(\d+)", path)
    if not active:
        raise InputError(
            f"{path} does not say how many latents are active on a token: only the name of its "
            "repository does. Name a folder above it as the repository, such as "
            "SAE-Res-Qwen3-1.7B-Base-W32K-L0_50."
        )
    layer = re.search(r"\d+", weights.name)
    model = re.search(r"SAE-Res-([^/]+)-W\d+K", path)
    site = f"blocks.{layer[0]}.hook_resid_post" if layer else ""
    return Facts(
        "sae",
        k=int(active[-1]),
        reads=site,
        writes=site,
        model=f"Qwen/{model[1]}" if model else "",
    )
