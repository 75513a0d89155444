"""Score an explanation with a language model: does it tell where the latent is active?

After Paulo et al., "Automatically interpreting millions of features in large language models"
(2024). In *detection* the model reads the explanation and a text and says whether the latent is
active in it. In *fuzzing* tokens of the text are marked, and it says whether they are the ones on
which the latent is active. Each question is about one text. Half of the texts are ones where the
right answer is yes, so these scores say nothing about natural rates.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from interp.llm.llm import LLM, Message, Query
from interp.llm.templates import marked, render
from interp.scoring.scores import auroc
from interp.scoring.statistics import UNDEFINED, Estimate, by_document, estimate

WINDOW = 32
"""Most tokens of a text: in a longer one almost any latent is active somewhere."""
ANSWERS = (" yes", " no")
PROMPTS = Path(__file__).parent / "prompts"
HERE = "\0"
"""Stands for the text in a prompt that is cut there; no text has it."""
MAX_TOKENS = 8
ANSWER = re.compile(
    r"\W*(?:(?:(?:the|my|final|correct)\s+)*answer\W*(?:is\b)?\W*)?(yes|no)\b", re.IGNORECASE
)
"""How a written answer begins."""


class Scorer(StrEnum):
    DETECTION = "detection"
    FUZZING = "fuzzing"

    @property
    def version(self) -> str:
        """Version of the scorer's prompt."""
        return f"{self}-1"


Window = tuple[int, NDArray[np.int64]]
"""Some positions of a context."""


class Case(NamedTuple):
    """A text, and the right answer to the question about it."""

    text: str
    """In fuzzing with marked tokens."""
    answer: bool
    document: Any


class Scored(NamedTuple):
    """A language model's answers about an explanation's cases."""

    balanced_accuracy: Estimate
    """Mean of the shares of right answers where yes is right and where no is."""
    auroc: Estimate
    """How often yes is more probable where it is right than where it is not; a tie is half."""
    yes: Float[np.ndarray, "case"]
    """Probability of yes, of yes and no; 1 or 0 where only the answer is known, NaN where there
    is none."""
    failures: dict[str, int]
    """Why answers are missing, with how many for each reason."""
    tokens_read: int
    tokens_written: int
    seconds: float

    @property
    def examples(self) -> int:
        """The number of cases that were answered."""
        return int((~np.isnan(self.yes)).sum())


def cases(
    scorer: Scorer,
    strings: Sequence[Sequence[str]],
    real: NDArray[np.floating],
    documents: Sequence[Any],
    *,
    first_position: int,
    count: int,
    seed: int,
) -> list[Case]:
    """Draw texts for a scorer from contexts of the calibrate set: as many for yes as for no, if
    there are enough.

    Contexts are cut into windows. In detection, yes is right for a window where the latent is
    active, no for one where it is silent. In fuzzing the latent is active in all of them: the
    marked tokens are the active ones, or as many others.

    Args:
        strings: Token strings.
        real: The latent's activations, shape (context, position).
        count: Texts of each kind.
    """
    rng = np.random.default_rng(seed)
    active: list[Window] = []
    silent: list[Window] = []
    seq = real.shape[1]
    pieces = math.ceil((seq - first_position) / WINDOW)
    for row in range(len(strings)):
        for window in np.array_split(np.arange(first_position, seq), pieces):
            (active if (real[row, window] > 0).any() else silent).append((row, window))

    def draw(windows: list[Window], most: int) -> list[Window]:
        return [windows[i] for i in rng.permutation(len(windows))[:most]]

    def case(row: int, window: NDArray[np.int64], answer: bool, marks: Sequence[int] = ()) -> Case:
        tokens = [strings[row][i] for i in window]
        text = marked(tokens, dict.fromkeys(marks, ""))
        return Case(text, answer, documents[row])

    if scorer is Scorer.DETECTION:
        return [
            *(case(row, window, True) for row, window in draw(active, count)),
            *(case(row, window, False) for row, window in draw(silent, count)),
        ]
    # Of a window where the latent is active on most tokens, too few others could be marked.
    sparse = [(row, w) for row, w in active if (real[row, w] > 0).mean() <= 0.5]
    drawn = draw(sparse, 2 * count)
    found = []
    for number, (row, window) in enumerate(drawn):
        right = np.flatnonzero(real[row, window] > 0)
        wrong = rng.choice(np.flatnonzero(real[row, window] <= 0), len(right), replace=False)
        truth = number % 2 == 0
        found.append(case(row, window, truth, (right if truth else wrong).tolist()))
    return found


