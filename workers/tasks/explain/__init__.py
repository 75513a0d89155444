"""Write explanations of latents."""

from interp.errors import InputError
from jobs.params import ExplainParams
from workers.tasks.explain.explainer import Explainer
from workers.tasks.explain.file import ReadFile
from workers.tasks.explain.lexical import Lexical
from workers.tasks.explain.llm import METHODS, AskModel


def task_of(asked: ExplainParams) -> Explainer:
    """The explainer of a method.

    Raises:
        InputError: There is no such method.
    """
    if asked.method == "lexical":
        return Lexical(asked)
    if asked.method == "file":
        return ReadFile(asked)
    if asked.method in METHODS:
        return AskModel(asked)
    raise InputError(f"There is no explainer {asked.method!r}.")
