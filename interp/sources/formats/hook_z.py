"""SAEs of attention heads' concatenated outputs (``hook_z``): ``X.pt`` beside ``X_cfg.json``."""

from pathlib import Path

from interp.errors import InputError
from interp.sources.checkpoint import Facts, read_config, whole

CONFIG = "_cfg.json"
FILES = f"hook_z: X.pt and X{CONFIG} (act_name, act_size, dict_size)"


def find(folder: Path) -> list[Path]:
    """The weights of the SAEs in a folder: one for each config there."""
    configs = folder.glob(f"*{CONFIG}")
    return sorted(path.with_name(f"{path.name.removesuffix(CONFIG)}.pt") for path in configs)


def config_of(weights: Path) -> Path:
    """The config of weights."""
    return weights.with_name(f"{weights.stem}{CONFIG}")


def check(weights: Path) -> Facts:
    """Refuse a config that lacks something. The weights are checked when they are loaded.

    Raises:
        InputError: The message names the file and what it lacks.
    """
    path = config_of(weights)
    config = read_config(path)
    if not weights.is_file():
        raise InputError(f"There is no file {weights}. Fetch the checkpoint again.")
    width, latents = whole(path, config, "act_size"), whole(path, config, "dict_size")
    site = str(config.get("act_name") or "")
    model = str(config.get("model_name") or "")
    return Facts("sae", width, width, latents, reads=site, writes=site, model=model)
