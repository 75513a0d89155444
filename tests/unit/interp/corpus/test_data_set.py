"""Data sets, as the library `datasets` reads them: here from folders, for there is no network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from interp.corpus import documents
from interp.corpus.documents import Document, load_documents
from interp.errors import InputError
from interp.sources.corpora import check_corpus

CARD = """---
configs:
- config_name: small
  data_files: [{{split: train, path: small/train.parquet}}, {{split: test, path: {test}}}]
- config_name: large
  data_files: large/*.parquet
---
"""


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A data set with two configs, in a folder that is laid out as on the hub."""
    folder = tmp_path / "data"
    (folder / "small").mkdir(parents=True)
    (folder / "large").mkdir()
    for split in ("train", "test"):
        table = pa.table({"body": [f"{split} {i}" for i in range(5)], "id": range(5)})
        pq.write_table(table, folder / "small" / f"{split}.parquet")
    pq.write_table(pa.table({"text": ["l0", None, "l2"]}), folder / "large" / "a.parquet")
    (folder / "README.md").write_text(CARD.format(test="small/test.parquet"))
    return folder


def test_a_part_of_a_data_set_is_read(data_set: Path) -> None:
    assert load_documents(f"{data_set}?config=small&split=test&column=body") == [
        Document(f"data#{i}", f"test {i}") for i in range(5)
    ]
    found = load_documents(f"{data_set}?config=large")
    assert found == [Document("data#0", "l0"), Document("data#2", "l2")]
    check_corpus(f"{data_set}?config=small&column=body&split=train")


def test_only_the_first_documents_are_read(data_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{data_set}?config=small&split=train&column=body"
    monkeypatch.setattr(documents, "FIRST_DOCUMENTS", 2)
    assert [d.text for d in load_documents(name)] == ["train 0", "train 1"]
    assert len(load_documents(f"{name}&documents=4")) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("config=small&split=train", "has no column 'text'. It has 'body', 'id'."),
        ("config=medium", "'medium' not found. Available: ['small', 'large']"),
        ("config=small&split=dev&column=body", "dev. Available splits: ['train', 'test']"),
        ("split=train", "Config name is missing"),
    ],
)
def test_what_is_not_there_names_what_is(data_set: Path, options: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_documents(f"{data_set}?{options}")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["{outside}", "../outside.parquet"])
def test_a_card_names_no_file_outside(data_set: Path, path: str) -> None:
    outside = data_set.parent / "outside.parquet"
    pq.write_table(pa.table({"body": ["a secret"]}), outside)
    (data_set / "README.md").write_text(CARD.format(test=path.format(outside=outside)))
    for options in ("config=small&split=test", "config=small&split=train"):
        with pytest.raises(
            InputError, match=r"files that are not in it, such as .*outside\.parquet"
        ):
            load_documents(f"{data_set}?{options}")


def test_the_hub_cannot_be_reached() -> None:
    """Tests run with HF_HUB_OFFLINE set."""
    check_corpus("HuggingFaceFW/fineweb?config=sample-10BT")  # a request asks no other server
    with pytest.raises(InputError, match=r"fineweb cannot be read: .*cannot be reached.*network"):
        load_documents("HuggingFaceFW/fineweb?config=sample-10BT")


SHA = "0" * 40


@pytest.mark.parametrize(
    ("file", "inside"),
    [
        (f"hf://datasets/HuggingFaceFW/fineweb@{SHA}/data/a.parquet", True),
        (f"zip://a.jsonl::hf://datasets/HuggingFaceFW/fineweb@{SHA}/data/a.zip", True),
        (f"hf://datasets/HuggingFaceFW/fineweb-edu@{SHA}/data/a.parquet", False),
        (f"hf://datasets/HuggingFaceFW/fineweb@{SHA}/../../other/a.parquet", False),
        ("/etc/passwd", False),
        ("file:///etc/passwd", False),
        ("https://example.org/a.parquet", False),
    ],
)
def test_files_of_a_data_set_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, file: str, inside: bool
) -> None:
    """With a stand-in for the hub's answer."""
    asked = {}

    def builder(place: str, config: str | None, revision: str | None) -> Any:
        asked.update(place=place, config=config, revision=revision)
        return SimpleNamespace(
            config=SimpleNamespace(data_files={"train": [file]}),
            as_streaming_dataset=lambda split: Dataset.from_dict(
                {"text": ["one", "two"], "id": [1, 2]}
            ).to_iterable_dataset(),
        )

    monkeypatch.setattr("datasets.load_dataset_builder", builder)
    name = "HuggingFaceFW/fineweb?config=sample-10BT&revision=v1.4&documents=1"
    if inside:
        assert load_documents(name) == [Document("HuggingFaceFW/fineweb#0", "one")]
    else:
        with pytest.raises(InputError, match="files that are not in it"):
            load_documents(name)
    expected = {"place": "HuggingFaceFW/fineweb", "config": "sample-10BT", "revision": "v1.4"}
    assert asked == expected


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no corpus at"):
        load_documents(f"{tmp_path}/gone?split=train")
    with pytest.raises(InputError, match="cannot be read"):
        load_documents(f"{tmp_path}?split=train")
