"""A study taken away and brought back: files of an export, and imports of explanations."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.exports import queries
from app.services.exports.schemas import PARTS, ExportQuery
from app.services.exports.tables import TABLES
from interp.errors import InputError
from interp.explain.files import read
from models import Context, Explanation, Job, Latent, Score, Simulation, Study
from tests.conftest import palimpsest
from tests.explanation_files import exported_rows, finish, upload, versions
from tests.factories import CONTEXTS, LENGTH, little_study, reword
from tests.reading import problem_of, text_of


@pytest.fixture
def study(db: Session) -> Study:
    """A little study in which a person has reworded latent 1."""
    study = little_study(db)
    reword(db, study, 1)
    return study


def download(web: str, study: Study, **query: Any) -> zipfile.ZipFile:
    response = httpx.get(f"{web}/api/v1/studies/{study.slug}/export", params=query, timeout=60)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    assert f"{study.slug}.zip" in response.headers["content-disposition"]
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    return archive


# --- Export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_every_part_comes_in_every_format(web: str, db: Session, study: Study, form: str) -> None:
    archive = download(web, study, format=form)
    record = json.loads(archive.read(f"{study.slug}/study.json"))
    assert {Path(name).name for name in archive.namelist()} == {
        "study.json",
        *(f"{part}.{form}" for part in PARTS),
    }
    for part, table in TABLES.items():
        found = exported_rows(archive, part, form)
        assert len(found) == record["tables"][part]["rows"] > 0
        names = [column.name for column in table.columns]
        assert all(list(row) == names for row in found)
        assert list(record["tables"][part]["columns"]) == names
    assert len(exported_rows(archive, "simulations", form)) == 3 * 3 * CONTEXTS
    assert len(exported_rows(archive, "contexts", form)) == CONTEXTS
    assert len(exported_rows(archive, "explanations", form)) == 6
    assert record["study"]["slug"] == study.slug
    assert record["latents"] == "all"
    (simulator,) = record["simulators"]
    assert (simulator["id"], simulator["used"]) == (study.simulator_id, True)
    assert simulator["independence"] == "independent"


def test_values_are_those_of_the_database(web: str, db: Session, study: Study) -> None:
    archives = {form: download(web, study, format=form) for form in ("parquet", "jsonl", "csv")}
    simulation = db.scalars(
        select(Simulation)
        .join(Explanation, Explanation.id == Simulation.explanation_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Latent.study_id == study.id, Latent.index == 0, Simulation.set == "explain")
    ).one()
    for form, archive in archives.items():
        found = exported_rows(archive, "simulations", form)
        first = next(
            row
            for row in found
            if int(row["explanation_id"]) == simulation.explanation_id
            and row["set"] == "explain"
            and int(row["context_id"]) == simulation.context_ids[0]
        )
        values = json.loads(first["values"]) if form == "csv" else first["values"]
        assert len(values) == LENGTH
        missing = [place for place, value in enumerate(values) if value is None]
        assert missing == [0, 5], "the token that begins the sequence, and the missing value"
        assert values[1] == pytest.approx(float(simulation.values[0, 1]), abs=1e-6)
    # Numbers of 4 bytes are written as short as they are.
    text = archives["jsonl"].read(f"{study.slug}/simulations.jsonl").decode()
    assert f"{float(str(simulation.values[0, 1]))}," in text
    tokens = exported_rows(archives["parquet"], "contexts", "parquet")[0]
    context = db.get_one(Context, tokens["context_id"])
    assert (tokens["tokens"], tokens["strings"]) == (context.tokens, context.strings)


def test_what_is_not_defined_is_null_and_never_zero(web: str, db: Session, study: Study) -> None:
    score = db.scalars(
        select(Score)
        .join(Explanation, Explanation.id == Score.explanation_id)
        .join(Latent, Latent.explanation_id == Explanation.id)
        .where(Latent.study_id == study.id, Latent.index == 0, Score.name == "correlation")
    ).one()
    score.low = score.high = float("nan")
    score.details = {"active": 4, "random_baseline": 0.0, "random_baseline_of": 1}
    db.commit()
    for form, empty in (("parquet", None), ("jsonl", None), ("csv", "")):
        found = exported_rows(download(web, study, parts="scores", format=form), "scores", form)
        of = {
            row["name"]: row for row in found if int(row["explanation_id"]) == score.explanation_id
        }
        assert (of["correlation"]["low"], of["correlation"]["high"]) == (empty, empty)
        assert float(of["correlation"]["random_baseline"]) == 0.0
        assert of["sensitivity"]["value"] == of["sensitivity"]["random_baseline"] == empty


def test_csv_keeps_commas_quotes_and_lines_apart(web: str, db: Session, study: Study) -> None:
    explanation = db.scalars(
        select(Explanation)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Latent.study_id == study.id, Latent.index == 2)
    ).one()
    explanation.text = 'the “,” in "a, b"; = 1, \\ and ∂'
    explanation.prompt_version = None
    db.commit()
    archive = download(web, study, parts="explanations", format="csv")
    content = archive.read(f"{study.slug}/explanations.csv")
    found = {
        int(row["explanation_id"]): row for row in exported_rows(archive, "explanations", "csv")
    }
    assert found[explanation.id]["text"] == explanation.text
    table = pacsv.read_csv(
        io.BytesIO(content),
        convert_options=pacsv.ConvertOptions(
            strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert explanation.text in table["text"].to_pylist()
    assert table["prompt_version"].null_count == 2, "none given here, and none by the person"


def test_an_export_takes_the_lists_filter(web: str, study: Study) -> None:
    everything = {"parts": ["explanations", "scores", "latents"]}
    archive = download(web, study, q="number 3", **everything)
    assert [row["latent"] for row in exported_rows(archive, "explanations", "parquet")] == [3]
    assert [row["latent"] for row in exported_rows(archive, "latents", "parquet")] == [3]
    assert exported_rows(archive, "scores", "parquet") == []
    record = json.loads(archive.read(f"{study.slug}/study.json"))
    assert record["filter"] == {"q": "number 3"}
    assert list(record["tables"]) == ["latents", "explanations", "scores"]
    archive = download(web, study, missing="true", parts="simulations")
    assert {row["latent"] for row in exported_rows(archive, "simulations", "parquet")} == {0}
    archive = download(web, study, edited="true", parts="explanations")
    assert [row["current"] for row in exported_rows(archive, "explanations", "parquet")] == [
        False,
        True,
    ]


def test_a_study_that_is_not_collected_has_empty_tables(web: str, db: Session) -> None:
    empty = little_study(db, latents=0, simulator=False)
    for form in ("parquet", "jsonl", "csv"):
        archive = download(web, empty, format=form)
        assert all(exported_rows(archive, part, form) == [] for part in PARTS)
        assert json.loads(archive.read(f"{empty.slug}/study.json"))["simulators"] == []


def test_an_export_of_nothing_known_is_refused(web: str, study: Study) -> None:
    api = f"{web}/api/v1/studies"
    problem_of(httpx.get(f"{api}/none/export"), 404)
    problem_of(httpx.get(f"{api}/{study.slug}/export", params={"parts": "scores,x"}), 422)
    problem_of(httpx.get(f"{api}/{study.slug}/export", params={"format": "xls"}), 422)


def test_an_export_is_sent_block_by_block_and_is_of_one_moment(
    db: Session, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {name: table._replace(at_once=1) for name, table in TABLES.items()}
    monkeypatch.setattr(queries, "TABLES", small)
    pieces = queries.download(study.slug, ExportQuery(parts=["latents", "explanations"]))
    content = [next(pieces)]
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=4)).one()
    db.add(Explanation(latent_id=latent.id, text="later", author_kind="person", author="ana"))
    db.commit()
    content += pieces
    assert len(content) > 12, "one piece a row, of six latents and six explanations"
    archive = zipfile.ZipFile(io.BytesIO(b"".join(content)))
    assert "later" not in [row["text"] for row in exported_rows(archive, "explanations", "parquet")]
    file = pq.ParquetFile(io.BytesIO(archive.read(f"{study.slug}/latents.parquet")))
    assert file.num_row_groups == 6
    assert file.schema_arrow.field("firing_rate").metadata[b"about"].startswith(b"share of tokens")


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_a_round_trip_gives_the_same_explanations(
    web: str, db: Session, study: Study, form: str
) -> None:
    latent = db.scalars(select(Latent).filter_by(study_id=study.id, index=1)).one()
    first, second = db.scalars(
        select(Explanation).filter_by(latent_id=latent.id).order_by(Explanation.id)
    )
    # A model after a person, and a person who goes back to an earlier explanation.
    later = [
        ("of a model", "model", "m"),
        ("x, “y”", "person", "ana"),
        ("another", "person", "ana"),
    ]
    for text, kind, author in later:
        version = Explanation(latent_id=latent.id, text=text, author_kind=kind, author=author)
        db.add(version)
        db.flush()
    latent.explanation_id = version.id
    db.commit()
    archive = download(web, study, parts="explanations", format=form)
    content = archive.read(f"{study.slug}/explanations.{form}")
    fresh = little_study(db, simulator=False)
    for one in db.scalars(select(Latent).filter_by(study_id=fresh.id)):
        one.explanation_id = None
        db.flush()
        db.query(Explanation).filter_by(latent_id=one.id).delete()
    db.commit()
    assert versions(db, fresh) == []

    response = upload(web, fresh, f"explanations.{form}", content)
    assert response.status_code == 201, response.text
    finish(db, response.json()["id"])
    assert versions(db, fresh) == versions(db, study)
    parents = db.scalars(
        select(Explanation.parent_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Latent.study_id == fresh.id, Latent.index == 1)
        .order_by(Explanation.id)
    ).all()
    assert parents[0] is None
    assert None not in parents[1:]
    again = finish(db, upload(web, fresh, f"explanations.{form}", content).json()["id"])
    assert again.params["path"].endswith("explanations.jsonl")
    assert versions(db, fresh) == versions(db, study), "nothing comes in twice"
    assert (first.text, second.text) == ("fires on word number 1, 100%_sure", "another")


def test_an_import_without_authors_is_signed_by_who_imports(
    web: str, db: Session, study: Study
) -> None:
    response = upload(web, study, "Mine & more.csv", b"latent,text\n2,mine\n3,also mine\n")
    job = finish(db, response.json()["id"])
    assert Path(job.params["path"]).name == "Mine-more.jsonl"
    found = [v for v in versions(db, study) if v[1] in ("mine", "also mine")]
    assert [(v[0], v[2], v[3], v[5]) for v in found] == [
        (2, "local", "person", True),
        (3, "local", "person", True),
    ]


def test_what_a_file_says_that_others_wrote_is_marked(web: str, db: Session, study: Study) -> None:
    line = {"latent": 2, "text": "not mine", "author": "ana", "author_kind": "person"}
    mine = line | {"latent": 3, "text": "mine", "author": "local"}
    content = "\n".join(map(json.dumps, (line, mine))).encode()
    finish(db, upload(web, study, "both.jsonl", content).json()["id"])
    here = f"{web}/studies/{study.slug}"
    page = text_of(httpx.get(f"{here}/latents/2"))
    assert page.count("ana (imported by local)") == 2, "beside the explanation and in the history"
    assert "imported by" not in text_of(httpx.get(f"{here}/latents/3"))
    listed = text_of(httpx.get(f"{here}/latents?show=author"))
    assert listed.count("ana (imported by local)") == 1
    activity = text_of(httpx.get(here))
    assert "ana (imported by local) reworded latent 2" in activity
    assert "local reworded latent 3" in activity


GOOD = b'{"latent": 1, "text": "good", "author": "a"}\n'


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", GOOD + b'{"latent": 1, "text": " "}', "line 2, is no explanation: text"),
        ("a.jsonl", GOOD + b'{"latent": "x", "text": "y"}', "line 2, is no explanation: latent"),
        ("a.jsonl", GOOD + b'{"text": "y"}', "line 2, is no explanation: latent"),
        ("a.jsonl", GOOD + b"[1]", "line 2, is no explanation"),
        ("a.jsonl", GOOD + b"{", "line 2, is no JSON"),
        ("a.jsonl", GOOD + b"\xff", "cannot be read"),
        ("a.jsonl", GOOD + b'{"latent": 1, "text": "\\ud800"}', "line 2"),
        ("a.jsonl", GOOD + b'{"latent": 1, "text": "y", "author": "a\\u0000"}', "author"),
        ("a.jsonl", GOOD + b'{"latent": 6, "text": "y"}', "line 2, is of latent 6, which"),
        ("a.jsonl", b"\n", "no explanation in it"),
        ("a.csv", b"latent,text\n1,good\n1,a, b\n", "line 3, has more fields"),
        ("a.csv", b"latent,text\n1,good\n1,\n", "line 3, is no explanation: text"),
        ("a.csv", b"index,text\n1,good\n", "no column “latent”"),
        ("a.csv", b"", "no column"),
        ("a.csv", b'latent,text\n1,"good\n', "cannot be read"),
        ("a.parquet", b"PAR1 it is not", "cannot be read"),
        ("a.txt", GOOD, "is none of .jsonl, .csv, .parquet"),
        ("a", GOOD, "is none of"),
    ],
)
def test_one_bad_line_refuses_the_whole_file(
    web: str, db: Session, study: Study, name: str, content: bytes, reason: str
) -> None:
    jobs = select(func.count()).select_from(Job).where(Job.study_id == study.id)
    before = db.scalar(jobs)
    assert reason in problem_of(upload(web, study, name, content), 422)
    assert db.scalar(jobs) == before
    assert not any(version[1] == "good" for version in versions(db, study))


def test_a_parquet_file_names_its_row() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"latent": [1, 2], "text": ["good", None], "other": [1, 2]}), out)
    with pytest.raises(InputError, match="row 2, is no explanation: text"):
        list(read(out, "a.parquet", author="me"))


def test_nothing_is_imported_before_there_are_latents(web: str, db: Session) -> None:
    empty = little_study(db, latents=0, simulator=False)
    assert "no latents yet" in problem_of(upload(web, empty, "a.jsonl", GOOD), 409)


def test_the_command_writes_a_folder(db: Session, study: Study, tmp_path: Path) -> None:
    from models.settings import get_settings

    settings = get_settings()
    servers = {"DATABASE_URL": settings.database_url or "", "REDIS_URL": settings.redis_url or ""}
    out = tmp_path / "out"
    wanted = ("export", study.slug, "--out", out, "--format", "jsonl")
    run = palimpsest(*wanted, "--parts", "explanations,scores", **servers)
    assert run.returncode == 0, run.stderr
    assert {file.name for file in out.iterdir()} == {
        "explanations.jsonl",
        "scores.jsonl",
        "study.json",
    }
    lines = (out / "explanations.jsonl").read_text().splitlines()
    assert len(lines) == 6
    again = palimpsest(*wanted, **servers)
    assert again.returncode == 1
    assert "not an empty folder" in again.stderr
    unknown = palimpsest("export", "none", "--out", tmp_path / "none", **servers)
    assert unknown.returncode == 1
    assert not (tmp_path / "none").exists()
