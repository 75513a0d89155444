"""An entry of a registry is offered wherever people choose. Registries need no torch."""

import json
import subprocess
import sys
from typing import Any

import pytest

from cli.servers import Servers
from interp.coders.registry import FORMATS
from interp.errors import InputError
from interp.explain.explainer import PROMPT
from interp.explain.registry import EXPLAINERS
from interp.llm.registry import BACK_ENDS
from interp.registry import Registry, load
from interp.simulate.method import Prompted, Trained
from interp.simulate.registry import SIMULATORS
from models.database import new_session
from tests import REPOSITORY
from tests.factories import CONTEXTS, little_study

REGISTRIES: list[Registry[Any]] = [SIMULATORS, EXPLAINERS, BACK_ENDS, FORMATS]

ADD = """
from interp.coders.registry import FORMATS, Format
from interp.explain.explainer import Asking
from interp.explain.registry import EXPLAINERS
from interp.llm.usage import Tokens
from interp.llm.registry import BACK_ENDS, BackEnd
from interp.simulate.method import Prompted
from interp.simulate.reads import Reading
from interp.simulate.registry import SIMULATORS
from interp.sources.checkpoint import Facts

SIMULATORS.add(
    Prompted(
        name="guess",
        meaning="guesses",
        version=lambda _: "guess-1",
        usage=lambda explanations, *, length, contexts, seq: Tokens(explanations * contexts, 1),
        reads=lambda version, ask, tokens: Reading("Guess: ", ask.explanation, "", version),
        loader="nowhere:load",
    )
)
EXPLAINERS.add(
    Asking(
        name="oracle",
        meaning="knows",
        version="oracle-1",
        prompt=lambda latent: [{"role": "user", "content": f"Latent {latent.index}?"}],
        rounds=5,
    )
)
BACK_ENDS.add(
    BackEnd(
        name="abacus", meaning="counts", title="Abacus", loader="nowhere:load", server=True
    )
)
FORMATS.add(
    Format(
        name="papyrus",
        meaning="scrolls of papyrus",
        find=lambda folder: [*folder.glob("papyrus.json")],
        check=lambda weights: Facts("sae", 4, 4, 8),
        loader="nowhere:load",
    )
)
"""

LOOK = """
import json, sys
from pathlib import Path
from starlette.testclient import TestClient
from app.main import create_app
from cli import choices
from interp.coders.source import check_coder

slug, folder = sys.argv[1:]
app = create_app()
schemas = app.openapi()["components"]["schemas"]
client = TestClient(app, base_url="http://127.0.0.1")
api, pages = "/api/v1", f"/studies/{slug}"
(Path(folder) / "papyrus.json").touch()
llm = {"backend": "abacus", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
added = client.post(f"{api}/simulators", json={"method": "guess", "model": "models/m"}).json()
found = {
    "choices": [list(choices.Method), list(choices.Explainer), list(choices.BackEnd)],
    "method": schemas["SimulatorCreate"]["properties"]["method"],
    "backend": schemas["LanguageModel"]["properties"]["backend"],
    "explainer": schemas["ExplainCreate"]["properties"]["method"],
    "simulators": client.get("/simulators").text,
    "work": client.get(f"{pages}/work").text,
    "prompts": client.get(f"{api}{pages}/latents/0/prompts").json()["items"],
    "added": added,
    "explaining": client.post(
        f"{api}{pages}/explain/estimate", json={"method": "oracle", "llm": llm}
    ).json(),
    "simulating": client.post(
        f"{api}{pages}/simulate/estimate", json={"simulator_id": added["id"], "individually": 0}
    ).json(),
    "refused": client.post(f"{api}/simulators", json={"method": "no", "model": "m"}).json(),
    "coder": check_coder(folder, "layers.0.mlp", None),
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The traces of four new entries in the command line, the API and the pages.

    A process of its own adds them, so that the registries of this one stay as they are.
    """
    with new_session() as session:
        slug = little_study(session).slug
    run = subprocess.run(
        [sys.executable, "-c", ADD + LOOK, slug, str(tmp_path_factory.mktemp("coder"))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_a_new_entry_is_there_wherever_people_choose(found: dict[str, Any]) -> None:
    methods, explainers, back_ends = found["choices"]
    assert methods == found["method"]["enum"] == [*SIMULATORS, "guess"]
    assert explainers == found["explainer"]["enum"] == [*EXPLAINERS, "oracle"]
    assert back_ends == found["backend"]["enum"] == [*BACK_ENDS, "abacus"]
    assert "or guess are prompted" in found["method"]["description"]
    assert '<option value="guess">guess</option>' in found["simulators"]
    assert '<option value="abacus" data-server>abacus</option>' in found["simulators"]
    assert '<option value="oracle">oracle: knows</option>' in found["work"]
    assert '<option value="abacus" data-server>abacus</option>' in found["work"]
    assert found["added"]["prompt_version"] == "guess-1"
    (asked,) = [one for one in found["prompts"] if one["version"] == "oracle-1"]
    assert asked["chat"] == [{"role": "user", "content": "Latent 0?"}]
    assert "'inline' or 'guess'" in json.dumps(found["refused"])
    assert found["coder"][:4] == ["sae", 4, 4, 8]


def test_a_new_entry_is_estimated(found: dict[str, Any]) -> None:
    explaining, simulating = found["explaining"], found["simulating"]
    assert explaining["tokens_read"] == explaining["latents"] * 5 * PROMPT > 0
    assert not explaining["measured"]
    assert simulating["tokens_read"] >= simulating["latents"] * 2 * CONTEXTS > 0
    assert simulating["tokens_written"] == 1


@pytest.mark.parametrize(
    "module",
    [
        "interp",
        "interp.simulate.registry",
        "interp.explain.registry",
        "interp.llm.registry",
        "interp.coders.registry",
        "interp.coders.source",
        "cli.choices",
    ],
)
def test_registries_need_no_torch(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print({'torch', 'transformers', 'sklearn', 'peft', 'openai'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.what)
def test_the_code_that_entries_name_is_there(registry: Registry[Any]) -> None:
    for name, entry in registry.items():
        assert entry.name == name
        assert entry.meaning and not entry.meaning.endswith(".")
        assert callable(load(entry.loader))
        if isinstance(entry, Trained):
            assert callable(load(entry.trainer))
            assert entry.settings().folds >= 2
        if isinstance(entry, Prompted):
            assert entry.version(entry.options()).startswith(name)


def test_an_entry_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no simulator method 'guessing'"):
        SIMULATORS.named("guessing")
    with pytest.raises(ValueError, match="two of the explainer 'lexical'"):
        EXPLAINERS.add(EXPLAINERS["lexical"])


def test_the_front_door() -> None:
    """Every name of the engine's front door is defined where it says."""
    import interp

    assert sorted(interp.__all__) == sorted(interp._FOUND)
    for name in interp.__all__:
        assert getattr(interp, name).__name__ == name
        assert name in (interp.__doc__ or ""), f"the docstring does not say what {name} is for"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = interp.nothing
