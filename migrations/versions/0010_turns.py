"""Jobs take turns, and a job that is cut short again and again ends."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "job", sa.Column("setbacks", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("job", sa.Column("turn_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("held_by", sa.Text(), nullable=True))


def downgrade() -> None:
    for column in ("held_by", "turn_at", "setbacks"):
        op.drop_column("job", column)
