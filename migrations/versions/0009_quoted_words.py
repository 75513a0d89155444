"""Words that stand in quotation marks are found as words."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PLAIN = "translate(text, '“”‘’…–—', '       ')"


def upgrade() -> None:
    _change(PLAIN)


def downgrade() -> None:
    _change("text")


def _change(text: str) -> None:
    """Make the column and its index anew, from this text."""
    op.drop_column("explanation", "words")  # its index goes with it
    words = f"to_tsvector('english', {text}) || to_tsvector('simple', {text})"
    computed = sa.Computed(words, persisted=True)
    op.add_column(
        "explanation", sa.Column("words", postgresql.TSVECTOR(), computed, nullable=False)
    )
    op.create_index(op.f("ix_explanation_words"), "explanation", ["words"], postgresql_using="gin")
