"""Trained simulators: values as matrices, what simulators were trained on, what work costs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

EMPTY = sa.text("'{}'::jsonb")
TO_MATRIX = """
    UPDATE simulation SET packed = int4send(coalesce(array_length("values", 2), 1)) || coalesce(
        (SELECT string_agg(float4send(coalesce(value, 'NaN'::real)), ''::bytea ORDER BY place)
         FROM unnest("values") WITH ORDINALITY AS one(value, place)),
        ''::bytea)
"""


def upgrade() -> None:
    for table, column in (("simulation", "failures"), ("simulator", "training"), ("job", "usage")):
        op.add_column(
            table, sa.Column(column, postgresql.JSONB(), server_default=EMPTY, nullable=False)
        )
        op.alter_column(table, column, server_default=None)
    for table, column, type_, default in (
        ("simulation", "tokens_written", sa.Integer(), "0"),
        ("rewrite", "author", sa.Text(), ""),
    ):
        op.add_column(table, sa.Column(column, type_, server_default=default, nullable=False))
        op.alter_column(table, column, server_default=None)
    op.add_column("simulation", sa.Column("packed", sa.LargeBinary(), nullable=True))
    op.execute(TO_MATRIX)
    op.drop_column("simulation", "values")
    op.alter_column("simulation", "packed", new_column_name="values", nullable=False)
    op.alter_column("score", "simulator_id", nullable=True)
    op.drop_constraint(op.f("ck_example_kind"), "example", type_="check")
    op.create_check_constraint(
        op.f("ck_example_kind"), "example", "kind IN ('top', 'quantile', 'random', 'near_miss')"
    )


def downgrade() -> None:
    op.execute("DELETE FROM example WHERE kind = 'near_miss'")
    op.drop_constraint(op.f("ck_example_kind"), "example", type_="check")
    op.create_check_constraint(
        op.f("ck_example_kind"), "example", "kind IN ('top', 'quantile', 'random')"
    )
    op.execute("DELETE FROM score WHERE simulator_id IS NULL")
    op.alter_column("score", "simulator_id", nullable=False)
    # SQL has no way back from bytes to numbers. What was simulated can be simulated again.
    op.execute("DELETE FROM simulation")
    op.drop_column("simulation", "values")
    op.add_column(
        "simulation", sa.Column("values", postgresql.ARRAY(sa.REAL(), dimensions=2), nullable=False)
    )
    for table, column in (
        ("rewrite", "author"),
        ("simulation", "tokens_written"),
        ("simulation", "failures"),
        ("simulator", "training"),
        ("job", "usage"),
    ):
        op.drop_column(table, column)
