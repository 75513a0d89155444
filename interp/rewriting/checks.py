"""Sanity checks of a study's measurements: what must hold if the rewriting is done right.

Each compares two ways to one figure. They run on any study, and in the tests.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from interp.coders.protocol import Coder, coder_input
from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden
from interp.rewriting import splice
from interp.rewriting.evaluate import evaluate
from interp.rewriting.splice import Site, Splice, Values
from interp.scoring import statistics
from interp.scoring.calibrate import TOP_DIGIT, fit
from interp.vocabulary import CalibrationMethod, Outcome, Protocol


def tolerance(dtype: torch.dtype) -> float:
    """How far two losses may be apart that should be equal, in nats.

    In half precision a single token's loss changes by up to a tenth when the model adds in another
    order.
    """
    return max(1e-4, 25 * torch.finfo(dtype).eps)


PERMUTED = "permuting the explanations among latents is worse"
ALIKE = 0.05
"""Mean correlations so near each other are alike."""

Array = NDArray[np.float64]


class Result(NamedTuple):
    """The result of one check."""

    name: str
    outcome: Outcome
    detail: str
    """What was compared, with figures."""


class Setting(NamedTuple):
    """What is checked."""

    subject: Subject
    coder: Coder
    tokens: Int[Tensor, "context seq"]
    first_position: int
    latents: Sequence[int]
    """The latents that the study rewrites."""

    def losses(
        self, splices: Sequence[Splice], protocol: Protocol, tokens: Tensor | None = None
    ) -> Float[np.ndarray, "splice context"]:
        return evaluate(
            self.subject,
            self.coder,
            self.tokens if tokens is None else tokens,
            splices,
            protocol=protocol,
            first_position=self.first_position,
            divergence=False,
        ).loss

    def real(self, latents: Sequence[int]) -> Values:
        """The latents' own activations at every spliced position, context by context."""
        where = Protocol.WHOLE.spliced(self.tokens.shape[1], self.first_position)

        def at(rows: Tensor) -> Float[Tensor, "batch position rewritten"]:
            whole = self.subject.capture(self.tokens[rows])
            site = Site(self.coder, Hooked(whole.input[:, where], whole.output[:, where]))
            return site.real[:, list(latents)].view(len(rows), -1, len(latents))

        return Values(torch.tensor(latents), at)


def real_latents_are_the_coder(setting: Setting) -> Result:
    """All latents rewritten with their own activations: the loss of the coder's plain forward."""
    every = setting.real(range(setting.coder.num_latents))
    (spliced,) = setting.losses([splice.rewritten(every)], Protocol.WHOLE)
    where = Protocol.WHOLE.spliced(setting.tokens.shape[1], setting.first_position)

    def forward(hooked: Hooked) -> Hidden:
        x = coder_input(setting.coder, hooked).float()
        output = setting.coder.decode(setting.coder.encode(x.flatten(0, 1)), x.flatten(0, 1))
        replaced = hooked.output.clone()
        replaced[:, where] = output.view_as(replaced)[:, where].to(replaced)
        return replaced

    with setting.subject.replacing(forward):
        plain = setting.subject.losses(setting.tokens)[:, where].double().mean(1).cpu().numpy()
    return _equal(
        "real latents through the rewriting are the coder's forward",
        "All latents rewritten with their own activations, against a whole forward with the coder",
        spliced,
        plain,
        setting.subject.dtype,
    )


def an_oracle_recovers_everything(setting: Setting) -> Result:
    """A simulator that answers the true activation, on its scale, costs what real latents do."""
    real = setting.real(setting.latents)
    maxima = torch.full((len(setting.latents),), 1e-6)
    for row in range(len(setting.tokens)):
        maxima = torch.maximum(maxima, real.at(torch.tensor([row])).amax((0, 1)).cpu())

    def at(rows: Tensor) -> Tensor:
        raw = real.at(rows).cpu() / maxima * TOP_DIGIT
        columns = [
            fit(CalibrationMethod.LINEAR, values, values, maximum=float(maxima[i]))(values)
            for i, values in enumerate(raw.double().numpy().transpose(2, 0, 1))
        ]
        return torch.from_numpy(np.stack(columns, axis=-1)).float()

    oracle, reference = setting.losses(
        [splice.rewritten(Values(real.latents, at)), splice.real_latents], Protocol.WHOLE
    )
    return _equal(
        "an oracle simulator recovers the real latents' loss",
        f"{len(setting.latents)} latents simulated by their true activations, against real latents",
        oracle,
        reference,
        setting.subject.dtype,
    )


