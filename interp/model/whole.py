"""The slow way to run conditions: a whole forward pass with a hook for each of them.

For models that cannot be resumed (:mod:`interp.model.resume`): those whose attention depends on
places in a way that cannot be told to it, such as ALiBi, and those without attention.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden


@dataclass
class Whole:
    """Contexts that are run from their first token for every condition."""

    subject: Subject
    tokens: Int[Tensor, "context seq"]
    where: slice
    """The spliced positions. Whatever comes after them is never run."""
    hooked: Hooked
    """What stands at the sites, at the spliced positions."""
    branches: ClassVar[bool] = False
    """Conditions that begin alike share nothing."""

    def resume_paths(
        self, rows: Int[Tensor, "row"], outputs: Float[Tensor, "row position d_model"]
    ) -> Float[Tensor, "row position vocab"]:
        """Logits at all spliced positions, with these outputs there. Gradients with respect to the
        outputs are recorded if the outputs require them."""

        def write(output: Hidden) -> Hidden:
            new = output.clone()
            new[:, self.where] = outputs.to(output)
            return new

        with self.subject.overwriting(write):
            logits: Tensor = self.subject.model(
                self.tokens[rows][:, : self.where.stop], use_cache=False
            ).logits
        return logits[:, self.where]


@torch.inference_mode()
def capture_whole(subject: Subject, tokens: Int[Tensor, "context seq"], where: slice) -> Whole:
    """Run contexts up to the sites once.

    Raises:
        InputError: The model cannot read these tokens.
    """
    tokens = tokens.to(subject.device)
    hooked = subject.capture(tokens[:, : where.stop])
    return Whole(subject, tokens, where, Hooked(hooked.input[:, where], hooked.output[:, where]))
