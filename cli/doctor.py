"""``palimpsest doctor``: what Palimpsest needs, whether it is there, and what to do if not."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table

from cli import demo
from cli.errors import CommandError
from cli.servers import Servers, alembic_config, from_settings, running, use
from cli.up import LITTLE_DISK
from models.settings import Settings, model_folder

if TYPE_CHECKING:
    from interp.llm.load import BackEnd

START = "Start with `palimpsest up`, or set DATABASE_URL and REDIS_URL."


class Finding(NamedTuple):
    """What a check found. A problem says what to do about it."""

    good: bool
    text: str


Check = Callable[[Settings, Servers | None], Finding]


def examine(console: Console, settings: Settings) -> int:
    """Run all checks and print a table; return 0 if all is well, 1 if not."""
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
                reason = str(error).strip().splitlines() or [type(error).__name__]
                finding = Finding(False, reason[0])
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
    head = ScriptDirectory.from_config(alembic_config(servers.database_url)).get_current_head()
    if at != head:
        return Finding(False, f"{version}, tables at {at}, not {head}. Run `palimpsest migrate`.")
    return Finding(True, f"{version}, tables at {at}")


def _redis(settings: Settings, servers: Servers | None) -> Finding:
    from workers.queue import get_redis

    if servers is None:
        return Finding(False, f"not running. {START}")
    return Finding(True, f"{get_redis().info('server')['redis_version']}")


def _worker(settings: Settings, servers: Servers | None) -> Finding:
    from workers.queue import celery

    if servers is None:
        return Finding(False, f"not running. {START}")
    answers = celery.control.inspect(timeout=2).ping() or {}
    if not answers:
        where = settings.data / "log" / "worker.log"
        return Finding(
            False,
            f"none answers. Its log is {where}; a worker of your own starts with "
            "`celery -A workers.queue worker -Q gpu,cpu`.",
        )
    return Finding(True, ", ".join(sorted(answers)))


def _models(settings: Settings, servers: Servers | None) -> Finding:
    if servers is not None:
        from sqlalchemy import select

        from models import Study
        from models.database import new_session

        with new_session() as session:
            studies = session.execute(select(Study.slug, Study.model, Study.coder)).all()
        missing = [
            f"{slug}: {path}"
            for slug, *paths in studies
            for path in paths
            if path.startswith("/") and not Path(path).exists()
        ]
        if missing:
            return Finding(False, f"missing {'; '.join(missing)}. Put them back.")
        if studies:
            return Finding(True, f"all there, for {len(studies)} study(ies)")
    folder = model_folder(settings.data, demo.MODEL)
    if not folder.exists():
        return Finding(False, f"{folder} is not there. Run `palimpsest fetch {demo.MODEL}`.")
    return Finding(True, str(folder))


def _transformers(settings: Settings, servers: Servers | None) -> Finding:
    return _demo_model("transformers", settings)


def _vllm(settings: Settings, servers: Servers | None) -> Finding:
    if find_spec("vllm") is None:
        return Finding(True, "not installed, which is fine; a GPU makes good use of it")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    return _demo_model("vllm", settings)


def _openai(settings: Settings, servers: Servers | None) -> Finding:
    if not (address := os.environ.get("OPENAI_BASE_URL")):
        return Finding(True, "no server: OPENAI_BASE_URL is not set, which is fine")
    from interp.llm.openai import OpenAILLM

    models = OpenAILLM("").served()
    if not models:
        return Finding(False, f"{address} lists no models. Check the address.")
    return _self_test("openai", models[0])


def _demo_model(back_end: "BackEnd", settings: Settings) -> Finding:
    folder = model_folder(settings.data, demo.MODEL)
    if not folder.exists():
        return Finding(True, f"not tried: {demo.MODEL} is not fetched")
    return _self_test(back_end, str(folder))


def _self_test(back_end: "BackEnd", model: str) -> Finding:
    from transformers.utils import logging

    from interp.llm.load import load_llm, self_test

    logging.disable_progress_bar()  # the table has a status line of its own
    return Finding(True, self_test(load_llm(back_end, model)))


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
    "worker": _worker,
    "model files": _models,
    "LLM: Transformers": _transformers,
    "LLM: vLLM": _vllm,
    "LLM: server": _openai,
    "disk": _disk,
}
