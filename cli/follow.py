"""Show on the terminal how far jobs are."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import Select
from sqlalchemy.orm import load_only

from cli.errors import CommandError
from jobs.status import ENDED
from models import Job
from models.database import new_session

POLL_SECONDS = 0.5
MOST = 12
"""Lines on the terminal, if no more jobs are active: the oldest that ended go first."""
SHOWN = (Job.kind, Job.status, Job.done, Job.total, Job.unit, Job.message)


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
    ended: set[int] = set()
    live = console.is_terminal
    with Progress(*columns, console=console, refresh_per_second=2, disable=not live) as progress:
        while True:
            each_time()
            with new_session() as session:
                jobs: Sequence[Job] = session.scalars(query.options(load_only(*SHOWN))).all()
            for job in jobs:
                if job.id in ended:
                    continue
                if job.id not in shown:
                    shown[job.id] = progress.add_task(_title(job), total=None, count="", note="")
                _show(progress, shown[job.id], job)
                if job.status in ENDED:
                    ended.add(job.id)
                    if not live:
                        console.print(f"{_title(job)} {job.status} {escape(job.message)}".strip())
            for number in [one for one in shown if one in ended][: max(len(shown) - MOST, 0)]:
                progress.remove_task(shown.pop(number))
            if all(job.status in ENDED for job in jobs):
                with new_session() as session:
                    return session.scalars(query).all()
            time.sleep(POLL_SECONDS)


def _title(job: Job) -> str:
    return f"{job.kind} (job {job.id})"


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
