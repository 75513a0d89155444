"""Check that a sparse coder fits its hookpoint."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from interp.coders.inspection import MAX_FVU, candidates, differs, fits, inspect
from interp.coders.protocol import Coder, Fit, coder_input, refuse_non_finite
from interp.coders.readings import readings
from interp.coders.thresholds import settled
from interp.errors import InputError
from interp.model.subject import Hooked, Subject
from interp.sources.checkpoint import Facts


@torch.inference_mode()
def check_coder(
    coder: Coder,
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    *,
    first_position: int,
    active: float | None = None,
) -> Fit:
    """Refuse a coder that does not fit its hookpoint.

    A coder for another layer or of another kind still loads and still puts out numbers. Only its
    reconstruction tells.

    Args:
        tokens: A few contexts of real text.
        active: The mean number of active latents that the coder's files declare.

    Returns:
        How well it fits on these contexts, with the threshold that was estimated on them if its
        files hold none.

    Raises:
        InputError: The width differs, more than ``MAX_FVU`` of the variance is unexplained, or more
            than twice or less than half as many latents are active as declared.
    """

    def read() -> Iterator[Tensor]:
        for _, hooked in subject.captures(tokens):
            _check_vectors(coder, subject, hooked)
            yield coder_input(coder, hooked)[:, first_position:].flatten(0, 1)

    measured = Fit(settled(coder, read()), first_position=first_position)
    for start, hooked in subject.captures(tokens):
        _check_vectors(coder, subject, hooked)
        for what, values in (("reads", hooked.input), ("puts out", hooked.output)):
            refuse_non_finite(f"the module {what}", values[:, first_position:], first_context=start)
        measured.add(hooked)
    unexplained = measured.fvu
    elsewhere = partial(_elsewhere, coder, subject, tokens, first_position, active)
    if not math.isfinite(unexplained):
        raise InputError(
            f"The output of {subject.hookpoint!r} is the same on all tokens, so there is nothing "
            "to explain. Choose another hookpoint."
        )
    if not unexplained < MAX_FVU:
        raise InputError(
            f"The coder does not fit {subject.hookpoint!r}: it leaves {unexplained:.0%} of the "
            f"variance unexplained (at most {MAX_FVU:.0%} is accepted). "
            f"{elsewhere()} `palimpsest coder inspect` measures more places and readings."
        )
    if differs(measured.active, active):
        raise InputError(
            f"{measured.active:.1f} latents of the coder are active on a token at "
            f"{subject.hookpoint!r}, but its files say {active:g}: it is read in another way, or "
            f"elsewhere, than it was trained. {elsewhere()} `palimpsest coder inspect` measures "
            "more places and readings."
        )
    return measured


def _check_vectors(coder: Coder, subject: Subject, hooked: Hooked) -> None:
    """Refuse a module that puts out no vectors, or vectors of another width than the coder's.

    Raises:
        InputError: It does.
    """
    if hooked.output.ndim != 3:
        raise InputError(
            f"{subject.hookpoint!r} of {subject.source} puts out {hooked.output.ndim} dimensions, "
            "not a vector for each token of each context. Choose the layer that it is in."
        )
    for what, width, site in (
        ("reads", coder.d_in, coder_input(coder, hooked)),
        ("writes", coder.d_out, hooked.output),
    ):
        if site.shape[-1] != width:
            raise InputError(
                f"The coder {what} vectors of {width} dimensions, but {subject.hookpoint!r} of "
                f"{subject.source} has {site.shape[-1]}. It belongs to another model or hookpoint."
            )


def _elsewhere(
    coder: Coder,
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    first_position: int,
    active: float | None,
) -> str:
    """The place where the coder fits best, in a sentence."""
    facts = Facts(coder.kind, reads=subject.reads)
    sites = candidates(subject.model, facts, subject.hookpoint)
    every = {"": coder, **readings(coder)}
    _, *others = inspect(
        subject.model, every, sites, tokens, first_position=first_position, active=active
    )
    best = others[0] if others else None
    if best is not None and fits(best, active):
        reads = "" if best.reads == best.writes else f", with {best.reads} as the site read"
        so = f", read so that {best.reading}" if best.reading else ""
        return f"It fits {best.writes}{reads}{so}: there it leaves {best.fvu:.0%}."
    return (
        "It fits no other place near there: it belongs to another layer or another model, or its "
        "files do not say truly whether it is a transcoder."
    )
