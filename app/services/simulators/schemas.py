"""Simulators, as the API takes and returns them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.services.fields import Folder, Line
from interp.llm.servers import check_named, server_of
from models.folders import check_model
from models.settings import get_settings

Backend = Literal["transformers", "vllm", "openai"]
Prompted = Literal["all_at_once", "last_token", "json_reply"]
Trained = Literal["two_tower", "inline"]
Verdict = Literal["independent", "same model", "contaminated", "unknown"]

Cleanliness = Annotated[
    Verdict,
    Field(
        description="What figures of the simulator are worth. contaminated: it was trained on text "
        "that it is measured on; unknown: it may have been; same model: it runs on the subject "
        "model; independent: none of these."
    ),
]
CleanlinessOrNone = Annotated[
    Verdict | None,
    Field(description="See the simulators of a study. Null where no simulator is involved."),
]


def _address(text: str) -> str:
    server_of(text)
    settings = get_settings()
    if settings.accounts:
        check_named(text, settings.servers)
    return text


class LanguageModel(BaseModel):
    """A language model and what runs it."""

    model_config = ConfigDict(protected_namespaces=())

    backend: Backend = Field(
        default="transformers",
        description="transformers or vllm, in the worker; or openai, any server that speaks like "
        "OpenAI's.",
    )
    model: Line = Field(
        description="A folder, a fetched model's name, or a hub name; for openai, the name that "
        "the server knows it by."
    )
    base_url: Annotated[Line, AfterValidator(_address)] | None = Field(
        default=None,
        description="The server's address, such as http://localhost:8080/v1; without it, the "
        "worker's OPENAI_BASE_URL.",
    )

    @field_validator("model")
    @classmethod
    def _may_be_loaded(cls, model: str, info: ValidationInfo) -> str:
        # A server's name for a model is no file of ours.
        return model if info.data.get("backend") == "openai" else check_model(model)

    @model_validator(mode="after")
    def _only_a_server_has_an_address(self) -> Self:
        if self.base_url is not None and self.backend != "openai":
            raise ValueError(f"{self.backend} runs in the worker: leave the address out.")
        return self

    @property
    def options(self) -> dict[str, str]:
        """The options that differ from the default, as simulators and jobs keep them."""
        options: dict[str, str] = {}
        if self.backend != "transformers":
            options["backend"] = self.backend
        if self.base_url is not None:
            options["base_url"] = self.base_url
        return options


class SimulatorCreate(LanguageModel):
    """A new simulator: prompted (a method and a language model) or trained (a folder)."""

    method: Literal[Prompted, Trained] = Field(
        description="all_at_once, last_token or json_reply are prompted; two_tower and inline are "
        "trained."
    )
    show_score: bool = Field(
        default=False,
        description="Tell the language model how well the explanation has predicted so far "
        "(all_at_once).",
    )
    calibrate_contexts: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Calibrate on so many contexts only, if it is slow (prompted).",
    )
    folder: Folder | None = Field(
        default=None,
        description="Of a trained one: what `palimpsest train-simulator` wrote. The model is then "
        "the base that it was trained on.",
    )

    @property
    def trained(self) -> bool:
        """True if it is a trained one."""
        return self.method in ("two_tower", "inline")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.trained:
            if self.folder is None:
                raise ValueError(f"{self.method} is trained: give the folder of its weights.")
            given = self.options or self.show_score or self.calibrate_contexts
            if given:
                raise ValueError(f"{self.method} is trained: it takes a model and a folder only.")
        elif self.folder is not None:
            raise ValueError(f"{self.method} is prompted: it has no folder.")
        elif self.show_score and self.method != "all_at_once":
            raise ValueError(f"{self.method} cannot be shown the score; all_at_once can.")
        return self


class SimulatorOut(BaseModel):
    """A way to turn an explanation and a text into activations."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    id: int
    method: str
    model: str
    prompt_version: str = Field(description="Version of the prompt or of the trained method.")
    options: dict[str, Any] = Field(
        description="Back end and address, or the folder; and what else is not the default."
    )
    training: dict[str, Any] = Field(
        description="What a trained one was trained on; empty for a prompted one."
    )
    created_at: datetime


class SimulatorHanging(BaseModel):
    """The rows that are deleted with a simulator, and the reasons why it cannot be deleted."""

    studies: list[str] = Field(description="Studies whose pages show its figures: none may.")
    jobs: list[int] = Field(description="Jobs that wait or run with it: none may.")
    simulations: int
    scores: int
    costs: int = Field(description="Loss effects of single latents with it.")
    rewrites: int
    generations: int


class StudySimulatorOut(SimulatorOut):
    """A simulator as a study sees it."""

    cleanliness: Cleanliness
    reason: str = Field(description="Why, in a sentence.")
    used: bool = Field(description="True if the pages of the study show its figures.")
