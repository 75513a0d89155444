"""Where a coder belongs: its candidate sites and readings, measured on a few contexts.

A coder at a wrong site, or read in a wrong way, still puts out numbers. Two figures tell: the
fraction of variance that it leaves unexplained (FVU), and the mean number of active latents.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from interp.coders.protocol import Coder, Fit
from interp.coders.thresholds import settled
from interp.errors import InputError
from interp.model.subject import Hooked, device_of
from interp.model.taps import Hidden, Tap
from interp.sources.checkpoint import Facts
from interp.sources.models import place_of
from interp.sources.sites import Side, Site, find_site

READ = (
    "ln2.hook_normalized",
    "mlp.hook_in",
    "hook_resid_mid",
    "hook_resid_pre",
    "ln1.hook_normalized",
)
WRITTEN = ("hook_mlp_out", "mlp.hook_out", "hook_attn_out", "hook_resid_post")
BOTH = (
    "hook_resid_post",
    "hook_resid_mid",
    "hook_mlp_out",
    "mlp.hook_out",
    "hook_attn_out",
    "attn.hook_z",
    "mlp.hook_post",
)
"""The sites of a layer that transcoders read and write, and that SAEs do. What goes into a layer is
what comes out of the one before."""
FIRST = "hook_resid_pre"
TOKENS = 4096
"""Vectors that each candidate is measured on, at most."""
MAX_FVU = 0.5
"""A coder that leaves more of the variance unexplained than this does not fit its hookpoint.