def zero_answers_are_the_set_zeroed(setting: Setting) -> Result:
    """A simulator that always answers zero costs what zeroing the same latents does."""
    real = setting.real(setting.latents)
    nothing = Values(real.latents, lambda rows: torch.zeros_like(real.at(rows)))
    zeros, zeroed = setting.losses(
        [splice.rewritten(nothing), splice.set_zeroed(real)], Protocol.WHOLE
    )
    return _equal(
        "a simulator that answers zero is the set zeroed",
        f"{len(setting.latents)} latents simulated as zero, against the same latents zeroed",
        zeros,
        zeroed,
        setting.subject.dtype,
    )


def order_changes_nothing(setting: Setting) -> Result:
    """Contexts in reverse order, and alone, have the losses that they have together."""
    differences = []
    for protocol in Protocol:
        (together,) = setting.losses([splice.real_latents], protocol)
        (reverse,) = setting.losses([splice.real_latents], protocol, setting.tokens.flip(0))
        alone = [
            setting.losses([splice.real_latents], protocol, row[None])[0, 0]
            for row in setting.tokens
        ]
        differences += [together - reverse[::-1], together - np.array(alone)]
    everything = np.concatenate(differences)
    return _equal(
        "order and batches change nothing",
        "Contexts together, in reverse order and one by one, under both protocols",
        everything,
        np.zeros_like(everything),
        setting.subject.dtype,
    )


def two_draws_agree(
    setting: Setting, documents: Sequence[str], *, contexts: int, seed: int
) -> Result:
    """Two draws of contexts, from different documents, have increases whose intervals overlap."""
    name = "two draws of contexts agree"
    drawn = _two_draws(documents, contexts, seed)
    if min(len({documents[row] for row in rows}) for rows in drawn) < 2:
        return Result(name, Outcome.CANNOT_TELL, "There are too few documents for two draws.")
    conditions = {
        "real latents": splice.real_latents,
        "no latents": splice.no_latents,
        "zero": splice.zero,
    }
    estimates = []
    for number, rows in enumerate(drawn):
        untouched, *losses = setting.losses(
            [splice.untouched, *conditions.values()], Protocol.WHOLE, setting.tokens[rows]
        )
        of = [documents[row] for row in rows]
        estimates.append(
            [statistics.mean_difference(loss, untouched, of, seed=seed + number) for loss in losses]
        )
    agree, details = True, []
    for condition, one, other in zip(conditions, *estimates, strict=True):
        agree &= one.low <= other.high and other.low <= one.high
        details.append(f"{condition} {_interval(one)} and {_interval(other)}")
    sizes = " and ".join(str(len(rows)) for rows in drawn)
    detail = f"Loss increase on {sizes} contexts of different documents: {'; '.join(details)} nats."
    return Result(name, Outcome.PASSED if agree else Outcome.FAILED, detail)


class Simulations(NamedTuple):
    """The simulated values of the rewritten latents by a study's simulator, one row a latent."""

    calibrate_raw: Float[np.ndarray, "latent token"]
    calibrate_real: Float[np.ndarray, "latent token"]
    evaluate_raw: Float[np.ndarray, "latent context position"]


