"""Measure points of a rewrite, or take them over from the rewrite before."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from interp.rewriting import splice
from interp.rewriting.evaluate import Kept, Known, evaluate
from interp.rewriting.outputs import sampled_outputs
from interp.rewriting.splice import Splice
from interp.scoring import statistics
from interp.vocabulary import Condition, ContextSet, Protocol
from models import Context, Rewrite, RewritePoint, Study
from workers.resources import coder_of, store_of, subject_of
from workers.tasks.rewrite.points import Planned, find, main_points
from workers.tasks.rewrite.values import SimulatedValues
from workers.tasks.rows import context_tokens, documents_of, fields, finite

RESAMPLED = 256
"""Contexts of the explain set whose outputs are drawn from in a resample ablation: they are run
up to the hookpoint once."""
AFTER_MAIN = (Condition.RESAMPLE, Condition.NOISE, Condition.REWRITTEN_ERROR_KEPT)
"""Conditions that the main point is compared with, and that are measured after it. A point is
written once, so they hold the comparison."""


class _Shared:
    """The means that rewrites on the same contexts share: one edit changes one latent's values."""

    def __init__(self, session: Session, study: Study, rewrite: Rewrite) -> None:
        protocol = Protocol(rewrite.protocol)
        ids, tokens = context_tokens(session, study, ContextSet.EVALUATE)
        place = {context_id: row for row, context_id in enumerate(ids)}
        self.key = _key(rewrite)
        self.tokens = tokens[[place[i] for i in rewrite.context_ids]]
        self.documents = documents_of(session, rewrite.context_ids)
        where = protocol.spliced(study.context_length, study.first_position)
        self.values = SimulatedValues(rewrite.simulator_id, rewrite.context_ids, where)
        self.kept = Kept()
        self.resampled: torch.Tensor | None = None
        """Outputs for a resample ablation, once it is measured."""


_shared: _Shared | None = None
"""Of the last rewrite that this process was at. A study's newest rewrite needs little more."""


def _key(rewrite: Rewrite) -> tuple[object, ...]:
    own = rewrite.study_id, rewrite.simulator_id, rewrite.protocol
    return *own, tuple(rewrite.context_ids)


def _shared_of(session: Session, study: Study, rewrite: Rewrite) -> _Shared:
    global _shared
    if _shared is None or _shared.key != _key(rewrite):
        _shared = None  # before the next one takes as much memory
        _shared = _Shared(session, study, rewrite)
    return _shared


def load(session: Session, study: Study) -> None:
    """Have in memory what the main point after an edit needs, if the layer was measured."""
    newest = session.scalar(
        select(Rewrite)
        .filter_by(study_id=study.id, simulator_id=study.simulator_id, protocol=str(Protocol.WHOLE))
        .order_by(Rewrite.id.desc())
        .limit(1)
    )
    if newest is None:
        return
    one = Measurement(session, study, newest)
    # Its predictions are kept, as those of every splice are compared with them.
    evaluate(
        one.subject,
        one.coder,
        one.tokens,
        [splice.untouched],
        protocol=one.protocol,
        first_position=study.first_position,
        kept=one.kept,
    )


