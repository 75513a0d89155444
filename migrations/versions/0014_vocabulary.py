"""One word for a thing: loss effect, predicted, hard negative, random baseline, score."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLE = ("latent_cost", "loss_effect")
CONSTRAINTS = ("pk_{}", "fk_{}_explanation_id", "fk_{}_simulator_id")
UNIQUE = tuple(
    f"uq_{table}_explanation_id_simulator_id_condition_ca_{shortened}"
    for table, shortened in zip(TABLE, ("9a67", "2d2d"), strict=True)
)
INDEXES = ("ix_{}_simulator_id", "ix_{}_simulator_id_mean_explanation_id")
STRATUM = ("said", "predicted")
EXAMPLE = ("near_miss", "hard_negative")
BASELINE = (("floor", "random_baseline"), ("floor_of", "random_baseline_of"))
KIND = ("judge", "score")
COUNTED = ("judgements", "scores")
ALONE = ("costs", "individually")
"""A parameter of jobs, at any depth."""


def upgrade() -> None:
    _rename(TABLE, UNIQUE)
    _values(TABLE[1], *STRATUM)
    _examples(*EXAMPLE)
    for words in BASELINE:
        _key("score", "details", *words)
    _jobs(KIND, COUNTED, ALONE)


def downgrade() -> None:
    _jobs(KIND[::-1], COUNTED[::-1], ALONE[::-1])
    for words in BASELINE:
        _key("score", "details", *words[::-1])
    _examples(*EXAMPLE[::-1])
    _values(TABLE[1], *STRATUM[::-1])
    _rename(TABLE[::-1], UNIQUE[::-1])


def _rename(table: tuple[str, ...], unique: tuple[str, ...]) -> None:
    """Rename a table with its sequence, constraints and indexes."""
    old, new = table
    op.rename_table(old, new)
    op.execute(f"ALTER SEQUENCE {old}_id_seq RENAME TO {new}_id_seq")
    for before, after in (*((n.format(old), n.format(new)) for n in CONSTRAINTS), unique):
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {before} TO {after}")
    for name in INDEXES:
        op.execute(f"ALTER INDEX {name.format(old)} RENAME TO {name.format(new)}")


def _values(table: str, old: str, new: str) -> None:
    """Name a stratum anew, in the samples and in their weights."""
    op.execute(f"UPDATE {table} SET strata = array_replace(strata, '{old}', '{new}')")
    _key(table, "weights", old, new)


def _examples(old: str, new: str) -> None:
    """Name a kind of examples anew."""
    op.drop_constraint(op.f("ck_example_kind"), "example", type_="check")
    op.execute(f"UPDATE example SET kind = '{new}' WHERE kind = '{old}'")
    kinds = f"'top', 'quantile', 'random', '{new}'"
    op.create_check_constraint(op.f("ck_example_kind"), "example", f"kind IN ({kinds})")


def _key(table: str, column: str, old: str, new: str) -> None:
    """Name a key of a column's objects anew."""
    op.execute(
        f"UPDATE {table} SET {column} = {column} - '{old}'"
        f" || jsonb_build_object('{new}', {column} -> '{old}')"
        f" WHERE jsonb_exists({column}, '{old}')"
    )


def _jobs(kind: tuple[str, str], counted: tuple[str, str], key: tuple[str, str]) -> None:
    """Name a kind of jobs, what it counts, and a parameter anew."""
    op.execute(f"UPDATE job SET kind = '{kind[1]}' WHERE kind = '{kind[0]}'")
    op.execute(f"UPDATE job SET unit = '{counted[1]}' WHERE unit = '{counted[0]}'")
    # In the text of a JSON object only a key is a quoted word before a colon: the quotation marks
    # of a value are escaped.
    old, new = (f'"{word}":' for word in key)
    op.execute(
        f"UPDATE job SET params = replace(CAST(params AS text), '{old}', '{new}')::jsonb"
        f" WHERE CAST(params AS text) LIKE '%{old}%'"
    )
