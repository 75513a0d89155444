"""Exports of Neuronpedia: what is read, and what is refused."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from interp.errors import InputError
from interp.exchange import neuronpedia
from interp.exchange.neuronpedia import open_export
from interp.exchange.origin import BEYOND, Found, Refused
from tests.results_folders import CODER, neuronpedia_export, neuronpedia_row


def read(path: Path, **options: Any) -> list[Found | Refused]:
    export = open_export(path, CODER, **({"anyway": False, "may_read": str} | options))
    survey = json.loads(json.dumps(export.survey()))
    items = list(export.items(survey, 0))
    assert survey["total"] == len(items)
    for start in range(len(items) + 1):
        assert list(export.items(survey, start)) == items[start:]
    return items


def texts(path: Path) -> list[str]:
    return [item.text for item in read(path) if isinstance(item, Found)]


def test_a_line_keeps_the_method_and_the_model_that_wrote_it(tmp_path: Path) -> None:
    person = {"explanationModelName": None, "typeName": None}
    rows = [neuronpedia_row("3", " three "), neuronpedia_row("0", "zero", **person)]
    author = {"author_id": "clkht01d40000jv08hvalcvly"}
    assert read(neuronpedia_export(tmp_path, rows)) == [
        Found(3, "three", "model", "oai_token-act-pair", {"model": "gpt-4o-mini", **author}),
        Found(0, "zero", "person", None, author),
    ]


def test_files_come_by_folder_and_number(tmp_path: Path) -> None:
    for name in (
        "explanations-b/batch-0.jsonl.gz",
        "explanations/batch-10.jsonl.gz",
        "explanations/batch-2.jsonl.gz",
        "features/batch-0.jsonl.gz",
        "explanations/other.jsonl.gz",
    ):
        neuronpedia_export(tmp_path, [neuronpedia_row("1", name)], name=name)
    two, ten, other = (
        "explanations/batch-2.jsonl.gz",
        "explanations/batch-10.jsonl.gz",
        "explanations-b/batch-0.jsonl.gz",
    )
    assert texts(tmp_path) == [two, ten, other]
    assert texts(tmp_path / "explanations") == [two, ten]
    assert texts(tmp_path / two) == [two]
    unpacked = tmp_path / "mine.jsonl"
    unpacked.write_text(json.dumps(neuronpedia_row(1, "unpacked")) + "\n\n")
    assert texts(unpacked) == ["unpacked"]


def test_what_is_no_explanation_is_refused_with_its_reason(tmp_path: Path) -> None:
    rows = [
        neuronpedia_row("x", "a"),
        neuronpedia_row(None, "a"),
        neuronpedia_row(-1, "a"),
        neuronpedia_row(True, "a"),
        neuronpedia_row("6", "a"),
        neuronpedia_row("1", None),
        neuronpedia_row("1", ""),
        neuronpedia_row("1", "a", layer="11-mlp-4k"),
        b"{",
        b"[1]",
        '{"a": "caf\xe9"}'.encode("latin-1"),
        neuronpedia_row("1", "good", explanationModelName="\0"),
    ]
    items = read(neuronpedia_export(tmp_path, rows))
    assert [item.why for item in items if isinstance(item, Refused)] == [
        *["Its index is no number."] * 4,
        BEYOND,
        "It has no description.",
        "It is empty.",
        "It is of another model or source.",
        "It is no JSON.",
        "It is no JSON object.",
        "It is not UTF-8.",
    ]
    last = items[-1]
    assert isinstance(last, Found) and "model" not in last.details


def test_a_file_that_is_cut_short_or_not_packed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "explanations" / "batch-0.jsonl.gz"
    neuronpedia_export(tmp_path, [neuronpedia_row(str(i % 6), f"text {i}") for i in range(900)])
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (whole[:-5], whole[: len(whole) // 2], b"no gzip", bytes(damaged), b"\x1f\x8b"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"batch-0.jsonl.gz is cut short or damaged \("):
            read(tmp_path)


def test_many_lines_take_the_memory_of_few(tmp_path: Path) -> None:
    rows = (neuronpedia_row(str(i % 6), f"text {i}" * 100) for i in range(20_000))
    export = open_export(neuronpedia_export(tmp_path, rows), CODER, anyway=False, may_read=str)
    tracemalloc.start()
    try:
        count = sum(isinstance(one, Found) for one in export.items(export.survey(), 0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 2 * 10**6, "the texts together are ten times as much"


def test_an_endless_line_and_endless_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    neuronpedia_export(tmp_path, [neuronpedia_row("1", "good"), b"0" * 50 * 10**6])
    with pytest.raises(InputError, match="a line of more than 1,048,576 bytes"):
        read(tmp_path)
    neuronpedia_export(tmp_path, [neuronpedia_row("1", "good")] * 9)
    monkeypatch.setattr(neuronpedia, "UNPACKED", 1000)
    with pytest.raises(InputError, match="unpacks to more than"):
        read(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(neuronpedia, "MOST", 8)
    with pytest.raises(InputError, match="more than 8 explanations"):
        read(tmp_path)


def test_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/explanations-caf\xe9")
    neuronpedia_export(Path(strange), [neuronpedia_row("1", "a")], name="batch-0.jsonl.gz")
    half = neuronpedia_row("1", "a", modelId="\ud83d")
    neuronpedia_export(tmp_path, [half, neuronpedia_row("1", "b")])
    assert texts(tmp_path) == ["b"]


def test_the_source_must_be_of_the_layer(tmp_path: Path) -> None:
    rows = [neuronpedia_row("1", "a", layer="1-res-jb")]
    with pytest.raises(InputError, match=r"1-res-jb\. .*, so its sources begin with 10-"):
        read(neuronpedia_export(tmp_path, rows), anyway=True)


def test_another_model_is_refused_unless_it_is_wanted_anyway(tmp_path: Path) -> None:
    export = neuronpedia_export(tmp_path, [neuronpedia_row("1", "a", modelId="gemma-2-2b")])
    with pytest.raises(InputError, match=r"gemma-2-2b; the study’s model is SmolLM2.*--anyway"):
        read(export)
    assert len(read(export, anyway=True)) == 1


def test_what_is_no_export_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    empty = neuronpedia_export(tmp_path / "empty", [])
    nameless = neuronpedia_export(tmp_path / "nameless", [{"index": "1", "description": "a"}])
    for path, says in (
        (tmp_path / "none", "no file or folder"),
        (tmp_path / "a.txt", "none of .jsonl, .jsonl.gz"),
        (tmp_path, "no file explanations/batch-N.jsonl.gz in it. Name the folder v1/MODEL/SOURCE"),
        (empty, "name no modelId"),
        (nameless, "name no modelId"),
    ):
        with pytest.raises(InputError, match=says):
            read(path)


def test_a_link_out_of_the_folder_is_asked_for(tmp_path: Path) -> None:
    outside = tmp_path / "batch-0.jsonl.gz"
    with gzip.open(outside, "wb") as out:
        out.write(json.dumps(neuronpedia_row("1", "a")).encode())
    folder = tmp_path / "source" / "explanations"
    folder.mkdir(parents=True)
    (folder / "batch-0.jsonl.gz").symlink_to(outside)

    def may_read(path: str) -> None:
        raise ValueError(f"not {path}")

    with pytest.raises(InputError, match=f"not {outside}"):
        read(tmp_path / "source", may_read=may_read)
    assert texts(tmp_path / "source") == ["a"]


def test_files_that_change_are_not_mixed_up(tmp_path: Path) -> None:
    export = open_export(
        neuronpedia_export(tmp_path, [neuronpedia_row("1", "a")] * 3),
        CODER,
        anyway=False,
        may_read=str,
    )
    survey = export.survey()
    neuronpedia_export(tmp_path, [neuronpedia_row("1", "a")] * 2)
    with pytest.raises(InputError, match="import it again"):
        list(export.items(survey, 1))
