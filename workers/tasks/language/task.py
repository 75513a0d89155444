"""Test which part of the explanations a simulator goes by.

Every explanation is reworded by rules, and simulated, calibrated and rewritten anew under each.
A simulator that reads language keeps its figures under a paraphrase, and loses them under another
latent's explanation.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.explain.rewording import digest, label
from interp.rewriting import splice
from interp.rewriting.evaluate import evaluate
from interp.scoring import statistics
from interp.simulate.protocol import Ask
from interp.simulate.registry import SIMULATORS
from interp.vocabulary import Condition, ContextSet, Protocol
from jobs.events import publish
from jobs.params import LanguageParams
from models import Job, LanguageTest, LanguageVariant, Simulator, Study
from models.folders import check_path
from workers.named import may_load
from workers.resources import coder_of, subject_of
from workers.task import Done, Task, Unit, remember, runs
from workers.tasks.language import variants as texts
from workers.tasks.language.raw import Raw
from workers.tasks.language.variants import Tested, Texts
from workers.tasks.parts import Measured, Parts, remove_left
from workers.tasks.rows import context_tokens, documents_of, fields, finite
from workers.version import code_version

CONTEXTS = 8
"""Contexts whose losses are measured in one unit."""
FOLDER = "language"
"""Of the parts of tests that are not finished, in the study's folder."""
BASELINES = [Condition.UNTOUCHED, Condition.REAL_LATENTS, Condition.SET_ZEROED]


