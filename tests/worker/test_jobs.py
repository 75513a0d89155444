"""Jobs on a real worker with the real model: the whole chain, and what disturbs it."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.orm import Session

from app.services.budget.queries import get_budget
from cli.processes import Child
from cli.servers import Servers
from interp.vocabulary import BudgetSplit
from jobs.queue import retry
from models import (
    Calibration,
    Check,
    Context,
    Example,
    Explanation,
    Job,
    Latent,
    LossEffect,
    Rewrite,
    RewritePoint,
    Score,
    Simulation,
    Study,
)
from tests.conftest import palimpsest
from tests.engine import DEMO_CODER
from tests.factories import new_explanation
from tests.studies import (
    is_held,
    make_study,
    make_unchecked,
    queue_job,
    small_study,
    some_texts,
    wait_for_jobs,
    wait_until,
)

RESULTS = (
    Context,
    Latent,
    Example,
    Explanation,
    Simulation,
    Calibration,
    Score,
    LossEffect,
    RewritePoint,
)


def _rewrites(db: Session, study_id: int, protocol: str = "whole") -> list[Rewrite]:
    """Of the simulator that the study has: other tests use others."""
    own = select(Study.simulator_id).filter_by(id=study_id).scalar_subquery()
    of_study = select(Rewrite).filter_by(study_id=study_id, protocol=protocol, simulator_id=own)
    return list(db.scalars(of_study.order_by(Rewrite.id)))


def _rewrite(db: Session, study_id: int, protocol: str = "whole") -> Rewrite:
    """The newest one."""
    return _rewrites(db, study_id, protocol)[-1]


Key = tuple[str, str, str, int]


def _points(db: Session, rewrite: Rewrite) -> dict[Key, RewritePoint]:
    rows = db.scalars(select(RewritePoint).where(RewritePoint.rewrite_id == rewrite.id))
    return {(p.condition, p.calibration, p.ordering, p.count): p for p in rows}


def test_every_job_of_the_chain_finishes(db: Session, living_study: Study) -> None:
    jobs = wait_for_jobs(db, living_study.id)
    assert [(j.kind, j.status) for j in jobs[:8]] == [
        ("collect", "finished"),
        ("explain", "finished"),
        ("simulate", "finished"),
        ("rewrite", "finished"),
        ("simulate", "finished"),
        ("attribute", "finished"),
        ("rewrite", "finished"),
        ("rewrite", "finished"),
    ]
    assert jobs[3].params["main_point"] and jobs[4].params["rest"]
    assert [j.params["protocol"] for j in jobs[6:8]] == ["whole", "paper"]
    assert all(j.done == j.total for j in jobs[:8])


def test_the_error_budget_splits_the_loss_of_the_rewritten_layer(
    db: Session, living_study: Study
) -> None:
    wait_for_jobs(db, living_study.id)
    found = get_budget(db, living_study)
    assert found is not None
    whole, parts = found.layer
    assert sum(one.mean for one in parts) == pytest.approx(whole.mean, abs=1e-6)
    for split in BudgetSplit:
        groups = found.split(split)
        assert sum(group.whole.mean for group in groups) == pytest.approx(whole.mean, abs=1e-6)
        latents = sum(group.whole.latents for group in groups)
        assert latents == len(found.attribution.explanation_ids)
    points = _points(db, _rewrite(db, living_study.id))
    count = len(found.attribution.explanation_ids)
    rewritten = points["rewritten", "isotonic", "score", count]
    real = points["real_latents", "", "", 0]
    exact = found.compared[0].exact
    assert exact.value == pytest.approx(rewritten.increase - real.increase, abs=1e-5)
    assert len(found.compared) == 4


def test_no_document_is_in_two_sets(db: Session, living_study: Study) -> None:
    contexts = db.execute(
        select(Context.set, Context.document).where(Context.study_id == living_study.id)
    ).all()
    sets: dict[str, set[str]] = {}
    for name, document in contexts:
        sets.setdefault(name, set()).add(document)
    assert set(sets) == {"explain", "calibrate", "evaluate"}
    assert len(set.union(*sets.values())) == sum(map(len, sets.values()))


def test_dead_latents_have_no_explanation_and_live_ones_do(
    db: Session, living_study: Study
) -> None:
    latents = list(db.scalars(select(Latent).where(Latent.study_id == living_study.id)))
    assert len(latents) == 4096
    for latent in latents:
        assert (latent.explanation_id is None) == (latent.max_activation == 0), latent.index
    assert any(latent.max_activation > 0 for latent in latents)


def test_examples_hold_the_activations_of_their_context(db: Session, living_study: Study) -> None:
    latent = db.scalars(
        select(Latent)
        .where(Latent.study_id == living_study.id)
        .order_by(Latent.firing_rate.desc())
        .offset(100)
    ).first()
    assert latent is not None
    examples = list(
        db.scalars(
            select(Example)
            .where(Example.latent_id == latent.id, Example.kind == "top")
            .order_by(Example.rank)
        )
    )
    peaks = [max(e.activations) for e in examples]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] == pytest.approx(latent.max_activation)
    assert all(e.activations[0] == 0 for e in examples), "nothing is collected on the first token"


def test_simulations_have_no_value_for_the_first_token_and_none_missing_elsewhere(
    db: Session, living_study: Study
) -> None:
    simulations = list(
        db.scalars(
            select(Simulation)
            .join(Explanation, Explanation.id == Simulation.explanation_id)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(Latent.study_id == living_study.id)
        )
    )
    assert {s.set for s in simulations} == {"explain", "calibrate", "evaluate"}
    for simulation in simulations:
        values = simulation.values
        assert np.isnan(values[:, 0]).all()
        assert simulation.missing == np.isnan(values[:, 1:]).sum() == 0
        assert ((values[:, 1:] >= 0) & (values[:, 1:] <= 9)).all()
        assert len(values) == len(simulation.context_ids)


BASELINES = ["untouched", "real_latents", "zero", "mean", "no_latents", "resample"]
LINES = [
    ("set_zeroed", ""),
    ("random_latents", ""),
    ("oracle_gating", "isotonic"),
    ("oracle_values", "quantile"),
    *(("rewritten", calibration) for calibration in ("none", "linear", "quantile", "isotonic")),
]
OF_WHOLE_SET = [
    ("noise", "isotonic"),
    ("set_zeroed_error_kept", ""),
    ("rewritten_error_kept", "isotonic"),
]
OTHER_ORDERINGS = ("random 1", "random 2", "random 3")
"""And no order by loss effect: single latents are measured after the layer."""


@pytest.mark.parametrize("protocol", ["whole", "paper"])
def test_the_rewrite_has_every_condition_with_paired_differences(
    db: Session, living_study: Study, protocol: str
) -> None:
    rewrite = _rewrites(db, living_study.id, protocol)[0]
    assert rewrite.finished
    points = _points(db, rewrite)
    assert set(points) == {
        *((baseline, "", "", 0) for baseline in BASELINES),
        *((*line, "score", count) for line in LINES for count in (1, 2)),
        *((*line, "score", 2) for line in OF_WHOLE_SET),
        *(
            (*line, ordering, 1)
            for ordering in OTHER_ORDERINGS
            for line in (("rewritten", "isotonic"), ("set_zeroed", ""))
        ),
    }
    untouched = np.array(points["untouched", "", "", 0].losses)
    assert len(untouched) == 8
    for point in points.values():
        assert point.increase == pytest.approx((point.losses - untouched).mean(), abs=1e-5)
        assert point.low <= point.increase <= point.high
        assert point.kl == pytest.approx(np.mean(point.kls), abs=1e-5)
        assert point.fraction == pytest.approx(point.count / 4096)
    increase = {name: points[name, "", "", 0].increase for name in BASELINES}
    assert increase["untouched"] == points["untouched", "", "", 0].kl == 0
    later = [points["resample", "", "", 0], *(points[*line, "score", 2] for line in OF_WHOLE_SET)]
    main = points["rewritten", "isotonic", "score", 2]
    assert min(point.id for point in later) > main.id, "somebody waits for the main point"
    for point in later:
        compared = point.statistics["against"].get("rewritten")
        assert (compared is None) == (point.condition == "set_zeroed_error_kept")
        if compared is not None:
            difference = (np.array(point.losses) - main.losses).mean()
            assert compared["mean"] == pytest.approx(difference, abs=1e-5)
    # Removing the layer costs more than putting the coder in its place.
    assert increase["real_latents"] < increase["no_latents"] < increase["zero"]


def test_a_point_says_how_it_compares(db: Session, living_study: Study) -> None:
    points = _points(db, _rewrites(db, living_study.id)[0])
    point, zero = points["rewritten", "isotonic", "score", 2], points["zero", "", "", 0]
    against = point.statistics["against"]
    assert {"zero", "no_latents", "set_zeroed"} <= set(against)
    difference = (np.array(point.losses) - zero.losses).mean()
    assert against["zero"]["mean"] == pytest.approx(difference, abs=1e-5)
    assert against["zero"]["low"] < difference < against["zero"]["high"]
    real = points["real_latents", "", "", 0]
    worse = {name: points[name, "", "", 0] for name in ("no_latents", "zero")}
    clear = {
        name: one.statistics["against"]["real_latents"]["low"] > 0 for name, one in worse.items()
    }
    assert clear["zero"], "zeroing the layer costs a quarter of a nat"
    for name, is_clear in clear.items():
        worst = worse[name].increase
        expected = (worst - point.increase) / (worst - real.increase) if is_clear else None
        assert point.statistics["recovered"][name]["value"] == pytest.approx(expected, abs=1e-3)
    assert 1 <= point.statistics["effective_contexts"] <= 8


def test_loss_effects_are_scaled_to_the_evaluate_set(db: Session, living_study: Study) -> None:
    effects = list(
        db.scalars(
            select(LossEffect)
            .join(Explanation, Explanation.id == LossEffect.explanation_id)
            .join(Latent, Latent.id == Explanation.latent_id)
            .where(Latent.study_id == living_study.id)
        )
    )
    assert {(c.condition, c.calibration) for c in effects} == {
        ("zeroed", ""),
        *(("rewritten", calibration) for calibration in ("none", "linear", "quantile", "isotonic")),
    }
    for effect in effects:
        assert sum(effect.weights.values()) == pytest.approx(1)
        assert len(effect.context_ids) == len(effect.strata) == len(effect.differences)
        means = {
            name: np.mean(
                [d for d, s in zip(effect.differences, effect.strata, strict=True) if s == name]
            )
            for name, weight in effect.weights.items()
            if weight
        }
        expected = sum(effect.weights[name] * value for name, value in means.items())
        assert effect.mean == pytest.approx(expected, abs=1e-6)
        assert effect.fires_mean == pytest.approx(means["fires"], abs=1e-6)
    # Zeroing a latent changes nothing where it does not fire.
    zeroed = next(effect for effect in effects if effect.condition == "zeroed")
    for difference, stratum in zip(zeroed.differences, zeroed.strata, strict=True):
        assert stratum == "fires" or difference == 0


def test_the_command_checks_a_study(db: Session, servers: Servers, living_study: Study) -> None:
    wait_for_jobs(db, living_study.id)
    environment = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    result = palimpsest("check", "living", **environment)
    job = db.scalars(select(Job).filter_by(study_id=living_study.id, kind="check")).one()
    found = list(db.scalars(select(Check).where(Check.job_id == job.id).order_by(Check.id)))
    assert len(found) == 9
    # What the explanations are worth is for the data to say; all else must hold.
    assert {check.outcome for check in found[:6]} == {"passed"}, [c.detail for c in found]
    assert result.returncode == any(check.outcome == "failed" for check in found), result.stderr
    for check in found:
        assert check.name in result.stdout and check.detail


def test_doing_a_finished_job_again_changes_nothing(db: Session, living_study: Study) -> None:
    before = [db.scalar(select(func.count()).select_from(table)) for table in RESULTS]
    jobs = wait_for_jobs(db, living_study.id)
    again = next(job for job in jobs if job.kind == "simulate")
    retry(db, again)
    rewrite = next(job for job in jobs if job.kind == "rewrite")
    retry(db, rewrite)
    wait_for_jobs(db, living_study.id)
    db.refresh(rewrite)
    assert (rewrite.status, rewrite.attempts) == ("finished", 2)
    after = [db.scalar(select(func.count()).select_from(table)) for table in RESULTS]
    assert after == before


SOME = 1024
"""Latents of the coder of studies that are only disturbed: two blocks of those that are saved."""


@pytest.fixture(scope="module")
def quick(some_latents: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What makes a study of the real model one that is collected soon."""
    corpus = some_texts(tmp_path_factory.mktemp("texts"))
    few = {"context_length": 16, "first_latents": 0}
    return {"coder": str(some_latents), "corpus": str(corpus), **few}


