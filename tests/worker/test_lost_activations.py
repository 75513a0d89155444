"""Activations that are lost are missing, not zero: in jobs, on pages, in the doctor's report."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file, safe_open, save_file
from sparsify import SparseCoder, SparseCoderConfig
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from cli.processes import Child
from cli.stores import incomplete
from jobs.queue import retry
from models import Example, Explanation, Job, Latent, LossEffect, Score, Simulation, Study
from models.settings import get_settings
from tests.conftest import palimpsest
from tests.engine import D_MODEL, tiny_model, word_tokenizer
from tests.studies import make_study, queue_job, small_study, wait_for_jobs
from tests.working import plan
from workers.tasks.check import _activations_are_whole

LENGTH = 16


def folder_of(study: Study, name: str) -> Path:
    return get_settings().activations(study.id, name)


# --- Jobs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, an SAE that reconstructs everything, and a corpus of random words."""
    folder = tmp_path_factory.mktemp("parts")
    tiny_model("llama").save_pretrained(folder / "model")
    word_tokenizer().save_pretrained(folder / "model")
    # One latent for each direction and sign: as many are above zero as there are dimensions.
    both = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])
    coder = SparseCoder(D_MODEL, SparseCoderConfig(num_latents=len(both), k=D_MODEL))
    coder.encoder.weight.data = both
    assert coder.W_dec is not None
    coder.W_dec.data = both.clone()
    coder.save_to_disk(folder / "coder")
    rng = np.random.default_rng(0)
    (folder / "corpus").mkdir()
    for number in range(20):
        words = " ".join(f"w{word}" for word in rng.integers(0, 48, 40 * LENGTH))
        (folder / "corpus" / f"{number:02}.txt").write_text(words)
    return folder


@pytest.fixture
def collected(db: Session, worker: Child, parts: Path) -> Iterator[Study]:
    changes = {
        "coder": str(parts / "coder"),
        "hookpoint": "layers.1.mlp",
        "corpus": str(parts / "corpus"),
        "context_length": LENGTH,
        "contexts_explain": 520,
        "first_latents": 0,
    }
    study = make_study(db, small_study(f"lost-{parts.name[-6:]}", parts / "model", **changes))
    jobs = wait_for_jobs(db, study.id)
    assert [(j.kind, j.status) for j in jobs] == [("collect", "finished"), ("explain", "finished")]
    yield study
    db.rollback()
    db.execute(delete(Study).where(Study.id == study.id))
    db.commit()


def run(db: Session, study: Study, kind: str, **params: object) -> Job:
    job = queue_job(db, study, kind, **params)
    wait_for_jobs(db, study.id)
    db.refresh(job)
    return job


