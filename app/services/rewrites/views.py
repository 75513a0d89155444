"""The views of a rewrite: three views of the chart with their lines."""

from typing import Literal, NamedTuple

from interp.sources.sites import is_stream
from interp.vocabulary import CalibrationMethod, Condition
from models import Study

View = Literal["calibrations", "ceilings", "orderings"]
Over = Literal["untouched", "real_latents"]

VIEWS: dict[View, tuple[str, str]] = {
    "calibrations": (
        "Calibrations",
        "The same simulated values under each calibration, best score first.",
    ),
    "ceilings": (
        "Ceilings",
        "Oracle gating is zero wherever the latent is silent: it has no false positives. Its loss "
        "comes from misses and wrong sizes, and rewritten minus gating is the loss of the false "
        "positives. Oracle values have the true size wherever the quantile values predict the "
        "latent active: their loss comes from false positives and misses of that prediction. The "
        "dots are of the whole set: noise as large as the rewriting's error, and two with the "
        "coder's own error added back.",
    ),
    "orderings": (
        "Orderings",
        "The order in which latents are rewritten: by score, by the loss effect of zeroing, or at "
        "random. With the whole set rewritten, all meet.",
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
    condition: Condition | Literal["before", "newest", "all_contexts"]
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
DARK_BLUE, DARK_ORANGE = "#2c5d92", "#a25d17"
"""Okabe and Ito's palette for colour-blind readers, in tones that hold on light and dark pages."""

ISOTONIC = Line(
    "rewritten, isotonic",
    SIMULATED,
    CalibrationMethod.ISOTONIC.meaning,
    Condition.REWRITTEN,
    CalibrationMethod.ISOTONIC,
)
QUANTILE = Line(
    "rewritten, quantile",
    TEAL,
    CalibrationMethod.QUANTILE.meaning,
    Condition.REWRITTEN,
    CalibrationMethod.QUANTILE,
)
ZEROED = Line(
    Condition.SET_ZEROED.label,
    REAL,
    Condition.SET_ZEROED.meaning,
    Condition.SET_ZEROED,
)
BEFORE = Line(
    "before the last edit",
    GREY,
    "Rewritten, isotonic, with the explanations as they were before the last edit.",
    "before",
    dash=(2, 3),
)
NEWEST = Line(
    "newest explanations",
    "#b3261e",
    "Rewritten, isotonic, with the newest explanations: the whole set. Its other points follow in "
    "the background.",
    "newest",
    width=4.0,
)
ALL_CONTEXTS = Line(
    "all contexts",
    DARK_BLUE,
    "Rewritten, isotonic: the whole set, on all contexts of the evaluate set. All other points are "
    "on the panel, the first of these contexts.",
    "all_contexts",
    width=4.0,
)
LINES: dict[View, tuple[Line, ...]] = {
    "calibrations": (
        ISOTONIC,
        QUANTILE,
        Line(
            "rewritten, linear",
            PINK,
            CalibrationMethod.LINEAR.meaning,
            Condition.REWRITTEN,
            CalibrationMethod.LINEAR,
        ),
        Line(
            "rewritten, none",
            BROWN,
            CalibrationMethod.NONE.meaning,
            Condition.REWRITTEN,
            CalibrationMethod.NONE,
        ),
        ZEROED,
        BEFORE,
        NEWEST,
        ALL_CONTEXTS,
    ),
    "ceilings": (
        ISOTONIC,
        Line(
            Condition.ORACLE_GATING.label,
            LIGHT_BLUE,
            Condition.ORACLE_GATING.meaning,
            Condition.ORACLE_GATING,
            CalibrationMethod.ISOTONIC,
            dash=(6, 4),
        ),
        QUANTILE,
        Line(
            Condition.ORACLE_VALUES.label,
            LIGHT_TEAL,
            Condition.ORACLE_VALUES.meaning,
            Condition.ORACLE_VALUES,
            CalibrationMethod.QUANTILE,
            dash=(6, 4),
        ),
        Line(
            Condition.RANDOM_LATENTS.label,
            PINK,
            Condition.RANDOM_LATENTS.meaning,
            Condition.RANDOM_LATENTS,
        ),
        Line(
            Condition.NOISE.label,
            BROWN,
            Condition.NOISE.meaning,
            Condition.NOISE,
            CalibrationMethod.ISOTONIC,
            width=4.0,
        ),
        ZEROED,
        Line(
            Condition.SET_ZEROED_ERROR_KEPT.label,
            DARK_ORANGE,
            Condition.SET_ZEROED_ERROR_KEPT.meaning,
            Condition.SET_ZEROED_ERROR_KEPT,
            width=4.0,
        ),
        Line(
            Condition.REWRITTEN_ERROR_KEPT.label,
            DARK_BLUE,
            Condition.REWRITTEN_ERROR_KEPT.meaning,
            Condition.REWRITTEN_ERROR_KEPT,
            CalibrationMethod.ISOTONIC,
            width=4.0,
        ),
    ),
    "orderings": (
        ISOTONIC._replace(
            name="by score",
            meaning="Rewritten, isotonic; the latent with the best correlation comes first.",
        ),
        ISOTONIC._replace(
            name="by effect",
            color=TEAL,
            meaning="Rewritten, isotonic; the largest loss effect of zeroing comes first.",
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
    Condition.NO_LATENTS: "#a68a1c",
    Condition.MEAN: "#8a6fc0",
    Condition.RESAMPLE: "#5b8796",
    Condition.ZERO: "#b5483c",
    Condition.REAL_LATENTS: "#2f9e63",
}
"""Colour of the conditions that do not depend on the set."""


def rewrites_stream(study: Study) -> bool:
    """Whether the study's coder is an autoencoder on the residual stream between two layers.

    Zeroing its output takes away all that the layers below wrote. That is no baseline of the coder.
    """
    return study.coder_info.get("kind") == "sae" and is_stream(study.hookpoint)


def baselines(study: Study) -> list[Condition]:
    """The conditions without a set that a chart of the study draws by itself."""
    without = Condition.ZERO if rewrites_stream(study) else None
    return [one for one in BASELINES if one != without]