class Language(Task):
    """Simulates every variant in blocks of explanations, then measures all of them together.

    The blocks of all variants are numbered through: those of the original come first.
    """

    counts = "steps"

    def __init__(self, asked: LanguageParams) -> None:
        self.asked = asked
        self._tested: Tested | None = None
        self._variants: list[Texts] = []
        self._raw: Raw | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Draw the explanations, once, and read the variants.

        Raises:
            InputError: Nothing is simulated, or the file of variants cannot be read.
        """
        if "explanation_ids" not in job.state:
            ids = texts.draw(session, study, self.asked.latents)
            file = self._file()
            own = {"explanation_ids": ids, "simulator_id": study.simulator_id}
            remember(session, job, **own, **({} if file is None else {"file_sha256": digest(file)}))
            remove_left(session, study, FOLDER)
        self._read(session, job, study)
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """The blocks of each variant, then the contexts."""
        parts, ended = _parts(job, study), "test_id" in job.state
        blocks = [
            _unit("explanations", run, ended or parts.has_block(run.start))
            for place in range(len(self._variants))
            for run in self._blocks(session, job, place)
        ]
        contexts = [
            _unit("contexts", run, ended or parts.has_contexts(run.start))
            for run in runs(study.contexts_rewrite, CONTEXTS)
        ]
        return [*blocks, *contexts]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Simulate a block of explanations under a variant, or measure all on some contexts."""
        if unit.name == "contexts":
            self._measure(session, job, study, unit)
            return Done("measuring")
        return self._simulate(session, job, study, unit)

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Keep the figures, and remove the parts."""
        if "test_id" not in job.state:
            self._read(session, job, study)
            test = self._conclude(session, job, study)
            remember(session, job, test_id=test.id)
            session.commit()
        _parts(job, study).remove()
        publish(study.id, "language")

    def _read(self, session: Session, job: Job, study: Study) -> Tested:
        if self._tested is None:
            file = self._file()
            if file is not None and digest(file) != job.state["file_sha256"]:
                raise InputError(
                    f"{file.name} has changed since this test began: its figures would be of two "
                    "files. Test again."
                )
            if session.get(Simulator, job.state["simulator_id"]) is None:
                raise InputError("The simulator of this test was deleted. Test again.")
            tested = texts.tested(session, job.state["explanation_ids"])
            if len(tested.ids) < len(job.state["explanation_ids"]):
                raise InputError("An explanation of this test was removed. Test again.")
            self._tested = tested
            self._variants = texts.variants(tested, file, seed=study.seed)
        return self._tested

    def _file(self) -> Path | None:
        """The file of variants, if there is one."""
        if not self.asked.path:
            return None
        may_load(check_path, self.asked.path)
        return Path(self.asked.path)

    def _blocks(self, session: Session, job: Job, place: int) -> list[range]:
        """The runs of a variant among all explanations of all variants."""
        count, size = len(job.state["explanation_ids"]), _batch(session, job)
        before = place * count
        return [range(before + run.start, before + run.stop) for run in runs(count, size)]

    def _simulate(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        tested, parts = self._read(session, job, study), _parts(job, study)
        place, first = divmod(unit.start, len(tested.ids))
        rows = range(first, first + unit.size)
        variant = self._variants[place]
        if self._raw is None:
            simulator = session.get_one(Simulator, job.state["simulator_id"])
            self._raw = Raw.of(session, study, simulator)
        raw = self._raw
        there = [row for row in rows if tested.latents[row] in variant.texts]
        latents = [tested.latents[row] for row in there]
        if place == 0:
            pairs, spent = raw.stored([tested.ids[row] for row in there]), Done()
        else:
            pairs, spent = raw.simulated([Ask(variant.texts[i], None, i) for i in latents])
        correlations = np.full(len(rows), np.nan)
        # Texts that a file lacks keep the original, whose blocks come first.
        values = np.array(parts.values(first)) if place else raw.nothing(len(rows))
        for row, latent, pair in zip(there, latents, pairs, strict=True):
            column = row - first
            correlations[column], values[:, :, column] = raw.calibrated(latent, pair)
        parts.save_block(unit.start, values, correlations)
        return spent._replace(message=f"simulating: {label(variant.name, given=variant.given)}")

    def _measure(self, session: Session, job: Job, study: Study, unit: Unit) -> None:
        tested, parts = self._read(session, job, study), _parts(job, study)
        values = [
            parts.spliced(
                [run.start for run in self._blocks(session, job, place)],
                list(tested.latents),
            )
            for place in range(len(self._variants))
        ]
        measured = evaluate(
            subject_of(study),
            coder_of(study),
            context_tokens(session, study, ContextSet.EVALUATE)[1],
            [
                splice.untouched,
                splice.real_latents,
                splice.set_zeroed(values[0]),
                *map(splice.rewritten, values),
            ],
            protocol=Protocol.WHOLE,
            first_position=study.first_position,
            rows=range(unit.start, unit.stop),
        )
        parts.save_contexts(unit.start, Measured(measured.loss, measured.kl))

    def _conclude(self, session: Session, job: Job, study: Study) -> LanguageTest:
        tested, parts = self._read(session, job, study), _parts(job, study)
        losses, kls = parts.contexts([run.start for run in runs(study.contexts_rewrite, CONTEXTS)])
        context_ids = context_tokens(session, study, ContextSet.EVALUATE)[0]
        context_ids = context_ids[: study.contexts_rewrite]
        figures = _Figures(losses, documents_of(session, context_ids), study.seed)
        test = LanguageTest(
            study_id=study.id,
            simulator_id=job.state["simulator_id"],
            explanation_ids=list(tested.ids),
            context_ids=context_ids,
            seed=study.seed,
            baselines={
                str(condition): {
                    "losses": [finite(float(x)) for x in losses[row]],
                    "kls": [finite(float(x)) for x in kls[row]],
                    **figures.of(losses[row], kls[row]),
                }
                for row, condition in enumerate(BASELINES)
            },
            code_version=code_version(),
        )
        session.add(test)
        session.flush()
        original = None
        for place, variant in enumerate(self._variants):
            blocks = [run.start for run in self._blocks(session, job, place)]
            correlations = np.concatenate([parts.correlations(start) for start in blocks])
            original = correlations if original is None else original
            missing = parts.missing(blocks)
            example = tested.example
            if example not in variant.texts:
                example = next(iter(variant.texts))
            row = len(BASELINES) + place
            session.add(
                LanguageVariant(
                    test_id=test.id,
                    place=place,
                    name=variant.name,
                    given=variant.given,
                    latent=example,
                    text=variant.texts[example],
                    explanations=len(variant.texts),
                    nothing_left=variant.nothing_left,
                    missing=missing,
                    correlations=correlations.tolist(),
                    losses=losses[row].tolist(),
                    kls=kls[row].tolist(),
                    figures={
                        **_kept(correlations, original, study.seed),
                        **figures.of(losses[row], kls[row]),
                        "recovered": figures.recovered(losses[row]),
                    },
                )
            )
        return test


class _Figures:
    """What the losses of a splice come to, over documents."""

    def __init__(
        self, losses: Float[np.ndarray, "splice context"], documents: list[str], seed: int
    ) -> None:
        self.untouched, self.real, self.zeroed = losses[: len(BASELINES)]
        self.documents, self.seed = documents, seed

    def of(self, losses: ArrayLike, kls: ArrayLike) -> dict[str, dict[str, float | None]]:
        increase = statistics.mean_difference(
            losses, self.untouched, self.documents, seed=self.seed
        )
        kl = statistics.mean(kls, self.documents, seed=self.seed)
        return {"increase": fields(increase), "kl": fields(kl)}

    def recovered(self, losses: ArrayLike) -> dict[str, float | None]:
        return fields(
            statistics.recovered(losses, self.zeroed, self.real, self.documents, seed=self.seed)
        )


def _kept(
    correlations: Float[np.ndarray, "explanation"],
    original: Float[np.ndarray, "explanation"],
    seed: int,
) -> dict[str, dict[str, float | None]]:
    """The mean correlation, and its share of the original's on the same latents. Latents are
    independent here, as the question is how other latents would fare."""
    both = ~np.isnan(correlations) & ~np.isnan(original)
    those, before = correlations[both], original[both]
    if not both.any():
        return dict.fromkeys(("correlation", "kept"), fields(statistics.UNDEFINED))
    latents = list(range(len(those)))
    return {
        "correlation": fields(statistics.mean(those, latents, seed=seed)),
        "kept": fields(statistics.ratio(those, before, latents, seed=seed)),
    }


def _parts(job: Job, study: Study) -> Parts:
    return Parts.of(job, study, FOLDER)


def _unit(name: str, run: range, done: bool) -> Unit:
    return Unit(name, run.start, run.stop, len(run) if done else 0)


def _batch(session: Session, job: Job) -> int:
    """Explanations that the simulator takes at once."""
    method = session.get_one(Simulator, job.state["simulator_id"]).method
    return SIMULATORS.named(method).batch
