"""The two-tower simulator, for the registry."""

from collections.abc import Sequence

from interp.llm.usage import CHARACTERS_A_TOKEN, Tokens
from interp.simulate.method import Trained, TrainingSettings
from interp.simulate.protocol import Ask
from interp.simulate.reads import EXPLANATION_TOKENS, Reading


class Settings(TrainingSettings, frozen=True):
    """The length of the training and the amount of its data."""

    folds: int = 3
    steps: int = 900
    """Of each fold."""
    latents: int = 192
    """In one step."""
    tokens: int = 2048
    """In one step."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    drop: float = 0.1
    """Share of an explanation's tokens that are left out each time it is seen."""
    reworded: float = 0.5
    """Share of the latents that a step takes with a rewording of their explanation, if there is
    one."""
    check_every: int = 150
    """Steps between looks at the validation latents, and between checkpoints."""
    patience: int = 3
    """Stop after so many looks without a better one."""
    seed: int = 0


def _usage(explanations: int, *, length: int, contexts: int, seq: int) -> Tokens:
    asked = round(length / CHARACTERS_A_TOKEN)
    # The text is read once for all explanations.
    return Tokens(explanations * asked + (contexts * seq if explanations else 0), 0)


def _reads(version: str, ask: Ask, tokens: Sequence[str]) -> Reading:
    note = (
        f"One tower reads this and nothing else, at most its first {EXPLANATION_TOKENS} "
        "tokens; the other tower reads the text."
    )
    return Reading("", ask.explanation, "", note)


TWO_TOWER = Trained(
    name="two_tower",
    meaning="multiplies an encoding of the explanation with one of each token",
    usage=_usage,
    reads=_reads,
    batch=64,
    instant=True,
    loader="interp.simulate.two_tower.simulator:TwoTower",
    trainer="interp.simulate.two_tower.train:train",
    settings=Settings,
)