class Measurement:
    """The means of measuring the points of one rewrite."""

    def __init__(
        self, session: Session, study: Study, rewrite: Rewrite, *, join: bool = False
    ) -> None:
        """
        Args:
            join: True takes over what is the same in the rewrite before, even if that is not the
                parent: a bulk job has the layer measured again, with more latents.
        """
        self.session, self.study, self.rewrite = session, study, rewrite
        self.parent = _parent(session, rewrite)
        before = self.parent or (_last(session, rewrite) if join else None)
        others = before, _last_finished(session, rewrite)
        self.earlier = [one for one in others if one is not None]
        self.subject, self.coder = subject_of(study), coder_of(study)
        self.protocol = Protocol(rewrite.protocol)
        shared = _shared_of(session, study, rewrite)
        self.tokens, self.documents, self.kept = shared.tokens, shared.documents, shared.kept
        self.values = shared.values
        self._shared = shared
        explanations = {i for one in (rewrite, *self.earlier) for i in one.explanation_ids}
        self.values.load(session, sorted(explanations))

    def _same_place(
        self, point: Planned, earlier: Rewrite | None
    ) -> tuple[Planned, RewritePoint] | None:
        """The point of an earlier rewrite that stands where this one does, if it was measured.

        The whole set stands where the whole set did, though an edit may have added a latent to it.
        """
        if earlier is None:
            return None
        count = len(point.explanation_ids)
        if count == self.rewrite.counts[-1]:
            count = earlier.counts[-1]
        order = earlier.orderings.get(point.ordering, [])
        before = point._replace(explanation_ids=tuple(order[:count]))
        found = find(self.session, earlier, before)
        return (before, found) if found is not None and found.kls is not None else None

    def copy(self, point: Planned) -> bool:
        """Take over an earlier rewrite's point if nothing that it depends on changed."""
        for earlier in self.earlier:
            there = self._same_place(point, earlier)
            if there is not None and self._unchanged(point, there[0]):
                self._copy(point, there[1])
                return True
        return False

    def _unchanged(self, point: Planned, before: Planned) -> bool:
        if set(before.explanation_ids) == set(point.explanation_ids):
            return True
        # Their values do not matter: only the latents do, and the tokens where a value is missing.
        return point.condition in (
            Condition.SET_ZEROED,
            Condition.SET_ZEROED_ERROR_KEPT,
            Condition.RANDOM_LATENTS,
        ) and self.values.alike(before.explanation_ids, point.explanation_ids)

    def _copy(self, point: Planned, found: RewritePoint) -> None:
        own = ("before", "rewritten")
        against = {k: v for k, v in found.statistics["against"].items() if k not in own}
        against |= self._compared({"rewritten": self._main(point)}, _as_stored(found.losses))
        same = ("fraction", "missing", "losses", "increase", "low", "high", "kls", "kl")
        self.session.add(
            RewritePoint(
                rewrite_id=self.rewrite.id,
                condition=str(point.condition),
                calibration=point.calibration,
                ordering=point.ordering,
                count=len(point.explanation_ids),
                **{name: getattr(found, name) for name in (*same, "kl_low", "kl_high")},
                statistics={**found.statistics, "against": against},
                copied_from=found.id,
            )
        )
        self.session.flush()

    def measure(self, points: Sequence[Planned]) -> None:
        """Run the model under the conditions of some points, and save them."""
        if not points:
            return
        evaluated = evaluate(
            self.subject,
            self.coder,
            self.tokens,
            [self._splice(point) for point in points],
            protocol=self.protocol,
            first_position=self.study.first_position,
            known=list(self._known(points)),
            kept=self.kept,
        )
        for point, losses, kls in zip(points, evaluated.loss, evaluated.kl, strict=True):
            self._save(point, losses, kls)

    def _splice(self, point: Planned) -> Splice:
        match point.condition:
            case Condition.UNTOUCHED:
                return splice.untouched
            case Condition.REAL_LATENTS:
                return splice.real_latents
            case Condition.ZERO:
                return splice.zero
            case Condition.NO_LATENTS:
                return splice.no_latents
            case Condition.MEAN:
                _, output = store_of(self.study, ContextSet.EXPLAIN).summary()
                return splice.mean(torch.as_tensor(output))
            case Condition.RESAMPLE:
                return splice.resample(self._resampled(), seed=self.rewrite.seed)
        return self.values.splice(
            point.condition,
            point.calibration,
            list(point.explanation_ids),
            seed=self.rewrite.seed,
        )

    def _resampled(self) -> torch.Tensor:
        """Outputs of the module on other text. No document of the explain set is measured on."""
        if self._shared.resampled is None:
            study, seed = self.study, self.rewrite.seed
            drawn = np.random.default_rng(seed).permutation(study.contexts_explain)[:RESAMPLED]
            tokens = self.session.scalars(
                select(Context.tokens)
                .where(
                    Context.study_id == study.id,
                    Context.set == str(ContextSet.EXPLAIN),
                    Context.index.in_(drawn.tolist()),
                )
                .order_by(Context.index)
            )
            self._shared.resampled = sampled_outputs(
                self.subject,
                torch.tensor(tokens.all()),
                protocol=self.protocol,
                first_position=study.first_position,
                seed=seed,
            )
        return self._shared.resampled

    def _known(self, points: Sequence[Planned]) -> Iterator[Known]:
        """Measured results that may be the same on many contexts. They are of the real latents, and
        of the same points before."""
        real = find(self.session, self.rewrite, Planned(Condition.REAL_LATENTS, "", "", ()))
        if real is not None:
            yield _as_known(splice.real_latents, real)
        for point in points:
            known = (self._same_place(point, earlier) for earlier in self.earlier)
            if there := next(filter(None, known), None):
                yield _as_known(self._splice(there[0]), there[1])

    def _save(self, point: Planned, losses: NDArray[np.float64], kls: NDArray[np.float64]) -> None:
        """Add a point with its statistics to the session."""
        losses = _as_stored(losses)
        seed = self.study.seed
        explanations = list(point.explanation_ids)
        untouched = self._losses(Planned(Condition.UNTOUCHED, "", "", ()))
        baseline = losses if untouched is None else untouched
        increase = statistics.mean_difference(losses, baseline, self.documents, seed=seed)
        kl = statistics.mean(kls, self.documents, seed=seed)
        self.session.add(
            RewritePoint(
                rewrite_id=self.rewrite.id,
                condition=str(point.condition),
                calibration=point.calibration,
                ordering=point.ordering,
                count=len(explanations),
                fraction=self.values.rewritten(explanations) / self.coder.num_latents,
                missing=self.values.missing(explanations),
                losses=losses.tolist(),
                increase=increase.value,
                low=increase.low,
                high=increase.high,
                kls=kls.tolist(),
                kl=kl.value,
                kl_low=kl.low,
                kl_high=kl.high,
                statistics=self._statistics(point, losses, baseline),
            )
        )
        self.session.flush()

    def _losses(self, point: Planned) -> NDArray[np.float64] | None:
        found = find(self.session, self.rewrite, point)
        return None if found is None else _as_stored(found.losses)

    def _main(self, point: Planned) -> NDArray[np.float64] | None:
        """The losses of the main point, for one that is measured after it."""
        if point.condition not in AFTER_MAIN:
            return None
        return self._losses(main_points(self.rewrite)[-1])

    def _compared(
        self, others: dict[str, NDArray[np.float64] | None], losses: NDArray[np.float64]
    ) -> dict[str, object]:
        """How losses compare with others, as far as these are there."""
        return {
            name: fields(statistics.compare(losses, other, self.documents, seed=self.study.seed))
            for name, other in others.items()
            if other is not None
        }

    def _statistics(
        self, point: Planned, losses: NDArray[np.float64], untouched: NDArray[np.float64]
    ) -> dict[str, object]:
        """Comparisons of a point with the others, see ``RewritePoint.statistics``."""
        zero = self._losses(Planned(Condition.ZERO, "", "", ()))
        none = self._losses(Planned(Condition.NO_LATENTS, "", "", ()))
        mean = self._losses(Planned(Condition.MEAN, "", "", ()))
        real = self._losses(Planned(Condition.REAL_LATENTS, "", "", ()))
        before = self._same_place(point, self.parent)
        error_kept = point.condition == Condition.REWRITTEN_ERROR_KEPT
        zeroed = Condition.SET_ZEROED_ERROR_KEPT if error_kept else Condition.SET_ZEROED
        others = {
            "real_latents": real,
            "zero": zero,
            "no_latents": none,
            "mean": mean,
            "set_zeroed": self._losses(point._replace(condition=zeroed, calibration="")),
            "rewritten": self._main(point),
            "before": None if before is None else _as_stored(before[1].losses),
        }
        seed, documents = self.study.seed, self.documents
        return {
            "effective_contexts": finite(
                statistics.effective_contexts(losses - untouched, documents)
            ),
            "against": self._compared(
                {name: other for name, other in others.items() if name != str(point.condition)},
                losses,
            ),
            "recovered": {
                name: fields(statistics.recovered(losses, worst, real, documents, seed=seed))
                for name, worst in (("no_latents", none), ("zero", zero))
                if worst is not None and real is not None
            },
        }


