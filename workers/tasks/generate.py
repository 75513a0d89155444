"""Write on from a prompt with the untouched, the zero-ablated and the rewritten model."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from interp.errors import InputError
from interp.rewriting.evaluate import Condition
from interp.rewriting.generate import Rewriting, encode_prompt, write
from interp.rewriting.splice import Splice, untouched, zero
from interp.simulate.protocol import Ask
from models import Explanation, Generation, Job, Latent, Simulator, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.resources import coder_of, simulator_of, subject_of
from workers.tasks.rows import calibrations_of, first_position, token_texts
from workers.version import code_version

CONDITIONS = (Condition.UNTOUCHED, Condition.ZERO, Condition.REWRITTEN)
SECONDS = 1.0
"""A continuation is saved about this often while it is written."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Write the continuations that are not there yet.

    A continuation is added to the generation when it is done. Until then its tokens are kept in the
    job's ``writing``, so that a job which is cut short goes on with the next token.
    """
    generation = session.get(Generation, job.params.get("generation_id", 0))
    if generation is None or generation.study_id != study.id:
        raise InputError("This generation is not there any more. Start a new one.")
    prompt = encode_prompt(
        subject_of(study),
        generation.prompt,
        prepend_bos=study.prepend_bos,
        new_tokens=generation.new_tokens,
    )
    generation.prompt_tokens = len(prompt) - first_position(study)
    generation.code_version = code_version()
    session.commit()
    total = len(CONDITIONS) * generation.new_tokens
    for number, condition in enumerate(CONDITIONS):
        if condition in generation.continuations:
            continue
        before = number * generation.new_tokens
        for written, missing in _write(session, job, study, generation, condition, prompt):
            message = f"writing with the {condition} model"
            yield Progress(before + written, total, "tokens", message, missing)


def _write(
    session: Session,
    job: Job,
    study: Study,
    generation: Generation,
    condition: Condition,
    prompt: list[int],
) -> Iterator[tuple[int, int]]:
    """Write one continuation.

    Yields:
        How many tokens are saved, and how many values came out missing since the last time. A
        continuation that is done counts as long as was asked for, even if its text ended before.
    """
    subject, coder = subject_of(study), coder_of(study)
    model, simulated = _model(session, study, generation, condition)
    saved: dict[str, Any] = {"condition": None} | job.params.get("writing", {})
    if saved["condition"] != condition:
        saved = {"condition": condition, "tokens": [], "missing": 0, "seconds": 0.0}
    tokens, missing, seconds = list(saved["tokens"]), saved["missing"], saved["seconds"]
    reported, since = missing, time.monotonic()
    for token, missing in write(
        subject,
        coder,
        prompt,
        model,
        first_position=first_position(study),
        new_tokens=generation.new_tokens,
        temperature=generation.temperature,
        seed=generation.seed,
        written=tuple(tokens),
    ):
        tokens.append(token)
        if time.monotonic() - since < SECONDS:
            continue
        seconds += time.monotonic() - since
        writing = saved | {"tokens": tokens, "missing": missing, "seconds": seconds}
        job.params = {**job.params, "writing": writing}
        session.commit()
        yield len(tokens), missing - reported
        reported, since = missing, time.monotonic()
    continuation = {
        # Behind the prompt: its last token may be the beginning of a character.
        "tokens": token_texts(subject.tokenizer, [*prompt, *tokens])[len(prompt) :],
        "simulations": simulated * len(tokens),
        "missing": missing,
        "seconds": seconds + time.monotonic() - since,
    }
    generation.continuations = {**generation.continuations, str(condition): continuation}
    job.params = {key: value for key, value in job.params.items() if key != "writing"}
    session.commit()
    publish(study.id, "generation", generation.id)
    yield generation.new_tokens, missing - reported


def _model(
    session: Session, study: Study, generation: Generation, condition: Condition
) -> tuple[Splice | Rewriting, int]:
    """What a condition puts out, and how many latents it simulates for each new token."""
    match condition:
        case Condition.UNTOUCHED:
            return untouched, 0
        case Condition.ZERO:
            return zero, 0
        case _:
            return _rewriting(session, study, generation)


def _rewriting(session: Session, study: Study, generation: Generation) -> tuple[Rewriting, int]:
    """The latents that the generation rewrites, and how many of them can be simulated.

    Without a calibration there is nothing to turn simulated values into activations with: such a
    latent stays real, and all its values are missing.
    """
    explained = _explained(session, study, generation.explanation_ids)
    fitted_maps = calibrations_of(session, generation.explanation_ids, generation.simulator_id)
    maps = [fitted_maps[i].get(generation.calibration) for i in generation.explanation_ids]
    simulator = simulator_of(session.get_one(Simulator, generation.simulator_id), study)
    tokenizer = subject_of(study).tokenizer
    calibrated = [(column, fitted) for column, fitted in enumerate(maps) if fitted is not None]
    asks = [Ask(explained[column][0], latent=explained[column][1]) for column, _ in calibrated]

    def simulate(tokens: Sequence[int], start: int) -> Tensor:
        strings = token_texts(tokenizer, tokens)
        values = np.full((len(tokens) - start, len(maps)), np.nan)
        found = simulator.simulate(asks, [strings], first_position=first_position(study))
        for (column, fitted), simulated in zip(calibrated, found, strict=True):
            values[:, column] = fitted(simulated.values[0, start:])
        return torch.from_numpy(values).float()

    latents = torch.tensor([latent for _, latent in explained], dtype=torch.long)
    return Rewriting(latents, simulate), sum(fitted is not None for fitted in maps)


def _explained(session: Session, study: Study, ids: list[int]) -> list[tuple[str, int]]:
    """The text of each explanation, and the latent that it is of."""
    rows = session.execute(
        select(Explanation, Latent)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Explanation.id.in_(ids), Latent.study_id == study.id)
    )
    found = {explanation.id: (explanation.text, latent.index) for explanation, latent in rows}
    if unknown := [i for i in ids if i not in found]:
        raise InputError(f"This study has no explanation {unknown[0]}.")
    explained = [found[i] for i in ids]
    latents = [latent for _, latent in explained]
    if twice := [latent for latent in latents if latents.count(latent) > 1]:
        raise InputError(f"Two explanations are of latent {twice[0]}. Choose one of them.")
    return explained
