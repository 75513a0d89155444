"""How fast the pages are on a large study, beside Datasette with the same latents.

A database of its own is filled with COPY: 32,768 latents, 40 examples each, two versions of every
explanation with scores, loss effects and embeddings. The statements behind each page are then
explained: none may read a large table row by row.

Then many clients ask for pages, through real servers with one process each, ours and Datasette in
turn. Ours has more to tell on a page, and compresses it. ``--check`` fails unless the pages of the
table are ``TABLE`` times as fast, in the median, and a latent's page takes at most as long as
``ROWS`` of Datasette's pages of a single row. Last, ours runs with two processes: how long 95 of
100 answers take at most is told beside ``MOST``.

    python -m benchmarks.pages [--check] [--latents 32768] [--keep FOLDER]
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import event

from benchmarks import pages_data, pages_datasette
from benchmarks.measure import answering
from cli.fetch import fetch
from cli.processes import start, stop
from cli.servers import embedded_servers, free_port, migrate, use
from cli.services import web_command
from interp.embedding.embed import MODEL
from models.database import engine_of, get_engine
from models.settings import get_settings

TABLE = 3.0
"""Times that the table's pages are as fast as Datasette's, with the most clients."""
ROWS = 3.0
"""Datasette's pages of one row that a latent's page may take as long as."""
MOST = 150.0
"""Milliseconds that 95 of 100 answers should take at most, with the most clients. It depends on the
machine, so nothing fails for it."""
LARGEST = 100_000
"""Bytes that a latent's page may have, compressed."""
CLIENTS = (1, 16)
WORKERS = 2
"""Processes of the web server: as many as the cores that the goal is for."""
ROUNDS = 5
"""How often each page is measured."""
APART = 0.05
"""Seconds between the arrivals of two clients."""
LARGE = 1000
"""Reading a table of more rows than this from end to end is a missing index."""


