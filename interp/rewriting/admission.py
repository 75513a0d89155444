"""Check how a model can be measured at a site: once, when a study is collected."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.coders.protocol import Coder
from interp.errors import InputError
from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden
from interp.rewriting.checks import tolerance
from interp.rewriting.evaluate import TREE_NODES, evaluate
from interp.rewriting.splice import Site, Splice
from interp.vocabulary import Protocol

CONTEXTS = 2
"""Contexts that are tried: they are run together."""
REFERENCES = 4
"""Splices whose losses are compared with those of whole forwards."""


@torch.inference_mode()
def can_resume(
    subject: Subject, coder: Coder, tokens: Int[Tensor, "context seq"], *, first_position: int
) -> bool:
    """Whether a model's losses can be measured by resuming it at the site written: whether they are
    those of whole forwards with a hook. If not, whole forwards measure them, more slowly.

    The trial is as large as later measurements: contexts as long, under both protocols, with more
    different outputs than one tree holds.

    Args:
        tokens: Some contexts of real text.

    Raises:
        InputError: The model's loss is no finite number.
    """
    subject.check_tokens(tokens)
    tokens = tokens[:CONTEXTS]
    cannot = f"The model {subject.source!r} cannot be rewritten at {subject.hookpoint!r}: "
    for protocol in Protocol:
        where = protocol.spliced(tokens.shape[1], first_position)
        splices = damped(where.stop - where.start)
        tried = np.linspace(0, len(splices) - 1, REFERENCES).round().astype(int)
        expected = np.array(
            [_whole(subject, coder, tokens, splices[s], where) for s in tried.tolist()]
        )
        if not np.isfinite(expected).all():
            raise InputError(
                cannot + "its loss is infinite or not a number (NaN). Check the model's weights."
            )
        try:
            found = evaluate(
                subject,
                coder,
                tokens,
                splices,
                protocol=protocol,
                first_position=first_position,
                divergence=False,
            ).loss[tried]
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever an architecture stumbles over
            return False
        if not float(np.abs(found - expected).max()) <= tolerance(subject.dtype):
            return False
    return True


def damped(positions: int) -> list[Splice]:
    """Splices that damp the module's output at random positions, each in another way.

    They are so many that their outputs do not fit in one tree, and some begin alike.
    """
    count = TREE_NODES // positions + 2
    factors = np.random.default_rng(0).choice([0.0, 0.5, 1.0], size=(count, positions))
    factors[:, -1] = np.linspace(0, 1, count)

    def splice(factor: Float[np.ndarray, "position"]) -> Splice:
        return lambda site, _: (
            site.hooked.output * torch.from_numpy(factor).to(site.hooked.output).unsqueeze(-1)
        )

    return [splice(factor) for factor in factors]


def _whole(
    subject: Subject,
    coder: Coder,
    tokens: Int[Tensor, "context seq"],
    splice: Splice,
    where: slice,
) -> Float[np.ndarray, "context"]:
    """Mean losses of a whole forward with a hook."""

    means = []
    for row in range(len(tokens)):  # one by one, as long ones take much memory

        def replace(hooked: Hooked, row: int = row) -> Hidden:
            site = Site(coder, Hooked(hooked.input[:, where], hooked.output[:, where]))
            output = hooked.output.clone()
            output[:, where] = splice(site, torch.tensor([row]))
            return output

        with subject.replacing(replace):
            losses = subject.losses(tokens[row : row + 1])[0, where]
        means.append(float(losses.double().mean()))
    return np.array(means)
