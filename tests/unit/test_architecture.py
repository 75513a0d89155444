"""The rules that docs/architecture.md states hold in the code."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY

PATH = re.compile(r"\w+(/|\.py)")
ROOMS = "app|cli|interp|jobs|models|workers|tests|templates|static|docs|benchmarks|migrations"
NAMED = re.compile(rf"(?<![\w/.-])((?:{ROOMS})/[\w/.-]+\.(?:py|md|html|css|js|ipynb))(?!\w)")


def test_imports_go_one_way() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([lint, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("module", ["app.main", "cli.main", "jobs.queue", "models"])
def test_import_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_picture_of_the_house_is_the_house() -> None:
    """Each path in the picture exists, and the picture leaves out no folder."""
    picture = (REPOSITORY / "docs" / "architecture.md").read_text().split("```")[1]
    drawn: set[Path] = set()
    open_folders: list[tuple[int, Path]] = [(-1, REPOSITORY)]
    for line in picture.strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        names = itertools.takewhile(PATH.fullmatch, line.split())
        open_folders = [(depth, folder) for depth, folder in open_folders if depth < indent]
        above = inside = open_folders[-1][1]
        for name in names:
            if name.endswith("/"):
                inside = above / name.removesuffix("/")
                assert inside.is_dir(), f"there is no {inside}: {line!r}"
                drawn.add(inside)
            else:  # beside a folder's name is what it holds
                assert (inside / name).is_file(), f"there is no {inside / name}: {line!r}"
        open_folders.append((indent, inside))
    rooms = (
        "app/services",
        "app/web",
        "interp",
        "interp/simulate",
        "jobs",
        "workers",
        "workers/tasks",
    )
    there = {path.parent for room in rooms for path in (REPOSITORY / room).glob("*/__init__.py")}
    assert there <= drawn, f"not in the picture: {sorted(map(str, there - drawn))}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs", "demo/README.md"])
def test_documents_name_files_that_exist(document: str) -> None:
    place = REPOSITORY / document
    for page in [place] if place.is_file() else place.glob("**/*.md"):
        for name in NAMED.findall(page.read_text()):
            assert (REPOSITORY / name).exists(), f"{page.name} names {name}"
