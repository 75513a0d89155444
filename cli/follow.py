"""Show on the terminal how far jobs are."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import Select

from cli.errors import CommandError
from jobs.status import ENDED
from models import Job
from models.database import new_session

POLL_SECONDS = 0.5


def follow(
    console: Console, query: Select[Any], each_time: Callable[[], None] = lambda: None
) -> Sequence[Job]:
    """Show the jobs that a query finds until all have ended, and return them.

    Jobs that these queue meanwhile are shown and waited for too.

    Args:
        each_time: Called between looks at the table. It may raise to stop following.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    shown: dict[int, TaskID] = {}
    with Progress(*columns, console=console) as progress:
        while True:
            each_time()
            with new_session() as session:
                jobs: Sequence[Job] = session.scalars(query).all()
            for job in jobs:
                if job.id not in shown:
                    title = f"{job.kind} (job {job.id})"
                    shown[job.id] = progress.add_task(title, total=None, count="", note="")
                _show(progress, shown[job.id], job)
            if all(job.status in ENDED for job in jobs):
                return jobs
            time.sleep(POLL_SECONDS)


def _show(progress: Progress, task: TaskID, job: Job) -> None:
    count = f"{job.done} of {job.total} {job.unit}" if job.total is not None else ""
    note = escape(job.message) or ("" if job.status == "running" else job.status)
    total = (job.total or 1) if job.status == "finished" else job.total
    completed = total if job.status == "finished" else job.done
    progress.update(task, completed=completed, total=total, count=count, note=note)
    if job.status in ENDED:
        progress.stop_task(task)


def require_finished(jobs: Sequence[Job]) -> None:
    """Raise a CommandError for a job that did not finish, and that no later one made needless."""
    for job in jobs:
        if job.status != "finished" and "superseded_by" not in job.state:
            reason = f": {job.message}" if job.message else "."
            raise CommandError(f"Job {job.id} ({job.kind}) {job.status}{reason}")
