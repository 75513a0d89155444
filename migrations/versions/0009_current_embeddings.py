"""Embeddings are of current explanations, and stand with their latents: search finds no others."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HNSW = {"postgresql_using": "hnsw", "postgresql_ops": {"embedding": "halfvec_cosine_ops"}}


def upgrade() -> None:
    op.add_column("latent", sa.Column("embedding", HALFVEC(384), nullable=True))
    op.execute(
        "UPDATE latent SET embedding = e.embedding FROM explanation e "
        "WHERE e.id = latent.explanation_id AND e.embedding IS NOT NULL"
    )
    op.drop_column("explanation", "embedding")  # its indexes go with it
    op.create_index(
        op.f("ix_latent_not_embedded"),
        "latent",
        ["study_id"],
        postgresql_where=sa.text("embedding IS NULL AND explanation_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_latent_embedding"), "latent", ["embedding"], **HNSW)


def downgrade() -> None:
    op.add_column("explanation", sa.Column("embedding", HALFVEC(384), nullable=True))
    op.execute(
        "UPDATE explanation SET embedding = l.embedding FROM latent l "
        "WHERE l.explanation_id = explanation.id AND l.embedding IS NOT NULL"
    )
    op.drop_column("latent", "embedding")
    op.create_index(
        op.f("ix_explanation_not_embedded"),
        "explanation",
        ["latent_id"],
        postgresql_where=sa.text("embedding IS NULL"),
    )
    op.create_index(op.f("ix_explanation_embedding"), "explanation", ["embedding"], **HNSW)
