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
        folder: The folder that a training wrote, for a trained simulator.
        coder: The coder of the latents, for a trained simulator. A fold simulates only latents that
            it was not trained on.
        back_end: The back end of the model, for a prompted simulator.
        base_url: The address of the server, if the back end asks one.
        options: Further options of a prompted method, such as ``show_score``.

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
