"""Recipes: a published experiment as data, with what was published of its results."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from app.services.fields import Input, Line
from app.services.simulators.schemas import SimulatorCreate
from app.services.studies.schemas import StudyCreate
from app.services.work.schemas import ExplainCreate
from interp.errors import InputError, reason
from interp.llm.registry import servers
from interp.registry import listed
from interp.vocabulary import CalibrationMethod, Condition, Protocol, ScoreName

SHIPPED = Path(__file__).parent
SMALL = "-small"
"""Ends the names of studies of a small run, so that both can be there."""


class Published(Input):
    """A published statement, and the condition or score of ours that it stands beside."""

    model_config = ConfigDict(frozen=True)

    condition: Condition | ScoreName
    calibration: CalibrationMethod | None = Field(
        default=None, description="Of a rewritten condition."
    )
    share: float | None = Field(
        default=None, gt=0, le=1, description="Share of all latents that is rewritten; 1 for all."
    )
    protocol: Protocol = Protocol.PAPER
    variant: Line | None = Field(
        default=None, description="How it was measured, where this program measures no such thing."
    )
    statement: Line
    source: Line
    studies: tuple[str, ...] = Field(
        default=(), description="Names of the studies that it is about; all if left out."
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        set_of_latents = self.condition in (Condition.REWRITTEN, Condition.SET_ZEROED)
        if set_of_latents != (self.share is not None):
            raise ValueError(
                "Give the share of the latents for a condition of a set, and no other."
            )
        if (self.condition == Condition.REWRITTEN) != (self.calibration is not None):
            raise ValueError("Give the calibration of a rewritten condition, and of no other.")
        return self


class Recipe(Input):
    """An experiment: studies, an explainer, a simulator, and published statements."""

    model_config = ConfigDict(frozen=True)

    title: Line
    studies: tuple[StudyCreate, ...] = Field(min_length=1)
    explainer: ExplainCreate
    simulator: SimulatorCreate
    beside: bool = Field(
        default=False, description="Simulate with the shipped simulator too, where that may."
    )
    protocols: tuple[Protocol, ...] = Field(default=tuple(Protocol), min_length=1)
    latents: int | None = Field(
        default=None,
        ge=2,
        description="Latents to explain, drawn at random from those that fire; all if left out.",
    )
    num_latents: int = Field(
        ge=1, description="Latents of a coder whose files are not here yet, for estimates."
    )
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [study.slug for study in self.studies]
        if len(set(names)) < len(names):
            raise ValueError("Two studies have one name.")
        if unknown := {name for one in self.published for name in one.studies} - {*names}:
            raise ValueError(f"A published statement is about {min(unknown)}, which is no study.")
        if self.explainer.llm is None:
            raise ValueError("Name the language model that explains.")
        if not self.explainer.all_latents:
            raise ValueError("Give the number of latents instead of choosing them.")
        return self


class Changes(Input):
    """What a person changes of a recipe."""

    small: bool = False
    latents: int | None = None
    model: str | None = None
    corpus: str | None = None
    coders: Mapping[str, str] = {}
    hookpoints: Mapping[str, str] = {}
    explainer: str | None = None
    simulator: str | None = None
    backend: str | None = None
    base_url: str | None = None


def names() -> list[str]:
    """The recipes that come with the program."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name: str, changes: Changes) -> Recipe:
    """Read a recipe and change it.

    In a file, the table ``text`` holds what all studies share. The table ``small`` holds what a
    small run changes.

    Args:
        name: One of those that come with the program, or a ``.toml`` file.

    Raises:
        InputError: There is no such recipe, it is no TOML, or it lacks a study that is changed.
        ValidationError: It is none, or what it makes is not well-formed.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not name.endswith(".toml") and name not in names():
        raise InputError(
            f"There is no recipe {name!r}. There is {listed(names(), 'and')}; or give a .toml file."
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.") from None
    small = raw.pop("small", {})
    raw = _merged(raw, small) if changes.small else raw
    text, studies = raw.pop("text", {}), raw.pop("study", [])
    if not (isinstance(text, dict) and all(isinstance(one, dict) for one in studies)):
        raise InputError(f"{path}: write [text] as a table, and each [[study]] too.")
    raw["studies"] = _studies(text, studies, changes)
    if changes.latents is not None:
        raw["latents"] = changes.latents
    _change_models(raw, changes)
    if changes.small:
        for one in raw.get("published", []):
            one["studies"] = [slug + SMALL for slug in one.get("studies", [])]
    return Recipe.model_validate(raw)


def _studies(
    text: dict[str, Any], studies: list[dict[str, Any]], changes: Changes
) -> list[dict[str, Any]]:
    there = [one.get("slug", "") for one in studies]
    if unknown := {*changes.coders, *changes.hookpoints} - {*there}:
        raise InputError(
            f"The recipe has no study {min(unknown)!r}. There is {listed(there, 'and')}."
        )
    common = {"model": changes.model, "corpus": changes.corpus}
    made = []
    for one in studies:
        own = {"coder": changes.coders.get(one.get("slug", "")), **common}
        own["hookpoint"] = changes.hookpoints.get(one.get("slug", ""))
        study = {**text, **one, **{name: value for name, value in own.items() if value is not None}}
        if changes.small:
            study["slug"] = f"{study.get('slug', '')}{SMALL}"
            study["title"] = f"{study.get('title', '')} (small)"
        made.append(study | {"until": "collect"})
    return made


def _change_models(raw: dict[str, Any], changes: Changes) -> None:
    """Change the language models of the explainer and the simulator, and what runs them.

    Raises:
        InputError: There is a server's address, and no server runs either.
    """
    on_server = False
    for table, model in (
        (raw.get("explainer", {}).get("llm", {}), changes.explainer),
        (raw.get("simulator", {}), changes.simulator),
    ):
        table.update({} if model is None else {"model": model})
        if changes.backend is not None:
            table["backend"] = changes.backend
            table.pop("base_url", None)  # of the back end before
        if table.get("backend") in servers():
            on_server = True
            table.update({} if changes.base_url is None else {"base_url": changes.base_url})
    if changes.base_url is not None and not on_server:
        raise InputError(f"An address is for {listed(servers(), 'or')}: change the back end too.")


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A table with the values of another one in place of its own, table by table."""
    merged = dict(one)
    for name, value in other.items():
        both = isinstance(value, dict) and isinstance(one.get(name), dict)
        merged[name] = _merged(one[name], value) if both else value
    return merged
