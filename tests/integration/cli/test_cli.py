"""The command: what it says to bad input, and that it leaves nothing half-done."""

import re
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli import fetch as fetching
from cli.errors import CommandError
from cli.servers import Servers
from models import Job, Simulator, Study, User
from models.settings import Settings
from tests.checkpoints import model_folder
from tests.commands import assert_fails
from tests.conftest import palimpsest
from tests.factories import little_study

STUDY = {
    "slug": "mine",
    "title": "Mine",
    "model": "gpt2",
    "coder": "somebody/coder",
    "hookpoint": "h.3.mlp",
    "corpus": "sotu",
}


def options(**changed: str) -> list[str]:
    return [part for name, value in (STUDY | changed).items() for part in (f"--{name}", value)]


@pytest.fixture
def environment(servers: Servers, data_folder: Path) -> dict[str, str]:
    """Variables that point a command to the servers of the tests."""
    return {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "PALIMPSEST_HOME": str(data_folder),
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], ["No such command", "frobnicate"]),
        (["up", "--port", "70000"], ["--port", "65535"]),
        (["up", "--port", "many"], ["--port", "integer"]),
        (["collect"], ["Missing argument", "STUDY"]),
        (["simulate", "demo"], ["--latents", "--first"]),
        (["simulate", "demo", "--latents", "one,two"], ["numbers with commas"]),
        (["simulate", "demo", "--all", "--missing"], ["in one way"]),
        (["simulate", "demo", "--first", "3", "--author", "ana"], ["--author"]),
        (["explain", "demo", "--method", "prompted"], ["--model"]),
        (["explain", "demo", "--model", "gpt2"], ["leave it out"]),
        (["score", "demo"], ["--model"]),
        (["simulator", "add", "--method", "two_tower", "--model", "gpt2"], ["give the folder"]),
        (["fetch", "gpt-5"], ["gpt-5", "smollm2-135m-instruct"]),
        (["study", "create", *options(slug="Not A Slug")], ["slug", "lower-case"]),
        (["study", "create", *options(title="")], ["title", "Fill in"]),
        (["study", "create", *options(model="/nowhere/model")], ["--model", "/nowhere/model"]),
        (["study", "create", *options(model="cut.gguf")], ["--model", "cut.gguf"]),
        (["study", "create", *options(corpus="brown")], ["--corpus", "brown"]),
        (["user", "add", "a:b", "--password", "long enough"], ["colon"]),
        (["user", "add", "ada", "--password", "short"], ["at least 8"]),
    ],
)
def test_bad_input(arguments: list[str], words: list[str], environment: dict[str, str]) -> None:
    assert_fails(palimpsest(*arguments, **environment), *words)


def test_study_that_is_not_there(environment: dict[str, str]) -> None:
    for command in (["collect"], ["explain"], ["rewrite"], ["simulate", "--all"]):
        run = palimpsest(*command, "nowhere", **environment)
        assert_fails(run, "no study named nowhere")


def test_study_create_and_list(environment: dict[str, str], db: Session, tmp_path: Path) -> None:
    model_folder(tmp_path / "model")
    created = palimpsest(
        "study",
        "create",
        *options(model=str(tmp_path / "model"), hookpoint="layers.1.mlp"),
        **environment,
    )
    assert created.returncode == 0, created.stderr
    study = db.scalars(select(Study).where(Study.slug == "mine")).one()
    job = db.scalars(select(Job).where(Job.study_id == study.id)).one()
    assert (study.model, job.kind, job.params) == (
        str(tmp_path / "model"),
        "collect",
        {"first_latents": 32},
    )
    listed = palimpsest("study", "list", **environment)
    assert "mine" in listed.stdout
    assert "not collected yet" in listed.stdout
    again = palimpsest("study", "create", *options(), **environment)
    assert_fails(again, "There is a study named mine already")
    unknown = palimpsest("simulate", "mine", "--latents", "7", **environment)
    assert_fails(unknown, "has no simulator yet")
    db.delete(study)
    db.commit()


def test_simulators(environment: dict[str, str], db: Session) -> None:
    add = ("simulator", "add", "--method", "last_token", "--model", "somebody/some-model")
    for _ in range(2):
        added = palimpsest(*add, **environment)
        assert added.returncode == 0, added.stderr
    simulator = db.scalars(select(Simulator).filter_by(model="somebody/some-model")).one()
    assert f"It is simulator {simulator.id}." in added.stdout
    run = palimpsest("simulator", "list", **environment | {"COLUMNS": "200"})
    assert run.returncode == 0, run.stderr
    listed = run.stdout
    assert re.search(rf"{simulator.id} +last_token on some-model +last_token-1", listed)
    study = little_study(db)
    used = palimpsest("simulator", "use", study.slug, str(simulator.id), **environment)
    assert "Independent. The simulator runs on another model" in used.stdout, used.stderr
    db.refresh(study)
    assert study.simulator_id == simulator.id
    unknown = palimpsest("simulator", "use", study.slug, "999999999", **environment)
    assert_fails(unknown, "no simulator 999999999")
    empty = palimpsest("simulate", study.slug, "--latents", "5", **environment)
    assert_fails(empty, "nothing to simulate")


def test_user_add(environment: dict[str, str], db: Session) -> None:
    from app.services.people.passwords import hasher

    added = palimpsest("user", "add", "grace", "--password", "hopper12", **environment)
    assert added.returncode == 0, added.stderr
    user = db.scalars(select(User).where(User.name == "grace")).one()
    assert hasher.verify("hopper12", user.password_hash)
    assert user.role == "editor"
    assert palimpsest("user", "role", "grace", "reader", **environment).returncode == 0
    again = ("user", "add", "grace", "--password", "cobol1959")
    assert palimpsest(*again, **environment).stdout.endswith("is reader.\n")
    listed = palimpsest("user", "list", **environment).stdout
    assert "grace" in listed and "reader" in listed
    assert_fails(palimpsest("user", "role", "grace", "owner", **environment), "owner", "admin")
    for command in ("role", "remove"):
        more = ["reader"] if command == "role" else []
        unknown = palimpsest("user", command, "nobody", *more, **environment)
        assert_fails(unknown, "nobody named nobody")
    assert palimpsest("user", "remove", "grace", **environment).returncode == 0
    db.expire_all()
    assert db.scalar(select(User).where(User.name == "grace")) is None


def test_fetch_is_done_once(data_folder: Path) -> None:
    said: list[str] = []
    folder = fetching.fetch("smollm2-135m-instruct", data_folder, said.append)
    assert (folder / "config.json").exists()
    assert said == []
    with pytest.raises(CommandError, match="no model 'other'"):
        fetching.fetch("other", data_folder, said.append)


def test_a_fetched_model_goes_by_its_name(data_folder: Path) -> None:
    settings = Settings(PALIMPSEST_HOME=data_folder)
    fetched = data_folder / "models" / "smollm2-135m-instruct"
    assert Path(settings.model_source("smollm2-135m-instruct")).samefile(fetched)
    assert settings.model_source(str(fetched)) == str(fetched)
    assert settings.model_source("somebody/model") == "somebody/model"
