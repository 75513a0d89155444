"""Texts that people type, with what fires on them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Created, Id, Json


class Sentence(Base):
    """A text, the latents that fire on it, and what explanations predict on it."""

    __tablename__ = "sentence"

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[int | None] = mapped_column(
        ForeignKey("job.id", ondelete="SET NULL"), index=True
    )
    simulator_id: Mapped[int | None] = mapped_column(ForeignKey("simulator.id"), index=True)
    """None where the study had no simulator: then nothing is simulated."""
    text: Mapped[str]
    tokens: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list)
    """Empty until a worker has read the text. With the beginning-of-sequence token, if any."""
    strings: Mapped[list[str]] = mapped_column(JSONB, default=list)
    """The text of each token."""
    active: Mapped[list[list[list[float]]]] = mapped_column(JSONB, default=list)
    """Of each token the active latents, strongest first: [[index, activation], …]. None on the
    beginning-of-sequence token, which is never analysed."""
    simulated: Mapped[Json] = mapped_column(default=dict)
    """By the number of an explanation, as text: ``values``, one raw value a token, null where there
    is none, and ``failures``, why, with how many for each reason."""
    code_version: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[Created]

    def activations(self, latent: int) -> list[float]:
        """One latent's activation on each token, 0 where it is not active."""
        return [
            next((value for index, value in active if index == latent), 0.0)
            for active in self.active
        ]

    def simulation(self, explanation_id: int) -> dict[str, Any] | None:
        """The simulated values of an explanation on this text, if they were requested."""
        found: dict[str, Any] | None = self.simulated.get(str(explanation_id))
        return found
