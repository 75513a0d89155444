"""The tables that the web app and the workers share."""

from models.base import Base
from models.explanation import Calibration, Explanation, Score, Simulation, Simulator
from models.job import Job
from models.rewrite import Check, Generation, LatentCost, Rewrite, RewritePoint
from models.study import Context, Example, Latent, Study
from models.user import User

__all__ = [
    "Base",
    "Calibration",
    "Check",
    "Context",
    "Example",
    "Explanation",
    "Generation",
    "Job",
    "Latent",
    "LatentCost",
    "Rewrite",
    "RewritePoint",
    "Score",
    "Simulation",
    "Simulator",
    "Study",
    "User",
]
