"""Descriptions of simulators, for use before their code is loaded. Needs no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field

from interp import registry
from interp.llm.llm import LLM
from interp.llm.usage import CHARACTERS_A_TOKEN, Tokens
from interp.simulate.protocol import Ask, Simulator
from interp.simulate.reads import Reading

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from interp.simulate.training.corpus import Corpus, TrainingText
    from interp.simulate.training.trained import Trained as Record


class Asked(Protocol):
    """Estimates the tokens to simulate explanations on the same number of contexts each."""

    def __call__(self, explanations: int, *, length: int, contexts: int, seq: int) -> Tokens:
        """
        Args:
            length: Characters of an explanation, on average.
            seq: Tokens that are simulated in a context.
        """


Reads = Callable[[str, Ask, Sequence[str]], Reading]
"""Gives the text that a simulator reads, from its version, the question, and the token strings of a
text without the beginning-of-sequence token."""


class PromptedOptions(BaseModel, frozen=True):
    """Options of every prompted simulator."""

    calibrate_contexts: int | None = Field(default=None, ge=1, le=100_000)
    """Number of contexts to calibrate on; all if None. Slow simulators use few."""


class TrainingSettings(BaseModel, frozen=True):
    """Settings of every training."""

    folds: int
    steps: int
    """Of each fold."""
    learning_rate: float
    check_every: int
    """Steps between looks at the validation latents, and between checkpoints."""
    patience: int = 3
    """Number of looks without an improvement after which training stops."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to turn an explanation and a text into activations."""

    name: str
    meaning: str
    usage: Asked
    reads: Reads
    """The text that it reads, word by word."""
    loader: str
    """The class of the simulator."""
    batch: int = 1
    """Explanations in one unit of work. Methods that take seconds for each simulate one."""
    instant: bool = False
    """True if it takes a small part of a second for an explanation on some hundred contexts, once
    it is loaded: then pages simulate a text while somebody types it."""


@dataclass(frozen=True, kw_only=True)
class Prompted(Method):
    """A method that asks any language model."""

    version: Callable[[Any], str]
    """Version of the prompt, by the options."""
    options: type[PromptedOptions] = PromptedOptions
    every_token: bool = False
    """Whether each token has a prompt of its own. Otherwise each context has."""

    def prompts(self, explanations: int, *, contexts: int, seq: int) -> int:
        """Prompts that it takes to simulate explanations on the same number of contexts each.

        Args:
            seq: Tokens that are simulated in a context.
        """
        return explanations * contexts * (seq if self.every_token else 1)

    def load(self, llm: LLM, options: dict[str, Any]) -> Simulator:
        """The simulator on a language model.

        Args:
            options: Those that differ from the default. Names that :attr:`options` lacks are
                ignored.
        """
        make: Callable[[LLM, PromptedOptions], Simulator] = registry.load(self.loader)
        return make(llm, self.options.model_validate(options))


@dataclass(frozen=True, kw_only=True)
class Trained(Method):
    """A method with weights in a folder that a training wrote."""

    trainer: str
    """A function as :meth:`train`, with settings of the type below."""
    settings: type[TrainingSettings]

    def load(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        folder: Path,
        coder: str,
    ) -> Simulator:
        """The simulator in a folder.

        Args:
            model: The base that it was trained on. It is not changed.
            coder: SHA-256 of the weights of the coder whose latents are to be simulated.

        Raises:
            InputError: The folder holds no such simulator, its files are damaged, or the model is
                another than the one it was trained on.
        """
        make: Callable[..., Simulator] = registry.load(self.loader)
        return make(model, tokenizer, folder, coder)

    def train(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        base: str,
        corpora: "Sequence[Corpus]",
        text: "TrainingText",
        out: Path,
        *,
        settings: dict[str, Any],
        command: str,
        say: Callable[[str], None],
    ) -> "Record":
        """Train a simulator and write it to a folder.

        The folder ``checkpoints`` in it holds the progress. A second call with the same settings
        resumes from there.

        Args:
            base: The model's name, as it is recorded.
            corpora: Of each study. Some methods take one only.
            text: Of all of them.
            settings: Those that differ from the default.
            command: The command line, as it is recorded.
            say: Takes progress, in words.

        Raises:
            InputError: The method takes no several studies, checkpoints of another training are in
                the folder, or a corpus is too small.
        """
        train: Callable[..., Record] = registry.load(self.trainer)
        return train(
            model,
            tokenizer,
            base,
            corpora,
            text,
            out,
            settings=self.settings.model_validate(settings),
            command=command,
            say=say,
        )


def prompted_usage(one: Callable[..., Tokens]) -> Asked:
    """The estimate of a method that takes one explanation at a time.

    Args:
        one: Gives the usage of one explanation, from its tokens, the number of contexts and
            their length.
    """

    def usage(explanations: int, *, length: int, contexts: int, seq: int) -> Tokens:
        return one(length / CHARACTERS_A_TOKEN, contexts=contexts, seq=seq).times(explanations)

    return usage
