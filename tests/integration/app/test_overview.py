"""The overview of a study: the loss of a rewritten layer, in both protocols and all views."""

import re

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.rewrites.views import VIEWS
from interp.vocabulary import Protocol
from models import Explanation, Job, Latent, LossEffect, Rewrite, RewritePoint, Study
from tests.factories import little_study, reword
from tests.reading import current_of, headline_point, latent_of, text_of
from tests.rewrites import rewrite


def test_the_overview_says_what_the_figures_say(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}"
    text = text_of(pages.get(path))
    assert "33% of the latents" in text and "2 of 6 latents rewritten" in text
    verdicts = [
        "Lower than zeroing the same latents (+0.1",
        "Lower than no latents (+0.",
        "Lower than zero ablation (+0.",
        "Lower than noise of the same size, in random directions (+0.0",
    ]
    assert [text.index(one) for one in verdicts] == sorted(text.index(one) for one in verdicts)
    assert "Lower than mean ablation" not in text, "it says little beside no latents"
    for what, point in _figures(db, study).items():
        assert f"{what}{point.increase:+.3f}, KL {point.kl:.3f}" in text
    assert "nats, p < 0.001." in text
    assert re.search(r"Loss recovered .*?\d+% \[\d+%, \d+%\] Of what is lost with no latents", text)
    assert "67% of the latents still real, this says little" in text
    assert re.search(r"Loss added .* KL 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\. Over the untouched", text)
    assert "1 simulated value is missing in the largest set; there the latents stayed real" in text
    assert "8 contexts of the evaluate set (6 effective" in text
    assert "before the last edit" not in text

    top = headline_point(db, study)
    top.statistics = {
        "effective_contexts": 5.6,
        "against": {
            "zero": {"mean": 0.02, "low": 0.01, "high": 0.03, "p": 0.013},
            "no_latents": {
                "mean": -0.001,
                "low": -0.01,
                "high": 0.008,
                "p": 0.71,
                "detectable": 0.012,
                "contexts_needed": 934,
            },
        },
    }
    top.fraction = 1 / 6
    db.commit()
    text = text_of(pages.get(path))
    assert "Higher than zero ablation" in text and "p = 0.013." in text
    assert (
        "With these 8 contexts (6 effective) a difference below 0.0120 nats cannot be told from "
        "none; the observed one would take about 930 contexts."
    ) in text
    assert "zeroing the same latents (" not in text, "it is not stored, so it is not said"
    assert "17% of the latents" in text and "1 of 6 latents rewritten" in text
    assert "and 1 of its 2 latents has no value at all" in text

    top.statistics = {**top.statistics, "recovered": {"no_latents": {"value": None}}}
    db.commit()
    text = text_of(pages.get(path))
    assert re.search(r"Not defined: no latents .*? is not clearly worse than real latents", text)

    for point in db.scalars(select(RewritePoint).filter_by(rewrite_id=top.rewrite_id)):
        point.statistics = {}
    db.commit()
    assert "measured by an older version" in text_of(pages.get(path))


def _figures(db: Session, study: Study) -> dict[str, RewritePoint]:
    """Points that the overview gives with their KL divergence, by the words before."""
    wanted = {
        "Lower than zeroing the same latents (": ("set_zeroed", 2),
        "Lower than no latents (": ("no_latents", 0),
        "Lower than noise of the same size, in random directions (": ("noise", 2),
        "Real latents add ": ("real_latents", 0),
    }
    query = select(RewritePoint).join(Rewrite).where(Rewrite.study_id == study.id)
    ordering = RewritePoint.ordering.in_(("", "score"))
    return {
        words: db.scalars(
            query.where(RewritePoint.condition == name, RewritePoint.count == count, ordering)
        ).one()
        for words, (name, count) in wanted.items()
    }


def test_the_overview_says_what_the_last_edit_did(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    latents = [latent_of(db, study, 0), latent_of(db, study, 1)]
    reworded = Explanation(latent_id=latents[1].id, text="new", author_kind="person", author="ana")
    db.add(reworded)
    db.flush()
    latents[1].explanation_id = reworded.id
    rewrite(
        db, study, latents, parent=db.scalars(select(Rewrite).filter_by(study_id=study.id)).one()
    )
    db.commit()
    text = text_of(pages.get(f"/studies/{study.slug}"))
    assert "Lower than before the last edit (latent 1): −0.0" in text


def test_protocols_and_views_are_plain_links(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}"
    page = pages.get(path).text
    for protocol in ("whole", "paper"):
        assert f'href="{path}?protocol={protocol}&amp;view=calibrations"' in page
    for view in VIEWS:
        assert f'href="{path}?protocol=whole&amp;view={view}"' in page
    # The page in the head, the view, the protocol, and the condition that losses are compared with.
    assert page.count('aria-current="page"') == 4
    ceilings = text_of(pages.get(path, params={"view": "ceilings"}))
    assert "oracle gating" in ceilings and "rewritten, linear" not in ceilings
    assert "rewritten minus gating is the loss of the false positives" in ceilings
    orderings = text_of(pages.get(path, params={"view": "orderings"}))
    assert "random 3" in orderings and "oracle gating" not in orderings

    paper = pages.get(path, params={"protocol": "paper"})
    assert Protocol.PAPER.meaning in text_of(paper)
    assert "The layer is not rewritten under this protocol yet." in text_of(paper)
    measured = pages.post(f"{path}/rewrites", data={"protocol": "paper"})
    assert (measured.status_code, measured.headers["location"]) == (303, f"{path}?protocol=paper")
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="rewrite")).one()
    assert job.params == {
        "protocol": "paper",
        "simulator_id": study.simulator_id,
        "author": "",
        "repeat": False,
    }
    pages.post(f"/jobs/{job.id}/cancel")
    rewrite(db, study, [latent_of(db, study, 0)], protocol="paper")
    db.commit()
    assert "1 of 6 latents rewritten" in text_of(pages.get(path, params={"protocol": "paper"}))
    assert "2 of 6 latents rewritten" in text_of(pages.get(path))
    for wrong in ({"protocol": "last"}, {"view": "all"}):
        assert pages.get(path, params=wrong).status_code == 422


