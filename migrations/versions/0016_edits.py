"""A rewrite names the explanations that its parent has not."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column(
        "edited_ids", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False
    )
    op.add_column("rewrite", column)
    op.execute(
        "UPDATE rewrite SET edited_ids = ARRAY("
        " SELECT unnest(rewrite.explanation_ids) EXCEPT SELECT unnest(parent.explanation_ids)"
        " ORDER BY 1)"
        " FROM rewrite parent WHERE parent.id = rewrite.parent_id"
    )
    op.create_index("ix_rewrite_edited_ids", "rewrite", ["edited_ids"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("ix_rewrite_edited_ids", "rewrite")
    op.drop_column("rewrite", "edited_ids")
