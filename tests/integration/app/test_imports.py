"""Files of explanations that are far too large, or made to hurt: refused, in bounded memory."""

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy.orm import Session

from interp.errors import InputError
from models import Job, Study
from models.settings import get_settings
from tests.explanation_files import finish, parquet_file, repeated_column, upload, versions
from tests.reading import problem_of


def test_a_name_with_anything_in_it_can_be_shown(web: str, study: Study) -> None:
    url = f"{web}/api/v1/studies/{study.slug}/import"
    field = b'Content-Disposition: form-data; name="file"; filename="a\\ud83d.txt"'
    body = b"--x\r\n" + field + b"\r\n\r\nx\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x; charset=unicode_escape"
    answer = httpx.post(url, content=body, headers={"Content-Type": kind})
    assert ".jsonl" in problem_of(answer, 422)


def _kept(study: Study) -> list[Path]:
    folder = get_settings().data / "studies" / str(study.id) / "imports"
    return sorted(folder.glob("*/*"), key=lambda path: path.name)


GOOD = b'{"latent": 1, "text": "good", "author": "a"}\n'


def test_a_refused_import_leaves_nothing(web: str, study: Study) -> None:
    for name, content in (
        ("a.jsonl", GOOD * 50 + b"{"),
        ("a.jsonl", GOOD + b'{"latent": 99, "text": "x"}'),
        (
            "a.parquet",
            parquet_file(repeated_column("x" * 60_000, 20_000), compression="zstd").getvalue(),
        ),
    ):
        problem_of(upload(web, study, name, content), 422)
    folder = get_settings().data / "studies" / str(study.id) / "imports"
    assert list(folder.glob("*")) == []


def test_an_import_that_has_ended_is_not_kept(web: str, db: Session, study: Study) -> None:
    first = upload(web, study, "first.jsonl", GOOD).json()["id"]
    assert [path.name for path in _kept(study)] == ["first.jsonl"]
    finish(db, first)
    second = upload(web, study, "second.jsonl", GOOD).json()["id"]
    assert [path.name for path in _kept(study)] == ["second.jsonl"]
    job = db.get_one(Job, second)
    httpx.post(f"{web}/api/v1/jobs/{second}/cancel")
    third = upload(web, study, "third.jsonl", GOOD).json()["id"]
    assert [path.name for path in _kept(study)] == ["second.jsonl", "third.jsonl"], "for a retry"
    db.refresh(job)
    job.finished_at = job.finished_at.replace(year=2020) if job.finished_at else None
    db.commit()
    httpx.post(f"{web}/api/v1/jobs/{third}/cancel")
    fourth = upload(web, study, "fourth.jsonl", GOOD).json()["id"]
    names = [path.name for path in _kept(study)]
    assert "second.jsonl" not in names
    assert "fourth.jsonl" in names
    with pytest.raises(InputError, match="import it again"):
        finish(db, second)
    finish(db, fourth)


def test_many_versions_of_a_latent_keep_their_order(web: str, db: Session, study: Study) -> None:
    texts = [f"explanation {number}" for number in range(700)]
    lines = [json.dumps({"latent": n % 2, "text": t}) for n, t in enumerate(texts)]
    finish(db, upload(web, study, "many.jsonl", "\n".join(lines).encode()).json()["id"])
    for latent in (0, 1):
        found = [
            v[1] for v in versions(db, study) if v[0] == latent and v[1].startswith("explanation")
        ]
        assert found == texts[latent::2]
    assert any(v[1] == texts[-1] and v[5] for v in versions(db, study)), "the last one is current"
