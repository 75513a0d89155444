"""The steps from a new study to its first chart."""

from app.services.studies.steps import steps_to_chart
from models import Job


def job(kind: str, status: str, **fields: str) -> Job:
    return Job(kind=kind, status=status, params={}, **fields)


def states(active: list[Job], last: Job | None, done: list[str]) -> list[str]:
    return [step.state for step in steps_to_chart(active, last, done=done)]


def test_a_step_with_first_results_still_runs() -> None:
    running = job("simulate", "running")
    done = ["collect", "explain", "simulate"]
    assert states([running], running, done) == ["done", "done", "running", "later"]
    # What waits behind it, such as an edit, does not take the step's results away.
    assert states([job("simulate", "queued")], None, done) == ["done", "done", "done", "later"]


def test_a_step_that_stopped_says_so() -> None:
    failed = job("explain", "failed")
    assert states([], failed, ["collect"]) == ["done", "failed", "later", "later"]
    # Somebody has begun again.
    assert states([job("explain", "queued")], failed, ["collect"])[1] == "queued"
