"""Commands that queue a job of a study, and show how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cli.choices import ADDRESS, BACK_END, EXPLAINER, BackEnd, Explainer
from cli.errors import CommandError
from interp.explain.registry import EXPLAINERS, asking
from interp.sources.paths import located
from interp.vocabulary import Protocol

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from models import Job, Study

console = Console()

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")]


Latents = Annotated[str | None, typer.Option(help="Numbers of latents, such as 12,40,7.")]
MODEL = typer.Option(help="Language model: a folder, a hub name, or a server's name for it.")
Backend = Annotated[BackEnd, typer.Option(help="Back end of the language model.")]
BaseUrl = Annotated[str | None, typer.Option(help=ADDRESS)]
Author = Annotated[str, typer.Option(help="Author of the explanations. Default: the current ones.")]
Individually = Annotated[
    int | None,
    typer.Option(min=0, help="Latents to measure individually. Default: up to 32."),
]


def collect(
    study: StudyName,
    first_latents: Annotated[
        int, typer.Option(min=0, help="Latents to simulate and rewrite afterwards.")
    ] = 32,
) -> None:
    """Collect activations, and go on to explain, simulate and rewrite."""
    from jobs.params import CollectParams
    from jobs.queue import enqueue

    def queue(session: "Session", study: "Study", user: str) -> "Job":
        return enqueue(session, study, CollectParams(first_latents=first_latents), by=user)

    run(study, queue)


def explain(
    study: StudyName,
    method: Annotated[Explainer, typer.Option(help=EXPLAINERS.in_words())] = EXPLAINER,
    model: Annotated[str | None, MODEL] = None,
    backend: Backend = BACK_END,
    base_url: BaseUrl = None,
    latents: Latents = None,
    simulator: Annotated[
        int | None, typer.Option(min=1, help="Simulator to use afterwards, by its number.")
    ] = None,
    individually: Individually = None,
) -> None:
    """Write explanations of all latents that fire, or of some."""
    from app.services.work.queries import explain
    from app.services.work.schemas import ExplainCreate

    if method in asking() and model is None:
        raise CommandError(f"{method} needs a language model: name it with --model.")
    llm = {"backend": backend, "model": located(model), "base_url": base_url} if model else None
    data = ExplainCreate.model_validate(
        {
            "method": method,
            "llm": llm,
            "latents": _numbers(latents),
            "then_simulate": {"simulator_id": simulator, "individually": individually}
            if simulator
            else None,
        }
    )
    run(study, lambda session, study, user: explain(session, study, data, user))


def simulate(
    study: StudyName,
    latents: Latents = None,
    first: Annotated[
        int | None,
        typer.Option(min=1, help="Number of latents to simulate first, best predicted first."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Simulate all latents with an explanation.")
    ] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Simulate again where values are missing.")
    ] = False,
    simulator: Annotated[
        int | None, typer.Option(min=1, help="Number of the simulator. Default: the study's.")
    ] = None,
    author: Author = "",
    individually: Individually = None,
) -> None:
    """Simulate explanations, score them, and measure the loss effect of each."""
    from app.services.work.queries import simulate, simulate_first, simulate_missing
    from app.services.work.schemas import SimulateCreate

    if [latents is not None, first is not None, every, missing].count(True) != 1:
        raise CommandError(
            "Say which latents, in one way: --latents 12,40,7, --first 32, --all, or --missing."
        )
    if first is not None and author:
        raise CommandError("--first takes current explanations; leave --author out, or use --all.")
    data = SimulateCreate(
        latents=_numbers(latents), simulator_id=simulator, author=author, individually=individually
    )

    def queue(session: "Session", study: "Study", user: str) -> "Job":
        if first is not None:
            return simulate_first(session, study, first, data, user)
        return (simulate_missing if missing else simulate)(session, study, data, user)

    run(study, queue)


def score(
    study: StudyName,
    model: Annotated[str, MODEL],
    backend: Backend = BACK_END,
    base_url: BaseUrl = None,
    latents: Latents = None,
    author: Author = "",
) -> None:
    """Have a language model score explanations by detection and fuzzing."""
    from app.services.work.queries import score
    from app.services.work.schemas import ScoreCreate

    llm = {"backend": backend, "model": located(model), "base_url": base_url}
    data = ScoreCreate.model_validate({"llm": llm, "latents": _numbers(latents), "author": author})
    run(study, lambda session, study, user: score(session, study, data, user))


def rewrite(
    study: StudyName,
    protocol: Annotated[
        Protocol, typer.Option(help="Splice every token of a context, or only its last one.")
    ] = Protocol.WHOLE,
    author: Author = "",
) -> None:
    """Measure the loss for growing sets of rewritten latents."""
    from app.services.rewrites.queries import measure

    run(
        study,
        lambda session, study, user: measure(session, study, protocol, author, user),
        show=_show_rewrite,
    )


def check(study: StudyName) -> None:
    """Run sanity checks on the study's measurements."""
    from app.services.checks.queries import check

    run(study, check, show=_show_checks)


