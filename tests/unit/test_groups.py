"""Tests that run side by side stay together where they share what takes long to make."""

import pytest

from tests.conftest import group_of


def test_a_groups_tests_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist 3.8 appends the group to a test's id, and pytest 9.2 overlooks that."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("nobody asked for groups: pytest -n 2 --dist loadgroup")
    assert request.node.nodeid.endswith(f"@{group_of(request.node)}")
