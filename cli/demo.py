"""The demo study: a small real model, a real coder, a real corpus, a simulator trained for it."""

from sqlalchemy.orm import Session

from app.services.simulators.adding import add_simulator
from app.services.simulators.schemas import SimulatorCreate
from app.services.simulators.shipped import BASE, shipped_simulator
from app.services.studies.queries import MEASURED_ALONE
from jobs.params import CollectParams, ExplainParams
from jobs.queue import enqueue
from models import Study
from models.shipped import DEMO

MODEL = "smollm2-135m-instruct"
"""The subject model. The one under the simulator is another one, so that the two do not agree
because they are one."""
FIRST_LATENTS = 4096
"""Latents simulated at once, which are all."""


def create_demo(session: Session, user: str) -> Study:
    """Create the demo study and queue its collection, which the other jobs follow. Fetch its models
    first.

    Latents get two explanations: one that counts words, and a plain sentence, which is the current
    one. Beside the trained simulator there is a prompted one to compare with. It calibrates on
    fewer contexts, because it takes seconds for each latent.
    """
    prompted = SimulatorCreate(method="all_at_once", model=BASE, calibrate_contexts=24)
    add_simulator(session, prompted)
    study = Study(
        slug="demo",
        title="State of the Union · SmolLM2-135M layer 10",
        model=MODEL,
        coder=str(DEMO / "coder"),
        hookpoint="layers.10.mlp",
        corpus="sotu",
        context_length=34,
        prepend_bos=True,
        contexts_explain=4000,
        contexts_calibrate=256,
        contexts_evaluate=512,
        contexts_rewrite=64,
        seed=0,
        simulator_id=shipped_simulator(session).id,
    )
    session.add(study)
    session.flush()
    order = CollectParams(
        explain=(
            ExplainParams(method="lexical"),
            ExplainParams(method="file", path=str(DEMO / "explanations.jsonl")),
        ),
        first_latents=FIRST_LATENTS,
        individually=MEASURED_ALONE,
    )
    enqueue(session, study, order, by=user)
    return study
