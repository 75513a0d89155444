"""Estimate the loss effects of all simulated latents at once, to first order, and the error budget
of the layer from them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from interp.corpus.activations import StoreError
from interp.errors import InputError
from interp.rewriting.attribution import attribute, means
from interp.rewriting.budget import (
    CALIBRATE_TOKENS,
    FIRING_RATES,
    bands,
    budget,
    kind_of,
    kinds,
)
from interp.scoring.statistics import Estimate
from interp.vocabulary import (
    BudgetSplit,
    CalibrationMethod,
    ContextSet,
    LatentKind,
    Linearisation,
    PredictionError,
    Protocol,
    ScoreName,
)
from jobs import chain
from jobs.events import publish
from jobs.log import note
from jobs.params import AttributeParams
from jobs.queue import follow
from models import (
    Attribution,
    AttributionPart,
    BudgetEntry,
    EstimatedEffect,
    Explanation,
    Job,
    Latent,
    LossEffect,
    Score,
    Simulation,
    Study,
)
from models.base import among
from workers.resources import coder_of, store_of, subject_of
from workers.task import Done, Task, Unit, remember, runs
from workers.tasks.rewrite.values import SimulatedValues
from workers.tasks.rows import context_tokens, documents_of, finite
from workers.version import code_version

CONTEXTS, LATENTS = 4, 512
"""Contexts run, and latents averaged, in one unit of work."""
DOING = {"contexts": "estimating", "latents": "averaging", "budget": "splitting by error"}
TOP, SPREAD = 16, 32
"""Latents whose loss effects are measured exactly afterwards: those with the largest estimates, and
others at even steps of the ranking, to tell how well the estimates agree."""
FEW, SHARE = 8, 0.05
"""A job that renews the estimates does so if so many explanations lack one, or such a share."""


class Attribute(Task):
    """Estimates the effects on a block of contexts, then averages a block of latents, then makes
    the error budget."""

    counts = "contexts and latents"

    def __init__(self, asked: AttributeParams) -> None:
        self.asked = asked
        self._values: SimulatedValues | None = None
        self._effects: Float[np.ndarray, "point context explanation"] | None = None

    def prepare(self, session: Session, job: Job, study: Study) -> None:
        """Make the row of the attribution, once: its explanations stay as they are then."""
        if "attribution_id" in job.state:
            return
        simulator_id = self.asked.simulator_id or study.simulator_id
        if simulator_id is None:
            raise InputError("This study has no simulator yet. Run its collect job first.")
        current = _simulated(session, study, simulator_id)
        if not current:
            raise InputError(
                "No explanation of this study has been simulated yet. Simulate some first."
            )
        if self.asked.renew and not _outdated(session, study, simulator_id, current):
            return
        row = Attribution(
            study_id=study.id,
            simulator_id=simulator_id,
            explanation_ids=current,
            context_ids=context_tokens(session, study, ContextSet.EVALUATE)[0][
                : study.contexts_rewrite
            ],
            seed=study.seed,
            code_version=code_version(),
        )
        session.add(row)
        session.flush()
        remember(session, job, attribution_id=row.id)
        session.commit()

    def plan(self, session: Session, job: Job, study: Study) -> Sequence[Unit]:
        """Blocks of contexts, blocks of latents, the budget. None if few explanations have changed,
        or if a newer attribution was finished meanwhile: it took the place of this one."""
        row = _row(session, job)
        if row is None:
            return []
        parts = set(
            session.scalars(
                select(AttributionPart.start).where(AttributionPart.attribution_id == row.id)
            )
        )
        averaged = session.scalar(
            select(func.count())
            .select_from(EstimatedEffect)
            .where(
                EstimatedEffect.attribution_id == row.id,
                EstimatedEffect.point == Linearisation.REAL_LATENTS,
            )
        )
        contexts, latents = len(row.context_ids), len(row.explanation_ids)
        if row.finished:  # and its parts are removed
            parts = set(range(contexts))
        return [
            *(
                Unit(
                    "contexts", i, min(i + CONTEXTS, contexts), _size(i, CONTEXTS, contexts, parts)
                )
                for i in range(0, contexts, CONTEXTS)
            ),
            *(
                Unit("latents", i, stop, stop - i if stop <= (averaged or 0) else 0)
                for i in range(0, latents, LATENTS)
                for stop in [min(i + LATENTS, latents)]
            ),
            Unit("budget", 0, 1, int(row.finished or row.increases is not None)),
        ]

    def do(self, session: Session, job: Job, study: Study, unit: Unit) -> Done:
        """Do one block, and commit it."""
        row = _row(session, job)
        if row is None:
            return Done()  # a newer one took its place meanwhile
        match unit.name:
            case "contexts":
                self._run(session, study, row, unit)
            case "latents":
                self._average(session, row, unit)
            case "budget":
                _budget(session, job, study, row)
        session.commit()
        return Done(DOING[unit.name])

    def finish(self, session: Session, job: Job, study: Study) -> None:
        """Let it stand as the newest, in the place of earlier ones."""
        row = _row(session, job)
        if row is None:
            return
        if not row.finished:
            remember(session, job, measure=_to_measure(session, row))
        row.finished = True
        session.execute(delete(AttributionPart).where(AttributionPart.attribution_id == row.id))
        session.execute(
            delete(Attribution).where(
                Attribution.study_id == study.id,
                Attribution.simulator_id == row.simulator_id,
                Attribution.id < row.id,
            )
        )
        session.commit()
        publish(study.id, "latents")
        follow(session, job, "last", chain.after(self.asked, job.state))

    def _run(self, session: Session, study: Study, row: Attribution, unit: Unit) -> None:
        where = Protocol.WHOLE.spliced(study.context_length, study.first_position)
        if self._values is None:
            self._values = SimulatedValues(row.simulator_id, row.context_ids, where)
            self._values.load(session, row.explanation_ids)
        ids, tokens = context_tokens(session, study, ContextSet.EVALUATE)
        place = {context_id: number for number, context_id in enumerate(ids)}
        found = attribute(
            subject_of(study),
            coder_of(study),
            tokens[[place[i] for i in row.context_ids]],
            self._values.values(str(CalibrationMethod.ISOTONIC), row.explanation_ids),
            protocol=Protocol.WHOLE,
            first_position=study.first_position,
            rows=range(unit.start, unit.stop),
            predicted=self._values.values(str(CalibrationMethod.QUANTILE), row.explanation_ids),
        )
        session.add(
            AttributionPart(
                attribution_id=row.id,
                start=unit.start,
                effects=np.concatenate([found.effects[point] for point in Linearisation]),
                errors=np.concatenate([found.errors[error] for error in PredictionError]),
                increases=(found.rewritten - found.real).tolist(),
            )
        )

    def _average(self, session: Session, row: Attribution, unit: Unit) -> None:
        if self._effects is None:
            parts = session.scalars(
                select(AttributionPart.effects)
                .where(AttributionPart.attribution_id == row.id)
                .order_by(AttributionPart.start)
            )
            shape = len(Linearisation), -1, len(row.explanation_ids)
            self._effects = np.concatenate([part.reshape(shape) for part in parts], axis=1)
        explanations = row.explanation_ids[unit.start : unit.stop]
        documents = documents_of(session, row.context_ids)
        rows = []
        for point, effects in zip(
            Linearisation, self._effects[:, :, unit.start : unit.stop], strict=True
        ):
            for number, each, one in zip(
                explanations, effects.T, means(effects, documents, seed=row.seed), strict=True
            ):
                mean, low, high = map(finite, one)
                rows.append(
                    {
                        "attribution_id": row.id,
                        "point": str(point),
                        "explanation_id": number,
                        "effects": each.tolist(),
                        "mean": mean,
                        "low": low,
                        "high": high,
                    }
                )
        session.execute(insert(EstimatedEffect), rows)


def _budget(session: Session, job: Job, study: Study, row: Attribution) -> None:
    """Sum the effects along the path by error and by group of latents."""
    parts = session.scalars(
        select(AttributionPart)
        .where(AttributionPart.attribution_id == row.id)
        .order_by(AttributionPart.start)
    ).all()
    shape = len(PredictionError), -1, len(row.explanation_ids)
    errors = np.concatenate([part.errors.reshape(shape) for part in parts], axis=1)
    entries = budget(
        dict(zip(PredictionError, errors, strict=True)),
        _groups(session, job, study, row),
        documents_of(session, row.context_ids),
        seed=row.seed,
    )
    rows = [
        {
            "attribution_id": row.id,
            "place": place,
            "split": str(one.split),
            "group": one.group,
            "error": str(one.error or ""),
            "latents": one.latents,
            "effects": one.effects.tolist(),
            **_columns("mean", "", one.increase),
            **_columns("share", "share_", one.share),
        }
        for place, one in enumerate(entries)
    ]
    session.execute(insert(BudgetEntry), rows)
    row.increases = [value for part in parts for value in part.increases]


def _columns(name: str, before: str, found: Estimate) -> dict[str, float | None]:
    value, low, high = map(finite, found)
    return {name: value, f"{before}low": low, f"{before}high": high}


def _groups(
    session: Session, job: Job, study: Study, row: Attribution
) -> dict[BudgetSplit, list[tuple[str, np.ndarray]]]:
    """The groups of an attribution's latents. Without their kinds, if the activations of the
    explain set are lost."""
    found = session.execute(
        select(
            Explanation.id, Latent.index, Latent.firing_rate, Score.details["active"].as_integer()
        )
        .join(Latent, Latent.id == Explanation.latent_id)
        .outerjoin(
            Score,
            (Score.explanation_id == Explanation.id)
            & (Score.simulator_id == row.simulator_id)
            & (Score.name == str(ScoreName.CORRELATION)),
        )
        .where(among(Explanation.id, row.explanation_ids))
    )
    of = {number: some for number, *some in found}
    rates = np.array([of[number][1] for number in row.explanation_ids], dtype=float)
    active = np.array([of[number][2] for number in row.explanation_ids], dtype=float)
    groups = {
        BudgetSplit.FIRING_RATE: bands(rates, FIRING_RATES),
        BudgetSplit.CALIBRATE_TOKENS: bands(active, CALIBRATE_TOKENS),
    }
    try:
        every = _kinds(session, study)
    except StoreError as error:
        note(session, job.id, f"The error budget has no kinds of latents. {error}")
        return groups
    return groups | {
        BudgetSplit.KIND: kinds([every[of[number][0]] for number in row.explanation_ids])
    }


def _kinds(session: Session, study: Study) -> list[LatentKind]:
    """The kind of every latent of the study."""
    tokens = context_tokens(session, study, ContextSet.EXPLAIN)[1].numpy()
    store = store_of(study, ContextSet.EXPLAIN)
    latents = study.coder_info["num_latents"]
    return [
        kind_of(latent, tokens)
        for block in runs(latents, LATENTS)
        for latent in store.read(range(block.start, block.stop))
    ]


def _to_measure(session: Session, row: Attribution) -> list[int]:
    """The explanations whose loss effects are to be measured exactly, without those that are."""
    ranked = session.scalars(
        select(EstimatedEffect.explanation_id)
        .where(
            EstimatedEffect.attribution_id == row.id,
            EstimatedEffect.point == Linearisation.REAL_LATENTS,
            EstimatedEffect.mean.is_not(None),
        )
        .order_by(EstimatedEffect.mean.desc(), EstimatedEffect.explanation_id)
    ).all()
    steps: list[int] = np.linspace(0, len(ranked) - 1, SPREAD).round().astype(int).tolist()
    wanted = dict.fromkeys([*ranked[:TOP], *(ranked[step] for step in steps if ranked)])
    measured = session.scalars(
        select(LossEffect.explanation_id).where(
            LossEffect.explanation_id.in_(wanted), LossEffect.simulator_id == row.simulator_id
        )
    )
    there = set(measured)
    return [number for number in wanted if number not in there]


def _size(start: int, size: int, total: int, there: set[int]) -> int:
    return min(size, total - start) if start in there else 0


def _row(session: Session, job: Job) -> Attribution | None:
    """The attribution of a job, if there is one. No newer one removes it before this transaction
    ends."""
    number = job.state.get("attribution_id")
    keep = {"key_share": True}
    return session.get(Attribution, number, with_for_update=keep) if number else None


def _simulated(session: Session, study: Study, simulator_id: int) -> list[int]:
    """The current explanations that are simulated on the evaluate set."""
    return list(
        session.scalars(
            select(Explanation.id)
            .join(Latent, Latent.explanation_id == Explanation.id)
            .join(Simulation, Simulation.explanation_id == Explanation.id)
            .where(
                Latent.study_id == study.id,
                Simulation.simulator_id == simulator_id,
                Simulation.set == str(ContextSet.EVALUATE),
            )
            .order_by(Latent.index)
        )
    )


def _outdated(session: Session, study: Study, simulator_id: int, current: list[int]) -> bool:
    """Whether enough explanations lack an estimate to make all of them anew, or there is no error
    budget yet."""
    newest = session.scalar(
        select(Attribution)
        .where(
            Attribution.study_id == study.id,
            Attribution.simulator_id == simulator_id,
            Attribution.finished,
        )
        .order_by(Attribution.id.desc())
        .limit(1)
    )
    if newest is None or newest.increases is None:
        return True
    lacking = len(set(current) - set(newest.explanation_ids))
    return lacking >= min(FEW, max(1, SHARE * len(current)))
