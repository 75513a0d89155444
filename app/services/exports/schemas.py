"""The parts, the format and the latents of an export."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.services.fields import Folder, Input, OneOf
from app.services.latents.filter_schemas import LatentMatch
from interp.exchange.registry import ORIGINS

Part = Literal[
    "latents",
    "explanations",
    "scores",
    "loss_effects",
    "simulations",
    "calibrations",
    "examples",
    "contexts",
]
PARTS: tuple[Part, ...] = get_args(Part)
TableFormat = Literal["parquet", "jsonl", "csv"]
Format = Literal["parquet", "jsonl", "csv", "delphi", "neuronpedia"]


def _split(parts: Any) -> Any:
    """Parts with commas between them, or named one by one, or both."""
    listed = [parts] if isinstance(parts, str) else parts
    if not isinstance(listed, list):
        return listed
    return [name for one in listed for name in (one.split(",") if isinstance(one, str) else [one])]


def _in_order(parts: list[Part]) -> list[Part]:
    return [name for name in PARTS if name in parts]


Parts = Annotated[list[Part], BeforeValidator(_split), AfterValidator(_in_order)]


class ExportForm(BaseModel):
    """The parts and the format of an export."""

    parts: Parts = Field(
        default=list(PARTS),
        min_length=1,
        max_length=100,
        description="Tables, with commas between them; all if left out. Not for delphi and "
        "neuronpedia.",
    )
    format: Format = Field(
        default="parquet",
        description="File format of the tables, or the layout of another tool: delphi or "
        "neuronpedia.",
    )


class ExportQuery(LatentMatch, ExportForm):
    """An export, of all latents or of those that match a filter."""


class ResultsImport(Input):
    """Results of another tool that are to be imported."""

    format: Annotated[str, OneOf(ORIGINS)] = Field(description=ORIGINS.in_words())
    path: Folder = Field(description="The folder or file, where web server and workers see it.")
    anyway: bool = Field(
        default=False,
        description="Import them although they name another model or another number of latents.",
    )


class ImportHanging(BaseModel):
    """The explanations that an import has added, and those that taking it back removes."""

    explanations: int = Field(description="Explanations that it added and that are still there.")
    removable: int = Field(
        description="Those of them that nobody built on: no later explanation, rewrite or "
        "generation. These go; the others stay."
    )
    comments: int = Field(description="On those that go.")
    simulations: int = Field(description="Of those that go.")
