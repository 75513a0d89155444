"""The site that a study's coder reads, and the reading of its files, where they do not say."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("reads", "reading"):
        op.add_column("study", sa.Column(name, sa.Text(), server_default="", nullable=False))
        op.alter_column("study", name, server_default=None)


def downgrade() -> None:
    op.drop_column("study", "reading")
    op.drop_column("study", "reads")
