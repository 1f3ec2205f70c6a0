"""Bringing a database's schema to this release, once, however many processes start together."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from sqlalchemy import text

from prefect_ml.errors import StoreVersionError
from prefect_ml.store.migrations import FOLDER, revisions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from prefect_ml.store.database import Database

# PostgreSQL's advisory lock of our migrations: any number that nobody else uses.
_LOCK = 0x70726D6C
_PATIENCE = 30.0


def upgrade(database: Database) -> None:
    """Apply what is missing; one small query when nothing is.

    Raises:
        StoreVersionError: a newer release wrote the schema.
    """
    with database.read() as connection:
        current = _revision(connection)
    if current == revisions()[-1]:
        return
    _refuse_newer(database, current)
    if database.dialect == "sqlite":
        _switch_to_wal(database)
    database.write(lambda connection: _apply(database, connection))


def _revision(connection: Connection) -> str | None:
    if connection.dialect.name == "sqlite":
        there = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    else:
        there = "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL"
    if connection.execute(text(there)).first() is None:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _refuse_newer(database: Database, current: str | None) -> None:
    if current is not None and current not in revisions():
        raise StoreVersionError(
            f"The store at {database.url} has schema {current}, which is newer than this release knows "
            f"({revisions()[-1]}); upgrade prefect-ml."
        )


def _switch_to_wal(database: Database) -> None:
    """Turn on write-ahead logging, which stays on; SQLite does not wait by itself when others do the same."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with database.bare() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _apply(database: Database, connection: Connection) -> None:
    if database.dialect == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    current = _revision(connection)
    if current == revisions()[-1]:
        return
    _refuse_newer(database, current)
    from alembic import command  # noqa: PLC0415  half a second that only a migration needs
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    command.upgrade(config, "head")
