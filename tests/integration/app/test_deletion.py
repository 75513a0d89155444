"""Studies and simulators are deleted with all that hangs on them, and nothing else."""

import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from app.services.deletion.studies import delete_study
from cli.servers import Servers
from models import (
    Base,
    Job,
    Latent,
    LatentList,
    LatentListItem,
    Sentence,
    Simulation,
    Simulator,
    Study,
)
from models.settings import Settings
from tests.conftest import palimpsest
from tests.factories import check, commented, generation, little_study, new_explanation
from tests.reading import problem_of, text_of
from tests.studies import queue_job
from workers.deletion import StillAtWork, remove
from workers.turns import LOCK


def full_study(db: Session) -> Study:
    """A study with a row in every table, explanations of two people, and files."""
    study = little_study(db)
    latents = db.scalars(select(Latent).filter_by(study_id=study.id).order_by(Latent.index)).all()
    commented(db, latents[0])
    new_explanation(db, latents[0], "by one person").author = "ana"
    new_explanation(db, latents[1], "by another").author = "ben"
    check(db, study, seeds="passed")
    made = generation(db, study, [latents[0]])
    db.get_one(Job, made.job_id).status = "finished"
    kept = LatentList(study_id=study.id, name="starred", created_by="ana")
    db.add(kept)
    db.add(
        Sentence(
            study_id=study.id,
            simulator_id=study.simulator_id,
            text="x",
            created_by="ana",
            simulated={"1": {"values": [1.0]}},
        )
    )
    db.flush()
    db.add(LatentListItem(list_id=kept.id, latent_id=latents[0].id, created_by="ana"))
    queue_job(db, study, "explain")
    db.commit()
    return study


def files_of(settings: Settings, study: Study) -> Path:
    folder = settings.study_files(study.id)
    (folder / "explain").mkdir(parents=True)
    (folder / "explain" / "000000000.safetensors").write_bytes(b"12345")
    return folder


def counts(db: Session) -> dict[str, int]:
    """Rows of every table but the simulators'."""
    db.rollback()
    tables = [table for table in Base.metadata.sorted_tables if table.name != "simulator"]
    return {t.name: db.scalar(select(func.count()).select_from(t)) or 0 for t in tables}


@pytest.fixture
def settings(data_folder: Path) -> Settings:
    return Settings(PALIMPSEST_HOME=data_folder)


def test_every_reference_is_indexed(db: Session) -> None:
    """Or PostgreSQL reads a whole table for each row that is deleted."""
    found = inspect(db.connection())
    for table in Base.metadata.tables:
        indexed = [i["column_names"][0] for i in found.get_indexes(table) if not _partial(i)]
        indexed += [u["column_names"][0] for u in found.get_unique_constraints(table)]
        indexed += found.get_pk_constraint(table)["constrained_columns"][:1]
        for key in found.get_foreign_keys(table):
            assert key["constrained_columns"][0] in indexed, f"{table}: {key['name']}"


def _partial(index: Any) -> bool:
    return "postgresql_where" in index.get("dialect_options", {})


def test_a_study_goes_with_all_that_hangs_on_it(
    api: httpx.Client, pages: httpx.Client, db: Session, settings: Settings
) -> None:
    before = counts(db)
    study = full_study(db)
    folder = files_of(settings, study)
    path = f"/studies/{study.slug}"
    hanging = api.get(f"{path}/deletion").json()
    assert hanging | {"latents": 6, "written_by_people": 2, "people": ["ana", "ben"]} == hanging
    assert (hanging["comments"], hanging["generations"], hanging["lists"]) == (1, 1, 1)
    assert (hanging["active_jobs"], hanging["files"], hanging["bytes"]) == (1, 1, 5)
    shown = text_of(pages.get(f"{path}/delete"))
    assert "2 explanations were written by ana, ben" in shown
    assert "1 file in the data folder, 5 bytes" in shown

    assert api.delete(path).status_code == 204
    assert problem_of(api.get(path), 404)
    assert problem_of(api.delete(path), 404)
    assert study.slug not in {one["slug"] for one in api.get("/studies").json()}
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="explain")).one()
    assert (job.status, problem_of(api.get(f"/jobs/{job.id}"), 404)) == (
        "cancelled",
        f"There is no job {job.id}.",
    )
    assert all(one["study_id"] != study.id for one in api.get("/jobs").json()["items"])
    assert study.title in text_of(pages.get("/studies")), "it says what is still being removed"
    db.rollback()

    assert sum(remove(db, "study", study.id)) > 0
    assert counts(db) == before
    assert not folder.exists()
    assert list(remove(db, "study", study.id)) == [], "a second time does nothing"


def test_the_name_of_a_deleted_study_is_free_at_once(api: httpx.Client, db: Session) -> None:
    study = little_study(db, latents=0)
    slug = study.slug
    assert api.delete(f"/studies/{slug}").status_code == 204
    data = {"slug": slug, "title": "Anew", "model": "m", "coder": "c", "hookpoint": "h"}
    made = api.post("/studies", json=data | {"corpus": "sotu"})
    assert made.status_code == 201, made.text
    list(remove(db, "study", study.id))
    assert api.get(f"/studies/{slug}").json()["id"] == made.json()["id"]


