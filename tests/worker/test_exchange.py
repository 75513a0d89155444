"""``palimpsest import --format`` and ``palimpsest export --format``, with a worker at work."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from cli.processes import Child
from models import Study
from models.settings import get_settings
from tests.conftest import palimpsest
from tests.explanation_files import versions
from tests.factories import little_study
from tests.results_folders import delphi_run, neuronpedia_export, neuronpedia_row


@pytest.fixture
def study(db: Session, worker: Child) -> Study:
    return little_study(db, simulator=False)


def servers_of() -> dict[str, str]:
    """The servers of the tests, as settings of the command."""
    settings = get_settings()
    return {"DATABASE_URL": settings.database_url or "", "REDIS_URL": settings.redis_url or ""}


def test_results_come_in_by_the_command(db: Session, study: Study, tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {0: "zero", 1: "one", 9: "beyond"}, model="org/Other")
    refused = palimpsest("import", study.slug, run, "--format", "delphi", **servers_of())
    assert refused.returncode == 1
    assert "the model org/Other" in refused.stderr and "--anyway" in refused.stderr
    done = palimpsest("import", study.slug, run, "--format", "delphi", "--anyway", **servers_of())
    assert done.returncode == 0, done.stderr
    assert "1 of 3 became no explanation. 1: The study has no latent of this number." in done.stdout
    assert [v[1] for v in versions(db, study) if v[2] == "delphi"] == ["zero", "one"]


def test_a_job_with_nothing_to_take_fails(db: Session, study: Study, tmp_path: Path) -> None:
    export = neuronpedia_export(tmp_path, [neuronpedia_row("x", "text")])
    failed = palimpsest("import", study.slug, export, "--format", "neuronpedia", **servers_of())
    assert failed.returncode == 1
    assert "became an explanation. 1: Its index is no number." in failed.stderr


def test_anyway_alone_and_a_file_of_ours_are_told_apart(study: Study, tmp_path: Path) -> None:
    alone = palimpsest("import", study.slug, tmp_path, "--anyway", **servers_of())
    assert alone.returncode == 1 and "name it with --format" in alone.stderr
    ours = palimpsest("import", study.slug, tmp_path, **servers_of())
    assert ours.returncode == 1 and "must have one of explanations.jsonl" in ours.stderr


def test_a_study_goes_out_by_the_command(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = ("export", study.slug, "--format")
    done = palimpsest(*wanted, "neuronpedia", "--out", out, **servers_of())
    assert done.returncode == 0, done.stderr
    assert f"{out / 'v1'} (6 files, " in done.stdout
    lost = palimpsest(*wanted, "delphi", "--out", tmp_path / "none", **servers_of())
    assert lost.returncode == 1 and "Activations of 8 contexts are missing" in lost.stderr
    assert not (tmp_path / "none").exists()
