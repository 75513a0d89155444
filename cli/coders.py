"""``palimpsest coder``: look at a sparse coder."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.choices import DTYPE
from interp.coders.findings import CoderFiles, Measured
from interp.corpus.source import SOTU
from interp.sources.corpora import check_corpus
from interp.vocabulary import CoderFit, Dtype
from models.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Sparse coders.")
console = Console()
SHOWN = 8
"""Candidates in the table."""


@app.callback()
def _group() -> None:
    """Keep ``inspect`` a command of its own, though it is the only one."""


@app.command()
def inspect(
    coder: Annotated[str, typer.Argument(help="A file, a folder, or a hub name.")],
    model: Annotated[
        str, typer.Option(help="A folder, a .gguf file, a fetched model, or a hub name.")
    ],
    hookpoint: Annotated[
        str, typer.Option(help="Site that the coder writes, if its files do not name it.")
    ] = "",
    reads: Annotated[
        str, typer.Option(help="Site that it reads, if its files do not name it.")
    ] = "",
    reading: Annotated[
        str, typer.Option(help="How its files are read, if not as they say: see “read as”.")
    ] = "",
    model_revision: Annotated[str | None, typer.Option(help="Revision of a hub model.")] = None,
    dtype: Annotated[Dtype, typer.Option(help=DTYPE)] = Dtype.FLOAT32,
    corpus: Annotated[str, typer.Option(help="Text to measure on.")] = SOTU,
    context_length: Annotated[int, typer.Option(help="Tokens in a context.")] = 34,
    prepend_bos: Annotated[bool, typer.Option(help="Begin contexts with the BOS token.")] = True,
    leave_out: Annotated[
        int | None,
        typer.Option(help="First positions to leave out. Default: the BOS token alone."),
    ] = None,
) -> None:
    """Say what a coder's files are, and measure where in a model it belongs.

    A study with the same options is judged by the same figures.
    """
    from app.services.inspections.queries import question_of
    from app.services.inspections.schemas import InspectionCreate

    check_corpus(corpus)
    question = question_of(
        InspectionCreate(
            model=get_settings().model_source(model),
            model_revision=model_revision,
            coder=coder,
            hookpoint=hookpoint,
            reads=reads,
            reading=reading,
            dtype=dtype,
            corpus=corpus,
            context_length=context_length,
            prepend_bos=prepend_bos,
            leave_out=leave_out,
        )
    )
    with console.status("Reading the files"):
        from interp.coders.inspector import measure_sites, read_files

        read = read_files(question)
    console.print(_files_table(read.files))
    with console.status("Loading the model") as status:
        measured = measure_sites(
            question,
            read,
            lambda step, *_: status.update(step),
            device_map=get_settings().device_map,
        )
    console.print(_sites_table(measured))
    console.print(_verdict(measured))
    if corpus == SOTU and measured.fit is not CoderFit.HERE:
        console.print(
            "It was measured on the State of the Union addresses. A coder of other text may fit on "
            "its own: name that with --corpus."
        )


def _files_table(files: CoderFiles) -> Table:
    table = Table(box=None, show_header=False)
    for name, value in (
        ("format", files.format),
        ("weights", files.weights),
        ("kind", f"{files.kind}{' with skip' if files.skip else ''}"),
        ("reads", f"{files.reads or 'not named'}, {files.d_in:,} dimensions"),
        ("writes", f"{files.writes or 'not named'}, {files.d_out:,} dimensions"),
        ("latents", f"{files.latents:,}; active: {files.rule}"),
        ("declared active", "not named" if files.active is None else f"{files.active:.1f}"),
        ("trained on", files.model or "not named"),
        *([("remark", files.remark)] if files.remark else []),
    ):
        table.add_row(name, value)
    return table


def _sites_table(measured: Measured) -> Table:
    table = Table(box=None)
    for name in ("reads", "writes", "read as", "typical FVU", "FVU", "active"):
        table.add_column(name, overflow="fold")
    for one in measured.sites[: SHOWN + 1]:
        table.add_row(
            one.reads,
            one.writes,
            one.reading or "its files say",
            "widths differ" if one.typical_fvu is None else f"{one.typical_fvu:.3f}",
            "" if one.fvu is None else f"{one.fvu:.3f}",
            "" if one.active is None else f"{one.active:.1f}",
        )
    return table


def _verdict(measured: Measured) -> str:
    if measured.fit is CoderFit.HERE:
        return "The first line fits: a study can be made so."
    if measured.best is None:
        return measured.fit.meaning
    best = measured.sites[measured.best]
    options = [f"--hookpoint {best.writes}"]
    if best.reads != best.writes:
        options.append(f"--reads {best.reads}")
    if best.reading:
        options.append(f'--reading "{best.reading}"')
    taken = "is taken" if measured.sites[0].fits else "is refused"
    return f"The first line does not fit best; a study made so {taken}. Try {' '.join(options)}."
