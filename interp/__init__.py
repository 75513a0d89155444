"""The engine: rewrite a layer of a language model in English, latent by latent.

    import interp

1. :func:`load_subject` loads a language model with one of its modules, the hookpoint.
2. :func:`load_coder` loads the sparse coder that replaces the module.
3. :func:`draw_contexts` cuts a corpus into windows of tokens, in three sets that share no
   document: explain, calibrate, evaluate. Each set is a :class:`Contexts`.
4. :func:`collect` records the activations of all latents.
5. :func:`explain_lexically` explains latents by counting words. Explanations by people or
   language models are used the same way: they are texts.
6. :func:`load_simulator` loads a simulator. It reads an explanation (:class:`Ask`) and a text, and
   predicts the latent on each token: from 0, silent, to 9, its maximum.
7. :func:`fit` calibrates these values on the calibrate set. :func:`score` measures how well they
   predict the real activations there.
8. :func:`rewritten` replaces some latents by calibrated :class:`Values`. It is a *splice*,
   as :func:`untouched`, :func:`zero` and :func:`real_latents` are.
9. :func:`evaluate` runs the model under many splices, on the evaluate set. A :class:`Protocol`
   says at which positions.
10. :func:`compare` gives the mean difference of two conditions' losses with its interval.

``docs/engine.ipynb`` shows all steps. Names are loaded when they are used, so that parts of the
engine that need no torch can be imported without it.
"""

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

# Threads of GNU OpenMP that wait for work by spinning starve everything else on a small machine:
# beside a second busy process, a CPU forward pass took three to six times as long. Threads that
# sleep at once cost a process that is alone a quarter of its speed; a short spin costs little of
# either. It must be said before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

# Bars on the terminal and in logs, of each model that Transformers loads. Also said before.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# Without Triton, sparsify prints that on import, and has no switch for it. It takes this instead.
if find_spec("triton") is None:
    from interp import without_triton

    sys.modules["sparsify.xformers"] = without_triton

if TYPE_CHECKING:
    from interp.coders.capture import collect
    from interp.coders.load import load_coder
    from interp.corpus.contexts import Contexts, draw_contexts
    from interp.explain.lexical import explain_lexically
    from interp.model.subject import load_subject
    from interp.rewriting.evaluate import evaluate
    from interp.rewriting.splice import Values, real_latents, rewritten, untouched, zero
    from interp.scoring.calibrate import fit
    from interp.scoring.scores import score
    from interp.scoring.statistics import compare
    from interp.simulate.load import load_simulator
    from interp.simulate.protocol import Ask
    from interp.vocabulary import Protocol

__all__ = [
    "Ask",
    "Contexts",
    "Protocol",
    "Values",
    "collect",
    "compare",
    "draw_contexts",
    "evaluate",
    "explain_lexically",
    "fit",
    "load_coder",
    "load_simulator",
    "load_subject",
    "real_latents",
    "rewritten",
    "score",
    "untouched",
    "zero",
]

_FOUND = {
    "Ask": "interp.simulate.protocol",
    "Contexts": "interp.corpus.contexts",
    "Protocol": "interp.vocabulary",
    "Values": "interp.rewriting.splice",
    "collect": "interp.coders.capture",
    "compare": "interp.scoring.statistics",
    "draw_contexts": "interp.corpus.contexts",
    "evaluate": "interp.rewriting.evaluate",
    "explain_lexically": "interp.explain.lexical",
    "fit": "interp.scoring.calibrate",
    "load_coder": "interp.coders.load",
    "load_simulator": "interp.simulate.load",
    "load_subject": "interp.model.subject",
    "real_latents": "interp.rewriting.splice",
    "rewritten": "interp.rewriting.splice",
    "score": "interp.scoring.scores",
    "untouched": "interp.rewriting.splice",
    "zero": "interp.rewriting.splice",
}


def __getattr__(name: str) -> Any:
    """Load one of the names above."""
    from importlib import import_module

    if name not in _FOUND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FOUND[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
