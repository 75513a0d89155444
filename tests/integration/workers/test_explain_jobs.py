"""Explain jobs that ask a language model: each latent is explained, or counted and passed by."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from interp.errors import InputError
from models import Example, Explanation, Job, Latent, Study
from tests.llm_server import Failing, Reply, running, said
from tests.text_study import text_study
from tests.working import work

FIRING = [0, 1, 3, 4, 5]
"""The latents of the study that ever fire."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with running() as failing:
        failing.behave = lambda body, before: said("Active on some words of the speeches.")
        yield failing


@pytest.fixture
def study(db: Session) -> Study:
    return text_study(db)


def job_of(db: Session, study: Study, server: Failing, **params: Any) -> Job:
    llm = {"backend": "openai", "model": "m", "base_url": server.url}
    job = Job(study_id=study.id, kind="explain", params={"llm": llm, **params}, created_by="tests")
    db.add(job)
    db.commit()
    return job


def by_models(db: Session, study: Study, author: str) -> list[int]:
    """The latents that an explainer has explained."""
    query = select(Latent.index).join(Explanation, Explanation.latent_id == Latent.id)
    wanted = query.where(Latent.study_id == study.id, Explanation.author == author)
    return list(db.scalars(wanted.order_by(Latent.index)))


def without_examples(db: Session, study: Study, index: int, *kinds: str) -> None:
    latent = select(Latent.id).where(Latent.study_id == study.id, Latent.index == index)
    db.execute(
        delete(Example).where(
            Example.latent_id == latent.scalar_subquery(), Example.kind.in_(kinds)
        )
    )
    db.commit()


@pytest.mark.parametrize(
    ("method", "kinds", "reason"),
    [
        # What a latent that fires in every context has not.
        ("contrastive", ["hard_negative"], "no hard negative"),
        ("prompted", ["top", "quantile"], "active in none of its examples"),
    ],
)
def test_a_latent_that_no_prompt_can_be_made_of_is_counted_and_the_others_are_done(
    db: Session, study: Study, server: Failing, method: str, kinds: list[str], reason: str
) -> None:
    without_examples(db, study, 1, *kinds)
    job = job_of(db, study, server, method=method)
    done = work(db, job, study)
    assert [one.done for one in done] == [1, 2, 3, 4, 5]
    assert [one.missing for one in done] == [0, 1, 0, 0, 0]
    assert done[1].message.startswith("latent 1: no explanation") and reason in done[1].message
    assert by_models(db, study, method) == [i for i in FIRING if i != 1]
    assert job.state["explained_latents"] == FIRING


def test_a_latent_without_an_explanation_is_not_refined_and_the_others_are(
    db: Session, study: Study, server: Failing
) -> None:
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=1)).one()
    latent.explanation_id = None
    db.commit()
    job = job_of(db, study, server, method="refine", latents=[1])
    (done,) = work(db, job, study)
    assert done.missing == 1 and "no explanation to refine" in done.message


def test_reasoning_becomes_no_explanation(db: Session, study: Study, server: Failing) -> None:
    def behave(body: dict[str, Any], before: int) -> Reply:
        # The reasoning about one of the latents never ends.
        if "«Congress»" in str(body["messages"][-1]):
            return said("<think>\nOkay, so the tokens are")
        return said("<think>\nOkay.\n</think>\n\n# Explanation\n\nActive on some words.")

    server.behave = behave
    job = job_of(db, study, server, method="prompted", latents=[1, 5])
    first, second = work(db, job, study)
    assert (first.missing, second.missing) == (1, 0)
    assert "reasoning did not end" in first.message
    query = select(Explanation.text).join(Latent, Latent.id == Explanation.latent_id)
    wanted = query.where(Latent.study_id == study.id, Explanation.author == "prompted")
    assert list(db.scalars(wanted)) == ["Active on some words."]


def test_what_is_wrong_for_all_ends_the_job(db: Session, study: Study, server: Failing) -> None:
    server.behave = lambda body, before: Reply(401, b"{}")
    job = job_of(db, study, server, method="prompted")
    with pytest.raises(InputError, match="wants a key"):
        work(db, job, study)
    assert by_models(db, study, "prompted") == []
    assert "explained_latents" not in job.state, "a retry begins with the first latent"
