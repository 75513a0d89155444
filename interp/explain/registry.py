"""All explainers. Needs no torch.

To add one, write a file that declares a :class:`~interp.explain.explainer.Counting` or an
:class:`~interp.explain.explainer.Asking` explainer, and list it below.
"""

from interp.explain.asking import CONTRASTIVE, PROMPTED, REFINE
from interp.explain.explainer import Asking, Counting, Explainer
from interp.explain.lexical import LEXICAL
from interp.registry import Registry

EXPLAINERS: Registry[Explainer] = Registry(
    "explainer",
    LEXICAL,
    PROMPTED,
    CONTRASTIVE,
    REFINE,
)


def asking() -> dict[str, Asking]:
    """The explainers that ask a language model, by name."""
    return {name: one for name, one in EXPLAINERS.items() if isinstance(one, Asking)}


def counting() -> dict[str, Counting]:
    """The explainers that ask no language model, by name."""
    return {name: one for name, one in EXPLAINERS.items() if isinstance(one, Counting)}