Usable coders are well below; one at a wrong layer, or a transcoder read as an SAE, is near or
above 1.
"""


class Candidate(NamedTuple):
    """A way to use a coder, measured."""

    reads: str
    writes: str
    reading: str
    """How the files are read, in words; empty as they say."""
    fvu: float
    """Fraction of the variance of what stands at the site written that is left unexplained."""
    active: float
    """Mean number of active latents of a token."""


def differs(active: float, declared: float | None) -> bool:
    """Whether more than twice or less than half as many latents are active as declared."""
    return declared is not None and not declared / 2 <= active <= 2 * declared


def fits(one: Candidate, declared: float | None) -> bool:
    """Whether a coder that is used so fits: it leaves less than ``MAX_FVU`` unexplained, and about
    as many latents are active as declared."""
    return one.fvu < MAX_FVU and not differs(one.active, declared)


class Captured(NamedTuple):
    """What stood at some sites, on the same tokens."""

    sites: Mapping[Site, Float[Tensor, "token width"]]

    def measure(self, coder: Coder, reads: Site, writes: Site, reading: str = "") -> Candidate:
        """A coder between two of the sites. Infinite where it does not fit."""
        x, y = self.sites[reads], self.sites[writes]
        if (x.shape[-1], y.shape[-1]) != (coder.d_in, coder.d_out):
            return Candidate(str(reads), str(writes), reading, math.inf, math.nan)
        measured = Fit(settled(coder, [x]), first_position=0)
        measured.add(Hooked(x[None], y[None]))
        return Candidate(str(reads), str(writes), reading, measured.fvu, measured.active)


@torch.inference_mode()
def capture_sites(
    model: PreTrainedModel,
    tokens: Int[Tensor, "context seq"],
    sites: Sequence[Site],
    *,
    first_position: int,
) -> Captured:
    """What stands at several sites in one forward pass. A site that is never reached is left out.

    Args:
        first_position: Positions before it are left out.
    """
    modules, home = dict(model.base_model.named_modules()), device_of(model)
    caught: dict[Site, Tensor] = {}

    def note(site: Site, hidden: Hidden) -> None:
        if hidden.ndim == 3 and hidden.is_floating_point():
            # A copy: what goes into a module may be overwritten later.
            some = hidden[:, first_position:].flatten(0, 1)[:TOKENS]
            caught[site] = some.float().clone().to(home)

    with ExitStack() as taps:
        for site in sites:
            tap = Tap(modules[site.module], site.side)
            taps.enter_context(tap.watched(partial(note, site)))
        model.base_model(tokens.to(home), use_cache=False)
    return Captured(caught)


def candidates(
    model: PreTrainedModel, facts: Facts, hookpoint: str = "", reads: str = ""
) -> list[tuple[Site, Site]]:
    """The sites to try, as pairs of what is read and what is written: first those that a person
    named, or else those that the coder's files name.

    Raises:
        InputError: Nothing names a site, or the model has no such one.
    """
    modules = [name for name, _ in model.base_model.named_modules() if name]
    config = model.config.get_text_config()
    parallel = bool(getattr(config, "use_parallel_residual", False))

    def site(name: str) -> Site:
        return find_site(name, modules, parallel=parallel)

    def known(hooks: Sequence[str], layer: int) -> Iterator[Site]:
        for hook in hooks:
            try:
                yield site(f"blocks.{layer}.{hook}")
            except InputError:
                continue  # this architecture has none

    written = hookpoint or facts.writes
    if not written:
        raise InputError("The coder's files do not name the site that it writes: name it.")
    writes = site(written)
    if facts.kind == "sae":
        read = writes
        if reads and site(reads) != writes:
            raise InputError(
                f"A sparse autoencoder reads the site that it writes, {writes}. Leave the site "
                "that it reads empty, or read it as a transcoder."
            )
    elif name := reads or facts.reads:
        read = site(name)
    else:
        read = site(f"{writes.module}.input")
    found = [(read, writes)]
    place = place_of(writes.module)
    if place is not None:
        layer = place.layer
        if facts.kind == "transcoder":
            found += [(one, other) for one in known(READ, layer) for other in known(WRITTEN, layer)]
        else:
            found += [(one, one) for one in known(BOTH if layer else (*BOTH, FIRST), layer)]
            if writes.side is Side.OUTPUT:  # or it is a transcoder that its files call an SAE
                found.append((Site(writes.module, Side.INPUT), writes))
        for near in (layer - 1, layer + 1):
            if 0 <= near < config.num_hidden_layers:
                if facts.kind == "transcoder":
                    found += zip(
                        known(READ[:2], near), list(known(WRITTEN[:1], near)) * 2, strict=False
                    )
                else:
                    found += [(one, one) for one in known(BOTH[:1], near)]
    return list(dict.fromkeys(found))


def inspect(
    model: PreTrainedModel,
    readings: Mapping[str, Coder],
    sites: Sequence[tuple[Site, Site]],
    tokens: Int[Tensor, "context seq"],
    *,
    first_position: int,
    active: float | None = None,
    reading: str = "",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Candidate]:
    """Measure each reading of a coder at each pair of sites.

    Args:
        readings: By their names in words; the one as the files say is named ``""``.
        sites: See :func:`candidates`; the first pair is the declared one.
        tokens: A few contexts of real text.
        active: The mean number of active latents that the files declare.
        reading: The declared one of the readings.
        tell: Takes how many are measured, and of how many.

    Returns:
        The declared one, and then those that fit, best first: those with about as many active
        latents as declared before the others, then by FVU.
    """
    every = list(dict.fromkeys(site for pair in sites for site in pair))
    captured = capture_sites(model, tokens, every, first_position=first_position)
    if not {*sites[0]} <= {*captured.sites}:
        raise InputError(f"What {' or '.join(map(str, sites[0]))} names is never reached.")
    planned = [
        (coder, *pair, name)
        for pair in sites
        if {*pair} <= {*captured.sites}
        for name, coder in readings.items()
        if (coder.kind == "transcoder") == (pair[0] != pair[1])
    ]
    measured = []
    for done, one in enumerate(planned):
        tell(done, len(planned))
        measured.append(captured.measure(*one))
    declared = captured.measure(readings[reading], *sites[0], reading)
    others = [one for one in measured if one[:3] != declared[:3]]
    fitting = [one for one in others if math.isfinite(one.fvu)]
    return [declared, *sorted(fitting, key=lambda one: (differs(one.active, active), one.fvu))]
