"""What the subject model of a study is loaded in."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # All studies so far were measured in float32.
    op.add_column("study", sa.Column("dtype", sa.Text(), server_default="float32", nullable=False))
    op.alter_column("study", "dtype", server_default=None)
    op.create_check_constraint(
        "dtype", "study", "dtype IN ('float32', 'bfloat16', 'float16', 'auto')"
    )


def downgrade() -> None:
    op.drop_column("study", "dtype")
