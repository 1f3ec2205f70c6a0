"""The tables of data sets and of what runs used them for.

A data set is kept once for all runs that say exactly the same of it (`fingerprint`). MLflow keeps it once an
experiment by name and digest, so that the first run's source stands for all; here each run keeps the source that it
told, and moves between experiments with it. Within a run, name and digest name an input, as in MLflow.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, PrimaryKeyConstraint, Table, UniqueConstraint, text

from prefect_ml.store.tables import INDEXED_LENGTH, Key, Words, metadata

# The tag by which MLflow says what a data set was used for.
CONTEXT = "mlflow.data.context"

datasets = Table(
    "datasets",
    metadata,
    Column("id", Key, primary_key=True),
    Column("fingerprint", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("digest", Words, nullable=False),
    Column("source_type", Words, nullable=False),
    Column("source", Words, nullable=False),
    Column("schema", Words, nullable=False),
    Column("profile", Words, nullable=False),
    sqlite_autoincrement=True,
)

# Name and digest are those of the data set, again: a run has one input of both, and is found by each.
inputs = Table(
    "inputs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("name", Words, nullable=False),
    Column("digest", Words, nullable=False),
    Column("dataset", Key, ForeignKey("datasets.id"), nullable=False),
    UniqueConstraint("run", "name", "digest"),
    Index("ix_inputs_name", "name", "digest", "run"),
    Index("ix_inputs_digest", "digest", "run"),
    sqlite_autoincrement=True,
)

input_tags = Table(
    "input_tags",
    metadata,
    Column("input", Key, ForeignKey("inputs.id"), nullable=False),
    Column("key", Words, nullable=False),
    Column("value", Words, nullable=False),
    PrimaryKeyConstraint("input", "key"),
    Index("ix_input_tags_value", "key", text(f"substr(value, 1, {INDEXED_LENGTH})"), "input"),
    sqlite_with_rowid=False,
)
