"""How many first positions of a context a study leaves out."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null keeps the rule that all studies had: the beginning-of-sequence token alone.
    op.add_column("study", sa.Column("leave_out", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("study", "leave_out")
