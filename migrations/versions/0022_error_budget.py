"""The loss increase of a rewritten layer, split by error and by group of latents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attribution", sa.Column("increases", postgresql.ARRAY(sa.REAL())))
    # Parts of unfinished attributions lack the errors: they are made again.
    op.execute("DELETE FROM attribution_part")
    op.add_column("attribution_part", sa.Column("errors", sa.LargeBinary(), nullable=False))
    op.add_column(
        "attribution_part", sa.Column("increases", postgresql.ARRAY(sa.REAL()), nullable=False)
    )
    op.create_table(
        "budget_entry",
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("latents", sa.Integer(), nullable=False),
        sa.Column("effects", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("mean", sa.REAL(), nullable=True),
        sa.Column("low", sa.REAL(), nullable=True),
        sa.Column("high", sa.REAL(), nullable=True),
        sa.Column("share", sa.REAL(), nullable=True),
        sa.Column("share_low", sa.REAL(), nullable=True),
        sa.Column("share_high", sa.REAL(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attribution_id"],
            ["attribution.id"],
            name=op.f("fk_budget_entry_attribution_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("attribution_id", "place", name=op.f("pk_budget_entry")),
    )


def downgrade() -> None:
    op.drop_table("budget_entry")
    op.drop_column("attribution_part", "increases")
    op.drop_column("attribution_part", "errors")
    op.drop_column("attribution", "increases")
