"""The site that a study's coder reads, where it is not the input of the module that it writes."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study", sa.Column("reads", sa.Text(), server_default="", nullable=False))
    op.alter_column("study", "reads", server_default=None)


def downgrade() -> None:
    op.drop_column("study", "reads")
