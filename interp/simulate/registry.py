"""All simulators. Needs no torch.

To add one, write a file that declares a :class:`~interp.simulate.method.Prompted` or a
:class:`~interp.simulate.method.Trained` method, and list it below.
"""

from interp.registry import Registry
from interp.simulate.inline.method import INLINE
from interp.simulate.method import Method, Prompted, Trained
from interp.simulate.prompted.all_at_once import ALL_AT_ONCE
from interp.simulate.prompted.json_reply import JSON_REPLY
from interp.simulate.prompted.last_token import LAST_TOKEN
from interp.simulate.two_tower.method import TWO_TOWER

SIMULATORS: Registry[Method] = Registry(
    "simulator method",
    ALL_AT_ONCE,
    LAST_TOKEN,
    JSON_REPLY,
    TWO_TOWER,
    INLINE,
)


def prompted() -> dict[str, Prompted]:
    """The methods that ask any language model, by name."""
    return {name: one for name, one in SIMULATORS.items() if isinstance(one, Prompted)}


def trained() -> dict[str, Trained]:
    """The methods with weights in a folder, by name."""
    return {name: one for name, one in SIMULATORS.items() if isinstance(one, Trained)}
