"""Bulk work pauses while somebody waits, and has a third of the time all the same."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from cli.servers import Servers
from jobs.events import get_redis
from jobs.kinds import INTERACTIVE
from jobs.queue import celery
from workers import pause


@pytest.fixture
def serves_interactive(servers: Servers) -> Iterator[None]:
    """This process counts as an interactive worker."""
    queues = celery.amqp.queues
    before = dict(queues.consume_from)
    queues.select([INTERACTIVE])
    yield
    queues.select(list(before))
    get_redis().delete(pause._mark())


def test_it_pauses_for_as_long_as_somebody_waits(serves_interactive: None) -> None:
    pauses = pause.Pauses()
    waiting, over = threading.Event(), threading.Event()

    def somebody_waits() -> None:
        with pause.bulk_work_pauses():
            waiting.set()
            time.sleep(0.5)
            over.set()

    threading.Thread(target=somebody_waits).start()
    waiting.wait()
    pauses.look()
    assert over.is_set()
    assert not get_redis().exists(pause._mark())


def test_bulk_work_has_a_third_of_the_time(
    serves_interactive: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "BURST", 0.6)
    monkeypatch.setattr(pause, "AGAIN", 0.2)
    pauses, worked, began = pause.Pauses(), 0.0, time.monotonic()
    get_redis().set(pause._mark(), 1, ex=60)
    while time.monotonic() - began < 3.6:
        step = time.monotonic()
        time.sleep(0.005)
        worked += time.monotonic() - step
        pauses.look()
    # The first pause, of 0.6 s, comes before anything is owed.
    assert worked > 3.0 / 3 * 0.8
    assert worked < 3.6 * 0.6


def test_only_an_interactive_worker_has_others_pause(servers: Servers) -> None:
    with pause.bulk_work_pauses():
        assert not get_redis().exists(pause._mark())


def test_any_module_of_a_model_looks(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(pause.Pauses, "look", lambda self: looks.append(1))
    monkeypatch.setattr(pause, "_pauses", None)
    pause.pause()  # where a process does not pause, nothing is looked for
    assert not looks
    hooks = torch.nn.modules.module._global_forward_pre_hooks
    before = dict(hooks)
    pause.pause_between_modules()
    try:
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())(torch.zeros(1, 2))
    finally:
        for name in [*hooks]:
            if name not in before:
                del hooks[name]
    assert len(looks) == 3
    pause.pause()
    assert len(looks) == 4
