"""A selection of latents: the filter, the order and the page."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from app.services.fields import Sought

Column = Literal[
    "firing_rate",
    "max_activation",
    "mean_activation",
    "correlation",
    "sensitivity",
    "specificity",
    "explained_variance",
    "loss_effect",
    "estimated_effect",
    "author",
]
"""What the list can show of a latent besides its index and its explanation."""


COLUMNS: tuple[Column, ...] = (
    "firing_rate",
    "max_activation",
    "correlation",
    "sensitivity",
    "specificity",
    "loss_effect",
)
"""Those that it shows if nothing else is said."""


NEAREST = 100
"""A search by meaning lists so many latents at most."""


Sort = Literal[
    "index",
    "firing_rate",
    "max_activation",
    "mean_activation",
    "correlation",
    "sensitivity",
    "specificity",
    "explained_variance",
    "loss_effect",
    "estimated_effect",
]


Order = Literal["asc", "desc"]


Bound = Annotated[
    Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)] | None,
    # A form sends an empty field as empty text.
    BeforeValidator(lambda value: None if value == "" else value),
]


class LatentMatch(BaseModel):
    """A filter for latents."""

    q: Sought = Field(
        default="",
        max_length=200,
        description="Words in the current explanation, begun or whole; in quotes as they stand; "
        "with a minus before those that are not to be there.",
    )
    firing_rate_min: Bound = Field(default=None, description="Fires on this share of tokens.")
    firing_rate_max: Bound = Field(default=None, description="Fires on no more than this share.")
    correlation_min: Bound = Field(default=None, description="Least correlation.")
    correlation_max: Bound = Field(default=None, description="Largest correlation.")
    loss_effect_min: Bound = Field(default=None, description="Least loss effect, in nats.")
    loss_effect_max: Bound = Field(default=None, description="Largest loss effect, in nats.")
    written_by: Sought = Field(
        default="", max_length=200, description="Author of the current explanation."
    )
    edited: bool = Field(default=False, description="Only latents with a person's explanation.")
    simulated: bool = Field(default=False, description="Only latents with a finished simulation.")
    missing: bool = Field(default=False, description="Only latents with missing simulated values.")
    on_list: Sought = Field(
        default="", max_length=100, description="Only latents on this list, such as starred."
    )

    def filter(self) -> dict[str, Any]:
        """The part of it that narrows the list, by field."""
        return self.fields(LatentMatch)

    def fields(self, model: type[BaseModel]) -> dict[str, Any]:
        """The fields that another model has and that are not the default, as in an address."""
        named = self.model_dump(include=set(model.model_fields), exclude_defaults=True)
        return {name: "true" if value is True else value for name, value in named.items()}

    def in_words(self) -> str:
        """The filter in words, such as “starred, with correlation ≤ 0.3”."""
        parts = [f"with “{self.q}” in the explanation"] if self.q else []
        for label, low, high, words in (
            ("firing on", self.firing_rate_min, self.firing_rate_max, _percent),
            ("with correlation", self.correlation_min, self.correlation_max, _figure),
            ("with loss effect", self.loss_effect_min, self.loss_effect_max, _figure),
        ):
            if low is not None and high is not None:
                parts.append(f"{label} {words(low)} to {words(high)}")
            elif low is not None or high is not None:
                sign, bound = ("≥", low) if low is not None else ("≤", high)
                parts.append(f"{label} {sign} {words(bound)}")
        if self.written_by:
            parts.append(f"explained by {self.written_by}")
        if self.edited:
            parts.append("edited by a person")
        if self.simulated:
            parts.append("simulated")
        if self.missing:
            parts.append("with missing values")
        if self.on_list:
            parts.append("starred" if self.on_list == STARRED else f"on the list “{self.on_list}”")
        return ", ".join(parts)


STARRED = "starred"
"""The list of the latents with a star."""


def _figure(value: float | None) -> str:
    return f"{value:g}".replace("-", "−")


def _percent(share: float | None) -> str:
    return f"{_figure(None if share is None else 100 * share)}% of tokens"


class LatentFilter(LatentMatch):
    """A filter for latents, and their order. The same for the page and the API."""

    meaning: Sought = Field(
        default="",
        max_length=500,
        description="Lists the latents whose explanations are nearest in meaning to this text, "
        f"nearest first, {NEAREST} at most; sort and order then do nothing.",
    )
    sort: Sort = Field(default="index", description="Column; missing values come last.")
    order: Order = Field(default="asc", description="Direction.")

    def in_words(self) -> str:
        """The filter in words, and the order."""
        if self.meaning.strip():
            order = f"nearest in meaning to “{self.meaning.strip()}”"
        elif self.sort != "index" or self.order == "desc":
            label = self.sort.replace("_", " ")
            order = f"by {label}, {'largest' if self.order == 'desc' else 'smallest'} first"
        else:
            order = ""
        return "; ".join(filter(None, [super().in_words(), order]))

    def state(self) -> dict[str, Any]:
        """The filter and the order by field, without what is the default: for an address."""
        return self.fields(LatentFilter)


Cursor = Annotated[
    str,
    Field(
        max_length=60, pattern=r"^(|(-?\d{1,20}(\.\d{1,20})?(e[+-]?\d{1,2})?)?~\d{1,18}(~many)?)$"
    ),
]
"""A place in the list: the value that it is sorted by (nothing if missing), ``~``, and a number
that tells equal values apart; ``~many`` where more match than are counted. Empty for the list's
beginning."""


class Part(LatentFilter):
    """The filter of the list, and where in it to begin."""

    after: Cursor = Field(default="", description="Cursor: return the rows after it.")
    before: Cursor = Field(
        default="", description="Cursor: return the rows before it; not with after."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.after and self.before:
            raise ValueError("Name after or before, not both.")
        return self


class LatentQuery(Part):
    """A filter for latents, their order and a page of the list."""

    limit: int = Field(default=50, ge=1, le=500, description="Most rows to return.")


def by_name(names: Iterable[str]) -> list[str]:
    """Names of lists in their usual order: the starred ones first."""
    return sorted(names, key=lambda name: (name != STARRED, name.casefold()))
