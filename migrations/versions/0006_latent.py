"""A latent's histogram, and the latents whose decoder directions are nearest to its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("latent", sa.Column("histogram", postgresql.ARRAY(sa.Integer()), nullable=True))
    op.add_column(
        "latent",
        sa.Column("similar", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    )


def downgrade() -> None:
    op.drop_column("latent", "similar")
    op.drop_column("latent", "histogram")
