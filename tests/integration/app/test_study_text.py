"""A study's text: how it is collected, and what its pages say of it."""

import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.corpus.copies import identity, text_hash
from interp.corpus.documents import TEXT_VERSION
from interp.corpus.seen import SeenText
from models import Context, Study
from tests.factories import LENGTH, little_study
from tests.reading import text_of
from tests.tokenizer_kinds import CONTROL, LINES, tokenizer_of
from workers.tasks.collect.contexts import make_contexts
from workers.tasks.collect.text_facts import text_facts


@pytest.fixture
def empty_study(db: Session, tmp_path: Path) -> Study:
    """A study with nothing collected, on a corpus of 30 texts under four names each."""
    words = " ".join(LINES).split()
    (tmp_path / "corpus").mkdir()
    for number in range(30):
        text = " ".join(["🙂<|endoftext|>", *random.Random(number).choices(words, k=80)])
        for copy in range(4):
            (tmp_path / "corpus" / f"{copy}-{number}.txt").write_text(text, encoding="utf-8")
    study = little_study(db, latents=0, simulated=0)
    study.corpus, study.coder = str(tmp_path / "corpus"), str(tmp_path)
    study.contexts_explain, study.contexts_calibrate, study.contexts_evaluate = 60, 10, 10
    study.context_length = 16
    db.commit()
    return study


def collected(db: Session, study: Study, kind: str) -> dict[str, list[Context]]:
    make_contexts(db, study, tokenizer_of(kind))
    found: dict[str, list[Context]] = {}
    for context in db.scalars(
        select(Context).filter_by(study_id=study.id).order_by(Context.set, Context.index)
    ):
        found.setdefault(context.set, []).append(context)
    return found


@pytest.mark.parametrize("kind", ["byte level", "metaspace", "gemma"])
def test_collected_text_is_what_it_is(db: Session, empty_study: Study, kind: str) -> None:
    sets = collected(db, empty_study, kind)
    assert {name: [c.index for c in part] for name, part in sets.items()} == {
        "explain": list(range(60)),
        "calibrate": list(range(10)),
        "evaluate": list(range(10)),
    }
    windows = {name: {tuple(c.tokens) for c in part} for name, part in sets.items()}
    hashes = {name: {c.document_hash for c in part} for name, part in sets.items()}
    for one, other in (
        ("explain", "calibrate"),
        ("explain", "evaluate"),
        ("calibrate", "evaluate"),
    ):
        assert not windows[one] & windows[other]
        assert not hashes[one] & hashes[other]
    control = set(tokenizer_of(kind).convert_tokens_to_ids(CONTROL))
    for context in sets["explain"]:
        text = (Path(empty_study.corpus) / context.document).read_text(encoding="utf-8")
        assert context.document_hash == text_hash(text)
        assert context.document_copies == 3
        assert context.strings[0] == "<s>"
        assert "".join(context.strings[1:]).strip("\ufffd") in f" {text}"
        assert not control & set(context.tokens[1:])
    begins = [c for part in sets.values() for c in part if c.start == 0]
    assert begins
    assert all("".join(c.strings).lstrip("<s> ").startswith("🙂<|endo") for c in begins)


def test_what_a_coder_has_seen_is_known_by_its_record(db: Session, empty_study: Study) -> None:
    sets = collected(db, empty_study, "byte level")
    facts = text_facts(db, empty_study)
    documents = {c.document for part in sets.values() for c in part}
    assert facts == {
        "text_version": TEXT_VERSION,
        "copies": 3 * len(documents),
        "coder_seen": None,
    }
    record = Path(empty_study.coder) / "training.json"
    record.write_text('{"kind": "transcoder"}')
    assert text_facts(db, empty_study)["coder_seen"] is None
    document = sets["evaluate"][0].document
    for name, seen in (
        (sets["explain"][0].document, []),
        (document, [document]),
        (document.replace(document[0], "3", 1), [document]),  # a copy of it
    ):
        text = (Path(empty_study.corpus) / name).read_text(encoding="utf-8")
        record.write_text(json.dumps({"seen": SeenText.of([identity(text)]).model_dump()}))
        assert text_facts(db, empty_study)["coder_seen"] == seen
    # A folder may hold coders for several hookpoints, each in a folder of its own.
    inside = record.parent / empty_study.hookpoint
    inside.mkdir()
    record.rename(inside / record.name)
    assert text_facts(db, empty_study)["coder_seen"] == [document]


def test_contexts_of_an_earlier_version_stay_what_they_are(db: Session, study: Study) -> None:
    db.scalars(select(Context).filter_by(study_id=study.id)).first().document_hash = None  # type: ignore[union-attr]
    db.flush()
    assert text_facts(db, study) == {"text_version": 1, "coder_seen": None}


def test_a_study_without_faults_says_nothing(pages: httpx.Client, study: Study) -> None:
    for path in ("", "/latents/0"):
        assert "Collect it again" not in text_of(pages.get(f"/studies/{study.slug}{path}"))


@pytest.mark.parametrize(
    ("corpus", "changes", "said"),
    [
        ("sotu", [{}], None),
        ("texts.jsonl", [{}], "Nearly equal documents under different names were not looked for"),
        ("sotu", [{"set": "evaluate"}], "1 of the 1 calibrate and evaluate contexts stand in the"),
        ("sotu", [{"strings": ["<s>", " a", "\ufffd", "\ufffd"]}], "1 of 8 contexts show pieces"),
        ("sotu", [{"strings": ["<s>", "The", "committee"]}] * 8, "lost their spaces"),
        (
            "sotu",
            [{"strings": ["<s>", " a", "<|endoftext|>"]}],
            "became those tokens in 1 of 8 contexts",
        ),
    ],
)
def test_a_study_of_an_earlier_version_says_what_is_wrong(
    pages: httpx.Client,
    db: Session,
    corpus: str,
    changes: list[dict[str, Any]],
    said: str | None,
) -> None:
    study = little_study(db)
    study.corpus = corpus
    study.coder_info = {k: v for k, v in study.coder_info.items() if k != "text_version"}
    contexts = db.scalars(select(Context).filter_by(study_id=study.id).order_by(Context.index))
    for context, change in zip(contexts, changes, strict=False):
        if strings := change.get("strings"):
            context.strings = [*strings, *strings[-1:] * (LENGTH - len(strings))]
        context.set = change.get("set", context.set)
    db.commit()
    for path in ("", "/latents/0"):
        page = pages.get(f"/studies/{study.slug}{path}")
        if said is None:
            assert "Collect it again" not in text_of(page)
        else:
            assert said in text_of(page)
            assert f'href="/studies/new?like={study.slug}"' in page.text


def test_a_coder_that_saw_the_text_is_told(pages: httpx.Client, db: Session) -> None:
    study = little_study(db)
    study.coder_info = study.coder_info | {"coder_seen": ["Adams 1797", "Washington 1790"]}
    db.commit()
    for path in ("", "/latents/0"):
        said = text_of(pages.get(f"/studies/{study.slug}{path}"))
        assert (
            "trained on documents of the calibrate and evaluate sets: “Adams 1797” and 1 other."
            in said
        )