@pytest.fixture(scope="module")
def some_latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's coder with a quarter of its latents: a quarter of the work.

    Those with the largest bias are active most, so that they still make a coder that fits.
    """
    folder = tmp_path_factory.mktemp("coder")
    weights = load_file(DEMO_CODER / "sae.safetensors")
    kept = weights["encoder.bias"].argsort(descending=True)[:SOME].sort().values
    for name in ("encoder.weight", "encoder.bias", "W_dec"):
        weights[name] = weights[name][kept]
    save_file(weights, folder / "sae.safetensors")
    settings = json.loads((DEMO_CODER / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(settings | {"num_latents": SOME}))
    return folder


def test_a_killed_worker_loses_no_work(
    db: Session, worker: Child, model_cache: Path, data_folder: Path, quick: dict[str, Any]
) -> None:
    study = make_study(db, small_study("killed", model_cache / "smollm2-135m-instruct", **quick))
    latents = select(func.count()).where(Latent.study_id == study.id)
    collecting = db.scalars(select(Job).where(Job.study_id == study.id)).one()
    wait_until(
        db,
        lambda: db.scalar(latents) and is_held(db, collecting),
        what="the first latents, and the worker at the next ones",
    )
    folder = data_folder / "studies" / str(study.id)
    before, files = _written(db, study), _files(folder)
    (pool,) = psutil.Process(worker.process.pid).children()
    pool.send_signal(signal.SIGKILL)
    jobs = wait_for_jobs(db, study.id)
    assert [(j.kind, j.status) for j in jobs] == [("collect", "finished"), ("explain", "finished")]
    assert [(j.attempts, j.setbacks) for j in jobs] == [(2, 0), (1, 0)]
    # What was there is the same, to the transaction that wrote it; and nothing is there twice.
    assert before["latent"] and before["example"] and files
    after = _written(db, study)
    for table, rows in before.items():
        assert rows.items() <= after[table].items(), table
    assert files.items() <= _files(folder).items()
    assert db.scalar(latents) == SOME
    assert db.scalar(select(func.count(Latent.index.distinct())).where(_of(study))) == SOME
    examples = (Example.latent_id, Example.kind, Example.rank)
    twice = select(*examples).join(Latent, Latent.id == Example.latent_id).where(_of(study))
    assert not db.execute(twice.group_by(*examples).having(func.count() > 1)).all()
    shutil.rmtree(folder)


def _of(study: Study) -> ColumnElement[bool]:
    return Latent.study_id == study.id


def _written(db: Session, study: Study) -> dict[str, dict[int, str]]:
    """Rows of a study by id, each with the transaction that wrote it, where rows never change;
    later units complete latents, so that only their index stays."""
    queries = {
        "latent": select(Latent.id, Latent.index).where(_of(study)),
        "example": select(Example.id, literal_column("example.xmin::text")).where(
            Example.latent_id.in_(select(Latent.id).where(_of(study)))
        ),
        "context": select(Context.id, literal_column("context.xmin::text")).where(
            Context.study_id == study.id
        ),
    }
    return {name: {row[0]: str(row[1]) for row in db.execute(q)} for name, q in queries.items()}


def _files(folder: Path) -> dict[str, int]:
    """Collected activations, with the time at which each was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_cancelled_job_stops_and_goes_on_when_it_is_retried(
    db: Session, worker: Child, model_cache: Path, quick: dict[str, Any]
) -> None:
    # Contexts are saved by the 512, so it is cancelled while the second lot is read.
    changes = quick | {"contexts_explain": 800}
    data = small_study("cancelled", model_cache / "smollm2-135m-instruct", **changes)
    study = make_study(db, data)
    job = db.scalars(select(Job).where(Job.study_id == study.id)).one()
    wait_until(db, lambda: job.done > 0, what="the first contexts")
    job.status = "cancelled"
    db.commit()
    # The chunk in hand may still be saved; then nothing more happens until the retry.
    contexts = job.done
    wait_until(db, lambda: not is_held(db, job), what="the worker to stop")
    db.refresh(job)
    assert job.status == "cancelled" and job.done == contexts
    assert db.scalar(select(func.count()).where(Latent.study_id == study.id)) == 0
    retry(db, job)
    jobs = wait_for_jobs(db, study.id)
    assert [(j.kind, j.status) for j in jobs] == [("collect", "finished"), ("explain", "finished")]
    assert jobs[0].attempts == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hookpoint": "layers.20.mlp"}, "does not fit 'layers.20.mlp'"),
        ({"hookpoint": "layers.10.nothing"}, "has no module 'layers.10.nothing'"),
        ({"coder": "/nowhere/at/all"}, "no sparse coder"),
        ({"contexts_evaluate": 90_000}, "fewer of them"),
        ({"corpus": "/nowhere/at/all"}, "There is no corpus"),
        ({"model": "/nowhere/model.gguf"}, "There is no file"),
    ],
)
def test_a_study_that_cannot_work_says_why_and_leaves_nothing_half_written(
    db: Session,
    worker: Child,
    model_cache: Path,
    quick: dict[str, Any],
    changes: dict[str, object],
    complaint: str,
) -> None:
    slug = "bad-" + "-".join(changes).replace("_", "-") + str(abs(hash(str(changes))) % 10_000)
    wrong = {"corpus": quick["corpus"]} | changes
    data = small_study(slug, model_cache / "smollm2-135m-instruct", **wrong)
    study = make_unchecked(db, data)
    (job,) = wait_for_jobs(db, study.id)
    assert job.status == "failed"
    assert complaint in job.message
    assert "Traceback" not in job.message
    latents = db.scalar(select(func.count()).where(Latent.study_id == study.id))
    assert latents == 0


