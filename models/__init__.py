"""The tables that the web app and the workers share."""

from models.base import Base
from models.explanation import Calibration, Comment, Explanation, Score, Simulation, Simulator
from models.job import Job, JobEvent
from models.language import LanguageTest, LanguageVariant
from models.rewrite import (
    Attribution,
    AttributionPart,
    BudgetEntry,
    Check,
    EstimatedEffect,
    Generation,
    LossEffect,
    Rewrite,
    RewritePoint,
)
from models.sentence import Sentence
from models.study import Context, Example, Latent, LatentList, LatentListItem, Study
from models.user import ApiToken, User, UserIdentity, UserSession

__all__ = [
    "ApiToken",
    "Attribution",
    "AttributionPart",
    "Base",
    "BudgetEntry",
    "Calibration",
    "Check",
    "Comment",
    "Context",
    "EstimatedEffect",
    "Example",
    "Explanation",
    "Generation",
    "Job",
    "JobEvent",
    "LanguageTest",
    "LanguageVariant",
    "Latent",
    "LatentList",
    "LatentListItem",
    "LossEffect",
    "Rewrite",
    "RewritePoint",
    "Score",
    "Sentence",
    "Simulation",
    "Simulator",
    "Study",
    "User",
    "UserIdentity",
    "UserSession",
]
