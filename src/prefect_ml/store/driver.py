"""Straight to SQLite's driver, where a statement costs less than what SQLAlchemy does around it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

# The execution option `begin` of a connection whose transactions are begun past SQLAlchemy.
BEGUN = ""


def execute(connection: Connection, sql: str, parameters: Sequence[Any]) -> list[Any]:
    """The rows that a statement gives; its marks are `?` on SQLite and `%s` on PostgreSQL.

    Raises:
        DBAPIError: the database refused it; one of the classes of `sqlalchemy.exc`, as from SQLAlchemy itself.
    """
    if connection.dialect.name != "sqlite":
        result = connection.exec_driver_sql(sql, tuple(parameters))
        return list(result.all()) if result.returns_rows else []
    try:
        return driver_of(connection).execute(sql, parameters).fetchall()
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            sql, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def driver_of(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection below one of SQLAlchemy's."""
    return connection.connection.dbapi_connection  # type: ignore[return-value]  # typed for all databases
