"""Registered models, versions, aliases, policies, promotion requests and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0002"
down_revision = "r0001"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_TABLES = (
    "audit_head",
    "audit",
    "promotion_decisions",
    "promotion_requests",
    "policies",
    "alias_moves",
    "aliases",
    "model_version_tags",
    "model_versions",
    "registered_model_tags",
    "registered_models",
)


def upgrade() -> None:
    _create_models()
    _create_versions()
    _create_aliases()
    _create_promotions()
    _create_audit()


def downgrade() -> None:
    for name in _TABLES:
        op.drop_table(name)


def _create_models() -> None:
    op.create_table(
        "registered_models",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("name", WORDS, nullable=False, unique=True),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("creation_timestamp", sa.BigInteger, nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger, nullable=False),
        sa.Column("last_version", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "registered_model_tags",
        sa.Column("model", KEY, sa.ForeignKey("registered_models.id"), nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("value", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("model", "key"),
    )


def _version_key() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["model", "version"], ["model_versions.model", "model_versions.version"])


def _create_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("model", KEY, sa.ForeignKey("registered_models.id"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("creation_timestamp", sa.BigInteger, nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger, nullable=False),
        sa.Column("source", WORDS, nullable=False),
        sa.Column("run_id", WORDS),
        sa.Column("stage", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("artifact_digest", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("model", "version"),
    )
    op.create_index("ix_model_versions_run_id", "model_versions", ["run_id"])
    op.create_index("ix_model_versions_stage", "model_versions", ["model", "stage", "version"])
    op.create_table(
        "model_version_tags",
        sa.Column("model", KEY, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("value", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "key"),
        _version_key(),
    )


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("model", KEY, nullable=False),
        sa.Column("alias", WORDS, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("previous_version", sa.BigInteger),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
        sa.Column("moved_by", WORDS, nullable=False),
        sa.Column("request_id", WORDS),
        sa.PrimaryKeyConstraint("model", "alias"),
        _version_key(),
    )
    op.create_index("ix_aliases_version", "aliases", ["model", "version"])
    op.create_table(
        "alias_moves",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("alias", WORDS, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger),
        sa.Column("previous_version", sa.BigInteger),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
        sa.Column("moved_by", WORDS, nullable=False),
        sa.Column("request_id", WORDS),
        sa.Column("reason", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("name", "alias", "generation"),
    )
    op.create_index("ix_alias_moves_request_id", "alias_moves", ["request_id"])


def _create_promotions() -> None:
    op.create_table(
        "policies",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("saved_at", sa.BigInteger, nullable=False),
        sa.Column("saved_by", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "promotion_requests",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("request_id", WORDS, nullable=False, unique=True),
        sa.Column("key", WORDS, nullable=False, unique=True),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("alias", WORDS, nullable=False),
        sa.Column("stage", WORDS),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("status_reason", WORDS, nullable=False),
        sa.Column("requester", WORDS, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("artifact_digest", WORDS, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("evidence_digest", WORDS, nullable=False),
        sa.Column("policy", WORDS, nullable=False),
        sa.Column("policy_version", sa.BigInteger, nullable=False),
        sa.Column("base_generation", sa.BigInteger, nullable=False),
        sa.Column("base_version", sa.BigInteger),
        sa.Column("flow_run_id", WORDS),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_promotion_requests_name", "promotion_requests", ["name", "status"])
    op.create_table(
        "promotion_decisions",
        sa.Column("request", KEY, sa.ForeignKey("promotion_requests.id"), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("approve", sa.Boolean, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("decided_at", sa.BigInteger, nullable=False),
        sa.Column("channel", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("request", "number"),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("action", WORDS, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("evidence_digest", WORDS, nullable=False),
        sa.Column("previous_hash", WORDS, nullable=False),
        sa.Column("hash", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject", "sequence"])
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": ""}])
