"""The tables of how runs were executed: attempts, what recorded in them, and steps."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from prefect_ml.store.tables import Key, Words, metadata

attempts = Table(
    "attempts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("attempt_id", Words, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("outcome", Words),
    Column("host", Words, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("presumed", Boolean, nullable=False),
    UniqueConstraint("attempt_id", "run"),
    Index("ix_attempts_run", "run", "number", "start_time"),
    Index(
        "ix_attempts_living",
        "seen",
        sqlite_where=text("end_time IS NULL"),
        postgresql_where=text("end_time IS NULL"),
    ),
    sqlite_autoincrement=True,
)

sources = Table(
    "sources",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("scope", Words, nullable=False),
    Column("attempt", Key, ForeignKey("attempts.id"), nullable=False),
    Column("retry", BigInteger, nullable=False),
    Column("task_run_id", Words, nullable=False),
    UniqueConstraint("run", "scope", "attempt", "retry", "task_run_id"),
    sqlite_autoincrement=True,
)

source_names = Table(
    "source_names",
    metadata,
    Column("source", Key, ForeignKey("sources.id"), nullable=False),
    Column("kind", Words, nullable=False),
    Column("name", Words, nullable=False),
    PrimaryKeyConstraint("source", "kind", "name"),
    sqlite_with_rowid=False,
)

steps = Table(
    "steps",
    metadata,
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("task_run_id", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("task_key", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("run_count", BigInteger, nullable=False),
    PrimaryKeyConstraint("run", "task_run_id"),
    sqlite_with_rowid=False,
)
