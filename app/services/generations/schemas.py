"""Generations, as the API takes and returns them."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.services.fields import Input
from app.services.schemas import IndependenceOut
from interp.cleaning import exact
from interp.vocabulary import CalibrationMethod, Condition

MAX_PROMPT = 1000
MAX_LATENTS = 32


def _prompt(text: str) -> str:
    return exact(
        text, MAX_PROMPT, empty="Write the text that the model goes on from; this is empty."
    )


class GenerationCreate(Input):
    """A text to go on from, and how much of the model is rewritten for it."""

    prompt: Annotated[str, AfterValidator(_prompt)] = Field(
        description=f"Prompt; 1 to {MAX_PROMPT:,} characters."
    )
    latents: int = Field(
        default=4,
        ge=1,
        le=MAX_LATENTS,
        description="Latents to rewrite, best correlation first.",
    )
    calibration: CalibrationMethod = Field(
        default=CalibrationMethod.ISOTONIC, description="Calibration of simulated values."
    )
    new_tokens: int = Field(default=16, ge=1, le=64, description="The most tokens to write.")
    temperature: float = Field(
        default=0,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="0 takes the likeliest token each time; above 0, tokens are drawn.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the draws.")


class Continuation(BaseModel):
    """The model's text under one condition."""

    tokens: list[str]
    simulations: int = Field(description="Simulations of an explanation.")
    missing: int = Field(description="Simulated values that are missing.")
    seconds: float


class GenerationOut(BaseModel):
    """The continuations of a prompt by the untouched, the zero-ablated and the rewritten model."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    job_id: int | None
    simulator_id: int
    independence: IndependenceOut
    prompt: str
    prompt_tokens: int | None = Field(description="Tokens of the prompt, once they are counted.")
    explanation_ids: list[int] = Field(description="The explanations that stand in for latents.")
    calibration: str
    new_tokens: int
    temperature: float
    seed: int
    continuations: dict[Condition, Continuation] = Field(
        description="By condition, as far as they are written."
    )
    code_version: str = Field(description="Empty until a worker takes it up.")
    created_by: str
    created_at: datetime


class GenerationList(BaseModel):
    """One page of generations, newest first."""

    total: int
    items: list[GenerationOut]
