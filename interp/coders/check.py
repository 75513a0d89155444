"""Check that a sparse coder fits its hookpoint."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from interp.coders.inspection import (
    MAX_FVU,
    Candidate,
    candidates,
    fits,
    inspect,
    measured,
)
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
) -> Candidate:
    """Refuse a coder that does not fit its hookpoint.

    A coder for another layer or of another kind still loads and still puts out numbers. Only its
    reconstruction tells.

    Args:
        tokens: Of :func:`interp.coders.sample.sample`, as an inspection judges by the same.
        active: The mean number of active latents that the coder's files declare.

    Returns:
        How well it fits on these contexts.

    Raises:
        InputError: The width differs, more than ``MAX_FVU`` of the typical token is unexplained, or
            more than twice or less than half as many latents are active as declared.
    """
    here = judge(coder, subject, tokens, first_position=first_position)
    if fits(here, active):
        return here
    if not math.isfinite(here.typical_fvu):
        raise InputError(
            f"The output of {subject.hookpoint!r} is the same on most tokens, so there is nothing "
            "to explain. Choose another hookpoint."
        )
    elsewhere = (
        f"{_elsewhere(coder, subject, tokens, first_position, active)} `palimpsest coder inspect` "
        "measures more places and readings."
    )
    if not here.typical_fvu < MAX_FVU:
        raise InputError(
            f"The coder does not fit {subject.hookpoint!r}: it leaves {here.typical_fvu:.0%} of "
            f"the typical token unexplained (at most {MAX_FVU:.0%} is accepted). {elsewhere}"
        )
    raise InputError(
        f"{here.active:.1f} latents of the coder are active on a token at {subject.hookpoint!r}, "
        f"but its files say {active:g}: it is read in another way, or elsewhere, than it was "
        f"trained. {elsewhere}"
    )


@torch.inference_mode()
def judge(
    coder: Coder,
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    *,
    first_position: int,
) -> Candidate:
    """How well a coder fits its hookpoint on some contexts.

    Raises:
        InputError: The widths differ, or the model puts out infinity or what is no number (NaN).
    """
    inputs, outputs = [], []
    for start, hooked in subject.captures(tokens):
        _check_vectors(coder, subject, hooked)
        _check_finite(hooked, first_position, start)
        inputs.append(coder_input(coder, hooked)[:, first_position:].flatten(0, 1))
        outputs.append(hooked.output[:, first_position:].flatten(0, 1))
    reads = subject.hookpoint if coder.kind == "sae" else subject.reads
    return measured(coder, torch.cat(inputs), torch.cat(outputs), reads, subject.hookpoint)


@torch.inference_mode()
def measure_fit(
    coder: Coder,
    subject: Subject,
    tokens: Int[Tensor, "context seq"],
    *,
    first_position: int,
) -> Fit:
    """How well a coder fits its hookpoint on many contexts, with the threshold that is estimated on
    them if its files hold none.

    Raises:
        InputError: The model puts out infinity or what is no number (NaN) on one of them.
    """

    def read() -> Iterator[Tensor]:
        for _, hooked in subject.captures(tokens):
            yield coder_input(coder, hooked)[:, first_position:].flatten(0, 1)

    fit = Fit(settled(coder, read()), first_position=first_position)
    for start, hooked in subject.captures(tokens):
        _check_finite(hooked, first_position, start)
        fit.add(hooked)
    return fit


def _check_finite(hooked: Hooked, first_position: int, first_context: int) -> None:
    for what, values in (("reads", hooked.input), ("puts out", hooked.output)):
        refuse_non_finite(
            f"the module {what}", values[:, first_position:], first_context=first_context
        )


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
        return f"It fits {best.writes}{reads}{so}: there it leaves {best.typical_fvu:.0%}."
    return (
        "It fits no other place near there: it belongs to another layer or another model, or its "
        "files do not say truly whether it is a transcoder."
    )