def score(
    llm: LLM, scorer: Scorer, explanation: str, cases: Sequence[Case], *, seed: int
) -> Scored:
    """Ask a language model about each case.

    The answer is the distribution over " yes" and " no" where the model's can be read, else what
    it writes. Intervals come from resampling documents.

    Raises:
        InputError: The model's tokenizer writes " yes" or " no" as more than one token.
    """
    started = time.perf_counter()
    asked = _written if llm.reads == "nothing" else _read
    yes, failures, tokens_read, tokens_written = asked(llm, scorer, explanation, cases)
    seconds = time.perf_counter() - started
    answered = ~np.isnan(yes)
    truth = np.array([case.answer for case in cases], dtype=bool)[answered]
    documents = [case.document for case, one in zip(cases, answered, strict=True) if one]
    if not answered.any():
        accuracy = area = UNDEFINED
    else:
        accuracy = balanced_accuracy(yes[answered] > 0.5, truth, documents, seed=seed)
        area = auroc(yes[answered], truth, documents, seed=seed)
    return Scored(
        accuracy, area, yes, dict(Counter(failures)), tokens_read, tokens_written, seconds
    )


def balanced_accuracy(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], documents: Sequence[Any], *, seed: int
) -> Estimate:
    """Mean of sensitivity and specificity; NaN where one of them is not defined."""
    sums = by_document([predicted & truth, truth, ~predicted & ~truth, ~truth], documents)

    def statistic(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        hits, positives, passes, negatives = sums[:, rows].sum(-1)
        with np.errstate(invalid="ignore"):
            return np.asarray((hits / positives + passes / negatives) / 2)

    return estimate(statistic, sums.shape[1], seed=seed)


def _chat(scorer: Scorer, explanation: str, text: str) -> list[Message]:
    return render(
        PROMPTS / f"{scorer.version}.jinja", explanation=_one_line(explanation), text=text
    )


Answered = tuple[NDArray[np.float64], list[str], int, int]
"""Probability of yes for each case, the failures, tokens read and tokens written."""


def _read(llm: LLM, scorer: Scorer, explanation: str, cases: Sequence[Case]) -> Answered:
    """The answers as distributions, after the chat as plain text."""
    *worked, question = _chat(scorer, explanation, HERE)
    parts = [message["content"] for message in worked]
    turns = [f"{asked} {answer}" for asked, answer in zip(parts[::2], parts[1::2], strict=True)]
    before, _, after = question["content"].partition(HERE)
    # A part begins with the white space before it: at an end it would be other tokens.
    answers = llm.distributions(
        ["\n\n".join(turns), f"\n\n{before.rstrip(' ')}"],
        [Query([f" {case.text}{after}"]) for case in cases],
        ANSWERS,
    )
    return (
        np.array([float(answer.probabilities[0, 0]) for answer in answers]),
        [reason for answer in answers for reason in answer.failures if reason],
        sum(answer.tokens_read for answer in answers),
        0,
    )


def _written(llm: LLM, scorer: Scorer, explanation: str, cases: Sequence[Case]) -> Answered:
    """The answers as the model writes them."""
    completions = llm.complete(
        [_chat(scorer, explanation, case.text) for case in cases],
        max_tokens=MAX_TOKENS,
    )
    yes = np.full(len(cases), np.nan)
    failures = []
    for i, completion in enumerate(completions):
        word = ANSWER.match(completion.text or "")
        if word:
            yes[i] = word[1].lower() == "yes"
        else:
            failures.append(completion.failure or "the answer is neither yes nor no")
    return (
        yes,
        failures,
        sum(completion.tokens_read for completion in completions),
        sum(completion.tokens_written for completion in completions),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
