"""The parameters of jobs: one frozen model for each kind of job.

The table keeps the given fields (``Job.params``). A worker keeps its own notes beside them, in
``Job.state``.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from interp.explain.registry import EXPLAINERS
from interp.llm.registry import BACK_ENDS
from interp.vocabulary import Breadth, Protocol

Step = Literal["collect", "explain", "simulate", "rewrite"]
"""The steps of a new study, each of which follows the one before."""


class Asked(BaseModel):
    """A part of what a job was asked for. It never changes, and holds nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Params(Asked):
    """The parameters of one job."""

    def stored(self) -> dict[str, Any]:
        """The fields that were given, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


class Estimate(Asked):
    """An estimate of the usage of a job."""

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
    """The explanations to simulate. Without any: the current ones of the first latents."""
    first_latents: int = 0
    simulator_id: int | None = None
    """None: the study's when the job begins."""
    individually: int | None = None
    """Latents to measure individually, or None for all."""
    then_rewrite: bool = False
    author: str = ""
    """Whose explanations are rewritten then. Empty: the current ones."""
    again: bool = False
    """True to simulate again what is simulated already."""
    rest: bool = False
    """Do what another job of the same explanations has left: their examples and loss effects."""
    estimate: Estimate | None = None


class ExplainParams(Params):
    """Explain latents."""

    method: str = EXPLAINERS.default
    llm: LanguageModel | None = None
    latents: tuple[int, ...] | None = None
    """Indices, or None for all that fire."""
    path: str | None = None
    """The file or folder of an import."""
    anyway: bool = False
    """Import results although they name another model or another number of latents."""
    estimate: Estimate | None = None
    then_simulate: SimulateParams | None = None
    """Simulate the new explanations afterwards."""
    following: tuple["ExplainParams", ...] = ()
    """Explain with these methods afterwards, one after another."""
    first_latents: int = 0
    """Simulate so many latents afterwards."""
    individually: int | None = None
    until: Step = "rewrite"
    """The last step that follows by itself."""


class CollectParams(Params):
    """Collect activations."""

    explain: tuple[ExplainParams, ...] = (ExplainParams(),)
    """Explain with these methods afterwards."""
    first_latents: int = 0
    individually: int | None = None
    until: Step = "rewrite"


class ScoreParams(Params):
    """Score explanations with a language model."""

    llm: LanguageModel | None = None
    explanation_ids: tuple[int, ...] = ()
    estimate: Estimate | None = None


class RewriteParams(Params):
    """Measure the layer with more and more of its latents rewritten."""

    protocol: Protocol = Protocol.WHOLE
    simulator_id: int | None = None
    author: str = ""
    """The author of the explanations, the newest of each latent. Empty for the current ones."""
    repeat: bool = False
    """Repeat the newest rewrite, with the explanations that are current when the job begins."""
    edited: tuple[int, ...] = ()
    """If it repeats one: the only explanations to change. Without any: all that are current."""
    main_point: bool = False
    """Measure the main point and its baselines only. Jobs of the rest follow."""
    rewrite_id: int | None = None
    """Measure the rest of this rewrite; under another protocol, the same set in the same orders."""
    breadth: Breadth = Breadth.PANEL
    """``all``: measure the main point of ``rewrite_id``, with its baselines, on all contexts of the
    evaluate set."""


class AttributeParams(Params):
    """Estimate the loss effects of all simulated latents, to first order."""

    simulator_id: int | None = None
    renew: bool = False
    """Do so only if enough explanations lack an estimate when the job begins."""


class GenerateParams(Params):
    """Write the continuations of a generation."""

    generation_id: int


class SentenceParams(Params):
    """Read a sentence."""

    sentence_id: int


class CheckParams(Params):
    """Run the sanity checks."""


class LanguageParams(Params):
    """Test which part of the explanations the simulator goes by."""

    latents: int | None = None
    """Only so many, drawn at random. None takes all that are simulated."""
    path: str | None = None
    """A file with further variants: explanations, whose author names the variant."""


class EmbedParams(Params):
    """Embed the current explanations that have no vector."""

    rest: bool = False
    """What an explain job left for later."""
