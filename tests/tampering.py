"""What somebody can do who owns the database of a store."""

from __future__ import annotations


def unlock(connection):
    """Take the rule away that the audit log is only added to."""
    if connection.dialect.name == "sqlite":
        for name in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_no_{name}")
    else:
        connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
