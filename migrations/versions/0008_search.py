"""Search: one column for words, with stems and words as they are written, found in quotation marks
too; embeddings in half."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PLAIN = "translate(text, '“”‘’…–—', '       ')"


def upgrade() -> None:
    op.drop_index(op.f("ix_explanation_plain_words"), table_name="explanation")
    words = f"to_tsvector('english', {PLAIN}) || to_tsvector('simple', {PLAIN})"
    _change(words, HALFVEC(384), "halfvec_cosine_ops")


def downgrade() -> None:
    _change("to_tsvector('english', text)", VECTOR(384), "vector_cosine_ops")
    op.create_index(
        op.f("ix_explanation_plain_words"),
        "explanation",
        [sa.text("to_tsvector('simple', text)")],
        postgresql_using="gin",
    )


def _change(words: str, kind: sa.types.TypeEngine[object], distance: str) -> None:
    """Make both columns anew with their indexes; the embeddings are kept."""
    op.drop_index(op.f("ix_explanation_embedding"), table_name="explanation")
    op.drop_column("explanation", "words")  # its index goes with it
    op.alter_column("explanation", "embedding", type_=kind)
    computed = sa.Computed(words, persisted=True)
    op.add_column(
        "explanation", sa.Column("words", postgresql.TSVECTOR(), computed, nullable=False)
    )
    op.create_index(op.f("ix_explanation_words"), "explanation", ["words"], postgresql_using="gin")
    op.create_index(
        op.f("ix_explanation_embedding"),
        "explanation",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": distance},
    )
