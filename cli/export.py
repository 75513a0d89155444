"""``palimpsest export`` and ``palimpsest import``: take a study away, bring explanations in."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.choices import Origin
from cli.errors import CommandError
from cli.jobs import StudyName, console, run
from interp.exchange.registry import ORIGINS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.services.exports.schemas import ExportQuery
    from models import Job, Study


class Format(StrEnum):
    """The file format of tables, or the layout of another tool."""

    parquet = "parquet"
    jsonl = "jsonl"
    csv = "csv"
    delphi = "delphi"
    neuronpedia = "neuronpedia"


def export(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="New or empty folder to write to.")],
    format: Annotated[
        Format, typer.Option(help="File format of tables, or the layout of a tool.")
    ] = Format.parquet,
    parts: Annotated[
        str | None,
        typer.Option(help="Tables, such as explanations,scores,loss_effects. Default: all."),
    ] = None,
) -> None:
    """Write a study's explanations, scores, simulations and loss effects to a folder."""
    from app.services.exports.queries import export
    from app.services.exports.schemas import ExportQuery
    from cli.servers import connect

    asked = {"format": format.value} | ({"parts": parts} if parts is not None else {})
    wanted = ExportQuery.model_validate(asked)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CommandError(f"{out} is there already and not an empty folder. Choose another one.")
    with connect():
        _must_be_possible(study, wanted)
        out.mkdir(parents=True, exist_ok=True)
        with console.status("Exporting"):
            for _ in export(study, wanted, out):
                pass
    for path in sorted(out.iterdir()):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        many = "" if path.is_file() else f"{len(files):,} files, "
        size = sum(file.stat().st_size for file in files)
        console.print(f"{path} ({many}{size:,} bytes)", soft_wrap=True, highlight=False)


def import_(
    study: StudyName,
    path: Annotated[
        Path,
        typer.Argument(
            help="A .jsonl, .csv or .parquet file, or the folder of an export. With --format: the "
            "results of that tool."
        ),
    ],
    format: Annotated[
        Origin | None, typer.Option(help=f"Results of another tool. {ORIGINS.in_words()}")
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="With --format: import although the model or the number of latents differs.",
        ),
    ] = False,
) -> None:
    """Add explanations that were written elsewhere as new versions.

    The file names the authors, and the study marks them as imported. Explanations without an author
    are yours.
    """
    from app.services.exports.imports import import_explanations, import_results
    from app.services.exports.schemas import ResultsImport

    if anyway and format is None:
        raise CommandError("--anyway is for results of another tool: name it with --format.")
    if format is not None:
        results = ResultsImport(format=format, path=str(path), anyway=anyway)
        run(study, lambda session, study, user: import_results(session, study, results, user))
        return
    file = _file(path)

    def queue(session: "Session", study: "Study", user: str) -> "Job":
        with file.open("rb") as opened:
            return import_explanations(session, study, file.name, opened, user)

    run(study, queue)


def _must_be_possible(slug: str, wanted: "ExportQuery") -> None:
    from app.services.exports.queries import check
    from app.services.studies.queries import get_study
    from models.database import new_session

    with new_session() as session:
        check(get_study(session, slug), wanted)


def _file(path: Path) -> Path:
    """The file of explanations: itself, or the one in the folder of an export."""
    from interp.explain.files import ENDINGS

    if not path.is_dir():
        return path
    found = [file for ending in ENDINGS if (file := path / f"explanations{ending}").is_file()]
    if len(found) != 1:
        names = ", ".join(f"explanations{ending}" for ending in ENDINGS)
        raise CommandError(f"{path} must have one of {names}; it has {len(found)} of them.")
    return found[0]
