"""Data sets, and what runs used them for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0004"
down_revision = "r0003"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("fingerprint", WORDS, nullable=False, unique=True),
        *(sa.Column(name, WORDS, nullable=False) for name in ("name", "digest", "source_type", "source")),
        *(sa.Column(name, WORDS, nullable=False) for name in ("schema", "profile")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "inputs",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("digest", WORDS, nullable=False),
        sa.Column("dataset", KEY, sa.ForeignKey("datasets.id"), nullable=False),
        sa.UniqueConstraint("run", "name", "digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_inputs_name", "inputs", ["name", "digest", "run"])
    op.create_index("ix_inputs_digest", "inputs", ["digest", "run"])
    op.create_table(
        "input_tags",
        sa.Column("input", KEY, sa.ForeignKey("inputs.id"), nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("value", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("input", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_input_tags_value", "input_tags", ["key", sa.text("substr(value, 1, 200)"), "input"])


def downgrade() -> None:
    for name in ("input_tags", "inputs", "datasets"):
        op.drop_table(name)
