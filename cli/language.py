"""The command that tests which part of the explanations a simulator goes by."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.jobs import StudyName, console, run

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from models import Job, Study


def language(
    study: StudyName,
    latents: Annotated[
        int | None, typer.Option(min=1, help="Test only so many latents, drawn at random.")
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option(
            help="File with further variants, such as paraphrases: explanations, whose author "
            "names the variant."
        ),
    ] = None,
) -> None:
    """Test which part of the explanations the simulator goes by: quoted words, or all of it."""
    from app.services.language.queries import test
    from app.services.language.schemas import LanguageCreate

    asked = LanguageCreate(latents=latents, path=str(variants or ""))

    def queue(session: "Session", study: "Study", user: str) -> "Job":
        return test(session, study, asked, user)

    run(study, queue, show=_show)


def _show(session: "Session", job: "Job") -> None:
    """Print the figures of each variant."""
    from app.services.formatting import figure, interval, percent, percents
    from app.services.language.queries import in_words, list_variants
    from interp.explain.rewording import label
    from models import LanguageTest

    test = session.get_one(LanguageTest, job.state["test_id"])
    variants = list_variants(session, test)
    console.print(
        f"{len(test.explanation_ids):,} explanations, {len(test.context_ids)} contexts. Each with "
        "its 95% interval.",
        highlight=False,
    )
    headings = "explanations", "correlation", "kept", "loss increase, nats", "KL", "recovered"
    table = Table(*headings, box=None)
    for one in variants:
        correlation, kept, increase, kl, recovered = (
            one.figures[name] for name in ("correlation", "kept", "increase", "kl", "recovered")
        )
        table.add_row(
            escape(label(one.name, given=one.given)),
            escape(f"{figure(correlation['value'], 2)} {_within(interval, correlation, 2)}"),
            escape(f"{percent(kept['value'])} {_within(percents, kept)}"),
            escape(f"{figure(increase['value'], 3, True)} {_within(interval, increase, 3, True)}"),
            escape(f"{figure(kl['value'], 3)} {_within(interval, kl, 3)}"),
            escape(f"{percent(recovered['value'])} {_within(percents, recovered)}"),
        )
    console.print(table)
    console.print(escape(in_words(variants)), highlight=False)


def _within(words: Callable[..., str], found: dict[str, float | None], *how: object) -> str:
    """The interval of a figure."""
    return words(found["low"], found["high"], *how)
