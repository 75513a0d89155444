"""``palimpsest study``: make studies and list them."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.choices import CORPUS, DTYPE, Step
from interp.sources.paths import located
from interp.vocabulary import Dtype

app = typer.Typer(no_args_is_help=True, help="Studies: a model, a sparse coder and a corpus each.")
console = Console()


@app.command()
def create(
    slug: Annotated[str, typer.Option(help="Name in addresses.")],
    title: Annotated[str, typer.Option(help="Title on the pages.")],
    model: Annotated[
        str, typer.Option(help="A folder, a .gguf file, a fetched model, or a hub name.")
    ],
    coder: Annotated[str, typer.Option(help="A checkpoint of any known format or a hub name.")],
    corpus: Annotated[str, typer.Option(help=CORPUS)],
    hookpoint: Annotated[
        str, typer.Option(help="Site that the coder writes, if its files do not name it.")
    ] = "",
    reads: Annotated[
        str, typer.Option(help="Site that it reads, if its files do not name it.")
    ] = "",
    reading: Annotated[
        str, typer.Option(help="How its files are read, as `coder inspect` names it.")
    ] = "",
    model_revision: Annotated[str | None, typer.Option(help="Revision of a hub model.")] = None,
    dtype: Annotated[Dtype, typer.Option(help=DTYPE)] = Dtype.FLOAT32,
    context_length: Annotated[int, typer.Option(help="Tokens in a context.")] = 34,
    prepend_bos: Annotated[bool, typer.Option(help="Begin contexts with the BOS token.")] = True,
    leave_out: Annotated[
        int | None,
        typer.Option(help="First positions to leave out. Default: the BOS token alone."),
    ] = None,
    contexts_explain: Annotated[int, typer.Option(help="Contexts to explain from.")] = 4000,
    contexts_calibrate: Annotated[int, typer.Option(help="Contexts to calibrate on.")] = 256,
    contexts_evaluate: Annotated[int, typer.Option(help="Contexts to measure on.")] = 512,
    contexts_rewrite: Annotated[
        int, typer.Option(help="The panel: contexts of these on which to measure edits.")
    ] = 64,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    first_latents: Annotated[
        int | None, typer.Option(help="Latents to simulate afterwards. Default: all that can be.")
    ] = None,
    until: Annotated[Step, typer.Option(help="The last step that follows by itself.")] = "rewrite",
) -> None:
    """Make a study: collect, explain, simulate, and rewrite its layer."""
    from app.services.studies.queries import create_study
    from app.services.studies.schemas import StudyCreate
    from cli.servers import connect
    from interp.sources.corpora import located_corpus
    from models.database import new_session
    from models.settings import get_settings

    study = StudyCreate(
        slug=slug,
        title=title,
        model=located(model),
        model_revision=model_revision,
        dtype=dtype,
        coder=located(coder),
        hookpoint=hookpoint,
        reads=reads,
        reading=reading,
        corpus=located_corpus(corpus),
        context_length=context_length,
        prepend_bos=prepend_bos,
        leave_out=leave_out,
        contexts_explain=contexts_explain,
        contexts_calibrate=contexts_calibrate,
        contexts_evaluate=contexts_evaluate,
        contexts_rewrite=contexts_rewrite,
        seed=seed,
        first_latents=first_latents,
        until=until,
    )
    with connect(), new_session() as session:
        created = create_study(session, study, get_settings().user)
        console.print(f"Study {created.slug} is there; its activations wait to be collected.")


@app.command()
def delete(
    slug: Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Delete a study with all that hangs on it, for good."""
    from app.services.deletion.studies import delete_study, hanging
    from app.services.formatting import in_bytes
    from app.services.studies.queries import get_study
    from cli.deletion import confirm, remove
    from cli.servers import connect
    from models.database import new_session

    with connect(), new_session() as session:
        study = get_study(session, slug)
        found = hanging(session, study)
        session.commit()  # a person may take a while to answer
        by_people = f", {found.written_by_people:,} of them written by people"
        confirm(
            f"Study {slug} has {found.latents:,} latents, {found.explanations:,} explanations"
            f"{by_people if found.written_by_people else ''}, {found.comments:,} comments, "
            f"{found.simulations:,} simulations, {found.rewrites:,} rewrites, {found.lists:,} "
            f"lists, {found.active_jobs:,} jobs that wait or run, and {found.files:,} files "
            f"({in_bytes(found.bytes)}). `palimpsest export {slug}` keeps a copy.",
            "Delete all of it for good?",
            yes,
        )
        delete_study(session, study)
        remove("study", study.id)
    console.print(f"Study {slug} is deleted.", highlight=False)


@app.command("list")
def list_() -> None:
    """List all studies."""
    from app.services.studies.queries import count_latents, list_studies
    from cli.servers import connect
    from models.database import new_session

    with connect(), new_session() as session:
        studies = list_studies(session)
        table = Table("study", "title", "model", "hookpoint", "latents", box=None)
        for study in studies:
            latents = count_latents(session, study)
            row = study.slug, study.title, study.model, study.hookpoint
            table.add_row(*row, f"{latents:,}" if latents else "not collected yet")
    if studies:
        console.print(table)
    else:
        console.print("There is no study yet. `palimpsest study create --help` says how.")
