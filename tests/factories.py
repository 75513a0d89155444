"""A little study in the database, made row by row through the models."""

import uuid
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.corpus.copies import identity
from interp.corpus.documents import TEXT_VERSION
from models import (
    Calibration,
    Check,
    Comment,
    Context,
    Example,
    Explanation,
    Generation,
    Job,
    LanguageTest,
    LanguageVariant,
    Latent,
    LossEffect,
    Score,
    Simulation,
    Simulator,
    Study,
)
from tests.rewrites import rewrite

LENGTH = 12
CONTEXTS = 8
WORDS = [
    "<s>",
    "My",
    " fellow",
    " citizens",
    ",",
    "\n",
    "the",
    " state",
    " of",
    "\t",
    " the",
    " Union",
]
WASHINGTON = identity("".join(WORDS))
"""What the document of all contexts is told apart by."""


def little_study(
    session: Session,
    *,
    latents: int = 6,
    simulated: int = 2,
    rewritten: bool = True,
    simulator: bool = True,
) -> Study:
    """A study whose last latent is dead and whose first ones are simulated.

    Latent 0 has one missing simulated value. With ``latents=0`` nothing is collected yet.
    """
    study = Study(
        slug=f"little-{uuid.uuid4().hex[:8]}",
        title="A little study",
        model="SmolLM2-135M-Instruct.gguf",
        coder="demo/coder",
        hookpoint="layers.10.mlp",
        corpus="sotu",
        context_length=LENGTH,
        prepend_bos=True,
        contexts_explain=CONTEXTS,
        contexts_calibrate=CONTEXTS,
        contexts_evaluate=CONTEXTS,
        contexts_rewrite=CONTEXTS,
        seed=0,
    )
    session.add(study)
    session.flush()
    if simulator:
        study.simulator_id = _simulator(session).id
    if latents:
        study.coder_info = {
            "kind": "transcoder",
            "k": 32,
            "num_latents": latents,
            "fvu": 0.2,
            "text_version": TEXT_VERSION,
        }
        contexts = [_context(session, study, number) for number in range(CONTEXTS)]
        made = [
            _latent(session, study, index, contexts, index == latents - 1)
            for index in range(latents)
        ]
        if study.simulator_id is not None:
            for latent in made[:simulated]:
                simulate(session, study, latent, contexts)
            if rewritten and simulated:
                rewrite(session, study, made[:simulated])
    session.commit()
    return study


def _simulator(session: Session) -> Simulator:
    simulator = Simulator(
        method="all_at_once", model="little", prompt_version="1", options={"test": uuid.uuid4().hex}
    )
    session.add(simulator)
    session.flush()
    return simulator


def _context(session: Session, study: Study, number: int) -> Context:
    context = Context(
        study_id=study.id,
        set="explain",
        index=number,
        document="Washington 1790",
        document_hash=WASHINGTON.hash,
        document_sketch=WASHINGTON.sketch,
        document_copies=0,
        start=number * (LENGTH - 1),
        tokens=list(range(LENGTH)),
        strings=WORDS,
    )
    session.add(context)
    session.flush()
    return context


def _latent(
    session: Session, study: Study, index: int, contexts: list[Context], dead: bool
) -> Latent:
    top = 0.0 if dead else 10.0 - index
    latent = Latent(
        study_id=study.id,
        index=index,
        firing_rate=0.0 if dead else 0.01 * (index + 1),
        max_activation=top,
        mean_activation=top / 2,
        quantiles=[] if dead else list(np.linspace(0.1, top, 11)),
        promoted=[] if dead else [[" Union", 2.5], [" state", 2.0]],
        suppressed=[] if dead else [["<b>", -2.5]],
    )
    session.add(latent)
    session.flush()
    if dead:
        return latent
    for kind, at in (("top", 0), ("quantile", 1), ("random", 2)):
        activations = [0.0] * LENGTH
        activations[3 + at] = top / (at + 1)
        session.add(
            Example(
                latent_id=latent.id,
                context_id=contexts[at].id,
                kind=kind,
                rank=0,
                activations=activations,
            )
        )
    explanation = Explanation(
        latent_id=latent.id,
        text=f"fires on word number {index}, 100%_sure",
        author_kind="model",
        author="lexical",
        prompt_version="1",
    )
    session.add(explanation)
    session.flush()
    latent.explanation_id = explanation.id
    return latent