def test_jobs_refuse_lost_activations_and_collecting_makes_what_is_missing(
    db: Session, collected: Study, web: str
) -> None:
    shards = sorted(get_settings().activations(collected.id, "x").parent.rglob("*.safetensors"))
    before = {shard: shard.read_bytes() for shard in shards}
    rows = {
        table: list(db.scalars(select(table.id).order_by(table.id))) for table in (Latent, Example)
    }
    lost, kept = folder_of(collected, "explain") / "000000512.safetensors", shards[1]
    lost.unlink()
    calibrate = folder_of(collected, "calibrate") / "000000000.safetensors"
    calibrate.write_bytes(before[calibrate][:-1])
    made = kept.stat().st_mtime_ns

    first = select(Latent.id).filter_by(study_id=collected.id, index=0).scalar_subquery()
    db.execute(delete(Explanation).where(Explanation.latent_id == first))
    explanations = (
        select(func.count())
        .select_from(Explanation)
        .join(Latent, Latent.id == Explanation.latent_id)
    )
    count = db.scalar(explanations.where(Latent.study_id == collected.id))
    explain = run(db, collected, "explain")
    assert explain.status == "failed" and str(lost) in explain.message
    second = select(Latent.explanation_id).filter_by(study_id=collected.id, index=1)
    job = run(db, collected, "simulate", explanation_ids=[db.scalar(second)])
    assert job.status == "failed" and calibrate.name in job.message
    for table in (Simulation, Score, LossEffect):
        of_study = (
            select(func.count())
            .select_from(table)
            .join(Explanation, Explanation.id == table.explanation_id)
        )
        assert not db.scalar(
            of_study.join(Latent, Latent.id == Explanation.latent_id).where(
                Latent.study_id == collected.id
            )
        )
    assert db.scalar(explanations.where(Latent.study_id == collected.id)) == count

    # As the message says. Latents, explanations and what was whole stay as they were.
    result = palimpsest("collect", collected.slug, **servers_of())
    assert result.returncode == 0, result.stdout + result.stderr
    wait_for_jobs(db, collected.id)
    for shard, content in before.items():
        for name, tensor in load(content).items():
            np.testing.assert_allclose(load_file(shard)[name], tensor, rtol=1e-5, atol=1e-6)
    assert kept.stat().st_mtime_ns == made
    for table, ids in rows.items():
        assert list(db.scalars(select(table.id).order_by(table.id))) == ids
    kinds = db.scalars(select(Job.kind).filter_by(study_id=collected.id).order_by(Job.id)).all()
    assert kinds == ["collect", "explain", "explain", "simulate", "collect"]
    assert not [line for line in incomplete(db) if line.startswith(f"{collected.slug}:")]
    retry(db, explain)
    wait_for_jobs(db, collected.id)
    db.refresh(explain)
    assert explain.status == "finished"
    assert db.scalar(explanations.where(Latent.study_id == collected.id)) == count + 1


def test_collecting_mends_shards_that_only_reading_whole_finds_out(
    db: Session, collected: Study
) -> None:
    assert _activations_are_whole(collected).outcome == "passed"
    zeroed = folder_of(collected, "explain") / "000000000.safetensors"
    whole = zeroed.read_bytes()
    damage(zeroed, "activations", 0)
    damage(folder_of(collected, "calibrate") / "000000000.safetensors", "output_sum", np.nan)
    found = _activations_are_whole(collected)
    assert found.outcome == "failed" and "palimpsest collect" in found.detail
    stray = folder_of(collected, "explain") / "000000100.safetensors"
    stray.write_bytes(whole)
    assert run(db, collected, "collect").status == "finished"
    assert not stray.exists()
    assert _activations_are_whole(collected).outcome == "passed"
    np.testing.assert_allclose(
        load_file(zeroed)["activations"], load(whole)["activations"], rtol=1e-5, atol=1e-6
    )


def damage(shard: Path, tensor: str, value: float) -> None:
    """Fill a tensor of a shard with one value. What the file says of itself stays."""
    tensors = load_file(shard)
    with safe_open(shard, "np") as file:
        says = file.metadata()
    save_file({**tensors, tensor: np.full_like(tensors[tensor], value)}, shard, says)


def servers_of() -> dict[str, str]:
    """The running servers, for a command."""
    settings = get_settings()
    return {
        "DATABASE_URL": str(settings.database_url),
        "REDIS_URL": str(settings.redis_url),
        "PALIMPSEST_HOME": str(settings.data),
    }


def test_another_coder_in_the_same_place_is_refused(
    db: Session, collected: Study, parts: Path
) -> None:
    shutil.rmtree(folder_of(collected, "evaluate"))
    coder = SparseCoder.load_from_disk(parts / "coder")
    assert coder.W_dec is not None
    coder.W_dec.data *= 2
    try:
        coder.save_to_disk(parts / "coder")
        # A worker keeps coders that it has loaded, so a fresh one looks here.
        from workers.resources import coder_of

        job = Job(study_id=collected.id, kind="collect", params={}, state={}, created_by="tests")
        with pytest.raises(Exception, match="not the one that this study was collected with"):
            plan(db, job, collected)
        assert coder_of(collected).num_latents == 2 * D_MODEL
    finally:
        coder.W_dec.data /= 2
        coder.save_to_disk(parts / "coder")
