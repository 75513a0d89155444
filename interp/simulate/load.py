"""Load a simulator by its method."""

from pathlib import Path
from typing import Any

import torch

from interp.coders.protocol import Coder, fingerprint
from interp.errors import InputError
from interp.llm.load import load_llm
from interp.llm.registry import BACK_ENDS
from interp.model.subject import default_device, load_causal_lm
from interp.simulate.protocol import Simulator
from interp.simulate.registry import SIMULATORS, prompted, trained


def load_simulator(
    method: str,
    model: str,
    *,
    folder: str | Path | None = None,
    coder: Coder | None = None,
    back_end: str | None = None,
    base_url: str | None = None,
    **options: Any,
) -> Simulator:
    """Load a simulator.

    Args:
        method: Name of one of :data:`interp.simulate.registry.SIMULATORS`.
        model: The language model that is asked, or the base of a trained simulator: a folder with
            a Transformers checkpoint, a ``.gguf`` file, a hub name, or a server's name for it.
        folder: Of a trained one: what its training wrote.
        coder: The coder whose latents are to be simulated: of a trained simulator, a latent is
            simulated by a fold that was not trained on it.
        back_end: Of a prompted one: what runs the model.
        base_url: Of a prompted one on a server: its address.
        options: What else the prompted method takes, such as ``show_score``.

    Raises:
        InputError: There is no such method or model, or no simulator in the folder.
    """
    SIMULATORS.named(method)
    if method in prompted():
        llm = load_llm(back_end or BACK_ENDS.default, model, base_url=base_url)
        return prompted()[method].load(llm, options)
    if folder is None:
        raise InputError(f"{method} is trained: give the folder of its weights.")
    base = load_causal_lm(model, dtype=torch.float32, device=default_device())
    base[0].requires_grad_(False)
    known = fingerprint(coder) if coder is not None else ""
    return trained()[method].load(*base, Path(folder), known)
