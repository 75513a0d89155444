"""Explain jobs that read results of other tools: cut short, repeated, and what is stored."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from jobs.params import ExplainParams
from models import Explanation, Job, Latent, Score, Study
from tests.explanation_files import versions
from tests.factories import little_study, new_explanation
from tests.results_folders import (
    answered,
    delphi_run,
    delphi_scores,
    neuronpedia_export,
    neuronpedia_row,
)
from tests.working import add_job, plan, work
from workers.tasks.explain import results


@pytest.fixture
def study(db: Session) -> Study:
    return little_study(db, simulator=False)


def job_of(db: Session, study: Study, method: str, path: Path, **more: Any) -> Job:
    return add_job(db, study, ExplainParams(method=method, path=str(path), **more))


def by(db: Session, study: Study, author: str) -> list[tuple[Any, ...]]:
    """Latent, text and whether it is current, of the versions by an author."""
    return [(v[0], v[1], v[5]) for v in versions(db, study) if v[2] == author]


def test_a_run_of_delphi_becomes_versions_with_their_origin(
    db: Session, study: Study, tmp_path: Path
) -> None:
    run = delphi_run(
        tmp_path, {0: "zero", 1: "Explanation could not be parsed.", 2: "two", 9: "beyond"}
    )
    items = [answered(True, True), answered(False, False)]
    delphi_scores(run, "detection", 2, items)
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=0)).one()
    new_explanation(db, latent, "a person's")
    job = job_of(db, study, "delphi", run)
    (step,) = work(db, job, study)
    assert (step.done, step.total, step.missing) == (4, 4, 2)
    assert job.state["failures"] == {
        "Delphi wrote: Explanation could not be parsed.": 1,
        "The study has no latent of this number.": 1,
    }
    assert job.state["says"]["run_config"]["explainer_model"] == "org/Explainer-70B"
    assert by(db, study, "delphi") == [(0, "zero", False), (2, "two", True)]
    two = db.scalars(select(Explanation).filter_by(text="two")).one()
    assert (two.author_kind, two.prompt_version) == ("model", None)
    assert two.details == {
        "model": "org/Explainer-70B",
        "scores": {"detection": {"n": 2, "unanswered": 0, "value": 1.0}},
        "origin": "delphi",
        "imported_by": "tests",
        "import": job.id,
        "line": 2,
    }
    assert db.scalars(select(Score).filter_by(explanation_id=two.id)).all() == []


def test_versions_of_a_latent_keep_their_order_and_the_last_is_current(
    db: Session, study: Study, tmp_path: Path
) -> None:
    rows = [neuronpedia_row("2", text) for text in ("b", "a", "b", "c", "a")]
    export = neuronpedia_export(tmp_path, rows)
    work(db, job_of(db, study, "neuronpedia", export), study)
    assert by(db, study, "neuronpedia") == [(2, "b", False), (2, "a", False), (2, "c", True)]


def test_an_import_goes_on_where_it_was_cut_short_and_twice_changes_nothing(
    db: Session, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "BLOCK", 3)
    rows = [neuronpedia_row(str(i % 4), f"text {i}") for i in range(10)]
    rows[4]["index"] = "x"
    for at in range(0, 10, 5):
        name = f"explanations/batch-{at}.jsonl.gz"
        export = neuronpedia_export(tmp_path, rows[at : at + 5], name=name)
    job = job_of(db, study, "neuronpedia", export)
    assert [step.done for step in work(db, job, study, most=2)] == [3, 6]
    assert [unit.done for unit in plan(db, job, study)] == [3, 3, 0, 0]
    db.expire_all()
    assert [step.done for step in work(db, job, study)] == [9, 10]
    assert (job.state["failures"], job.state["taken"]) == ({"Its index is no number.": 1}, 9)
    found = by(db, study, "neuronpedia")
    assert sorted(text for _, text, _ in found) == [f"text {i}" for i in range(10) if i != 4]
    assert {text for _, text, current in found if current} == {f"text {i}" for i in range(6, 10)}
    again = job_of(db, study, "neuronpedia", export)
    work(db, again, study)
    assert again.state["taken"] == 9
    assert by(db, study, "neuronpedia") == found


def test_a_worker_that_dies_in_a_unit_loses_it_whole(
    db: Session, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = delphi_run(tmp_path, {i: f"text {i}" for i in range(5)})
    job = job_of(db, study, "delphi", run)
    with monkeypatch.context() as patched:
        patched.setattr(results, "publish", lambda *_: None)
        patched.setattr(results.ReadResults, "_row", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            work(db, job, study)
    db.rollback()
    assert by(db, study, "delphi") == []
    assert [step.done for step in work(db, job, study)] == [5]
    assert len(by(db, study, "delphi")) == 5


def test_a_latent_takes_only_so_many(
    db: Session, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "A_LATENT", 3)
    monkeypatch.setattr(results, "BLOCK", 2)
    rows = [neuronpedia_row("2", f"text {i}") for i in range(5)]
    job = job_of(db, study, "neuronpedia", neuronpedia_export(tmp_path, rows))
    assert [step.missing for step in work(db, job, study)] == [0, 2, 1]
    assert [text for _, text, _ in by(db, study, "neuronpedia")] == ["text 0", "text 1"]


def test_nothing_that_could_be_taken_ends_the_job(
    db: Session, study: Study, tmp_path: Path
) -> None:
    run = delphi_run(tmp_path, {7: "beyond", 8: "beyond"})
    with pytest.raises(InputError, match=r"became an explanation. 2: The study has no latent"):
        work(db, job_of(db, study, "delphi", run), study)


def test_a_folder_that_is_gone_says_so(db: Session, study: Study, tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {0: "a"})
    job = job_of(db, study, "delphi", run)
    plan(db, job, study)
    shutil.rmtree(run)
    with pytest.raises(InputError, match=r"no folder .*/run. The web server and the workers"):
        work(db, job, study)
