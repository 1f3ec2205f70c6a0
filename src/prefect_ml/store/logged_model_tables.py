"""The tables of logged models, and of which runs used and made them.

A model's experiment is the one it was created in, also when its run moves. Its points are those that its runs keep in
their curves too, so only the latest of each metric on each data set is kept here.
"""

from __future__ import annotations

from sqlalchemy import (
    DOUBLE_PRECISION,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Table,
    text,
)

from prefect_ml.store.tables import Key, Words, metadata, pairs_table

logged_models = Table(
    "logged_models",
    metadata,
    Column("id", Key, primary_key=True),
    Column("model_id", Words, nullable=False, unique=True),
    Column("experiment", Key, ForeignKey("experiments.id"), nullable=False),
    Column("name", Words, nullable=False),
    Column("model_type", Words, nullable=False),
    Column("source_run_id", Words, nullable=False),
    Column("status", Words, nullable=False),
    Column("artifact_uri", Words, nullable=False),
    Column("lifecycle_stage", Words, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    Column("deletion_time", BigInteger),
    Column("removal_time", BigInteger),
    Index(
        "ix_logged_models_newest",
        "experiment",
        "lifecycle_stage",
        text("creation_timestamp DESC"),
        text("model_id DESC"),
    ),
    Index("ix_logged_models_source_run_id", "source_run_id"),
    Index("ix_logged_models_name", "name", "experiment"),
    sqlite_autoincrement=True,
)

logged_model_params = pairs_table("logged_model_params", "model", "logged_models.id")
logged_model_tags = pairs_table("logged_model_tags", "model", "logged_models.id")

logged_model_metrics = Table(
    "logged_model_metrics",
    metadata,
    Column("model", Key, ForeignKey("logged_models.id"), nullable=False),
    Column("key", Key, ForeignKey("metric_keys.id"), nullable=False),
    Column("dataset_name", Words, nullable=False),
    Column("dataset_digest", Words, nullable=False),
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("value", DOUBLE_PRECISION, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    PrimaryKeyConstraint("model", "key", "dataset_name", "dataset_digest"),
    Index("ix_logged_model_metrics_value", "key", "value", "model"),
    sqlite_with_rowid=False,
)

# No reference to the model: a run may tell of one before the process that made it does, or of one that is elsewhere.
run_models = Table(
    "run_models",
    metadata,
    Column("run", Key, ForeignKey("runs.id"), nullable=False),
    # Whether the run made the model; else it used it.
    Column("made", Boolean, nullable=False),
    Column("model_id", Words, nullable=False),
    Column("step", BigInteger, nullable=False),
    PrimaryKeyConstraint("run", "made", "model_id"),
    Index("ix_run_models_model_id", "model_id", "made", "run"),
    sqlite_with_rowid=False,
)
