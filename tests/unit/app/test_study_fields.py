"""What a new study may say, before anything is looked at."""

import pytest
from pydantic import ValidationError

from app.services.studies.schemas import StudyCreate


def study(**changes: object) -> StudyCreate:
    values = {
        "slug": "one",
        "title": "One",
        "model": "m",
        "coder": "c",
        "hookpoint": "layers.1.mlp",
        "corpus": "sotu",
    }
    return StudyCreate.model_validate(values | changes)


@pytest.mark.parametrize(
    "corpus",
    ["sotu", "texts?column=body", "HuggingFaceFW/fineweb?config=sample-10BT&split=train", "a?.txt"],
)
def test_corpora(corpus: str) -> None:
    assert study(corpus=corpus).corpus == corpus


@pytest.mark.parametrize("corpus", ["a.jsonl?field=x", "a.jsonl?column=", "a.csv?split=train"])
def test_a_corpus_that_is_not_understood(corpus: str) -> None:
    with pytest.raises(ValidationError) as refused:
        study(corpus=corpus)
    (error,) = refused.value.errors()
    assert error["loc"] == ("corpus",)
    assert corpus in error["msg"]


@pytest.mark.parametrize(
    ("leave_out", "prepend_bos"), [(None, True), (1, True), (0, False), (14, True)]
)
def test_positions_that_can_be_left_out(leave_out: int | None, prepend_bos: bool) -> None:
    made = study(leave_out=leave_out, prepend_bos=prepend_bos, context_length=16)
    assert made.leave_out == leave_out


@pytest.mark.parametrize(
    ("leave_out", "said"),
    [(-1, "greater"), (0, "always left out"), (15, "Use 14 or less")],
)
def test_positions_that_cannot_be_left_out(leave_out: int, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        study(leave_out=leave_out, context_length=16)


def test_contexts_may_be_long() -> None:
    assert study(context_length=8192).context_length == 8192
    with pytest.raises(ValidationError, match="8192"):
        study(context_length=8193)
