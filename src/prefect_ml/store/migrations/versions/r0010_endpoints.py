"""Endpoints: their revisions, and what their replicas say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0010"
down_revision = "r0009"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "endpoint_revisions",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("routes", sa.Text, nullable=False),
        sa.Column("action", WORDS, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("rollout", WORDS, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("bound", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", "revision"),
    )
    op.create_index("ix_endpoint_revisions_rollout", "endpoint_revisions", ["name", "rollout", "revision"])
    op.create_table(
        "endpoint_replicas",
        sa.Column("endpoint", WORDS, nullable=False),
        sa.Column("replica_id", WORDS, nullable=False),
        sa.Column("host", WORDS, nullable=False),
        sa.Column("url", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("wanted", sa.BigInteger, nullable=False),
        sa.Column("loaded", sa.BigInteger, nullable=False),
        sa.Column("error", WORDS, nullable=False),
        sa.Column("routes", sa.Text, nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "replica_id"),
    )
    op.create_index("ix_endpoint_replicas_heartbeat_at", "endpoint_replicas", ["heartbeat_at"])


def downgrade() -> None:
    op.drop_table("endpoint_replicas")
    op.drop_table("endpoint_revisions")
