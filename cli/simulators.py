"""``palimpsest simulator``: add simulators, list them, and choose one for a study."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.choices import ADDRESS, BACK_END, BackEnd, Method
from interp.llm.registry import servers
from interp.registry import listed
from interp.simulate.registry import trained
from interp.sources.paths import located

app = typer.Typer(no_args_is_help=True, help="Simulators predict activations from explanations.")
console = Console()


@app.command()
def add(
    method: Annotated[
        Method, typer.Option(help=f"Method. {listed(trained(), 'and')} are trained.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Language model: a folder, a fetched model, a hub name, or a server's name. "
            "For a trained simulator, its base."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Folder of a trained simulator, from train-simulator.")
    ] = None,
    backend: Annotated[BackEnd, typer.Option(help="Back end of a prompted simulator.")] = BACK_END,
    base_url: Annotated[str | None, typer.Option(help=ADDRESS)] = None,
    show_score: Annotated[
        bool, typer.Option(help="Tell the simulator the explanation's score so far.")
    ] = False,
    calibrate_contexts: Annotated[
        int | None, typer.Option(min=1, help="Contexts to calibrate on. Default: all.")
    ] = None,
) -> None:
    """Add a simulator, unless it is there already."""
    from app.services.simulators.adding import add_simulator
    from app.services.simulators.schemas import SimulatorCreate
    from cli.fetch import fetch_if_known
    from cli.servers import connect
    from models.database import new_session

    if backend not in servers():
        fetch_if_known(model)
    data = SimulatorCreate.model_validate(
        {
            "method": method,
            "model": located(model),
            "folder": str(folder.expanduser().resolve()) if folder else None,
            "backend": backend,
            "base_url": base_url,
            "show_score": show_score,
            "calibrate_contexts": calibrate_contexts,
        }
    )
    with connect(), new_session() as session:
        simulator = add_simulator(session, data)
    console.print(
        f"It is simulator {simulator.id}. Have a study show its figures with "
        f"`palimpsest simulator use STUDY {simulator.id}`.",
        highlight=False,
    )


@app.command("list")
def list_() -> None:
    """List all simulators."""
    from app.services.formatting import simulator_name
    from app.services.simulators.queries import list_simulators
    from cli.servers import connect
    from models.database import new_session

    table = Table("number", "simulator", "version", "trained on", box=None)
    with connect(), new_session() as session:
        simulators = list_simulators(session)
        for simulator in simulators:
            corpus = simulator.training.get("corpus", "")
            name = escape(simulator_name(simulator))
            table.add_row(str(simulator.id), name, simulator.prompt_version, escape(corpus))
    if simulators:
        console.print(table)
    else:
        console.print("There is no simulator yet. `palimpsest simulator add --help` says how.")


@app.command()
def use(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")],
    number: Annotated[int, typer.Argument(min=1, help="Number of the simulator.")],
) -> None:
    """Have a study show the figures of a simulator, and print a verdict on them."""
    from app.services.simulators.independence import assess
    from app.services.simulators.queries import get_simulator
    from app.services.studies.queries import get_study, use_simulator
    from cli.servers import connect
    from models.database import new_session

    with connect(), new_session() as session:
        chosen = use_simulator(session, get_study(session, study), number)
        assessment = assess(session, chosen, get_simulator(session, number))
    console.print(
        f"{assessment.independence.capitalize()}. {escape(assessment.reason)}", highlight=False
    )


@app.command()
def delete(
    number: Annotated[int, typer.Argument(min=1, help="Number of the simulator.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Delete a simulator with all that it made, for good. A trained one's folder stays."""
    from app.services.deletion.simulators import delete_simulator, hanging, obstacle
    from app.services.simulators.queries import get_simulator
    from cli.deletion import confirm, remove
    from cli.servers import connect
    from models.database import new_session

    with connect(), new_session() as session:
        simulator = get_simulator(session, number)
        found = hanging(session, simulator)
        session.commit()  # a person may take a while to answer
        if not obstacle(found):
            confirm(
                f"Simulator {number} has made {found.simulations:,} simulations, {found.scores:,} "
                f"scores, {found.loss_effects:,} loss effects, {found.rewrites:,} rewrites and "
                f"{found.generations:,} generations.",
                "Delete all of it for good?",
                yes,
            )
        delete_simulator(session, simulator)
        remove("simulator", number)
    console.print(f"Simulator {number} is deleted.", highlight=False)
