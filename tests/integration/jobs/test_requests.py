"""Requests through Redis: the newest of a tab is answered, and nobody waits for ever."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.orm import Session

from jobs import queue, requests
from jobs.drafts import DraftAnswer, DraftRequest
from jobs.events import get_redis
from jobs.kinds import INTERACTIVE
from jobs.requests import LIST, Envelope, NoAnswer, Superseded
from models import Study
from workers.interactive.serve import answer_waiting


@pytest.fixture
def heard(db: Session) -> Any:
    """An interactive worker has just said that it is there."""
    get_redis().delete(LIST)
    queue.beat([INTERACTIVE])
    yield
    get_redis().delete(f"palimpsest:served:{INTERACTIVE}", LIST)


def ask(study: Study, number: int = 0, tab: str = "tab", seconds: float = 20) -> DraftAnswer:
    request = DraftRequest(latent=0, text="the word state")
    asking = requests.ask(
        "draft", study.id, request, DraftAnswer, tab=tab, number=number, seconds=seconds
    )
    # In a thread of its own: browser tests leave a running event loop in the main one.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, asking).result()


class Asking(threading.Thread):
    """Somebody who waits for an answer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self.arguments, self.options = arguments, options
        self.outcome: object = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = ask(*self.arguments, **self.options)
        except Exception as error:
            self.outcome = error


def wait_for_requests(count: int) -> None:
    deadline = time.monotonic() + 20
    while get_redis().llen(LIST) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_an_interactive_worker_the_answer_says_so(study: Study) -> None:
    get_redis().delete(f"palimpsest:served:{INTERACTIVE}")
    with pytest.raises(NoAnswer, match="No interactive worker is running"):
        ask(study)
    assert get_redis().llen(LIST) == 0


def test_nobody_waits_longer_than_the_limit(study: Study, heard: None) -> None:
    with pytest.raises(NoAnswer, match="no answer within 1 s"):
        ask(study, seconds=1)
    # The worker comes late: nobody waits any more, so nothing is computed.
    (envelope,) = requests.take_all()
    assert envelope.until < requests.now()
    get_redis().rpush(LIST, envelope.model_dump_json())
    answer_waiting()
    assert not get_redis().exists(f"palimpsest:answer:{envelope.id}")


def test_the_newest_request_of_a_tab_wins(study: Study, heard: None) -> None:
    asking = []
    for count, (tab, number) in enumerate((("a", 1), ("b", 7), ("a", 3), ("a", 2), ("b", 8)), 1):
        asking.append(Asking(study, number, tab))
        wait_for_requests(count)
    answer_waiting()
    for one in asking:
        one.join(20)
    outcomes = [type(one.outcome) for one in asking]
    # The study is not collected, which the worker says to those who still wait.
    assert outcomes == [Superseded, Superseded, NoAnswer, Superseded, NoAnswer]
    assert "no simulator yet" in str(asking[2].outcome)


def test_what_cannot_be_read_is_dropped(study: Study, heard: None) -> None:
    get_redis().rpush(LIST, b"{}")
    deleted = Envelope(
        id="x", name="draft", study_id=2**31 - 1, until=requests.now() + 9, request={}
    )
    get_redis().rpush(LIST, deleted.model_dump_json())
    answer_waiting()
    assert get_redis().llen(LIST) == 0
