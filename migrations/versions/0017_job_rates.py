"""How long each kind of a job's units takes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("rates", JSONB(), server_default=sa.text("'{}'"), nullable=False)
    op.add_column("job", column)


def downgrade() -> None:
    op.drop_column("job", "rates")
