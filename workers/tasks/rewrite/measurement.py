"""Measure points of a rewrite on the panel, or take them over from the rewrite before."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.rewriting import splice
from interp.rewriting.evaluate import Kept, Known, evaluate
from interp.rewriting.outputs import sampled_outputs
from interp.rewriting.splice import Splice
from interp.vocabulary import Condition, ContextSet, Protocol
from models import Context, Rewrite, RewritePoint, Study
from workers.resources import coder_of, store_of, subject_of
from workers.tasks.rewrite.points import BASELINES, Planned, find
from workers.tasks.rewrite.record import Record, as_stored, last, parent_of
from workers.tasks.rewrite.values import SimulatedValues
from workers.tasks.rows import context_tokens, documents_of

RESAMPLED = 256
"""Contexts of the explain set whose outputs are drawn from in a resample ablation: they are run
up to the hookpoint once."""


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
        parent = parent_of(session, rewrite)
        before = parent or (last(session, rewrite) if join else None)
        others = before, _last_finished(session, rewrite)
        self.earlier = [one for one in others if one is not None]
        self.subject, self.coder = subject_of(study), coder_of(study)
        self.protocol = Protocol(rewrite.protocol)
        shared = _shared_of(session, study, rewrite)
        self.tokens, self.kept, self.values = shared.tokens, shared.kept, shared.values
        self.record = Record(session, study, rewrite, parent, shared.documents)
        self._shared = shared
        explanations = {i for one in (rewrite, *self.earlier) for i in one.explanation_ids}
        self.values.load(session, sorted(explanations))

    def copy(self, point: Planned) -> bool:
        """Take over an earlier rewrite's point if nothing that it depends on changed."""
        for earlier in self.earlier:
            there = self.record.same_place(point, earlier)
            if there is not None and self._unchanged(point, there[0]):
                self.record.copy(point, there[1])
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
            explanations = list(point.explanation_ids)
            self.record.save(
                point,
                losses,
                kls,
                rewritten=self.values.rewritten(explanations),
                missing=self.values.missing(explanations),
            )

    def _splice(self, point: Planned) -> Splice:
        if point.condition in BASELINES:
            return baseline_splice(self.study, point.condition)
        if point.condition == Condition.RESAMPLE:
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
            known = (self.record.same_place(point, earlier) for earlier in self.earlier)
            if there := next(filter(None, known), None):
                yield _as_known(self._splice(there[0]), there[1])


def baseline_splice(study: Study, condition: Condition) -> Splice:
    """The splice of a baseline that needs no other text than the context's own."""
    match condition:
        case Condition.UNTOUCHED:
            return splice.untouched
        case Condition.REAL_LATENTS:
            return splice.real_latents
        case Condition.ZERO:
            return splice.zero
        case Condition.NO_LATENTS:
            return splice.no_latents
        case Condition.MEAN:
            _, output = store_of(study, ContextSet.EXPLAIN).summary()
            return splice.mean(torch.as_tensor(output))
    raise ValueError(f"{condition} has a set of latents, or draws from other text")


def _as_known(spliced: Splice, point: RewritePoint) -> Known:
    return Known(spliced, as_stored(point.losses), np.array(point.kls, dtype=float))


def _last_finished(session: Session, rewrite: Rewrite) -> Rewrite | None:
    """The last rewrite before an edit's with all of its points: those in between were
    superseded."""
    if rewrite.parent_id is None:
        return None
    return last(session, rewrite, Rewrite.finished.is_(True), Rewrite.id != rewrite.parent_id)
