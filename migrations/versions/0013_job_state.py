"""What a job was asked for, what its worker notes, and which job goes first, each in a column."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

ASKED = {
    "collect": ("explain", "first_latents", "costs"),
    "explain": (
        "method",
        "llm",
        "latents",
        "path",
        "estimate",
        "then_simulate",
        "following",
        "first_latents",
        "costs",
    ),
    "embed": (),
    "judge": ("llm", "explanation_ids", "estimate"),
    "simulate": (
        "explanation_ids",
        "first_latents",
        "simulator_id",
        "costs",
        "then_rewrite",
        "again",
        "estimate",
    ),
    "rewrite": ("protocol", "simulator_id", "author", "repeat"),
    "generate": ("generation_id",),
    "sentence": ("sentence_id",),
    "check": (),
}
"""The parameters of each kind. All others were written by the worker."""


def upgrade() -> None:
    state = sa.Column("state", JSONB(), server_default=sa.text("'{}'"), nullable=False)
    priority = sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("job", state)
    op.add_column("job", priority)
    op.execute(
        "UPDATE job SET priority = 1 WHERE kind IN ('sentence', 'generate') OR (kind = 'simulate'"
        " AND CASE WHEN jsonb_typeof(params -> 'explanation_ids') = 'array'"
        " THEN jsonb_array_length(params -> 'explanation_ids') = 1 ELSE false END)"
    )
    for kind, names in ASKED.items():
        asked = ", ".join(f"'{name}'" for name in names)
        op.execute(f"UPDATE job SET state = params - ARRAY[{asked}]::text[] WHERE kind = '{kind}'")
    # A worker that was to choose the latents wrote down which it chose.
    op.execute(
        "UPDATE job SET state = state"
        " || jsonb_build_object('explanation_ids', params -> 'explanation_ids')"
        " WHERE kind = 'simulate' AND params ? 'first_latents' AND params ? 'explanation_ids'"
    )
    op.execute("UPDATE job SET params = params - ARRAY(SELECT jsonb_object_keys(state))")
    op.create_index(
        "ix_job_turn",
        "job",
        [sa.text("priority DESC"), sa.text("turn_at NULLS FIRST"), "id"],
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )


def downgrade() -> None:
    op.execute("UPDATE job SET params = params || state")
    op.drop_index("ix_job_turn", "job")
    op.drop_column("job", "priority")
    op.drop_column("job", "state")
