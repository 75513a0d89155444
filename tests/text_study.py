"""A study on real text, whose activations are on disk as a collect job leaves them."""

import re
import uuid
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from interp.corpus.activations import ActivationStore, LatentActivations, Shard
from interp.corpus.documents import load_documents
from interp.corpus.examples import Occurrences, sample_examples, sample_hard_negatives
from models import (
    Context,
    Example,
    Explanation,
    Latent,
    Simulation,
    Simulator,
    Study,
)
from models.settings import get_settings
from workers.tasks.collect.latents import histogram
from workers.tasks.simulate import scores

LENGTH = 40
CONTEXTS = {"explain": 160, "calibrate": 60}

Fires = Callable[[str, int], float]
"""The activation on a token, given its text and its position."""

LATENTS: list[tuple[str, Fires | None]] = [
    (
        "years and other numbers written in digits",
        lambda text, i: 2.0 + 1.7 * len(text.strip()) + 0.1 * (i % 5) if _digits(text) else 0.0,
    ),
    (
        "the legislature: Congress, the Senate, the House",
        lambda text, i: {"Congress": 9.0, "Senate": 6.5, "House": 3.0}.get(text.strip(), 0.0),
    ),
    ("", None),
    ("ends of lines", lambda text, i: 1.0 + 0.05 * i if "\n" in text else 0.0),
    ("words about money", lambda text, i: 3.0 if re.search("dollar|tax|debt", text) else 0.0),
    ("the word “peace”", lambda text, i: 4.0 if text.strip() in ("peace", "war") else 0.0),
]
"""What each latent's explanation says, and where it fires; the third is dead."""


def _digits(text: str) -> bool:
    return text.strip().isdigit()


def text_study(session: Session, *, simulated: int = 2, kept: bool = True) -> Study:
    """A study of the State of the Union addresses with latents that fire on words.

    The first two contexts of the explain set read the same. Latent 0's simulation on the explain
    set misses every 23rd value.

    Args:
        simulated: So many of the first latents are simulated and scored.
        kept: Whether histograms and similar latents are there, as in a study collected today.
    """
    study = Study(
        slug=f"text-{uuid.uuid4().hex[:8]}",
        title="State of the Union",
        model="SmolLM2-135M-Instruct.gguf",
        coder="demo/coder",
        hookpoint="layers.10.mlp",
        corpus="sotu",
        context_length=LENGTH,
        prepend_bos=True,
        contexts_explain=CONTEXTS["explain"],
        contexts_calibrate=CONTEXTS["calibrate"],
        contexts_evaluate=8,
        contexts_rewrite=8,
        seed=0,
        coder_info={"kind": "transcoder", "k": 32, "num_latents": len(LATENTS), "tokens": 6240},
    )
    simulator = Simulator(
        method="all_at_once",
        model="SmolLM2-135M-Instruct.gguf",
        prompt_version="1",
        options={"test": uuid.uuid4().hex},
    )
    session.add_all([study, simulator])
    session.flush()
    study.simulator_id = simulator.id
    contexts = {name: _contexts(session, study, name) for name in CONTEXTS}
    real = {name: activations_of(rows) for name, rows in contexts.items()}
    for name, dense in real.items():
        store_activations(study, name, dense)
    vectors = np.random.default_rng(1).normal(size=(len(LATENTS), 8))
    vectors[4] = vectors[0] + 0.2 * vectors[4]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for index, (text, fires) in enumerate(LATENTS):
        near = [
            [int(other), float(vectors[index] @ vectors[other])]
            for other in np.argsort(-(vectors @ vectors[index]))
            if other not in (index, 2)
        ]
        latent = _latent(session, study, index, contexts["explain"], real["explain"][index])
        if kept:
            latent.similar = [] if fires is None else near
        else:
            latent.histogram = None
        if fires is None:
            continue
        explanation = Explanation(
            latent_id=latent.id,
            text=text,
            author_kind="model",
            author="lexical",
            prompt_version="1",
        )
        session.add(explanation)
        session.flush()
        latent.explanation_id = explanation.id
        if index < simulated:
            _simulate(session, study, latent, contexts, {k: v[index] for k, v in real.items()})
    session.commit()
    return study


