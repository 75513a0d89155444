"""Requests to explain latents or to simulate explanations, and estimates of their usage."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.services.fields import Input, OneOf, Sought
from app.services.latents.filter_schemas import LatentMatch
from app.services.simulators.schemas import LanguageModel
from interp.explain.registry import EXPLAINERS, asking
from jobs.params import Estimate as Estimate

Explainer = Annotated[str, OneOf(EXPLAINERS)]

LatentIndex = Annotated[int, Field(ge=0, lt=2**31)]


Author = Annotated[
    Sought,
    Field(
        max_length=200,
        description="Author of the explanations, newest of each latent; current ones if left out.",
    ),
]


class Selection(LatentMatch, Input):
    """A selection of latents: all, or those of a filter, or those named (of the filter's)."""

    latents: list[LatentIndex] | None = Field(
        default=None, min_length=1, max_length=1_000_000, description="Indices; all if left out."
    )

    @property
    def all_latents(self) -> bool:
        """True if nothing narrows the selection."""
        return self.latents is None and not self.filter()


class Simulating(Input):
    """Options of a simulation."""

    simulator_id: int | None = Field(
        default=None, ge=1, lt=2**63, description="The simulator; the study's if left out."
    )
    individually: int | None = Field(
        default=None,
        ge=0,
        lt=2**31,
        description="Latents to measure individually; all of up to 32 if left out.",
    )
    then_rewrite: bool = Field(default=True, description="Then rewrite the layer again.")


class SimulateCreate(Selection, Simulating):
    """Explanations to simulate."""

    author: Author = ""


class ScoreCreate(Selection):
    """Explanations that a language model is to score: detection and fuzzing."""

    llm: LanguageModel
    author: Author = ""


class ExplainCreate(Selection):
    """Latents to explain."""

    method: Explainer = Field(default=EXPLAINERS.default, description=EXPLAINERS.in_words())
    llm: LanguageModel | None = Field(
        default=None, description="The language model that explains, where one does."
    )
    then_simulate: Simulating | None = Field(
        default=None, description="Simulate the new explanations; not if left out."
    )

    @model_validator(mode="after")
    def _a_language_model_where_one_is_needed(self) -> Self:
        if self.method in asking() and self.llm is None:
            raise ValueError(f"{self.method} needs a language model: name one.")
        if self.method not in asking() and self.llm is not None:
            raise ValueError(f"{self.method} uses no language model: leave it out.")
        return self


class EstimateOut(Estimate):
    """The estimated usage of a job, and of the job that follows it."""

    then_simulate: Estimate | None = Field(
        default=None, description="The simulate job that follows, if it is asked for."
    )
