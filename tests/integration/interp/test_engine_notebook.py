"""docs/engine.ipynb runs from its first cell to its last, and its figures are plausible."""

import re
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbclient import NotebookClient

from cli.fetch import fetch
from tests import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "engine.ipynb"


@pytest.fixture(scope="module")
def printed(model_cache: Path) -> str:
    """All that the notebook prints."""
    with FileLock(model_cache.parent / "fetching.lock"):  # tests may run in several processes
        fetch("gemma-3-270m", model_cache.parent, say=print)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": NOTEBOOK.parent}}
    with pytest.MonkeyPatch.context() as patch:  # the kernel has the environment of this process
        patch.setenv("PALIMPSEST_HOME", str(model_cache.parent))
        NotebookClient(notebook, timeout=800, resources=where).execute()
    return "".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stdout"
    )


def figure(printed: str, pattern: str) -> tuple[float, ...]:
    """The numbers that a line has."""
    found = re.search(pattern, printed, re.MULTILINE)
    assert found is not None, printed
    return tuple(map(float, found.groups()))


def test_rewriting_is_better_than_nothing(printed: str) -> None:
    (untouched,) = figure(printed, r"^untouched +([\d.]+)$")
    (real,) = figure(printed, r"^real latents +([\d.]+)$")
    (rewritten,) = figure(printed, r"^rewritten +([\d.]+)$")
    (zero,) = figure(printed, r"^zero +([\d.]+)$")
    assert real < rewritten < zero
    assert untouched < zero
    mean, low, high = figure(printed, r"^rewritten - zero: (\S+) \[(\S+), (\S+)\]$")
    assert low < mean < high < 0
    assert mean == pytest.approx(rewritten - zero, abs=2e-4)


def test_explanations_predict_activations(printed: str) -> None:
    (correlation,) = figure(printed, r"calibrate set: ([\d.]+)$")
    assert correlation > 0.3


def test_the_notebook_holds_no_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell for cell in cells if cell.get("outputs")] == []