def test_a_study_that_is_not_deleted_is_not_removed(db: Session, study: Study) -> None:
    before = counts(db)
    assert list(remove(db, "study", study.id)) == []
    assert counts(db) == before


def test_nothing_is_removed_while_a_worker_has_a_unit_in_hand(
    db: Session, study: Study, settings: Settings
) -> None:
    folder = files_of(settings, study)
    job = queue_job(db, study, "simulate")
    delete_study(db, study)
    before = counts(db)
    bind = db.get_bind()
    with bind.connect() as worker:  # type: ignore[union-attr]
        worker.exec_driver_sql("SELECT pg_advisory_lock(%s, %s)", (LOCK, job.id))
        with pytest.raises(StillAtWork):
            list(remove(db, "study", study.id))
        assert counts(db) == before and folder.exists()
        worker.exec_driver_sql("SELECT pg_advisory_unlock(%s, %s)", (LOCK, job.id))
    assert list(remove(db, "study", study.id))
    assert not folder.exists()


def test_the_page_deletes(pages: httpx.Client, db: Session, study: Study) -> None:
    gone = pages.post(f"/studies/{study.slug}/delete")
    assert (gone.status_code, gone.headers["location"]) == (303, "/studies")
    assert pages.get(f"/studies/{study.slug}").status_code == 404
    list(remove(db, "study", study.id))


def test_the_command_deletes_without_a_worker(
    db: Session, servers: Servers, data_folder: Path, settings: Settings
) -> None:
    environment = {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "PALIMPSEST_HOME": str(data_folder),
    }
    before = counts(db)
    study = full_study(db)
    folder = files_of(settings, study)
    unsure = palimpsest("study", "delete", study.slug, **environment)
    assert (unsure.returncode, len(unsure.stderr.splitlines())) == (1, 1)
    assert "2 of them written by people" in unsure.stdout
    assert folder.exists()
    done = palimpsest("study", "delete", study.slug, "--yes", **environment)
    assert done.returncode == 0, done.stderr
    assert counts(db) == before
    assert not folder.exists()


def test_a_simulator_in_use_stays_and_another_goes(
    api: httpx.Client, pages: httpx.Client, db: Session
) -> None:
    study = full_study(db)
    old = study.simulator_id
    new = api.post("/simulators", json={"method": "last_token", "model": uuid.uuid4().hex}).json()
    used = f"simulator of {study.slug}: have them use another"
    assert used in problem_of(api.delete(f"/simulators/{old}"), 409)
    assert used in text_of(pages.post(f"/simulators/{old}/delete"))
    assert api.patch(f"/studies/{study.slug}", json={"simulator_id": new["id"]}).is_success
    job = queue_job(db, study, "simulate", simulator_id=old, explanation_ids=[])
    assert f"used by job {job.id}" in problem_of(api.delete(f"/simulators/{old}"), 409)
    assert api.post(f"/jobs/{job.id}/cancel").is_success
    hanging = api.get(f"/simulators/{old}/deletion").json()
    assert (hanging["studies"], hanging["jobs"], hanging["simulations"]) == ([], [], 6)
    assert "6 simulations" in text_of(pages.get(f"/simulators/{old}/delete"))

    explanations = counts(db)["explanation"]
    assert api.delete(f"/simulators/{old}").status_code == 204
    assert problem_of(api.get(f"/simulators/{old}"), 404)
    assert "no simulator" in problem_of(
        api.patch(f"/studies/{study.slug}", json={"simulator_id": old}), 404
    )
    assert all(one["id"] != old for one in api.get("/simulators").json())
    assert sum(remove(db, "simulator", old)) > 0
    db.expire_all()
    assert db.get(Simulator, old) is None
    assert not db.scalar(select(func.count()).select_from(Simulation).filter_by(simulator_id=old))
    assert counts(db)["explanation"] == explanations
    sentence = db.scalars(select(Sentence).filter_by(study_id=study.id)).one()
    assert (sentence.simulator_id, sentence.simulated) == (None, {})
    assert pages.get(f"/studies/{study.slug}").is_success


def test_a_deleted_simulator_can_be_added_anew(api: httpx.Client, db: Session) -> None:
    data = {"method": "last_token", "model": uuid.uuid4().hex}
    first = api.post("/simulators", json=data).json()
    assert api.delete(f"/simulators/{first['id']}").status_code == 204
    second = api.post("/simulators", json=data).json()
    assert second["id"] != first["id"]
    list(remove(db, "simulator", first["id"]))
    assert api.post("/simulators", json=data).json() == second


def test_the_command_deletes_a_simulator(
    api: httpx.Client, db: Session, servers: Servers, study: Study
) -> None:
    environment = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    used = palimpsest("simulator", "delete", str(study.simulator_id), "--yes", **environment)
    assert used.returncode == 1 and study.slug in used.stderr
    data = {"method": "last_token", "model": uuid.uuid4().hex}
    number = api.post("/simulators", json=data).json()["id"]
    done = palimpsest("simulator", "delete", str(number), "--yes", **environment)
    assert done.returncode == 0, done.stderr
    assert db.get(Simulator, number) is None
