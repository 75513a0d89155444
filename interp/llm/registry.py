"""The back ends of language models. Needs no torch.

To add one, write a file with a :class:`Loader`, and list it below.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from interp import registry
from interp.llm.llm import LLM
from interp.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LoadCausalLM(Protocol):
    """Loads a model for Transformers, or returns a loaded one."""

    def __call__(self, model: str, /) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]": ...


class Loader(Protocol):
    """Loads a language model into a back end.

    It raises an InputError where there is no such model, or its back end is not installed.
    """

    def __call__(self, model: str, base_url: str | None, causal_lm: LoadCausalLM) -> LLM:
        """
        Args:
            model: A folder with a Transformers checkpoint, or a hub name. For a server, its name
                for the model.
            base_url: The server's address; None for the operator's own.
            causal_lm: For back ends that share models with the rest of this process.
        """


@dataclass(frozen=True, kw_only=True)
class BackEnd:
    """A way to run language models."""

    name: str
    meaning: str
    title: str
    """Its name in prose."""
    loader: str
    """A :class:`Loader`."""
    server: bool = False
    """Whether it asks a server. A server has an address, and its own names for models. Other back
    ends run in this process, on files."""
    needs: str | None = None
    """A module that must be installed, and is no dependency of Palimpsest."""

    def load(self, model: str, base_url: str | None, causal_lm: LoadCausalLM) -> LLM:
        """See :class:`Loader`."""
        loader: Loader = registry.load(self.loader)
        return loader(model, base_url, causal_lm)


BACK_ENDS = Registry(
    "back end",
    BackEnd(
        name="transformers",
        meaning="in the worker, on any machine",
        title="Transformers",
        loader="interp.llm.transformers:load",
    ),
    BackEnd(
        name="vllm",
        meaning="in the worker, on a GPU",
        title="vLLM",
        loader="interp.llm.vllm:load",
        needs="vllm",
    ),
    BackEnd(
        name="openai",
        meaning="any server that speaks like OpenAI's",
        title="server",
        loader="interp.llm.openai:load",
        server=True,
    ),
)


def servers() -> list[str]:
    """Names of the back ends that ask a server."""
    return [name for name, one in BACK_ENDS.items() if one.server]
