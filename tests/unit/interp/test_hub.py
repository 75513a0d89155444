"""Why something cannot be loaded or fetched is told whole, in a sentence."""

import json
import re
from pathlib import Path

import httpx
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from interp.coders.load import load_coder
from interp.coders.source import check_coder
from interp.errors import InputError, reason
from interp.hub import hub_reason
from interp.model.subject import load_causal_lm
from interp.sources.paths import hub_folder
from tests.engine import tiny_model, word_tokenizer

ANSWER = httpx.Response(403, request=httpx.Request("GET", "http://localhost"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (GatedRepoError("no", response=ANSWER), "access on request.*HF_TOKEN"),
        (RepositoryNotFoundError("no", response=ANSWER), "no such name, or it is private"),
        (RevisionNotFoundError("no", response=ANSWER), "not this revision"),
        (OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE"),
        (LocalEntryNotFoundError("no"), "cannot be reached.*network"),
    ],
)
def test_each_way_in_which_the_hub_fails_has_its_sentence(error: Exception, told: str) -> None:
    assert re.search(told, hub_reason(error))
    # Transformers raises another exception from it.
    try:
        raise OSError("We could not load it.\nSee the documentation.") from error
    except OSError as outer:
        assert hub_reason(outer) == hub_reason(error)


def test_a_name_cannot_be_fetched_while_the_hub_is_forbidden() -> None:
    """Tests run with HF_HUB_OFFLINE set."""
    with pytest.raises(InputError, match=r"'nobody/nothing' cannot be loaded: .*HF_HUB_OFFLINE"):
        load_causal_lm("nobody/nothing", dtype=torch.float32, device=torch.device("cpu"))


def test_what_stands_below_the_first_line_is_told() -> None:
    error = RuntimeError('Error(s) in loading:\n\tMissing key(s): "W_skip".\n\tsize 3')
    assert reason(error) == 'Error(s) in loading: Missing key(s): "W_skip". size 3'


def test_json_is_told_with_line_and_column() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads('{\n "a": }')
    assert reason(caught.value) == "Expecting value (line 2, column 7)"
    try:
        raise OSError("The config is not valid JSON.") from caught.value
    except OSError as outer:
        assert reason(outer) == "The config is not valid JSON (line 2, column 7)"


def test_files_are_named() -> None:
    with pytest.raises(OSError) as caught:
        Path("/no/such/file").read_text()
    assert reason(caught.value) == "/no/such/file: No such file or directory"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", '{\n"model_type": "llama",\n}', r"line 3, column 1"),
        ("config.json", '{"model_type": "no such"}', "no such"),
        ("config.json", "{}", "model_type"),
        ("model.safetensors", "", "."),
        ("model.safetensors", "short", "."),
        ("tokenizer.json", "{", "."),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(
    model: Path, name: str, content: str, told: str
) -> None:
    (model / name).write_text(content)
    with pytest.raises(InputError, match=rf"cannot be loaded: .*{told}") as caught:
        load_causal_lm(str(model), dtype=torch.float32, device=torch.device("cpu"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


def test_a_coder_on_the_hub_may_be_in_a_folder(tmp_path: Path) -> None:
    assert hub_folder("owner/name/transcoder/layer_9") == ("owner/name", "transcoder/layer_9")
    for other in ("owner/name", "name", "/owner/name/folder", "../name/folder", "a/../b", "~/a/b"):
        assert hub_folder(other) is None
    (tmp_path / "owner" / "name" / "folder").mkdir(parents=True)
    assert hub_folder(str(tmp_path / "owner" / "name" / "folder")) is None
    with pytest.raises(InputError, match="no sparse coder at 'owner/name/layer_9'"):
        load_coder("owner/name/layer_9")
    with pytest.raises(InputError, match="name the folder of one coder"):
        load_coder("owner/name")
    assert check_coder("owner/name/layer_9", "", None) is None
