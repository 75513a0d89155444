"""An inspection and a study judge a coder alike, and refuse the same with the same words."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.services.inspections.queries import question_of
from app.services.inspections.schemas import InspectionCreate
from interp.coders.findings import MeasuredSite
from interp.coders.inspector import measure_sites, read_files
from interp.errors import InputError
from jobs.params import CollectParams
from models import Study
from tests.checkpoints import stream_coder
from tests.working import add_job, plan

WRONG = "layers.1.self_attn.o_proj.input"


@pytest.fixture
def sources(study: Study, tmp_path: Path) -> dict[str, Any]:
    """What the study is made from, with a coder that fits the stream after layer 1 alone."""
    study.coder, study.hookpoint = stream_coder(tmp_path / "stream"), "layers.1"
    return {name: getattr(study, name) for name in ("model", "coder", "hookpoint", "corpus")}


def inspected(sources: dict[str, Any]) -> MeasuredSite:
    """What an inspection finds of the site that was asked for."""
    question = question_of(InspectionCreate.model_validate(sources))
    return measure_sites(question, read_files(question), lambda *_: None).sites[0]


def collected(db: Session, study: Study, sources: dict[str, Any]) -> str:
    """Why a study of the same form is refused; nothing if it is taken."""
    for name, value in sources.items():
        setattr(study, name, value)
    db.commit()
    try:
        plan(db, add_job(db, study, CollectParams(until="collect")), study)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "form",
    [
        {"context_length": 16},
        {"context_length": 128, "leave_out": 5},
        {"context_length": 34, "prepend_bos": False, "leave_out": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("hookpoint", ["layers.1", WRONG])
def test_both_judge_by_the_same_figures(
    db: Session, study: Study, sources: dict[str, Any], form: dict[str, Any], hookpoint: str
) -> None:
    sources |= form | {"hookpoint": hookpoint}
    site = inspected(sources)
    assert site.typical_fvu is not None
    refusal = collected(db, study, sources)
    assert site.fits == (hookpoint != WRONG) == (refusal == "")
    if refusal:
        assert f"leaves {site.typical_fvu:.0%} of the typical token unexplained" in refusal
    else:
        assert study.coder_info["typical_fvu"] == pytest.approx(site.typical_fvu, rel=1e-4)


def test_another_site_for_an_sae_to_read_is_refused_alike(
    db: Session, api: httpx.Client, study: Study, sources: dict[str, Any]
) -> None:
    sources |= {"reads": "layers.0"}
    words = "A sparse autoencoder reads the site that it writes, layers.1. "
    with pytest.raises(InputError, match=words):
        inspected(sources)
    assert words in collected(db, study, sources)
    made = sources | {"slug": "not-made", "title": "Not made"}
    for path, body in (("/inspections", sources), ("/studies", made)):
        answer = api.post(path, json=body)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == "reads" and words in error["message"]
    # The same site may be named otherwise.
    assert collected(db, study, sources | {"reads": "blocks.1.hook_resid_post"}) == ""
    assert (study.reads, study.hookpoint) == ("layers.1", "layers.1")
    db.rollback()
