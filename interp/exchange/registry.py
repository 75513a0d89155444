"""The tools whose results can be read. Needs no torch.

To add one, write a file that opens its results as :class:`~interp.exchange.origin.Results`, and
list it below.
"""

from interp.exchange.origin import Origin
from interp.registry import Registry

ORIGINS: Registry[Origin] = Registry(
    "format",
    Origin(
        name="delphi",
        label="Delphi",
        meaning="the folder of a run of Delphi, such as results/NAME",
        loader="interp.exchange.delphi:open_run",
    ),
    Origin(
        name="neuronpedia",
        label="Neuronpedia",
        meaning="an export of Neuronpedia: a folder v1/MODEL/SOURCE, or one batch-N.jsonl.gz",
        loader="interp.exchange.neuronpedia:open_export",
    ),
)
