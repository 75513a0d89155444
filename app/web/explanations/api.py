"""Explanations and their scores as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from app.services.explanations import comments, queries
from app.services.explanations.compare import compare, compared_out
from app.services.explanations.drafts import (
    draft_request,
    influence_request,
    lane_of_draft,
)
from app.services.explanations.history import list_versions
from app.services.explanations.preview import preview
from app.services.explanations.schemas import (
    CommentCreate,
    CommentOut,
    ComparedOut,
    Draft,
    DraftOut,
    ExplanationCreate,
    ExplanationList,
    ExplanationSaved,
    InfluenceOut,
    ReadingOut,
    WorstOut,
)
from app.services.explanations.scores import scores_of
from app.services.explanations.worst import worst_of
from app.services.jobs.schemas import JobOut
from app.services.latents.examples import list_examples
from app.services.latents.loss_effects import loss_effects_of
from app.services.latents.queries import study_and_latent
from app.services.latents.schemas import LossEffectOut
from app.services.schemas import ExplanationOut, ScoreOut
from app.web.asking import ask_about
from app.web.database import Database, session_of
from app.web.guard.people import CurrentUser
from app.web.params import Index, Slug
from interp.simulate.reads import Reading
from jobs.drafts import DraftAnswer, DraftRequest
from jobs.influence import InfluenceAnswer, InfluenceRequest
from models import Comment, Explanation, Job, Latent, Study

router = APIRouter(tags=["explanations"])

ExplanationId = Annotated[int, Path(ge=1, lt=2**63, description="Number of an explanation.")]
CommentId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a comment.")]


@router.get("/studies/{slug}/latents/{index}/explanations", summary="List explanations of a latent")
def list_explanations(slug: Slug, index: Index, session: Database) -> ExplanationList:
    """Every version of a latent's text, newest first."""
    study, latent = study_and_latent(session, slug, index)
    versions = list_versions(session, study, latent)
    items = [ExplanationOut.model_validate(version.explanation) for version in versions]
    return ExplanationList(current_id=latent.explanation_id, items=items)


@router.post(
    "/studies/{slug}/latents/{index}/explanations",
    summary="Save a new explanation and simulate it",
    status_code=201,
)
def create_explanation(
    slug: Slug, index: Index, data: ExplanationCreate, session: Database, user: CurrentUser
) -> ExplanationSaved:
    """Save a new explanation, make it the current one, and queue its simulation and the rewrite."""
    study, latent = study_and_latent(session, slug, index)
    saved = queries.save_explanation(session, study, latent, data.text, data.parent_id, user)
    return ExplanationSaved(
        explanation=ExplanationOut.model_validate(saved.explanation),
        job_id=saved.job.id,
        conflict=saved.conflict,
    )


@router.post(
    "/studies/{slug}/latents/{index}/preview",
    summary="Show what the simulator will read",
    response_model=ReadingOut,
)
def preview_explanation(slug: Slug, index: Index, data: Draft, session: Database) -> Reading:
    """The exact text that the study's simulator reads of an explanation, with the latent's first
    example. Nothing is saved."""
    study, latent = study_and_latent(session, slug, index)
    return preview(session, study, latent, data.text)


@router.post("/studies/{slug}/latents/{index}/draft", summary="Simulate a draft")
async def simulate_draft(slug: Slug, index: Index, data: Draft) -> DraftOut:
    """What the study's simulator makes of a text, beside the current explanation. Nothing is saved.

    The interactive worker answers at once. 503 if none is running or it gives no answer, 409 if the
    study's simulator takes seconds for each text.
    """

    def question(session: Session, study: Study, latent: Latent) -> DraftRequest:
        return draft_request(session, study, latent, data.text)

    def shown(session: Session, answer: DraftAnswer) -> DraftOut:
        study, latent = study_and_latent(session, slug, index)
        examples = list_examples(session, study, latent, None, lane=lane_of_draft(answer))
        figures = answer.model_dump(exclude={"context_ids", "values", "calibration_map"})
        return DraftOut.model_validate({**figures, "examples": examples}, from_attributes=True)

    _, answer = await ask_about((slug, index), "draft", question, DraftAnswer)
    async with session_of(reads=True) as session:
        return await run_in_threadpool(shown, session, answer)


