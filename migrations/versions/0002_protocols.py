"""Protocols, orderings and statistics; checks and generations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PROTOCOL = "protocol IN ('paper', 'whole')"


def upgrade() -> None:
    op.create_table(
        "check",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_check_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_check_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check")),
    )
    op.create_index(op.f("ix_check_study_id"), "check", ["study_id"], unique=False)
    op.create_table(
        "generation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("explanation_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("calibration", sa.Text(), nullable=False),
        sa.Column("new_tokens", sa.Integer(), nullable=False),
        sa.Column("temperature", sa.REAL(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("continuations", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_generation_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_generation_simulator_id")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_generation_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    op.create_index(op.f("ix_generation_study_id"), "generation", ["study_id"], unique=False)
    # Older costs do not say where their latent fired. Simulating again measures them anew.
    op.execute("DELETE FROM latent_cost")
    op.add_column(
        "latent_cost", sa.Column("context_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False)
    )
    op.add_column("latent_cost", sa.Column("strata", postgresql.ARRAY(sa.Text()), nullable=False))
    op.add_column(
        "latent_cost", sa.Column("weights", postgresql.JSONB(astext_type=sa.Text()), nullable=False)
    )
    op.add_column(
        "latent_cost", sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.add_column("latent_cost", sa.Column("fires_mean", sa.REAL(), nullable=True))
    op.add_column("latent_cost", sa.Column("fires_low", sa.REAL(), nullable=True))
    op.add_column("latent_cost", sa.Column("fires_high", sa.REAL(), nullable=True))
    op.alter_column("latent_cost", "mean", existing_type=sa.REAL(), nullable=True)
    op.alter_column("latent_cost", "low", existing_type=sa.REAL(), nullable=True)
    op.alter_column("latent_cost", "high", existing_type=sa.REAL(), nullable=True)
    op.drop_column("latent_cost", "contexts_run")
    op.drop_constraint(op.f("ck_rewrite_positions"), "rewrite", type_="check")
    op.alter_column("rewrite", "positions", new_column_name="protocol")
    op.execute(
        "UPDATE rewrite SET protocol = CASE protocol WHEN 'all' THEN 'whole' ELSE 'paper' END"
    )
    op.create_check_constraint(op.f("ck_rewrite_protocol"), "rewrite", PROTOCOL)
    op.add_column("rewrite", sa.Column("orderings", postgresql.JSONB(astext_type=sa.Text())))
    op.execute(
        "UPDATE rewrite SET orderings = jsonb_build_object('score', to_jsonb(explanation_ids))"
    )
    op.alter_column("rewrite", "orderings", nullable=False)
    op.add_column("rewrite_point", sa.Column("ordering", sa.Text()))
    op.execute("UPDATE rewrite_point SET ordering = CASE WHEN count = 0 THEN '' ELSE 'score' END")
    op.alter_column("rewrite_point", "ordering", nullable=False)
    op.add_column("rewrite_point", sa.Column("kls", postgresql.ARRAY(sa.REAL()), nullable=True))
    op.add_column("rewrite_point", sa.Column("kl", sa.REAL(), nullable=True))
    op.add_column("rewrite_point", sa.Column("kl_low", sa.REAL(), nullable=True))
    op.add_column("rewrite_point", sa.Column("kl_high", sa.REAL(), nullable=True))
    op.add_column(
        "rewrite_point",
        sa.Column(
            "statistics",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.alter_column("rewrite_point", "statistics", server_default=None)
    op.drop_constraint(
        op.f("uq_rewrite_point_rewrite_id_condition_calibration_count"),
        "rewrite_point",
        type_="unique",
    )
    op.create_unique_constraint(
        op.f("uq_rewrite_point_rewrite_id_condition_calibration_ordering_count"),
        "rewrite_point",
        ["rewrite_id", "condition", "calibration", "ordering", "count"],
    )
    op.add_column("study", sa.Column("contexts_rewrite", sa.Integer()))
    op.execute("UPDATE study SET contexts_rewrite = contexts_evaluate")
    op.alter_column("study", "contexts_rewrite", nullable=False)
    op.drop_constraint(op.f("ck_calibration_method"), "calibration", type_="check")
    op.create_check_constraint(
        op.f("ck_calibration_method"),
        "calibration",
        "method IN ('none', 'linear', 'quantile', 'isotonic')",
    )
    # The new calibration fits nothing: the raw value, 0 to 9, is the activation.
    op.execute(
        "INSERT INTO calibration (simulation_id, method, x, y, tokens) "
        "SELECT simulation_id, 'none', '{0,9}', '{0,9}', tokens FROM calibration "
        "WHERE method = 'linear'"
    )


def downgrade() -> None:
    op.execute("DELETE FROM calibration WHERE method = 'none'")
    op.drop_constraint(op.f("ck_calibration_method"), "calibration", type_="check")
    op.create_check_constraint(
        op.f("ck_calibration_method"), "calibration", "method IN ('linear', 'quantile', 'isotonic')"
    )
    op.drop_column("study", "contexts_rewrite")
    # What an older version of the program has no words for.
    op.execute(
        "DELETE FROM rewrite_point WHERE ordering NOT IN ('', 'score') OR calibration = 'none' "
        "OR condition IN ('random_latents', 'oracle_gating', 'oracle_values')"
    )
    op.drop_constraint(
        op.f("uq_rewrite_point_rewrite_id_condition_calibration_ordering_count"),
        "rewrite_point",
        type_="unique",
    )
    op.create_unique_constraint(
        op.f("uq_rewrite_point_rewrite_id_condition_calibration_count"),
        "rewrite_point",
        ["rewrite_id", "condition", "calibration", "count"],
        postgresql_nulls_not_distinct=False,
    )
    op.drop_column("rewrite_point", "statistics")
    op.drop_column("rewrite_point", "kl_high")
    op.drop_column("rewrite_point", "kl_low")
    op.drop_column("rewrite_point", "kl")
    op.drop_column("rewrite_point", "kls")
    op.drop_column("rewrite_point", "ordering")
    op.drop_column("rewrite", "orderings")
    op.drop_constraint(op.f("ck_rewrite_protocol"), "rewrite", type_="check")
    op.alter_column("rewrite", "protocol", new_column_name="positions")
    op.execute(
        "UPDATE rewrite SET positions = CASE positions WHEN 'whole' THEN 'all' ELSE 'last' END"
    )
    op.create_check_constraint(
        op.f("ck_rewrite_positions"), "rewrite", "positions IN ('all', 'last')"
    )
    op.execute("DELETE FROM latent_cost")
    op.add_column(
        "latent_cost", sa.Column("contexts_run", sa.INTEGER(), autoincrement=False, nullable=False)
    )
    op.alter_column("latent_cost", "high", existing_type=sa.REAL(), nullable=False)
    op.alter_column("latent_cost", "low", existing_type=sa.REAL(), nullable=False)
    op.alter_column("latent_cost", "mean", existing_type=sa.REAL(), nullable=False)
    op.drop_column("latent_cost", "fires_high")
    op.drop_column("latent_cost", "fires_low")
    op.drop_column("latent_cost", "fires_mean")
    op.drop_column("latent_cost", "before")
    op.drop_column("latent_cost", "weights")
    op.drop_column("latent_cost", "strata")
    op.drop_column("latent_cost", "context_ids")
    op.drop_index(op.f("ix_generation_study_id"), table_name="generation")
    op.drop_table("generation")
    op.drop_index(op.f("ix_check_study_id"), table_name="check")
    op.drop_table("check")
