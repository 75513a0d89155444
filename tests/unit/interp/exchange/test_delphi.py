"""Runs of Delphi: what is read, what is refused, and what Delphi scored."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from interp.errors import InputError
from interp.exchange.delphi import open_run
from interp.exchange.origin import BEYOND, Found, Refused
from tests.results_folders import (
    CODER,
    HOOKPOINT,
    answered,
    delphi_run,
    delphi_scores,
    simulated,
)


def read(path: Path, **options: Any) -> list[Found | Refused]:
    given = {"anyway": False, "may_read": str} | options
    run = open_run(path, CODER, **given)
    survey = json.loads(json.dumps(run.survey()))
    items = list(run.items(survey, 0))
    assert survey["total"] == len(items)
    for start in range(len(items) + 1):
        assert list(run.items(survey, start)) == items[start:]
    return items


def whys(path: Path) -> list[str]:
    return [item.why for item in read(path) if isinstance(item, Refused)]


def test_explanations_come_by_latent_with_the_model_that_wrote_them(tmp_path: Path) -> None:
    run = delphi_run(tmp_path, {5: "five", 0: " zero\n", 3: "three"}, width=6)
    assert read(run) == [
        Found(number, text, "model", None, {"model": "org/Explainer-70B"})
        for number, text in ((0, "zero"), (3, "three"), (5, "five"))
    ]
    assert open_run(run, CODER, anyway=False, may_read=str).says["run_config"]["seed"] == 22


def test_what_is_no_explanation_is_refused_with_its_reason(tmp_path: Path) -> None:
    delphi_run(
        tmp_path,
        {
            0: "Explanation could not be parsed.",
            1: {"explanation": "no string"},
            2: "x" * 2001,
            3: " ",
            4: "a\0b",
            6: "beyond",
            10**12: "far beyond",
        },
    )
    folder = tmp_path / "explanations"
    (folder / "README.txt").write_text("not one")
    (folder / f"{HOOKPOINT}_latent07.txt").write_text('"not one either"')
    (folder / f"{HOOKPOINT}_latent5.txt").write_bytes('"caf\xe9"'.encode("latin-1"))
    (folder / "other.md").write_text("passed over")
    assert whys(tmp_path) == [
        "Delphi wrote: Explanation could not be parsed.",
        "It holds no JSON string.",
        "It is longer than 2,000 characters.",
        "It is empty.",
        "Its text cannot be stored: Take out the control characters, such as NUL or escape.",
        "It is not UTF-8.",
        BEYOND,
        BEYOND,
        "Its name is not HOOKPOINT_latentNUMBER.txt.",
        "Its name is not HOOKPOINT_latentNUMBER.txt.",
    ]


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'"cut', b"{", b'"a" "b"'])
def test_a_file_that_is_no_json(tmp_path: Path, content: bytes) -> None:
    delphi_run(tmp_path, {0: "good"})
    (tmp_path / "explanations" / f"{HOOKPOINT}_latent1.txt").write_bytes(content)
    assert whys(tmp_path) == ["It is no JSON."]


def test_files_that_are_huge_or_no_files(tmp_path: Path) -> None:
    delphi_run(tmp_path, {0: "x" * 2**21})
    folder = tmp_path / "explanations"
    os.mkfifo(folder / f"{HOOKPOINT}_latent1.txt")
    (folder / f"{HOOKPOINT}_latent2.txt").mkdir()
    (folder / f"{HOOKPOINT}_latent3.txt").symlink_to(f"{HOOKPOINT}_latent3.txt")
    assert whys(tmp_path) == [
        "It is larger than 1,048 kB.",
        "It is no file.",
        "It is no file.",
        "It cannot be read.",
    ]


def test_a_link_out_of_the_folder_is_followed_only_where_people_may_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('"a secret"')
    run = delphi_run(tmp_path / "run", {0: "good"})
    (run / "explanations" / f"{HOOKPOINT}_latent1.txt").symlink_to(secret)
    inside = run / "blob"
    inside.write_text('"inside"')
    (run / "explanations" / f"{HOOKPOINT}_latent2.txt").symlink_to(inside)
    asked: list[str] = []

    def may_read(path: str) -> None:
        asked.append(path)
        raise ValueError

    found = list(open_run(run, CODER, anyway=False, may_read=may_read).items(_survey(run), 0))
    assert [one.text if isinstance(one, Found) else one.why for one in found] == [
        "good",
        "It is a link to a file that people may not name.",
        "inside",
    ]
    assert set(asked) == {str(secret)}
    assert [one.text for one in read(run) if isinstance(one, Found)] == [
        "good",
        "a secret",
        "inside",
    ]


def test_a_folder_that_is_a_link_out_is_not_listed(tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {0: "good"})
    (run / "explanations").rename(tmp_path / "elsewhere")
    (run / "explanations").symlink_to(tmp_path / "elsewhere")

    def may_read(path: str) -> None:
        raise ValueError("Nobody may name it")

    with pytest.raises(InputError, match=r"explanations cannot be read: Nobody may name it\."):
        read(run, may_read=may_read)
    assert len(read(run)) == 1


def _survey(run: Path) -> dict[str, Any]:
    return open_run(run, CODER, anyway=False, may_read=str).survey()


# --- The coder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layers.10.mlp", "model.layers.10.mlp", "10.mlp"])
def test_the_hookpoint_may_begin_above_or_below(tmp_path: Path, name: str) -> None:
    delphi_run(tmp_path, {1: "of another"}, hookpoint="layers.1.mlp")
    delphi_run(tmp_path, {1: "ours"}, hookpoint=name)
    (one,) = read(tmp_path)
    assert isinstance(one, Found) and one.text == "ours"


@pytest.mark.parametrize("anyway", [False, True])
def test_another_hookpoint_is_refused(tmp_path: Path, anyway: bool) -> None:
    delphi_run(tmp_path, {1: "x"}, hookpoint="layers.11.mlp")
    delphi_run(tmp_path, {1: "x"}, hookpoint="layers.10.attn")
    with pytest.raises(InputError, match=r"hookpoint layers.10.mlp. It explains layers.10.attn, "):
        read(tmp_path, anyway=anyway)


def test_names_that_are_no_text_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "explanations").mkdir()
    name = b"caf\xe9" + b"x" * 150 + b"_latent1.txt"
    Path(os.fsdecode(os.fsencode(tmp_path / "explanations") + b"/" + name)).touch()
    with pytest.raises(InputError, match="It explains caf\N{REPLACEMENT CHARACTER}x") as raised:
        read(tmp_path)
    assert str(raised.value).encode()


def test_two_names_of_one_hookpoint_are_refused(tmp_path: Path) -> None:
    delphi_run(tmp_path, {1: "x"}, hookpoint="model.layers.10.mlp")
    delphi_run(tmp_path, {1: "x"}, hookpoint="gpt.layers.10.mlp")
    with pytest.raises(InputError, match="more than one name"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "EleutherAI/pythia-160m"}, "model EleutherAI/pythia-160m; .* is SmolLM2-135M"),
        ({"width": 8}, "8 latents; the study’s has 6"),
    ],
)
def test_another_coder_is_refused_unless_it_is_wanted_anyway(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    run = delphi_run(tmp_path, {1: "x"}, **changes)
    with pytest.raises(InputError, match=f"{says}.*--anyway"):
        read(run)
    assert len(read(run, anyway=True)) == 1


def test_models_are_compared_loosely(tmp_path: Path) -> None:
    for number, name in enumerate(("smollm2_135m_instruct", "/models/SmolLM2-135M-Instruct", None)):
        assert read(delphi_run(tmp_path / str(number), {1: "x"}, model=name))


def test_what_is_no_run_says_what_was_looked_for(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "none", "There is no folder"),
        (tmp_path, "no folder explanations in it. Name the folder of one run"),
    ):
        with pytest.raises(InputError, match=says):
            read(path)
    (tmp_path / "explanations").mkdir()
    with pytest.raises(InputError, match=r"HOOKPOINT_latentNUMBER.txt"):
        read(tmp_path)
    delphi_run(tmp_path, {1: "x"})
    for content, says in (("{", "no JSON. Fetch"), ("[]", "no JSON object"), ("1" * 10**5, "kB")):
        (tmp_path / "run_config.json").write_text(content)
        with pytest.raises(InputError, match=f"run_config.json .*{says}"):
            read(tmp_path)


def test_a_folder_that_changes_is_not_mixed_up(tmp_path: Path) -> None:
    run = open_run(delphi_run(tmp_path, {0: "a", 3: "b"}), CODER, anyway=False, may_read=str)
    survey = run.survey()
    delphi_run(tmp_path, {1: "new"})
    with pytest.raises(InputError, match="import it again"):
        next(run.items(survey, 1))


# --- Scores ---------------------------------------------------------------------------------------


def scores(path: Path) -> dict[str, Any]:
    (one,) = read(path)
    assert isinstance(one, Found)
    found: dict[str, Any] = one.details["scores"]
    return found


def test_delphis_scores_are_kept_as_delphi_computes_them(tmp_path: Path) -> None:
    delphi_run(tmp_path, {2: "x"})
    items = [answered(True, True), answered(True, False), answered(False, False)]
    delphi_scores(tmp_path, "detection", 2, [*items, answered(False, None)])
    delphi_scores(tmp_path, "fuzz", 2, [answered(True, True), answered(True, None)])
    delphi_scores(tmp_path, "simulation", 2, [simulated(1, 0.9), simulated(0, 0.61, 5)])
    assert scores(tmp_path) == {
        "detection": {"n": 3, "unanswered": 1, "value": 0.75},
        "fuzzing": {"n": 1, "unanswered": 1, "why": "Active or silent examples have no answer."},
        "simulation": {"n": 5, "value": 0.61},
    }


@pytest.mark.parametrize(
    ("scorer", "items", "why"),
    [
        ("simulation", [simulated(0, "nan")], "It is not defined."),
        ("simulation", [simulated(1, 0.5)], "It has no correlation over all sequences."),
        ("simulation", [[1]], "It does not hold what Delphi writes."),
        ("fuzz", {"a": 1}, "It does not hold what Delphi writes."),
        ("detection", [{"activating": 1, "prediction": 0}], "It does not hold what Delphi writes."),
        ("detection", 3, "It does not hold what Delphi writes."),
        ("detection", [], "Active or silent examples have no answer."),
    ],
)
def test_a_score_that_there_is_not_is_missing_and_says_why(
    tmp_path: Path, scorer: str, items: Any, why: str
) -> None:
    delphi_run(tmp_path, {2: "x"})
    delphi_scores(tmp_path, scorer, 2, items)
    (found,) = scores(tmp_path).values()
    assert found["why"] == why and "value" not in found
