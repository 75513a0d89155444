"""``palimpsest doctor``: check all that Palimpsest needs, and name the remedy of each problem."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from cli import demo
from cli.errors import CommandError
from cli.failures import explain
from cli.servers import Servers, alembic_config, from_settings, running, use
from cli.services import address
from cli.up import ADDRESS, LITTLE_DISK
from interp.llm.registry import BACK_ENDS, BackEnd
from models.settings import Settings, model_folder

ANSWER_SECONDS = 10
"""The longest wait for an answer of the web server."""
TAKEN = 0.9
"""From this share of PostgreSQL's connections on, too many are taken."""
START = "Start with `palimpsest up`, or set DATABASE_URL and REDIS_URL."


class Finding(NamedTuple):
    """The result of a check. A problem says what to do about it."""

    good: bool
    text: str


Check = Callable[[Settings, Servers | None], Finding]


def examine(console: Console, settings: Settings) -> int:
    """Run all checks and print a table. Return 0 if all is well, 1 if not."""
    try:
        servers = from_settings(settings) or running(settings.data)
    except CommandError as error:
        console.print(str(error))
        return 1
    if servers is not None:
        use(servers)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "check", "finding"):
        table.add_column(heading, overflow="fold")
    problems = 0
    with console.status("Checking") as status:
        for name, check in CHECKS.items():
            status.update(f"Checking {name}")
            try:
                finding = check(settings, servers)
            except Exception as error:  # a check that breaks has found a problem
                finding = Finding(False, explain(error)[0])
            problems += not finding.good
            sign = "[green]ok[/]" if finding.good else "[red]problem[/]"
            table.add_row(sign, name, finding.text)
    console.print(table)
    return 1 if problems else 0


def _python(settings: Settings, servers: Servers | None) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding(good, version if good else f"{version}: install 3.11 or later")


def _torch(settings: Settings, servers: Servers | None) -> Finding:
    import torch

    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
        return Finding(True, f"{torch.__version__}, on {device}")
    cpu = f"{torch.get_num_threads()} CPU threads"
    capability = torch.backends.cpu.get_cpu_capability()
    # Where the processor has no such instructions, bfloat16 is slower than float32.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    bfloat16 = "with native bfloat16" if native else "without native bfloat16"
    return Finding(True, f"{torch.__version__}, on {cpu} ({capability}, {bfloat16})")


def _postgres(settings: Settings, servers: Servers | None) -> Finding:
    from alembic.script import ScriptDirectory
    from sqlalchemy import text

    from models.database import get_engine

    if servers is None:
        return Finding(False, f"not running. {START}")
    with get_engine().connect() as connection:
        version = connection.scalar(text("SHOW server_version"))
        table = connection.scalar(text("SELECT to_regclass('alembic_version')"))
        at = connection.scalar(text("SELECT version_num FROM alembic_version")) if table else None
        taken = connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE datid > 0"))
        most = connection.scalar(text("SELECT current_setting('max_connections')::int"))
    head = ScriptDirectory.from_config(alembic_config(servers.database_url)).get_current_head()
    if at != head:
        return Finding(False, f"{version}, tables at {at}, not {head}. Run `palimpsest migrate`.")
    used = f"{taken} of {most} connections taken"
    if taken > TAKEN * most:
        return Finding(
            False, f"{used}. Restart the web server, or stop other programs that use PostgreSQL."
        )
    return Finding(True, f"{version}, tables at {at}, {used}")


def _redis(settings: Settings, servers: Servers | None) -> Finding:
    from jobs.events import get_redis

    if servers is None:
        return Finding(False, f"not running. {START}")
    return Finding(True, f"{get_redis().info('server')['redis_version']}")


