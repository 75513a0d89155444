"""Answers of the web server, and rows behind them, as tests read them."""

import re
from html import unescape

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Explanation, Latent, Rewrite, RewritePoint, Study


def problem_of(response: httpx.Response, status: int) -> str:
    """What was wrong, as the answer says it; checks that it is a problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    return problem["detail"]


def text_of(response: httpx.Response) -> str:
    """A page as it reads, without its markup."""
    page = re.sub(r"<script.*?</script>", "", response.text, flags=re.DOTALL)
    page = re.sub(r"<span[^>]* popover>.*?</span>", "", page, flags=re.DOTALL)  # closed at first
    page = re.sub(r"</t[dh]>", " ", page)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", page)).split())


def latent_of(db: Session, study: Study, index: int) -> Latent:
    """One latent of a study, as it is stored."""
    return db.scalars(select(Latent).filter_by(study_id=study.id, index=index)).one()


def current_of(db: Session, study: Study, index: int) -> Explanation:
    """The current explanation of a latent, read afresh."""
    latent = latent_of(db, study, index)
    db.refresh(latent)
    return db.get_one(Explanation, latent.explanation_id)


def chart_values(spec: dict) -> list[dict]:
    """Every row of data in a specification, each once."""
    rows: list[dict] = list(spec.get("data", {}).get("values", []))
    for named in spec.get("datasets", {}).values():
        rows += named
    for layer in spec.get("layer", []):
        rows += [row for row in chart_values(layer) if row not in rows]
    return rows


def headline_point(db: Session, study: Study) -> RewritePoint:
    """The point of the headline: both simulated latents rewritten, isotonic."""
    return db.scalars(
        select(RewritePoint)
        .join(Rewrite, Rewrite.id == RewritePoint.rewrite_id)
        .where(
            Rewrite.study_id == study.id,
            RewritePoint.condition == "rewritten",
            RewritePoint.calibration == "isotonic",
            RewritePoint.ordering == "score",
            RewritePoint.count == 2,
        )
    ).one()
