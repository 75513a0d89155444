"""Language tests in the database: which part of the explanations a simulator goes by."""

from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.formatting import percent, percents
from app.services.jobs.queries import latest_job
from app.services.language.schemas import FEW, LanguageCreate
from app.services.latents.queries import simulated_explanations
from app.services.simulators.queries import get_simulator
from interp.errors import InputError
from interp.explain.rewording import given
from interp.simulate.registry import SIMULATORS
from interp.sources.paths import full
from interp.vocabulary import Variant
from jobs.params import LanguageParams
from jobs.queue import enqueue
from jobs.status import ACTIVE
from models import Job, LanguageTest, LanguageVariant, Latent, Study

WIDEST = 0.5
"""The widest interval of a share that a sentence tells."""


def latest_test(session: Session, study: Study) -> LanguageTest | None:
    """The newest test of a study by its simulator."""
    query = select(LanguageTest).filter_by(study_id=study.id, simulator_id=study.simulator_id)
    return session.scalar(query.order_by(LanguageTest.id.desc()).limit(1))


def list_variants(session: Session, test: LanguageTest) -> list[LanguageVariant]:
    """The variants of a test in their order."""
    query = select(LanguageVariant).filter_by(test_id=test.id)
    return list(session.scalars(query.order_by(LanguageVariant.place)))


def test(session: Session, study: Study, data: LanguageCreate, user: str) -> Job:
    """Queue a test of a study. Commits the session.

    A file of variants stays where it is. It is read whole before anything is queued, and again by
    the worker.

    Raises:
        InputError: The file cannot be read, or names a latent that the study does not have.
        Conflict: Nothing is simulated yet, or a test is on its way already.
    """
    if study.simulator_id is None:
        raise Conflict(
            f"Study {study.slug} cannot be tested yet: its activations are still being collected."
        )
    session.execute(select(Study.id).where(Study.id == study.id).with_for_update())
    latest = latest_job(session, study, "language")
    if latest is not None and latest.status in ACTIVE:
        raise Conflict(f"A language test of study {study.slug} is on its way already.")
    if not simulated_explanations(session, study):
        raise Conflict(
            f"No explanation of study {study.slug} is simulated by its simulator yet. Simulate "
            "some first."
        )
    asked = data.model_dump(exclude_defaults=True)
    method = get_simulator(session, study.simulator_id).method
    if data.latents is None and SIMULATORS.named(method).batch == 1:
        asked["latents"] = FEW
    if data.path:
        path = full(data.path)
        _check(session, study, path)
        asked["path"] = str(path)
    return enqueue(session, study, LanguageParams(**asked), by=user)


def _check(session: Session, study: Study, path: Path) -> None:
    most = session.scalar(select(func.max(Latent.index)).where(Latent.study_id == study.id))
    for name, texts in given(path).items():
        if most is None or max(texts) > most:
            raise InputError(
                f"{path.name} has a text of “{name}” for latent {max(texts)}, which the study has "
                f"not: its last one is {most}."
            )


def in_words(variants: list[LanguageVariant]) -> str:
    """What a test found, in sentences: the shares of the correlation and of the loss that are kept,
    with their intervals. Empty where there is nothing to say."""
    by_rule = {one.name: one for one in variants if not one.given}
    original = by_rule.get(Variant.ORIGINAL)
    if original is None or not (original.figures["correlation"]["low"] or 0) > 0:
        # Of nothing there is no share.
        return "The explanations do not predict their latents: the mean correlation is not above 0."
    told = [(f"“{one.name}”", one) for one in variants if one.given]
    told += [
        (words, one)
        for name, words in (
            (Variant.QUOTED, "The text in quotation marks alone"),
            (Variant.PROSE, "The prose alone"),
            (Variant.OTHERS, "Another latent's explanation"),
        )
        if (one := by_rule.get(name))
    ]
    return " ".join(_sentence(words, one.figures) for words, one in told)


def _sentence(words: str, figures: dict[str, dict[str, float | None]]) -> str:
    kept, recovered = figures["kept"], figures["recovered"]
    sentence = f"{words} keeps {_share(kept)} of the correlation"
    # Few latents leave the loss nearly as it is: then their share of it says nothing.
    if _narrow(recovered):
        sentence += f" and recovers {_share(recovered)} of the loss"
    return sentence + "."


def _narrow(of: dict[str, float | None]) -> bool:
    low, high = of["low"], of["high"]
    return low is not None and high is not None and high - low <= WIDEST


def _share(of: dict[str, float | None]) -> str:
    if not _narrow(of):
        return "an unknown share"
    return f"{percent(of['value'])} {percents(of['low'], of['high'])}".rstrip()
