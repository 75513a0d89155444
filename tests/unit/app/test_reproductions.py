"""Recipes as data, and their results beside published statements."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.services.reproductions.needs import Need, in_words
from app.services.reproductions.recipes import Changes, Published, Recipe, load, names
from app.services.reproductions.results import Row, as_markdown, cells, take_statement
from app.services.tables import as_csv
from interp.errors import InputError
from interp.simulate.registry import prompted
from models import RewritePoint

PAPER = load("paper", Changes())

RECIPE = """
title = "t"
num_latents = 4
[text]
model = "gpt2"
corpus = "sotu"
[[study]]
slug = "a"
title = "A"
coder = "somebody/coder"
hookpoint = "h.3.mlp"
[explainer]
method = "prompted"
llm = { model = "gpt2" }
[simulator]
method = "last_token"
model = "gpt2"
"""


def changed(folder: Path, old: str, new: str) -> Recipe:
    assert old in RECIPE
    path = folder / "r.toml"
    path.write_text(RECIPE.replace(old, new, 1))
    return load(str(path), Changes())


def test_the_shipped_recipe_is_the_published_setting() -> None:
    assert names() == ["paper"]
    transcoder, sae = PAPER.studies
    assert (transcoder.slug, sae.slug) == ("paper-transcoder", "paper-sae")
    assert (transcoder.hookpoint, sae.hookpoint) == ("layers.6.mlp", "layers.6")
    for study in PAPER.studies:
        assert study.model == "EleutherAI/pythia-160m"
        assert study.contexts_explain * (study.context_length - 1) == 10_000_023
        assert study.contexts_rewrite == 1_000 and study.context_length == 32 + 2
        assert study.until == "collect", "the recipe queues the rest"
    assert PAPER.explainer.llm is not None and "70B" in PAPER.explainer.llm.model
    assert (PAPER.simulator.method, PAPER.simulator.backend) == ("last_token", "vllm")
    assert "8B" in PAPER.simulator.model and PAPER.num_latents == 32_768
    assert all(one.source for one in PAPER.published)


def test_a_small_run_has_studies_of_its_own() -> None:
    small = load("paper", Changes(small=True))
    assert [study.slug for study in small.studies] == ["paper-transcoder-small", "paper-sae-small"]
    assert (small.latents, small.studies[0].contexts_explain) == (64, 4_000)
    assert small.studies[0].coder == PAPER.studies[0].coder
    about = {slug for one in small.published for slug in one.studies}
    assert about == {study.slug for study in small.studies}
    assert load("paper", Changes(small=True, latents=8)).latents == 8


def test_a_person_changes_models_coders_and_text() -> None:
    changes = Changes(
        model="gpt2",
        corpus="sotu",
        coders={"paper-sae": "somebody/sae"},
        hookpoints={"paper-sae": "h.3"},
        explainer="e",
        simulator="s",
        backend="openai",
        base_url="http://localhost:1/v1",
    )
    recipe = load("paper", changes)
    transcoder, sae = recipe.studies
    assert (sae.coder, sae.hookpoint) == ("somebody/sae", "h.3")
    assert (transcoder.coder, transcoder.hookpoint) == (PAPER.studies[0].coder, "layers.6.mlp")
    assert {(study.model, study.corpus) for study in recipe.studies} == {("gpt2", "sotu")}
    assert recipe.explainer.llm is not None
    for llm, model in ((recipe.explainer.llm, "e"), (recipe.simulator, "s")):
        assert (llm.model, llm.backend) == (model, "openai")
        assert llm.base_url == "http://localhost:1/v1"


def test_an_address_is_for_what_a_server_runs() -> None:
    recipe = load("paper", Changes(base_url="http://localhost:2/v1"))
    assert recipe.explainer.llm is not None
    assert recipe.explainer.llm.base_url == "http://localhost:2/v1"
    assert (recipe.simulator.backend, recipe.simulator.base_url) == ("vllm", None)
    inside = load("paper", Changes(backend="transformers"))
    assert inside.explainer.llm is not None and inside.explainer.llm.base_url is None
    with pytest.raises(InputError, match="An address is for openai"):
        load("paper", Changes(backend="transformers", base_url="http://localhost:2/v1"))


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recipe 'papre'\. There is paper; or give a \.toml"):
        load("papre", Changes())
    with pytest.raises(InputError, match="cannot be read"):
        load(str(tmp_path / "no.toml"), Changes())
    (tmp_path / "no.toml").write_text("title = ")
    with pytest.raises(InputError, match="cannot be read"):
        load(str(tmp_path / "no.toml"), Changes())
    with pytest.raises(InputError, match="no study 'b'"):
        load("paper", Changes(coders={"b": "c"}))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_latents = 4", "num_latents = 0", "greater than or equal to 1"),
        ("num_latents = 4", "latens = 4", "There is no such field. Did you mean latents?"),
        ("num_latents = 4", "num_latents = 4\nlatents = 1", "greater than or equal to 2"),
        ('slug = "a"', 'slug = "A b"', "pattern"),
        ('"prompted"\nllm = { model = "gpt2" }', '"lexical"', "language model that explains"),
        ('"prompted"', '"prompted"\nlatents = [1]', "the number of latents instead"),
        ('"last_token"', '"two_tower"', "give the folder of its weights"),
        (
            "[explainer]",
            '[[study]]\nslug = "a"\ntitle = "B"\ncoder = "c/d"\n[explainer]',
            "one name",
        ),
        (
            "[explainer]",
            '[[published]]\ncondition = "zero"\nshare = 1\nstatement = "s"\nsource = "s"\n'
            "[explainer]",
            "share of the latents for a condition of a set",
        ),
        (
            "[explainer]",
            '[[published]]\ncondition = "rewritten"\nshare = 1\nstatement = "s"\nsource = "s"\n'
            "[explainer]",
            "Give the calibration",
        ),
        (
            "[explainer]",
            '[[published]]\ncondition = "zero"\nstatement = "s"\nsource = "s"\nstudies = ["b"]\n'
            "[explainer]",
            "about b, which is no study",
        ),
    ],
)
def test_a_recipe_that_is_not_well_formed(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace(".", r"\.").replace("?", r"\?")):
        changed(tmp_path, old, new)


def test_a_table_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write \\[text\\] as a table"):
        changed(tmp_path, "[text]", "text = 3\n[small]")


def test_prompts() -> None:
    """By hand: three explanations on ten contexts of 32 tokens."""
    counted = {name: one.prompts(3, contexts=10, seq=32) for name, one in prompted().items()}
    assert counted == {"last_token": 960, "all_at_once": 30, "json_reply": 30}


def test_what_is_missing_is_told_with_one_reason_once() -> None:
    missing = [
        Need("a", "x", "", "It is gone."),
        Need("b", "y", "", "It is gone."),
        Need("c", "z", ""),
    ]
    assert in_words(missing[:2]) == "a and b (it is gone)"
    assert in_words([missing[0], missing[2]._replace(missing="not installed")]) == (
        "a (it is gone); c (not installed)"
    )


def point(count: int, calibration: str = "quantile") -> RewritePoint:
    return RewritePoint(condition="rewritten", calibration=calibration, count=count)


def test_statements_stand_beside_the_figures_that_they_are_about() -> None:
    fifth, everything = (
        Published.model_validate(
            {"condition": "rewritten", "share": share, "statement": "s", "source": "s"}
            | {"calibration": "quantile"}
        )
        for share in (0.2, 1.0)
    )
    paper = fifth.protocol

    def taken(count: int, calibration: str = "quantile", all: int | None = 60) -> Published | None:
        left = [fifth, everything]
        found = take_statement(left, point(count, calibration), paper, all=all, of=64)
        assert (found is None) == (len(left) == 2)
        return found

    assert taken(13) is fifth, "0.2 · 64 = 12.8"
    assert taken(12) is None
    assert taken(13, "linear") is None
    assert taken(60) is everything, "all that fire, though the coder has 64"
    assert taken(60, all=None) is None, "a draw of latents is not everything"


def test_rows_for_reading() -> None:
    loss = Row(
        study="a",
        simulator="s",
        independence="independent",
        protocol="paper",
        condition="x|y",
        latents=1_234,
        ours=0.5,
        low=-0.25,
        high=1,
        published="p",
        source="q",
    )
    assert cells(loss) == (
        "a",
        "s (independent)",
        "paper",
        "x|y",
        "1,234",
        "+0.500 [−0.250, +1.000]",
        "–",
        "p (q)",
    )
    alone = Row(study="a", condition="sensitivity", published="0.42", source="q")
    assert cells(alone)[4:] == ("", "–", "–", "0.42 (q)")
    head, rule, first, second = as_markdown([loss, alone]).splitlines()
    assert head.count("|") == rule.count("|") == second.count("|") == first.count("|") - 1
    assert "x\\|y" in first
    header, _, last = as_csv(Row, [loss, alone]).splitlines()
    assert dict(zip(header.split(","), last.split(","), strict=True))["ours"] == ""
