"""What somebody can do who owns the database of a store."""

from __future__ import annotations

from sqlalchemy import select, update

from prefect_ml.store.audit import hash_of
from prefect_ml.store.registry_tables import audit, audit_head


def unlock(connection):
    """Take the rule away that the audit log is only added to."""
    if connection.dialect.name == "sqlite":
        for name in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_no_{name}")
    else:
        connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")


def rewrite(connection, change):
    """Change rows of the log, and every hash after them, so that the chain is whole again.

    Args:
        connection: of a transaction.
        change: gets each row, oldest first, and returns it, or another one.
    """
    unlock(connection)
    previous, sequence = "", 0
    for found in connection.execute(select(audit).order_by(audit.c.sequence)).mappings().all():
        row = change(dict(found)) | {"previous_hash": previous}
        row["hash"] = previous = hash_of(row)
        sequence = row["sequence"]
        connection.execute(update(audit).where(audit.c.sequence == sequence).values(row))
    connection.execute(update(audit_head).values(sequence=sequence, hash=previous))