def _edit(db: Session, explanation_id: int, text: str) -> Explanation:
    """Save a new explanation of an explanation's latent."""
    last = db.get_one(Explanation, explanation_id)
    edited = new_explanation(db, db.get_one(Latent, last.latent_id), text)
    db.commit()
    return edited


def _simulate(db: Session, study: Study, explanation: Explanation) -> Job:
    return queue_job(db, study, "simulate", explanation_ids=[explanation.id], then_rewrite=True)


SET_ALONE = ("set_zeroed", "set_zeroed_error_kept", "random_latents")
"""Conditions in which the latents of the set matter, and not their values."""


def test_an_edit_measures_only_what_it_changes(db: Session, living_study: Study) -> None:
    wait_for_jobs(db, living_study.id)
    before = _rewrite(db, living_study.id)
    paper = _rewrite(db, living_study.id, "paper")
    edited = _edit(db, before.explanation_ids[-1], "The word “Congress”.")
    _simulate(db, living_study, edited)
    wait_for_jobs(db, living_study.id)
    for protocol in ("whole", "paper"):
        after = _rewrite(db, living_study.id, protocol)
        assert after.parent_id == (before.id if protocol == "whole" else paper.id)
        assert after.finished
        assert after.explanation_ids == [*before.explanation_ids[:-1], edited.id]
        for (condition, _, ordering, count), point in _points(db, after).items():
            affected = edited.id in after.orderings.get(ordering, [])[:count]
            # Their values do not matter, and none is missing.
            affected &= condition not in SET_ALONE
            assert (point.copied_from is None) == affected, (condition, ordering, count)
            assert ("before" in point.statistics["against"]) == affected
    effect = db.scalars(
        select(LossEffect).filter_by(explanation_id=edited.id, calibration="isotonic")
    ).one()
    assert effect.before is not None and effect.before["p"] is not None


