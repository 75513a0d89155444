"""How long people wait: the first chart, a preview, an edit, all latents at once.

`palimpsest up` runs in an empty data folder with the demo study, as for a new user. Time counts
from the moment the web server answers. Then a bulk job runs beside everything that is measured.

    python -m benchmarks.loop [--check] [--edits 20] [--keep FOLDER]

Each figure is compared with its goal. The last line has the smallest ratio of goal and figure: at
least 1.0 if every goal holds.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import numpy as np

from cli.servers import free_port

API = "/api/v1/studies/demo"
TEXTS = (
    "Words for money, such as dollars and cents",
    "The verb “be” after “to” in a formal sentence",
    "Names of countries, above all Spain and Mexico",
    "Numbers of the year in a date",
    "Praise of Congress and its members",
)
PREVIEWS = 100
TYPING = 3.0
"""Seconds that somebody types before a text is saved."""
PATIENCE = 3600.0
T = TypeVar("T")


class Figure(NamedTuple):
    """A measured figure and its goal."""

    name: str
    value: float
    goal: float
    unit: str = "s"
    more_is_better: bool = False

    @property
    def ratio(self) -> float:
        """At least 1 if the goal holds."""
        if not np.isfinite(self.value):
            return 0.0
        return self.value / self.goal if self.more_is_better else self.goal / self.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 unless every goal holds")
    parser.add_argument("--edits", type=int, default=20)
    parser.add_argument(
        "--keep", type=Path, help="data folder, not removed; the first minutes only if it is new"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loop-") as made:
        folder = arguments.keep or Path(made)
        with running(folder) as client:
            print(f"{'':42}{'measured':>12}{'goal':>12}{'ratio':>8}", flush=True)
            figures = list(measured(client, arguments.edits))
    ratio = min(one.ratio for one in figures)
    print(f"loop ratio {ratio:.1f} (goal 1.0)")
    sys.exit(int(arguments.check and ratio < 1.0))


def measured(client: httpx.Client, count: int) -> Iterator[Figure]:
    """All figures, each printed when it is there."""
    for one in chain(
        first_minutes(client),
        previews(client),
        edits(client, count),
        in_a_row(client, count),
        estimates(client),
    ):
        print(
            f"{one.name:42}{one.value:>10.2f} {one.unit:<1}{one.goal:>10.2f} {one.unit:<1}"
            f"{one.ratio:>8.1f}",
            flush=True,
        )
        yield one


@contextmanager
def running(folder: Path) -> Iterator[httpx.Client]:
    """A client of `palimpsest up` in a data folder, once it answers."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "up.log").open("w") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--port", str(port)],
            env=os.environ | {"PALIMPSEST_HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            wait_for(lambda: _answers(client) or None, "the address", up)
            yield client
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(120)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success and client.get(API).is_success
    except httpx.TransportError:
        return False


def wait_for(
    found: Callable[[], T | None],
    what: str,
    up: subprocess.Popen[bytes] | None = None,
    *,
    every: float = 0.1,
) -> T:
    """Ask every few seconds until there is something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (one := found()) is not None:
            return one
        if up is not None and up.poll() is not None:
            raise SystemExit(f"`palimpsest up` ended before {what}.")
        time.sleep(every)
    raise SystemExit(f"No {what} within {PATIENCE:.0f} s.")


def first_minutes(client: httpx.Client) -> Iterator[Figure]:
    """The whole layer on the chart, and the bulk job that leads to it."""
    began = time.monotonic()
    if _main_point(client) is not None:
        return  # in a folder that was kept

    def whole() -> bool | None:
        found = _main_point(client)
        return (found is not None and len(found["explanation_ids"]) >= _firing(client)) or None

    # Not more often: a question about all latents takes time from the work that is measured.
    wait_for(whole, "main point of the whole layer", every=1)
    yield Figure(
        f"address → {_firing(client):,} latents on the chart", time.monotonic() - began, 240
    )

    def simulated() -> dict[str, Any] | None:
        jobs = [one for one in _jobs(client) if one["kind"] == "simulate"]
        bulk = max(jobs, key=lambda one: one["total"] or 0)
        return bulk if bulk["finished_at"] else None

    bulk = wait_for(simulated, "end of the simulation", every=1)
    yield Figure("all latents simulated and scored", _seconds(bulk), 300)


def _firing(client: httpx.Client) -> int:
    """The latents that fire: all of them are explained."""
    about = client.get(API).json()["coder_info"]
    return int(about["num_latents"]) - int(about["dead"])


def _main_point(client: httpx.Client, explanation: int | None = None) -> dict[str, Any] | None:
    """The newest rewrite whose whole set is measured, if it has an explanation."""
    for summary in _items(client.get(f"{API}/rewrites")):
        if summary["protocol"] != "whole":
            continue
        rewrite = client.get(f"{API}/rewrites/{summary['id']}").json()
        whole = len(rewrite["explanation_ids"])
        if explanation is not None and explanation not in rewrite["explanation_ids"]:
            return None
        for point in rewrite["points"]:
            if (point["calibration"], point["count"]) == ("isotonic", whole):
                return dict(rewrite)
    return None


def previews(client: httpx.Client) -> Iterator[Figure]:
    """Answers while somebody types, with a bulk job beside."""
    client.post(f"{API}/rewrites", json={"protocol": "paper"}).raise_for_status()
    latents = _spread(client, 5)

    def draft(number: int) -> httpx.Response:
        text = f"{TEXTS[number % len(TEXTS)]}, {number}"
        return client.post(f"{API}/latents/{latents[number % 5]}/draft", json={"text": text})

    for number in range(len(latents)):  # the first ones load what is needed
        wait_for(lambda number=number: draft(number).is_success or None, "answer to a draft")
    taken = []
    for number in range(PREVIEWS):
        began = time.monotonic()
        draft(number + 1000).raise_for_status()
        taken.append(time.monotonic() - began)
    p50, p95 = np.percentile(taken, [50, 95])
    yield Figure("preview, p50", float(p50), 0.15)
    yield Figure("preview, p95", float(p95), 0.40)


def edits(client: httpx.Client, count: int) -> Iterator[Figure]:
    """From a save to each of its figures, one edit after the other, with a bulk job beside.

    Each begins as on a page: the box asks for a draft when somebody begins to type.
    """
    taken: dict[str, list[float]] = {"scores": [], "own": [], "layer": []}
    for number, latent in enumerate(_spread(client, count)):
        client.post(f"{API}/latents/{latent}/draft", json={"text": "Words"}).raise_for_status()
        time.sleep(TYPING)
        began, saved = time.monotonic(), _save(client, latent, number)
        at = f"/api/v1/explanations/{saved}"
        wait_for(lambda at=at: _items(client.get(f"{at}/scores")) or None, "scores")
        taken["scores"].append(time.monotonic() - began)
        wait_for(lambda at=at: _items(client.get(f"{at}/loss-effects")) or None, "loss effects")
        taken["own"].append(time.monotonic() - began)
        wait_for(lambda saved=saved: _main_point(client, saved), "main point", every=0.25)
        taken["layer"].append(time.monotonic() - began)
    for name, goal, what in (
        ("scores", 1, "save → scores, p95"),
        ("own", 3, "save → its own loss effect, p95"),
        ("layer", 5, "save → main point of the layer, p95"),
    ):
        yield Figure(what, float(np.percentile(taken[name], 95)), goal)


def in_a_row(client: httpx.Client, count: int) -> Iterator[Figure]:
    """Edits as fast as they can be saved: until all that people wait for is measured."""
    newest = max(one["id"] for one in _jobs(client))
    for number, latent in enumerate(_spread(client, count)):
        _save(client, latent, 1000 + number)
    began = time.monotonic()

    def settled() -> bool | None:
        """True if the scores and loss effects of all edits are there, and the layer with them."""
        own = [one for one in _jobs(client) if one["id"] > newest]
        waited = [
            one
            for one in own
            if (one["kind"] == "simulate" and not one["params"].get("rest"))
            or one["params"].get("main_point")
        ]
        active = ("queued", "running")
        return True if not any(one["status"] in active for one in waited) else None

    wait_for(settled, "end of what people wait for", every=1)
    yield Figure(f"{count} edits in a row → all settled", time.monotonic() - began, 180)


def estimates(client: httpx.Client) -> Iterator[Figure]:
    """First-order estimates of all latents, and how well they agree with exact effects."""

    def made() -> float | None:
        ended = (one for one in _jobs(client) if one["kind"] == "attribute" and one["total"])
        return min((one["usage"]["seconds"] for one in ended if one["finished_at"]), default=None)

    def agreement() -> float | None:
        found = client.get(f"{API}/edit-next").json()["on_same_contexts"] or {}
        return found.get("rank_correlation")

    # At work: in the background it takes turns with all else that is left.
    yield Figure("estimates of all latents", wait_for(made, "estimates of all latents"), 30)
    rank = wait_for(agreement, "exact loss effects to compare")
    yield Figure("Spearman of estimate and exact", rank, 0.8, " ", more_is_better=True)


def _spread(client: httpx.Client, count: int) -> list[int]:
    """Latents from the most to the least frequent one, the same ones each time."""
    query: dict[str, Any] = {"simulated": True, "sort": "firing_rate", "order": "desc"}
    found: list[int] = []
    while "after" not in query or query["after"] is not None:
        page = client.get(f"{API}/latents", params=query).raise_for_status().json()
        found += [one["index"] for one in page["items"]]
        query["after"] = page["after"]
    return [found[i] for i in np.linspace(0, len(found) - 1, count).astype(int)]


def _save(client: httpx.Client, latent: int, number: int) -> int:
    text = {"text": f"{TEXTS[number % len(TEXTS)]} ({number})"}
    saved = client.post(f"{API}/latents/{latent}/explanations", json=text).raise_for_status()
    return int(saved.json()["explanation"]["id"])


def _jobs(client: httpx.Client) -> list[dict[str, Any]]:
    """The newest ones."""
    return _items(client.get(f"{API}/jobs", params={"limit": 500}))


def _items(answer: httpx.Response) -> list[dict[str, Any]]:
    body = answer.raise_for_status().json()
    return list(body["items"] if isinstance(body, dict) else body)


def _seconds(job: dict[str, Any]) -> float:
    """Wall time of a job, with what others took meanwhile."""
    if not job["finished_at"]:
        return float("nan")
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


if __name__ == "__main__":
    main()
