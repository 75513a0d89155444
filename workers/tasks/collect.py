"""Collect the activations of a study's coder, and put its latents and their examples in tables."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session
from transformers import PreTrainedTokenizerBase

from interp.coders.capture import collect
from interp.coders.check import check_coder
from interp.coders.protocol import Coder, fingerprint
from interp.coders.similar import similar
from interp.corpus.activations import LatentActivations
from interp.corpus.contexts import ContextSet, draw_sets, split_corpus
from interp.corpus.copies import identity
from interp.corpus.examples import Occurrences, sample_examples, sample_near_misses
from interp.errors import InputError
from interp.model.subject import Subject, output_head
from interp.rewriting.admission import check_resuming
from interp.simulate.prompted import all_at_once
from models import Context, Example, Job, Latent, Simulator, Study
from workers.jobs import Progress
from workers.queue import publish, submit
from workers.resources import coder_of, corpus_of, store_of, subject_of
from workers.tasks.rows import context_tokens, first_position, token_alone, token_texts
from workers.tasks.text_facts import text_facts
from workers.version import code_version

SHARD = 512
"""Contexts in a shard: a few seconds of work on a CPU."""
BLOCK = 512
"""Latents whose statistics and examples are made at once."""
EXAMPLES = {"top": 5, "quantile": 3, "random": 2}
NEAR_MISSES = 3
PROMOTED = 10
SIMILAR = 10
BINS = 40
"""Bars of a latent's histogram."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Collect what is missing; then queue the explain job, if the study never had one."""
    if job.params.get("anew"):
        _forget(session, job, study)
    subject, coder = subject_of(study), coder_of(study)
    _make_contexts(session, study, subject.tokenizer)
    if not study.coder_info:
        _check_coder(session, study, subject, coder)
    elif study.coder_info.get("sha256", "") not in ("", fingerprint(coder)):
        raise InputError(
            f"The coder at {study.coder!r} is not the one that this study was collected with: its "
            "weights have changed. Put the old ones back, or make a new study."
        )
    yield from _collect(session, study, subject, coder)
    yield from _make_latents(session, study, subject, coder)
    yield from _complete_latents(session, study, coder)
    if study.simulator_id is None:
        study.simulator_id = _default_simulator(session, study).id
    dead = select(func.count()).where(Latent.study_id == study.id, Latent.max_activation == 0)
    tokens, _ = store_of(study, ContextSet.EXPLAIN).summary()
    study.coder_info = {**study.coder_info, "tokens": tokens, "dead": session.scalar(dead)}
    session.commit()
    publish(study.id, "latents")
    if session.scalar(select(Job.id).filter_by(study_id=study.id, kind="explain").limit(1)):
        return
    first, *following = job.params.get("explain", [{"method": "lexical"}])
    kept = {name: job.params[name] for name in ("first_latents", "costs") if name in job.params}
    params = {**kept, **first, "following": following}
    submit(
        session,
        Job(study_id=study.id, kind="explain", params=params, created_by=job.created_by),
    )


def _forget(session: Session, job: Job, study: Study) -> None:
    """Forget what was collected before the study was corrected: other text, or another model."""
    for context_set in ContextSet:
        shutil.rmtree(store_of(study, context_set).folder, ignore_errors=True)
    session.execute(delete(Context).where(Context.study_id == study.id))
    job.params = {name: value for name, value in job.params.items() if name != "anew"}
    session.commit()


def _make_contexts(session: Session, study: Study, tokenizer: PreTrainedTokenizerBase) -> None:
    if session.scalar(select(func.count()).where(Context.study_id == study.id)):
        return
    limits = {
        ContextSet.EXPLAIN: study.contexts_explain,
        ContextSet.CALIBRATE: study.contexts_calibrate,
        ContextSet.EVALUATE: study.contexts_evaluate,
    }

    sets, copies = split_corpus(corpus_of(study), study.seed)
    contexts = draw_sets(
        sets,
        tokenizer,
        limits,
        length=study.context_length,
        prepend_bos=study.prepend_bos,
        seed=study.seed,
    )
    used = {context.document for context in contexts}
    identities = {
        name: identity(text) for part in sets.values() for name, text in part if name in used
    }
    numbers: Counter[ContextSet] = Counter()
    rows: list[dict[str, Any]] = []
    for context in contexts:
        rows.append(
            {
                "study_id": study.id,
                "set": str(context.set),
                "index": numbers[context.set],
                "document": context.document,
                "document_hash": identities[context.document].hash,
                "document_sketch": identities[context.document].sketch,
                "document_copies": len(copies.get(context.document, ())),
                "start": context.start,
                "tokens": context.tokens,
                "strings": token_texts(tokenizer, context.tokens),
            }
        )
        numbers[context.set] += 1
    session.execute(insert(Context), rows)
    session.commit()