def _workers(settings: Settings, servers: Servers | None) -> Finding:
    from jobs.kinds import INTERACTIVE
    from jobs.queue import unserved

    if servers is None:
        return Finding(False, f"not running. {START}")
    answers = _inspect().ping() or {}
    if not answers:
        return Finding(
            False,
            f"none answers. Their logs are in {settings.data / 'log'}; workers of your own start "
            "with `celery -A jobs.queue worker -Q gpu,cpu` and the same with `-Q interactive`.",
        )
    names = ", ".join(sorted(answers))
    if queues := ",".join(sorted(lacking := unserved())):
        what = f"nobody takes jobs of {queues}"
        if lacking == {INTERACTIVE}:
            what = "without an interactive worker nothing is simulated while people type"
        start = f"`celery -A jobs.queue worker -Q {queues}`"
        return Finding(False, f"{names}; {what}. Start one with {start}.")
    return Finding(True, names)


def _jobs(settings: Settings, servers: Servers | None) -> Finding:
    from sqlalchemy import select

    from jobs.kinds import QUEUES
    from models import Job
    from models.database import new_session
    from workers.runner import MOST_SETBACKS

    if servers is None:
        return Finding(True, "not looked at: PostgreSQL is not running")
    stuck = _stuck_jobs(set(QUEUES) & _idle_queues())
    with new_session(reads=True) as session:
        killed = session.scalars(
            select(Job.id).where(
                Job.status == "failed",
                Job.setbacks >= MOST_SETBACKS,
                Job.finished_at > datetime.now(UTC) - timedelta(days=1),
            )
        ).all()
    problems = []
    if stuck:
        problems.append(
            f"{_numbered(stuck)} wait{'s' if len(stuck) == 1 else ''} though a worker is idle. "
            "Restart the worker."
        )
    if killed:
        problems.append(
            f"{_numbered(killed)} failed, as {'it was' if len(killed) == 1 else 'they were'} cut "
            "short again and again, most often for lack of memory. The log on its page says more."
        )
    return Finding(not problems, " ".join(problems) or "none is stuck")


def _inspect() -> Any:
    """Ask the workers. A Redis that refuses says so at once; Celery would try again and again."""
    from jobs.events import get_redis
    from jobs.queue import celery

    get_redis().ping()
    return celery.control.inspect(timeout=2)


def _numbered(ids: Sequence[int]) -> str:
    return f"job{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"


def _idle_queues() -> set[str]:
    """Queues of the workers that do nothing just now."""
    inspect = _inspect()
    active, queues = inspect.active() or {}, inspect.active_queues() or {}
    return {
        queue["name"] for name, of in queues.items() for queue in of if not active.get(name, True)
    }


def _stuck_jobs(queues: set[str]) -> list[int]:
    """Jobs of some queues that nobody holds, and that nothing has happened to for so long that a
    worker should have found them."""
    from sqlalchemy import func, select

    from jobs.queue import LOOK_SECONDS
    from models import JobEvent
    from models.database import new_session
    from workers.turns import waiting

    late = datetime.now(UTC) - timedelta(seconds=3 * LOOK_SECONDS)
    with new_session(reads=True) as session:
        ids = [row.id for row in session.execute(waiting(queues))]
        recent = (
            select(JobEvent.job_id)
            .where(JobEvent.job_id.in_(ids))
            .group_by(JobEvent.job_id)
            .having(func.max(JobEvent.at) > late)
        )
        moved = set(session.scalars(recent))
    return [job_id for job_id in ids if job_id not in moved]


