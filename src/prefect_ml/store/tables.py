"""The tables of tracking, and the metadata that all tables of the store share.

Runs and metric names have integer surrogate keys (`runs.id`, `metric_keys.id`), so that a point is narrow. A NaN
is kept as value 0 with `is_nan`, because SQLite has no NaN. `registry_tables` adds the tables of the registry.
"""

from __future__ import annotations

from sqlalchemy import (
    DOUBLE_PRECISION,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TEXT

metadata = MetaData()

# Text that compares and sorts by code point on both databases.
Words = Text().with_variant(TEXT(collation="C"), "postgresql")
# A 64-bit integer, also as SQLite's INTEGER PRIMARY KEY.
Key = BigInteger().with_variant(Integer(), "sqlite")

# PostgreSQL indexes values of up to 2,700 bytes, so the beginning of a value is indexed.
INDEXED_LENGTH = 200

experiments = Table(
    "experiments",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("artifact_location", Words, nullable=False),
    Column("lifecycle_stage", Words, nullable=False),
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    # When it was deleted (unknown for what an older release deleted), and when its removal for good began.
    Column("deletion_time", BigInteger),
    Column("removal_time", BigInteger),
    sqlite_autoincrement=True,
)

experiment_tags = Table(
    "experiment_tags",
    metadata,
    Column("experiment", Key, ForeignKey("experiments.id"), nullable=False),
    Column("key", Words, nullable=False),
    Column("value", Words, nullable=False),
    PrimaryKeyConstraint("experiment", "key"),
    sqlite_with_rowid=False,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run_id", Words, nullable=False, unique=True),
    Column("experiment", Key, ForeignKey("experiments.id"), nullable=False),
    Column("name", Words, nullable=False),
    Column("status", Words, nullable=False),
    Column("user_id", Words, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("artifact_uri", Words, nullable=False),
    Column("lifecycle_stage", Words, nullable=False),
    Column("deletion_time", BigInteger),
    Column("removal_time", BigInteger),
    Index("ix_runs_newest", "experiment", "lifecycle_stage", text("start_time DESC"), "run_id"),
    sqlite_autoincrement=True,
)


def pairs_table(name: str, owner: str, of: str) -> Table:
    """A table of one text value per owner and key, found by (key, beginning of value).

    Args:
        name: of the table.
        owner: the column of the owner's number.
        of: the column that it refers to.
    """
    return Table(
        name,
        metadata,
        Column(owner, Key, ForeignKey(of), nullable=False),
        Column("key", Words, nullable=False),
        Column("value", Words, nullable=False),
        PrimaryKeyConstraint(owner, "key"),
        Index(f"ix_{name}_value", "key", text(f"substr(value, 1, {INDEXED_LENGTH})"), owner),
        sqlite_with_rowid=False,
    )


params = pairs_table("params", "run", "runs.id")
tags = pairs_table("tags", "run", "runs.id")

metric_keys = Table(
    "metric_keys",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("key", Key, ForeignKey("metric_keys.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("value", DOUBLE_PRECISION, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    # Number of the source that recorded it, 0 when unknown; no reference, which would be checked for each point.
    Column("source", Key, nullable=False, server_default="0"),
    PrimaryKeyConstraint("run", "key", "step", "timestamp", "value", "is_nan"),
    sqlite_with_rowid=False,
)

latest_metrics = Table(
    "latest_metrics",
    metadata,
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("key", Key, ForeignKey("metric_keys.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("value", DOUBLE_PRECISION, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    PrimaryKeyConstraint("run", "key"),
    Index("ix_latest_metrics_value", "key", "value", "run"),
    sqlite_with_rowid=False,
)

journals = Table(
    "journals",
    metadata,
    Column("journal_id", Words, primary_key=True),
    Column("position", BigInteger, nullable=False),
)
