"""A study of a person's own text, collected as a worker does."""

import csv
import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.corpus.tokenizer import fingerprint
from interp.errors import InputError
from jobs.params import CollectParams
from models import Context, Study
from tests.engine import VOCABULARY, word_tokenizer
from tests.reading import text_of
from tests.working import add_job, work
from workers import resources

SENTENCES = 60


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file with a column of text, of which some rows have none."""
    rng = np.random.default_rng(0)
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-16", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "body"])
        for number in range(SENTENCES):
            words = [f"w{i}" for i in rng.integers(0, VOCABULARY - 1, 400)]
            rows.writerow([number, " ".join(words) if number % 10 else ""])
    return path


def test_a_table_is_collected_and_what_is_not_used_is_said(
    db: Session, study: Study, table: Path, pages: httpx.Client
) -> None:
    study.corpus = f"{table}?column=body"
    db.commit()
    work(db, add_job(db, study, CollectParams()), study)
    db.refresh(study)
    info = study.coder_info
    assert info["unused"] == {"empty": [SENTENCES // 10, f"{table}, line 2"]}
    assert info["documents"] == SENTENCES - SENTENCES // 10
    assert info["kind"] == "sae" and info["tokenizer"] == fingerprint(word_tokenizer())
    documents = set(db.scalars(select(Context.document).where(Context.study_id == study.id)))
    assert documents <= {f"table.csv#{i}" for i in range(SENTENCES) if i % 10}
    page = text_of(pages.get(f"/studies/{study.slug}"))
    assert f"6 × empty; the first: {table}, line 2" in page


def test_a_chat_template_is_left_out(db: Session, study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.model, tmp_path / "model")
    tokenizer = word_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}w0 w0 {{ m.content }} w1 {% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    with (tmp_path / "chats.jsonl").open("w") as file:
        for _ in range(SENTENCES):
            chat = [
                {"role": role, "content": " ".join(f"w{i}" for i in rng.integers(2, 40, 200))}
                for role in ("user", "assistant")
            ]
            file.write(json.dumps({"messages": chat}) + "\n")
    study.model, study.leave_out = str(tmp_path / "model"), 4
    study.corpus = f"{tmp_path}/chats.jsonl?column=messages&template=no"
    db.commit()
    work(db, add_job(db, study, CollectParams()), study)
    contexts = db.scalars(select(Context).filter_by(study_id=study.id)).all()
    assert len(contexts) == 600 + 8 + 12
    written = [not {0, 1}.isdisjoint(context.tokens[:4]) for context in contexts]
    assert any(written), "the model reads the template"
    assert all({0, 1}.isdisjoint(context.tokens[4:]) for context in contexts)


def test_another_tokenizer_in_the_models_folder_is_refused(
    db: Session, study: Study, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.corpus = f"{table}?column=body"
    db.commit()
    work(db, add_job(db, study, CollectParams()), study)
    db.refresh(study)
    folder = Path(study.model)
    kept = {path: path.read_bytes() for path in folder.glob("*token*")}
    assert resources.subject_of(study)
    try:
        word_tokenizer(bos="w7").save_pretrained(folder)
        resources._kept.cache_clear()
        with pytest.raises(InputError, match=r"tokenizer of .* is not the one.*Put the old"):
            resources.subject_of(study)
        study.coder_info = {k: v for k, v in study.coder_info.items() if k != "tokenizer"}
        assert resources.subject_of(study), "of a study of an earlier version it is not known"
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        resources._kept.cache_clear()