def _show_rewrite(session: "Session", job: "Job") -> None:
    """Print the points of a rewrite."""
    from sqlalchemy import select

    from app.services.formatting import simulator_name
    from app.services.simulators.independence import assess
    from models import Rewrite, RewritePoint, Simulator, Study

    rewrite = session.get_one(Rewrite, job.state["rewrite_id"])
    simulator = session.get_one(Simulator, rewrite.simulator_id)
    assessment = assess(session, session.get_one(Study, rewrite.study_id), simulator)
    console.print(
        escape(
            f"Simulator: {simulator_name(simulator)}, {assessment.independence}. "
            f"{assessment.reason}"
        ),
        highlight=False,
    )
    console.print(
        f"Rewrite {rewrite.id}: {rewrite.protocol} protocol. "
        "Nats over the untouched model, with 95% intervals over documents."
    )
    table = Table(
        *("condition", "calibration", "ordering", "latents", "contexts", "loss increase", "KL"),
        box=None,
    )
    points = select(RewritePoint).filter_by(rewrite_id=rewrite.id).order_by(RewritePoint.id)
    for point in session.scalars(points):
        increase = f"{point.increase:+.4f} [{point.low:+.4f}, {point.high:+.4f}]"
        table.add_row(
            point.condition.replace("_", " "),
            point.calibration,
            point.ordering,
            str(point.count or ""),
            str(len(point.losses)),
            escape(increase),
            f"{point.kl:.4f}",
        )
    console.print(table)


def _show_checks(session: "Session", job: "Job") -> None:
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


def _numbers(latents: str | None) -> list[int] | None:
    try:
        return None if latents is None else [int(number) for number in latents.split(",")]
    except ValueError:
        raise CommandError(
            f"--latents takes numbers with commas between them, such as 12,40,7; not {latents!r}."
        ) from None


def run(
    slug: str,
    queue: Callable[["Session", "Study", str], "Job"],
    show: Callable[["Session", "Job"], None] | None = None,
) -> None:
    """Queue a job, and follow it to its end, and those that it queues in turn.

    Args:
        queue: Queues the job of a study, in somebody's name.
        show: Prints what the finished job has found.
    """
    from sqlalchemy import select

    from app.services.studies.queries import get_study
    from cli.follow import follow, require_finished
    from models import Job
    from models.database import new_session
    from models.settings import get_settings

    with at_work():
        with new_session() as session:
            job = queue(session, get_study(session, slug), get_settings().user)
        _say_estimate(job.params)
        jobs = select(Job).where(Job.study_id == job.study_id, Job.id >= job.id).order_by(Job.id)
        try:
            require_finished(follow(console, jobs))
        except KeyboardInterrupt:
            console.print(f"Job {job.id} goes on where a worker runs: see its study's jobs page.")
            raise
        with new_session() as session:
            job = session.get_one(Job, job.id)
            _say_usage(session, job)
            if show is not None:
                show(session, job)


def _say_estimate(params: dict[str, Any]) -> None:
    """Print the usage of a job, where that was estimated."""
    if estimate := params.get("estimate"):
        basis = "as earlier ones took" if estimate["measured"] else "by the method's formula"
        console.print(f"It will take about {_spent(estimate)}, {basis}.", highlight=False)


def _say_usage(session: "Session", job: "Job") -> None:
    """Print the usage of a job, and what is missing."""
    from app.services.jobs.queries import job_row

    if job.params.get("estimate") and job.usage:
        console.print(f"It took {_spent(job.usage)}.", highlight=False)
    missing = job_row(session, job).missing
    if missing and missing.missing:
        reasons = "; ".join(f"{count:,}: {reason}" for reason, count in missing.reasons.items())
        of = f"{missing.missing:,} of {missing.values:,}"
        console.print(
            f"{of} became no explanation. {escape(reasons)}"
            if job.kind == "explain"
            else f"{of} values are missing. {escape(reasons)} Simulate these again with --missing.",
            highlight=False,
        )


def _spent(usage: dict[str, Any]) -> str:
    from app.services.formatting import seconds_in_words

    known = usage["seconds"] is not None
    time = seconds_in_words(usage["seconds"]) if known else "a time that is not known yet"
    return f"{usage['tokens_read']:,} tokens read, {usage['tokens_written']:,} written, {time}"


@contextmanager
def at_work() -> Iterator[None]:
    """Servers to work with, and a worker of our own where the servers are."""
    from cli import processes
    from cli.servers import connect
    from cli.services import start_worker
    from jobs.queue import celery
    from models.settings import get_settings

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