def _check_coder(session: Session, study: Study, subject: Subject, coder: Coder) -> None:
    _, tokens = context_tokens(session, study, ContextSet.CALIBRATE)
    unexplained = check_coder(coder, subject, tokens, first_position=first_position(study))
    check_resuming(subject, coder, tokens, first_position=first_position(study))
    study.coder_info = {
        "kind": coder.kind,
        "k": coder.k,
        "skip": coder.skip,
        "num_latents": coder.num_latents,
        "fvu": unexplained,
        "sha256": fingerprint(coder),
        "code_version": code_version(),
        **text_facts(session, study),
    }
    session.commit()
    publish(study.id, "latents")


def _collect(session: Session, study: Study, subject: Subject, coder: Coder) -> Iterator[Progress]:
    stores = {context_set: store_of(study, context_set) for context_set in ContextSet}
    missing = {context_set: store.missing() for context_set, store in stores.items()}
    total = sum(store.contexts for store in stores.values())
    done = total - sum(len(gap) for gaps in missing.values() for gap in gaps)
    for context_set, gaps in missing.items():
        _, tokens = context_tokens(session, study, context_set)
        for start, stop in _shards(gaps):
            collected = collect(
                subject,
                coder,
                tokens[start:stop],
                first_position=first_position(study),
                first_context=start,
            )
            stores[context_set].write(start, collected)
            done += stop - start
            yield Progress(done, total, "contexts", "collecting activations")
        stores[context_set].remove_strays()


def _shards(gaps: list[range]) -> Iterator[tuple[int, int]]:
    """First and last context of the shards that fill gaps."""
    for gap in gaps:
        for start in range(gap.start, gap.stop, SHARD):
            yield start, min(start + SHARD, gap.stop)


def _make_latents(
    session: Session, study: Study, subject: Subject, coder: Coder
) -> Iterator[Progress]:
    store = store_of(study, ContextSet.EXPLAIN)
    ids, ids_of_tokens = context_tokens(session, study, ContextSet.EXPLAIN)
    words, first = ids_of_tokens.numpy(), first_position(study)
    occurrences = Occurrences.of(words, first_position=first)
    collected, _ = store.summary()
    made = session.scalar(select(func.count()).where(Latent.study_id == study.id)) or 0
    for start in range(made, coder.num_latents, BLOCK):
        block = range(start, min(start + BLOCK, coder.num_latents))
        tokens = _output_tokens(subject, coder, block)
        latents, examples = [], []
        for index, activations in zip(block, store.read(block), strict=True):
            latents.append(
                {
                    "study_id": study.id,
                    "index": index,
                    **_statistics(activations, collected),
                    **tokens[index - start],
                }
            )
            seed = study.seed + index
            drawn = sample_examples(
                activations, contexts=len(ids), seq=study.context_length, seed=seed, **EXAMPLES
            )
            shown = {example.context for example in drawn}
            near = sample_near_misses(
                activations,
                words,
                occurrences,
                first_position=first,
                count=NEAR_MISSES + EXAMPLES["random"],
                seed=seed,
            )
            # One of them may have been drawn at random too.
            near = [example for example in near if example.context not in shown][:NEAR_MISSES]
            examples.append([*drawn, *near])
        inserted = insert(Latent).returning(Latent.id, sort_by_parameter_order=True)
        latent_ids = session.scalars(inserted, latents)
        rows = [
            {
                "latent_id": latent_id,
                "context_id": ids[example.context],
                "kind": example.kind,
                "rank": example.rank,
                "activations": example.activations.tolist(),
            }
            for latent_id, sampled in zip(latent_ids, examples, strict=True)
            for example in sampled
        ]
        session.execute(insert(Example), rows)
        session.commit()
        yield Progress(block.stop, coder.num_latents, "latents", "choosing examples")


