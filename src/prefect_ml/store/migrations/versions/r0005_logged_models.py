"""Logged models, what runs have to do with them, and where the files of a copied model version are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0005"
down_revision = "r0004"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
VERSION_COLUMNS = ("model_id", "run_link", "location")


def upgrade() -> None:
    _logged_models()
    for name in ("logged_model_params", "logged_model_tags"):
        op.create_table(
            name,
            sa.Column("model", KEY, sa.ForeignKey("logged_models.id"), nullable=False),
            sa.Column("key", WORDS, nullable=False),
            sa.Column("value", WORDS, nullable=False),
            sa.PrimaryKeyConstraint("model", "key"),
            sqlite_with_rowid=False,
        )
        op.create_index(f"ix_{name}_value", name, ["key", sa.text("substr(value, 1, 200)"), "model"])
    _metrics()
    op.create_table(
        "run_models",
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("made", sa.Boolean, nullable=False),
        sa.Column("model_id", WORDS, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run", "made", "model_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_models_model_id", "run_models", ["model_id", "made", "run"])
    # The default lets a release that does not know the columns add versions.
    for name in VERSION_COLUMNS:
        op.add_column("model_versions", sa.Column(name, WORDS, nullable=False, server_default=""))


def _logged_models() -> None:
    words = ("name", "model_type", "source_run_id", "status", "artifact_uri", "lifecycle_stage")
    op.create_table(
        "logged_models",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("model_id", WORDS, nullable=False, unique=True),
        sa.Column("experiment", KEY, sa.ForeignKey("experiments.id"), nullable=False),
        *(sa.Column(name, WORDS, nullable=False) for name in words),
        sa.Column("creation_timestamp", sa.BigInteger, nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_logged_models_newest",
        "logged_models",
        ["experiment", "lifecycle_stage", sa.text("creation_timestamp DESC"), sa.text("model_id DESC")],
    )
    op.create_index("ix_logged_models_source_run_id", "logged_models", ["source_run_id"])
    op.create_index("ix_logged_models_name", "logged_models", ["name", "experiment"])


def _metrics() -> None:
    op.create_table(
        "logged_model_metrics",
        sa.Column("model", KEY, sa.ForeignKey("logged_models.id"), nullable=False),
        sa.Column("key", KEY, sa.ForeignKey("metric_keys.id"), nullable=False),
        sa.Column("dataset_name", WORDS, nullable=False),
        sa.Column("dataset_digest", WORDS, nullable=False),
        sa.Column("run", KEY, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("value", sa.DOUBLE_PRECISION, nullable=False),
        sa.Column("is_nan", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("model", "key", "dataset_name", "dataset_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_logged_model_metrics_value", "logged_model_metrics", ["key", "value", "model"])


def downgrade() -> None:
    for name in VERSION_COLUMNS:
        op.drop_column("model_versions", name)
    for name in (
        "run_models",
        "logged_model_metrics",
        "logged_model_tags",
        "logged_model_params",
        "logged_models",
    ):
        op.drop_table(name)
