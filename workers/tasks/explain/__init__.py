"""Write explanations of latents."""

from interp.exchange.registry import ORIGINS
from interp.explain.explainer import Asking
from interp.explain.registry import EXPLAINERS
from jobs.params import ExplainParams
from workers.tasks.explain.counting import Count
from workers.tasks.explain.explainer import Explainer
from workers.tasks.explain.file import ReadFile
from workers.tasks.explain.llm import AskModel
from workers.tasks.explain.results import ReadResults


def task_of(asked: ExplainParams) -> Explainer:
    """The explainer of a method.

    Raises:
        InputError: There is no such method.
    """
    if asked.method == "file":
        return ReadFile(asked)
    if asked.method in ORIGINS:
        return ReadResults(asked)
    entry = EXPLAINERS.named(asked.method)
    return AskModel(asked) if isinstance(entry, Asking) else Count(asked)