def _complete_latents(session: Session, study: Study, coder: Coder) -> Iterator[Progress]:
    """What takes all latents to be there, and what studies collected by older versions lack."""
    own = Latent.study_id == study.id
    alive = torch.zeros(coder.num_latents, dtype=torch.bool)
    alive[list(session.scalars(select(Latent.index).where(own, Latent.max_activation > 0)))] = True
    store = store_of(study, ContextSet.EXPLAIN)
    for start in range(0, coder.num_latents, BLOCK):
        block = range(start, min(start + BLOCK, coder.num_latents))
        lacking = (
            select(Latent.id, Latent.index, Latent.histogram)
            .where(own, Latent.index.between(block.start, block.stop - 1))
            .where(Latent.similar.is_(None) | Latent.histogram.is_(None))
        )
        rows = session.execute(lacking).all()
        if not rows:
            continue
        found = similar(coder.decoder, block, alive=alive, count=SIMILAR)
        values: list[dict[str, Any]] = [
            {
                "id": latent_id,
                "similar": [
                    [other, cosine]
                    for other, cosine in zip(
                        found.indices[index - start].tolist(),
                        found.cosines[index - start].tolist(),
                        strict=True,
                    )
                    if cosine > -torch.inf
                ],
                "histogram": counts,
            }
            for latent_id, index, counts in rows
        ]
        if any(counts is None for _, _, counts in rows):
            activations = list(store.read(block))
            for (_, index, counts), value in zip(rows, values, strict=True):
                if counts is None:
                    value["histogram"] = histogram(activations[index - start].activations)
        session.execute(update(Latent), values)
        session.commit()
        yield Progress(block.stop, coder.num_latents, "latents", "comparing directions")


def histogram(activations: NDArray[np.float32]) -> list[int]:
    """How many activations are in each of equal parts of the range from 0 to the largest."""
    if not len(activations):
        return []
    counts, _ = np.histogram(activations, BINS, (0, float(activations.max())))
    return [int(count) for count in counts]


def _statistics(latent: LatentActivations, tokens: int) -> dict[str, Any]:
    active = torch.from_numpy(latent.activations)
    if not len(active):
        return {
            "firing_rate": 0.0,
            "max_activation": 0.0,
            "mean_activation": 0.0,
            "quantiles": [],
            "histogram": [],
        }
    return {
        "firing_rate": len(active) / tokens,
        "max_activation": float(active.max()),
        "mean_activation": float(active.mean()),
        "quantiles": active.quantile(torch.linspace(0, 1, 11)).tolist(),
        "histogram": histogram(latent.activations),
    }


@torch.inference_mode()
def _output_tokens(subject: Subject, coder: Coder, block: range) -> list[dict[str, Any]]:
    """The output tokens that each latent's decoder direction raises and lowers most."""
    logits = coder.decoder[block.start : block.stop] @ output_head(subject.model).float().mT
    found: dict[str, list[list[list[Any]]]] = {}
    for name, largest in (("promoted", True), ("suppressed", False)):
        top = logits.topk(PROMOTED, largest=largest)
        found[name] = [
            [
                [token_alone(subject.tokenizer, token), value]
                for token, value in zip(tokens, values, strict=True)
            ]
            for tokens, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
    return [
        {"promoted": up, "suppressed": down}
        for up, down in zip(found["promoted"], found["suppressed"], strict=True)
    ]


def _default_simulator(session: Session, study: Study) -> Simulator:
    """The prompted simulator on the study's own model: what is there on any machine."""
    wanted = {
        "method": "all_at_once",
        "model": str(Path(study.model)) if Path(study.model).exists() else study.model,
        "prompt_version": all_at_once.VERSION,
        "options": {},
    }
    found = session.scalar(select(Simulator).filter_by(**wanted))
    if found is None:
        found = Simulator(**wanted)
        session.add(found)
        session.flush()
    return found
