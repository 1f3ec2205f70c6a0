"""What gates found as soon as they did, requests to roll back, moves that can be taken back whole, and origins."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0009"
down_revision = "r0008"

WORDS = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

# The audit log is only added to, whoever writes to the database.
_REFUSAL = "The audit log is only added to; its rows are neither changed nor removed."
_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER audit_no_{what} BEFORE {what} ON audit BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        for what in ("update", "delete")
    ],
    "postgresql": [
        (
            "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION USING MESSAGE = '{_REFUSAL}', ERRCODE = 'integrity_constraint_violation'; END $$"
        ),
        (
            "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE "
            "FUNCTION refuse_audit_change()"
        ),
    ],
}
_WRITABLE = {
    "sqlite": [f"DROP TRIGGER audit_no_{what}" for what in ("update", "delete")],
    "postgresql": ["DROP TRIGGER audit_no_change ON audit", "DROP FUNCTION refuse_audit_change()"],
}


def _columns() -> tuple[tuple[str, sa.Column[Any]], ...]:
    """What older tables get; the defaults let a release that does not know the columns go on writing."""
    return (
        ("promotion_requests", sa.Column("kind", WORDS, nullable=False, server_default="promotion")),
        ("promotion_requests", sa.Column("reason", WORDS, nullable=False, server_default="")),
        ("promotion_requests", sa.Column("judged_at", sa.BigInteger)),
        ("promotion_requests", sa.Column("verdicts", sa.Text)),
        ("promotion_decisions", sa.Column("policy", WORDS, nullable=False, server_default="")),
        ("promotion_decisions", sa.Column("policy_version", sa.BigInteger, nullable=False, server_default="0")),
        ("alias_moves", sa.Column("key", WORDS)),
        ("alias_moves", sa.Column("stages", sa.Text)),
        ("audit", sa.Column("origin", sa.Text, nullable=False, server_default="{}")),
    )


def upgrade() -> None:
    op.create_table(
        "gate_results",
        sa.Column("key", WORDS, nullable=False),
        sa.Column("gate", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("alias", WORDS, nullable=False),
        sa.Column("spec_digest", WORDS, nullable=False),
        sa.Column("artifact_digest", WORDS, nullable=False),
        sa.Column("champion_generation", sa.BigInteger, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", "gate"),
    )
    op.create_table(
        "told",
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    for table, column in _columns():
        op.add_column(table, column)
    op.create_index("ix_alias_moves_key", "alias_moves", ["key"], unique=True)
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    for statement in _WRITABLE[op.get_bind().dialect.name]:
        op.execute(statement)
    op.drop_index("ix_alias_moves_key", "alias_moves")
    for table, column in _columns():
        op.drop_column(table, column.name)
    for name in ("told", "gate_results"):
        op.drop_table(name)
