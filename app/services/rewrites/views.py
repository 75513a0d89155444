"""The views of a rewrite: two protocols, and three views of the chart with their lines."""

from typing import Literal, NamedTuple

from app.services.rewrites.schemas import Protocol

View = Literal["calibrations", "ceilings", "orderings"]
Over = Literal["untouched", "real_latents"]

PROTOCOLS: dict[Protocol, tuple[str, str]] = {
    "whole": ("Whole contexts", "Every token of a context is spliced at once."),
    "paper": (
        "Last token",
        "Only the last input token of a context is spliced, and the one prediction made from it "
        "counts, as published.",
    ),
}
"""Label of each protocol, and what it means."""

VIEWS: dict[View, tuple[str, str]] = {
    "calibrations": (
        "Calibrations",
        "The same simulated values under each calibration, best score first.",
    ),
    "ceilings": (
        "Ceilings",
        "Oracle gating has the simulator's values without its false positives, zero wherever the "
        "latent is silent: what it still costs are misses and wrong sizes, and rewritten minus "
        "gating is what false positives cost. Oracle values have the true size wherever the quantile "
        "values say that the latent is active: what they still cost is what the simulator misses.",
    ),
    "orderings": (
        "Orderings",
        "Which latents are rewritten first: those explained best, those with the largest loss effect of zeroing, "
        "or any. With the whole set rewritten, all meet.",
    ),
}
"""Label of each view, and what it shows."""


OVERS: dict[Over, tuple[str, str]] = {
    "untouched": ("over the untouched model", ""),
    "real_latents": (
        "over real latents",
        "A close-up: what the set adds to the coder's own error. Zero is all latents real.",
    ),
}
"""What losses are shown over, and what that means."""


class Line(NamedTuple):
    """One line of the chart: a condition at several numbers of latents."""

    name: str
    color: str
    meaning: str
    condition: str
    calibration: str = ""
    orderings: tuple[str, ...] = ("score",)
    dash: tuple[int, int] = (1, 0)
    width: float = 2.0

    def called(self, ordering: str) -> str:
        """The line's name in one of its orderings."""
        return self.name if len(self.orderings) == 1 else ordering


SIMULATED, REAL = "#3d7fc4", "#d9822b"
TEAL, PINK, BROWN, GREY = "#2a9d8f", "#c264a5", "#a8714a", "#8a94a3"
LIGHT_BLUE, LIGHT_TEAL, LIGHT_ORANGE = "#79aee6", "#74c7b8", "#e3ae78"
"""Okabe and Ito's palette for colour-blind readers, in tones that hold on light and dark pages."""

ISOTONIC = Line(
    "rewritten, isotonic",
    SIMULATED,
    "Simulated values as the activation to expect, given the value.",
    "rewritten",
    "isotonic",
)
QUANTILE = Line(
    "rewritten, quantile",
    TEAL,
    "Simulated values sent to the real activation of the same rank, zeros included.",
    "rewritten",
    "quantile",
)
ZEROED = Line(
    "same latents zeroed",
    REAL,
    "The latents of the set are zero: the loss of having no words for them.",
    "set_zeroed",
)
BEFORE = Line(
    "before the last edit",
    GREY,
    "Rewritten, isotonic, with the explanations as they were before the last edit.",
    "before",
    dash=(2, 3),
)
LINES: dict[View, tuple[Line, ...]] = {
    "calibrations": (
        ISOTONIC,
        QUANTILE,
        Line(
            "rewritten, linear",
            PINK,
            "Simulated values scaled to the latent's maximum.",
            "rewritten",
            "linear",
        ),
        Line(
            "rewritten, none",
            BROWN,
            "Simulated values as they are, expected digits from 0 to 9.",
            "rewritten",
            "none",
        ),
        ZEROED,
        BEFORE,
    ),
    "ceilings": (
        ISOTONIC,
        Line(
            "oracle gating",
            LIGHT_BLUE,
            "Isotonic values without the false positives: zero wherever the latent is silent.",
            "oracle_gating",
            "isotonic",
            dash=(6, 4),
        ),
        QUANTILE,
        Line(
            "oracle values",
            LIGHT_TEAL,
            "True activations where the quantile values say that the latent is active, zero "
            "elsewhere.",
            "oracle_values",
            "quantile",
            dash=(6, 4),
        ),
        Line(
            "random latents",
            PINK,
            "As many latents, drawn at random, active with values from their real distributions.",
            "random_latents",
        ),
        ZEROED,
    ),
    "orderings": (
        ISOTONIC._replace(
            name="by score",
            meaning="Rewritten, isotonic; the latent with the best correlation comes first.",
        ),
        ISOTONIC._replace(
            name="by effect",
            color=TEAL,
            meaning="Rewritten, isotonic; the latent with the largest loss effect of zeroing comes first.",
            orderings=("effect",),
        ),
        ISOTONIC._replace(
            name="at random",
            color=GREY,
            meaning="Rewritten, isotonic; one line for each of three seeds.",
            orderings=("random 1", "random 2", "random 3"),
            width=1.0,
        ),
        ZEROED._replace(name="zeroed, by score"),
    ),
}

BASELINES = {
    "zero": ("zero ablation", "#b5483c", "The module puts out zero."),
    "mean": ("mean ablation", "#8a6fc0", "The module puts out its mean over the explain set."),
    "no_latents": (
        "no latents",
        "#a68a1c",
        "All latents are zero: the coder's bias, and its skip connection if it has one, are left.",
    ),
    "real_latents": (
        "real latents",
        "#2f9e63",
        "The coder with the real activations: its own error, before any rewriting.",
    ),
}
"""Name, colour and meaning of the conditions that do not depend on the set."""
