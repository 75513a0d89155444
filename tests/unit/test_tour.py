"""The guided tour: its pictures are there and small, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests import REPOSITORY

DOCS = REPOSITORY / "docs"
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
LARGEST, ALL = 200_000, 1_500_000
"""Bytes that one picture may have, and all of them."""


def _local(text: str) -> list[str]:
    return [address for address in LINK.findall(text) if "://" not in address]


@pytest.mark.parametrize("page", [DOCS / "tour.md", DOCS.parent / "README.md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    addresses = _local(page.read_text())
    assert addresses
    assert not [one for one in addresses if not (page.parent / one).is_file()]


def test_pictures_are_small_and_shown() -> None:
    pictures = sorted((DOCS / "tour").iterdir())
    shown = {Path(one).name for one in _local((DOCS / "tour.md").read_text()) if "tour/" in one}
    assert {path.name for path in pictures} == shown, "the script takes what the tour shows"
    taken = set(re.findall(r'_take\(\s*page,\s*"(\w+)"', (DOCS / "screenshots.py").read_text()))
    assert {f"{name}.png" for name in taken} == shown
    sizes = {path.name: path.stat().st_size for path in pictures}
    assert max(sizes.values()) < LARGEST and sum(sizes.values()) < ALL, sizes
