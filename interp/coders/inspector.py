"""Inspect a sparse coder: what its files say, and where in a model it fits."""

import math
from collections.abc import Callable
from typing import NamedTuple

from interp.coders.findings import CoderFiles, Measured, MeasuredSite, Question
from interp.coders.inspection import MUCH_BETTER, Candidate, candidates, fits, inspect
from interp.coders.load import find_checkpoint, load_coder
from interp.coders.protocol import Coder
from interp.coders.readings import every_reading
from interp.coders.sample import sample
from interp.errors import InputError
from interp.model.subject import DeviceMap, default_device, load_causal_lm, torch_dtype
from interp.sources.checkpoint import Facts, of_model
from interp.sources.paths import check_there, full, hub_folder, is_path, located
from interp.vocabulary import CoderFit

Tell = Callable[[str, int, int | None], None]
"""Takes a step in words, and how much of it is done, of how much. None if that is not known."""


class Read(NamedTuple):
    """A coder that is loaded."""

    coder: Coder
    facts: Facts
    files: CoderFiles


def read_files(question: Question) -> Read:
    """Load the coder.

    Raises:
        InputError: There is no such coder, or its files do not fit together.
    """
    if is_path(question.coder) and hub_folder(question.coder) is None:
        check_there(full(question.coder))  # or it would be looked for on the hub
    found = find_checkpoint(located(question.coder), question.hookpoint)
    facts = found.check()
    coder = load_coder(located(question.coder), question.hookpoint, device=default_device())
    files = CoderFiles(
        format=found.format.name,
        weights=str(found.weights),
        kind=coder.kind,
        skip=coder.skip,
        reads=facts.reads,
        d_in=coder.d_in,
        writes=facts.writes,
        d_out=coder.d_out,
        latents=coder.num_latents,
        rule=coder.rule.meaning,
        active=facts.active,
        model=facts.model,
        remark=facts.remark,
    )
    return Read(coder, facts, files)


def measure_sites(
    question: Question, read: Read, tell: Tell, *, device_map: DeviceMap | None = None
) -> Measured:
    """Load the model, and measure where in it the coder fits.

    Args:
        question: Its model is a folder, a file or a hub name, and no fetched one's name.
        device_map: See :func:`interp.model.subject.load_causal_lm`.

    Raises:
        InputError: The model or the text cannot be read, or the model has no such site.
    """
    readings = every_reading(read.coder, question.reading)
    tell("Loading the model", 0, None)
    model, tokenizer = load_causal_lm(
        question.model,
        revision=question.model_revision,
        dtype=torch_dtype(question.dtype),
        device=default_device(),
        device_map=device_map,
    )
    facts = read.facts._replace(kind=readings[question.reading].kind)
    try:
        sites = candidates(model, facts, question.hookpoint, question.reads)
    except InputError as error:
        raise of_model(error, facts) from None
    tell("Reading the text", 0, None)
    tokens = sample(
        question.corpus,
        tokenizer,
        length=question.context_length,
        prepend_bos=question.prepend_bos,
        first_position=question.first_position,
    )
    tell("Running the model", 0, None)
    declared, *others = measured = inspect(
        model,
        readings,
        sites,
        tokens,
        first_position=question.first_position,
        active=facts.active,
        reading=question.reading,
        tell=lambda done, total: tell("Measuring sites and readings", done, total),
    )
    fit, best = _judged(declared, others, facts.active)
    return Measured(
        fit=fit,
        best=best,
        sites=[_site(one, facts.active) for one in measured],
        tokens=tokens[:, question.first_position :].numel(),
    )


def _judged(
    declared: Candidate, others: list[Candidate], active: float | None
) -> tuple[CoderFit, int | None]:
    """Where it fits, and which is best."""
    better = bool(others) and fits(others[0], active)
    much = better and others[0].typical_fvu < MUCH_BETTER * declared.typical_fvu
    if fits(declared, active) and not much:
        return CoderFit.HERE, 0
    return (CoderFit.ELSEWHERE, 1) if better else (CoderFit.NOWHERE, None)


def _site(one: Candidate, active: float | None) -> MeasuredSite:
    return MeasuredSite(
        reads=one.reads,
        writes=one.writes,
        reading=one.reading,
        typical_fvu=one.typical_fvu if math.isfinite(one.typical_fvu) else None,
        fvu=one.fvu if math.isfinite(one.fvu) else None,
        active=one.active if math.isfinite(one.active) else None,
        fits=fits(one, active),
    )
