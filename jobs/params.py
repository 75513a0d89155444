"""What a job was asked for: one frozen model a kind of job.

The table keeps the fields that were given (``Job.params``). What a worker notes for itself stands
beside it, in ``Job.state``.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from interp.explain.registry import EXPLAINERS
from interp.llm.registry import BACK_ENDS

Protocol = Literal["paper", "whole"]
"""Where a context is spliced, as ``interp.rewriting.evaluate.Protocol`` says; that needs torch."""
PROTOCOLS: tuple[Protocol, ...] = ("paper", "whole")


class Asked(BaseModel):
    """A part of what a job was asked for. It never changes, and holds nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Params(Asked):
    """What one job was asked for."""

    def stored(self) -> dict[str, Any]:
        """The fields that were given, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


class Estimate(Asked):
    """What a job will cost, about."""

    latents: int = Field(description="How many are explained or simulated.")
    done: int = Field(
        default=0, description="How many more are simulated already; that is not repeated."
    )
    tokens_read: int
    tokens_written: int
    seconds: float | None = Field(
        description="Null: not known until the same simulator or explainer has run once."
    )
    measured: bool = Field(
        description="Whether this comes from earlier runs; if not, from the method's formula."
    )


class LanguageModel(Asked):
    """A language model, and what runs it."""

    model_config = ConfigDict(protected_namespaces=())

    backend: str = BACK_ENDS.default
    model: str
    base_url: str | None = None


class SimulateParams(Params):
    """Simulate explanations."""

    explanation_ids: tuple[int, ...] = ()
    """Which; without any, the current ones of the first so many latents."""
    first_latents: int = 0
    simulator_id: int | None = None
    """None: the study's when the job begins."""
    costs: int | None = None
    """Of how many to measure what each costs alone; None: of all."""
    then_rewrite: bool = False
    again: bool = False
    """Whether what is simulated already is made anew."""
    estimate: Estimate | None = None


class ExplainParams(Params):
    """Explain latents."""

    method: str = EXPLAINERS.default
    llm: LanguageModel | None = None
    latents: tuple[int, ...] | None = None
    """Indices; None: all that fire."""
    path: str | None = None
    """The file of an import."""
    estimate: Estimate | None = None
    then_simulate: SimulateParams | None = None
    """Simulate the new explanations afterwards."""
    following: tuple["ExplainParams", ...] = ()
    """Explain with these methods afterwards, one after another."""
    first_latents: int = 0
    """Simulate so many latents afterwards, and measure the layer."""
    costs: int | None = None


class CollectParams(Params):
    """Collect activations."""

    explain: tuple[ExplainParams, ...] = (ExplainParams(),)
    """Explain with these methods afterwards."""
    first_latents: int = 0
    costs: int | None = None


class JudgeParams(Params):
    """Judge explanations with a language model."""

    llm: LanguageModel | None = None
    explanation_ids: tuple[int, ...] = ()
    estimate: Estimate | None = None


class RewriteParams(Params):
    """Measure the layer with more and more of its latents rewritten."""

    protocol: Protocol = "whole"
    simulator_id: int | None = None
    author: str = ""
    """Whose explanations, the newest of each latent; empty for the current ones."""
    repeat: bool = False
    """Repeat the newest rewrite, with the explanations that are current when the job begins."""


class GenerateParams(Params):
    """Write the continuations of a generation."""

    generation_id: int


class SentenceParams(Params):
    """Read a sentence."""

    sentence_id: int


class CheckParams(Params):
    """Run the sanity checks."""


class EmbedParams(Params):
    """Embed the current explanations that have no vector."""
