"""Contexts say what their document's text is, so that copies are known under any name."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("context", sa.Column("document_hash", sa.Text(), nullable=True))
    op.add_column("context", sa.Column("document_sketch", sa.Text(), nullable=True))
    op.add_column("context", sa.Column("document_copies", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("context", "document_copies")
    op.drop_column("context", "document_sketch")
    op.drop_column("context", "document_hash")