def simulate(session: Session, study: Study, latent: Latent, contexts: list[Context]) -> None:
    """Give the current explanation of a latent everything that a simulate job would."""
    rng = np.random.default_rng(latent.index)
    assert latent.explanation_id is not None
    assert study.simulator_id is not None
    of = {"explanation_id": latent.explanation_id, "simulator_id": study.simulator_id}
    for name in ("explain", "calibrate", "evaluate"):
        values = rng.uniform(0, 9, (CONTEXTS, LENGTH)).round(2).astype(np.float32)
        values[:, 0] = np.nan
        missing = int(name == "explain" and latent.index == 0)
        if missing:
            values[0, 5] = np.nan
        simulation = Simulation(
            **of,
            set=name,
            context_ids=[context.id for context in contexts],
            values=values,
            missing=missing,
            failures={"The reply is no JSON list.": missing} if missing else {},
            tokens_read=1000,
            seconds=0.5,
            code_version="test",
        )
        session.add(simulation)
        session.flush()
        if name == "calibrate":
            session.add(
                Calibration(
                    simulation_id=simulation.id,
                    method="isotonic",
                    x=[0.0, 4.5, 9.0],
                    y=[0.0, 0.5, 5.0],
                    tokens=CONTEXTS * (LENGTH - 1),
                )
            )
    tokens = CONTEXTS * (LENGTH - 1)
    for name, value in (("correlation", 0.5 - 0.1 * latent.index), ("specificity", 0.99)):
        session.add(
            Score(
                **of,
                name=name,
                value=value,
                low=value - 0.1,
                high=value + 0.1,
                n=tokens,
                details={"active": 4},
            )
        )
    session.add(Score(**of, name="sensitivity", value=None, n=tokens, details={"active": 0}))
    for condition, calibration, mean in (
        ("zeroed", "", 0.002),
        ("rewritten", "none", 0.004),
        ("rewritten", "linear", 0.003),
        ("rewritten", "quantile", 0.0015),
        ("rewritten", "isotonic", 0.001 + 0.001 * latent.index),
    ):
        fires = {"fires_mean": 4 * mean, "fires_low": 2 * mean, "fires_high": 8 * mean}
        session.add(
            LossEffect(
                **of,
                condition=condition,
                calibration=calibration,
                context_ids=[context.id for context in contexts[:6]],
                strata=["fires", "fires", "predicted", "silent", "silent", "silent"],
                weights={"fires": 0.25, "predicted": 0.125, "silent": 0.625},
                differences=[4 * mean, 4 * mean, 0.0, 0.0, 0.0, 0.0],
                mean=mean,
                low=mean / 2,
                high=mean * 2,
                **fires,
            )
        )


def new_explanation(session: Session, latent: Latent, text: str) -> Explanation:
    """Make an explanation that a person wrote the current one; nothing has simulated it yet."""
    reworded = Explanation(
        latent_id=latent.id,
        text=text,
        author_kind="person",
        author="ana",
        parent_id=latent.explanation_id,
    )
    session.add(reworded)
    session.flush()
    latent.explanation_id = reworded.id
    return reworded


def reword(session: Session, study: Study, index: int) -> LossEffect:
    """Give a latent a new explanation that is simulated: its isotonic effect, not compared yet."""
    latent = session.scalars(select(Latent).filter_by(study_id=study.id, index=index)).one()
    contexts = session.scalars(select(Context).filter_by(study_id=study.id).order_by(Context.id))
    reworded = new_explanation(session, latent, "another")
    simulate(session, study, latent, list(contexts))
    session.commit()
    effects = select(LossEffect).filter_by(explanation_id=reworded.id, calibration="isotonic")
    return session.scalars(effects).one()


