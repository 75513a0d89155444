"""``palimpsest up``: everything on one machine, started and stopped together."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from sqlalchemy import select

from cli import demo, processes, services
from cli.errors import CommandError
from cli.fetch import fetch
from cli.follow import follow
from cli.servers import (
    Servers,
    embedded_servers,
    free_port,
    from_settings,
    locked,
    migrate,
    use,
)
from interp.embedding import embed
from models import Job, Study
from models.database import new_session
from models.settings import Settings

LEAST_DISK = 200_000_000
LITTLE_DISK = 2_000_000_000
ADDRESS = "address"
"""File in the data folder that says where the web server listens, while it does."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(console: Console, settings: Settings, with_demo: bool) -> None:
    """Start what there is to start, print the address, and stay until Ctrl-C or SIGTERM.

    Raises:
        CommandError: Something cannot start, a server ended by itself, or a worker or the web
            server did so again and again.
    """
    for number in STOPPING:
        # Under `nohup` it is ignored, and stays so.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        with _servers(settings) as servers:
            try:
                _serve(console, settings, servers, with_demo)
            finally:
                _ignore_signals()
    except KeyboardInterrupt:
        console.print("Stopped. `palimpsest up` goes on from here.")


@contextmanager
def _servers(settings: Settings) -> Iterator[Servers]:
    """The servers that the environment names, or embedded ones, with the data folder held."""
    named = from_settings(settings)
    if named is None:
        _check_disk(settings.data)
        with embedded_servers(settings.data) as servers:
            yield servers
        return
    with locked(settings.data):
        processes.stop_orphans(settings.data)
        yield named


def _serve(console: Console, settings: Settings, servers: Servers, with_demo: bool) -> None:
    data, host = settings.data, settings.host
    port = settings.port or free_port(host)
    services.check_port(host, port)
    os.environ |= {"PALIMPSEST_HOME": str(data), "PALIMPSEST_HOST": host}
    use(servers)
    migrate(servers.database_url)
    if shutil.disk_usage(data).free < LITTLE_DISK:
        console.print(f"[yellow]The disk with {data} has less than 2 GB free.[/]")
    if with_demo:
        _ensure_study(console, settings)

    url = services.address(host, port)
    kept: list[processes.Kept] = []

    def say(line: str) -> None:
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)

    def look_after() -> None:
        processes.check(servers.children)
        for one in kept:
            one.check()
        for child in (*servers.children, *(one.child for one in kept)):
            processes.rotate(child.log)

    try:
        for start in (
            lambda: services.start_worker(data, "worker"),
            lambda: services.start_worker(data, "interactive"),
            lambda: services.start_web(data, host, port),
        ):
            kept.append(processes.Kept(start, say))
        (data / ADDRESS).write_text(url)
        with console.status("Starting the workers and the web server"):
            services.wait_until_healthy(url, [*servers.children, *(one.child for one in kept)])
        console.print(Panel(_welcome(url, settings), title="Palimpsest", expand=False))
        unfinished = select(Job).where(Job.status.in_(("queued", "running")))
        with new_session() as session:
            first = session.scalar(unfinished.order_by(Job.id).limit(1))
        if first is not None:
            query = select(Job).where(Job.id >= first.id).order_by(Job.id)
            follow(console, query, look_after)
        while True:
            look_after()
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("Stopping.")
        raise
    except Exception:
        time.sleep(1)
        processes.check(servers.children)  # a child that ended explains what else does not work
        raise
    finally:
        _ignore_signals()
        (data / ADDRESS).unlink(missing_ok=True)
        processes.stop(one.child for one in kept)


def _ignore_signals() -> None:
    """A second Ctrl-C must not cut the stopping of the children short."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _welcome(url: str, settings: Settings) -> str:
    lines = [f"[bold]{url}[/]", "Ctrl-C stops it. Data and logs are in " + str(settings.data)]
    if not settings.accounts and not _is_loopback(settings.host):
        lines.append("[yellow]Whoever reaches this address may edit. See PALIMPSEST_ACCOUNTS.[/]")
    return "\n".join(lines)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ensure_study(console: Console, settings: Settings) -> None:
    """Make the demo studies if there is no study. Without them the rest still works."""
    with new_session() as session:
        study = select(Study.id).where(Study.deleted_at.is_(None)).limit(1)
        if session.scalar(study) is None and fetch_models(console, settings):
            demo.create_demo(session, settings.user)


def fetch_models(console: Console, settings: Settings) -> bool:
    """Fetch the models of the demo studies. False if they cannot be had.

    The model for search by meaning comes along, so that the demo's jobs embed what they write. One
    line says so where it cannot be had.
    """
    with console.status("Preparing the demo study") as status:
        for what, *names in (
            ("There is no demo study", demo.MODEL, demo.BASE),
            (f"No search by meaning before `palimpsest fetch {embed.MODEL}`", embed.MODEL),
        ):
            try:
                for name in names:
                    fetch(name, settings.data, lambda text: status.update(text))
            except CommandError as error:
                console.print(f"[yellow]{what}: {escape(str(error))}[/]", soft_wrap=True)
                if demo.MODEL in names:
                    return False
    return True


def _check_disk(data: Path) -> None:
    """Refuse a disk that is about to be full: PostgreSQL stops in the middle of things on one."""
    folder = next(path for path in [data, *data.parents] if path.exists())
    free = shutil.disk_usage(folder).free
    if free < LEAST_DISK:
        raise CommandError(
            f"The disk with {data} is full: {free / 1e6:.0f} MB free, at least "
            f"{LEAST_DISK / 1e6:.0f} MB are needed. Free some, or set PALIMPSEST_HOME."
        )
