"""The deployment files agree with the program: settings, commands, routes, files."""

import re
import shlex
from typing import Any

import pytest
import typer
import yaml
from celery import Celery
from celery.app.utils import find_app
from celery.bin.worker import worker as celery_worker

from app import server
from app.main import create_app
from cli.main import app as command
from cli.services import WORKERS
from jobs.kinds import INTERACTIVE, QUEUES
from models.settings import Settings
from tests import REPOSITORY

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "palimpsest"}


def filled_in(text: str) -> str:
    """The text with the default of every variable, as Compose would put it."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", text).replace("$$", "$")


def dockerfile(instruction: str) -> list[str]:
    """The arguments of all instructions of one kind in the Dockerfile."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)


def test_services_and_profiles() -> None:
    assert set(SERVICES) == {
        "migrate",
        "fetch",
        "web",
        "worker",
        "interactive",
        "worker-gpu",
        "interactive-gpu",
        "postgres",
        "redis",
        "vllm",
    }
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    on_gpu = {
        "worker-gpu": ["gpu", "gpu2"],
        "interactive-gpu": ["gpu2"],
        "vllm": ["vllm"],
    }
    assert {name: profile for name, profile in profiles.items() if profile} == on_gpu
    for name in on_gpu:
        (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str) -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    environment = OURS[name]["environment"]
    assert set(environment) <= aliases
    values = {variable: filled_in(str(value)) for variable, value in environment.items()}
    settings = Settings.model_validate(values)
    assert settings.accounts
    assert settings.database_url
    assert settings.redis_url


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(name: str) -> None:
    program, *arguments = shlex.split(filled_in(OURS[name]["command"]))
    check_command(program, arguments)


def check_command(program: str, arguments: list[str]) -> None:
    match program:
        case "palimpsest":
            group = typer.main.get_command(command)
            with group.make_context("palimpsest", arguments.copy()) as context:
                name, chosen, rest = group.resolve_command(context, arguments)  # type: ignore[attr-defined]
                chosen.make_context(name, rest, parent=context)
        case "celery":
            option, target, task, *rest = arguments
            assert (option, task) == ("-A", "worker")
            assert isinstance(find_app(target), Celery)
            parsed = celery_worker.make_context("worker", rest, resilient_parsing=True)
            assert set(parsed.params["queues"]) <= set(QUEUES)
        case "python":
            flag, module, *rest = arguments
            assert (flag, module) == ("-m", "app.server")
            assert server.options(rest)["workers"] == 2
        case _:
            raise AssertionError(f"what is {program}?")


def test_every_queue_is_served() -> None:
    def queues(service: str) -> set[str]:
        return set(re.search(r"-Q (\S+)", filled_in(OURS[service]["command"]))[1].split(","))  # type: ignore[index]

    assert queues("worker") | queues("interactive") == set(QUEUES)
    assert queues("interactive") == queues("interactive-gpu") == {INTERACTIVE}
    assert queues("worker-gpu") == {INTERACTIVE, "gpu"}, "one GPU does both"
    started = [set(queues.split(",")) for queues in WORKERS.values()]
    assert set.union(*started) == set(QUEUES), "`palimpsest up` serves them too"
    assert {INTERACTIVE} in started


def test_health_checks_ask_what_is_there() -> None:
    paths = {getattr(route, "path", None) for route in create_app().routes}
    asked = re.findall(r"http://127\.0\.0\.1:8000(/[^'\"]*)", str(OURS["web"]["healthcheck"]))
    assert asked == ["/healthz"]
    assert set(asked) <= paths
    lasting = [service for service in SERVICES.values() if service.get("restart") != "no"]
    assert len(lasting) == len(SERVICES) - 2 and all("healthcheck" in one for one in lasting)
    target = re.search(r"celery -A (\S+) inspect ping", str(OURS["worker"]["healthcheck"]))
    assert target is not None
    assert isinstance(find_app(target[1]), Celery)


def test_dependencies_and_volumes_are_declared() -> None:
    for service in SERVICES.values():
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in SERVICES
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed]
        for volume in service.get("volumes", []):
            name = volume.split(":")[0]
            assert name in COMPOSE["volumes"] or name.startswith("./"), volume


def test_image_has_what_it_needs() -> None:
    sources = [word for line in dockerfile("COPY") for word in line.split()[:-1]]
    for source in sources:
        assert (REPOSITORY / source).exists(), source
    # Every package that is installed, and the folders that they read.
    packages = {"app", "cli", "interp", "jobs", "models", "workers"}
    assert packages | {"migrations", "static", "templates", "demo"} <= set(sources)
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert {f"!{source}" for source in sources} <= set(ignored)

    (start,) = dockerfile("CMD")
    program, *arguments = yaml.safe_load(start)
    check_command(program, arguments)
    assert dockerfile("USER") == ["palimpsest"]


def test_image_settings_are_settings() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    variables = re.findall(r"(\w+)=", " ".join(dockerfile("ENV")))
    assert {name for name in variables if name.startswith("PALIMPSEST")} <= aliases
    arguments = {line.split("=")[0] for line in dockerfile("ARG")}
    for service in OURS.values():
        assert set(service["build"]["args"]) <= arguments
