"""A coder is inspected by a process of the worker: what it finds, and how it ends."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from interp.vocabulary import CoderFit
from jobs import inspections, queue
from jobs.events import get_redis
from jobs.inspections import LIST, QUEUE, Inspection
from jobs.status import Status
from tests.checkpoints import stream_coder
from tests.reading import text_of
from workers.inspections.serve import run

OTHER = "layers.1.self_attn.o_proj.input"


@pytest.fixture(autouse=True)
def _heard(servers: object) -> Iterator[None]:
    """A worker has just said that it is there."""
    get_redis().delete(LIST)
    queue.beat([QUEUE])
    yield
    get_redis().delete(f"palimpsest:served:{QUEUE}", LIST)


@pytest.fixture(scope="module")
def sources(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model, a text, and a coder of its layer 1 in a folder for another site."""
    coders = tmp_path_factory.mktemp("coders")
    stream_coder(coders / OTHER)
    return folders | {"coder": str(coders), "hookpoint": OTHER}


def begun(api: httpx.Client, sources: dict[str, str]) -> Inspection:
    """An inspection that a worker has taken up."""
    made = api.post("/inspections", json=sources)
    assert made.status_code == 201, made.text
    assert made.json()["status"] == "queued"
    taken = inspections.take()
    assert taken is not None and taken.id == made.json()["id"]
    return taken


def test_the_site_is_found_that_the_coder_is_of(
    api: httpx.Client, pages: httpx.Client, sources: dict[str, str]
) -> None:
    taken = begun(api, sources)
    steps: list[str] = []
    runs = threading.Thread(target=run, args=[taken])
    runs.start()
    while runs.is_alive():
        now = api.get(f"/inspections/{taken.id}").json()
        if now["step"] not in steps:
            steps.append(now["step"])
        time.sleep(0.05)
    assert {"Starting", "Loading the model"} <= {*steps}

    found = Inspection.model_validate(api.get(f"/inspections/{taken.id}").json())
    assert found.status is Status.FINISHED and found.problem == ""
    assert found.files and found.measured
    assert (found.files.format, found.files.kind, found.files.latents) == ("sparsify", "sae", 16)
    assert found.files.active is None, "its files name no number"
    first, best, *others = found.measured.sites
    assert found.measured.fit is CoderFit.ELSEWHERE and found.measured.best == 1
    assert (first.writes, first.fits) == (OTHER, False)
    assert (best.writes, best.reading, best.fits) == ("layers.1", "", True)
    assert best.typical_fvu and first.typical_fvu and best.typical_fvu < first.typical_fvu / 2
    assert best.active == pytest.approx(8)
    ranks = [one.typical_fvu or 0 for one in [best, *others]]
    assert ranks == sorted(ranks)

    # The panel takes the site over. The folder holds no coder of that name: the file is named.
    form = sources | {"title": "Kept", "inspection": taken.id, "prepend_bos": "true"}
    page = pages.post("/studies/new", data=form | {"use": "1"})
    for value in ("Kept", "layers.1", found.files.weights):
        assert f'value="{value}"' in page.text
    assert "in the form" in page.text and f'value="{taken.id}"' in page.text
    assert CoderFit.HERE.meaning in page.text and "Best is" not in page.text

    # The verdict is of what the form says, or it says that the form is another one.
    def looked(**changes: str) -> str:
        data = form | {"inspect": "look"} | changes
        return text_of(pages.post("/studies/new", data=data))

    as_asked = looked()
    assert CoderFit.ELSEWHERE.meaning in as_asked and "Best is layers.1." in as_asked
    assert "asked for" in as_asked and "the typical token that the coder leaves" in as_asked
    used = {"coder": found.files.weights, "hookpoint": "layers.1"}
    taken_over = looked(**used)
    assert CoderFit.HERE.meaning in taken_over and f"{best.typical_fvu:.3f} measured" in taken_over
    for changes, labels in (
        (used | {"context_length": "64"}, "Context length"),
        (used | {"context_length": "none", "dtype": "float16"}, "Context length"),
        ({"hookpoint": "layers.9", "model": "another/model"}, "Model, Hookpoint"),
        ({"hookpoint": "layers.1"}, "Hookpoint"),
    ):
        text = looked(**changes)
        assert f"The form has changed since it was inspected: {labels}. Inspect again." in text
        assert not any(fit.meaning in text for fit in CoderFit), changes


def test_a_site_that_the_files_name_is_not_asked_for(
    api: httpx.Client, pages: httpx.Client, sources: dict[str, str], folders: dict[str, str]
) -> None:
    # Its files name a number of latents besides, which is said like the measured one.
    taken = begun(api, sources | {"coder": folders["coder"], "hookpoint": "layers.1.mlp"})
    run(taken)
    found = inspections.look(taken.id)
    assert found and found.files
    named = found.model_copy(
        update={
            "question": found.question.model_copy(update={"hookpoint": ""}),
            "files": found.files.model_copy(update={"active": 23.1459}),
        }
    )
    inspections.save(named)
    form = sources | {"coder": folders["coder"], "hookpoint": "", "prepend_bos": "true"}
    text = text_of(
        pages.post("/studies/new", data=form | {"inspection": taken.id, "inspect": "look"})
    )
    assert "of its files" in text and "asked for" not in text
    assert "measured, 23.1 declared" in text
    assert named.measured and named.measured.fit.meaning in text


def test_a_refusal_says_why(api: httpx.Client, sources: dict[str, str]) -> None:
    taken = begun(api, sources | {"reading": "the 3 largest are active"})
    run(taken)
    found = api.get(f"/inspections/{taken.id}").json()
    assert found["status"] == "failed" and found["measured"] is None
    assert "cannot be read so that the 3 largest are active" in found["problem"]
    assert found["files"]["format"] == "sparsify", "what is known is said"


def test_the_worker_looks_again_at_what_may_be_named(
    api: httpx.Client, sources: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALIMPSEST_ACCOUNTS", "true")
    taken = begun(api, sources)
    run(taken)
    found = api.get(f"/inspections/{taken.id}").json()
    assert found["status"] == "failed" and "PALIMPSEST_FOLDERS" in found["problem"]
    assert found["files"] is None


def test_an_inspection_that_nobody_wants_ends(api: httpx.Client, sources: dict[str, str]) -> None:
    taken = begun(api, sources)
    runs = threading.Thread(target=run, args=[taken])
    runs.start()
    time.sleep(0.5)
    assert api.delete(f"/inspections/{taken.id}").status_code == 204
    runs.join(10)
    assert not runs.is_alive()
    assert api.get(f"/inspections/{taken.id}").status_code == 404
    # One that was given up before its turn is not taken up.
    waits = api.post("/inspections", json=sources).json()["id"]
    api.delete(f"/inspections/{waits}")
    assert inspections.take() is None


def test_a_process_that_breaks_off_is_told(
    api: httpx.Client, sources: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = begun(api, sources)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    run(taken)
    found = api.get(f"/inspections/{taken.id}").json()
    assert found["status"] == "failed" and "memory runs out" in found["problem"]


def test_the_process_ends_with_its_worker(sources: dict[str, str], tmp_path: Path) -> None:
    question = {name: sources[name] for name in ("model", "coder", "hookpoint", "corpus")}
    asked = {"id": "of-no-worker", "question": question}
    command = [sys.executable, "-m", "workers.inspections.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as child:
        assert child.stdin
        child.stdin.write(json.dumps(asked) + "\n")
        child.stdin.close()
        assert child.wait(60) == 1
    inspections.give_up("of-no-worker")
