"""Experiments, runs, params, tags, metrics and journals."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0001"
down_revision = None

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_experiments()
    _create_runs()
    for name in ("params", "tags"):
        _create_pairs(name)
    op.create_table(
        "metric_keys",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("name", WORDS, nullable=False, unique=True),
    )
    _create_points("metrics", "run", "key", "step", "timestamp", "value", "is_nan")
    _create_points("latest_metrics", "run", "key")
    op.create_index("ix_latest_metrics_value", "latest_metrics", ["key", "value", "run"])
    op.create_table(
        "journals",
        sa.Column("journal_id", WORDS, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for name in ("journals", "latest_metrics", "metrics", "metric_keys", "tags", "params", "runs"):
        op.drop_table(name)
    op.drop_table("experiment_tags")
    op.drop_table("experiments")


def _create_experiments() -> None:
    experiments = op.create_table(
        "experiments",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("name", WORDS, nullable=False, unique=True),
        sa.Column("artifact_location", WORDS, nullable=False),
        sa.Column("lifecycle_stage", WORDS, nullable=False),
        sa.Column("creation_time", sa.BigInteger, nullable=False),
        sa.Column("last_update_time", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "experiment_tags",
        sa.Column("experiment", KEY, sa.ForeignKey("experiments.id"), nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("value", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("experiment", "key"),
        sqlite_with_rowid=False,
    )
    now = time.time_ns() // 1_000_000
    # An empty location means: below the artifact root of the settings, which a schema knows nothing of.
    default = {"id": 0, "name": "Default", "artifact_location": "", "lifecycle_stage": "active"}
    op.bulk_insert(experiments, [default | {"creation_time": now, "last_update_time": now}])


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("run_id", WORDS, nullable=False, unique=True),
        sa.Column("experiment", KEY, sa.ForeignKey("experiments.id"), nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("user_id", WORDS, nullable=False),
        sa.Column("start_time", sa.BigInteger, nullable=False),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("artifact_uri", WORDS, nullable=False),
        sa.Column("lifecycle_stage", WORDS, nullable=False),
        sqlite_autoincrement=True,
    )
    newest: list[str | sa.TextClause] = [
        "experiment",
        "lifecycle_stage",
        sa.text("start_time DESC"),
        "run_id",
    ]
    op.create_index("ix_runs_newest", "runs", newest)


def _create_pairs(name: str) -> None:
    op.create_table(
        name,
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("value", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("run", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{name}_value", name, ["key", sa.text("substr(value, 1, 200)"), "run"])


def _create_points(name: str, *primary_key: str) -> None:
    op.create_table(
        name,
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("key", KEY, sa.ForeignKey("metric_keys.id"), nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("value", sa.DOUBLE_PRECISION, nullable=False),
        sa.Column("is_nan", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint(*primary_key),
        sqlite_with_rowid=False,
    )