def generation(session: Session, study: Study, latents: list[Latent]) -> Generation:
    """A generation of which the first two continuations are written, and its running job."""
    job = Job(study_id=study.id, kind="generate", status="running", created_by="test")
    session.add(job)
    session.flush()
    made = Generation(
        study_id=study.id,
        job_id=job.id,
        simulator_id=study.simulator_id,
        prompt="My fellow\n citizens",
        explanation_ids=[latent.explanation_id for latent in latents],
        calibration="isotonic",
        new_tokens=4,
        temperature=0.0,
        seed=0,
        prompt_tokens=4,
        continuations={
            name: {"tokens": tokens, "simulations": 0, "missing": 0, "seconds": 0.25}
            for name, tokens in {
                "untouched": [",", " the", " state", " of"],
                "zero": [",", " of", " state"],
            }.items()
        },
        code_version="test",
        created_by="test",
    )
    session.add(made)
    session.flush()
    job.params = {"generation_id": made.id}
    session.commit()
    return made


def commented(session: Session, latent: Latent) -> Comment:
    """A comment by the person of the tests on the current explanation of a latent."""
    comment = Comment(explanation_id=latent.explanation_id, author="local", text="not always")
    session.add(comment)
    session.commit()
    return comment


def check(session: Session, study: Study, **outcomes: str) -> Job:
    """A finished check job with the outcome of each named check."""
    job = Job(study_id=study.id, kind="check", status="finished", created_by="test")
    session.add(job)
    session.flush()
    for name, outcome in outcomes.items():
        session.add(
            Check(
                study_id=study.id,
                job_id=job.id,
                name=name,
                outcome=outcome,
                detail=f"what {name} compares",
                code_version="test",
            )
        )
    session.commit()
    return job


def language_test(session: Session, study: Study) -> LanguageTest:
    """A finished language test: three variants by rule, and one of a file."""

    def share(value: float | None) -> dict[str, float | None]:
        if value is None:
            return dict.fromkeys(("value", "low", "high"))
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    contexts = session.scalars(select(Context.id).filter_by(study_id=study.id, set="evaluate"))
    context_ids = list(contexts)
    current = select(Latent.explanation_id).where(
        Latent.study_id == study.id, Latent.explanation_id.is_not(None)
    )
    ids = list(session.scalars(current))
    flat = {"losses": [3.0] * len(context_ids), "kls": [0.1] * len(context_ids)}
    test = LanguageTest(
        study_id=study.id,
        simulator_id=study.simulator_id,
        explanation_ids=ids,
        context_ids=context_ids,
        seed=0,
        baselines={
            name: {**flat, "increase": share(increase), "kl": share(increase)}
            for name, increase in (("untouched", 0.0), ("real_latents", 0.1), ("set_zeroed", 0.5))
        },
        code_version="test",
    )
    session.add(test)
    session.flush()
    for place, (name, kept) in enumerate(
        [("original", 1.0), ("quoted", 0.8), ("prose", None), ("paraphrase 1", 0.95)]
    ):
        session.add(
            LanguageVariant(
                test_id=test.id,
                place=place,
                name=name,
                given=name.startswith("paraphrase"),
                latent=0,
                text=f"the text of <{name}>",
                explanations=len(ids) - place // 3,
                nothing_left=place % 2,
                missing=place // 3,
                correlations=[0.5] * len(ids),
                figures={
                    "correlation": share(None if kept is None else kept / 2),
                    "kept": share(kept),
                    "increase": share(0.12),
                    "kl": share(0.2),
                    "recovered": share(kept),
                },
                **flat,
            )
        )
    session.commit()
    return test


def page_job(db: Session, study: Study, **values: object) -> Job:
    job = Job(**{"study_id": study.id, "kind": "simulate", "created_by": "ana", **values})
    if job.status == "running":
        job.attempts, job.started_at = 1, datetime.now(UTC)
    db.add(job)
    db.commit()
    return job
