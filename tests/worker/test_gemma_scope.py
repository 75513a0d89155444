"""One command takes a Gemma Scope 2 checkpoint and a folder of texts to a chart.

The checkpoint is a transcoder of Gemma 3 270M that ``tests.real_coders`` trained.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cli.fetch import fetch
from cli.processes import Child
from models import Explanation, Job, Latent, Rewrite, RewritePoint, Score, Study
from tests.conftest import palimpsest
from tests.real_coders import GEMMA, GEMMA_SCOPE_2
from tests.studies import some_texts, wait_until


@pytest.fixture
def gemma(data_folder: Path, model_cache: Path) -> Iterator[None]:
    """The subject, which is also the base of the shipped simulator."""
    fetch(GEMMA, model_cache.parent, say=print)
    link = data_folder / "models" / GEMMA
    link.symlink_to(model_cache / GEMMA)
    yield
    link.unlink()


def test_a_checkpoint_and_a_folder_of_texts_become_a_chart(
    db: Session, worker: Child, api: httpx.Client, gemma: None, tmp_path: Path
) -> None:
    texts = some_texts(tmp_path / "texts")
    few = ["--contexts-explain", "300", "--contexts-calibrate", "24"]
    few += ["--contexts-evaluate", "16", "--contexts-rewrite", "8"]
    named = ["--slug", "scope", "--title", "Scope", "--model", GEMMA]
    run = palimpsest("study", "create", *named, "--coder", GEMMA_SCOPE_2, "--corpus", texts, *few)
    assert run.returncode == 0, run.stderr
    study = db.scalars(select(Study).filter_by(slug="scope")).one()
    jobs = select(Job).where(Job.study_id == study.id)
    main_point = jobs.where(Job.kind == "rewrite", Job.params["main_point"].as_boolean())
    failed = jobs.where(Job.status == "failed")
    wait_until(
        db,
        lambda: (
            any(job.status == "finished" for job in db.scalars(main_point))
            or db.scalars(failed).first()
        ),
        timeout=800,
        what="the layer's main point",
    )
    assert not db.scalars(failed).all(), [job.message for job in db.scalars(failed)]
    # The inner points and the loss effects of single latents take longer than this test should.
    db.execute(
        update(Job)
        .where(Job.study_id == study.id, Job.status.in_(("queued", "running")))
        .values(status="cancelled")
    )
    db.commit()

    db.refresh(study)
    assert study.hookpoint == "layers.9.post_feedforward_layernorm"
    assert study.reads == "layers.9.pre_feedforward_layernorm"
    assert study.coder_info["rule"].startswith("those above") and study.coder_info["k"] is None
    assert study.coder_info["fvu"] < 0.5
    explained = select(func.count(Explanation.id)).join(Latent, Latent.id == Explanation.latent_id)
    alive = db.scalar(explained.where(Latent.study_id == study.id))
    assert alive and alive > 50
    scored = select(func.count(func.distinct(Score.explanation_id))).filter_by(
        simulator_id=study.simulator_id, name="correlation"
    )
    assert db.scalar(scored) == alive
    layer = (
        select(RewritePoint.fraction)
        .join(Rewrite)
        .where(
            Rewrite.study_id == study.id,
            RewritePoint.condition == "rewritten",
            RewritePoint.calibration == "isotonic",
        )
    )
    assert max(db.scalars(layer)) == pytest.approx(alive / study.coder_info["num_latents"])
    page = api.get(str(api.base_url.copy_with(path="/studies/scope"))).text
    assert 'id="loss-chart"' in page
