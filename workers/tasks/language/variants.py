"""The explanations of a language test under each of its variants."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from interp.errors import InputError
from interp.explain.rewording import GENERIC, given, quotations, reworded
from interp.vocabulary import ContextSet, Variant
from models import Explanation, Latent, Simulation, Study
from models.base import among


class Texts(NamedTuple):
    """The texts of one variant, by the index of the latent. A file may have none for some."""

    name: str
    given: bool
    texts: Mapping[int, str]

    @property
    def nothing_left(self) -> int:
        """The number of texts of which a rule left nothing."""
        if self.given or self.name == Variant.GENERIC:
            return 0
        return sum(text == GENERIC for text in self.texts.values())


class Tested(NamedTuple):
    """The explanations of a test, and their latents, in one order."""

    ids: Sequence[int]
    latents: Sequence[int]
    """Indices."""
    texts: Sequence[str]

    @property
    def example(self) -> int:
        """The latent that stands as an example: the first with a quotation, if there is one."""
        pairs = zip(self.latents, self.texts, strict=True)
        return next((latent for latent, text in pairs if quotations(text)), self.latents[0])


def draw(session: Session, study: Study, count: int | None) -> list[int]:
    """The current explanations that are simulated, or so many of them: the seed draws them.

    Raises:
        InputError: None is simulated.
    """
    calibrate, evaluate = aliased(Simulation), aliased(Simulation)
    query = select(Explanation.id).join(Latent, Latent.explanation_id == Explanation.id)
    for table, context_set in ((calibrate, ContextSet.CALIBRATE), (evaluate, ContextSet.EVALUATE)):
        query = query.join(
            table,
            (table.explanation_id == Explanation.id)
            & (table.simulator_id == study.simulator_id)
            & (table.set == str(context_set)),
        )
    drawn = func.md5(func.concat(study.seed, " ", Explanation.id))
    query = query.where(Latent.study_id == study.id).order_by(drawn, Explanation.id).limit(count)
    ids = sorted(session.scalars(query))
    if not ids:
        raise InputError(
            "No explanation of this study has been simulated yet. Simulate some first."
        )
    return ids


def tested(session: Session, ids: Sequence[int]) -> Tested:
    """Some explanations with their latents."""
    rows = session.execute(
        select(Explanation.id, Latent.index.label("latent"), Explanation.text)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(among(Explanation.id, ids))
        .order_by(Explanation.id)
    ).all()
    return Tested(
        [row.id for row in rows], [row.latent for row in rows], [row.text for row in rows]
    )


def variants(explanations: Tested, path: Path | None, *, seed: int) -> list[Texts]:
    """All variants of some explanations: by rule, the original first, and those of a file.

    Raises:
        InputError: See :func:`interp.explain.rewording.given`; or a variant of the file has no text
            for any of them.
    """
    by_latent = dict(zip(explanations.latents, explanations.texts, strict=True))
    found = [
        Texts(str(variant), False, dict(reworded(variant, by_latent, seed=seed)))
        for variant in Variant
    ]
    for name, texts in (given(path) if path else {}).items():
        here = {latent: text for latent, text in texts.items() if latent in by_latent}
        if not here:
            raise InputError(f"The file has no text of “{name}” for any latent of this test.")
        found.append(Texts(name, True, here))
    return found
