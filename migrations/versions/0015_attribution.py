"""First-order estimates of the loss effects of all latents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attribution",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("explanation_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("context_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_attribution_simulator_id")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_attribution_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribution")),
    )
    op.create_index(op.f("ix_attribution_simulator_id"), "attribution", ["simulator_id"])
    op.create_index(
        op.f("ix_attribution_study_id_simulator_id_id"),
        "attribution",
        ["study_id", "simulator_id", "id"],
    )
    op.create_table(
        "attribution_part",
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("effects", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attribution_id"],
            ["attribution.id"],
            name=op.f("fk_attribution_part_attribution_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("attribution_id", "start", name=op.f("pk_attribution_part")),
    )
    op.create_table(
        "estimated_effect",
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.Text(), nullable=False),
        sa.Column("explanation_id", sa.BigInteger(), nullable=False),
        sa.Column("effects", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("mean", sa.REAL(), nullable=True),
        sa.Column("low", sa.REAL(), nullable=True),
        sa.Column("high", sa.REAL(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attribution_id"],
            ["attribution.id"],
            name=op.f("fk_estimated_effect_attribution_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["explanation_id"],
            ["explanation.id"],
            name=op.f("fk_estimated_effect_explanation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "attribution_id", "point", "explanation_id", name=op.f("pk_estimated_effect")
        ),
    )
    op.create_index(
        op.f("ix_estimated_effect_explanation_id_attribution_id"),
        "estimated_effect",
        ["explanation_id", "attribution_id"],
    )
    op.create_index(
        op.f("ix_estimated_effect_attribution_id_point_mean_explanation_id"),
        "estimated_effect",
        ["attribution_id", "point", "mean", "explanation_id"],
    )


def downgrade() -> None:
    for table in ("estimated_effect", "attribution_part", "attribution"):
        op.drop_table(table)
