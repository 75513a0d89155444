"""What a study settles about its model and coder when it is collected, and keeps."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy.orm import Session

from interp.coders.rules import Threshold, TopK
from interp.vocabulary import ContextSet
from jobs.params import CollectParams
from models import Study
from tests.coder_files import write
from tests.llm_server import Failing
from tests.working import add_job, work
from workers.resources import coder_of, store_of, subject_of

K = 4


@pytest.fixture
def batch_top_k(folders: dict[str, str], tmp_path: Path) -> Path:
    """The coder of the tests as one of BatchTopK, which stores no threshold."""
    tensors = load_file(Path(folders["coder"]) / "sae.safetensors")
    width = tensors["b_dec"].shape[0]
    weights = {
        "W_enc": tensors["encoder.weight"].mT.contiguous(),
        "b_enc": tensors["encoder.bias"],
        "W_dec": tensors["W_dec"],
        "b_dec": tensors["b_dec"],
    }
    config = {"sae_type": "batchtopk", "act_size": width, "dict_size": 2 * width, "top_k": K}
    write(tmp_path, "config.json", config | {"hook_point": "blocks.1.hook_mlp_out"})
    torch.save(weights, tmp_path / "sae.pt")
    return tmp_path


def test_a_threshold_is_estimated_once_and_kept(
    db: Session, study: Study, llm: Failing, batch_top_k: Path
) -> None:
    study.coder, study.contexts_explain = str(batch_top_k), 50
    db.commit()
    work(db, add_job(db, study, CollectParams(until="collect")), study)
    threshold = study.coder_info["threshold"]
    assert threshold > 0
    assert study.coder_info["k"] is None and study.coder_info["active"] == pytest.approx(
        K, rel=0.05
    )
    assert study.coder_info["rule"] == f"those above {threshold:.3g}"
    for context_set in ContextSet:
        store = store_of(study, context_set)
        values = [one.activations for one in store.read(range(study.coder_info["num_latents"]))]
        active = sum(map(len, values))
        assert active / store.summary()[0] == pytest.approx(K, rel=0.2)
        assert min(float(one.min()) for one in values if len(one)) > threshold
    # Every later job has the same coder.
    rule = coder_of(study).rule
    assert isinstance(rule, Threshold)
    assert rule.estimated == threshold and rule.trained == TopK(K)
    # A study that was collected before, without one, is measured as it was collected.
    study.coder_info = {name: v for name, v in study.coder_info.items() if name != "threshold"}
    assert isinstance(coder_of(study).rule, TopK)
    db.rollback()


def test_a_study_in_half_precision(db: Session, study: Study, llm: Failing) -> None:
    study.dtype, study.contexts_explain = "bfloat16", 50
    db.commit()
    work(db, add_job(db, study, CollectParams(until="collect")), study)
    assert study.coder_info["dtype"] == "bfloat16" and study.coder_info["resumes"] is True
    assert subject_of(study).dtype == torch.bfloat16
    assert coder_of(study).decoder.dtype == torch.float32
