"""A published experiment is run by a real worker, goes on after a stop, and ends in one table."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.processes import Child
from cli.servers import Servers
from models import Explanation, Job, Latent, Rewrite, RewritePoint, Score, Study
from tests.commands import assert_fails
from tests.conftest import palimpsest
from tests.llm_server import Failing, Reply, running, said
from tests.reproducing import copy_recipe, tiny_recipe

SLUGS = "tiny-transcoder-small", "tiny-sae-small"


@pytest.fixture(scope="module")
def explainer() -> Iterator[Failing]:
    """A server with a model that explains a latent by the first word of its prompt."""
    with running() as server:
        server.behave = _explain
        yield server


def _explain(body: dict[str, Any], before: int) -> Reply:
    if "messages" not in body:
        return Reply(body=json.dumps({"data": [{"id": "explainer"}]}).encode())
    word = re.findall(r"w\d+", str(body["messages"][-1]["content"]))[0]
    return said(f"The word {word} and words like it.")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, explainer: Failing) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("tiny"), explainer.url)


@pytest.fixture
def environment(servers: Servers, data_folder: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "PALIMPSEST_HOME": str(data_folder),
    }


def kinds(db: Session, slug: str) -> list[str]:
    query = select(Job.kind).join(Study, Study.id == Job.study_id).where(Study.slug == slug)
    return list(db.scalars(query.order_by(Job.id)))


def test_a_recipe_is_planned_run_resumed_and_told(
    worker: Child, db: Session, environment: dict[str, str], recipe: Path, tmp_path: Path
) -> None:
    planned = palimpsest("reproduce", recipe, "--small", "--dry-run", **environment)
    assert planned.returncode == 0, planned.stderr
    steps = [line.split() for line in planned.stdout.splitlines() if "to do" in line]
    assert [line[0] for line in steps] == [slug for slug in SLUGS for _ in range(5)]
    # 1,010 contexts of 7 tokens are collected. Four latents on 4 + 6 contexts: a prompt a token.
    assert steps[0][1:] == ["collect", "to", "do", "–", "–", "7,070", "–", "–"]
    assert steps[2][1:7] == ["simulate:", "last_token", "to", "do", "4", "280"]
    assert "palimpsest fetch gemma-3-270m" in planned.stdout, "why the shipped one is left out"
    assert not db.scalars(select(Study).where(Study.slug.in_(SLUGS))).all()
    absent = copy_recipe(recipe, tmp_path, 'model = "explainer"', 'model = "another"')
    refused = palimpsest("reproduce", absent, "--small", **environment)
    assert_fails(refused, "This machine lacks another (the server has explainer)", "--dry-run")
    assert not db.scalars(select(Study).where(Study.slug.in_(SLUGS))).all()

    out = tmp_path / "results.csv"
    run = palimpsest("reproduce", recipe, "--small", "--out", out, **environment)
    assert run.returncode == 0, run.stderr + run.stdout
    rows = list(csv.DictReader(out.open()))
    for slug in SLUGS:
        study = db.scalars(select(Study).filter_by(slug=slug)).one()
        assert study.coder_info["kind"] == slug.split("-")[1]
        assert kinds(db, slug)[:3] == ["collect", "explain", "simulate"]
        assert kinds(db, slug).count("rewrite") == 2
        explained = db.scalars(
            select(Explanation)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(Latent.study_id == study.id)
        ).all()
        assert len(explained) == 4 and {one.author for one in explained} == {"prompted"}
        own = [row for row in rows if row["study"] == slug]
        _check_losses(db, study, own)
        _check_scores(db, study, own)
    # With four of 64 latents nothing of ours is "20%" or "all": the statements stand alone.
    alone = [row for row in rows if row["published"] and not row["ours"]]
    assert {row["condition"] for row in alone} == {
        "rewritten, linear, 20% of the latents",
        "rewritten, quantile, 100% of the latents",
        "sensitivity, shown the score",
    }
    assert "0.42 (EleutherAI" in run.stdout

    before = {slug: kinds(db, slug) for slug in SLUGS}
    again = palimpsest("reproduce", recipe, "--small", "--out", tmp_path / "r.md", **environment)
    assert again.returncode == 0, again.stderr
    assert {slug: kinds(db, slug) for slug in SLUGS} == before, "nothing was done twice"
    assert len((tmp_path / "r.md").read_text().splitlines()) == len(rows) + 2

    _lose_a_rewrite(db, SLUGS[1])
    resumed = palimpsest("reproduce", recipe, "--small", **environment)
    assert resumed.returncode == 0, resumed.stderr
    assert kinds(db, SLUGS[1]) == [*before[SLUGS[1]], "rewrite"], "only what was lost"

    other = copy_recipe(recipe, tmp_path, "contexts_calibrate = 4", "contexts_calibrate = 5")
    refused = palimpsest("reproduce", other, "--small", **environment)
    assert_fails(refused, "another contexts_calibrate: 4, not 5", "study delete")


def _check_losses(db: Session, study: Study, rows: list[dict[str, str]]) -> None:
    """The figures are those of the stored points."""
    for protocol in ("paper", "whole"):
        rewrite = db.scalars(select(Rewrite).filter_by(study_id=study.id, protocol=protocol)).one()
        points = db.scalars(select(RewritePoint).filter_by(rewrite_id=rewrite.id)).all()
        of = {(one.condition, one.calibration, one.ordering, one.count): one for one in points}
        (zero,) = [
            row
            for row in rows
            if row["protocol"] == protocol and row["condition"] == "zero ablation"
        ]
        assert float(zero["ours"]) == of["zero", "", "", 0].increase and not zero["over_zero"]
        quantile = [
            row
            for row in rows
            if row["protocol"] == protocol and row["condition"] == "rewritten, quantile"
        ]
        assert [int(row["latents"]) for row in quantile] == rewrite.counts
        point = of["rewritten", "quantile", "score", rewrite.counts[-1]]
        assert float(quantile[-1]["ours"]) == point.increase
        assert float(quantile[-1]["over_zero"]) == pytest.approx(
            point.increase - of["zero", "", "", 0].increase, abs=1e-6
        )


def _check_scores(db: Session, study: Study, rows: list[dict[str, str]]) -> None:
    published = {"sensitivity": "0.42", "specificity": "about 0.9", "correlation": "0.1 to 0.2"}
    for name, statement in published.items():
        values = db.scalars(
            select(Score.value)
            .join(Explanation, Explanation.id == Score.explanation_id)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(Latent.study_id == study.id, Score.name == name, Score.value.is_not(None))
        ).all()
        found = [row for row in rows if row["condition"] in (f"mean {name}", name)]
        assert len(found) == 1 and found[0]["published"] == statement
        if values:
            mean = sum(value for value in values if value is not None) / len(values)
            assert float(found[0]["ours"]) == pytest.approx(mean)
        else:
            assert not found[0]["ours"], "missing is no zero"


def _lose_a_rewrite(db: Session, slug: str) -> None:
    study = db.scalars(select(Study).filter_by(slug=slug)).one()
    db.delete(db.scalars(select(Rewrite).filter_by(study_id=study.id, protocol="whole")).one())
    db.commit()