@router.post("/studies/{slug}/latents/{index}/influence", summary="Find the words that do the work")
async def find_influence(slug: Slug, index: Index, data: Draft) -> InfluenceOut:
    """How much each word of a text adds to the correlation, and which changes would raise it.

    A word's influence is the correlation of the text minus that of the text without the word. A
    suggestion is chosen on one half of the calibrate documents and measured on the other. Nothing
    is saved. It takes a few seconds. 503 if no interactive worker is running or it gives no answer,
    409 if the study's simulator takes seconds for each text.
    """

    def question(session: Session, study: Study, latent: Latent) -> InfluenceRequest:
        return influence_request(session, study, latent, data.text)

    while True:
        _, answer = await ask_about((slug, index), "influence", question, InfluenceAnswer)
        if answer.complete:
            return InfluenceOut.model_validate(answer, from_attributes=True)


@router.get("/studies/{slug}/latents/{index}/compare", summary="Compare two explanations")
def compare_explanations(
    slug: Slug,
    index: Index,
    session: Database,
    a: Annotated[int, Query(ge=1, lt=2**63, description="A version of the latent's text.")],
    b: Annotated[int, Query(ge=1, lt=2**63, description="Another one.")],
) -> ComparedOut:
    """Two versions of a latent's text: words, scores, loss effects, and values on examples."""
    study, latent = study_and_latent(session, slug, index)
    first, second = (queries.get_version(session, latent, number) for number in (a, b))
    return compared_out(session, study, compare(session, study, latent, first, second))


@router.get(
    "/explanations/{explanation_id}", summary="Get an explanation", response_model=ExplanationOut
)
def get_explanation(explanation_id: ExplanationId, session: Database) -> Explanation:
    """One version of a latent's text."""
    return queries.get_explanation(session, explanation_id)


@router.post(
    "/explanations/{explanation_id}/simulate",
    summary="Simulate an explanation that has no simulation",
    status_code=201,
    response_model=JobOut,
)
def simulate(explanation_id: ExplanationId, session: Database, user: CurrentUser) -> Job:
    """Queue the simulation of an explanation by the study's simulator."""
    study, explanation = _with_study(session, explanation_id)
    return queries.simulate(session, study, explanation, user)


@router.get("/explanations/{explanation_id}/scores", summary="List scores of an explanation")
def list_scores(explanation_id: ExplanationId, session: Database) -> list[ScoreOut]:
    """The scores of an explanation under the study's simulator: how well it predicts its latent."""
    return scores_of(session, *_with_study(session, explanation_id))


@router.get(
    "/explanations/{explanation_id}/loss-effects", summary="List loss effects of an explanation"
)
def list_loss_effects(explanation_id: ExplanationId, session: Database) -> list[LossEffectOut]:
    """Loss increase when only this latent is zeroed, or rewritten with this explanation."""
    return loss_effects_of(session, *_with_study(session, explanation_id))


@router.get(
    "/explanations/{explanation_id}/errors",
    summary="List the worst errors of an explanation",
)
def list_errors(
    explanation_id: ExplanationId,
    session: Database,
    count: Annotated[int, Query(ge=1, le=50, description="How many of each kind.")] = 5,
) -> WorstOut:
    """The worst false positives and false negatives of its simulation on the calibrate set."""
    study, explanation = _with_study(session, explanation_id)
    latent = session.get_one(Latent, explanation.latent_id)
    worst = worst_of(session, study, latent, explanation, count=count)
    return WorstOut.model_validate({"explanation_id": explanation.id, **worst._asdict()})


@router.get(
    "/explanations/{explanation_id}/comments",
    summary="List comments on an explanation",
    response_model=list[CommentOut],
)
def list_comments(explanation_id: ExplanationId, session: Database) -> list[Comment]:
    """The comments on one version, oldest first."""
    explanation = queries.get_explanation(session, explanation_id)
    return comments.list_comments(session, [explanation.id])


@router.post(
    "/explanations/{explanation_id}/comments",
    summary="Comment on an explanation",
    status_code=201,
    response_model=CommentOut,
)
def add_comment(
    explanation_id: ExplanationId, data: CommentCreate, session: Database, user: CurrentUser
) -> Comment:
    """Say something of one version, under the name of who asks."""
    study, explanation = _with_study(session, explanation_id)
    return comments.add_comment(session, study, explanation, data.text, user)


@router.delete("/comments/{comment_id}", summary="Delete a comment", status_code=204)
def delete_comment(comment_id: CommentId, session: Database, user: CurrentUser) -> None:
    """Take back what one said oneself."""
    comments.delete_comment(session, comment_id, user)


def _with_study(session: Database, explanation_id: int) -> tuple[Study, Explanation]:
    explanation = queries.get_explanation(session, explanation_id)
    latent = session.get_one(Latent, explanation.latent_id)
    return session.get_one(Study, latent.study_id), explanation