def test_what_to_edit_next(pages: httpx.Client, db: Session, study: Study) -> None:
    text = text_of(pages.get(f"/studies/{study.slug}"))
    assert "Edit these next" in text and "2 of 2 are clearly above zero." in text
    assert text.index("fires on word number 1") < text.index("fires on word number 0")
    for effect in db.scalars(
        select(LossEffect)
        .join(Latent, Latent.explanation_id == LossEffect.explanation_id)
        .where(Latent.study_id == study.id)
    ):
        effect.low = -0.001
    db.commit()
    assert "Every 95% interval includes zero" in text_of(pages.get(f"/studies/{study.slug}"))
    bare = little_study(db, simulated=0)
    assert "Edit these next" not in text_of(pages.get(f"/studies/{bare.slug}"))


def test_the_loss_effect_of_a_latent(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/0"
    text = text_of(pages.get(path))
    assert "this, isotonic +0.00100 [0.00050, 0.00200] +0.0040 [0.0020, 0.0080]" in text
    assert (
        "6 contexts of the evaluate set were run: it fires in 2, is only predicted active in 1, "
        "and is silent in 3. The mean over the corpus counts them by the share of contexts in "
        "which it fires, 25%."
    ) in text
    assert "the previous one" not in text and "different samples" not in text
    explanation = current_of(db, study, 0)
    for effect in db.scalars(select(LossEffect).filter_by(explanation_id=explanation.id)):
        effect.low = effect.high = None
        effect.strata = ["predicted"] * 3 + ["silent"] * 3
        effect.fires_mean = effect.fires_low = effect.fires_high = None
        if effect.condition == "zeroed":
            effect.mean = None
    db.commit()
    page = pages.get(path)
    assert "fires in no context of the evaluate set, so the effect of zeroing it" in text_of(page)
    assert 'id="effect-chart"' in page.text
    assert "zeroed – – " in text_of(page)
    assert "this, isotonic +0.00100 no interval –" in text_of(page)
    assert "+0.00100 no interval" in text_of(pages.get(f"/studies/{study.slug}")), "edit next"


def test_whether_the_new_explanation_loss_effects_less(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}/latents/0"
    effect = reword(db, study, 0)
    text = text_of(pages.get(path))
    assert "previous, isotonic" in text
    assert "25%. The contexts in which it does not fire are drawn for each explanation" in text
    assert "Where it fires, this explanation" not in text, "it is not compared"
    effect.before = {"mean": -0.0012, "low": -0.002, "high": -0.0004, "p": 0.03}
    effect.before |= {"detectable": 0.001, "contexts_needed": 2.0}
    db.commit()
    text = text_of(pages.get(path))
    assert (
        "Where it fires, this explanation has a smaller loss effect than the previous one: "
        "−0.00120 [−0.00200, −0.00040] nats, p = 0.030."
    ) in text
    assert "cannot be told" not in text
    effect.before = effect.before | {"mean": 0.0012, "low": 0.0004, "high": 0.002}
    db.commit()
    assert "has a larger loss effect than the previous one: +0.00120" in text_of(pages.get(path))
    effect.before = effect.before | {"p": 0.2}
    db.commit()
    assert (
        "explanation cannot be told from the previous one: +0.00120 [+0.00040, +0.00200] nats, "
        "p = 0.200. With 2 shared contexts a difference below 0.00100 nats cannot be told from "
        "none; the observed one would take about 2 contexts."
    ) in text_of(pages.get(path))
    effect.before = {"mean": 0.0012} | dict.fromkeys(("low", "high", "p", "detectable"))
    db.commit()
    text = text_of(pages.get(path))
    assert "cannot be told from the previous one: +0.00120 nats, no interval, p not known." in text
    assert "cannot be told from none" not in text


def test_a_rewrite_job_that_made_no_rewrite(pages: httpx.Client, db: Session, study: Study) -> None:
    params = {"protocol": "whole", "simulator_id": study.simulator_id, "repeat": True}
    job = Job(study_id=study.id, kind="rewrite", status="running", params=params, created_by="test")
    db.add(job)
    db.commit()
    for status in ("running", "finished"):
        job.status = status
        db.commit()
        assert "2 of 6 latents rewritten" in text_of(pages.get(f"/studies/{study.slug}"))
        for path in ("/jobs", f"/studies/{study.slug}/jobs", f"/studies/{study.slug}/latents/0"):
            assert pages.get(path).status_code == 200
        (listed,) = pages.get(f"/api/v1/studies/{study.slug}/jobs").json()["items"]
        assert listed == pages.get(f"/api/v1/jobs/{job.id}").json()
        assert (listed["status"], listed["params"]) == (status, params)
        assert len(pages.get(f"/api/v1/studies/{study.slug}/rewrites").json()) == 1