def test_two_quick_edits_are_both_in_the_layer(db: Session, living_study: Study) -> None:
    wait_for_jobs(db, living_study.id)
    one, other, *rest = _rewrite(db, living_study.id).explanation_ids
    edits = [_edit(db, one, "Numbers."), _edit(db, other, "The end of a sentence.")]
    # An explanation that is no longer current does not come back, though it is simulated again.
    explanations = [*edits, db.get_one(Explanation, one)]
    waited_for = {_simulate(db, living_study, explanation).id for explanation in explanations}
    jobs = [job for job in wait_for_jobs(db, living_study.id) if job.id >= min(waited_for)]
    ended = [job for job in jobs if "superseded_by" not in job.state]
    rests = [job for job in jobs if job.kind == "rewrite" and "rewrite_id" in job.params]
    assert sum(job.status == "finished" for job in rests) == 2, "once a protocol, for all edits"
    unfinished = [
        (job.kind, job.params, job.status, job.message) for job in ended if job.status != "finished"
    ]
    assert not unfinished
    simulated_at = [job.finished_at for job in jobs if job.id in waited_for]
    rest_at = [job.finished_at for job in rests if job.status == "finished"]
    assert max(simulated_at) < min(rest_at), "an edit waits for no inner points of another"
    for protocol in ("whole", "paper"):
        newest = _rewrite(db, living_study.id, protocol)
        assert newest.finished
        assert set(newest.explanation_ids) == {*rest, *(edited.id for edited in edits)}
    for edited in edits:
        (row,) = (one for one in _rewrites(db, living_study.id) if one.edited_ids == [edited.id])
        main = _points(db, row)["rewritten", "isotonic", "score", row.counts[-1]]
        assert main.statistics["against"]["before"]["p"] is not None


def test_an_edit_of_another_latent_is_compared_with_the_set_before(
    db: Session, living_study: Study
) -> None:
    wait_for_jobs(db, living_study.id)
    before = _rewrite(db, living_study.id)
    fresh = db.scalars(
        select(Latent.explanation_id)
        .where(
            Latent.study_id == living_study.id,
            Latent.firing_rate > 0.01,
            Latent.explanation_id.not_in(before.explanation_ids),
        )
        .limit(1)
    ).one()
    assert fresh is not None
    edited = _edit(db, fresh, "Names of countries.")
    _simulate(db, living_study, edited)
    wait_for_jobs(db, living_study.id)
    after = _rewrite(db, living_study.id)
    assert after.parent_id == before.id
    assert after.explanation_ids == [*before.explanation_ids, edited.id]
    assert after.counts == [*before.counts[:-1], before.counts[-1] + 1]
    top = _points(db, after)["rewritten", "isotonic", "score", after.counts[-1]]
    assert "before" in top.statistics["against"]
