"""Indexes for finding latents: every column that the list is sorted by, words, authors, missing."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("firing_rate", "max_activation"):
        op.drop_index(op.f(f"ix_latent_study_id_{name}"), table_name="latent")
    for name in ("firing_rate", "max_activation", "mean_activation"):
        op.create_index(
            op.f(f"ix_latent_study_id_{name}_index"), "latent", ["study_id", name, "index"]
        )
    op.create_index(op.f("ix_latent_explanation_id"), "latent", ["explanation_id"])
    op.drop_index(op.f("ix_score_simulator_id_name_value"), table_name="score")
    op.create_index(
        op.f("ix_score_simulator_id_name_value_explanation_id"),
        "score",
        ["simulator_id", "name", "value", "explanation_id"],
    )
    op.create_index(
        op.f("ix_latent_cost_simulator_id_mean_explanation_id"),
        "latent_cost",
        ["simulator_id", "mean", "explanation_id"],
        postgresql_where=sa.text("condition = 'rewritten' AND calibration = 'isotonic'"),
    )
    op.create_index(
        op.f("ix_simulation_missing"),
        "simulation",
        ["simulator_id", "explanation_id"],
        postgresql_where=sa.text("missing > 0"),
    )
    op.create_index(op.f("ix_explanation_author_latent_id"), "explanation", ["author", "latent_id"])
    op.create_index(
        op.f("ix_explanation_by_person"),
        "explanation",
        ["latent_id"],
        postgresql_where=sa.text("author_kind = 'person'"),
    )
    op.create_index(
        op.f("ix_explanation_not_embedded"),
        "explanation",
        ["latent_id"],
        postgresql_where=sa.text("embedding IS NULL"),
    )
    op.create_index(
        op.f("ix_explanation_plain_words"),
        "explanation",
        [sa.text("to_tsvector('simple', text)")],
        postgresql_using="gin",
    )


def downgrade() -> None:
    for name in ("plain_words", "not_embedded", "by_person", "author_latent_id"):
        op.drop_index(op.f(f"ix_explanation_{name}"), table_name="explanation")
    op.drop_index(op.f("ix_simulation_missing"), table_name="simulation")
    op.drop_index(op.f("ix_latent_cost_simulator_id_mean_explanation_id"), table_name="latent_cost")
    op.drop_index(op.f("ix_score_simulator_id_name_value_explanation_id"), table_name="score")
    op.create_index(
        op.f("ix_score_simulator_id_name_value"), "score", ["simulator_id", "name", "value"]
    )
    op.drop_index(op.f("ix_latent_explanation_id"), table_name="latent")
    for name in ("firing_rate", "max_activation", "mean_activation"):
        op.drop_index(op.f(f"ix_latent_study_id_{name}_index"), table_name="latent")
    for name in ("firing_rate", "max_activation"):
        op.create_index(op.f(f"ix_latent_study_id_{name}"), "latent", ["study_id", name])
