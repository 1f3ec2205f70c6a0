"""The tables of the registry: models, versions, aliases, policies, promotion requests and the audit log.

What a promotion is bound to (history, requests, audit) names its model by text, so that it outlives the model.
Documents are JSON texts in the canonical form of `canonical`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from prefect_ml.store.tables import Key, Words, metadata

registered_models = Table(
    "registered_models",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("description", Words, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    # The highest version there ever was: a deleted one's number is not given again.
    Column("last_version", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

registered_model_tags = Table(
    "registered_model_tags",
    metadata,
    Column("model", Key, ForeignKey("registered_models.id"), nullable=False),
    Column("key", Words, nullable=False),
    Column("value", Words, nullable=False),
    PrimaryKeyConstraint("model", "key"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("model", Key, ForeignKey("registered_models.id"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    Column("source", Words, nullable=False),
    Column("run_id", Words),
    Column("stage", Words, nullable=False),
    Column("description", Words, nullable=False),
    Column("artifact_digest", Words, nullable=False),
    # The defaults are for a release that does not know these columns.
    Column("model_id", Words, nullable=False, server_default=""),
    Column("run_link", Words, nullable=False, server_default=""),
    Column("location", Words, nullable=False, server_default=""),
    PrimaryKeyConstraint("model", "version"),
    Index("ix_model_versions_run_id", "run_id"),
    Index("ix_model_versions_stage", "model", "stage", "version"),
)

model_version_tags = Table(
    "model_version_tags",
    metadata,
    Column("model", Key, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("key", Words, nullable=False),
    Column("value", Words, nullable=False),
    PrimaryKeyConstraint("model", "version", "key"),
    ForeignKeyConstraint(["model", "version"], ["model_versions.model", "model_versions.version"]),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", Key, nullable=False),
    Column("alias", Words, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("previous_version", BigInteger),
    Column("moved_at", BigInteger, nullable=False),
    Column("moved_by", Words, nullable=False),
    Column("request_id", Words),
    PrimaryKeyConstraint("model", "alias"),
    ForeignKeyConstraint(["model", "version"], ["model_versions.model", "model_versions.version"]),
    Index("ix_aliases_version", "model", "version"),
)

# Append-only. Generations are counted here, so that none is used twice when an alias or a model comes back.
alias_moves = Table(
    "alias_moves",
    metadata,
    Column("name", Words, nullable=False),
    Column("alias", Words, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("version", BigInteger),
    Column("previous_version", BigInteger),
    Column("moved_at", BigInteger, nullable=False),
    Column("moved_by", Words, nullable=False),
    Column("request_id", Words),
    Column("reason", Words, nullable=False),
    # Names a rollback, so that it is done once.
    Column("key", Words),
    # The stages that the move changed, as {version: [before, after]}.
    Column("stages", Text),
    PrimaryKeyConstraint("name", "alias", "generation"),
    Index("ix_alias_moves_request_id", "request_id"),
    Index("ix_alias_moves_key", "key", unique=True),
)

# Append-only: a change of a policy is its next version.
policies = Table(
    "policies",
    metadata,
    Column("name", Words, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("saved_at", BigInteger, nullable=False),
    Column("saved_by", Words, nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

promotion_requests = Table(
    "promotion_requests",
    metadata,
    Column("id", Key, primary_key=True),
    Column("request_id", Words, nullable=False, unique=True),
    Column("key", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("alias", Words, nullable=False),
    Column("stage", Words),
    Column("status", Words, nullable=False),
    Column("status_reason", Words, nullable=False),
    Column("requester", Words, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("artifact_digest", Words, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("evidence_digest", Words, nullable=False),
    Column("policy", Words, nullable=False),
    Column("policy_version", BigInteger, nullable=False),
    Column("base_generation", BigInteger, nullable=False),
    Column("base_version", BigInteger),
    Column("flow_run_id", Words),
    # The defaults are for a release that does not know these columns.
    Column("kind", Words, nullable=False, server_default="promotion"),
    Column("reason", Words, nullable=False, server_default=""),
    # When the oldest of the gates' results was recorded; when the request was made, where none was.
    Column("judged_at", BigInteger),
    # The evidence without what it rests on, for lists.
    Column("verdicts", Text),
    Index("ix_promotion_requests_name", "name", "status"),
    sqlite_autoincrement=True,
)

# Append-only.
promotion_decisions = Table(
    "promotion_decisions",
    metadata,
    Column("request", Key, ForeignKey("promotion_requests.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("actor", Words, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("reason", Words, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("channel", Words, nullable=False),
    # The default is for a release that does not know these columns.
    Column("policy", Words, nullable=False, server_default=""),
    Column("policy_version", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("request", "number"),
)

# Append-only.
audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger, nullable=False, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("evidence_digest", Words, nullable=False),
    Column("previous_hash", Words, nullable=False),
    Column("hash", Words, nullable=False),
    # The default is for a release that does not know this column.
    Column("origin", Text, nullable=False, server_default="{}"),
    PrimaryKeyConstraint("sequence"),
    Index("ix_audit_subject", "subject", "sequence"),
)

# One row: where the chain ends, so that cutting its end off is seen too.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", BigInteger, nullable=False, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Words, nullable=False),
    PrimaryKeyConstraint("id"),
)
