"""Attempts of runs, what recorded in them, and steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0003"
down_revision = "r0002"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("metrics", sa.Column("source", KEY, nullable=False, server_default="0"))
    _create_attempts()
    _create_sources()
    op.create_table(
        "steps",
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("task_run_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("task_key", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("run_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run", "task_run_id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for name in ("steps", "source_names", "sources", "attempts"):
        op.drop_table(name)
    op.drop_column("metrics", "source")


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("attempt_id", WORDS, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("start_time", sa.BigInteger, nullable=False),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("outcome", WORDS),
        sa.Column("host", WORDS, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("presumed", sa.Boolean, nullable=False),
        sa.UniqueConstraint("attempt_id", "run"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempts_run", "attempts", ["run", "number", "start_time"])
    living = sa.text("end_time IS NULL")
    op.create_index("ix_attempts_living", "attempts", ["seen"], sqlite_where=living, postgresql_where=living)


def _create_sources() -> None:
    op.create_table(
        "sources",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("scope", WORDS, nullable=False),
        sa.Column("attempt", KEY, sa.ForeignKey("attempts.id"), nullable=False),
        sa.Column("retry", sa.BigInteger, nullable=False),
        sa.Column("task_run_id", WORDS, nullable=False),
        sa.UniqueConstraint("run", "scope", "attempt", "retry", "task_run_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "source_names",
        sa.Column("source", KEY, sa.ForeignKey("sources.id"), nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("source", "kind", "name"),
        sqlite_with_rowid=False,
    )
