"""The main point of a rewrite once more, on all contexts of the evaluate set."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

KEY = ["rewrite_id", "condition", "calibration", "ordering", "count"]
BEFORE = "uq_rewrite_point_rewrite_id_condition_calibration_ordering_count"


def upgrade() -> None:
    # All points so far were measured on the first contexts.
    panel = sa.Column("breadth", sa.Text(), server_default="panel", nullable=False)
    op.add_column("rewrite_point", panel)
    op.create_check_constraint("breadth", "rewrite_point", "breadth IN ('all', 'panel')")
    op.drop_constraint(op.f(BEFORE), "rewrite_point", type_="unique")
    op.create_unique_constraint(op.f("uq_rewrite_point_key"), "rewrite_point", [*KEY, "breadth"])


def downgrade() -> None:
    op.execute("DELETE FROM rewrite_point WHERE breadth = 'all'")
    op.drop_constraint(op.f("uq_rewrite_point_key"), "rewrite_point", type_="unique")
    op.create_unique_constraint(op.f(BEFORE), "rewrite_point", KEY)
    op.drop_column("rewrite_point", "breadth")
