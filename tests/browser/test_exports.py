"""The form of an export and of an import, in a browser."""

import gzip
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from models import Study
from tests.explanation_files import exported_rows, finish, versions
from tests.factories import little_study, reword
from tests.results_folders import delphi_run


@pytest.fixture
def study(db: Session) -> Study:
    """A little study in which a person has reworded latent 1."""
    study = little_study(db)
    reword(db, study, 1)
    return study


def test_the_page_downloads_and_imports(
    web: str, db: Session, study: Study, browser_page: Page, tmp_path: Path
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}")
    page.get_by_role("link", name="Export and import").click()
    page.get_by_label("Scores", exact=True).uncheck()
    page.get_by_label("CSV", exact=True).check()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == f"{study.slug}.zip"
    archive = zipfile.ZipFile(waiting.value.path())
    names = {Path(name).name for name in archive.namelist()}
    assert "explanations.csv" in names
    assert not {"scores.csv", "simulations.csv"} & names

    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_text("latent,text\n77,x\n")
    good.write_text("latent,text\n2,from a file\n")
    page.get_by_label("File", exact=True).set_input_files(bad)
    page.get_by_role("button", name="Import", exact=True).click()
    error = page.get_by_role("alert").filter(has_text="Nothing was imported")
    assert "bad.csv, line 2, is of latent 77" in error.inner_text()
    page.get_by_label("File", exact=True).set_input_files(good)
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url("**/jobs/*")
    finish(db, int(page.url.rsplit("/", 1)[1]))
    assert (2, "from a file", "local", "person", None, True) in versions(db, study)


def test_results_of_another_tool_come_in_and_the_layout_goes_out(
    web: str, db: Session, study: Study, browser_page: Page, tmp_path: Path
) -> None:
    run = delphi_run(tmp_path / "run", {2: "two, says Delphi"}, width=8)
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/export")
    page.get_by_label("Folder or file").fill(str(run))
    page.get_by_role("button", name="Import results").click()
    error = page.get_by_role("alert").filter(has_text="Nothing was imported")
    assert "a coder with 8 latents; the study’s has 6" in error.inner_text()
    assert page.get_by_label("Folder or file").input_value() == str(run)
    page.get_by_label("Import although").check()
    page.get_by_role("button", name="Import results").click()
    page.wait_for_url("**/jobs/*")
    finish(db, int(page.url.rsplit("/", 1)[1]))
    page.goto(f"{web}/studies/{study.slug}/export")
    page.get_by_label("Neuronpedia", exact=True).check()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    archive = zipfile.ZipFile(waiting.value.path())
    (name,) = [name for name in archive.namelist() if "/explanations/" in name]
    assert "two, says Delphi" in gzip.decompress(archive.read(name)).decode()


def test_the_table_of_latents_leads_to_an_export_of_its_filter(
    web: str, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents?q=number+3")
    page.get_by_role("link", name="Export them").click()
    assert "1 latent with “number 3”" in page.locator("main").inner_text()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    archive = zipfile.ZipFile(waiting.value.path())
    assert [row["latent"] for row in exported_rows(archive, "latents", "parquet")] == [3]
