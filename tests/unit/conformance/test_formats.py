"""All formats: each checkpoint is found by its own format, and the document has them all."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from interp.coders.registry import FORMATS, find
from interp.errors import InputError
from tests import REPOSITORY
from tests.coder_files import LAYOUTS

ALL = [(name, write) for name, layouts in LAYOUTS.items() for write in layouts]


@pytest.mark.parametrize(("name", "write"), ALL)
def test_each_checkpoint_is_found_by_its_own_format(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    folder = write(tmp_path)
    found = find(folder, "layers.0.mlp")
    assert found.format.name == name
    others = [other.name for other in FORMATS.values() if other.find(folder)]
    assert others == [name]
    facts = found.check()
    assert facts.kind in ("sae", "transcoder")


def test_the_tests_have_every_format() -> None:
    assert {*LAYOUTS} == {*FORMATS}


def test_an_error_names_what_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        find(tmp_path)
    for one in FORMATS.values():
        assert one.meaning in str(error.value)


def test_the_document_has_every_format() -> None:
    text = (REPOSITORY / "docs/coders.md").read_text().partition("## Names of sites")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [*FORMATS]
