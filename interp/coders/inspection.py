"""Where a coder belongs: its candidate sites and readings, measured on a few contexts.

A coder at a wrong site, or read in a wrong way, still puts out numbers. Two figures tell: what it
leaves unexplained of the typical token (:attr:`Candidate.typical_fvu`), and the mean number of
active latents. An inspection and the check of a study judge by the same figures (:func:`fits`).
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

from interp.coders.protocol import ENCODED_AT_ONCE, Coder
from interp.coders.thresholds import settled
from interp.errors import InputError
from interp.model.subject import device_of
from interp.model.taps import Hidden, Tap
from interp.sources.checkpoint import Facts
from interp.sources.models import place_of
from interp.sources.sites import Side, Site, check_same, find_site

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
MAX_FVU = 0.6
"""A coder that leaves more of the typical token unexplained than this does not fit its hookpoint.

Usable coders are below, from 0.2 to 0.55. A transcoder at a wrong layer, or one read as an SAE, is
above 1. An SAE is above 0.6 from the fourth layer before its own.
"""
MUCH_BETTER = 0.8
"""A coder is said to fit better elsewhere if it leaves less than this share of what it leaves here.

An SAE leaves three quarters at its own layer of what it leaves at the next one.
"""


class Candidate(NamedTuple):
    """A way to use a coder, measured."""

    reads: str
    writes: str
    reading: str
    """How the files are read, in words; empty as they say."""
    typical_fvu: float
    """What is left unexplained of the typical token: the median squared error of a token, over the
    median squared distance of a token from the centre (the median of each dimension).

    The coder's fit is judged by it. A few tokens have vectors hundreds of times as long as the
    others: those that attention rests on, mostly the first ones of a text. They alone would decide
    the FVU, and another choice of contexts would decide otherwise.
    """
    fvu: float
    """Fraction of the variance of what stands at the site written that is left unexplained."""
    active: float
    """Mean number of active latents of a token."""


def differs(active: float, declared: float | None) -> bool:
    """Whether more than twice or less than half as many latents are active as declared."""
    return declared is not None and not declared / 2 <= active <= 2 * declared


def fits(one: Candidate, declared: float | None) -> bool:
    """Whether a coder that is used so fits: it leaves less than ``MAX_FVU`` of the typical token
    unexplained, and about as many latents are active as declared."""
    return one.typical_fvu < MAX_FVU and not differs(one.active, declared)


@torch.inference_mode()
def measured(
    coder: Coder,
    x: Float[Tensor, "token width"],
    y: Float[Tensor, "token width"],
    reads: str,
    writes: str,
    reading: str = "",
) -> Candidate:
    """How well a coder makes what stands at the site written, y, of what stands at the site read.
    Infinite where the widths differ. Not finite if most tokens have the same y."""
    if (x.shape[-1], y.shape[-1]) != (coder.d_in, coder.d_out):
        return Candidate(reads, writes, reading, math.inf, math.inf, math.nan)
    coder = settled(coder, [x])
    active, errors = 0, []
    for some, wanted in zip(x.split(ENCODED_AT_ONCE), y.split(ENCODED_AT_ONCE), strict=True):
        latents = coder.encode(some.float())
        active += int((latents.activations > 0).sum())
        residual = wanted.float() - coder.decode(latents, some.float())
        errors.append(residual.double().square().sum(1))
    error, y = torch.cat(errors), y.double()
    spread = (y - y.median(0).values).square().sum(1)
    variance = (y - y.mean(0)).square().sum()
    typical, all_of_it = error.median() / spread.median(), error.sum() / variance
    return Candidate(reads, writes, reading, float(typical), float(all_of_it), active / len(x))


class Captured(NamedTuple):
    """What stood at some sites, on the same tokens."""

    sites: Mapping[Site, Float[Tensor, "token width"]]

    def measure(self, coder: Coder, reads: Site, writes: Site, reading: str = "") -> Candidate:
        """A coder between two of the sites."""
        names = str(reads), str(writes), reading
        return measured(coder, self.sites[reads], self.sites[writes], *names)


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
            some = hidden[:, first_position:].flatten(0, 1)
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
        if reads:
            check_same(str(site(reads)), str(writes))
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
        latents as declared before the others, then by what is left of the typical token.
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
    found = []
    for done, one in enumerate(planned):
        tell(done, len(planned))
        found.append(captured.measure(*one))
    declared = captured.measure(readings[reading], *sites[0], reading)
    others = [one for one in found if one[:3] != declared[:3]]
    fitting = [one for one in others if math.isfinite(one.typical_fvu)]
    ranked = sorted(fitting, key=lambda one: (differs(one.active, active), one.typical_fvu))
    return [declared, *ranked]
