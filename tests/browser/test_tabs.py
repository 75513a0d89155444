"""Many tabs on one server: each loads, and the one in front is live."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Job
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS
from tests.factories import little_study

TABS = 8
"""A browser opens six connections to a server at most."""


@pytest.fixture
def window(browser: Browser, tmp_path: Path) -> Iterator[BrowserContext]:
    """A window of a browser in which tabs behind another one are hidden, as on anybody's screen.

    In a browser that Playwright starts, every page counts as in sight.
    """
    own = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={tmp_path}"]
    command = [CHROMIUM, *CHROMIUM_FLAGS, *own]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = (re.search(r"ws://\S+", line) for line in process.stderr)
            address = next(filter(None, lines))[0]
            attached = browser.browser_type.connect_over_cdp(
                address, no_defaults=True, timeout=120_000
            )
            yield attached.contexts[0]
        finally:
            process.terminate()


def test_the_eighth_tab_loads_and_the_one_in_front_is_live(
    web: str, db: Session, window: BrowserContext, served: None
) -> None:
    study = little_study(db)
    tabs = []
    for _ in range(TABS):
        page = window.new_page()
        page.bring_to_front()
        with page.expect_response(lambda answer: answer.url.endswith("/events")):
            page.goto(f"{web}/studies/{study.slug}/latents/0", timeout=15_000)
        tabs.append(page)
    first, last = tabs[0], tabs[-1]
    assert [page.evaluate("document.hidden") for page in tabs] == [True] * (TABS - 1) + [False]

    job = Job(study_id=study.id, kind="simulate", created_by="ana", status="running")
    job.started_at, job.done, job.total, job.attempts = datetime.now(UTC), 1, 4, 1
    db.add(job)
    db.commit()
    publish(study.id, "job", job.id)
    expect(last.locator("#jobs-now")).to_have_text("1 job, 25%")
    expect(first.locator("#jobs-now")).to_be_hidden()

    first.bring_to_front()
    expect(first.locator("#jobs-now")).to_have_text("1 job, 25%")
    job.done = 2
    db.commit()
    publish(study.id, "job", job.id)
    expect(first).to_have_title("50% · Latent 0 of A little study · Palimpsest")
    # A hidden tab asks now and then while there is work: its title is all of it that is seen.
    last.bring_to_front()
    job.done = 3
    db.commit()
    expect(first).to_have_title(re.compile("^75%"), timeout=30_000)
    job.status = "cancelled"
    db.commit()
