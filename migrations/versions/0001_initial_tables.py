"""Initial tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "simulator",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_simulator")),
        sa.UniqueConstraint(
            "method",
            "model",
            "prompt_version",
            "options",
            name=op.f("uq_simulator_method_model_prompt_version_options"),
        ),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
    )
    op.create_table(
        "study",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_revision", sa.Text(), nullable=True),
        sa.Column("coder", sa.Text(), nullable=False),
        sa.Column("hookpoint", sa.Text(), nullable=False),
        sa.Column("corpus", sa.Text(), nullable=False),
        sa.Column("context_length", sa.Integer(), nullable=False),
        sa.Column("prepend_bos", sa.Boolean(), nullable=False),
        sa.Column("contexts_explain", sa.Integer(), nullable=False),
        sa.Column("contexts_calibrate", sa.Integer(), nullable=False),
        sa.Column("contexts_evaluate", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=True),
        sa.Column("coder_info", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_study_simulator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("slug", name=op.f("uq_study_slug")),
    )
    op.create_table(
        "context",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("set", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("tokens", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("strings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint(
            "set IN ('explain', 'calibrate', 'evaluate')", name=op.f("ck_context_set")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_context_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_context")),
        sa.UniqueConstraint("study_id", "set", "index", name=op.f("uq_context_study_id_set_index")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'cancelled', 'failed', 'finished')",
            name=op.f("ck_job_status"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_job_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index(
        op.f("ix_job_study_id_created_at"), "job", ["study_id", "created_at"], unique=False
    )
    op.create_table(
        "latent",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("firing_rate", sa.REAL(), nullable=False),
        sa.Column("max_activation", sa.REAL(), nullable=False),
        sa.Column("mean_activation", sa.REAL(), nullable=False),
        sa.Column("quantiles", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("promoted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("suppressed", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("explanation_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_latent_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latent")),
        sa.UniqueConstraint("study_id", "index", name=op.f("uq_latent_study_id_index")),
    )
    op.create_index(
        op.f("ix_latent_study_id_firing_rate"), "latent", ["study_id", "firing_rate"], unique=False
    )
    op.create_index(
        op.f("ix_latent_study_id_max_activation"),
        "latent",
        ["study_id", "max_activation"],
        unique=False,
    )
    op.create_table(
        "rewrite",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("positions", sa.Text(), nullable=False),
        sa.Column("explanation_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("context_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("positions IN ('all', 'last')", name=op.f("ck_rewrite_positions")),
        sa.ForeignKeyConstraint(["parent_id"], ["rewrite.id"], name=op.f("fk_rewrite_parent_id")),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_rewrite_simulator_id")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_rewrite_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rewrite")),
    )
    op.create_index(op.f("ix_rewrite_study_id"), "rewrite", ["study_id"], unique=False)
    op.create_table(
        "example",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("latent_id", sa.BigInteger(), nullable=False),
        sa.Column("context_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("activations", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.CheckConstraint("kind IN ('top', 'quantile', 'random')", name=op.f("ck_example_kind")),
        sa.ForeignKeyConstraint(
            ["context_id"], ["context.id"], name=op.f("fk_example_context_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["latent_id"], ["latent.id"], name=op.f("fk_example_latent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_example")),
        sa.UniqueConstraint(
            "latent_id", "kind", "rank", name=op.f("uq_example_latent_id_kind_rank")
        ),
    )
    op.create_index(op.f("ix_example_context_id"), "example", ["context_id"], unique=False)
    op.create_table(
        "explanation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("latent_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "author_kind IN ('person', 'model')", name=op.f("ck_explanation_author_kind")
        ),
        sa.ForeignKeyConstraint(
            ["latent_id"], ["latent.id"], name=op.f("fk_explanation_latent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["explanation.id"], name=op.f("fk_explanation_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_explanation")),
    )
    op.create_index(op.f("ix_explanation_latent_id"), "explanation", ["latent_id"], unique=False)
    op.create_table(
        "rewrite_point",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("rewrite_id", sa.BigInteger(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("calibration", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("fraction", sa.REAL(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("losses", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("increase", sa.REAL(), nullable=False),
        sa.Column("low", sa.REAL(), nullable=False),
        sa.Column("high", sa.REAL(), nullable=False),
        sa.Column("copied_from", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["copied_from"], ["rewrite_point.id"], name=op.f("fk_rewrite_point_copied_from")
        ),
        sa.ForeignKeyConstraint(
            ["rewrite_id"],
            ["rewrite.id"],
            name=op.f("fk_rewrite_point_rewrite_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rewrite_point")),
        sa.UniqueConstraint(
            "rewrite_id",
            "condition",
            "calibration",
            "count",
            name=op.f("uq_rewrite_point_rewrite_id_condition_calibration_count"),
        ),
    )
    op.create_table(
        "latent_cost",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("explanation_id", sa.BigInteger(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("calibration", sa.Text(), nullable=False),
        sa.Column("contexts_run", sa.Integer(), nullable=False),
        sa.Column("differences", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("mean", sa.REAL(), nullable=False),
        sa.Column("low", sa.REAL(), nullable=False),
        sa.Column("high", sa.REAL(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["explanation_id"],
            ["explanation.id"],
            name=op.f("fk_latent_cost_explanation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_latent_cost_simulator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latent_cost")),
        sa.UniqueConstraint(
            "explanation_id",
            "simulator_id",
            "condition",
            "calibration",
            name=op.f("uq_latent_cost_explanation_id_simulator_id_condition_calibration"),
        ),
    )
    op.create_table(
        "score",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("explanation_id", sa.BigInteger(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.REAL(), nullable=True),
        sa.Column("low", sa.REAL(), nullable=True),
        sa.Column("high", sa.REAL(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["explanation_id"],
            ["explanation.id"],
            name=op.f("fk_score_explanation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_score_simulator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_score")),
        sa.UniqueConstraint(
            "explanation_id",
            "simulator_id",
            "name",
            name=op.f("uq_score_explanation_id_simulator_id_name"),
        ),
    )
    op.create_index(
        op.f("ix_score_simulator_id_name_value"),
        "score",
        ["simulator_id", "name", "value"],
        unique=False,
    )
    op.create_table(
        "simulation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("explanation_id", sa.BigInteger(), nullable=False),
        sa.Column("simulator_id", sa.BigInteger(), nullable=False),
        sa.Column("set", sa.Text(), nullable=False),
        sa.Column("context_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("values", postgresql.ARRAY(sa.REAL(), dimensions=2), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("tokens_read", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.REAL(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "set IN ('explain', 'calibrate', 'evaluate')", name=op.f("ck_simulation_set")
        ),
        sa.ForeignKeyConstraint(
            ["explanation_id"],
            ["explanation.id"],
            name=op.f("fk_simulation_explanation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["simulator_id"], ["simulator.id"], name=op.f("fk_simulation_simulator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_simulation")),
        sa.UniqueConstraint(
            "explanation_id",
            "simulator_id",
            "set",
            name=op.f("uq_simulation_explanation_id_simulator_id_set"),
        ),
    )
    op.create_table(
        "calibration",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("simulation_id", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("x", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("y", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "method IN ('linear', 'quantile', 'isotonic')", name=op.f("ck_calibration_method")
        ),
        sa.ForeignKeyConstraint(
            ["simulation_id"],
            ["simulation.id"],
            name=op.f("fk_calibration_simulation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration")),
        sa.UniqueConstraint(
            "simulation_id", "method", name=op.f("uq_calibration_simulation_id_method")
        ),
    )
    # Latents and explanations refer to each other.
    op.create_foreign_key(
        op.f("fk_latent_explanation_id"),
        "latent",
        "explanation",
        ["explanation_id"],
        ["id"],
        ondelete="SET NULL",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_latent_explanation_id"), "latent", type_="foreignkey")
    op.drop_table("calibration")
    op.drop_table("simulation")
    op.drop_index(op.f("ix_score_simulator_id_name_value"), table_name="score")
    op.drop_table("score")
    op.drop_table("latent_cost")
    op.drop_table("rewrite_point")
    op.drop_index(op.f("ix_explanation_latent_id"), table_name="explanation")
    op.drop_table("explanation")
    op.drop_index(op.f("ix_example_context_id"), table_name="example")
    op.drop_table("example")
    op.drop_index(op.f("ix_rewrite_study_id"), table_name="rewrite")
    op.drop_table("rewrite")
    op.drop_index(op.f("ix_latent_study_id_max_activation"), table_name="latent")
    op.drop_index(op.f("ix_latent_study_id_firing_rate"), table_name="latent")
    op.drop_table("latent")
    op.drop_index(op.f("ix_job_study_id_created_at"), table_name="job")
    op.drop_table("job")
    op.drop_table("context")
    op.drop_table("study")
    op.drop_table("user")
    op.drop_table("simulator")