def _web(settings: Settings, servers: Servers | None) -> Finding:
    import httpx

    note = settings.data / ADDRESS
    ours = note.exists()
    url = note.read_text() if ours else address(settings.host, settings.port or 8000)
    log = f"Its log is {settings.data / 'log' / 'web.log'}."
    if servers is None:
        return Finding(False, f"not running. {START}")
    try:
        with httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
            health = client.get("/healthz")
            began = time.monotonic()
            page = client.get("/", follow_redirects=True)
            seconds = time.monotonic() - began
    except httpx.TimeoutException:
        return Finding(False, f"{url} gives no answer within {ANSWER_SECONDS} s. Restart it. {log}")
    except httpx.TransportError:
        if ours:
            return Finding(False, f"nothing answers at {url}. {log}")
        return Finding(True, f"none at {url}, which is fine if it runs elsewhere")
    if not health.is_success:
        states = (f"{name} {state}" for name, state in health.json().items() if name != "status")
        return Finding(False, f"{url} is not healthy: {', '.join(states)}.")
    if page.is_server_error:
        return Finding(False, f"{url} answers with an error ({page.status_code}). {log}")
    return Finding(True, f"{url}, a page in {seconds:.1f} s")


def _models(settings: Settings, servers: Servers | None) -> Finding:
    if servers is not None:
        from sqlalchemy import select

        from models import Study
        from models.database import new_session

        with new_session() as session:
            there = Study.deleted_at.is_(None)
            rows = select(Study.slug, Study.model, Study.coder).where(there)
            studies = session.execute(rows).all()
        missing = [
            f"{slug}: {path}"
            for slug, *paths in studies
            for path in paths
            if path.startswith("/") and not Path(path).exists()
        ]
        if missing:
            return Finding(False, f"missing {'; '.join(missing)}. Put them back.")
        if studies:
            return Finding(
                True, f"all there, for {len(studies)} {'study' if len(studies) == 1 else 'studies'}"
            )
    folder = model_folder(settings.data, demo.MODEL)
    if not folder.exists():
        return Finding(False, f"{folder} is not there. Run `palimpsest fetch {demo.MODEL}`.")
    return Finding(True, str(folder))


def _activations(settings: Settings, servers: Servers | None) -> Finding:
    from cli.stores import incomplete
    from models.database import new_session

    if servers is None:
        return Finding(True, "not looked at: no database runs")
    with new_session() as session:
        problems = incomplete(session)
    headers = "all files are there, by their headers; `palimpsest check STUDY` reads them whole"
    return Finding(not problems, " ".join(problems) or headers)


def _back_end(back_end: BackEnd, settings: Settings, servers: Servers | None) -> Finding:
    if back_end.needs is not None and find_spec(back_end.needs) is None:
        return Finding(True, "not installed, which is fine; a GPU makes good use of it")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    return _server(back_end) if back_end.server else _demo_model(back_end, settings)


def _server(back_end: BackEnd) -> Finding:
    if not (address := os.environ.get("OPENAI_BASE_URL")):
        return Finding(True, "no server: OPENAI_BASE_URL is not set, which is fine")
    from interp.llm.openai import OpenAILLM

    models = OpenAILLM("").served()
    if not models:
        return Finding(False, f"{address} lists no models. Check the address.")
    return _self_test(back_end, models[0])


def _demo_model(back_end: BackEnd, settings: Settings) -> Finding:
    folder = model_folder(settings.data, demo.MODEL)
    if not folder.exists():
        return Finding(True, f"not tried: {demo.MODEL} is not fetched")
    return _self_test(back_end, str(folder))


def _self_test(back_end: BackEnd, model: str) -> Finding:
    from interp.llm.load import load_llm, self_test

    return Finding(True, self_test(load_llm(back_end.name, model)))


def _disk(settings: Settings, servers: Servers | None) -> Finding:
    data = settings.data
    folder = next(path for path in [data, *data.parents] if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free at {data}"
    if free < LITTLE_DISK:
        return Finding(False, f"{text}. Free some, or set PALIMPSEST_HOME to another disk.")
    return Finding(True, text)


CHECKS: dict[str, Check] = {
    "Python": _python,
    "torch": _torch,
    "PostgreSQL": _postgres,
    "Redis": _redis,
    "workers": _workers,
    "jobs": _jobs,
    "web server": _web,
    "model files": _models,
    "activations": _activations,
    **{f"LLM: {one.title}": partial(_back_end, one) for one in BACK_ENDS.values()},
    "disk": _disk,
}
