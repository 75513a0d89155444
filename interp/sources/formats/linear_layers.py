"""Two linear layers with ReLU in one ``.pt`` or ``.pth`` file, as Goodfire and the DeepSeek-R1 SAE
have them.

Only the file's name says what it reads, such as ``Llama-3.1-8B-Instruct-SAE-l19.pth``.
"""

import re
from pathlib import Path

from interp.sources.checkpoint import Facts

FILES = "Goodfire and DeepSeek-R1: a file named MODEL-SAE-lLAYER.pt or .pth"
NAMED = re.compile(r"(.+)-SAE-l(\d+)\.pth?")
OWNERS = {"Llama": "meta-llama", "DeepSeek": "deepseek-ai"}
"""Who publishes models of these names."""


def find(folder: Path) -> list[Path]:
    """The weights of the SAEs in a folder."""
    return sorted(path for path in folder.glob("*-SAE-l*.pt*") if NAMED.fullmatch(path.name))


def check(weights: Path) -> Facts:
    """Read the file's name. The weights are checked when they are loaded."""
    named = NAMED.fullmatch(weights.name)
    if named is None:
        return Facts("sae")
    owner = OWNERS.get(named[1].partition("-")[0])
    site = f"blocks.{named[2]}.hook_resid_post"
    model = f"{owner}/{named[1]}" if owner else named[1]
    return Facts("sae", reads=site, writes=site, model=model)
