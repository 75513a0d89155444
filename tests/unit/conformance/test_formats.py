"""All formats: each checkpoint is found by its own format, and the document has them all."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from interp.coders.registry import FORMATS, find
from interp.errors import InputError
from tests import REPOSITORY
from tests.coder_files import LAYOUTS

ALL = [(name, write) for name, layouts in LAYOUTS.items() for write in layouts]


JUNK = [None, "x", [], [1], {}, {"a": 1}, -1, 0, 1e99, True, float("nan")]
MORE = ["activation", "activation_fn", "activation_fn_kwargs", "k", "hook_head_index", "hook_name"]
MORE += ["model_from_pretrained_kwargs", "expansion_factor", "submodule_name"]
"""Settings that not every config has."""


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each setting of a config: the object that it is in, and its name."""
    for name, value in config.items():
        yield config, name  # type: ignore[misc]
        if isinstance(value, dict):
            yield from _settings(value)


@pytest.mark.parametrize(("name", "write"), ALL)
def test_no_setting_whatever_breaks_a_check(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    folder = write(tmp_path)
    for path in tmp_path.rglob("*.*"):
        if path.suffix not in (".json", ".yaml"):
            continue
        config = yaml.safe_load(text := path.read_text())
        for place, setting in [*_settings(config), *((config, more) for more in MORE)]:
            kept = place.get(setting)
            for junk in JUNK:
                place[setting] = junk
                path.write_text(json.dumps(config))
                try:
                    facts = find(folder, "layers.0.mlp").check()
                except InputError:
                    continue
                assert isinstance(facts.reads, str)
                json.dumps(facts)
            place[setting] = kept
        path.write_text(text)


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
