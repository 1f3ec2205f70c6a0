"""The tables of webhooks, and the outbox of what they are still to be told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, PrimaryKeyConstraint, Table, Text

from prefect_ml.store.tables import Key, Words, metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Key, primary_key=True),
    Column("webhook_id", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("url", Words, nullable=False),
    Column("description", Words, nullable=False),
    Column("status", Words, nullable=False),
    # Encrypted; the key is a setting of the server.
    Column("sealed_secret", Words),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("webhook", Key, ForeignKey("webhooks.id"), nullable=False),
    Column("entity", Words, nullable=False),
    Column("action", Words, nullable=False),
    # Their order, as it was given.
    Column("number", BigInteger, nullable=False),
    PrimaryKeyConstraint("webhook", "entity", "action"),
    Index("ix_webhook_events_event", "entity", "action", "webhook"),
)

# A row is written in the transaction of the change that it tells of.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Key, primary_key=True),
    Column("delivery_id", Words, nullable=False, unique=True),
    Column("webhook", Key, ForeignKey("webhooks.id"), nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("status", Words, nullable=False),
    Column("error", Words, nullable=False),
    Index("ix_webhook_deliveries_due", "status", "next_attempt_at"),
    Index("ix_webhook_deliveries_webhook", "webhook", "id"),
    sqlite_autoincrement=True,
)
