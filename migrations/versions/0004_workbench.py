"""Search by words and by meaning, lists of latents, comments, logs of jobs."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "latent_list",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_latent_list_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latent_list")),
        sa.UniqueConstraint("study_id", "name", name=op.f("uq_latent_list_study_id_name")),
    )
    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_event_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_event")),
    )
    op.create_index(op.f("ix_job_event_job_id"), "job_event", ["job_id"], unique=False)
    op.create_table(
        "latent_list_item",
        sa.Column("list_id", sa.BigInteger(), nullable=False),
        sa.Column("latent_id", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["latent_id"],
            ["latent.id"],
            name=op.f("fk_latent_list_item_latent_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["latent_list.id"],
            name=op.f("fk_latent_list_item_list_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("list_id", "latent_id", name=op.f("pk_latent_list_item")),
    )
    op.create_index(
        op.f("ix_latent_list_item_latent_id"), "latent_list_item", ["latent_id"], unique=False
    )
    op.create_table(
        "comment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("explanation_id", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["explanation_id"],
            ["explanation.id"],
            name=op.f("fk_comment_explanation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comment")),
    )
    op.create_index(op.f("ix_comment_explanation_id"), "comment", ["explanation_id"], unique=False)
    op.add_column(
        "explanation",
        sa.Column(
            "words",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('english', text)", persisted=True),
            nullable=False,
        ),
    )
    op.add_column(
        "explanation",
        sa.Column("embedding", Vector(384), nullable=True),
    )
    op.create_index(
        op.f("ix_explanation_embedding"),
        "explanation",
        ["embedding"],
        unique=False,
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    )
    op.create_index(
        op.f("ix_explanation_words"), "explanation", ["words"], unique=False, postgresql_using="gin"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_explanation_words"), table_name="explanation", postgresql_using="gin")
    op.drop_index(
        op.f("ix_explanation_embedding"),
        table_name="explanation",
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    )
    op.drop_column("explanation", "embedding")
    op.drop_column("explanation", "words")
    op.drop_index(op.f("ix_comment_explanation_id"), table_name="comment")
    op.drop_table("comment")
    op.drop_index(op.f("ix_latent_list_item_latent_id"), table_name="latent_list_item")
    op.drop_table("latent_list_item")
    op.drop_index(op.f("ix_job_event_job_id"), table_name="job_event")
    op.drop_table("job_event")
    op.drop_table("latent_list")
