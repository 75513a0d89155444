"""People have roles. Whoever is there already could do everything, and still can."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user", sa.Column("role", sa.Text(), server_default="admin", nullable=False))
    op.alter_column("user", "role", server_default=None)
    op.create_check_constraint(
        op.f("ck_user_role"), "user", "role IN ('reader', 'editor', 'admin')"
    )


def downgrade() -> None:
    op.drop_column("user", "role")
