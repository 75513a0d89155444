"""What is installed is declared once: the lock and the constraints have the same pins."""

import re
import tomllib

from tests import REPOSITORY


def test_the_lock_is_under_the_constraints() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["constraint-dependencies"] == pins
    locked = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    versions = {f"{package['name']}=={package.get('version')}" for package in locked}
    assert set(pins) <= versions


def test_the_lock_names_the_public_registry_only() -> None:
    lock = (REPOSITORY / "uv.lock").read_text()
    assert set(re.findall(r'registry = "([^"]*)"', lock)) == {"https://pypi.org/simple"}
    assert set(re.findall(r'url = "(\w+://[^/]+)', lock)) == {"https://files.pythonhosted.org"}
    assert not re.search(r'(?:url|path) = "(?!https://)', lock)


def test_every_test_is_in_a_tier() -> None:
    assert not list((REPOSITORY / "tests").glob("test_*.py"))