class Measured(NamedTuple):
    """One page at one number of clients."""

    page: str
    clients: int
    requests: int
    median: float
    p95: float
    """Milliseconds."""
    size: float
    """Bytes on the wire, the largest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    parser.add_argument("--latents", type=int, default=32_768)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each page, and round")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--keep", type=Path, help="keep the database here, and use it again")
    arguments = parser.parse_args()
    models = fetch(MODEL, get_settings().data, lambda said: print(f"{said}…", flush=True)).parent
    with _folder(arguments.keep) as folder, embedded_servers(folder) as servers:
        use(servers)
        migrate(servers.database_url)
        get_settings().home = folder
        if not (folder / "models").exists():
            (folder / "models").symlink_to(models)
        began = time.monotonic()
        pages_data.fill(arguments.latents)
        print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
        asked = pages_data.addresses()
        reads = _explain(asked)
        path = pages_datasette.fill(folder, servers.database_url)
        theirs = pages_datasette.addresses(path, asked)
        with _web(folder, 1) as port, pages_datasette.served(path, folder) as other:
            sides = {"ours": (port, asked), "Datasette": (other, theirs)}
            compared = asyncio.run(_compare(sides, list(theirs), arguments.seconds))
        with _web(folder, arguments.workers) as port:
            measured = asyncio.run(_measure(port, asked, arguments.seconds))
    ok = _report(measured, reads)
    ratio = _report_compared(compared)
    if arguments.check and not (ok and ratio >= 1):
        sys.exit(1)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="palimpsest-pages-") as folder:
        yield Path(folder)


@contextmanager
def _web(folder: Path, workers: int) -> Iterator[int]:
    """The web server as in production; yields its port."""
    port = free_port()
    os.environ["PALIMPSEST_HOME"] = str(folder)
    command = web_command("127.0.0.1", port, "--workers", str(workers), "--no-access-log")
    child = start("web", command, folder, cwd=Path(__file__).parents[1])
    try:
        answering(f"http://127.0.0.1:{port}/healthz")
        yield port
    finally:
        stop([child])


class Client:
    """A connection that asks for one page after another, as a browser's does, but at the cost of
    almost no processor time: it shares the cores with the server."""

    async def connect(self, port: int) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, address: str) -> tuple[float, int]:
        """Milliseconds until the whole answer is here, and its bytes.

        Raises:
            RuntimeError: It is not the page.
        """
        began = time.perf_counter()
        request = f"GET {address} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
        self.writer.write(request.encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"content-length: (\d+)", head):
            length = int(found[1])
            await self.reader.readexactly(length)
        else:
            length = await self._chunks()
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{address}: {head.splitlines()[0].decode()}")
        return 1000 * (time.perf_counter() - began), length

    async def _chunks(self) -> int:
        """Read an answer that comes in chunks; returns its bytes."""
        length = 0
        while size := int(await self.reader.readline(), 16):
            await self.reader.readexactly(size + 2)
            length += size
        await self.reader.readline()
        return length


async def _compare(
    sides: dict[str, tuple[int, dict[str, list[str]]]], pages: list[str], seconds: float
) -> dict[str, dict[str, float]]:
    """The median of each page on each side in milliseconds, with the most clients.

    The sides take turns, page by page, and the rounds' median counts.

    Args:
        sides: The port and the addresses of each.
    """
    medians: dict[str, dict[str, list[float]]] = {}
    for count in range(1 + ROUNDS):
        for page in pages:
            for side, (port, asked) in sides.items():
                one = await _load(port, page, asked[page], max(CLIENTS), seconds)
                if count:  # in the first round the processes load templates
                    medians.setdefault(page, {}).setdefault(side, []).append(one.median)
    return {
        page: {side: median(several) for side, several in of.items()}
        for page, of in medians.items()
    }


async def _measure(port: int, asked: dict[str, list[str]], seconds: float) -> list[Measured]:
    """Measure every page in turn, and all of them again: of each the round whose p95 is the median
    counts. What else the machine does, and how new connections fall on the two processes, differs
    from one to the next."""
    for addresses in asked.values():  # the processes open connections and load templates
        await _load(port, "", addresses, max(CLIENTS), seconds)
    rounds: dict[tuple[int, str], list[Measured]] = {}
    for _ in range(ROUNDS):
        for count in CLIENTS:
            for page, addresses in asked.items():
                one = await _load(port, page, addresses, count, seconds)
                rounds.setdefault((count, page), []).append(one)
    return [sorted(several, key=lambda one: one.p95)[ROUNDS // 2] for several in rounds.values()]


async def _load(port: int, page: str, addresses: list[str], count: int, seconds: float) -> Measured:
    """Ask for one kind of page from several clients at once, each waiting for its answer.

    They come one after another, as people do: all at once, one process of the server would take
    most of them. What counts is asked for when all are there.
    """
    found: list[tuple[float, int]] = []
    all_here = time.monotonic() + count * APART
    until = all_here + seconds

    async def go_on(number: int) -> None:
        await asyncio.sleep(number * APART)
        client = await Client().connect(port)
        while (now := time.monotonic()) < until:
            took = await client.ask(addresses[number % len(addresses)])
            number += count
            if now >= all_here:
                found.append(took)
        client.writer.close()

    await asyncio.gather(*(go_on(number) for number in range(count)))
    times, sizes = zip(*found, strict=True)
    middle, p95 = np.percentile(times, [50, 95])
    return Measured(page, count, len(found), float(middle), float(p95), max(sizes))


def _explain(asked: dict[str, list[str]]) -> list[str]:
    """Explain every statement of every kind of page; print the slowest plan.

    Returns:
        The pages that read a large table from end to end, with the table.
    """
    from fastapi.testclient import TestClient

    from app.main import app
    from app.web.database import WEB

    statements: dict[str, list[tuple[str, Any]]] = {}
    page = ""

    def keep(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.setdefault(page, []).append((statement, parameters))

    with TestClient(app, base_url="http://localhost") as client:
        event.listen(engine_of(WEB), "before_cursor_execute", keep)
        for name, addresses in asked.items():
            page = name
            if (answer := client.get(addresses[0])).status_code != 200:
                raise RuntimeError(f"{addresses[0]}: {answer.status_code} {answer.text}")
        event.remove(engine_of(WEB), "before_cursor_execute", keep)
    reads: list[str] = []
    slowest: tuple[float, str, str] = (0.0, "", "")
    with get_engine().connect() as connection:
        for page, made in statements.items():
            total = 0.0
            for statement, parameters in made:
                if not statement.lstrip().startswith(("SELECT", "WITH")):
                    connection.exec_driver_sql(statement, parameters)
                    continue
                for _ in range(2):  # the second time from memory
                    answer = connection.exec_driver_sql(
                        f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
                    ).scalar_one()[0]
                took = answer["Execution Time"] + answer["Planning Time"]
                total += took
                reads += [f"{page}: {name}" for name in _read_whole(answer["Plan"])]
                if took > slowest[0]:
                    lines = connection.exec_driver_sql(
                        f"EXPLAIN (ANALYZE, COSTS OFF) {statement}", parameters
                    ).scalars()
                    slowest = took, page, "\n".join(lines)
            connection.rollback()
            print(f"{page}: {len(made)} statements, {total:.1f} ms in PostgreSQL", flush=True)
    plan = re.sub(r"'\[[^']{80,}\]'", "'[…]'", slowest[2])
    print(f"\nThe slowest statement: {slowest[0]:.1f} ms, of the {slowest[1]}\n{plan}\n")
    return sorted(set(reads))


def _read_whole(plan: dict[str, Any]) -> list[str]:
    """Large tables that a plan reads from end to end."""
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    here = [plan["Relation Name"]] if plan["Node Type"] == "Seq Scan" and rows > LARGE else []
    return here + [name for part in plan.get("Plans", []) for name in _read_whole(part)]


def _report(measured: list[Measured], reads: list[str]) -> bool:
    print(f"{'page':34} {'clients':>7} {'requests':>8} {'median':>8} {'p95':>8} {'KB':>6}")
    for one in measured:
        print(
            f"{one.page:34} {one.clients:7} {one.requests:8} {one.median:5.0f} ms "
            f"{one.p95:5.0f} ms {one.size / 1000:6.1f}"
        )
    for read in reads:
        print(f"read without an index: {read}")
    most = max(CLIENTS)
    worst = max(one.p95 for one in measured if one.clients == most)
    size = max(one.size for one in measured if one.page == pages_data.LATENT)
    if size > LARGEST:
        print(f"a latent's page has {size / 1000:.0f} KB, more than {LARGEST / 1000:.0f}")
    print(f"the longest p95 with {most} clients is {worst:.0f} ms, and should be {MOST:.0f} ms")
    return size <= LARGEST and not reads


def _report_compared(compared: dict[str, dict[str, float]]) -> float:
    """Print the medians beside Datasette's. Returns the smallest ratio of figure and goal."""
    print(f"\n{'one process each':34} {'ours':>9} {'Datasette':>11} {'times':>6} {'goal':>6}")
    ratios = []
    for page, of in compared.items():
        times = of["Datasette"] / of["ours"]
        goal = 1 / ROWS if page == pages_data.LATENT else TABLE
        ratios.append(times / goal)
        print(f"{page:34} {of['ours']:6.1f} ms {of['Datasette']:8.1f} ms {times:6.2f} {goal:6.2f}")
    print(f"pages ratio {min(ratios):.2f} (goal 1.0)")
    return min(ratios)


if __name__ == "__main__":
    main()
