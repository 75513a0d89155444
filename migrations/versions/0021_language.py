"""Tests of which part of the explanations a simulator goes by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "language_test",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("explanation_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("context_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("baselines", postgresql.JSONB(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_language_test_simulator_id")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_language_test_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_language_test")),
    )
    op.create_index(op.f("ix_language_test_simulator_id"), "language_test", ["simulator_id"])
    op.create_index(op.f("ix_language_test_study_id"), "language_test", ["study_id"])
    op.create_table(
        "language_variant",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("test_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("latent", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("explanations", sa.Integer(), nullable=False),
        sa.Column("nothing_left", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("correlations", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("losses", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("kls", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("figures", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["test_id"],
            ["language_test.id"],
            name=op.f("fk_language_variant_test_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_language_variant")),
        sa.UniqueConstraint("test_id", "place", name=op.f("uq_language_variant_test_id_place")),
    )


def downgrade() -> None:
    op.drop_table("language_variant")
    op.drop_table("language_test")
