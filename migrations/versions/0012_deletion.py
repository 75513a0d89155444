"""Studies and simulators can be deleted, and PostgreSQL finds at once what refers to a row."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

DELETED = ("study", "simulator")
INDEXED = (
    ("explanation", "parent_id"),
    ("simulation", "simulator_id"),
    ("latent_cost", "simulator_id"),
    ("rewrite", "simulator_id"),
    ("rewrite", "parent_id"),
    ("rewrite_point", "copied_from"),
    ("generation", "job_id"),
    ("generation", "simulator_id"),
    ("check", "job_id"),
    ("sentence", "job_id"),
    ("sentence", "simulator_id"),
    ("study", "simulator_id"),
)
"""Columns that refer to another row. Without an index, each row deleted there reads them all."""
FORGET = (
    ("explanation", "parent_id"),
    ("rewrite", "parent_id"),
    ("rewrite_point", "copied_from"),
)
"""Columns that refer to an earlier row of their own table."""


def upgrade() -> None:
    for table in DELETED:
        op.add_column(table, sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    for table, column in INDEXED:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
    for table, column in FORGET:
        _refer(table, column, "SET NULL")


def downgrade() -> None:
    for table, column in FORGET:
        _refer(table, column, None)
    for table, column in INDEXED:
        op.drop_index(op.f(f"ix_{table}_{column}"), table)
    for table in DELETED:
        op.drop_column(table, "deleted_at")


def _refer(table: str, column: str, ondelete: str | None) -> None:
    name = op.f(f"fk_{table}_{column}")
    op.drop_constraint(name, table, type_="foreignkey")
    op.create_foreign_key(name, table, table, [column], ["id"], ondelete=ondelete)
