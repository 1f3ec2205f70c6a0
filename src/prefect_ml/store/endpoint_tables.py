"""The tables of endpoints: their revisions, and what their replicas say."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, PrimaryKeyConstraint, Table, Text

from prefect_ml.store.tables import Words, metadata

# Append-only: a change of an endpoint is its next revision, and so is its end.
endpoint_revisions = Table(
    "endpoint_revisions",
    metadata,
    Column("name", Words, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # A JSON list of objects, as the fields of `Route`.
    Column("routes", Text, nullable=False),
    Column("action", Words, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("rollout", Words, nullable=False),
    Column("step", BigInteger, nullable=False),
    # A JSON list of the protected aliases whose approvals count.
    Column("bound", Text, nullable=False),
    PrimaryKeyConstraint("name", "revision"),
    Index("ix_endpoint_revisions_rollout", "name", "rollout", "revision"),
)

endpoint_replicas = Table(
    "endpoint_replicas",
    metadata,
    Column("endpoint", Words, nullable=False),
    Column("replica_id", Words, nullable=False),
    Column("host", Words, nullable=False),
    Column("url", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("wanted", BigInteger, nullable=False),
    Column("loaded", BigInteger, nullable=False),
    Column("error", Words, nullable=False),
    # A JSON list of objects, as the fields of `RouteReport`.
    Column("routes", Text, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("endpoint", "replica_id"),
    Index("ix_endpoint_replicas_heartbeat_at", "heartbeat_at"),
)
