"""A study, its latents, its contexts, and the examples of each latent."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, Created, Floats, Id, Json
from models.explanation import Simulator

EMBEDDING = 384
"""Dimensions of an explanation's embedding."""


class Study(Base):
    """One subject model, one sparse coder at one hookpoint, one corpus."""

    __tablename__ = "study"
    __table_args__ = (
        CheckConstraint("dtype IN ('float32', 'bfloat16', 'float16', 'auto')", name="dtype"),
    )

    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(unique=True)
    """Name in addresses: lower-case letters, digits and hyphens."""
    title: Mapped[str]
    model: Mapped[str]
    """Subject model: a folder, a .gguf file, or a hub name."""
    model_revision: Mapped[str | None]
    dtype: Mapped[str] = mapped_column(default="float32")
    """What the model is loaded in, see ``interp.vocabulary.Dtype``. Figures depend on it."""
    coder: Mapped[str]
    """Sparse coder: a checkpoint of any known format, or a hub name."""
    hookpoint: Mapped[str]
    """The site that the coder writes, see :mod:`interp.sources.sites`. Empty until collected, if
    only the coder's files name it."""
    reads: Mapped[str] = mapped_column(default="")
    """The site that it reads. If empty: the one that its files name, or else the input of the
    module written, or for an SAE what it writes."""
    reading: Mapped[str] = mapped_column(default="")
    """How the coder's files are read, if not as they say: one of :mod:`interp.coders.readings`."""
    corpus: Mapped[str]
    context_length: Mapped[int]
    """Tokens in a context, counting the beginning-of-sequence token where there is one."""
    prepend_bos: Mapped[bool]
    leave_out: Mapped[int | None]
    """The first so many positions of a context are left out of collecting, scoring and splicing.
    None leaves out a beginning-of-sequence token alone."""
    contexts_explain: Mapped[int]
    contexts_calibrate: Mapped[int]
    contexts_evaluate: Mapped[int]
    contexts_rewrite: Mapped[int]
    """The first so many evaluate contexts: those on which the whole layer is rewritten. The others
    give rare latents contexts on which their loss effects are measured."""
    seed: Mapped[int]
    simulator_id: Mapped[int | None] = mapped_column(ForeignKey("simulator.id"), index=True)
    """The simulator that edits of this study are measured with."""
    simulator: Mapped[Simulator | None] = relationship(viewonly=True)
    """To read both at once. Another one is chosen by ``simulator_id``."""
    coder_info: Mapped[Json] = mapped_column(default=dict)
    """Known once collected: kind, k (None if the number of active latents is not fixed), rule (the
    active latents, in words), threshold (if it was estimated on the calibrate set), active (their
    mean number on a token of the calibrate set), skip, num_latents, typical_fvu (by which its fit
    was judged, see ``interp.coders.inspection.Candidate``), fvu (fraction of variance unexplained
    on the calibrate set), resumes (False if each condition takes a whole forward pass), dtype (of
    the loaded model), sha256 of the weights, tokens collected, dead latents, code_version,
    text_version (``interp.corpus.documents.TEXT_VERSION`` of its contexts), tokenizer (its
    ``interp.corpus.tokenizer.fingerprint``), documents (read, copies too), unused (rows that are no
    text, by reason: how many, and where the first is), copies (documents left out as such),
    coder_seen (names of calibrate and evaluate documents that the coder was trained on; None where
    its record does not say)."""
    deleted_at: Mapped[datetime | None]
    """Set once a person deleted it: no page shows it any more, its slug is free for another one,
    and a worker removes its rows and files."""
    created_at: Mapped[Created]

    @property
    def first_position(self) -> int:
        """The first position of a context that is analysed."""
        return int(self.prepend_bos) if self.leave_out is None else self.leave_out

    def collected(self, set_name: str) -> dict[str, Any]:
        """The contents of the activation store of one set of contexts, as its arguments.

        The time of creation is part of it: another database may have a study of the same number.
        """
        about = {"study": f"{self.id} of {self.created_at.astimezone(UTC).isoformat()}"}
        if sha256 := self.coder_info.get("sha256"):
            about["coder"] = sha256
        return {
            "seq": self.context_length,
            "contexts": getattr(self, f"contexts_{set_name}"),
            "first_position": self.first_position,
            "latents": self.coder_info.get("num_latents"),
            "about": about,
        }


