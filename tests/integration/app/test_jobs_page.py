"""Jobs: the page of one, its log, what runs in the head of every page, and the title."""

import re
import time
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cli.doctor import _jobs, _models, _stuck_jobs
from cli.servers import Servers
from jobs import queue
from jobs.log import LOG_LINES, note
from jobs.progress import ASK_SECONDS
from models import JobEvent, Simulation, Study
from models.settings import get_settings
from tests.conftest import silence
from tests.factories import little_study, page_job
from tests.reading import current_of, text_of
from tests.studies import queue_job

ON_TIME = {
    "scores": {"done": 1, "total": 4, "units": 1, "timed": 1, "seconds": 30.0, "before": None}
}
"""The rates of a job that needs 90 s more."""


def test_the_log_of_a_job(pages: httpx.Client, db: Session, study: Study) -> None:
    job = queue_job(db, study, "explain")
    for number in range(LOG_LINES + 5):
        note(db, job.id, f"line {number}")
    note(db, job.id, f"line {number}")
    db.commit()
    kept = db.scalar(select(func.count()).select_from(JobEvent).filter_by(job_id=job.id))
    assert kept == LOG_LINES
    pages.post(f"/jobs/{job.id}/cancel")
    lines = [line["text"] for line in pages.get(f"/api/v1/jobs/{job.id}/log").json()["lines"]]
    assert lines[-2:] == [f"line {LOG_LINES + 4}", "Cancelled."], "no line comes twice"
    job.attempts = 1
    db.commit()
    assert pages.post(f"/jobs/{job.id}/retry").status_code == 303
    text = text_of(pages.get(f"/jobs/{job.id}"))
    assert "Queued again." in text, text
    assert text.index("Queued again.") < text.index("Cancelled."), "newest first"
    pages.post(f"/jobs/{job.id}/cancel")
    assert pages.get("/api/v1/jobs/999999999/log").status_code == 404


def test_the_page_of_a_job_says_what_failed(pages: httpx.Client, db: Session, study: Study) -> None:
    explanation = current_of(db, study, 0)
    job = page_job(
        db,
        study,
        status="finished",
        missing=3,
        params={"explanation_ids": [explanation.id], "simulator_id": study.simulator_id},
    )
    page = pages.get(f"/jobs/{job.id}")
    text = text_of(page)
    assert "1 value is missing" in text and "1: The reply is no JSON list." in text
    assert f'href="/studies/{study.slug}/latents/0"' in page.text
    parts = pages.get(f"/api/v1/jobs/{job.id}/log").json()
    assert parts["failed_parts_total"] == 1
    assert parts["failed_parts"][0] == {
        "latent": 0,
        "explanation": explanation.text,
        "missing": 1,
        "reasons": {"The reply is no JSON list.": 1},
    }
    for simulation in db.scalars(select(Simulation).filter_by(explanation_id=explanation.id)):
        simulation.missing, simulation.failures = 0, {}
    db.commit()
    assert "none is missing now" in text_of(pages.get(f"/jobs/{job.id}"))
    failed = page_job(db, study, kind="collect", status="failed", message="There is no file x.")
    text = text_of(pages.get(f"/jobs/{failed.id}"))
    assert "There is no file x." in text and "Set that right, then retry." in text
    assert "it ran before logs were kept" in text
    assert pages.get("/jobs/999999999").status_code == 404


def test_no_time_is_left_while_no_worker_is_running(
    pages: httpx.Client, db: Session, study: Study, served: None
) -> None:
    running = page_job(db, study, status="running", done=1, total=4, rates=ON_TIME)
    waiting = page_job(db, study, kind="explain", status="queued")
    here = f"/studies/{study.slug}"
    paths = (f"{here}/jobs", f"/jobs/{running.id}", here)
    for path in paths:
        text = text_of(pages.get(path))
        assert "about 1 min 30 s left" in text and "o worker" not in text, path
    silence()
    for path in (*paths, f"/jobs/{waiting.id}"):
        text = text_of(pages.get(path))
        assert "No worker is running" in text and "palimpsest up" in text, path
        assert "s left" not in text and "time left" not in text, path
        assert "waits for a worker" not in text, path
    assert "2 jobs, no worker" in text_of(pages.get(here))
    report = pages.get(f"/api/v1/jobs/{running.id}").json()
    assert (report["no_worker"], report["seconds_left"]) == (True, None)
    queue.beat(["gpu"])
    time.sleep(ASK_SECONDS)
    assert "No worker" not in text_of(pages.get(f"/jobs/{running.id}"))
    assert "No worker is running for cpu jobs" in text_of(pages.get(f"/jobs/{waiting.id}"))
    running.status = waiting.status = "cancelled"
    db.commit()


def test_doctor_names_jobs_that_wait_and_jobs_that_killed_their_worker(
    db: Session, servers: Servers, study: Study
) -> None:
    waiting = page_job(db, study, status="queued")
    new = page_job(db, study, status="queued")
    old = datetime.now(UTC) - timedelta(hours=1)
    db.add(JobEvent(job_id=waiting.id, text="Queued by ana.", at=old))
    db.add(JobEvent(job_id=new.id, text="Queued by ana."))
    ended = {"finished_at": datetime.now(UTC), "status": "failed"}
    killer = page_job(db, study, setbacks=3, **ended)
    page_job(db, study, **ended)
    found = _stuck_jobs({"gpu"})
    assert waiting.id in found and new.id not in found
    assert not _stuck_jobs(set())
    finding = _jobs(get_settings(), servers)
    assert not finding.good and str(killer.id) in finding.text
    waiting.status = new.status = "cancelled"
    killer.setbacks = 0
    db.commit()


def test_doctor_counts_studies(db: Session, servers: Servers) -> None:
    there = update(Study).where(Study.deleted_at.is_(None)).values(deleted_at=func.now())
    others = db.scalars(there.returning(Study.id)).all()
    for words in ("for 1 study", "for 2 studies"):
        little_study(db)
        assert _models(get_settings(), servers).text.endswith(words)
    db.execute(update(Study).where(Study.id.in_(others)).values(deleted_at=None))
    db.commit()


def test_running_jobs_come_first(
    pages: httpx.Client, db: Session, study: Study, served: None
) -> None:
    running = page_job(db, study, status="running", done=1, total=4, rates=ON_TIME)
    later = page_job(db, study, status="finished")
    page = pages.get(f"/studies/{study.slug}/jobs")
    assert page.text.index(f"#{running.id}") < page.text.index(f"#{later.id}")
    assert "about 1 min 30 s left" in text_of(page)
    report = pages.get(f"/api/v1/jobs/{running.id}").json()
    assert report["seconds_left"] == 90
    listed = pages.get(f"/api/v1/studies/{study.slug}/jobs").json()["items"]
    assert [job["id"] for job in listed] == [later.id, running.id], "the API lists newest first"
    running.rates = {}
    db.commit()
    assert "time left unknown" in text_of(pages.get(f"/studies/{study.slug}/jobs"))


def test_no_page_asks_for_events_that_are_not_its_own(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    other = little_study(db)
    job = page_job(db, other, status="running", done=1, total=2)
    head = re.compile(r'id="jobs-now".*?</a>', re.DOTALL)
    mine = head.search(pages.get(f"/studies/{study.slug}/latents").text)
    everywhere = head.search(pages.get("/simulators").text)
    assert mine and "hidden" in mine[0]
    assert everywhere and re.search(r"\d+ jobs?", everywhere[0])
    job.status = "cancelled"
    db.commit()