def _contexts(session: Session, study: Study, name: str) -> list[Context]:
    documents = load_documents("sotu")
    shift = 0 if name == "explain" else 1
    rows = []
    for number in range(CONTEXTS[name]):
        document = documents[(2 * number + shift) % len(documents)]
        words = re.findall(r"\s?\w+|\n|\s|[^\w\s]", document.text[:40_000])
        start = 0 if number == 0 else 37 * (number % 7)
        if name == "explain" and number == 1:
            strings = rows[0].strings
        else:
            strings = ["<s>", *words[start : start + LENGTH - 1]]
        row = Context(
            study_id=study.id,
            set=name,
            index=number,
            document=document.name,
            start=start,
            tokens=[sum(map(ord, text)) % 49_152 for text in strings],
            strings=strings,
        )
        rows.append(row)
    session.add_all(rows)
    session.flush()
    return rows


def activations_of(contexts: list[Context]) -> NDArray[np.float32]:
    """Of all latents, shape (latent, context, position)."""
    dense = np.zeros((len(LATENTS), len(contexts), LENGTH), np.float32)
    for index, (_, fires) in enumerate(LATENTS):
        if fires is not None:
            for row, context in enumerate(contexts):
                dense[index, row, 1:] = [
                    fires(text, i) for i, text in enumerate(context.strings[1:])
                ]
    return dense


def store_activations(study: Study, name: str, dense: NDArray[np.float32]) -> ActivationStore:
    """Keep the activations of a set, shape (latent, context, position), as the collect job does."""
    folder = get_settings().activations(study.id, name)
    store = ActivationStore(folder, **study.collected(name))
    flat = dense.reshape(len(dense), -1)
    counts = (flat > 0).sum(1)
    store.write(
        0,
        Shard(
            np.concatenate([[0], counts.cumsum()]),
            np.concatenate([np.flatnonzero(row) for row in flat]).astype(np.int32),
            flat[flat > 0],
            np.zeros(4),
            dense.shape[1] * (dense.shape[2] - 1),
        ),
    )
    return store


def _latent(
    session: Session,
    study: Study,
    index: int,
    contexts: list[Context],
    dense: NDArray[np.float32],
) -> Latent:
    rows, positions = np.nonzero(dense)
    active = LatentActivations(rows, positions, dense[rows, positions])
    values = active.activations
    latent = Latent(
        study_id=study.id,
        index=index,
        firing_rate=len(values) / (len(contexts) * (LENGTH - 1)),
        max_activation=float(values.max(initial=0)),
        mean_activation=float(values.mean()) if len(values) else 0.0,
        quantiles=np.quantile(values, np.linspace(0, 1, 11)).tolist() if len(values) else [],
        histogram=histogram(values),
        promoted=[[f" {1790 + 7 * i}", 2.5 - 0.2 * i] for i in range(10)],
        suppressed=[[text, -1.9 + 0.15 * i] for i, text in enumerate(["\n", " the", "<b>", " of"])],
    )
    session.add(latent)
    session.flush()
    drawn = sample_examples(
        active, contexts=len(contexts), seq=LENGTH, top=6, quantile=8, random=4, seed=index
    )
    tokens = np.array([context.tokens for context in contexts])
    near = sample_hard_negatives(
        active, tokens, Occurrences.of(tokens, first_position=1), first_position=1, count=4, seed=0
    )
    if index == 1:
        drawn = drawn[:-1]
    for example in [*drawn, *near] if len(values) else []:
        session.add(
            Example(
                latent_id=latent.id,
                context_id=contexts[example.context].id,
                kind=example.kind,
                rank=example.rank,
                activations=example.activations.tolist(),
            )
        )
    session.flush()
    return latent


def _simulate(
    session: Session,
    study: Study,
    latent: Latent,
    contexts: dict[str, list[Context]],
    real: dict[str, NDArray[np.float32]],
) -> None:
    rng = np.random.default_rng(latent.index)
    for name, dense in real.items():
        noise = rng.exponential(0.5, dense.shape)
        raw = np.clip(dense / latent.max_activation * 6 + noise, 0, 9).astype(np.float32)
        raw[rng.random(raw.shape) < 0.02] = 5.0
        raw[:, 0] = np.nan
        missing = 0
        if name == "explain" and latent.index == 0:
            raw[:, 23] = np.nan
            missing = len(raw)
        simulation = Simulation(
            explanation_id=latent.explanation_id,
            simulator_id=study.simulator_id,
            set=name,
            context_ids=[context.id for context in contexts[name]],
            values=raw,
            missing=missing,
            failures={"The reply is no JSON list.": missing} if missing else {},
            tokens_read=1000,
            seconds=0.5,
            code_version="test",
        )
        session.add(simulation)
        session.flush()
        if name == "calibrate":
            block = scores.Block.of(session, study, [latent], [simulation])
            scores.calibrate(session, block)
            scores.score(session, block)