def permuted_explanations_are_worse(
    setting: Setting, simulations: Simulations, documents: Sequence[str], *, seed: int
) -> Result:
    """Each latent rewritten by the explanation of another costs more than by its own.

    Both are calibrated (isotonic) on the calibrate set. If they cost the same, explanations and
    simulator together say nothing about *their* latents.
    """
    name = PERMUTED
    count = len(setting.latents)
    if count < 2:
        return Result(name, Outcome.CANNOT_TELL, "Fewer than two latents are simulated.")
    order = np.random.default_rng(seed).permutation(count)
    moved = np.empty(count, dtype=int)
    moved[order] = np.roll(order, 1)  # one cycle: no latent keeps its own explanation
    splices = [
        splice.rewritten(_refitted(setting, simulations, of)) for of in (np.arange(count), moved)
    ]
    own, permuted = setting.losses(splices, Protocol.WHOLE)
    worse = statistics.compare(permuted, own, documents, seed=seed)
    outcome = Outcome.CANNOT_TELL
    if worse.low > 0:
        outcome = Outcome.PASSED
    elif worse.high < 0:
        outcome = Outcome.FAILED
    detail = (
        f"{count} latents rewritten (isotonic) by each other's explanations minus by their own: "
        f"{_interval(statistics.Estimate(*worse[:3]))} nats, p = {worse.p:.2g}."
    )
    return Result(name, outcome, detail)


def explanations_are_read(
    own: Float[np.ndarray, "latent"], others: Float[np.ndarray, "latent"], *, seed: int
) -> Result:
    """Each latent's explanation predicts it better than other latents' explanations do.

    A simulator that ignores its explanation says the same of all of them. Then both correlations
    are alike, and whatever it recovers comes from the calibration.

    Args:
        own: Correlation of each latent's own explanation; NaN where it is not defined.
        others: Mean correlation of other latents' explanations with the same latent.
    """
    name = "the simulator reads the explanations"
    both = ~np.isnan(own) & ~np.isnan(others)
    latents = [str(number) for number in np.flatnonzero(both)]
    if len(latents) < 2:
        return Result(name, Outcome.CANNOT_TELL, "Fewer than two latents have both correlations.")
    better = statistics.mean_difference(own[both], others[both], latents, seed=seed)
    outcome = Outcome.CANNOT_TELL
    if better.low > 0:
        outcome = Outcome.PASSED
    elif better.high < ALIKE:
        outcome = Outcome.FAILED
    detail = (
        f"Mean correlation of {len(latents)} latents with their own explanations "
        f"({own[both].mean():.2f}) minus with other latents' ({others[both].mean():.2f}): "
        f"{_interval(better)}."
    )
    if outcome is Outcome.FAILED:
        detail += (
            " The simulator ignores the explanations: whatever it recovers, the calibration does. "
            "Train a simulator, or use a larger model."
        )
    return Result(name, outcome, detail)


def _refitted(setting: Setting, simulations: Simulations, of: NDArray[np.int64]) -> Values:
    """Latents simulated by the explanations of the latents ``of``, calibrated for themselves."""
    columns = []
    for latent, source in enumerate(of):
        raw = simulations.calibrate_raw[source]
        evaluated = simulations.evaluate_raw[source]
        if np.isnan(raw).all():
            columns.append(np.full_like(evaluated, np.nan))
            continue
        real = simulations.calibrate_real[latent]
        columns.append(
            fit(CalibrationMethod.ISOTONIC, raw, real, maximum=float(real.max()))(evaluated)
        )
    activations = torch.from_numpy(np.stack(columns, axis=-1)).float()
    return Values.of(torch.tensor(setting.latents), activations)


def _two_draws(documents: Sequence[str], contexts: int, seed: int) -> list[list[int]]:
    """Two draws of at most so many contexts each, without a document in common."""
    names = sorted(set(documents))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    half = {names[i] for i in shuffled[: len(names) // 2]}
    draws: list[list[int]] = [[], []]
    for row, document in enumerate(documents):
        draw = draws[document not in half]
        if len(draw) < contexts:
            draw.append(row)
    return draws


def _equal(name: str, what: str, one: Array, other: Array, dtype: torch.dtype) -> Result:
    differences = np.abs(one - other)
    if missing := int(np.isnan(differences).sum()):
        detail = f"{what}: {missing} of {differences.size} losses are missing: no finite numbers."
        return Result(name, Outcome.FAILED, detail)
    difference, allowed = float(differences.max()), tolerance(dtype)
    outcome = Outcome.PASSED if difference <= allowed else Outcome.FAILED
    detail = (
        f"{what}: the largest difference in loss is {difference:.1e} nats, "
        f"{allowed:.0e} is allowed."
    )
    return Result(name, outcome, detail)


def _interval(estimate: statistics.Estimate) -> str:
    return f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"