def _as_known(spliced: Splice, point: RewritePoint) -> Known:
    return Known(spliced, _as_stored(point.losses), np.array(point.kls, dtype=float))


def _as_stored(losses: ArrayLike) -> NDArray[np.float64]:
    """Losses rounded as the table rounds them, so that equal ones differ by nothing."""
    return np.asarray(losses, dtype=np.float32).astype(np.float64)


def _parent(session: Session, rewrite: Rewrite) -> Rewrite | None:
    parent = session.get(Rewrite, rewrite.parent_id) if rewrite.parent_id else None
    return parent if parent is not None and _comparable(rewrite, parent) else None


def _last_finished(session: Session, rewrite: Rewrite) -> Rewrite | None:
    """The last rewrite before an edit's with all of its points: those in between were
    superseded."""
    if rewrite.parent_id is None:
        return None
    return _last(session, rewrite, Rewrite.finished.is_(True), Rewrite.id != rewrite.parent_id)


def _last(session: Session, rewrite: Rewrite, *which: ColumnElement[bool]) -> Rewrite | None:
    """The last rewrite before this one whose figures can be taken over, of some."""
    same = ("study_id", "simulator_id", "protocol", "author")
    found = session.scalar(
        select(Rewrite)
        .filter_by(**{name: getattr(rewrite, name) for name in same})
        .where(Rewrite.id < rewrite.id, *which)
        .order_by(Rewrite.id.desc())
        .limit(1)
    )
    return found if found is not None and _comparable(rewrite, found) else None


def _comparable(rewrite: Rewrite, earlier: Rewrite) -> bool:
    """True if an earlier rewrite's figures can be taken over."""
    same = ("context_ids", "seed", "simulator_id", "code_version")
    return all(getattr(earlier, name) == getattr(rewrite, name) for name in same)
