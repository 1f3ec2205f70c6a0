"""Webhooks, and the outbox of what they are still to be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0007"
down_revision = "r0006"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("webhook_id", WORDS, nullable=False, unique=True),
        *(sa.Column(name, WORDS, nullable=False) for name in ("name", "url", "description", "status")),
        sa.Column("sealed_secret", WORDS),
        sa.Column("creation_timestamp", sa.BigInteger, nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "webhook_events",
        sa.Column("webhook", KEY, sa.ForeignKey("webhooks.id"), nullable=False),
        sa.Column("entity", WORDS, nullable=False),
        sa.Column("action", WORDS, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("webhook", "entity", "action"),
    )
    op.create_index("ix_webhook_events_event", "webhook_events", ["entity", "action", "webhook"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("delivery_id", WORDS, nullable=False, unique=True),
        sa.Column("webhook", KEY, sa.ForeignKey("webhooks.id"), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_at", "attempts", "next_attempt_at")),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("error", WORDS, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_deliveries_due", "webhook_deliveries", ["status", "next_attempt_at"])
    op.create_index("ix_webhook_deliveries_webhook", "webhook_deliveries", ["webhook", "id"])


def downgrade() -> None:
    for name in ("webhook_deliveries", "webhook_events", "webhooks"):
        op.drop_table(name)
