"""The command that runs a published experiment, with what was published beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.choices import ADDRESS, CORPUS, BackEnd
from cli.errors import CommandError
from cli.jobs import at_work

if TYPE_CHECKING:
    from app.services.reproductions.needs import Need
    from app.services.reproductions.recipes import Recipe
    from app.services.reproductions.results import Row
    from app.services.studies.schemas import StudyCreate

console = Console()

FORMATS = (".md", ".csv")


def reproduce(
    recipe: Annotated[str, typer.Argument(help="Recipe: `paper`, or a .toml file.")],
    small: Annotated[
        bool, typer.Option("--small", help="Take fewer contexts and latents, as the recipe says.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print steps, usage and needs. Queue nothing.")
    ] = False,
    latents: Annotated[
        int | None, typer.Option(min=2, help="Latents to explain, drawn at random.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another subject model.")] = None,
    coder: Annotated[
        list[str] | None, typer.Option(help="Another coder of a study: STUDY=CODER.")
    ] = None,
    hookpoint: Annotated[
        list[str] | None, typer.Option(help="The site that a coder writes: STUDY=SITE.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help=CORPUS)] = None,
    explainer: Annotated[
        str | None, typer.Option(help="Another language model that explains.")
    ] = None,
    simulator: Annotated[
        str | None, typer.Option(help="Another language model that simulates.")
    ] = None,
    backend: Annotated[
        BackEnd | None, typer.Option(help="Another back end of both language models.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help=ADDRESS)] = None,
    elsewhere: Annotated[
        bool,
        typer.Option(
            "--elsewhere", help="The workers are on another machine: look for nothing on this one."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File for the results: .md or .csv.")] = None,
) -> None:
    """Run a published experiment, and print its results beside the published ones.

    The same command goes on where an earlier one ended.
    """
    from app.services.reproductions.needs import in_words, needs
    from app.services.reproductions.recipes import Changes, load

    if out is not None and (out.suffix not in FORMATS or not out.absolute().parent.is_dir()):
        raise CommandError(f"--out takes a .md or .csv file in a folder that is there, not {out}.")
    changes = Changes(
        small=small,
        latents=latents,
        model=model,
        corpus=corpus,
        coders=_by_study("--coder", coder),
        hookpoints=_by_study("--hookpoint", hookpoint),
        explainer=explainer,
        simulator=simulator,
        backend=backend,
        base_url=base_url,
    )
    found = load(recipe, changes)
    needed = [] if elsewhere else needs(found, _has_gpu)
    missing = [one for one in needed if not one.state]
    if dry_run:
        _show_plan(found, needed)
        return
    if missing:
        raise CommandError(
            f"This machine lacks {in_words(missing)}. The same command with --dry-run lists all "
            "that is needed; --elsewhere is for workers on another machine."
        )
    with at_work():
        for study in found.studies:
            _run(found, study)
        rows = _results(found)
    if out is not None:
        _write(out, rows)


def _by_study(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = [one.partition("=") for one in given or []]
    if wrong := next((name for name, _, value in pairs if not (name and value)), None):
        raise CommandError(f"{option} takes the study and the value: STUDY=VALUE, not {wrong!r}.")
    return {name: value for name, _, value in pairs}


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _run(recipe: "Recipe", wanted: "StudyCreate") -> None:
    """Do the steps of a study that are left, one after the other."""
    from sqlalchemy import select

    from app.services.reproductions.steps import active_jobs, find_study, plan
    from cli.follow import follow, require_finished
    from models import Job
    from models.database import new_session
    from models.settings import get_settings

    last = ""
    while True:
        with new_session() as session:
            study = find_study(session, wanted)
            under_way = active_jobs(session, study) if study else []
            if under_way:
                first = under_way[0]
                name = f"{wanted.slug}: what is under way"
            else:
                planned = plan(session, recipe, wanted)
                step = next((one for one in planned.steps if not one.done), None)
                if step is None:
                    if planned.left_out:
                        console.print(
                            f"{wanted.slug}: not simulated by the shipped simulator. "
                            f"{escape(planned.left_out)}",
                            highlight=False,
                        )
                    return
                if step.name == last:
                    raise CommandError(
                        f"Step “{step.name}” of study {wanted.slug} ended and is not done: see "
                        f"the study's jobs page."
                    )
                last, name = step.name, f"{wanted.slug}: {step.name}"
                first = step.queue(session, get_settings().user)
            jobs = select(Job).where(Job.study_id == first.study_id, Job.id >= first.id)
        console.print(escape(name), highlight=False)
        ended = follow(console, jobs.order_by(Job.id))
        if not under_way:
            require_finished(ended)


def _show_plan(recipe: "Recipe", needed: "list[Need]") -> None:
    """Print what would be done, and what it needs."""
    from app.services.formatting import seconds_in_words
    from app.services.reproductions.steps import plan
    from cli.servers import connect
    from models.database import new_session

    with connect(), new_session() as session:
        plans = [plan(session, recipe, study) for study in recipe.studies]
    headings = "study", "step", "state", "latents", "prompts", "tokens read", "written", "time"
    table = _table(*headings)
    for planned in plans:
        for step in planned.steps:
            read, written, seconds, latents = step.tokens or None, None, None, None
            if step.estimate is not None:
                latents = step.estimate.latents
                read, written = step.estimate.tokens_read, step.estimate.tokens_written
                seconds = step.estimate.seconds
            table.add_row(
                planned.study.slug,
                escape(step.name),
                "done" if step.done else "to do",
                *map(_number, (latents, step.prompts, read, written)),
                "–" if seconds is None else seconds_in_words(seconds),
            )
    console.print(table)
    console.print(
        "These are what is left. A time is known once the same explainer or simulator has run.",
        highlight=False,
    )
    for planned in plans:
        if planned.left_out:
            console.print(f"{planned.study.slug}: {escape(planned.left_out)}", highlight=False)
    _show_needs(needed)


def _table(*headings: str) -> Table:
    """A table whose cells wrap on a narrow terminal, so that no name or figure is cut."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _show_needs(needed: "list[Need]") -> None:
    if not needed:
        return
    from app.services.reproductions.needs import in_words

    table = _table("needed", "for", "where")
    for one in needed:
        table.add_row(escape(one.name), escape(one.use), one.state or "missing")
    console.print(table)
    if missing := [one for one in needed if not one.state]:
        console.print(f"Missing: {escape(in_words(missing))}.", highlight=False)


def _results(recipe: "Recipe") -> "list[Row]":
    """Print the results of all studies in one table."""
    from app.services.reproductions.results import HEADINGS, cells, results
    from models.database import new_session

    with new_session() as session:
        rows = results(session, recipe)
    table = _table(*map(escape, HEADINGS))
    for row in rows:
        table.add_row(*map(escape, cells(row)))
    console.print(table)
    console.print(
        "Losses are nats over the untouched model, with 95% intervals over documents. Scores are "
        "means over latents, with 95% intervals over latents.",
        highlight=False,
    )
    return rows


def _write(out: Path, rows: "list[Row]") -> None:
    from app.services.reproductions.results import Row, as_markdown
    from app.services.tables import as_csv

    text = as_csv(Row, rows) if out.suffix == ".csv" else as_markdown(rows)
    out.write_text(text, encoding="utf-8")
    console.print(f"Written to {out}.", highlight=False, soft_wrap=True)
