"""The demo studies: a small real model, real coders, a real corpus, a simulator trained for one."""

from sqlalchemy.orm import Session

from app.services.simulators.adding import add_simulator
from app.services.simulators.schemas import SimulatorCreate
from app.services.simulators.shipped import shipped_for, shipped_simulator
from app.services.studies.queries import MEASURED_ALONE
from jobs.params import CollectParams, ExplainParams
from jobs.queue import enqueue
from models import Study
from models.shipped import DEMO

MODEL = "smollm2-135m-instruct"
"""The subject model. The one under the simulator is another one, so that the two do not agree
because they are one."""
BASE = shipped_for(MODEL).base
"""The model under the simulator."""
FIRST_LATENTS = 4096
"""Latents simulated at once, which are all."""


def create_demo(session: Session, user: str) -> Study:
    """Create the demo studies and queue their collections, which the other jobs follow. Fetch their
    models first.

    The first study is of a transcoder on an MLP, the second of a sparse autoencoder on the residual
    stream after the same layer. The jobs of the second are in the background: they never delay the
    chart of the first.

    Latents get two explanations: one that counts words, and a plain sentence, which is the current
    one. Beside the trained simulator there is a prompted one to compare with. It calibrates on
    fewer contexts, because it takes seconds for each latent.

    Returns:
        The first study.
    """
    prompted = SimulatorCreate(method="all_at_once", model=BASE, calibrate_contexts=24)
    add_simulator(session, prompted)
    simulator_id = shipped_simulator(session, MODEL).id
    first = _study(
        "demo", "State of the Union · SmolLM2-135M layer 10", "coder", "layers.10.mlp", simulator_id
    )
    second = _study(
        "demo-residual",
        "State of the Union · SmolLM2-135M residual stream, layer 10",
        "coder_residual",
        "layers.10",
        simulator_id,
    )
    session.add_all([second, first])  # the list of studies has the newest on top
    session.flush()
    enqueue(session, first, _order("explanations.jsonl"), by=user)
    enqueue(session, second, _order("explanations_residual.jsonl"), by=user, in_background=True)
    return first


def _study(slug: str, title: str, coder: str, hookpoint: str, simulator_id: int) -> Study:
    """A study of the demo. All have the same model, text and simulator.

    Args:
        coder: A folder in ``demo``.
    """
    return Study(
        slug=slug,
        title=title,
        model=MODEL,
        coder=str(DEMO / coder),
        hookpoint=hookpoint,
        corpus="sotu",
        context_length=34,
        prepend_bos=True,
        contexts_explain=4000,
        contexts_calibrate=256,
        contexts_evaluate=512,
        contexts_rewrite=64,
        seed=0,
        simulator_id=simulator_id,
    )


def _order(sentences: str) -> CollectParams:
    """The collection of a study and what follows it.

    Args:
        sentences: A file in ``demo`` with its plain sentences.
    """
    return CollectParams(
        explain=(
            ExplainParams(method="lexical"),
            ExplainParams(method="file", path=str(DEMO / sentences)),
        ),
        first_latents=FIRST_LATENTS,
        individually=MEASURED_ALONE,
    )
