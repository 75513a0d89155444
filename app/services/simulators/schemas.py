"""Simulators, as the API takes and returns them."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.services.fields import Folder, Input, Line, OneOf
from app.services.schemas import IndependenceOut, MeanOut, Number
from interp.llm.registry import BACK_ENDS, servers
from interp.llm.servers import check_named, server_of
from interp.registry import listed
from interp.simulate.registry import SIMULATORS, prompted, trained
from models.folders import check_model
from models.settings import get_settings

BackEnd = Annotated[str, OneOf(BACK_ENDS)]
Method = Annotated[str, OneOf(SIMULATORS)]
SERVERS = listed(servers(), "or")
IN_PROCESS = listed([name for name in BACK_ENDS if name not in servers()], "or")
SCORED = [name for name, one in prompted().items() if "show_score" in one.options.model_fields]
"""Methods that can be told the score of an explanation."""


def _address(text: str) -> str:
    server_of(text)
    settings = get_settings()
    if settings.accounts:
        check_named(text, settings.servers)
    return text


class LanguageModel(Input):
    """A language model and what runs it."""

    backend: BackEnd = Field(
        default=BACK_ENDS.default,
        description=f"{IN_PROCESS}, in the worker; or {SERVERS}, any server that speaks like "
        "OpenAI's.",
    )
    model: Line = Field(
        description="A folder, a fetched model's name, or a hub name; for "
        f"{SERVERS}, the name that the server knows it by."
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
        return model if info.data.get("backend") in servers() else check_model(model)

    @model_validator(mode="after")
    def _only_a_server_has_an_address(self) -> Self:
        if self.base_url is not None and not self.on_server:
            raise ValueError(f"{self.backend} runs in the worker: leave the address out.")
        return self

    @property
    def on_server(self) -> bool:
        """Whether a server runs it, by a name of its own."""
        return self.backend in servers()

    @property
    def options(self) -> dict[str, str]:
        """The options that differ from the default, as simulators and jobs keep them."""
        options: dict[str, str] = {}
        if self.backend != BACK_ENDS.default:
            options["backend"] = self.backend
        if self.base_url is not None:
            options["base_url"] = self.base_url
        return options


class SimulatorCreate(LanguageModel):
    """A new simulator: prompted (a method and a language model) or trained (a folder)."""

    method: Method = Field(
        description=f"{listed(prompted(), 'or')} are prompted; "
        f"{listed(trained(), 'and')} are trained."
    )
    show_score: bool = Field(
        default=False,
        description="Tell the language model how well the explanation has predicted so far "
        f"({listed(SCORED, 'or')}).",
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
        return self.method in trained()

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
        elif self.show_score and self.method not in SCORED:
            raise ValueError(
                f"{self.method} cannot be shown the score; {listed(SCORED, 'and')} can."
            )
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
    loss_effects: int = Field(description="Loss effects of single latents with it.")
    rewrites: int
    generations: int
    language_tests: int


class SimulatorComparison(BaseModel):
    """The correlations of two simulators on the same explanations of the same latents."""

    model_config = ConfigDict(from_attributes=True)

    latents: int = Field(description="Latents with a correlation from both.")
    mean: Number = Field(description="Mean correlation of this simulator.")
    mean_used: Number = Field(description="Mean correlation of the one in use.")
    difference: MeanOut = Field(description="Mean of the paired differences over latents.")


class StudySimulatorOut(SimulatorOut):
    """A simulator as a study sees it."""

    independence: IndependenceOut
    reason: str = Field(description="Why, in a sentence.")
    used: bool = Field(description="True if the pages of the study show its figures.")
    compared: SimulatorComparison | None = Field(
        default=None,
        description="Compared with the one in use, by the current explanations that both have "
        "scored; null for that one, and where there are none.",
    )
