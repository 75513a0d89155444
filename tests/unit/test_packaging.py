"""What is installed is declared once: the lock and the constraints have the same pins."""

import re
import tomllib

from tests import REPOSITORY


def _pins(name: str) -> set[str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    return {line.partition(" ;")[0] for line in lines if line and not line.startswith("#")}


def test_the_lock_is_under_the_constraints() -> None:
    assert _pins("constraints.txt") <= _pins("requirements.lock")


def test_the_lock_holds_what_is_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=~! ;]", line)[0].lower().replace("_", "-") for line in declared}
    assert names <= {pin.partition("==")[0] for pin in _pins("requirements.lock")}


def test_every_test_is_in_a_tier() -> None:
    assert not list((REPOSITORY / "tests").glob("test_*.py"))
