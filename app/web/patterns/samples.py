"""Sample data for the pattern page, of the types that the pages show. Nothing is stored."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from markupsafe import Markup

from app.services.explanations.compare import Paired
from app.services.explanations.diff import Change, word_diff
from app.services.latents.examples import ShownExample, Token, Window
from app.services.latents.loss_effects import ShownEffect
from app.services.schemas import Comparison
from app.services.simulators.independence import Assessment, StudySimulator
from app.web.charts import Spec
from app.web.html.lanes import LANES, Lanes, Look, lanes_html, window_html
from app.web.html.rows import rows_html, star_html
from app.web.latent.charts import effect_chart
from app.web.latent.scores import Basis, ScoreRow, Scores, ScoringModel
from app.web.latent.statistics import Bar, Output, Statistics
from app.web.studies.inspection import InspectionView, Row
from app.web.urls import url
from interp.coders.findings import CoderFiles, Measured, MeasuredSite, Question
from interp.vocabulary import CoderFit, Independence
from jobs.inspections import Inspection
from jobs.progress import JobLine
from jobs.status import Status
from models import Comment, Explanation, LossEffect, Simulator, Study


class Samples(NamedTuple):
    """The samples on the pattern page, each by its component."""

    study: Study
    now: datetime
    jobs: list[JobLine]
    simulators: list[StudySimulator]
    comparisons: list[Comparison]
    paired: list[Paired]
    explanations: list[Explanation]
    comment: Comment
    diff: tuple[Change, ...]
    lanes: list[tuple[str, Lanes, Markup]]
    """Name of each way to look at tokens, its class, and the tokens."""
    two_explanations: Markup
    stars: list[Markup]
    rows: Markup
    scores: Scores
    statistics: Statistics
    chart: Spec | None
    doubts: list[str]
    inspections: list[InspectionView]
    """One under way, and one that is finished."""


def patterns() -> Samples:
    """Sample data for every component."""
    now = datetime.now(UTC) - timedelta(hours=3)
    lower = Comparison(mean=-0.00213, low=-0.0031, high=-0.0011, p=0.0004)
    higher = Comparison(mean=0.0042, low=0.0011, high=0.0069, p=0.012)
    unclear = Comparison(
        mean=0.0002, low=-0.0007, high=0.0012, p=0.61, detectable=0.0015, contexts_needed=5200
    )
    comparisons = [lower, higher, unclear]
    text = "the legislature, and what it votes on"
    study = Study(id=1, slug="a-study", title="A study", coder_info={"text_version": 1})
    return Samples(
        study,
        now,
        _jobs(),
        _simulators(),
        comparisons,
        [Paired(one, 48) for one in comparisons],
        [
            Explanation(text=text, author="ana", author_kind="person", details={}, created_at=now),
            Explanation(
                text=text,
                author="prompted",
                author_kind="model",
                prompt_version="2",
                created_at=now,
                details={
                    "model": "org/a-model",
                    "tokens_read": 1830,
                    "tokens_written": 21,
                    "seconds": 2.4,
                },
            ),
            Explanation(
                text=text,
                author="ben",
                author_kind="person",
                details={"imported_by": "ana"},
                created_at=now,
            ),
        ],
        Comment(id=1, author="ana", text="It also fires on “bill”.", created_at=now),
        word_diff("numbers and years", text),
        _lanes(),
        lanes_html(_tokens(), 9.0, others=_tokens(shift=2.0), here=3),
        [star_html(study.slug, 7, starred) for starred in (False, True)],
        _rows(study),
        _scores(),
        _statistics(),
        _chart(),
        ["How its documents were told apart is not known."],
        _inspections(),
    )


def _jobs() -> list[JobLine]:
    return [
        JobLine(1, "collect", "running", 120, 400, "contexts", "", {"seconds": 60.0}),
        JobLine(2, "simulate", "queued", 0, None, "batches", "", {}),
        JobLine(3, "explain", "failed", 3, 8, "latents", "The server gave no answer.", {}),
        JobLine(4, "rewrite", "finished", 64, 64, "contexts", "", {}),
        JobLine(5, "score", "cancelled", 1, 9, "explanations", "Cancelled.", {}),
    ]


def _simulators() -> list[StudySimulator]:
    simulator = Simulator(id=1, method="all_at_once", model="org/a-model", options={})
    reasons: dict[Independence, str] = {
        Independence.INDEPENDENT: "The simulator runs on another model than the subject.",
        Independence.SAME_FAMILY: "The simulator runs on a model of the subject's family.",
        Independence.SAME_MODEL: "The simulator runs on the subject model itself.",
        Independence.UNKNOWN: "Its record does not tell documents apart by their text.",
        Independence.CONTAMINATED: "The simulator was trained on text that it is measured on.",
    }
    return [
        StudySimulator(simulator, Assessment(independence, reason))
        for independence, reason in reasons.items()
    ]


def _tokens(shift: float = 0.0) -> list[Token]:
    """A short text with every state that a token can have."""
    texts = ["<s>", "The", " bill", " passed", " both", " houses", "\n", "of", " Congress", "."]
    real = [0.0, 0.0, 6.2, 3.1, 0.0, 8.8, 0.0, 0.0, 9.0, 0.2]
    tokens = [Token(texts[0], 0.0, None, None, "bos", 0)]
    for place, (text, value) in enumerate(zip(texts[1:], real[1:], strict=True), start=1):
        raw = max(0.0, min(9.0, value - 1.5 + shift + place % 3))
        known = place not in (4, 7)
        state = "simulated" if known else "missing" if place == 4 else "none"
        tokens.append(
            Token(text, value, raw if known else None, raw if known else None, state, place)
        )
    return tokens


def _lanes() -> list[tuple[str, Lanes, Markup]]:
    example = ShownExample("top", 0, 1, "Washington 1790", 33, _tokens())
    window = Window(example, 1, 9, [])
    return [
        (label, lanes, window_html(window, Look(lanes, lanes == "both", 9.0)))
        for lanes, label in LANES.items()
    ]


def _rows(study: Study) -> Markup:
    row = {
        "index": 7,
        "starred": True,
        "explanation": "the legislature, and what it votes on",
        "firing_rate": 0.0123,
        "correlation": 0.61,
        "correlation_low": 0.52,
        "correlation_high": 0.69,
        "author": "ben",
        "imported_by": "ana",
        "nearness": 0.8,
    }
    silent = {**row, "index": 8, "starred": False, "explanation": None, "correlation": None}
    dead = {**silent, "index": 9, "firing_rate": 0.0, "author": None, "imported_by": None}
    return rows_html(
        [row, silent, dead],
        [("firing_rate", "fires on"), ("correlation", "correlation"), ("author", "author")],
        study.slug,
        {},
        False,
    )


def _scores() -> Scores:
    random_baseline = "Mean over 8 explanations of other latents"
    rows = [
        ScoreRow(
            "correlation", "correlation", "", 0.61, 0.52, 0.69, 2, 4200, 0.08, random_baseline
        ),
        ScoreRow(
            "explained_variance",
            "explained variance",
            "",
            -0.2,
            -0.4,
            0.1,
            2,
            4200,
            0.0,
            random_baseline,
        ),
        ScoreRow("auroc", "AUROC", "", None, None, None, 2, 4200, None, None),
        ScoreRow("detection", "detection", "", 0.7, None, None, 2, 40, 0.5, "Chance"),
    ]
    undefined = "A score is not defined where the simulated or the real values are all the same."
    basis, scorer = Basis(52, 8, undefined), ScoringModel("a-model", 2)
    return Scores(_simulators()[0], rows, True, basis, scorer, None, url("patterns"), "", None)


def _statistics() -> Statistics:
    shares = [0.4, 0.25, 0.15, 0.0, 0.1, 0.06, 0.03, 0.01]
    bars = [Bar(one / 0.4, at, at + 1, one) for at, one in enumerate(shares)]
    outputs = [Output(" Congress", 2.5, 1.0), Output(" Senate", 1.4, 0.56)]
    return Statistics(0.0123, 8.0, 2.1, bars, False, outputs, [Output("<b>", -2.5, 1.0)])


def _chart() -> Spec | None:
    zeroed = LossEffect(mean=0.0041, low=0.0022, high=0.0063)
    isotonic = LossEffect(mean=0.0012, low=-0.0004, high=0.0029)
    return effect_chart([ShownEffect("zeroed", zeroed), ShownEffect("this, isotonic", isotonic)])


def _inspections() -> list[InspectionView]:
    running = Inspection(
        id="1",
        question=Question(
            model="org/a-model", coder="org/coders/layer_9", hookpoint="layers.9.mlp"
        ),
        status=Status.RUNNING,
        step="Measuring sites and readings",
        done=3,
        total=9,
        files=CoderFiles(
            format="sparsify",
            weights="/coders/layer_9/sae.safetensors",
            kind="transcoder",
            skip=True,
            reads="layers.10.mlp.input",
            d_in=576,
            writes="layers.10.mlp",
            d_out=576,
            latents=4096,
            rule="the 32 largest",
            active=32.0,
            model="org/a-model",
            remark="",
        ),
    )
    sites = [
        ("layers.9.mlp", "", 0.833, False),
        ("layers.10.mlp", "", 0.1, True),
        ("layers.10.mlp", "the decoder's bias is subtracted", 0.413, True),
    ]
    measured = Measured(
        fit=CoderFit.ELSEWHERE,
        best=1,
        sites=[
            MeasuredSite(
                reads=f"{name}.input",
                writes=name,
                reading=how,
                typical_fvu=typical,
                fvu=typical / 2,
                active=32.0,
                fits=fits,
            )
            for name, how, typical, fits in sites
        ],
        tokens=1980,
    )
    done = running.model_copy(update={"status": Status.FINISHED, "measured": measured})
    rows = tuple(Row(number, one, not number) for number, one in enumerate(measured.sites))
    return [InspectionView(running), InspectionView(done, rows, 4)]