class Latent(Base):
    """One latent of the study's coder, with its statistics on the explain set."""

    __tablename__ = "latent"
    __table_args__ = (
        UniqueConstraint("study_id", "index"),
        Index(None, "study_id", "firing_rate", "index"),
        Index(None, "study_id", "max_activation", "index"),
        Index(None, "study_id", "mean_activation", "index"),
        Index(None, "explanation_id"),
        Index(
            "ix_latent_not_embedded",
            "study_id",
            postgresql_where=text("embedding IS NULL AND explanation_id IS NOT NULL"),
        ),
        Index(
            None,
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
        ),
    )

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    index: Mapped[int]
    firing_rate: Mapped[float]
    """Share of tokens on which it is among the top k and above zero. 0 for a dead latent."""
    max_activation: Mapped[float]
    mean_activation: Mapped[float]
    """Mean over the tokens on which it fires; 0 for a dead latent."""
    quantiles: Mapped[Floats]
    """Its activation at the quantiles 0, 0.1, …, 1 of the tokens it fires on; empty if dead."""
    promoted: Mapped[list[list[Any]]] = mapped_column(JSONB)
    """Output tokens that its decoder direction raises most: [[token, logit], …]."""
    suppressed: Mapped[list[list[Any]]] = mapped_column(JSONB)
    """Output tokens that its decoder direction lowers most: [[token, logit], …]."""
    histogram: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    """On how many tokens of the explain set its activation is in each of equal parts of the range
    from 0 to its largest; empty if dead. None in a study collected before this was kept."""
    similar: Mapped[list[list[Any]] | None] = mapped_column(JSONB(none_as_null=True))
    """The latents whose decoder directions are nearest to its own: [[index, cosine], …], nearest
    first; empty if dead. None in a study collected before this was kept."""
    explanation_id: Mapped[int | None] = mapped_column(
        ForeignKey("explanation.id", use_alter=True, ondelete="SET NULL")
    )
    """The current explanation: the newest version."""
    embedding: Mapped[NDArray[np.float32] | None] = mapped_column(HALFVEC(EMBEDDING), deferred=True)
    """Of the current explanation, for search by meaning: in half precision, which ranks alike.
    None until a worker made it."""


class LatentList(Base):
    """A list of latents that people keep. The list ``starred`` holds those with a star."""

    __tablename__ = "latent_list"
    __table_args__ = (UniqueConstraint("study_id", "name"),)

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    name: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[Created]


class LatentListItem(Base):
    """A latent on a list."""

    __tablename__ = "latent_list_item"

    list_id: Mapped[int] = mapped_column(
        ForeignKey("latent_list.id", ondelete="CASCADE"), primary_key=True
    )
    latent_id: Mapped[int] = mapped_column(
        ForeignKey("latent.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    created_by: Mapped[str]
    created_at: Mapped[Created]


class Context(Base):
    """A window of tokens of one document, in one of the three disjoint sets."""

    __tablename__ = "context"
    __table_args__ = (
        UniqueConstraint("study_id", "set", "index"),
        CheckConstraint("set IN ('explain', 'calibrate', 'evaluate')", name="set"),
    )

    id: Mapped[Id]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    set: Mapped[str]
    index: Mapped[int]
    document: Mapped[str]
    document_hash: Mapped[str | None]
    """Of the document's normalised text: equal wherever the same text stands. This and the next two
    are None in a study collected before documents were told apart by content."""
    document_sketch: Mapped[str | None]
    """What nearly equal texts have much of in common; see ``interp.corpus.copies``."""
    document_copies: Mapped[int | None]
    """Documents of the corpus that were left out as copies of this one."""
    start: Mapped[int]
    """Offset of its first text token in the document, in tokens."""
    tokens: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    strings: Mapped[list[str]] = mapped_column(JSONB)
    """The text of each token, so that a page can show it without a tokenizer."""


class Example(Base):
    """A context of the explain set with one latent's activations on it."""

    __tablename__ = "example"
    __table_args__ = (
        UniqueConstraint("latent_id", "kind", "rank"),
        CheckConstraint("kind IN ('top', 'quantile', 'random', 'hard_negative')", name="kind"),
    )

    id: Mapped[Id]
    latent_id: Mapped[int] = mapped_column(ForeignKey("latent.id", ondelete="CASCADE"))
    context_id: Mapped[int] = mapped_column(
        ForeignKey("context.id", ondelete="CASCADE"), index=True
    )
    kind: Mapped[str]
    """``top``: largest activations; ``quantile``: spread over the activation distribution;
    ``random``: contexts drawn without regard to the latent; ``hard_negative``: contexts on which
    it is silent, with tokens that it is active on elsewhere."""
    rank: Mapped[int]
    activations: Mapped[Floats]
    """Real activation on each token of the context; 0 where the latent is not active."""
