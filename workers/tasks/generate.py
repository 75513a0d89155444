"""Write on from a prompt with the untouched, the zero-ablated and the rewritten model."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from interp.errors import InputError
from interp.rewriting.generate import Rewriting, encode_prompt, write
from interp.rewriting.splice import Splice, untouched, zero
from interp.simulate.protocol import Ask
from interp.vocabulary import Condition
from jobs.events import publish
from jobs.params import GenerateParams
from models import Explanation, Generation, Job, Latent, Simulator, Study
from workers.resources import coder_of, simulator_of, subject_of
from workers.task import Done, Task, Unit, forget, remember
from workers.tasks.rows import calibrations_of, token_texts
from workers.version import code_version

CONDITIONS = (Condition.UNTOUCHED, Condition.ZERO, Condition.REWRITTEN)
SECONDS = 1.0
"""A continuation is saved about this often while it is written."""


class Generate(Task):
    """Writes three continuations. Each is a unit, which is saved about every second.

    A continuation is added to the generation when it is done. Until then its tokens are kept in the
    job's ``writing``, so that a job which is cut short goes on with the next token.
    """

    counts = "tokens"

    def __init__(self, asked: GenerateParams) -> None:
        self.asked = asked
        self._pen: _Pen | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """See that the prompt can be written on from."""
        generation = self._generation(session, study)
        prompt = _prompt(study, generation)
        generation.prompt_tokens = len(prompt) - study.prepend_bos
        generation.code_version = code_version()
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """The continuations. One that is done counts as long as was asked for, even if its text
        ended before."""
        generation = self._generation(session, study)
        size, writing = generation.new_tokens, job.state.get("writing", {})
        units = []
        for condition in CONDITIONS:
            done = 0
            if condition in generation.continuations:
                done = size
            elif writing.get("condition") == condition:
                done = min(len(writing["tokens"]), size - 1)  # it is not added yet
            units.append(Unit(str(condition), 0, size, done))
        return units

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Write on for about a second, or to the end."""
        generation = self._generation(session, study)
        if unit.name in generation.continuations:
            return Done()
        condition = Condition(unit.name)
        if self._pen is None or self._pen.condition != condition:
            saved = job.state.get("writing", {})
            begun = saved if saved.get("condition") == condition else {}
            self._pen = _Pen(session, study, generation, condition, begun)
        pen = self._pen
        missing, message = pen.missing, f"writing with the {condition} model"
        if not pen.write():
            remember(session, job, writing=pen.saved())
            session.commit()
            return Done(message, pen.missing - missing, part=len(pen.tokens))
        made = {**generation.continuations, str(condition): pen.continuation()}
        generation.continuations = made
        forget(session, job, "writing")
        session.commit()
        publish(study.id, "generation", generation.id)
        return Done(message, pen.missing - missing)

    def _generation(self, session: Session, study: Study) -> Generation:
        generation = session.get(Generation, self.asked.generation_id)
        if generation is None or generation.study_id != study.id:
            raise InputError("This generation is not there any more. Start a new one.")
        return generation


def _prompt(study: Study, generation: Generation) -> list[int]:
    return encode_prompt(
        subject_of(study),
        generation.prompt,
        prepend_bos=study.prepend_bos,
        new_tokens=generation.new_tokens,
    )


class _Pen:
    """A continuation in the making. It keeps the model's cache from token to token.

    Args:
        begun: The notes of an earlier pen on the same continuation.
    """

    def __init__(
        self,
        session: Session,
        study: Study,
        generation: Generation,
        condition: Condition,
        begun: dict[str, Any],
    ) -> None:
        self.condition = condition
        self.tokens: list[int] = list(begun.get("tokens", []))
        self.missing: int = begun.get("missing", 0)
        """Values that came out missing so far."""
        self._seconds: float = begun.get("seconds", 0.0)
        self._new_tokens = generation.new_tokens
        self._prompt = _prompt(study, generation)
        self._tokenizer = subject_of(study).tokenizer
        model, self._simulated = _model(session, study, generation, condition)
        self._written = write(
            subject_of(study),
            coder_of(study),
            self._prompt,
            model,
            first_position=study.first_position,
            new_tokens=generation.new_tokens,
            temperature=generation.temperature,
            seed=generation.seed,
            written=tuple(self.tokens),
        )

    def write(self) -> bool:
        """Write for about a second. True if the continuation is at its end."""
        since = time.monotonic()
        ended = True
        for token, missing in self._written:
            self.tokens.append(token)
            self.missing = missing
            # The last token ends it, however long it took.
            if time.monotonic() - since >= SECONDS and len(self.tokens) < self._new_tokens:
                ended = False
                break
        self._seconds += time.monotonic() - since
        return ended

    def saved(self) -> dict[str, Any]:
        """The notes with which another pen can go on."""
        return {
            "condition": str(self.condition),
            "tokens": list(self.tokens),
            "missing": self.missing,
            "seconds": self._seconds,
        }

    def continuation(self) -> dict[str, Any]:
        """The part of the continuation that is kept."""
        texts = token_texts(self._tokenizer, [*self._prompt, *self.tokens])
        return {
            # Behind the prompt: its last token may be the beginning of a character.
            "tokens": texts[len(self._prompt) :],
            "simulations": self._simulated * len(self.tokens),
            "missing": self.missing,
            "seconds": self._seconds,
        }


def _model(
    session: Session, study: Study, generation: Generation, condition: Condition
) -> tuple[Splice | Rewriting, int]:
    """The output of a condition, and the number of latents that it simulates for each new token."""
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
        found = simulator.simulate(asks, [strings], first_position=study.first_position)
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
