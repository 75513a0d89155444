"""Estimate the loss effects of all latents at once, to first order.

For a small change of the module's output, the loss changes by the gradient times the change. So one
backward pass, at one *point of linearisation*, estimates the loss effects of all latents on a
context. This is *attribution patching*. docs/method.md has the formulas, the references and the
limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from interp.coders.protocol import Coder
from interp.coders.rules import Rivals, Rule
from interp.model.resume import Suspended
from interp.model.subject import Subject
from interp.model.taps import Hidden
from interp.model.whole import Whole
from interp.rewriting.evaluate import TOKENS_AT_ONCE, stopped
from interp.rewriting.splice import Site, Values
from interp.scoring.statistics import RESAMPLES, Estimate, by_document
from interp.vocabulary import Linearisation, PredictionError, Protocol

LATENTS_AT_ONCE = 512
"""Latents whose resamples are in memory at once."""

PerLatent = Float[Tensor, "token rewritten"]


class Attributed(NamedTuple):
    """First-order estimates for some contexts, in nats. NaN where one is no finite number."""

    effects: Mapping[Linearisation, Float[np.ndarray, "context rewritten"]]
    """By point of linearisation. Zero where a value is missing, because there the latent stays
    real."""
    real: Float[np.ndarray, "context"]
    """The loss with all latents real."""
    rewritten: Float[np.ndarray, "context"]
    """The loss with the layer rewritten."""
    errors: Mapping[PredictionError, Float[np.ndarray, "context rewritten"]]
    """The ``path`` effects, split by the error at each position: they add up to them. Empty without
    the values that predict where a latent is active."""


def attribute(
    subject: Subject,
    coder: Coder,
    tokens: Int[Tensor, "context seq"],
    values: Values,
    *,
    protocol: Protocol,
    first_position: int,
    rows: Sequence[int] | None = None,
    predicted: Values | None = None,
) -> Attributed:
    """Estimate what each latent's rewriting does to the loss of each context.

    The change of the output is exact, the coder's rule included. Only the loss is linearised.

    Args:
        values: The latents and their calibrated values. All of them are rewritten in the layer
            rewritten.
        rows: Contexts to run; None runs them all.
        predicted: Other values of the same latents, which predict where each is active: above zero.
            They split the ``path`` effects by error.
    """
    wanted = torch.tensor(list(range(len(tokens)) if rows is None else rows), dtype=torch.long)
    where = protocol.spliced(tokens.shape[1], first_position)
    size = max(1, TOKENS_AT_ONCE[subject.device.type] // (where.stop - where.start))
    parts = [
        _attribute(stopped(subject, tokens[batch], where), coder, values, predicted, batch)
        for batch in wanted.split(size)
        if len(batch)
    ]
    return Attributed(
        {one: _joined([part.effects[one] for part in parts]) for one in Linearisation},
        _joined([part.real for part in parts]),
        _joined([part.rewritten for part in parts]),
        {
            one: _joined([part.errors[one] for part in parts])
            for one in PredictionError
            if predicted is not None
        },
    )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    whole = np.concatenate(parts)
    return np.where(np.isfinite(whole), whole, np.nan)


def _attribute(
    suspended: Suspended | Whole,
    coder: Coder,
    values: Values,
    predicted: Values | None,
    batch: Int[Tensor, "batch"],
) -> Attributed:
    with torch.no_grad():
        site = Site(coder, suspended.hooked)
        latents = values.latents.to(site.x.device)
        real = site.real[:, latents]
        given = values.at(batch).to(site.x).flatten(0, 1)
        missing = given.isnan()
        given = given.where(~missing, real)
        mixture = site.real.clone()
        mixture[:, latents] = given
        start, end = site.decode(site.real), site.decode(mixture)
    at_real, at_rewritten = _linearise(suspended, start), _linearise(suspended, end)
    untouched = _linearise(suspended, suspended.hooked.output)
    with torch.no_grad():
        rule = coder.rule
        alone, among = rule.rivals(site.real, latents), rule.rivals(mixture, latents)
        kept = rule.select(mixture).dense(coder.num_latents)[:, latents]

        def change(among: Rivals, slopes: Tensor) -> PerLatent:
            return _change(rule, among, slopes, latents, real, given)

        from_real, from_rewritten, from_untouched = (
            coder.slopes(one.gradient, site.x) for one in (at_real, at_rewritten, untouched)
        )
        # Both ends stand for the way between them: the trapezoidal rule.
        path = (from_real[:, latents] + from_rewritten[:, latents]) / 2
        changes = (kept - real).where(~missing, 0.0)
        effects = {
            Linearisation.UNTOUCHED: change(alone, from_untouched),
            Linearisation.REAL_LATENTS: change(alone, from_real),
            Linearisation.REWRITTEN: change(among, from_rewritten),
            Linearisation.PATH: changes * path,
        }
        by_error: dict[PredictionError, PerLatent] = {}
        if predicted is not None:
            above = predicted.at(batch).to(site.x).flatten(0, 1) > 0
            whole = effects[Linearisation.PATH]
            by_error = {
                error: whole.where(where, 0.0) for error, where in errors(real > 0, above).items()
            }

    def summed(one: PerLatent) -> np.ndarray:
        return np.asarray(one.unflatten(0, (len(batch), -1)).sum(1).cpu())

    return Attributed(
        {name: summed(one) for name, one in effects.items()},
        at_real.loss.cpu().numpy(),
        at_rewritten.loss.cpu().numpy(),
        {name: summed(one) for name, one in by_error.items()},
    )


def errors(
    active: Bool[Tensor, "*shape"], predicted: Bool[Tensor, "*shape"]
) -> dict[PredictionError, Bool[Tensor, "*shape"]]:
    """Where each error can be. Each position of a latent is in exactly one of them."""
    return {
        PredictionError.MISSED: active & ~predicted,
        PredictionError.FALSE_POSITIVE: ~active & predicted,
        PredictionError.WRONG_SIZE: active & predicted,
        PredictionError.BACKGROUND: ~active & ~predicted,
    }


class _Linear(NamedTuple):
    """The loss of each context at one output of the module, and its gradient there."""

    loss: Float[Tensor, "context"]
    gradient: Float[Tensor, "token d_model"]


def _linearise(suspended: Suspended | Whole, output: Hidden) -> _Linear:
    output = output.clone().requires_grad_()
    every = torch.arange(len(output), device=output.device)
    with torch.enable_grad():
        logits = suspended.resume_paths(every, output).float()
        targets = suspended.tokens[:, suspended.where.start + 1 : suspended.where.stop + 1]
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        loss = losses.view(targets.shape).mean(1)
        (gradient,) = torch.autograd.grad(loss.sum(), output)
    return _Linear(loss.detach(), gradient.float().flatten(0, 1))


def _change(
    rule: Rule,
    rivals: Rivals,
    slopes: Float[Tensor, "token latent"],
    latents: Int[Tensor, "rewritten"],
    real: PerLatent,
    given: PerLatent,
) -> PerLatent:
    """First-order change of the loss if one latent goes from real to given, for each alone.

    Args:
        rivals: Of these latents, in the mixture that the others stand in.
        slopes: The gradient times each latent's decoder direction.
    """
    own = slopes[:, latents]
    instead = rivals.activations * slopes.gather(1, rivals.indices)
    after = torch.where(rule.rank(given, latents) > rivals.ranks, given * own, instead)
    before = torch.where(rule.rank(real, latents) > rivals.ranks, real * own, instead)
    return after - before


def means(
    effects: Float[np.ndarray, "context latent"], documents: Sequence[str], *, seed: int
) -> Iterator[Estimate]:
    """The mean of each latent over contexts, with its percentile bootstrap 95% interval.

    Documents are resampled, the same ones for all latents, see :mod:`interp.scoring.statistics`.
    No interval with one document; NaN where a context has no figure.
    """
    sums = by_document(effects.T, documents)
    counts = by_document(np.ones(len(documents)), documents)
    units = len(counts)
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), RESAMPLES)
    totals = drawn @ counts
    for start in range(0, len(sums), LATENTS_AT_ONCE):
        some = sums[start : start + LATENTS_AT_ONCE]
        low, high = np.full((2, len(some)), np.nan)
        if units > 1:
            low, high = np.quantile(some @ drawn.T / totals, [0.025, 0.975], axis=1)
        values = some.sum(1) / counts.sum()
        yield from (Estimate(*map(float, one)) for one in zip(values, low, high, strict=True))
