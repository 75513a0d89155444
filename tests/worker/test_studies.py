"""A study that is corrected after its collection failed."""

from pathlib import Path

import httpx
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cli.processes import Child
from models import Context, Latent, Study
from tests.checkpoints import coder_folder, living_folders
from tests.studies import study_values, wait_for_jobs


def test_a_corrected_study_is_collected_from_the_beginning(
    api: httpx.Client, db: Session, worker: Child, tmp_path: Path
) -> None:
    files = living_folders(tmp_path)
    # Its shapes are right, so that only its reconstruction tells.
    wrong = coder_folder(tmp_path / "wrong", transcode=False)
    lengths = {"context_length": 16, "contexts_explain": 600, "first_latents": 0}
    made = api.post(
        "/studies", json=study_values(tmp_path, **(files | lengths | {"coder": str(wrong)}))
    )
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    (job,) = wait_for_jobs(db, number)
    assert job.status == "failed" and "does not fit" in job.message
    right = {"coder": files["coder"], "context_length": 12, "contexts_explain": 500}
    assert api.patch(f"/studies/{made.json()['slug']}", json=right).status_code == 200
    jobs = wait_for_jobs(db, number)
    assert (jobs[0].id, jobs[0].kind, jobs[0].status) == (job.id, "collect", "finished")
    assert "anew" not in jobs[0].state
    explain = select(Context.tokens).filter_by(study_id=number, set="explain")
    assert [len(tokens) for tokens in db.scalars(explain)] == [12] * 500
    # Not a token of what was collected before is left.
    study = db.get_one(Study, number)
    assert study.coder_info["tokens"] == 500 * 11
    assert db.scalar(select(func.count()).where(Latent.study_id == number)) == 32
