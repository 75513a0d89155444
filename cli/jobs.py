"""Commands that queue a job of a study, and show how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cli.errors import CommandError

console = Console()

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")]


def collect(
    study: StudyName,
    first_latents: Annotated[
        int, typer.Option(min=0, help="Latents to simulate and rewrite afterwards.")
    ] = 32,
) -> None:
    """Collect activations, and go on to explain, simulate and rewrite."""
    _run(study, "collect", {"first_latents": first_latents})


def explain(study: StudyName) -> None:
    """Write an explanation of every latent that has none yet."""
    _run(study, "explain", {"method": "lexical"})


def simulate(
    study: StudyName,
    latents: Annotated[
        str | None, typer.Option(help="Latents by number, such as 12,40,7: their explanations.")
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=1, help="The first so many, those that words predict best.")
    ] = None,
) -> None:
    """Simulate explanations, score them, and measure what each costs."""
    if (latents is None) == (first is None):
        raise CommandError("Say which latents: either --latents 12,40,7 or --first 32.")
    if first is not None:
        _run(study, "simulate", {"first_latents": first, "then_rewrite": True})
    else:
        _run(study, "simulate", {"then_rewrite": True}, _numbers(latents or ""))


class Protocol(StrEnum):
    """Where contexts are spliced."""

    whole = "whole"
    paper = "paper"


def rewrite(
    study: StudyName,
    protocol: Annotated[
        Protocol, typer.Option(help="Splice every token of a context, or only its last one.")
    ] = Protocol.whole,
) -> None:
    """Measure the loss with more and more of the simulated latents rewritten."""
    _run(study, "rewrite", {"protocol": str(protocol)}, show=_show_rewrite)


def check(study: StudyName) -> None:
    """Check that the study's measurements are what they should be."""
    _run(study, "check", {}, show=_show_checks)


def _show_rewrite(session: Any, job: Any) -> None:
    """Print the points of a rewrite."""
    from sqlalchemy import select

    from models import Rewrite, RewritePoint

    rewrite = session.get_one(Rewrite, job.params["rewrite_id"])
    console.print(
        f"Rewrite {rewrite.id}: {rewrite.protocol} protocol, {len(rewrite.context_ids)} contexts. "
        "Nats over the untouched model, with 95% intervals over documents."
    )
    table = Table(
        "condition", "calibration", "ordering", "latents", "loss increase", "KL", box=None
    )
    points = select(RewritePoint).filter_by(rewrite_id=rewrite.id).order_by(RewritePoint.id)
    for point in session.scalars(points):
        increase = f"{point.increase:+.4f} [{point.low:+.4f}, {point.high:+.4f}]"
        table.add_row(
            point.condition.replace("_", " "),
            point.calibration,
            point.ordering,
            str(point.count or ""),
            escape(increase),
            f"{point.kl:.4f}",
        )
    console.print(table)


def _show_checks(session: Any, job: Any) -> None:
    """Print what the checks found.

    Raises:
        CommandError: One failed.
    """
    from sqlalchemy import select

    from models import Check

    found = session.scalars(select(Check).where(Check.job_id == job.id).order_by(Check.id)).all()
    for one in found:
        console.print(f"{one.outcome:<12}{one.name}", highlight=False)
        console.print(Padding(escape(one.detail), (0, 0, 0, 12)), style="dim", highlight=False)
    if failed := [one.name for one in found if one.outcome == "failed"]:
        raise CommandError(f"{len(failed)} of {len(found)} checks failed: {'; '.join(failed)}.")


def _numbers(latents: str) -> list[int]:
    try:
        return [int(number) for number in latents.split(",")]
    except ValueError:
        raise CommandError(
            f"--latents takes numbers with commas between them, such as 12,40,7; not {latents!r}."
        ) from None


def _run(
    slug: str,
    kind: str,
    params: dict[str, Any],
    latents: list[int] | None = None,
    show: Callable[[Any, Any], None] | None = None,
) -> None:
    """Queue a job, and follow it to its end, and those that it queues in turn.

    Args:
        show: Prints what the finished job has found.
    """
    from sqlalchemy import select

    from app.studies.queries import get_study
    from cli.follow import follow, require_finished
    from models import Job
    from models.database import new_session
    from models.settings import get_settings
    from workers.queue import submit

    with at_work():
        with new_session() as session:
            study = get_study(session, slug)
            if latents is not None:
                params["explanation_ids"] = _explanations(session, study.id, latents)
            user = get_settings().user
            job = submit(session, Job(study_id=study.id, kind=kind, params=params, created_by=user))
        jobs = select(Job).where(Job.study_id == job.study_id, Job.id >= job.id).order_by(Job.id)
        try:
            require_finished(follow(console, jobs))
        except KeyboardInterrupt:
            console.print(f"Job {job.id} goes on where a worker runs: see its study's jobs page.")
            raise
        if show is not None:
            with new_session() as session:
                show(session, session.get_one(Job, job.id))


def _explanations(session: Any, study_id: int, latents: list[int]) -> list[int]:
    """The current explanation of each latent."""
    from sqlalchemy import select

    from models import Latent

    query = select(Latent.index, Latent.explanation_id).where(
        Latent.study_id == study_id, Latent.index.in_(latents)
    )
    found = dict(session.execute(query).tuples().all())
    if missing := [index for index in latents if found.get(index) is None]:
        raise CommandError(
            f"There is no explanation of latent {', '.join(map(str, missing))} in this study."
        )
    return [found[index] for index in latents]


@contextmanager
def at_work() -> Iterator[None]:
    """Servers to work with, and a worker of our own where the servers are."""
    from cli import processes
    from cli.servers import connect
    from cli.services import start_worker
    from models.settings import get_settings
    from workers.queue import celery

    with connect() as servers:
        if servers.children:
            worker = start_worker(get_settings().data)
            try:
                yield
            finally:
                processes.stop([worker])
            return
        if not celery.control.inspect(timeout=2).ping():
            console.print("No worker answers yet, so the job waits in its queue.")
        yield
